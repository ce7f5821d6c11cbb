//! Bytes and frames that flow.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _, future::join_all};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::frame::{
        CloseFrame, Frame,
        coding::{CloseCode, Data, OpCode},
    },
};

use super::site::{Site, Socket, pattern, sha256};

const KIB: usize = 1 << 10;
const FRAME: usize = 16 * KIB;
/// What a packet carries at most: the daemon takes 1,400 bytes with all headers.
const SEGMENT: usize = 1346;
/// What keeps order is tried so often, what loses it until it does, but no more often.
const TRIES: u64 = 25;
/// What the product waits after the daemon's answers.
const PAUSE: Duration = Duration::from_millis(5);

pub(super) async fn a_node_may_speak_first(site: &Site) {
    let mut socket = site.open("close").await;

    assert_eq!(socket.next().await, b"hello\n");
}

pub(super) async fn downloads_come_whole(site: &Site) {
    let mut socket = site.open("give").await;
    let size = 1024 * KIB;
    socket.send(&u64::try_from(size).expect("a size").to_be_bytes()).await;

    let mut bytes = socket.read(size + 64).await;

    let hash = bytes.split_off(size);
    assert_eq!(sha256(&bytes).as_bytes(), hash);
}

pub(super) async fn a_frame_may_be_empty(site: &Site) {
    let mut socket = site.open("echo").await;
    socket.send(b"").await;

    assert_eq!(socket.echo(b"x").await, b"x");
}

pub(super) async fn text_is_bytes(site: &Site) {
    let mut socket = site.open("echo").await;
    socket.0.send(Message::Text("täxt".into())).await.expect("open");

    assert_eq!(socket.read("täxt".len()).await, "täxt".as_bytes());
}

pub(super) async fn a_ping_is_answered(site: &Site) {
    let mut socket = site.open("echo").await;
    socket.0.send(Message::Ping(b"12345678".to_vec().into())).await.expect("open");

    socket.until(|message| *message == Message::Pong(b"12345678".to_vec().into())).await;
}

pub(super) async fn a_client_is_pinged(site: &Site) {
    let mut socket = site.open("echo").await;

    socket.until(Message::is_ping).await;
}

pub(super) async fn connections_are_apart(site: &Site) {
    let (mut first, mut second) = (site.open("echo").await, site.open("echo").await);
    first.send(b"first").await;
    second.send(b"second").await;

    assert_eq!(second.read(6).await, b"second");
    assert_eq!(first.read(5).await, b"first");
}

pub(super) async fn fifty_at_once(site: &Site) {
    let one = |number: u64| async move {
        let mut socket = site.open("echo").await;
        let bytes = pattern(FRAME, number);
        assert!(socket.echo(&bytes).await == bytes, "{number}");
    };

    join_all((0..50).map(one)).await;
}

pub(super) async fn the_older_path(site: &Site) {
    let path = site.path(site.port("echo")).replacen("/v2/vpn/", "/v1/", 1);
    let mut socket = site.try_open(&path, true).await.expect("the node answers");

    assert_eq!(socket.echo(b"x").await, b"x");
}

pub(super) async fn a_key_in_the_query(site: &Site) {
    let path = format!("{}?authToken={}", site.path(site.port("echo")), site.key);
    let mut socket = site.try_open(&path, false).await.expect("the node answers");

    assert_eq!(socket.echo(b"x").await, b"x");
}

pub(super) async fn frames_of_64_kib(site: &Site) {
    let mut socket = site.open("echo").await;
    let bytes = pattern(64 * KIB, 1);

    assert!(socket.echo(&bytes).await == bytes);
}

pub(super) async fn too_long_a_frame(site: &Site) {
    let mut socket = site.open("echo").await;

    let _ = socket.0.send(Message::Binary(pattern(64 * KIB + 1, 1).into())).await;

    assert_eq!(socket.until_end().await, b"");
}

pub(super) async fn text_that_is_none(site: &Site) {
    let mut socket = site.open("echo").await;
    let frame = Frame::message(vec![0xff, 0xfe], OpCode::Data(Data::Text), true);

    let _ = socket.0.send(Message::Frame(frame)).await;

    assert_eq!(socket.until_end().await, b"");
}

pub(super) async fn paced_frames(site: &Site) {
    let mut socket = site.open("echo").await;
    let (bytes, mut echoed) = (pattern(16 * FRAME, 1), Vec::new());
    for (number, frame) in bytes.chunks(FRAME).enumerate() {
        socket.send(frame).await;
        let ping: Vec<u8> = number.to_be_bytes().to_vec();
        socket.0.send(Message::Ping(ping.clone().into())).await.expect("open");
        let pong = Message::Pong(ping.into());
        echoed.extend(socket.until(|message| *message == pong).await);
        let addresses = format!("/net-api/v2/vpn/net/{}/addresses", site.network);
        assert_eq!(site.get(&addresses).await.0, 200);
        tokio::time::sleep(PAUSE).await;
    }
    echoed.extend(socket.read(bytes.len() - echoed.len()).await);

    assert!(echoed == bytes);
}

pub(super) async fn unpaced_frames(site: &Site) {
    for number in 0..TRIES {
        let bytes = pattern(128 * FRAME, number);
        if together(&mut site.open("echo").await, &bytes).await != bytes {
            return;
        }
    }
    panic!("{TRIES} times all came in order");
}

