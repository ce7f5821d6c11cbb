//! Events that are kept for ever, and the requests that wait for the next one.

use ray_on_golem::{
    units::{Span, Timestamp},
    yagna::SessionId,
};

use super::RequestNo;

/// A listing without a limit of its own gives so many events at once.
const PAGE: usize = 100;

/// Events in the order of their instants; no two have the same one, so a cursor skips none.
#[derive(Debug)]
pub(super) struct Log<Event> {
    entries: Vec<Entry<Event>>,
    polls: Vec<Poll>,
}

#[derive(Debug)]
struct Entry<Event> {
    at: Timestamp,
    session: Option<SessionId>,
    event: Event,
}

/// A request that waits for an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Poll {
    pub(super) request: RequestNo,
    pub(super) session: SessionId,
    pub(super) after: Timestamp,
    /// When it began to wait.
    pub(super) since: Timestamp,
}

impl<Event> Default for Log<Event> {
    fn default() -> Self {
        Self { entries: Vec::new(), polls: Vec::new() }
    }
}

impl<Event: Clone> Log<Event> {
    /// Notes what happens at `now` or, if something else is noted there, an instant later.
    pub(super) fn add(
        &mut self,
        now: Timestamp,
        session: Option<SessionId>,
        event: impl FnOnce(Timestamp) -> Event,
    ) {
        let free = self.entries.last().map_or(now, |last| last.at.plus(Span::TICK));
        let at = free.max(now);
        self.entries.push(Entry { at, session, event: event(at) });
    }

    /// The first events of a session, or of all if it is empty, after an instant.
    pub(super) fn read(&self, session: &SessionId, after: Timestamp) -> Vec<Event> {
        let begin = self.entries.partition_point(|entry| entry.at <= after);
        self.entries[begin..]
            .iter()
            .filter(|entry| is_wanted(session, entry.session.as_ref()))
            .take(PAGE)
            .map(|entry| entry.event.clone())
            .collect()
    }

    /// The last event that is the one.
    pub(super) fn last(&self, is_it: impl Fn(&Event) -> bool) -> Option<&Event> {
        self.entries.iter().rev().map(|entry| &entry.event).find(|event| is_it(event))
    }

    /// Lets a request wait.
    pub(super) fn wait(&mut self, poll: Poll) {
        self.polls.push(poll);
    }

    /// Those who wait for something that happens in a session, or outside of all.
    pub(super) fn waiting<'a>(
        &'a self,
        session: Option<&'a SessionId>,
    ) -> impl Iterator<Item = &'a Poll> {
        self.polls.iter().filter(move |poll| is_wanted(&poll.session, session))
    }

    /// Ends the waiting of a request.
    pub(super) fn take(&mut self, request: RequestNo) -> Option<Poll> {
        let place = self.polls.iter().position(|poll| poll.request == request)?;
        Some(self.polls.remove(place))
    }

    /// Forgets who waits.
    pub(super) fn leave_all(&mut self) {
        self.polls.clear();
    }
}

/// Whether who asks for a session wants what happens in another; an empty one stands for all.
pub(super) fn is_wanted(asked: &SessionId, session: Option<&SessionId>) -> bool {
    asked.as_str().is_empty() || session == Some(asked)
}

#[cfg(test)]
mod tests {
    use ray_on_golem::{
        units::{Span, Timestamp},
        yagna::SessionId,
    };

    use super::{Log, Poll};
    use crate::yagna::RequestNo;

    const NOW: Timestamp = Timestamp::from_unix_micros(1_000);

    #[test]
    fn events_are_read_again_and_a_cursor_skips_none() {
        let (ours, theirs) = (SessionId::from("ours"), SessionId::from("theirs"));
        let mut log: Log<(u8, Timestamp)> = Log::default();
        for (event, session) in [(1, Some(&ours)), (2, Some(&theirs)), (3, Some(&ours)), (4, None)]
        {
            log.add(NOW, session.cloned(), |at| (event, at));
        }

        let all = log.read(&ours, Timestamp::EPOCH);

        assert_eq!(all, [(1, NOW), (3, NOW.plus(Span::micros(2)))]);
        assert_eq!(log.read(&ours, Timestamp::EPOCH), all);
        assert_eq!(log.read(&ours, NOW), all[1..]);
        assert_eq!(log.read(&ours, all[1].1), []);
        assert_eq!(log.read(&SessionId::from(""), Timestamp::EPOCH).len(), 4, "all sessions");
    }

    #[test]
    fn whoever_waits_waits_for_one_session() {
        let mut log: Log<()> = Log::default();
        let poll = |number, session: &str| Poll {
            request: RequestNo(number),
            session: SessionId::from(session),
            after: NOW,
            since: NOW,
        };
        log.wait(poll(1, "a"));
        log.wait(poll(2, "b"));

        assert_eq!(log.waiting(Some(&SessionId::from("b"))).count(), 1);
        assert_eq!(log.waiting(None).count(), 0);
        log.wait(poll(3, ""));
        assert_eq!(log.waiting(Some(&SessionId::from("b"))).count(), 2, "all sessions");
        assert_eq!(log.waiting(None).count(), 1);
        assert_eq!(log.take(RequestNo(2)), Some(poll(2, "b")));
        assert_eq!(log.take(RequestNo(2)), None);
        log.leave_all();
        assert_eq!(log.take(RequestNo(1)), None);
    }
}
