//! A webserver over a simulated daemon in this process, in real time: `Lab::start` gives one.

use std::{path::Path, sync::Arc, time::Duration};

use axum::{Router, http::Uri, routing::get};
use ray_on_golem::{
    bills::Owner,
    driver::{
        Recorder,
        commands::Commands,
        journal::{Journals, JournalsError, Recovered},
        log::Log,
        manager::{Handle, Kept, Manager, ManagerError},
        wallet::{DaemonCli, Wallet},
    },
    server::{
        self, Alerts, Allowances, App, Images, Listening, Settings, Stop, Usage,
        auth::{Guard, HeadTokens, Token},
        bills::Bills,
    },
};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

pub(crate) use crate::node_request::nodes;
use crate::port::{AllWell, SimPort};

/// Providers that do everything in a blink.
pub(crate) const QUICK: &str = include_str!("../../fixtures/scenario/quick.yaml");

/// A simulated daemon, and a webserver over it.
pub(crate) struct Lab {
    pub(crate) daemon: SimPort,
    pub(crate) data: TempDir,
    pub(crate) web: Web,
    registry: String,
    log: Log,
    pub(crate) slow: Slow,
    tasks: Vec<JoinHandle<()>>,
}

/// An image whose name has `slow` in it, as the registry looks it up.
#[derive(Clone, Default)]
pub(crate) struct Slow(Arc<(Notify, Notify)>);

/// One life of a webserver.
pub(crate) struct Web {
    pub(crate) url: String,
    pub(crate) heads_url: String,
    pub(crate) app: Arc<App>,
    pub(crate) prober: AllWell,
    pub(crate) token: String,
    pub(crate) client: Client,
    manager: JoinHandle<Result<(), ManagerError>>,
    /// Takes in the bills.
    pub(crate) keeping: JoinHandle<()>,
    end: watch::Sender<bool>,
    servers: Vec<JoinHandle<()>>,
}

impl Lab {
    pub(crate) async fn start(scenario: &str) -> Self {
        Self::start_with(scenario, |_| Log::silent()).await
    }

    /// The same with a log in the data directory.
    pub(crate) async fn start_logged(scenario: &str) -> Self {
        let log = |data: &Path| Log::to_file(&data.join("webserver.log"));
        Self::start_with(scenario, |data| log(data).expect("a writable directory")).await
    }

    async fn start_with(scenario: &str, log: impl FnOnce(&Path) -> Log) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let data = tempfile::tempdir().expect("a directory");
        let log = log(data.path());
        let (daemon, moving) = SimPort::start(scenario);
        let slow = Slow::default();
        let (registry, registering) = registry(slow.clone()).await;
        let web = Web::start(data.path(), &registry, daemon.clone(), log.clone()).await;
        Self { daemon, data, web, registry, log, slow, tasks: vec![moving, registering] }
    }

    /// Ends the webserver as `kill -9` does, and starts it again.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.web.kill().await;
        self.go_on().await;
    }

    /// Starts the webserver again that was killed.
    pub(crate) async fn go_on(&mut self) {
        let (daemon, log) = (self.daemon.clone(), self.log.clone());
        self.web = Web::start(self.data.path(), &self.registry, daemon, log).await;
    }
}

impl Slow {
    /// Waits until it is asked for.
    pub(crate) async fn asked(&self) {
        self.0.0.notified().await;
    }

