//! A real browser, without a window: Chromium, told what to do through its own debugging protocol.

use std::{process::Stdio, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::{sleep, timeout},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

/// Nothing that a test waits for takes this long, unless it never happens.
const NEVER: Duration = Duration::from_secs(60);

/// One tab of a browser of its own.
pub(crate) struct Browser {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next: u64,
    session: Option<String>,
    /// What the page complained about: errors of its script, and violations of its policy.
    pub(crate) complaints: Vec<Value>,
    process: Child,
    _profile: TempDir,
}

impl Browser {
    /// Starts a browser that shows nothing.
    pub(crate) async fn start() -> Self {
        let profile = tempfile::tempdir().expect("a directory");
        let mut process = Command::new("chromium")
            // The sandbox needs namespaces that root has no use for; only pages of ours are shown.
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--remote-debugging-port=0", "--window-size=1280,1000"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .env("HOME", profile.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("chromium is installed: run `make setup`");
        let mut lines = BufReader::new(process.stderr.take().expect("it is piped")).lines();
        let url = soon(async {
            loop {
                let line = lines.next_line().await.expect("it speaks").expect("it is not over");
                if let Some(url) = line.strip_prefix("DevTools listening on ") {
                    break url.to_owned();
                }
            }
        });
        let url = url.await;
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let (socket, _) = soon(connect_async(url)).await.expect("it listens");
        let mut browser = Self {
            socket,
            next: 0,
            session: None,
            complaints: Vec::new(),
            process,
            _profile: profile,
        };
        let tab = browser.tell("Target.createTarget", json!({"url": "about:blank"})).await;
        let attached = json!({"targetId": tab["targetId"], "flatten": true});
        let attached = browser.tell("Target.attachToTarget", attached).await;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Runtime.enable", "Log.enable", "Page.enable"] {
            browser.tell(domain, json!({})).await;
        }
        browser
    }

    /// Goes to an address, and waits until its page is there.
    pub(crate) async fn open(&mut self, url: &str) {
        let gone = self.tell("Page.navigate", json!({"url": url})).await;
        assert_eq!(gone.get("errorText"), None, "{url}");
        self.until("location.protocol !== 'about:' && document.readyState === 'complete'").await;
    }

    /// What an expression is in the page.
    pub(crate) async fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({"expression": expression, "returnByValue": true});
        let mut answer = self.tell("Runtime.evaluate", parameters).await;
        assert_eq!(answer.get("exceptionDetails"), None, "{expression}");
        answer["result"]["value"].take()
    }

    /// Waits until an expression is true in the page.
    pub(crate) async fn until(&mut self, expression: &str) {
        let mut shown = Value::Null;
        for _ in 0..NEVER.as_millis() / 100 {
            if self.value(expression).await == Value::Bool(true) {
                return;
            }
            shown = self.value("document.body?.innerText").await;
            sleep(Duration::from_millis(100)).await;
        }
        panic!(
            "never {expression}:\n{}\n{:#?}",
            shown.as_str().unwrap_or_default(),
            self.complaints
        );
    }

    /// Ends it.
    pub(crate) async fn end(mut self) {
        self.session = None;
        self.tell("Browser.close", json!({})).await;
        soon(self.process.wait()).await.expect("it ends");
    }

    /// Has it do something, and waits for the answer.
    async fn tell(&mut self, method: &str, parameters: Value) -> Value {
        self.next += 1;
        let mut order = json!({"id": self.next, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            order["sessionId"] = json!(session);
        }
        let order = Message::text(order.to_string());
        self.socket.send(order).await.expect("it listens");
        loop {
            let said = soon(self.socket.next()).await.expect("it is there").expect("a message");
            let Message::Text(text) = said else { continue };
            let mut said: Value = serde_json::from_str(&text).expect("JSON");
            if said["id"] == self.next {
                assert_eq!(said.get("error"), None, "{method}");
                return said["result"].take();
            }
            let is_refusal = said["params"]["entry"]["source"] == "network";
            if matches!(said["method"].as_str(), Some("Runtime.exceptionThrown" | "Log.entryAdded"))
                && !is_refusal
            {
                self.complaints.push(said["params"].take());
            }
        }
    }
}

/// Fails when something never happens.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(NEVER, work).await.expect("it happens")
}
