//! SDKs of other makers rent a node, run `echo`, accept the bill, and close: here as on a real daemon, and
//! in no more time.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use ray_on_golem::{
    driver::clock::now,
    units::{Glm, Span, Timestamp},
    yagna::{
        ActivityPhase, AgreementState, AppKey, Client, DocumentState, Invoice, Request, Response,
        Yagna,
    },
};
use tokio::runtime::Runtime;

use crate::{
    lab::{KEY, Lab},
    real::{self, Billing, Market},
};

/// As near and as quick as the stand-in providers of the lab are.
const MARKET: &str = "
    daemon: { warm: 1, hop_ms: 20 }
    populations:
      - name: quick
        count: 3
        arrives: 0
        conduct: { deploy: 0, start: 0, run: 0, approves_ms: 0, invoice_after: 0 }";

const IMAGE: &str = "9a3b5d67b0b27746283cb5f287c13eab1beaa12d92a9f536b747c7ae";
/// A rental may take this much longer here than on the real daemon.
const SLOWER_MAX: Duration = Duration::from_secs(1);
/// A machine that is busy makes one side slow now and then, and so it is tried again.
const ROUNDS: usize = 3;
/// Longer than any answer takes.
const PATIENCE: Span = Span::secs(30);

/// A client's whole life, from the start of its process to the end.
struct Rental {
    /// As `foreign.py` calls it.
    client: &'static str,
    /// How it reads results here. A daemon passes on no stream between two identities of its own, so
    /// on the real one all are polled.
    mode: Option<&'static str>,
    /// What the node echoes.
    words: &'static str,
}

const RENTALS: [Rental; 4] = [
    Rental { client: "core", mode: None, words: "hello from golem-core" },
    Rental { client: "yapapi", mode: None, words: "hello from yapapi" },
    Rental { client: "js", mode: None, words: "hello from golem-js" },
    Rental { client: "js", mode: Some("stream"), words: "hello from golem-js" },
];

/// A daemon, real or not.
struct Place {
    url: String,
    key: String,
    daemon: Client,
    is_real: bool,
}

#[test]
#[expect(clippy::print_stdout, reason = "tells how long it took")]
fn clients_of_other_makers_live_here_as_on_the_real_daemon() {
    let billing = Some(Billing::every(Duration::ZERO));
    let lab = real::Lab::start(&Market { billing, ..Market::of(3, 1) });
    let served = Lab::start(MARKET, 1);
    let facts = lab.facts();
    let there = Place::new(&facts.api_url, &facts.app_key, true);
    let here = Place::new(&served.url(), KEY, false);

    for rental in &RENTALS {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let (real, simulated) = thread::scope(|scope| {
                let real = scope.spawn(|| there.rents(&served, rental));
                let simulated = here.rents(&served, rental);
                (real.join().expect("it lives there"), simulated)
            });
            rounds.push((real, simulated));
            if simulated <= real + SLOWER_MAX {
                break;
            }
        }
        let Rental { client, mode, .. } = rental;
        println!("{client} {}: (real, simulated) {rounds:.1?}", mode.unwrap_or("poll"));
        let is_as_quick = rounds.iter().any(|(real, simulated)| *simulated <= *real + SLOWER_MAX);
        assert!(is_as_quick, "{client} is slower here: (real, simulated) {rounds:.1?}");
    }
}