    /// Lets it be found.
    pub(crate) fn found(&self) {
        self.0.1.notify_one();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Web {
    async fn start(data: &Path, registry: &str, daemon: SimPort, log: Log) -> Self {
        let (journals, recovered) = open(data).await;
        let prober = AllWell::default();
        let kept = Kept { journals, recovered, recorder: Recorder::none() };
        let commands = Commands::new(daemon.clone());
        let (manager, handle) = Manager::new(kept, daemon, prober.clone(), log.clone());
        let (news, bills_news) = mpsc::unbounded_channel();
        let manager = manager.billing(news);
        let owner = Owner { is_simulated: true, identity: None };
        let bills = Bills::open(data, owner, log.clone());
        let token = Token::of(data).expect("a writable directory");
        let app = Arc::new(App {
            handle,
            settings: Settings {
                data: data.to_owned(),
                program: "/bin/rog".into(),
                self_shutdown: true,
                registry_stats: false,
                guard: Guard::Token(token.clone()),
                metrics_token: Token::of_metrics(data).expect("a writable directory"),
            },
            images: Images::new(registry.parse().expect("an address")),
            providers: Default::default(),
            wallet: Wallet::new("0xabc".to_owned(), cli(), log.clone()),
            commands,
            simulated: None,
            heads: HeadTokens::new(data),
            bills,
            alerts: Alerts::default(),
            stop: Stop::default(),
            usage: Usage::default(),
            allowances: Allowances::default(),
            log,
        });
        let keeping = tokio::spawn(app.bills.clone().keep(bills_news, app.handle.changes()));
        let end = watch::Sender::new(false);
        let mut servers = Vec::new();
        let mut urls = Vec::new();
        for router in [server::users(&app), server::heads(&app)] {
            let listening = Listening::on(0).await.expect("a free port");
            urls.push(format!("http://{}", listening.address()));
            servers.push(tokio::spawn(server::serve(listening, router, end.subscribe())));
        }
        Self {
            heads_url: urls.pop().expect("the second"),
            url: urls.pop().expect("the first"),
            app,
            prober,
            token: token.as_str().to_owned(),
            client: Client::builder().no_proxy().build().expect("a client"),
            manager: tokio::spawn(manager.run()),
            keeping,
            end,
            servers,
        }
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.app.handle
    }

    /// Posts with the token; a success is JSON.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let (status, text) = self.send(&self.url, path, &body, Some(&self.token)).await;
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Asks for the head of a cluster; the token that it is given.
    pub(crate) async fn head(&self, cluster: &str) -> Token {
        self.post("/request_nodes", nodes(cluster, "head", 1)).await;
        self.head_token(cluster)
    }

    /// The token of the head of a cluster that there is.
    pub(crate) fn head_token(&self, cluster: &str) -> Token {
        let board = self.handle().board();
        let cluster = board.current(cluster).expect("it was asked for");
        self.app.heads.of(cluster.id, &cluster.name).expect("a writable directory")
    }

    /// Gets with the token.
    pub(crate) async fn get(&self, path: &str) -> String {
        let request = self.client.get(format!("{}{path}", self.url)).bearer_auth(&self.token);
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.text().await.expect("text")
    }

    /// Posts, and says what came of it.
    pub(crate) async fn send(
        &self,
        base: &str,
        path: &str,
        body: &Value,
        token: Option<&str>,
    ) -> (StatusCode, String) {
        let mut request = self.client.post(format!("{base}{path}")).body(body.to_string());
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.expect("an answer");
        (response.status(), response.text().await.expect("text"))
    }

    /// Waits until the board is as it should be.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&server_board::Board) -> bool) {
        let mut changes = self.handle().changes();
        let waited =
            timeout(Duration::from_secs(180), changes.wait_for(|board| is_so(board))).await;
        if waited.is_err() {
            panic!("not within three minutes: {what}\n{:#?}", self.handle().board());
        }
    }

    /// Waits until the manager has ended everything.
    pub(crate) async fn ended(&mut self) -> Result<(), ManagerError> {
        let ended = timeout(Duration::from_secs(180), &mut self.manager).await;
        ended.expect("it ends in time").expect("it does not panic")
    }

    /// Ends it as `kill -9` does.
    pub(crate) async fn kill(&mut self) {
        self.manager.abort();
        // What it was told and has not taken in is lost with the process.
        self.keeping.abort();
        self.end.send_replace(true);
        drop((&mut self.manager).await);
        for server in &mut self.servers {
            drop(server.await);
        }
    }
}

pub(crate) use ray_on_golem::driver::board as server_board;

/// The journals, as soon as the life before has let go of them.
async fn open(data: &Path) -> (Journals, Recovered) {
    loop {
        match Journals::open_keeping(data) {
            Ok(opened) => return opened,
            Err(JournalsError::InUse { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("journals of ours: {error}"),
        }
    }
}

/// The daemon's command line: a wallet with 7 GLM.
fn cli() -> DaemonCli {
    let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/appkey/wallet.sh");
    DaemonCli { binary, environment: Vec::new() }
}

/// A registry that knows one image, by any name but those with `nosuch`.
async fn registry(slow: Slow) -> (String, JoinHandle<()>) {
    let image = json!({
        "http": "http://registry.example/image.gvmi",
        "sha3": "d646d7b93083d817846c2ae5c62c72ca0507782385a2e29291a3d376",
    })
    .to_string();
    let look_up = move |uri: Uri| async move {
        if uri.query().is_some_and(|query| query.contains("slow")) {
            slow.0.0.notify_one();
            slow.0.1.notified().await;
        }
        match uri.query().is_some_and(|query| query.contains("nosuch")) {
            true => Err(StatusCode::NOT_FOUND),
            false => Ok(image),
        }
    };
    let router = Router::new().route("/v1/image/info", get(look_up));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let serving = tokio::spawn(async move {
        axum::serve(listener, router).await.expect("it serves");
    });
    (format!("http://{address}"), serving)
}
