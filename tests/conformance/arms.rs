//! The arms: whoever answers requests.

use std::{collections::BTreeMap, time::Instant};

use golem_sim::{
    serve::{Keys, Nodes, Options, Patience, Server},
    world::BEGINNING,
    yagna::{RequestNo, SimYagna},
};
use ray_on_golem::{
    core::rng::Seed,
    units::{Span, Timestamp},
    yagna::{
        AppKey, CallError, Client, Request, Response, Status, Yagna,
        wire::{self, HttpResponse, Malformed, decode_request, encode_response},
    },
};

use crate::{
    book::{Key, Who},
    lab::{Lab, Mood, Sellers},
    play::{Answer, Sent},
    shops::{SHOPS, Shop, public_market, scenario},
};

/// Longer than any answer takes.
const PATIENCE: Span = Span::secs(50);

/// From one look to the next, where something is waited for that does not wait by itself.
const PAUSE: Span = Span::millis(150);

/// Whoever answers requests.
pub(crate) trait Arm {
    /// Which arm it is.
    fn who(&self) -> Who;

    /// Sends a request and awaits the answer.
    fn exchange(&mut self, sent: &Sent) -> Answer;

    /// Sends a request whose answer is asked for later.
    fn send(&mut self, sent: &Sent);

    /// What was answered to the requests that were sent.
    fn answers(&mut self) -> Vec<(Sent, Answer)>;

    /// Lets a little time go by.
    fn pause(&mut self);

    /// Decides what becomes of payments.
    fn chain(&mut self, mood: &str);

    /// Makes one call as the adapter does; tells how it ended, and how long it took.
    fn timed(&mut self, request: Request) -> (Result<Response, CallError>, Span);

    /// The present, by the arm's clock.
    fn now(&self) -> Timestamp;

    /// A subnet that has four offers, of which one refuses.
    fn subnet(&self) -> &'static str {
        "public"
    }

    /// Makes one call as the adapter does.
    fn call(&mut self, request: Request) -> Result<Response, CallError> {
        self.timed(request).0
    }
}

/// The simulated daemon in virtual time. All requests and answers go through the codec.
pub(crate) struct Sim {
    daemon: SimYagna,
    now: Timestamp,
    next: u64,
    /// Requests that were sent, and when.
    sent: Vec<(RequestNo, Sent, Timestamp)>,
    /// Answers that nobody has asked for yet.
    early: BTreeMap<RequestNo, Answer>,
}

impl Sim {
    /// A fresh daemon in the market of all shops.
    pub(crate) fn new() -> Self {
        let daemon = SimYagna::new(&scenario(), Seed::new(1), BEGINNING);
        Self { daemon, now: BEGINNING, next: 0, sent: Vec::new(), early: BTreeMap::new() }
    }

    fn begin(&mut self, sent: &Sent) -> RequestNo {
        let id = RequestNo(self.next);
        self.next += 1;
        let malformed = |status, body: &str| Malformed { status, body: body.to_owned() };
        let request = match sent.as_http() {
            Some(request) => decode_request(&request),
            None => Err(malformed(Status::NOT_FOUND, "")),
        };
        match request {
            Ok(request) => {
                self.daemon.handle(self.now, id, &request);
                self.collect();
            }
            Err(malformed) => {
                let response = wire::encode_malformed(&sent.path, &malformed);
                self.early.insert(id, Answer { response, took: Span::ZERO });
            }
        }
        self.sent.push((id, sent.clone(), self.now));
        id
    }

    /// Takes what the daemon has answered until now.
    fn collect(&mut self) {
        while let Some((id, reply)) = self.daemon.poll_reply() {
            let outcome = match &reply {
                Ok(response) => Ok(response),
                Err(refusal) => Err((refusal.status, refusal.body.as_str())),
            };
            let response = encode_response(outcome);
            let since = self.sent.iter().find(|(sent, ..)| *sent == id);
            let took = since.map_or(Span::ZERO, |(_, _, since)| self.now.since(*since));
            self.early.insert(id, Answer { response, took });
        }
    }

