//! The same market three times: four offers, of which one refuses, and one debit note for each agreement.

use std::time::Duration;

use golem_sim::{
    scenario::Scenario,
    serve::{Keys, Nodes, Options, Patience, Server},
};
use ray_on_golem::{
    core::rng::Seed,
    yagna::{AppKey, Client},
};
use url::Url;

use crate::lab::{Billing, Lab, Market};

/// The market of the lab, in the words of the simulation.
pub(crate) const SCENARIO: &str = "
daemon: {warm: 1, wallet: 1000, hop_ms: 20, sends_every: 1, confirms_after: 1}
populations:
  - name: willing
    count: 3
    arrives: 0
    threads: 8
    memory: 16
    storage: 100
    cpu_hour: 0.36
    env_hour: 0.18
    conduct:
      {approves_ms: 0, deploy: 0, start: 0, run: 0, invoice_after: 0, load: 0.125, terminates_unaccepted: false}
  - {name: busy, count: 1, arrives: 0, behaviour: {refuses: Node is busy.}}
";

/// A real daemon in the market.
pub(crate) fn real() -> Lab {
    let billing = Some(Billing::every(Duration::ZERO));
    Lab::start(&Market { refuse_every: 4, billing, ..Market::of(4, 1) })
}

/// The simulated daemon behind a socket, in the market.
pub(crate) async fn served() -> (Server, AppKey) {
    served_in(SCENARIO).await
}

/// The simulated daemon behind a socket, in another market.
pub(crate) async fn served_in(scenario: &str) -> (Server, AppKey) {
    let keys = Keys::random();
    let options = Options {
        scenario: Scenario::parse(scenario.as_bytes()).expect("a scenario"),
        seed: Seed::new(1),
        haste: 1,
        port: 0,
        keys: keys.clone(),
        nodes: Nodes::Virtual,
        patience: Patience::default(),
        bus: None,
    };
    let server = Server::start(options).await.expect("a free port");
    (server, AppKey::new(&keys.first()).expect("a key"))
}

/// A client of the daemon at `url`.
pub(crate) fn client(url: &str, key: AppKey) -> Client {
    Client::new(url.parse::<Url>().expect("an address"), key).expect("a client")
}
