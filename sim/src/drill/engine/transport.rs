//! What lies between the machine and the daemon: calls that are slow, lost, refused, or answered
//! twice, and looks over ssh.

use std::sync::Arc;

use ray_on_golem::{
    core::{
        Probe,
        ids::{CallId, ProbeId},
    },
    units::{Span, Timestamp},
    yagna::{CallError, Doubt, Request, Response, Status, request::Endpoint},
};

use super::{Engine, Event, Open};
use crate::{
    fault::{Fate, OutageKind},
    scenario::distribution::ONE,
    wire,
    yagna::{RequestNo, books::SshAnswer},
};

/// A look over ssh that is answered takes so long.
const SSH_TIME: Span = Span::millis(1_100);

impl Engine {
    pub(super) fn arrive(&mut self, life: u32, call: CallId, request: &Request) {
        match self.outage_now() {
            Some(OutageKind::Hang) => return,
            Some(OutageKind::Restart | OutageKind::Down) => {
                let why = "connection reset".to_owned();
                self.reply_later(life, call, Err(CallError::Unknown(Doubt::Closed { why })));
                return;
            }
            None => {}
        }
        let number = RequestNo(self.next_request);
        self.next_request += 1;
        self.by_request.insert(number, (life, call));
        if life == self.life
            && let Some(open) = self.open.get_mut(&call)
        {
            open.arrived = Some(number);
        }
        let mut request = request.clone();
        self.clocks.ask(&mut request);
        self.daemon.handle(self.now, number, &request);
        self.collect_replies();
    }

    pub(super) fn collect_replies(&mut self) {
        while let Some((number, reply)) = self.daemon.poll_reply() {
            let Some((life, call)) = self.by_request.remove(&number) else { continue };
            if life != self.life {
                continue;
            }
            let Some(open) = self.open.get(&call) else { continue };
            let mut result = match open.fate {
                Fate::ReplyLost => continue,
                Fate::Closed => {
                    let why = "connection closed before message completed".to_owned();
                    Err(CallError::Unknown(Doubt::Closed { why }))
                }
                Fate::Garbled => {
                    Err(CallError::Unknown(Doubt::Garbled { why: "not JSON".to_owned() }))
                }
                Fate::WrongIds(how) => wire::pass_wrong_reply(&open.request, &reply, how),
                Fate::Through | Fate::Refused | Fate::RequestLost | Fate::Failed
                    if self.setup.is_wired =>
                {
                    wire::pass_reply(&open.request, &reply)
                }
                Fate::Through | Fate::Refused | Fate::RequestLost | Fate::Failed => {
                    reply.map_err(|refusal| {
                        if refusal.status < Status(500) {
                            CallError::Rejected { status: refusal.status, body: refusal.body }
                        } else {
                            let (status, body) = (refusal.status, refusal.body);
                            CallError::Unknown(Doubt::Failed { status, body })
                        }
                    })
                }
            };
            if matches!(open.fate, Fate::WrongIds(_)) {
                self.has_lied = true;
                self.findings.marks.insert("wrong ids in a good reply");
            }
            self.clocks.tell(&mut result);
            self.reply_later(life, call, result);
        }
    }

    pub(super) fn on_outage(&mut self, until: Timestamp, kind: OutageKind) {
        self.outage = Some((until, kind));
        if kind == OutageKind::Restart {
            self.daemon.restart(self.now);
        }
        if kind == OutageKind::Hang {
            return;
        }
        let arrived: Vec<(CallId, RequestNo)> =
            self.open.iter().filter_map(|(call, open)| Some((*call, open.arrived?))).collect();
        for (call, number) in arrived {
            self.daemon.cancel(number);
            self.by_request.remove(&number);
            let why = "connection reset".to_owned();
            self.reply_later(self.life, call, Err(CallError::Unknown(Doubt::Closed { why })));
        }
    }

