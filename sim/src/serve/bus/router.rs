//! Who is on the bus: clients, the names that they have, calls without a reply, and what is told to several.
//!
//! As the daemon's router: a call goes to the longest name that its address begins with, a name has one client, and a
//! client that says hello as an earlier one did ends that one.

use std::collections::{BTreeMap, BTreeSet};

use ray_on_golem::yagna::bus::{Broadcast, Call, Packet, Reply};
use tokio::sync::mpsc;

/// Names of one client.
const NAMES_MAX: usize = 1_000;
/// Calls without a reply.
const CALLS_MAX: usize = 10_000;

const BAD_REQUEST: u32 = 400;
const NOT_FOUND: u32 = 404;
const CONFLICT: u32 = 409;
const FAILURE: u32 = 500;

/// A client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line(u64);

/// All clients.
#[derive(Debug, Default)]
pub(super) struct Router {
    next: u64,
    clients: BTreeMap<Line, Client>,
    names: BTreeMap<String, Line>,
    /// Who asked, and who is asked, by the id of the call.
    calls: BTreeMap<String, (Line, Line)>,
}

#[derive(Debug)]
struct Client {
    instance: [u8; 16],
    topics: BTreeSet<String>,
    /// Its connection ends when this is dropped.
    outgoing: mpsc::Sender<Vec<u8>>,
}

impl Router {
    /// Takes a client in; an earlier one of the same instance is ended.
    pub(super) fn join(&mut self, instance: [u8; 16], outgoing: mpsc::Sender<Vec<u8>>) -> Line {
        let earlier = self.clients.iter().find(|(_, client)| client.instance == instance);
        if let Some(line) = earlier.map(|(line, _)| *line) {
            self.leave(line);
        }
        let line = Line(self.number());
        self.clients.insert(line, Client { instance, topics: BTreeSet::new(), outgoing });
        line
    }

    /// A client is gone: its names are free, and who has asked it hears so.
    pub(super) fn leave(&mut self, line: Line) {
        self.clients.remove(&line);
        self.names.retain(|_, owner| *owner != line);
        let lost: Vec<(String, Line)> = self
            .calls
            .extract_if(.., |_, (asker, asked)| *asker == line || *asked == line)
            .map(|(id, (asker, _))| (id, asker))
            .collect();
        for (id, asker) in lost {
            let data = b"the service is gone".to_vec();
            self.send(asker, &Packet::Reply(Reply { id, code: FAILURE, is_partial: false, data }));
        }
    }

    /// Sends a packet to a client, if it is there and has room.
    pub(super) fn send(&self, line: Line, packet: &Packet) {
        if let Some(client) = self.clients.get(&line) {
            // One that does not read loses what it is sent.
            let _ = client.outgoing.try_send(packet.to_bytes());
        }
    }

    /// Who has the longest name that an address begins with.
    pub(super) fn find(&self, address: &str) -> Option<Line> {
        let mut name = address;
        loop {
            if let Some(line) = self.names.get(name) {
                return Some(*line);
            }
            (name, _) = name.rsplit_once('/')?;
        }
    }

    /// An id for a call of the daemon's own.
    pub(super) fn fresh_id(&mut self) -> String {
        format!("sim-{:x}", self.number())
    }

    /// Passes a call on from one client to another.
    pub(super) fn pass(&mut self, from: Line, to: Line, call: Call) {
        if !call.no_reply {
            if self.calls.len() >= CALLS_MAX || self.calls.contains_key(&call.id) {
                let (id, data) = (call.id, b"too many calls, or one of this id".to_vec());
                let reply = Reply { id, code: FAILURE, is_partial: false, data };
                return self.send(from, &Packet::Reply(reply));
            }
            self.calls.insert(call.id.clone(), (from, to));
        }
        self.send(to, &Packet::Call(call));
    }

    /// Takes a packet that is no call.
    pub(super) fn take(&mut self, line: Line, packet: Packet) {
        let answer = match packet {
            Packet::Register { service } => Some(self.register(line, service)),
            Packet::Unregister { service } => {
                let is_own = self.names.get(&service) == Some(&line);
                if is_own {
                    self.names.remove(&service);
                }
                Some(Packet::Unregistered { code: if is_own { 0 } else { NOT_FOUND } })
            }
            Packet::Reply(reply) => {
                self.reply(line, reply);
                None
            }
            Packet::Subscribe { topic } => {
                self.topics(line).map(|topics| topics.insert(topic));
                Some(Packet::Subscribed)
            }
            Packet::Unsubscribe { topic } => {
                let was_there = self.topics(line).is_some_and(|topics| topics.remove(&topic));
                Some(Packet::Unsubscribed { code: if was_there { 0 } else { NOT_FOUND } })
            }
            Packet::Broadcast(news) => {
                self.tell(line, news);
                Some(Packet::Broadcasted)
            }
            Packet::Ping => Some(Packet::Pong),
            Packet::Hello(_)
            | Packet::Registered { .. }
            | Packet::Unregistered { .. }
            | Packet::Call(_)
            | Packet::Subscribed
            | Packet::Unsubscribed { .. }
            | Packet::Broadcasted
            | Packet::Pong
            | Packet::Other(_) => None,
        };
        if let Some(answer) = answer {
            self.send(line, &answer);
        }
    }

    fn register(&mut self, line: Line, service: String) -> Packet {
        let refused = |code, message: &str| {
            let message = message.to_owned();
            Packet::Registered { code, message }
        };
        if !service.starts_with('/') {
            return refused(BAD_REQUEST, "a name begins with a slash");
        }
        if self.names.contains_key(&service) {
            return refused(CONFLICT, "the name belongs to another client");
        }
        if self.names.values().filter(|owner| **owner == line).count() >= NAMES_MAX {
            return refused(FAILURE, "too many names");
        }
        self.names.insert(service, line);
        refused(0, "")
    }

