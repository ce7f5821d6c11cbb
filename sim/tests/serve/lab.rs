//! A served network on a free port, and ways to ask it.

use std::{sync::Arc, time::Duration};

use golem_sim::{
    scenario::Scenario,
    serve::{Keys, Nodes, Options, Patience, Server},
};
use ray_on_golem::{
    core::{
        market::{demand, negotiate::Terms},
        rng::Seed,
    },
    units::{Glm, Span, Timestamp},
    yagna::{
        ActivityId, AgreementId, Allocation, AllocationId, AppKey, CallError, Client,
        CommandResult, DemandBody, DemandEvent, ExeCommand, PlatformId, Properties, Proposal,
        ProviderId, Request, Response, SessionId, SubscriptionId, Yagna,
    },
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub(crate) const KEY: &str = "the-key-of-the-tests";
pub(crate) const PLATFORM: &str = "erc20-hoodi-tglm";
/// Longer than any answer takes.
const PATIENCE: Span = Span::secs(60);

/// Two quick and honest providers.
pub(crate) const HONEST: &str = "
    daemon: { warm: 1, hop_ms: { fixed: 1 } }
    populations:
      - name: good
        count: 2
        thinks_ms: { fixed: 1 }
        conduct: { creates_ms: { fixed: 1 }, approves_ms: { fixed: 5 } }";

/// A served network.
pub(crate) struct Lab {
    pub(crate) server: Server,
    pub(crate) client: Client,
}

impl Lab {
    /// Serves a network, quickly.
    pub(crate) async fn start(scenario: &str) -> Self {
        Self::with(scenario, Patience::default()).await
    }

    /// Serves a network to clients that are waited for so long.
    pub(crate) async fn with(scenario: &str, patience: Patience) -> Self {
        Self::serve(scenario, Nodes::Virtual, patience).await
    }

    /// Serves a network with nodes of some kind.
    pub(crate) async fn serve(scenario: &str, nodes: Nodes, patience: Patience) -> Self {
        let options = Options {
            scenario: Scenario::parse(scenario.as_bytes()).expect("a scenario"),
            seed: Seed::new(1),
            haste: 1_000,
            port: 0,
            keys: Keys::new(KEY),
            nodes,
            patience,
            bus: None,
        };
        let server = Server::start(options).await.expect("a free port");
        let url: url::Url = server.url().parse().expect("an address");
        let client = Client::new(url, AppKey::new(KEY).expect("a key")).expect("a client");
        Self { server, client }
    }

    /// Makes one call.
    pub(crate) async fn call(&self, request: Request) -> Result<Response, CallError> {
        self.client.call(request, PATIENCE).await
    }

    /// The bytes that come back for these bytes, until the other side closes or falls silent.
    pub(crate) async fn raw(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request).await.expect("the server reads");
        let mut answer = Vec::new();
        let _ =
            tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The bytes that come back for these bytes, until these words are among them.
    pub(crate) async fn raw_until(&self, request: &[u8], words: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request).await.expect("the server reads");
        let mut answer = String::new();
        let read = async {
            let mut bytes = vec![0; 16 << 10];
            while !answer.contains(words) {
                let length = stream.read(&mut bytes).await.expect("the server writes");
                assert!(length > 0, "it ended: {answer}");
                answer.push_str(std::str::from_utf8(&bytes[..length]).expect("text"));
            }
        };
        tokio::time::timeout(Duration::from_secs(30), read).await.expect("within half a minute");
        answer
    }

    /// A connection of its own.
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.expect("the server listens")
    }

    /// Host and port.
    pub(crate) fn address(&self) -> String {
        self.server.url().trim_start_matches("http://").to_owned()
    }

    /// One request with our key, by hand; the status and the whole response.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nConnection: \
             close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = self.raw(request.as_bytes()).await;
        (status(&answer), answer)
    }

    /// The document at a path.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.ask("GET", path, "").await;
        assert_eq!(status, 200, "{path}: {answer}");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        serde_json::from_str(body).expect("JSON")
    }

    pub(crate) async fn allocate(&self) -> Allocation {
        let platform = PlatformId::from(PLATFORM);
        let timeout = now().plus(Span::hours(1));
        let create = Request::CreateAllocation { platform, total: Glm::from_whole(5), timeout };
        match self.call(create).await {
            Ok(Response::AllocationCreated(allocation)) => allocation,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn allocations(&self) -> Vec<AllocationId> {
        match self.call(Request::ListAllocations).await {
            Ok(Response::Allocations(all)) => all.into_iter().map(|it| it.id).collect(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn subscribe(&self) -> SubscriptionId {
        match self.call(Request::Subscribe { demand: Arc::new(body()) }).await {
            Ok(Response::Subscribed(subscription)) => subscription,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn events(&self, subscription: &SubscriptionId) -> Vec<DemandEvent> {
        let subscription = subscription.clone();
        let collect =
            Request::CollectEvents { subscription, timeout: Span::secs(10), max_events: 100 };
        match self.call(collect).await {
            Ok(Response::Events(events)) => events,
            other => panic!("{other:?}"),
        }
    }

    /// Negotiates with the first offer up to an approved agreement.
    pub(crate) async fn sign(&self, session: &SessionId) -> AgreementId {
        let subscription = self.subscribe().await;
        let offer = self.proposal(&subscription).await;
        let terms = Terms { note_interval: 1, payment_timeout: 43_200 };
        let counter = Request::CounterProposal {
            subscription: subscription.clone(),
            proposal: offer.id,
            body: Arc::new(demand::counter(&body(), &PlatformId::from(PLATFORM), terms)),
        };
        let countered = self.call(counter).await;
        let Ok(Response::Countered(ours)) = countered else { panic!("{countered:?}") };
        let draft = loop {
            let draft = self.proposal(&subscription).await;
            if draft.previous.as_ref() == Some(&ours) {
                break draft;
            }
        };
        let valid_to = now().plus(Span::mins(1));
        let created = self.call(Request::CreateAgreement { proposal: draft.id, valid_to }).await;
        let Ok(Response::AgreementCreated(agreement)) = created else { panic!("{created:?}") };
        let (session, id) = (session.clone(), agreement.clone());
        let confirm = Request::ConfirmAgreement { agreement: id.clone(), session };
        assert_eq!(self.call(confirm).await, Ok(Response::AgreementConfirmed));
        let wait = Request::AwaitApproval { agreement: id, timeout: Span::secs(30) };
        assert_eq!(self.call(wait).await, Ok(Response::AgreementApproved));
        assert_eq!(
            self.call(Request::Unsubscribe { subscription }).await,
            Ok(Response::Unsubscribed)
        );
        agreement
    }

    /// Rents a node; who provides it, and its activity.
    pub(crate) async fn rent(&self) -> (ProviderId, ActivityId) {
        let agreement = self.sign(&SessionId::from("s")).await;
        let view = self.call(Request::GetAgreement { agreement: agreement.clone() }).await;
        let Ok(Response::Agreement(view)) = view else { panic!("{view:?}") };
        let timeout = Span::secs(10);
        let created = self.call(Request::CreateActivity { agreement, timeout }).await;
        let Ok(Response::ActivityCreated(activity)) = created else { panic!("{created:?}") };
        (view.provider, activity)
    }

    /// Has a node carry out a script, which must succeed.
    pub(crate) async fn run(&self, activity: &ActivityId, script: Vec<ExeCommand>) {
        let results = self.results(activity, script).await;
        assert!(results.iter().all(|result| result.is_ok), "{results:?}");
    }

    /// What comes of a script.
    pub(crate) async fn results(
        &self,
        activity: &ActivityId,
        script: Vec<ExeCommand>,
    ) -> Vec<CommandResult> {
        let (last, script) = (script.len() - 1, Arc::new(script));
        let timeout = Span::secs(10);
        let execute = Request::Execute { activity: activity.clone(), script, timeout };
        let started = self.call(execute).await;
        let Ok(Response::BatchStarted(batch)) = started else { panic!("{started:?}") };
        let (activity, command) = (activity.clone(), u32::try_from(last).expect("a few"));
        let timeout = Span::secs(30);
        let collect = Request::CollectResults { activity, batch, command, timeout };
        let results = self.call(collect).await;
        let Ok(Response::Results(results)) = results else { panic!("{results:?}") };
        results
    }

    /// The next proposal of a demand.
    async fn proposal(&self, subscription: &SubscriptionId) -> Proposal {
        let subscription = subscription.clone();
        let collect =
            Request::CollectEvents { subscription, timeout: Span::secs(30), max_events: 1 };
        match self.call(collect).await {
            Ok(Response::Events(events)) => match events.into_iter().next() {
                Some(DemandEvent::Proposal(proposal)) => *proposal,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
}

/// A line for the shell of a node.
pub(crate) fn sh(text: &str) -> ExeCommand {
    let args = vec!["-c".to_owned(), text.to_owned()];
    ExeCommand::Run { entry_point: "/bin/sh".to_owned(), args }
}

/// The status of a raw response; 0 if there is none.
pub(crate) fn status(answer: &str) -> u16 {
    let word = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}

pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let micros = since.expect("after 1970").as_micros();
    Timestamp::from_unix_micros(u64::try_from(micros).expect("before the year 586,000"))
}

fn body() -> DemandBody {
    let mut properties = Properties::default();
    properties.set("golem.srv.comp.expiration", now().plus(Span::hours(2)).as_unix_millis());
    properties.set("golem.node.debug.subnet", "public");
    properties.set("golem.com.payment.chosen-platform", PLATFORM);
    properties.set("golem.com.payment.debit-notes.accept-timeout?", 240);
    properties.set("golem.com.scheme.payu.debit-note.interval-sec?", 1);
    properties.set("golem.com.scheme.payu.payment-timeout-sec?", 43_200);
    DemandBody { properties, constraints: "(golem.runtime.name=vm)".to_owned() }
}
