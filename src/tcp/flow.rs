//! The segments of one connection that the node has not acknowledged yet.

use std::collections::VecDeque;

use crate::units::{Span, Timestamp};

/// What a segment carries at most; windows are counted in it.
const SEGMENT: u64 = 1180;
const FIRST_WINDOW: u64 = 10 * SEGMENT;
const LEAST_WINDOW: u64 = 2 * SEGMENT;
/// Of a window that was too large, so many tenths are left.
const LEFT: u64 = 7;
/// One segment in so many may get lost without the window shrinking: 2 %, as BBR v3 has it.
const BORNE_EVERY: u64 = 50;
/// So much may get lost at once.
const BORNE_MAX: u64 = 3 * SEGMENT;

/// Before the way has been measured.
const FIRST_TIMEOUT: Span = Span::secs(1);
const LEAST_TIMEOUT: Span = Span::millis(200);
const MOST_TIMEOUT: Span = Span::secs(5);
/// A segment has at least so long to be overtaken.
const LEAST_REORDERING: Span = Span::millis(2);
/// Acknowledgements without news, where the node tells nothing by SACK.
const DUPLICATES: u32 = 3;

/// A segment.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// The number of its first byte.
    pub(super) seq: u32,
    /// Its bytes.
    pub(super) bytes: Vec<u8>,
    /// Whether the end of our direction is behind them.
    pub(super) is_fin: bool,
}

/// One connection's segments.
#[derive(Debug)]
pub(super) struct Flow {
    /// All below it has arrived.
    done: u32,
    /// All below it was sent.
    sent: u32,
    /// All below it is known here.
    known: u32,
    segments: VecDeque<Segment>,
    window: u64,
    threshold: u64,
    /// What was acknowledged since the window grew.
    credit: u64,
    /// How much may get lost before the window shrinks, times [`BORNE_EVERY`]: it grows with what arrives.
    borne: u64,
    /// Until all below it has arrived, the window does not grow, since what got lost was borne.
    held: Option<u32>,
    /// Until all below it has arrived, a loss is the same loss.
    recovering: Option<u32>,
    duplicates: u32,
    has_sacks: bool,
    round_trip: Option<RoundTrip>,
    /// How often the timer has run out since something arrived.
    timeouts: u32,
    timer: Option<Timestamp>,
    /// How many times a segment was sent.
    sendings: u64,
    /// Which sending was the last one of all that have arrived.
    latest: u64,
}

#[derive(Debug)]
struct Segment {
    piece: Piece,
    state: State,
    at: Timestamp,
    /// Which sending that was.
    sending: u64,
    times: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Flying,
    Arrived,
    Lost,
}

/// How long segments and their acknowledgements take, in microseconds.
#[derive(Clone, Copy, Debug)]
struct RoundTrip {
    mean: u64,
    deviation: u64,
}

impl Piece {
    fn length(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX) + u32::from(self.is_fin)
    }

    fn end(&self) -> u32 {
        self.seq.wrapping_add(self.length())
    }
}

impl Flow {
    /// Nothing is sent yet; `first` is the number of the first byte.
    pub(super) const fn new(first: u32) -> Self {
        Self {
            done: first,
            sent: first,
            known: first,
            segments: VecDeque::new(),
            window: FIRST_WINDOW,
            threshold: u64::MAX,
            credit: 0,
            borne: BORNE_MAX * BORNE_EVERY,
            held: None,
            recovering: None,
            duplicates: 0,
            has_sacks: false,
            round_trip: None,
            timeouts: 0,
            timer: None,
            sendings: 0,
            latest: 0,
        }
    }

    /// The number of the byte that is sent next.
    pub(super) const fn next(&self) -> u32 {
        self.sent
    }

    /// Whether a segment only asks whether the node is there: all of it has arrived.
    pub(super) fn is_probe(&self, seq: u32, length: usize) -> bool {
        let end = seq.wrapping_add(u32::try_from(length).unwrap_or(u32::MAX));
        self.segments.is_empty() && !is_after(end, self.done)
    }