    fn reply(&mut self, line: Line, reply: Reply) {
        let Some((asker, asked)) = self.calls.get(&reply.id).copied() else { return };
        if asked != line {
            return;
        }
        if !reply.is_partial {
            self.calls.remove(&reply.id);
        }
        self.send(asker, &Packet::Reply(reply));
    }

    fn tell(&self, line: Line, news: Broadcast) {
        let wants = |client: &Client| client.topics.contains(&news.topic);
        let others = self.clients.iter().filter(|(other, client)| **other != line && wants(client));
        let others: Vec<Line> = others.map(|(other, _)| *other).collect();
        let packet = Packet::Broadcast(news);
        for other in others {
            self.send(other, &packet);
        }
    }

    fn topics(&mut self, line: Line) -> Option<&mut BTreeSet<String>> {
        let topics = &mut self.clients.get_mut(&line)?.topics;
        (topics.len() < NAMES_MAX).then_some(topics)
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

#[cfg(test)]
mod tests {
    use ray_on_golem::yagna::bus::{Broadcast, Call, Decoder, Packet, Reply};
    use tokio::sync::mpsc;

    use super::{Line, Router};

    /// A client, and what it was sent.
    struct Client(Line, mpsc::Receiver<Vec<u8>>);

    impl Client {
        fn join(router: &mut Router, instance: u8) -> Self {
            let (outgoing, sent) = mpsc::channel(16);
            Self(router.join([instance; 16], outgoing), sent)
        }

        fn next(&mut self) -> Option<Packet> {
            let mut decoder = Decoder::default();
            decoder.extend(&self.1.try_recv().ok()?);
            decoder.next_packet().expect("a packet")
        }
    }

    fn register(router: &mut Router, client: &mut Client, service: &str) -> u32 {
        router.take(client.0, Packet::Register { service: service.to_owned() });
        let Some(Packet::Registered { code, .. }) = client.next() else { panic!("an answer") };
        code
    }

    fn call(address: &str) -> Call {
        let (caller, address, id) = ("local".to_owned(), address.to_owned(), "1".to_owned());
        Call { caller, address, id, data: vec![7], no_reply: false }
    }

    #[test]
    fn a_call_goes_to_the_longest_name_and_its_reply_comes_back() {
        let mut router = Router::default();
        let (mut asker, mut short, mut long) = (
            Client::join(&mut router, 1),
            Client::join(&mut router, 2),
            Client::join(&mut router, 3),
        );
        assert_eq!(register(&mut router, &mut short, "/a"), 0);
        assert_eq!(register(&mut router, &mut long, "/a/b"), 0);

        assert_eq!(router.find("/a/bc"), Some(short.0));
        assert_eq!(router.find("/c"), None);
        let to = router.find("/a/b/c").expect("it is registered");
        router.pass(asker.0, to, call("/a/b/c"));

        assert_eq!(long.next(), Some(Packet::Call(call("/a/b/c"))));
        let reply = Reply { id: "1".to_owned(), code: 0, is_partial: false, data: vec![8] };
        // Only who was asked answers.
        router.take(short.0, Packet::Reply(reply.clone()));
        assert_eq!(asker.next(), None);
        router.take(long.0, Packet::Reply(reply.clone()));
        assert_eq!(asker.next(), Some(Packet::Reply(reply)));
    }

    #[test]
    fn a_name_has_one_client_until_it_is_gone() {
        let mut router = Router::default();
        let (mut first, mut second) = (Client::join(&mut router, 1), Client::join(&mut router, 2));
        assert_eq!(register(&mut router, &mut first, "/a"), 0);
        assert_eq!(register(&mut router, &mut second, "/a"), 409);
        assert_eq!(register(&mut router, &mut second, "a"), 400);
        router.pass(second.0, first.0, call("/a"));

        // A client of the same instance ends the one before it.
        let mut again = Client::join(&mut router, 1);

        assert!(first.next().is_some() && first.1.is_closed());
        assert!(matches!(second.next(), Some(Packet::Reply(Reply { code: 500, .. }))));
        assert_eq!(register(&mut router, &mut again, "/a"), 0);
        router.take(second.0, Packet::Unregister { service: "/a".to_owned() });
        assert_eq!(second.next(), Some(Packet::Unregistered { code: 404 }));
        router.take(again.0, Packet::Unregister { service: "/a".to_owned() });
        assert_eq!(
            (again.next(), router.find("/a")),
            (Some(Packet::Unregistered { code: 0 }), None)
        );
    }

    #[test]
    fn what_is_told_goes_to_all_others_who_want_it() {
        let mut router = Router::default();
        let mut clients = [1, 2, 3].map(|instance| Client::join(&mut router, instance));
        let topic = || "t".to_owned();
        for client in &mut clients[..2] {
            router.take(client.0, Packet::Subscribe { topic: topic() });
            assert_eq!(client.next(), Some(Packet::Subscribed));
        }
        let news = Broadcast { caller: "c".to_owned(), data: vec![1], topic: topic() };

        router.take(clients[0].0, Packet::Broadcast(news.clone()));

        let [told, heard, deaf] = clients.each_mut().map(Client::next);
        assert_eq!(told, Some(Packet::Broadcasted));
        assert_eq!((heard, deaf), (Some(Packet::Broadcast(news)), None));
        router.take(clients[1].0, Packet::Unsubscribe { topic: topic() });
        assert_eq!(clients[1].next(), Some(Packet::Unsubscribed { code: 0 }));
    }
}
