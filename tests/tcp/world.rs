//! Two ends, the way between them, and virtual time.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddrV4},
    task::{Context, Poll, Waker},
};

use ray_on_golem::{
    core::rng::Seed,
    tcp::{Broken, ConnectionId, Stack, StackPlan},
    units::{Span, Timestamp},
};

use crate::node::{Node, Service};

pub(crate) const US: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const NODE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
pub(crate) const PORT: u16 = 22;

/// What happens to frames, in millionths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// How long a frame takes.
    pub(crate) lag: Span,
    /// How much longer some take, so that they are overtaken.
    pub(crate) jitter: Span,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    /// Bytes per second of each direction; none for as many as there are.
    pub(crate) rate: Option<u64>,
    /// How long a frame may have to wait for those before it; what would have to wait longer is lost.
    pub(crate) queue: Option<Span>,
}

impl Way {
    pub(crate) const fn clean(lag: Span) -> Self {
        Self { lag, jitter: Span::ZERO, lost: 0, doubled: 0, rate: None, queue: None }
    }
}

pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) ours: Stack,
    pub(crate) node: Node,
    pub(crate) way: Way,
    /// Nothing gets through.
    pub(crate) is_silent: bool,
    /// On their way: when they arrive, and whether at the node.
    flying: BTreeMap<(Timestamp, u64), (bool, Vec<u8>)>,
    /// When the last frame of each direction has left.
    busy: [Timestamp; 2],
    pub(crate) frames: u64,
    /// Those to the node.
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    seed: Seed,
}

impl World {
    pub(crate) fn new(seed: u64, way: Way) -> Self {
        Self::with(seed, way, Service::Echo)
    }

    pub(crate) fn with(seed: u64, way: Way, service: Service) -> Self {
        let now = Timestamp::EPOCH.plus(Span::secs(1000));
        let mut ours = Stack::new(StackPlan { address: US, prefix: 24, seed }, now);
        ours.add(NODE);
        Self {
            now,
            ours,
            node: Node::new(service),
            way,
            is_silent: false,
            flying: BTreeMap::new(),
            busy: [now; 2],
            frames: 0,
            sent: 0,
            lost: 0,
            seed: Seed::new(seed),
        }
    }

    /// A connection that is made.
    pub(crate) fn connect(&mut self) -> ConnectionId {
        let id = self.ours.connect(SocketAddrV4::new(NODE, PORT)).expect("it is a member");
        self.until(Span::secs(120), |world| {
            match world.ours.poll_connected(id, &mut Context::from_waker(Waker::noop())) {
                Poll::Ready(made) => Some(made),
                Poll::Pending => None,
            }
        })
        .expect("in time")
        .expect("the node listens");
        id
    }

    pub(crate) fn read(&mut self, id: ConnectionId) -> Poll<Result<Vec<u8>, Broken>> {
        let mut bytes = vec![0; 1 << 16];
        let read = self.ours.poll_read(id, &mut bytes, &mut Context::from_waker(Waker::noop()));
        read.map_ok(|length| bytes[..length].to_vec())
    }