#[test]
fn the_command_line_of_the_daemon_is_answered() {
    let lab = Lab::start(MARKET, 1);
    let yagna = |words: &[&str]| {
        let text = lab.output(lab.command("yagna").args(words));
        serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|_| text.into())
    };

    let version = yagna(&["--version"]);
    assert!(version.as_str().is_some_and(|it| it.starts_with("yagna 0.17.6 (")), "{version}");
    let identities = yagna(&["id", "list", "--json"]);
    assert_eq!(identities[0]["default"], "X");
    assert_eq!(identities[0]["address"], yagna(&["id", "show", "--json"])["Ok"]["nodeId"]);
    let key = yagna(&["app-key", "create", "ray-on-golem", "--json"]);
    assert_eq!(yagna(&["app-key", "create", "ray-on-golem", "--json"]), key, "again is the same");
    let listed = yagna(&["app-key", "list", "--json"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
    assert_eq!(listed[0]["name"], "ray-on-golem");
    assert_eq!(listed[0]["key"], key);
    let beyond = yagna(&["app-key", "list", "--json", "--page", "7"]);
    assert_eq!(beyond[0]["name"], "autoconfigured", "the first key is on every page");
    assert_eq!(yagna(&["payment", "accounts", "--json"]), serde_json::json!([]));
    yagna(&["payment", "init", "--network", "hoodi", "--sender"]);
    assert_eq!(yagna(&["payment", "accounts", "--json"])[0]["network"], "hoodi");
    let status = yagna(&["payment", "status", "--network", "hoodi", "--driver", "erc20", "--json"]);
    assert_eq!(status["amount"], "1000");
    assert_eq!(status["token"], "tGLM");
    assert_eq!(status["reserved"], "0");
    let drivers = yagna(&["payment", "driver", "list", "--json"]);
    assert_eq!(drivers["erc20"]["networks"]["polygon"]["tokens"]["GLM"], "erc20-polygon-glm");
    let funded = yagna(&["payment", "fund", "--network", "hoodi", "--driver", "erc20"]);
    assert!(funded.as_str().is_some_and(|it| it.contains("1000 tGLM on hoodi")), "{funded}");
    let wrong = lab.command("yagna").args(["payment", "status", "--network", "x"]).output();
    assert_eq!(wrong.expect("it runs").status.code(), Some(1));
}

impl Place {
    fn new(url: &str, key: &str, is_real: bool) -> Self {
        let address: url::Url = url.parse().expect("an address");
        let daemon = Client::new(address, AppKey::new(key).expect("a key")).expect("a client");
        Self { url: url.to_owned(), key: key.to_owned(), daemon, is_real }
    }

    /// Lets a client do its round, and looks at what it has left behind. Tells how long it took.
    fn rents(&self, surroundings: &Lab, rental: &Rental) -> Duration {
        let Rental { client, mode, words } = rental;
        let runtime = Runtime::new().expect("a runtime");
        runtime.block_on(self.open_wallet());
        let url = format!("{}/image/{IMAGE}.gvmi", surroundings.registry);
        let mut command = surroundings.command("python3");
        command.env("YAGNA_API_URL", &self.url).env("YAGNA_APPKEY", &self.key);
        command.args(["tests/foreign/foreign.py", "run", client, IMAGE, &url]);
        command.args(mode.filter(|_| !self.is_real));
        let (since, began) = (now(), Instant::now());

        let text = surroundings.output(&mut command);

        let took = began.elapsed();
        assert!(text.lines().any(|line| line == format!("STDOUT {words}")), "{text}");
        runtime.block_on(self.assert_settled(since));
        took
    }

    /// golem-core looks for an account, and a daemon has none before the first allocation.
    async fn open_wallet(&self) {
        let (platform, total) = ("erc20-hoodi-tglm".into(), Glm::from_whole(1));
        let timeout = now().plus(Span::hours(1));
        let create = Request::CreateAllocation { platform, total, timeout };
        let created = self.daemon.call(create, PATIENCE).await;
        let Ok(Response::AllocationCreated(made)) = created else { panic!("{created:?}") };
        let release = Request::ReleaseAllocation { allocation: made.id };
        assert_eq!(self.daemon.call(release, PATIENCE).await, Ok(Response::AllocationReleased));
    }

    /// Nothing of the client is left, and what it was billed since then it has promised to pay.
    async fn assert_settled(&self, since: Timestamp) {
        let call = async |request| self.daemon.call(request, PATIENCE).await;
        assert_eq!(call(Request::ListDemands).await, Ok(Response::Demands(Vec::new())));
        assert_eq!(call(Request::ListAllocations).await, Ok(Response::Allocations(Vec::new())));
        let listed = call(Request::ListInvoices { after: since }).await;
        let Ok(Response::Invoices(invoices)) = listed else { panic!("{listed:?}") };
        let is_promised =
            |it: &Invoice| matches!(it.state, DocumentState::Accepted | DocumentState::Settled);
        assert!(!invoices.is_empty() && invoices.iter().all(is_promised), "{invoices:?}");
        let agreements: BTreeSet<_> = invoices.into_iter().map(|it| it.agreement).collect();
        for agreement in agreements {
            let found = call(Request::GetAgreement { agreement }).await;
            let Ok(Response::Agreement(agreement)) = found else { panic!("{found:?}") };
            assert_eq!(agreement.state, AgreementState::Terminated);
            let list = Request::ListActivities { agreement: agreement.id.clone() };
            let listed = call(list).await;
            let Ok(Response::Activities(activities)) = listed else { panic!("{listed:?}") };
            for activity in activities {
                let timeout = Span::secs(5);
                let state = call(Request::GetActivityState { activity, timeout }).await;
                let Ok(Response::ActivityState(state)) = state else { panic!("{state:?}") };
                assert_eq!(state.now, ActivityPhase::Terminated);
            }
        }
    }
}
