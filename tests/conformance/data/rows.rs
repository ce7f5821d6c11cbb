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
    case!("a key is asked for", refusals::a_key_is_asked_for),
    case!("a key that is another's opens nothing", refusals::another_key),
    case!("a handshake needs a version", refusals::no_version),
    case!("a handshake of no known version is refused", refusals::a_version_of_none),
    case!("handshakes of older drafts are taken", refusals::older_versions),
    case!("a handshake needs a nonce", refusals::no_nonce),
    case!("a handshake for another protocol is refused", refusals::another_protocol),
    case!("only GET opens a websocket", refusals::another_method),
    case!("a port is a number of 16 bits", refusals::no_port),
    case!("port zero is nowhere", refusals::port_zero),
    case!("a port is read as a number is", refusals::forms_of_a_port),
    case!("what is no address is refused", refusals::no_address),
    case!("the daemon's own machine is no node", refusals::the_machine_itself),
    case!(
        "a connection that asked for a websocket in vain is closed",
        refusals::a_connection_that_asked_for_another_protocol
    ),
    case!("all addresses and none are no node", refusals::all_and_none),
    case!("beside a network of ours another one is forbidden", refusals::another_network),
    case!("addresses without a node give up after five seconds", refusals::nothing_there),
    case!("beside the path there is nothing", refusals::beside_the_path),
    case!("there is no socket of raw frames", refusals::no_raw_frames),
    case!("the older path refuses as the other one does", refusals::the_older_path_refuses),
    case!("frames overtake each other as a whole", flow::frames_stay_whole),
    case!("frames that each wait for an echo keep their order", flow::one_after_the_other),
    case!("a farewell is answered with its own words", flow::a_farewell_is_answered),
    case!("a farewell without words is answered by one", flow::an_empty_farewell),
    case!("a pong that was not asked for is ignored", flow::an_unasked_pong),
    case!("the longest ping is answered", flow::the_longest_ping),
    case!("64 KiB of text are taken", flow::the_longest_text),
    case!("more than 64 KiB of text end the websocket", flow::too_long_a_text),
    case!("a continuation of nothing ends the websocket", flow::a_lone_continuation),
    case!("a message in fragments ends the websocket", flow::fragments),
    case!("a frame of an unknown kind ends the websocket", flow::an_unknown_kind),
    case!("what a node sends comes by the segment", flow::segments),
    case!(
        "a node that speaks after its client has closed is told",
        node::a_node_that_speaks_to_none
    ),
    case!(
        "a node that speaks after its client has gone is told",
        node::a_node_that_speaks_to_one_who_is_gone
    ),
    case!("what clients leave adds up at the node", node::what_clients_leave),
    case!("a node that does not read holds up no other", node::a_deaf_node_alone),
    case!("a client that answers no ping is dropped", node::a_client_without_pongs),
    case!(
        "a client that neither reads nor answers holds up all others",
        node::a_deaf_and_mute_client
    ),
    case!("opens and closes leave room for others", refusals::many_opens),
    case!(
        "a new node is found when no other address is asked for",
        refusals::a_new_node_behind_nothing,
        alone
    ),
    case!("a node that comes back is reached again", node::a_node_that_comes_back, alone),
    case!("a node that has left is silent", node::a_node_that_has_left, alone),
    case!("a node that is gone is silent", node::a_node_that_is_gone, alone),
    case!(
        "connections to a node that is gone end after two minutes",
        node::the_end_of_a_node_that_is_gone,
        alone
    ),
    case!("a network that is removed ends its connections at once", node::a_removed_network, alone),
    case!("where no network is, none is found", refusals::no_network, alone),
];