    fn finish(&mut self, id: RequestNo) -> (Sent, Answer) {
        loop {
            if let Some(answer) = self.early.remove(&id) {
                let place = self.sent.iter().position(|(sent, ..)| *sent == id);
                let (_, sent, _) = self.sent.remove(place.expect("it was sent"));
                return (sent, answer);
            }
            let next = self.daemon.poll_timeout().expect("something happens until it answers");
            self.now = self.now.max(next);
            self.daemon.elapse(self.now);
            self.collect();
        }
    }
}

impl Arm for Sim {
    fn who(&self) -> Who {
        Who::Process
    }

    fn exchange(&mut self, sent: &Sent) -> Answer {
        let id = self.begin(sent);
        self.finish(id).1
    }

    fn send(&mut self, sent: &Sent) {
        self.begin(sent);
    }

    fn answers(&mut self) -> Vec<(Sent, Answer)> {
        let ids: Vec<RequestNo> = self.sent.iter().map(|(id, ..)| *id).collect();
        ids.into_iter().map(|id| self.finish(id)).collect()
    }

    fn pause(&mut self) {
        let until = self.now.plus(PAUSE);
        while let Some(next) = self.daemon.poll_timeout().filter(|next| *next <= until) {
            self.now = self.now.max(next);
            self.daemon.elapse(self.now);
            self.collect();
        }
        self.now = until;
    }

    fn chain(&mut self, mood: &str) {
        assert_eq!(mood, "mines", "the simulated chain does nothing else");
    }

    fn timed(&mut self, request: Request) -> (Result<Response, CallError>, Span) {
        let encoded = wire::encode_request(&request);
        let sent = Sent {
            at: request.endpoint().name().to_owned(),
            method: encoded.method.name().to_owned(),
            path: encoded.path,
            body: encoded.body.map(|body| String::from_utf8(body).expect("JSON is text")),
            key: Key::Good,
            headers: Vec::new(),
        };
        let Answer { response, took } = self.exchange(&sent);
        (wire::decode_response(&request, &response), took)
    }

    fn now(&self) -> Timestamp {
        self.now
    }
}

/// A real daemon and its stand-in providers; they end with it.
pub(crate) struct Real {
    // In this order: the sellers end before their daemon does.
    _sellers: Vec<Sellers>,
    lab: Lab,
}

impl Real {
    /// A daemon, and a market of all shops.
    pub(crate) fn start() -> Self {
        let lab = Lab::start(&public_market());
        let sellers = std::thread::scope(|scope| {
            let open = |shop: &'static Shop| scope.spawn(|| lab.sell(&shop.market()));
            let opening: Vec<_> = SHOPS.iter().map(open).collect();
            opening.into_iter().map(|shop| shop.join().expect("the shop opens")).collect()
        });
        Self { _sellers: sellers, lab }
    }

    /// A client for one case.
    pub(crate) fn arm(&self) -> Sockets<'_> {
        let facts = self.lab.facts();
        let arm = Sockets::new(Who::Real, &facts.api_url, &facts.app_key);
        Sockets { lab: Some(&self.lab), ..arm }
    }
}

/// The simulated daemon behind sockets: a fresh one for each case.
pub(crate) struct Served {
    runtime: tokio::runtime::Runtime,
}

impl Served {
    /// Room for servers.
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        Self { runtime: runtime.expect("a runtime") }
    }

    /// A server in the market of all shops, and a client for one case.
    pub(crate) fn arm(&self) -> Sockets<'_> {
        let keys = Keys::random();
        let (scenario, seed) = (scenario(), Seed::new(1));
        let options = Options {
            scenario,
            seed,
            haste: 1,
            port: 0,
            keys: keys.clone(),
            nodes: Nodes::Virtual,
            patience: Patience::default(),
            bus: None,
        };
        let server = self.runtime.block_on(Server::start(options)).expect("a free port");
        let arm = Sockets::new(Who::Http, &server.url(), &keys.first());
        Sockets { _server: Some(server), ..arm }
    }
}

/// One case's view of a daemon behind a socket.
pub(crate) struct Sockets<'a> {
    who: Who,
    /// The lab that it is in, if it is a real one.
    lab: Option<&'a Lab>,
    /// The server, if it is of this case alone.
    _server: Option<Server>,
    url: String,
    key: String,
    adapter: Client,
    plain: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    sent: Vec<(Sent, tokio::task::JoinHandle<Answer>)>,
}