    /// Keeps a segment until it may be sent. Of one that is known nothing is kept.
    pub(super) fn queue(&mut self, mut piece: Piece) {
        if !is_after(piece.end(), self.known) {
            return;
        }
        // It may begin with what is known.
        let known = usize::try_from(self.known.wrapping_sub(piece.seq)).unwrap_or(0);
        if known > piece.bytes.len() {
            return;
        }
        piece.bytes.drain(..known);
        piece.seq = self.known;
        self.known = piece.end();
        let (at, state) = (Timestamp::EPOCH, State::Waiting);
        self.segments.push_back(Segment { piece, state, at, sending: 0, times: 0 });
    }

    /// The node has all below `ack`, and the ranges of `sacks`.
    pub(super) fn acknowledge(
        &mut self,
        now: Timestamp,
        ack: u32,
        sacks: &[Option<(u32, u32)>],
        is_bare: bool,
    ) {
        if is_after(ack, self.sent) || is_after(self.done, ack) {
            return;
        }
        for (from, to) in sacks.iter().flatten() {
            self.has_sacks = true;
            self.arrived(now, |piece| !is_after(*from, piece.seq) && !is_after(piece.end(), *to));
        }
        if ack == self.done {
            self.duplicates += u32::from(is_bare && !self.segments.is_empty());
        } else {
            self.advance(now, ack);
        }
        self.find_lost(now);
    }

    /// Looks at the clock.
    pub(super) fn look(&mut self, now: Timestamp) {
        if self.timer.is_some_and(|timer| timer <= now) {
            let flying = self.flying();
            self.threshold = (flying * LEFT / 10).max(LEAST_WINDOW);
            self.window = SEGMENT;
            self.recovering = Some(self.sent);
            self.held = None;
            self.timeouts = self.timeouts.saturating_add(1);
            self.timer = None;
            for segment in self.segments.iter_mut().filter(|it| it.state == State::Flying) {
                segment.state = State::Lost;
            }
        }
        self.find_lost(now);
    }

    /// The next segment to be sent, if there is one that may.
    pub(super) fn send(&mut self, now: Timestamp) -> Option<&Piece> {
        let lost = self.segments.iter().position(|it| it.state == State::Lost);
        let next = lost.or_else(|| self.segments.iter().position(|it| it.state == State::Waiting));
        let flying = self.flying();
        let timeout = self.timeout();
        let segment = &mut self.segments[next?];
        if flying > 0 && flying + u64::from(segment.piece.length()) > self.window {
            return None;
        }
        segment.state = State::Flying;
        self.sendings += 1;
        segment.sending = self.sendings;
        segment.at = now;
        segment.times += 1;
        if is_after(segment.piece.end(), self.sent) {
            self.sent = segment.piece.end();
        }
        self.timer.get_or_insert_with(|| now.plus(timeout));
        Some(&segment.piece)
    }

