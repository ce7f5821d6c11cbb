//! K1, K2, K4, K6: who is asked, for how long, and how soon again.

use std::collections::BTreeMap;

use ray_on_golem::{
    core::{
        Output,
        cluster::{plan::NodeKind, state::NodeState},
    },
    units::{Span, Timestamp},
    yagna::{AgreementId, CallError, ProviderId, Request, Response, Status, request::Endpoint},
};

use super::{
    Family, Findings, Look, Phase,
    facts::{ClusterFacts, NodeFacts},
};

/// A provider that failed a node is not signed for another one sooner than this, which doubles with
/// each failure in a row up to the longest, and half of the failures are forgiven after an hour.
const PROVIDER_PAUSE: Span = Span::secs(59);
const PROVIDER_PAUSE_MAX: Span = Span::mins(29);
const FORGIVEN_IN: Span = Span::hours(1);
/// What failed is not repeated sooner than this.
const PAUSE_MIN: Span = Span::millis(240);
/// A demand that nobody waits for is withdrawn within this time, in fair times.
const WITHDRAWN_WITHIN: Span = Span::secs(90);
/// A demand that somebody waits for is published within this time, in fair times.
const PUBLISHED_WITHIN: Span = Span::secs(120);

/// Keeps what failed, and who waits.
#[derive(Default)]
pub(super) struct Market {
    failed_providers: BTreeMap<ProviderId, (u32, Timestamp)>,
    failed: BTreeMap<(Endpoint, String), Timestamp>,
    idle_since: Option<Timestamp>,
    starved_since: Option<Timestamp>,
    demands_open: Vec<usize>,
    demands_seen: usize,
}

impl Family for Market {
    fn on_output(&mut self, look: &Look<'_>, output: &Output, findings: &mut Findings) {
        let Output::Call { request, .. } = output else { return };
        self.check_pause(look, request, findings);
        if let Request::ConfirmAgreement { agreement, .. } = request {
            self.check_signature(look, agreement, findings);
        }
    }

    fn on_result(
        &mut self,
        look: &Look<'_>,
        request: &Request,
        result: &Result<Response, CallError>,
        _findings: &mut Findings,
    ) {
        if matches!(result, Ok(Response::Subscribed(_))) {
            self.starved_since = None;
        }
        if has_failed(request, result)
            && let Some(subject) = subject(request)
        {
            self.failed.insert(subject, look.now());
        }
        let place = match (request, result) {
            (
                Request::CreateActivity { agreement, .. },
                Err(CallError::Unknown(_) | CallError::Rejected { status: Status::TIMEOUT, .. }),
            ) => look.facts.place(agreement),
            (Request::CollectResults { activity, .. }, Ok(Response::Results(results)))
                if results.iter().any(|result| !result.is_ok) =>
            {
                let nth = look.facts.index.activity(activity);
                nth.and_then(|nth| look.facts.place(&look.scene.daemon.activities()[nth].agreement))
            }
            _ => None,
        };
        if let Some(place) = place.filter(|place| is_heard(look, *place, request)) {
            let provider = look.scene.daemon.agreements()[place].provider.clone();
            let now = look.now();
            let failed = self.failed_providers.entry(provider).or_insert((0, now));
            *failed = (unforgiven(*failed, now) + 1, now);
        }
    }

    fn on_step(&mut self, look: &Look<'_>, _findings: &mut Findings) {
        if !look.facts.touched.is_empty() {
            self.failed_providers.retain(|provider, (_, at)| {
                look.facts.up_since.get(provider).is_none_or(|since| since < at)
            });
        }
        if !look.facts.touched.is_empty() && self.idle_since.is_some() && somebody_waits(look) {
            self.idle_since = None;
        }
    }

    fn on_round(&mut self, look: &Look<'_>, findings: &mut Findings) {
        self.failed.retain(|_, at| look.now().since(*at) < PAUSE_MIN);
        let daemon = look.scene.daemon;
        self.demands_open.extend(self.demands_seen..daemon.demands().len());
        self.demands_seen = daemon.demands().len();
        self.demands_open.retain(|nth| daemon.demands()[*nth].end.is_none());
        if look.scene.phase != Phase::Faulty {
            self.check_demands(look, findings);
        }
    }

    fn on_crash(&mut self, _look: &Look<'_>, _findings: &mut Findings) {
        // A new process does not know what failed; a crash pauses for longer anyway.
        self.failed.clear();
        self.failed_providers.clear();
    }