impl Sockets<'_> {
    /// A client of the daemon at `url`.
    pub(crate) fn new(who: Who, url: &str, key: &str) -> Self {
        // Another case of this process may have installed it, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let app_key = AppKey::new(key).expect("a key");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Self {
            who,
            lab: None,
            _server: None,
            url: url.trim_end_matches('/').to_owned(),
            key: key.to_owned(),
            adapter: Client::new(url.parse::<url::Url>().expect("a URL"), app_key)
                .expect("a client"),
            plain: reqwest::Client::builder()
                .no_proxy()
                .pool_max_idle_per_host(0)
                .build()
                .expect("a client"),
            runtime: runtime.expect("a runtime"),
            sent: Vec::new(),
        }
    }

    fn request(&self, sent: &Sent) -> reqwest::RequestBuilder {
        let method = sent.method.parse().expect("a method");
        let glue = if sent.path.contains('?') { '&' } else { '?' };
        let url = match sent.key {
            Key::Query => format!("{}{}{glue}authToken={}", self.url, sent.path, self.key),
            Key::Good | Key::None | Key::Bad | Key::Basic => format!("{}{}", self.url, sent.path),
        };
        let micros = std::time::Duration::from_micros(PATIENCE.as_micros());
        let mut request = self.plain.request(method, url).timeout(micros);
        request = match sent.key {
            Key::Good => request.bearer_auth(&self.key),
            Key::Bad => request.bearer_auth("00000000000000000000000000000000"),
            Key::Basic => request.header("Authorization", format!("Basic {}", self.key)),
            Key::None | Key::Query => request,
        };
        let names_a_type = sent.headers.iter().any(|(name, _)| name == "Content-Type");
        if sent.body.is_some() && !names_a_type {
            request = request.header("Content-Type", "application/json");
        }
        for (name, value) in sent.headers.iter().filter(|(_, value)| value != "none") {
            request = request.header(name, value);
        }
        match &sent.body {
            Some(body) => request.body(body.clone()),
            None => request,
        }
    }
}

/// Sends a request; one that is never answered has the status zero.
async fn exchange(request: reqwest::RequestBuilder) -> Answer {
    let started = Instant::now();
    let response = match request.send().await {
        Ok(response) => {
            let status = Status(response.status().as_u16());
            let content_type = response.headers().get("content-type");
            let content_type = content_type.and_then(|it| it.to_str().ok()).map(str::to_owned);
            let body = response.bytes().await.map(|body| body.to_vec()).unwrap_or_default();
            HttpResponse { status, content_type, body }
        }
        Err(error) => {
            let body = format!("{error:?}").into_bytes();
            HttpResponse { status: Status(0), content_type: None, body }
        }
    };
    Answer { response, took: since(started) }
}

fn since(started: Instant) -> Span {
    Span::micros(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX))
}

impl Arm for Sockets<'_> {
    fn who(&self) -> Who {
        self.who
    }

    fn exchange(&mut self, sent: &Sent) -> Answer {
        self.runtime.block_on(exchange(self.request(sent)))
    }

    fn send(&mut self, sent: &Sent) {
        let request = self.request(sent);
        self.sent.push((sent.clone(), self.runtime.spawn(exchange(request))));
    }

    fn answers(&mut self) -> Vec<(Sent, Answer)> {
        let sent = std::mem::take(&mut self.sent);
        let finish = |(sent, task): (Sent, tokio::task::JoinHandle<Answer>)| {
            (sent, self.runtime.block_on(task).expect("an exchange does not panic"))
        };
        sent.into_iter().map(finish).collect()
    }

    fn pause(&mut self) {
        let time = std::time::Duration::from_micros(PAUSE.as_micros());
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }

    fn chain(&mut self, mood: &str) {
        let lab = self.lab.expect("the simulated chain only mines");
        lab.chains(match mood {
            "mines" => Mood::Mines,
            "reverts" => Mood::Reverts,
            "no-gas" => Mood::NoGas,
            _ => panic!("`{mood}` is no mood of a chain"),
        });
    }

    fn timed(&mut self, request: Request) -> (Result<Response, CallError>, Span) {
        let started = Instant::now();
        let result = self.runtime.block_on(self.adapter.call(request, PATIENCE));
        (result, since(started))
    }

    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let micros = since.expect("after 1970").as_micros();
        Timestamp::from_unix_micros(u64::try_from(micros).expect("before the year 586,000"))
    }
}