    /// When [`Flow::look`] has something to do.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let overtaken = self.overtaken().map(|segment| self.lost_at(segment));
        overtaken.chain(self.timer).min()
    }

    fn advance(&mut self, now: Timestamp, ack: u32) {
        let arrived = u64::from(ack.wrapping_sub(self.done));
        self.borne = (self.borne + arrived).min(BORNE_MAX * BORNE_EVERY);
        self.arrived(now, |piece| !is_after(piece.end(), ack));
        while let Some(segment) = self.segments.front_mut() {
            if is_after(segment.piece.end(), ack) {
                let piece = &mut segment.piece;
                if is_after(ack, piece.seq) {
                    // A part of it has arrived.
                    let part = usize::try_from(ack.wrapping_sub(piece.seq)).unwrap_or(0);
                    piece.bytes.drain(..part.min(piece.bytes.len()));
                    piece.seq = ack;
                }
                break;
            }
            if segment.times == 1 {
                let took = now.since(segment.at);
                self.round_trip = Some(RoundTrip::of(self.round_trip, took));
            }
            self.segments.pop_front();
        }
        self.done = ack;
        self.duplicates = 0;
        self.timeouts = 0;
        if self.recovering.is_some_and(|until| !is_after(until, ack)) {
            self.recovering = None;
        }
        if self.held.is_some_and(|until| !is_after(until, ack)) {
            self.held = None;
        }
        if self.held.is_none() {
            self.grow(arrived);
        }
        let is_flying = self.segments.iter().any(|it| it.state == State::Flying);
        self.timer = is_flying.then(|| now.plus(self.timeout()));
    }

    fn grow(&mut self, arrived: u64) {
        if self.window < self.threshold {
            self.window += arrived.min(2 * SEGMENT);
        } else if self.recovering.is_none() {
            self.credit += arrived;
            if self.credit >= self.window {
                self.credit -= self.window;
                self.window += SEGMENT;
            }
        }
    }

    /// Notes which segments have arrived.
    fn arrived(&mut self, now: Timestamp, is_it: impl Fn(&Piece) -> bool) {
        let soon = Span::micros(self.round_trip.map_or(0, |it| it.mean)).over(2);
        for segment in &mut self.segments {
            let is_new = matches!(segment.state, State::Flying | State::Lost);
            if is_new && is_it(&segment.piece) {
                // Of one that was sent again so lately, it is the one before that has arrived.
                let is_earlier = segment.times > 1 && now.since(segment.at) < soon;
                if segment.state == State::Flying && !is_earlier {
                    self.latest = self.latest.max(segment.sending);
                }
                segment.state = State::Arrived;
            }
        }
    }

    fn find_lost(&mut self, now: Timestamp) {
        let is_lost = |segment: &Segment| {
            segment.state == State::Flying
                && segment.sending < self.latest
                && self.lost_at(segment) <= now
        };
        let mut lost: Vec<usize> =
            self.segments.iter().enumerate().filter(|(_, it)| is_lost(it)).map(|it| it.0).collect();
        let is_first_flying = self.segments.front().is_some_and(|it| it.state == State::Flying);
        if !self.has_sacks && self.duplicates >= DUPLICATES && is_first_flying {
            self.duplicates = 0;
            lost.push(0);
        }
        if lost.is_empty() {
            return;
        }
        let mut cost = 0;
        for at in lost {
            let segment = &mut self.segments[at];
            segment.state = State::Lost;
            cost += u64::from(segment.piece.length()) * BORNE_EVERY;
        }
        let is_borne = cost <= self.borne;
        self.borne = self.borne.saturating_sub(cost);
        if self.recovering.is_some() {
            return;
        }
        if is_borne {
            self.held = Some(self.sent);
        } else {
            self.recovering = Some(self.sent);
            self.window = (self.window * LEFT / 10).max(LEAST_WINDOW);
            self.threshold = self.window;
            self.credit = 0;
        }
    }

    /// Segments that were sent before one that has arrived.
    fn overtaken(&self) -> impl Iterator<Item = &Segment> {
        let flying = self.segments.iter().filter(|it| it.state == State::Flying);
        flying.filter(|it| it.sending < self.latest)
    }

    /// When a segment that was overtaken counts as lost.
    fn lost_at(&self, segment: &Segment) -> Timestamp {
        let mean = Span::micros(self.round_trip.map_or(0, |it| it.mean));
        segment.at.plus(mean).plus(mean.over(4).max(LEAST_REORDERING))
    }

    fn flying(&self) -> u64 {
        let flying = self.segments.iter().filter(|it| it.state == State::Flying);
        flying.map(|it| u64::from(it.piece.length())).sum()
    }

    fn timeout(&self) -> Span {
        let first = self.round_trip.map_or(FIRST_TIMEOUT, |it| {
            Span::micros(it.mean + 4 * it.deviation).max(LEAST_TIMEOUT)
        });
        first.times(1 << self.timeouts.min(8)).min(MOST_TIMEOUT)
    }
}

impl RoundTrip {
    /// As RFC 6298 has it.
    fn of(before: Option<Self>, took: Span) -> Self {
        let took = took.as_micros();
        before.map_or(Self { mean: took, deviation: took / 2 }, |Self { mean, deviation }| Self {
            mean: (mean * 7 + took) / 8,
            deviation: (deviation * 3 + mean.abs_diff(took)) / 4,
        })
    }
}

/// Whether `a` comes after `b`, in numbers that begin again at 0.
const fn is_after(a: u32, b: u32) -> bool {
    let distance = a.wrapping_sub(b);
    distance != 0 && distance < 1 << 31
}
