//! The client of the daemon's bus, against a bus of this process that speaks the same packets and
//! misbehaves when it is told to.

use std::time::Duration;

use ray_on_golem::{
    units::Span,
    yagna::bus::{Bus, BusAddress, BusError, BusPlan, Call, Decoder, Hello, Link, Packet, Reply},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::mpsc,
    time::timeout,
};

const NAME: &str = "/public/vpn/0123/raw";
const PATIENCE: Span = Span::secs(60);

/// The daemon's side.
struct Daemon {
    listener: UnixListener,
    directory: TempDir,
}

/// One connection at the daemon's side.
struct Side {
    stream: UnixStream,
    decoder: Decoder,
}

impl Daemon {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(directory.path().join("bus")).expect("a short path");
        Self { listener, directory }
    }

    fn client(&self, room: usize) -> (Bus, mpsc::Receiver<Call>) {
        let (incoming, calls) = mpsc::channel(room);
        let address = BusAddress::Unix(self.directory.path().join("bus"));
        let services = vec![NAME.to_owned()];
        (Bus::start(BusPlan { address, instance: [7; 16], services }, incoming), calls)
    }

    /// Takes a connection, its hello, and its names.
    async fn greeted(&self) -> Side {
        let (stream, _) = self.listener.accept().await.expect("it connects");
        let mut side = Side { stream, decoder: Decoder::default() };
        let Packet::Hello(Hello { name, instance, .. }) = side.next().await else {
            panic!("the first packet is a hello");
        };
        assert_eq!((name.as_str(), instance), ("ray-on-golem", [7; 16]));
        let version = "0".to_owned();
        side.send(Packet::Hello(Hello { name, version, instance: [0; 16] })).await;
        assert_eq!(side.next().await, Packet::Register { service: NAME.to_owned() });
        side.send(Packet::Registered { code: 0, message: String::new() }).await;
        side
    }
}

impl Side {
    /// The next packet that is no ping.
    async fn next(&mut self) -> Packet {
        let mut bytes = vec![0; 4096];
        loop {
            match self.decoder.next_packet().expect("packets") {
                Some(Packet::Ping) => continue,
                Some(packet) => return packet,
                None => {}
            }
            let read = timeout(Duration::from_secs(60), self.stream.read(&mut bytes)).await;
            let length = read.expect("a packet").expect("open");
            assert_ne!(length, 0, "the client stays");
            self.decoder.extend(&bytes[..length]);
        }
    }

    async fn send(&mut self, packet: Packet) {
        self.stream.write_all(&packet.to_bytes()).await.expect("the client reads");
    }
}

async fn up(bus: &Bus) {
    let mut link = bus.link();
    let up = timeout(Duration::from_secs(60), link.wait_for(|link| *link == Link::Up)).await;
    up.expect("in time").expect("the client is there");
}

fn call(id: u32, no_reply: bool) -> Packet {
    let (caller, address, id) = ("node".to_owned(), NAME.to_owned(), id.to_string());
    Packet::Call(Call { caller, address, id, data: vec![1, 2], no_reply })
}

fn reply(id: u32, code: u32) -> Packet {
    Packet::Reply(Reply { id: id.to_string(), code, is_partial: false, data: Vec::new() })
}

#[tokio::test]
async fn calls_come_in_and_pings_are_answered() {
    let daemon = Daemon::new();
    let (_bus, mut calls) = daemon.client(4);
    let mut side = daemon.greeted().await;

    side.send(call(1, true)).await;
    side.send(call(2, false)).await;
    side.send(Packet::Ping).await;

    // What wants no reply has none.
    assert_eq!(side.next().await, reply(2, 0));
    assert_eq!(side.next().await, Packet::Pong);
    assert_eq!(calls.recv().await.map(|call| call.data), Some(vec![1, 2]));
}

#[tokio::test]
async fn a_client_that_takes_nothing_still_answers() {
    let daemon = Daemon::new();
    let (_bus, _calls) = daemon.client(1);
    let mut side = daemon.greeted().await;

    for id in 0..2000 {
        side.send(call(id, true)).await;
    }
    side.send(call(2000, false)).await;
    side.send(Packet::Ping).await;

    assert_eq!(side.next().await, reply(2000, 500));
    assert_eq!(side.next().await, Packet::Pong);
}

#[tokio::test]
async fn a_call_has_the_reply_of_its_number() {
    let daemon = Daemon::new();
    let (bus, _calls) = daemon.client(4);
    let mut side = daemon.greeted().await;
    up(&bus).await;
    let answering = async {
        let (Packet::Call(first), Packet::Call(second)) = (side.next().await, side.next().await)
        else {
            panic!("two calls");
        };
        assert_eq!((first.no_reply, second.no_reply), (false, false));
        for (call, code) in [(second, 0), (first, 400)] {
            let Call { id, address, .. } = call;
            let data = address.into_bytes();
            side.send(Packet::Reply(Reply { id, code, is_partial: false, data })).await;
        }
    };

    let (first, second, ()) =
        tokio::join!(bus.call("/a", vec![], PATIENCE), bus.call("/b", vec![], PATIENCE), answering);

    assert_eq!(first, Err(BusError::Failed { code: 400, why: "/a".to_owned() }));
    assert_eq!(second, Ok(b"/b".to_vec()));
}

#[tokio::test]
async fn a_daemon_that_comes_back_hears_the_same_names() {
    let daemon = Daemon::new();
    let (bus, _calls) = daemon.client(4);
    let side = daemon.greeted().await;
    up(&bus).await;
    let asking = bus.call("/a", vec![], PATIENCE);
    let restarting = async {
        let mut side = side;
        let Packet::Call(_) = side.next().await else { panic!("a call") };
        drop(side);
        daemon.greeted().await
    };

    let (asked, mut side) = tokio::join!(asking, restarting);

    assert_eq!(asked, Err(BusError::Gone));
    up(&bus).await;
    bus.try_room().expect("it is empty").push("/udp/net/0x1/vpn/0123/raw", vec![5]);
    let Packet::Call(pushed) = side.next().await else { panic!("a call") };
    assert_eq!((pushed.no_reply, pushed.data), (true, vec![5]));
}

#[tokio::test]
async fn what_is_no_packet_ends_the_connection_and_not_the_client() {
    let daemon = Daemon::new();
    let (bus, _calls) = daemon.client(4);
    let mut side = daemon.greeted().await;
    up(&bus).await;

    side.stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("open");
    let _side = daemon.greeted().await;

    up(&bus).await;
}

#[tokio::test]
async fn a_daemon_that_reads_nothing_fills_no_memory() {
    let daemon = Daemon::new();
    let (bus, _calls) = daemon.client(4);
    let _side = daemon.greeted().await;
    up(&bus).await;

    // The socket's own buffer takes some, the queue has an end.
    let mut taken = 0;
    while let Some(room) = bus.try_room() {
        room.push("/udp/net/0x1/vpn/0123/raw", vec![0; 1200]);
        taken += 1;
        tokio::task::yield_now().await;
    }

    assert!((1..2000).contains(&taken), "{taken}");
}