pub(super) async fn nothing_is_lost(site: &Site) {
    let mut bytes = pattern(64 * FRAME, 1);
    let mut echoed = together(&mut site.open("echo").await, &bytes).await;

    bytes.sort_unstable();
    echoed.sort_unstable();
    assert!(echoed == bytes);
}

pub(super) async fn frames_stay_whole(site: &Site) {
    let bytes: Vec<u8> = (0..128).flat_map(|frame| vec![frame; FRAME]).collect();

    let echoed = together(&mut site.open("echo").await, &bytes).await;

    let mut frames: Vec<&[u8]> = echoed.chunks(FRAME).collect();
    frames.sort_unstable();
    assert!(frames.concat() == bytes, "frames overtake each other as a whole");
}

pub(super) async fn one_after_the_other(site: &Site) {
    let mut socket = site.open("echo").await;

    for number in 0..200_u32 {
        assert_eq!(socket.echo(&number.to_be_bytes()).await, number.to_be_bytes());
    }
}

pub(super) async fn a_farewell_is_answered(site: &Site) {
    for (code, reason) in [(CloseCode::Normal, ""), (CloseCode::Away, "going"), (3999.into(), "x")]
    {
        let mut socket = site.open("take-all").await;
        let farewell = CloseFrame { code, reason: reason.into() };

        socket.0.close(Some(farewell.clone())).await.expect("open");

        socket.until(|message| *message == Message::Close(Some(farewell.clone()))).await;
    }
}

pub(super) async fn an_empty_farewell(site: &Site) {
    let mut socket = site.open("take-all").await;

    socket.0.close(None).await.expect("open");

    socket.until(|message| *message == Message::Close(None)).await;
}

pub(super) async fn an_unasked_pong(site: &Site) {
    let mut socket = site.open("echo").await;
    socket.0.send(Message::Pong(b"unasked".to_vec().into())).await.expect("open");

    assert_eq!(socket.echo(b"x").await, b"x");
}

pub(super) async fn the_longest_ping(site: &Site) {
    let mut socket = site.open("echo").await;
    socket.0.send(Message::Ping(vec![b'a'; 125].into())).await.expect("open");

    socket.until(|message| *message == Message::Pong(vec![b'a'; 125].into())).await;
}

pub(super) async fn the_longest_text(site: &Site) {
    let mut socket = site.open("echo").await;
    let text = "a".repeat(64 * KIB);
    socket.0.send(Message::Text(text.clone().into())).await.expect("open");

    assert!(socket.read(64 * KIB).await == text.as_bytes());
}

pub(super) async fn too_long_a_text(site: &Site) {
    let mut socket = site.open("echo").await;

    let _ = socket.0.send(Message::Text("a".repeat(64 * KIB + 1).into())).await;

    assert_eq!(socket.until_end().await, b"");
}

pub(super) async fn a_lone_continuation(site: &Site) {
    ends_with(site, OpCode::Data(Data::Continue)).await;
}

pub(super) async fn fragments(site: &Site) {
    let mut socket = site.open("echo").await;
    let first = Frame::message(b"first".to_vec(), OpCode::Data(Data::Binary), false);
    let last = Frame::message(b"last".to_vec(), OpCode::Data(Data::Continue), true);

    for part in [first, last] {
        // It may have ended at the first one.
        let _ = socket.0.send(Message::Frame(part)).await;
    }

    assert_eq!(socket.until_end().await, b"");
}

pub(super) async fn an_unknown_kind(site: &Site) {
    ends_with(site, OpCode::Data(Data::Reserved(3))).await;
}

/// A frame of a kind that is not wanted ends the websocket.
async fn ends_with(site: &Site, kind: OpCode) {
    let mut socket = site.open("echo").await;

    let _ = socket.0.send(Message::Frame(Frame::message(b"b".to_vec(), kind, true))).await;

    assert_eq!(socket.until_end().await, b"");
}

pub(super) async fn segments(site: &Site) {
    let mut socket = site.open("give").await;
    socket.send(&u64::try_from(1024 * KIB).expect("a size").to_be_bytes()).await;

    let mut lengths = BTreeMap::<usize, usize>::new();
    let mut total = 0;
    while total < 1024 * KIB {
        let length = socket.next().await.len();
        *lengths.entry(length).or_default() += 1;
        total += length;
    }

    let (most, _) = lengths.iter().max_by_key(|(_, count)| **count).expect("frames came");
    assert!(*most <= SEGMENT, "{lengths:?}");
    assert!(lengths.keys().all(|length| *length <= 14 * SEGMENT), "{lengths:?}");
}

/// Sends frames back to back; what the node sends back.
async fn together(socket: &mut Socket, bytes: &[u8]) -> Vec<u8> {
    let (mut sink, mut source) = (&mut socket.0).split();
    let send = async {
        for frame in bytes.chunks(FRAME) {
            sink.feed(Message::Binary(frame.to_vec().into())).await.expect("open");
        }
        sink.flush().await.expect("open");
    };
    let receive = async {
        let mut echoed = Vec::new();
        while echoed.len() < bytes.len() {
            match source.next().await {
                Some(Ok(Message::Binary(frame))) => echoed.extend_from_slice(&frame),
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
        echoed
    };
    tokio::join!(send, receive).1
}
