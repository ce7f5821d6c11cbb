//! Both ends are ours: one begins connections, the other one is told of them and says what becomes of them.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    task::{Context, Poll, Waker},
};

use ray_on_golem::{
    tcp::{ConnectionId, Knock, Stack, StackPlan},
    units::{Span, Timestamp},
};

use crate::world::pattern;

const ASKS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const LISTENS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const PORT: u16 = 22;
/// How long a frame takes.
const LAG: Span = Span::millis(1);

/// Two ends, and a way between them that loses each so many-th frame.
struct Pair {
    now: Timestamp,
    ends: [Stack; 2],
    loses_each: u64,
    frames: u64,
}

impl Pair {
    fn new(loses_each: u64) -> Self {
        let now = Timestamp::EPOCH.plus(Span::secs(1000));
        let end = |address, seed| Stack::new(StackPlan { address, prefix: 24, seed }, now);
        let [mut asks, mut listens] = [end(ASKS, 1), end(LISTENS, 2)];
        asks.add(LISTENS);
        listens.add(ASKS);
        listens.listen();
        Self { now, ends: [asks, listens], loses_each, frames: 0 }
    }

    fn asks(&mut self) -> &mut Stack {
        &mut self.ends[0]
    }

    fn listens(&mut self) -> &mut Stack {
        &mut self.ends[1]
    }

    fn connect(&mut self) -> ConnectionId {
        self.asks().connect(SocketAddrV4::new(LISTENS, PORT)).expect("a member")
    }

    /// Lets frames go back and forth for so long.
    fn pass(&mut self, span: Span) {
        let until = self.now.plus(span);
        while self.now < until {
            for from in [0, 1] {
                let now = self.now;
                self.ends[from].poll(now);
                while let Some((_, frame)) = self.ends[from].next_frame() {
                    self.frames += 1;
                    if !self.frames.is_multiple_of(self.loses_each) {
                        self.ends[1 - from].take(now, &frame);
                    }
                }
            }
            self.now = self.now.plus(LAG);
        }
    }

    /// What the listening end is told within a few seconds.
    fn knock(&mut self) -> Knock {
        for _ in 0..100 {
            self.pass(Span::millis(50));
            if let Some(knock) = self.listens().next_knock() {
                return knock;
            }
        }
        panic!("the connection is wanted");
    }

    /// A connection, at both ends.
    fn connected(&mut self) -> [ConnectionId; 2] {
        let ours = self.connect();
        let knock = self.knock();
        let theirs = self.listens().admit(knock).expect("there is room");
        self.pass(Span::secs(3));
        for (end, id) in self.ends.iter_mut().zip([ours, theirs]) {
            assert_eq!(end.poll_connected(id, &mut cx()), Poll::Ready(Ok(())));
        }
        [ours, theirs]
    }

    /// Sends from one end until the other one has all and the end.
    fn send(&mut self, from: usize, ids: [ConnectionId; 2], bytes: &[u8]) -> Vec<u8> {
        let (mut sent, mut received) = (0, Vec::new());
        let mut room = vec![0; 1 << 16];
        for _ in 0..100_000 {
            if sent < bytes.len()
                && let Poll::Ready(written) =
                    self.ends[from].poll_write(ids[from], &bytes[sent..], &mut cx())
            {
                sent += written.expect("open");
            } else if sent == bytes.len() {
                self.ends[from].shutdown(ids[from]);
            }
            while let Poll::Ready(read) =
                self.ends[1 - from].poll_read(ids[1 - from], &mut room, &mut cx())
            {
                match read.expect("open") {
                    0 => return received,
                    length => received.extend(&room[..length]),
                }
            }
            self.pass(LAG);
        }
        panic!("{sent} sent, {} received", received.len());
    }
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

#[test]
fn an_end_that_listens_is_told_once_of_each_connection() {
    let mut pair = Pair::new(u64::MAX);
    let ours = pair.connect();

    let knock = pair.knock();
    // It is asked again meanwhile.
    pair.pass(Span::secs(5));

    assert_eq!((*knock.from().ip(), knock.port()), (ASKS, PORT));
    assert_eq!(pair.listens().next_knock(), None);
    assert_eq!(pair.asks().poll_connected(ours, &mut cx()), Poll::Pending);
    assert!(pair.listens().admit(knock).is_some());
    assert_eq!(pair.listens().admit(knock), None);
    pair.pass(Span::secs(3));
    assert_eq!(pair.asks().poll_connected(ours, &mut cx()), Poll::Ready(Ok(())));
}

#[test]
fn what_is_refused_is_over_and_what_is_ignored_is_asked_again() {
    let mut pair = Pair::new(u64::MAX);
    let ignored = pair.connect();
    let knock = pair.knock();
    pair.listens().ignore(knock);
    let again = pair.knock();

    assert_eq!((again, pair.asks().poll_connected(ignored, &mut cx())), (knock, Poll::Pending));
    pair.listens().refuse(again);
    pair.pass(Span::secs(1));

    let Poll::Ready(refused) = pair.asks().poll_connected(ignored, &mut cx()) else {
        panic!("it is known");
    };
    assert!(refused.is_err());
    assert_eq!(pair.listens().connections(), 0);
}

#[test]
fn connections_to_one_port_are_kept_apart() {
    let mut pair = Pair::new(29);
    let connections = [pair.connected(), pair.connected(), pair.connected()];
    let bytes = pattern(300_000);

    for (number, ids) in connections.into_iter().enumerate() {
        let part = &bytes[..100_000 * (number + 1)];
        for from in [0, 1] {
            assert!(pair.send(from, ids, part) == part, "connection {number} from {from}");
        }
    }
}

#[test]
fn an_end_that_does_not_listen_refuses() {
    let mut pair = Pair::new(u64::MAX);
    let back = SocketAddrV4::new(ASKS, PORT);
    let id = pair.listens().connect(back).expect("a member");

    pair.pass(Span::secs(1));

    let Poll::Ready(made) = pair.listens().poll_connected(id, &mut cx()) else {
        panic!("it is known");
    };
    assert!(made.is_err());
    assert_eq!(pair.asks().next_knock(), None);
}

#[test]
fn a_connection_that_is_given_up_before_it_is_made_leaves_nothing() {
    let mut pair = Pair::new(u64::MAX);
    let ours = pair.connect();
    let knock = pair.knock();
    let theirs = pair.listens().admit(knock).expect("there is room");

    // The answer of the listening end meets a reset.
    pair.asks().leave(ours);
    pair.pass(Span::secs(1));

    let made = pair.listens().poll_connected(theirs, &mut cx());
    assert!(matches!(made, Poll::Ready(Err(_))), "{made:?}");
    pair.listens().leave(theirs);
    pair.pass(Span::secs(1));
    assert_eq!((pair.asks().connections(), pair.listens().connections()), (0, 0));
}
