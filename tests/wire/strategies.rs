//! Requests and responses of every kind, as far as the wire can carry them.

use std::sync::Arc;

use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
};
use ray_on_golem::{
    units::{Glm, Span, Timestamp},
    yagna::{
        ActivityId, AgreementId, Allocation, AllocationId, BatchId, DebitNoteId, Decorations,
        DemandBody, DemandEvent, Identity, InvoiceId, NetworkId, PlatformId, Properties, Proposal,
        ProposalId, ProposalState, ProviderId, PublishedOffer, Rejection, Request, Response,
        ScanId, Subscription, SubscriptionId,
    },
};
use serde_json::{Number, Value};

use crate::hired;

/// The last microsecond that RFC 3339 can write.
const LAST_MICROS: u64 = 253_402_207_200_000_000;

/// Words of another party as they are kept: short, and without what steers a terminal.
pub(crate) const SAID: &str = "\\PC{0,200}";

pub(crate) fn config() -> ProptestConfig {
    ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() }
}

pub(crate) fn request() -> impl Strategy<Value = Request> {
    prop_oneof![1 => before_hiring(), 3 => hired::request()]
}

fn before_hiring() -> impl Strategy<Value = Request> {
    prop_oneof![
        Just(Request::WhoAmI),
        (id(), glm(), prop_oneof![time(), Just(Timestamp::NEVER)]).prop_map(
            |(platform, total, timeout)| Request::CreateAllocation {
                platform: platform.into(),
                total,
                timeout
            }
        ),
        Just(Request::ListAllocations),
        id().prop_map(|id| Request::ReleaseAllocation { allocation: id.into() }),
        id().prop_map(|id| Request::DecorateDemand { allocation: id.into() }),
        body().prop_map(|body| Request::Subscribe { demand: Arc::new(body) }),
        Just(Request::ListDemands),
        id().prop_map(|id| Request::Unsubscribe { subscription: id.into() }),
        (id(), any::<u64>(), 1..=100_u8).prop_map(|(id, micros, max_events)| {
            Request::CollectEvents {
                subscription: id.into(),
                timeout: Span::micros(micros),
                max_events,
            }
        }),
        (id(), id(), body()).prop_map(|(subscription, proposal, body)| Request::CounterProposal {
            subscription: subscription.into(),
            proposal: proposal.into(),
            body: Arc::new(body)
        }),
        (id(), id(), ".*").prop_map(|(subscription, proposal, reason)| Request::RejectProposal {
            subscription: subscription.into(),
            proposal: proposal.into(),
            reason
        }),
        (option::of(".*"), any::<u64>()).prop_map(|(constraints, seconds)| Request::BeginScan {
            constraints,
            lasts: Span::secs(seconds % (u64::MAX / 1_000_000))
        }),
        (id(), any::<u64>(), any::<u16>()).prop_map(|(id, micros, max_events)| {
            Request::CollectScan { scan: id.into(), timeout: Span::micros(micros), max_events }
        }),
        id().prop_map(|id| Request::EndScan { scan: id.into() }),
    ]
}

/// A request with a response to it.
pub(crate) fn exchange() -> impl Strategy<Value = (Request, Response)> {
    request().prop_flat_map(|request| {
        let response = response_to(&request);
        (Just(request), response)
    })
}

/// JSON of any shape.
pub(crate) fn json() -> BoxedStrategy<Value> {
    json_with_keys("[a-z.?]{0,8}".boxed())
}

/// JSON of any shape, with keys to choose.
pub(crate) fn json_with_keys(keys: BoxedStrategy<String>) -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?(e[+-]?[0-9]{1,5})?".prop_map(number),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            btree_map(keys.clone(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
    .boxed()
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the other half is in `hired`")]
fn response_to(request: &Request) -> BoxedStrategy<Response> {
    if let Some(response) = hired::response_to(request) {
        return response;
    }
    match request {
        Request::WhoAmI => (told(), ".*", ".*")
            .prop_map(|(id, name, role)| Response::Identity(Identity { id, name, role }))
            .boxed(),
        Request::CreateAllocation { .. } => {
            allocation().prop_map(Response::AllocationCreated).boxed()
        }
        Request::ListAllocations => vec(allocation(), 0..4).prop_map(Response::Allocations).boxed(),
        Request::ReleaseAllocation { .. } => Just(Response::AllocationReleased).boxed(),
        Request::DecorateDemand { .. } => (vec((".*", ".*"), 0..3), vec(".*", 0..3))
            .prop_map(|(properties, constraints)| {
                Response::Decorations(Decorations { properties, constraints })
            })
            .boxed(),
        Request::Subscribe { .. } => told().prop_map(Response::Subscribed).boxed(),
        Request::ListDemands => vec((told(), body()), 0..3)
            .prop_map(|demands| {
                let listed = |(id, body)| Subscription { id, body };
                Response::Demands(demands.into_iter().map(listed).collect())
            })
            .boxed(),
        Request::Unsubscribe { .. } => Just(Response::Unsubscribed).boxed(),
        Request::CollectEvents { .. } => vec(event(), 0..5).prop_map(Response::Events).boxed(),
        Request::BeginScan { .. } => told().prop_map(Response::ScanBegun).boxed(),
        Request::CollectScan { .. } => vec((told(), told(), time(), body()), 0..4)
            .prop_map(|offers| {
                let offer = |(id, provider, timestamp, body)| PublishedOffer {
                    id,
                    provider,
                    timestamp,
                    body,
                };
                Response::ScannedOffers(offers.into_iter().map(offer).collect())
            })
            .boxed(),
        Request::EndScan { .. } => Just(Response::ScanEnded).boxed(),
        Request::CounterProposal { .. } => told().prop_map(Response::Countered).boxed(),
        Request::RejectProposal { .. } => Just(Response::ProposalRejected).boxed(),
        other => unreachable!("{other:?} comes after hiring"),
    }
}

