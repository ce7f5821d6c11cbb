//! The websocket as a stream of bytes.

use std::{io, sync::Arc, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use ray_on_golem::{
    units::Span,
    yagna::{
        VpnStream,
        vpn::{BUFFER, Beat, UNREAD_MAX},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{Mutex, mpsc},
    time::timeout,
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    IP, PATIENCE, Stage,
    daemon::{Conduct, NETWORK, Socket},
};

/// A stream, and the daemon's end of it.
async fn both_ends(stage: &Stage, beat: Beat) -> (VpnStream, Socket) {
    let (sender, mut sockets) = mpsc::unbounded_channel();
    let sender = Arc::new(Mutex::new(sender));
    stage.daemon.change(Conduct::serve(move |socket| {
        let sender = Arc::clone(&sender);
        async move { sender.lock().await.send(socket).expect("the test waits") }
    }));
    let vpn = stage.vpn().with_beat(beat);
    let stream = vpn.connect(&NETWORK.into(), IP, 22, PATIENCE).await.expect("a daemon");
    (stream, sockets.recv().await.expect("the daemon serves"))
}

#[tokio::test]
async fn bytes_come_through_in_frames_that_the_daemon_takes() {
    let stage = Stage::new().await;
    let (mut stream, mut socket) = both_ends(&stage, Beat::default()).await;
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|at| at.to_le_bytes()[1]).collect();

    let send = async {
        stream.write_all(&bytes).await.expect("the daemon reads");
        stream
    };
    let receive = async {
        let mut received = Vec::new();
        while received.len() < bytes.len() {
            let message = next(&mut socket).await;
            let Message::Binary(frame) = message else { panic!("{message:?}") };
            assert!(frame.len() <= 64 << 10, "yagna takes no longer ones");
            received.extend_from_slice(&frame);
        }
        assert!(received == bytes);
    };

    tokio::join!(send, receive);
}

#[tokio::test]
async fn a_reader_that_waits_is_alive_and_loses_nothing() {
    let stage = Stage::new().await;
    let beat = Beat { ping: Span::millis(5), silence: Span::hours(1) };
    let (mut stream, socket) = both_ends(&stage, beat).await;
    let (mut sink, mut source) = socket.split();
    let bytes = vec![7; BUFFER * 20];

    // More than any buffer takes is sent while nobody reads; the daemon hears pings all the same.
    let send = async {
        for frame in bytes.chunks(BUFFER / 4) {
            sink.send(Message::Binary(frame.to_vec().into())).await.expect("an open connection");
        }
    };
    let hear = async {
        for _ in 0..20 {
            let message = source.next().await.expect("more").expect("a good frame");
            assert!(matches!(message, Message::Ping(_) | Message::Pong(_)), "{message:?}");
        }
    };
    tokio::join!(send, hear);
    sink.close().await.expect("an open connection");
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.expect("a good end");

    assert!(received == bytes);
}

#[tokio::test]
async fn a_connection_that_is_not_read_is_cut_before_it_takes_all_memory() {
    let stage = Stage::new().await;
    let (mut stream, mut socket) = both_ends(&stage, Beat::default()).await;
    let frame = vec![7; 1 << 20];

    // The daemon is always read, till the connection is cut.
    let mut sent = 0;
    while socket.send(Message::Binary(frame.clone().into())).await.is_ok() {
        sent += frame.len();
        assert!(sent < 2 * UNREAD_MAX, "it is cut");
    }

    let mut received = Vec::new();
    let error = stream.read_to_end(&mut received).await.expect_err("it was cut");
    assert_eq!(error.to_string(), "more than 16777216 bytes came that were not read");
    assert!(received.iter().all(|byte| *byte == 7));
}

#[tokio::test]
async fn a_frame_waits_until_the_daemon_has_taken_the_last_one() {
    let stage = Stage::new().await;
    let (mut stream, mut socket) = both_ends(&stage, Beat::default()).await;

    stream.write_all(b"first").await.expect("room");
    let first = socket.next().await.expect("more").expect("a good frame");
    stream.write_all(b"second").await.expect("room");
    // The ping comes, and its pong is not sent before more is read or written here.
    let ping = socket.next().await.expect("more").expect("a good frame");
    let early = timeout(Duration::from_millis(100), peek(&mut socket)).await;
    socket.flush().await.expect("an open connection");
    let second = next(&mut socket).await;

    assert_eq!(first, Message::Binary(b"first".to_vec().into()));
    assert!(matches!(&ping, Message::Ping(number) if number.len() == 8), "{ping:?}");
    assert!(early.is_err(), "nothing comes behind a frame that is not taken");
    assert_eq!(second, Message::Binary(b"second".to_vec().into()));
}

#[tokio::test]
async fn a_daemon_that_is_silent_is_given_up() {
    let stage = Stage::new().await;
    let beat = Beat { ping: Span::millis(10), silence: Span::millis(50) };
    let (mut stream, _socket) = both_ends(&stage, beat).await;

    let error = stream.read(&mut [0]).await.expect_err("silence");

    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    assert_eq!(error.to_string(), "nothing was heard of the daemon for 0.05 s");
}

#[tokio::test]
async fn a_connection_that_the_node_ends_is_at_its_end() {
    let stage = Stage::new().await;
    let (mut stream, mut socket) = both_ends(&stage, Beat::default()).await;
    socket.send(Message::Binary(b"bye".to_vec().into())).await.expect("an open connection");
    // As yagna does: without a farewell.
    drop(socket);

    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("a good end");

    assert_eq!(text, "bye");
}

#[tokio::test]
async fn a_ping_on_its_way_loses_nothing_of_what_the_node_said_at_its_end() {
    let stage = Stage::new().await;
    let beat = Beat { ping: Span::millis(1), ..Beat::default() };
    for _ in 0..20 {
        let (mut stream, mut socket) = both_ends(&stage, beat).await;
        socket.send(Message::Binary(b"bye".to_vec().into())).await.expect("an open connection");
        // What is unread when a socket is closed makes a reset of its end.
        socket.get_ref().peek(&mut [0]).await.expect("a ping");
        drop(socket);

        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("a good end");

        assert_eq!(text, "bye");
    }
}

#[tokio::test]
async fn who_has_said_all_still_hears_and_the_daemon_is_told_at_the_end() {
    let stage = Stage::new().await;
    let (mut stream, mut socket) = both_ends(&stage, Beat::default()).await;
    stream.write_all(b"question").await.expect("room");
    stream.shutdown().await.expect("an open connection");

    assert_eq!(next(&mut socket).await, Message::Binary(b"question".to_vec().into()));
    socket.send(Message::Binary(b"answer".to_vec().into())).await.expect("an open connection");
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).await.expect("the answer");
    assert_eq!(&answer, b"answer");
    drop(stream);
    assert!(matches!(next(&mut socket).await, Message::Close(_)));
}

#[tokio::test]
async fn a_leash_cuts_a_connection_whoever_has_it() {
    let stage = Stage::new().await;
    let (mut stream, mut socket) = both_ends(&stage, Beat::default()).await;
    let leash = stream.leash();

    drop(leash);

    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.expect("an end");
    while let Some(Ok(message)) = socket.next().await {
        assert!(matches!(message, Message::Ping(_)), "{message:?}");
    }
}

/// Returns when something can be read.
async fn peek(socket: &mut Socket) {
    socket.get_ref().peek(&mut [0]).await.expect("an open connection");
}

/// The next message that is no sign of life.
async fn next(socket: &mut Socket) -> Message {
    loop {
        let message = socket.next().await.expect("more").expect("a good frame");
        if !matches!(message, Message::Ping(_) | Message::Pong(_)) {
            return message;
        }
    }
}