    pub(super) fn call(&mut self, call: CallId, request: Request, patience: Span) {
        let endpoint = request.endpoint();
        let nth = self.tries.entry(endpoint).or_insert(0);
        *nth += 1;
        let fate = self.faults.fate(self.setup.seed, endpoint, *nth);
        let request = if self.setup.is_wired { wire::pass_request(&request) } else { request };
        let request = Arc::new(request);
        let is_away = matches!(self.outage_now(), Some(OutageKind::Restart | OutageKind::Down));
        let is_aside = is_scan(endpoint);
        let at = self.now.plus(self.latency(is_aside));
        if fate == Fate::Refused || is_away {
            let why = "connection refused".to_owned();
            let result = Box::new(Err(CallError::NotSent { why }));
            self.enqueue(is_aside, at, Event::Deliver { life: self.life, call, result });
        } else if fate == Fate::Failed {
            let body = "{\"message\":\"Internal error\"}".to_owned();
            let error = CallError::Unknown(Doubt::Failed { status: Status(500), body });
            let result = Box::new(Err(error));
            self.enqueue(is_aside, at, Event::Deliver { life: self.life, call, result });
        } else if fate != Fate::RequestLost {
            let request = Arc::clone(&request);
            self.enqueue(is_aside, at, Event::Arrive { life: self.life, call, request });
        }
        self.enqueue(is_aside, self.now.plus(patience), Event::TimeOut { life: self.life, call });
        self.open.insert(call, Open { request, fate, arrived: None });
    }

    /// Nobody waits for it; a reply that comes all the same must do no harm.
    pub(super) fn abandon(&mut self, call: CallId) {
        if let Some(number) = self.open.get(&call).and_then(|open| open.arrived) {
            self.daemon.cancel(number);
            self.by_request.remove(&number);
        }
        let why = "abandoned".to_owned();
        self.reply_later(self.life, call, Err(CallError::Unknown(Doubt::Closed { why })));
    }

    pub(super) fn probe(&mut self, probe: ProbeId, what: &Probe, patience: Span) {
        let Probe::Ssh { network, ip, .. } = what;
        let answer = match self.outage_now() {
            Some(_) => SshAnswer::Silent,
            None => self.daemon.ssh(self.now, network, *ip),
        };
        let (after, outcome) = match answer {
            SshAnswer::Up => (SSH_TIME, Ok(())),
            SshAnswer::Refused => (SSH_TIME, Err("connection refused".to_owned())),
            SshAnswer::Silent => (patience, Err("no answer".to_owned())),
        };
        self.enqueue(
            false,
            self.now.plus(after),
            Event::Probed { life: self.life, probe, outcome },
        );
    }

    pub(super) fn reply_later(
        &mut self,
        life: u32,
        call: CallId,
        result: Result<Response, CallError>,
    ) {
        let is_aside = self.open.get(&call).is_some_and(|open| is_scan(open.request.endpoint()));
        let at = self.now.plus(self.latency(is_aside));
        self.enqueue(is_aside, at, Event::Deliver { life, call, result: Box::new(result) });
    }

    pub(super) fn latency(&self, is_aside: bool) -> Span {
        let spread = &self.setup.scenario.daemon.latency_ms;
        let (label, nth) =
            if is_aside { ("latency aside", self.aside) } else { ("latency", self.queued) };
        let billionths = spread.sample(self.setup.seed, label, nth, 0);
        Span::micros((billionths / (ONE / 1_000)).max(1))
    }

    pub(super) fn outage_now(&self) -> Option<OutageKind> {
        self.outage.filter(|(until, _)| *until > self.now).map(|(_, kind)| kind)
    }
}

/// Whether it is part of a look at the market. Whatever becomes of one changes nothing but what is said: a
/// plan has the same course with them and without.
pub(super) const fn is_scan(endpoint: Endpoint) -> bool {
    matches!(endpoint, Endpoint::BeginScan | Endpoint::CollectScan | Endpoint::EndScan)
}