    pub(crate) fn write(&mut self, id: ConnectionId, bytes: &[u8]) -> usize {
        match self.ours.poll_write(id, bytes, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(length)) => length,
            Poll::Ready(Err(broken)) => panic!("{broken}"),
            Poll::Pending => 0,
        }
    }

    /// Sends so much, ends, and reads the same again.
    pub(crate) fn echo(&mut self, id: ConnectionId, size: usize) -> bool {
        let sent = pattern(size);
        let (mut at, mut back, mut is_shut) = (0, Vec::new(), false);
        let ended = self.until(Span::secs(3600), |world| {
            at += world.write_from(id, &sent, at);
            if at == size && !is_shut {
                is_shut = true;
                world.ours.shutdown(id);
            }
            loop {
                match world.read(id) {
                    Poll::Ready(Ok(bytes)) if bytes.is_empty() => return Some(()),
                    Poll::Ready(Ok(bytes)) => back.extend(bytes),
                    Poll::Ready(Err(broken)) => panic!("{broken}"),
                    Poll::Pending => return None,
                }
            }
        });
        ended.is_some() && back == sent
    }

    fn write_from(&mut self, id: ConnectionId, bytes: &[u8], at: usize) -> usize {
        if at < bytes.len() { self.write(id, &bytes[at..]) } else { 0 }
    }

    /// Sends so much to a sink; says how long that took.
    pub(crate) fn upload(&mut self, id: ConnectionId, size: usize) -> Option<Span> {
        let (sent, began) = (pattern(size), self.now);
        let before = self.node.read.len();
        let mut at = 0;
        self.until(Span::secs(3600), |world| {
            at += world.write_from(id, &sent, at);
            (world.node.read.len() - before == size).then_some(())
        })?;
        assert!(self.node.read[before..] == sent, "what arrives is what was sent");
        Some(self.now.since(began))
    }

    /// Lets time pass until there is an answer, but no longer than `limit`.
    pub(crate) fn until<T>(
        &mut self,
        limit: Span,
        mut ask: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let end = self.now.plus(limit);
        loop {
            if let Some(answer) = ask(self) {
                return Some(answer);
            }
            self.work();
            if let Some(answer) = ask(self) {
                return Some(answer);
            }
            self.work();
            let next = self.flying.keys().next().map(|(at, _)| *at);
            let next = next.into_iter().chain(self.ours.deadline());
            let next = next.chain(self.node.deadline(self.now)).min()?;
            // A deadline that has passed is no reason to stand still.
            self.now = next.max(self.now.plus(Span::micros(1)));
            if self.now > end {
                self.now = end;
                return None;
            }
        }
    }

    pub(crate) fn pass(&mut self, span: Span) {
        let _: Option<()> = self.until(span, |_| None);
    }

    fn work(&mut self) {
        while let Some(entry) = self.flying.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let (is_to_node, frame) = entry.remove();
            if self.is_silent {
                continue;
            }
            match is_to_node {
                true => self.node.take(frame),
                false => self.ours.take(self.now, &frame),
            }
        }
        for frame in self.node.poll(self.now) {
            self.send(false, frame);
        }
        self.ours.poll(self.now);
        while let Some((to, frame)) = self.ours.next_frame() {
            assert_eq!(to, NODE);
            self.send(true, frame);
        }
    }

    fn send(&mut self, is_to_node: bool, frame: Vec<u8>) {
        let at = self.frames;
        self.frames += 1;
        self.sent += u64::from(is_to_node);
        let draw = |what, below| self.seed.below(below, what, at, 0);
        if draw("lost", 1_000_000) < self.way.lost {
            self.lost += 1;
            return;
        }
        let busy = &mut self.busy[usize::from(is_to_node)];
        if self.way.queue.is_some_and(|queue| busy.since(self.now) > queue) {
            self.lost += 1;
            return;
        }
        let took = self.way.rate.map_or(0, |rate| frame.len() as u64 * 1_000_000 / rate);
        *busy = (*busy).max(self.now).plus(Span::micros(took));
        let left = *busy;
        let jitter = self.way.jitter.as_micros();
        let late = if jitter == 0 { 0 } else { draw("jitter", jitter) };
        let arrives = left.plus(self.way.lag).plus(Span::micros(late));
        if draw("doubled", 1_000_000) < self.way.doubled {
            let again = arrives.plus(Span::millis(1));
            self.flying.insert((again, at << 1 | 1), (is_to_node, frame.clone()));
        }
        self.flying.insert((arrives, at << 1), (is_to_node, frame));
    }
}

pub(crate) fn pattern(size: usize) -> Vec<u8> {
    let word = |at: usize| (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    (0..size.div_ceil(8)).flat_map(word).take(size).collect()
}