    fn at_end(&mut self, look: &Look<'_>, findings: &mut Findings) {
        for nth in &self.demands_open {
            let id = &look.scene.daemon.demands()[*nth].id;
            findings.violate("K2", look.now(), format!("demand {id} is still published"));
        }
    }
}

impl Market {
    /// K1 and K6, when a provider is about to be signed.
    fn check_signature(&self, look: &Look<'_>, agreement: &AgreementId, findings: &mut Findings) {
        let Some(place) = look.facts.place(agreement) else { return };
        let provider = &look.scene.daemon.agreements()[place].provider;
        if let Some(failed) = self.failed_providers.get(provider) {
            let pause = look.now().since(failed.1);
            if pause < pause_after(failed.0) {
                let what =
                    format!("{provider} failed {pause} ago, and {} times in a row", failed.0);
                findings.violate("K6", look.now(), what);
            }
        }
        let cluster = look.facts.owner(place).map(|(cluster, _)| cluster);
        if cluster.is_some_and(|it| look.facts.is_blacklisted(it, provider, look.now())) {
            findings.violate("K1", look.now(), format!("{provider} is blacklisted"));
        }
    }

    fn check_pause(&self, look: &Look<'_>, request: &Request, findings: &mut Findings) {
        // Failures are rare: most of the time there is nothing to compare with.
        if self.failed.is_empty() {
            return;
        }
        let Some(failed) = subject(request).and_then(|subject| self.failed.get(&subject)) else {
            return;
        };
        let pause = look.now().since(*failed);
        if pause < PAUSE_MIN {
            let what = format!("{} again after {pause}", request.endpoint().name());
            findings.violate("K4", look.now(), what);
        }
    }

    /// K2: a demand is published while somebody waits, and only then.
    fn check_demands(&mut self, look: &Look<'_>, findings: &mut Findings) {
        let clusters = || look.facts.clusters.values().filter(|it| it.ending.is_none());
        let now = look.now();
        if somebody_waits(look) {
            self.idle_since = None;
        } else {
            let since = *self.idle_since.get_or_insert(now);
            if now.since(since) > WITHDRAWN_WITHIN
                && let Some(nth) = self.demands_open.first()
            {
                let id = &look.scene.daemon.demands()[*nth].id;
                findings.violate("K2", now, format!("nobody waits, and demand {id} is published"));
            }
        }
        let is_starved =
            self.demands_open.is_empty() && clusters().any(|cluster| needs_offers(look, cluster));
        if !is_starved {
            self.starved_since = None;
        } else if now.since(*self.starved_since.get_or_insert(now)) > PUBLISHED_WITHIN {
            findings.violate("K2", now, "a node waits, and no demand is published");
        }
    }
}

/// Failures in a row that are not forgiven yet.
fn unforgiven((failures, at): (u32, Timestamp), now: Timestamp) -> u32 {
    let halvings = now.since(at).as_secs() / FORGIVEN_IN.as_secs();
    u32::try_from(halvings).ok().and_then(|it| failures.checked_shr(it)).unwrap_or(0)
}

/// For how long a provider is left alone after so many failures in a row.
fn pause_after(failures: u32) -> Span {
    PROVIDER_PAUSE.times(1 << failures.saturating_sub(1).min(20)).min(PROVIDER_PAUSE_MAX)
}

/// Whether anybody still listens to what becomes of an agreement: a cluster that is closed does not,
/// and to the results of commands only who wants the node.
fn is_heard(look: &Look<'_>, place: usize, request: &Request) -> bool {
    let Some((cluster, number, _)) = look.facts.deals[place].owner else { return false };
    let Some(cluster) = look.facts.clusters.get(&cluster) else { return false };
    let is_wanted = cluster.accounts.get(&number).is_some_and(|it| it.closing.is_none());
    !cluster.is_closed && (is_wanted || request.endpoint() == Endpoint::CreateActivity)
}

/// Whether a demand is needed. A node that is being signed still needs it: it may be refused.
fn somebody_waits(look: &Look<'_>) -> bool {
    let mut clusters = look.facts.clusters.values().filter(|it| it.ending.is_none());
    clusters.any(|cluster| {
        cluster.nodes.values().any(|node| {
            let account = node.agreement.and_then(|it| cluster.accounts.get(&it));
            node.state == NodeState::Pending && account.is_none_or(|it| !it.is_approved)
        })
    })
}

