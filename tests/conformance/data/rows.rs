//! All cases, by what they say.

use futures_util::future::{BoxFuture, FutureExt as _};

use super::{flow, node, refusals, site::Site};

/// A case.
pub(crate) struct Case {
    /// What holds.
    pub(crate) name: &'static str,
    /// Plays it.
    pub(crate) play: fn(&Site) -> BoxFuture<'_, ()>,
    /// Whether it leaves the node or the network unusable for other cases.
    pub(crate) is_alone: bool,
}

macro_rules! case {
    ($name:literal, $play:path) => {
        Case { name: $name, play: |site| $play(site).boxed(), is_alone: false }
    };
    ($name:literal, $play:path, alone) => {
        Case { name: $name, play: |site| $play(site).boxed(), is_alone: true }
    };
}

/// The cases, in the order in which they are played.
pub(crate) const CASES: &[Case] = &[
    case!("a node may speak first", flow::a_node_may_speak_first),
    case!("what a node sends comes whole", flow::downloads_come_whole),
    case!("a frame may be empty", flow::a_frame_may_be_empty),
    case!("a frame of text is bytes, too", flow::text_is_bytes),
    case!("a ping is answered with what it says", flow::a_ping_is_answered),
    case!("a client is pinged", flow::a_client_is_pinged),
    case!("two connections to one port are apart", flow::connections_are_apart),
    case!("fifty connections at once are whole", flow::fifty_at_once),
    case!("the older path leads to the same node", flow::the_older_path),
    case!("a key in the query opens a websocket", flow::a_key_in_the_query),
    case!("frames of 64 KiB are taken", flow::frames_of_64_kib),
    case!("a frame of more than 64 KiB ends the websocket", flow::too_long_a_frame),
    case!("text that is not UTF-8 ends the websocket", flow::text_that_is_none),
    case!("frames that wait for the network keep their order", flow::paced_frames),
    case!("frames that are sent together overtake each other", flow::unpaced_frames),
    case!("of frames that are sent together nothing is lost", flow::nothing_is_lost),
    case!("a node that closes is not told of", node::an_end_is_kept),
    case!("after a node has closed a later frame ends the websocket", node::a_frame_after_the_end),
    case!("a node that closes its half reads on", node::a_half_is_closed),
    case!("a node's reset ends the websocket without a farewell", node::a_reset),
    case!("a node is not told that its client has closed", node::a_client_that_closes),
    case!("a node is not told that its client is gone", node::a_client_that_is_gone),
    case!("what a node does not read is taken", node::a_deaf_node),
    case!("a client that does not read holds up all others", node::a_deaf_client),
    case!("a closed port refuses at once", refusals::a_closed_port),
    case!("what is no websocket is refused", refusals::no_websocket),
    case!(
        "what is no websocket to a closed port is refused first",
        refusals::no_websocket_to_a_closed_port
    ),
    case!(
        "what is no websocket leaves a connection at the node",
        refusals::what_no_websocket_leaves
    ),
    case!("opens and closes leave room for others", refusals::many_opens),
    case!("a node that has left is silent", node::a_node_that_has_left, alone),
    case!("a node that is gone is silent", node::a_node_that_is_gone, alone),
    case!("a network that is removed ends its connections at once", node::a_removed_network, alone),
    case!("where no network is, none is found", refusals::no_network, alone),
];