fn event() -> impl Strategy<Value = DemandEvent> {
    let reason = (option::of(SAID), any::<Option<bool>>())
        .prop_map(|(message, is_final)| Rejection { message, is_final });
    prop_oneof![
        proposal().prop_map(|proposal| DemandEvent::Proposal(Box::new(proposal))),
        (told(), option::of(reason))
            .prop_map(|(proposal, reason)| DemandEvent::Rejected { proposal, reason }),
        ".*".prop_map(DemandEvent::Unreadable),
    ]
}

fn proposal() -> impl Strategy<Value = Proposal> {
    let state = prop::sample::select(vec![
        ProposalState::Initial,
        ProposalState::Draft,
        ProposalState::Rejected,
        ProposalState::Accepted,
        ProposalState::Expired,
    ]);
    (told(), told(), state, time(), option::of(told()), body()).prop_map(
        |(id, issuer, state, timestamp, previous, body)| Proposal {
            id,
            issuer,
            state,
            timestamp,
            previous,
            body,
        },
    )
}

pub(crate) fn allocation() -> impl Strategy<Value = Allocation> {
    (told(), ".*", told(), [glm(), glm(), glm()], option::of(time())).prop_map(
        |(id, address, platform, [total, spent, remaining], timeout)| Allocation {
            id,
            address,
            platform,
            total,
            spent,
            remaining,
            timeout,
        },
    )
}

pub(crate) fn body() -> impl Strategy<Value = DemandBody> {
    (btree_map(".*", json(), 0..4), ".*").prop_map(|(properties, constraints)| DemandBody {
        properties: Properties(properties.into_iter().collect()),
        constraints,
    })
}

/// An id of a form that the daemon gives to its kind.
pub(crate) fn told<Id: Told>() -> BoxedStrategy<Id> {
    Id::FORM.prop_map(Id::from).boxed()
}

/// A kind of ids.
pub(crate) trait Told: From<String> + std::fmt::Debug + 'static {
    const FORM: &'static str;
}

macro_rules! told {
    ($($name:ident: $form:literal;)+) => {$(
        impl Told for $name {
            const FORM: &'static str = $form;
        }
    )+};
}

told! {
    ProviderId: "0x[0-9a-f]{40}";
    SubscriptionId: "[0-9a-f]{32}-[0-9a-f]{64}";
    ScanId: "[0-9a-f]{32}-[0-9a-f]{64}";
    ProposalId: "R-[0-9a-f]{64}";
    AllocationId: "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}";
    PlatformId: "[a-z0-9]{3,6}-[a-z]{4,8}-t?glm";
    AgreementId: "[0-9a-f]{64}";
    ActivityId: "[0-9a-f]{32}";
    BatchId: "[0-9a-f]{32}";
    NetworkId: "[0-9a-f]{32}";
    DebitNoteId: "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}";
    InvoiceId: "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}";
}

/// Any text, as a requestor may ask for.
pub(crate) fn id() -> BoxedStrategy<String> {
    ".{1,12}".boxed()
}

pub(crate) fn glm() -> BoxedStrategy<Glm> {
    any::<u128>().prop_map(Glm::from_atto).boxed()
}

pub(crate) fn time() -> BoxedStrategy<Timestamp> {
    (0..LAST_MICROS).prop_map(Timestamp::from_unix_micros).boxed()
}

fn number(text: String) -> Value {
    Value::Number(text.parse::<Number>().expect("the pattern is that of a JSON number"))
}