/// Whether a node waits that could be signed: a demand cannot be paid for without funds, and is not needed while workers
/// wait for Ray.
fn needs_offers(look: &Look<'_>, cluster: &ClusterFacts) -> bool {
    let books = look.scene.daemon.allocations();
    let has_funds = cluster.allocations.iter().any(|nth| !books[*nth].is_released);
    let may_be_hired = |node: &NodeFacts| node.kind == NodeKind::Head || !cluster.ray.is_failing();
    let mut nodes = cluster.nodes.values();
    has_funds && nodes.any(|node| node.waits_since.is_some() && may_be_hired(node))
}

/// Whether the daemon, or the way to it, is in trouble.
fn has_failed(request: &Request, result: &Result<Response, CallError>) -> bool {
    match result {
        Ok(_) | Err(CallError::Rejected { .. }) => false,
        // An acceptance that was not acknowledged in time has happened.
        Err(CallError::Unknown(_)) => {
            !matches!(request, Request::AcceptDebitNote { .. } | Request::AcceptInvoice { .. })
        }
        Err(CallError::NotSent { .. }) => true,
    }
}

/// What a call is about; none if a failure of one says nothing about the next.
fn subject(request: &Request) -> Option<(Endpoint, String)> {
    let of = |id: &str| Some((request.endpoint(), id.to_owned()));
    match request {
        Request::CollectEvents { subscription, .. } => of(subscription.as_str()),
        Request::CollectAgreementEvents { session, .. }
        | Request::CollectDebitNoteEvents { session, .. }
        | Request::CollectInvoiceEvents { session, .. } => of(session.as_str()),
        Request::ConfirmAgreement { agreement, .. }
        | Request::AwaitApproval { agreement, .. }
        | Request::GetAgreement { agreement }
        | Request::CancelAgreement { agreement }
        | Request::CreateActivity { agreement, .. } => of(agreement.as_str()),
        Request::Execute { activity, .. } | Request::GetActivityState { activity, .. } => {
            of(activity.as_str())
        }
        Request::GetDebitNote { debit_note } => of(debit_note.as_str()),
        Request::GetInvoice { invoice } => of(invoice.as_str()),
        Request::AcceptDebitNote { debit_note, .. } => of(debit_note.as_str()),
        Request::AcceptInvoice { invoice, .. } => of(invoice.as_str()),
        Request::CreateAllocation { timeout, .. } => of(&timeout.as_unix_millis().to_string()),
        Request::ReleaseAllocation { allocation } => of(allocation.as_str()),
        Request::CreateNetwork { path, gateway, .. } => of(&format!("{gateway} by {path:?}")),
        Request::RemoveNetwork { network } => of(network.as_str()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use ray_on_golem::{
        units::{Span, Timestamp},
        yagna::{CallError, Doubt, Request, SessionId, SubscriptionId},
    };

    use super::{has_failed, pause_after, subject, unforgiven};

    fn poll(id: &str) -> Request {
        Request::CollectEvents {
            subscription: SubscriptionId::from(id),
            timeout: Span::secs(5),
            max_events: 10,
        }
    }

    #[test]
    fn a_subject_is_an_endpoint_and_what_it_is_about() {
        let session = SessionId::from("a");
        let events = Request::ListAgreements { session };

        assert_eq!(subject(&poll("a")), subject(&poll("a")));
        assert_ne!(subject(&poll("a")), subject(&poll("b")));
        assert_eq!(subject(&events), None);
    }

    #[test]
    fn a_provider_that_fails_again_is_left_alone_for_longer() {
        let at = Timestamp::EPOCH;

        assert!(pause_after(2) > pause_after(1));
        assert_eq!(pause_after(6), pause_after(30));
        assert_eq!(unforgiven((4, at), at.plus(Span::mins(59))), 4);
        assert_eq!(unforgiven((4, at), at.plus(Span::hours(2))), 1);
        assert_eq!(unforgiven((4, at), at.plus(Span::days(400))), 0);
    }

    #[test]
    fn a_refusal_is_no_failure() {
        let refused = Err(CallError::Rejected {
            status: ray_on_golem::yagna::Status(408),
            body: String::new(),
        });

        assert!(!has_failed(&poll("a"), &refused));
        assert!(has_failed(&poll("a"), &Err(CallError::Unknown(Doubt::TimedOut))));
    }
}
