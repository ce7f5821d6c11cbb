//! What the reader of a recording must not see: keys, and the ids of private networks.

use serde_json::Value;

use super::Exchange;
use crate::{
    core::{Command, Durable},
    yagna::{Request, wire},
};

const MASKED: &str = "***";
/// Shorter texts are no secrets, and stand in too many words.
const SECRET_LENGTH_MIN: usize = 8;

/// The secrets of a recording, as they would be written in it.
///
/// They are hidden in what the machine is told and in what it does alike, so that a replay, which
/// sees the mask in their place, does the same. A process that knows the id of a private network can send frames
/// into it, so that is a secret, too, whoever carries the frames. Each network keeps a name of its own,
/// `masked-1`, since a machine that has several must know them apart, and since its requests have it in their paths,
/// where other characters would be escaped.
#[derive(Clone, Default)]
pub struct Mask {
    /// Each form of a secret, and what stands in its place; the longest first, since one may begin with another.
    hidden: Vec<(String, String)>,
    networks: usize,
}

impl Mask {
    /// Hides one more text; one of fewer than eight bytes is no secret.
    pub fn add(&mut self, secret: &str) {
        self.hide_as(secret, MASKED);
    }

    /// Hides the keys that a command brings.
    pub fn add_keys_of(&mut self, command: &Command) {
        if let Command::RequestNodes(request) = command {
            self.add_ssh_key(&request.plan.ssh_public_key);
        }
    }

    /// Hides the keys of clusters that there are, and their networks.
    pub fn add_secrets_in(&mut self, durable: &Durable) {
        for cluster in durable.clusters().values() {
            self.add_ssh_key(&cluster.plan.ssh_public_key);
            if let Some(network) = cluster.network.id() {
                self.add_network(network.as_str());
            }
        }
    }

    /// Hides the networks that a reply tells of, ours and those of others.
    pub fn add_networks_of(&mut self, exchange: &Exchange) {
        let is_told =
            matches!(exchange.request, Request::CreateNetwork { .. } | Request::ListNetworks);
        let Ok(reply) = &exchange.reply else { return };
        if is_told {
            for network in networks_in(&reply.body) {
                self.add_network(&network);
            }
        }
    }

    /// The text without the secrets.
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        self.hidden.iter().fold(text.to_owned(), |text, (secret, mask)| text.replace(secret, mask))
    }

    fn add_network(&mut self, id: &str) {
        let mask = format!("masked-{}", self.networks + 1);
        if self.hide_as(id, &mask) {
            self.networks += 1;
        }
    }

    /// `KIND KEY COMMENT`, of which the key alone opens something.
    fn add_ssh_key(&mut self, line: &str) {
        if let Some(key) = line.split_whitespace().nth(1) {
            self.add(key);
        }
    }

    /// Lets `mask` stand in the place of a secret in each of its forms; says whether it is a new one.
    fn hide_as(&mut self, secret: &str, mask: &str) -> bool {
        let mut is_new = false;
        for form in forms(secret) {
            let is_known = self.hidden.iter().any(|(known, _)| *known == form);
            if form.len() >= SECRET_LENGTH_MIN && !is_known {
                self.hidden.push((form, mask.to_owned()));
                is_new = true;
            }
        }
        self.hidden.sort_by_key(|(form, _)| std::cmp::Reverse(form.len()));
        is_new
    }
}

/// A text as a value of JSON, as such in a script, which is JSON in JSON, and as a part of a path.
fn forms(text: &str) -> [String; 3] {
    let quoted = quoted(text);
    let twice = self::quoted(&quoted);
    [quoted, twice, wire::escape(text)]
}

/// A text as it stands between the quotes of JSON.
fn quoted(text: &str) -> String {
    let json = serde_json::to_string(text).expect("a text is JSON");
    json[1..json.len() - 1].to_owned()
}

/// The ids in a reply that tells of one network or of several. A reply that is not understood may have them anywhere:
/// then all long words of hexadecimal digits are taken to be such.
fn networks_in(body: &[u8]) -> Vec<String> {
    let id = |network: &Value| network.get("id")?.as_str().map(str::to_owned);
    match serde_json::from_slice(body) {
        Ok(Value::Array(networks)) => networks.iter().filter_map(id).collect(),
        Ok(network) => id(&network).into_iter().collect(),
        Err(_) => {
            let text = String::from_utf8_lossy(body);
            let words = text.split(|letter: char| !letter.is_ascii_hexdigit());
            words.filter(|word| word.len() >= SECRET_LENGTH_MIN).map(str::to_owned).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr},
        sync::Arc,
    };

    use super::Mask;
    use crate::{
        core::{
            Durable, Notice, Output, Probe, Record,
            cluster::{
                plan::ClusterPlan,
                record::{ClusterRecord, NetworkFact},
            },
            ids::{CallId, ClusterId, NodeId, ProbeId},
            record::CommonRecord,
            reputation::Reputation,
            rng::Seed,
        },
        recording::{Event, Exchange, Line},
        units::{Glm, Span, Timestamp},
        yagna::{
            CallError, Deployment, ExeCommand, NetworkId, NetworkPath, Request, Status,
            wire::HttpResponse,
        },
    };

    const OURS: &str = "0123456789abcdef0123456789abcdef";
    const THEIRS: &str = "fedcba9876543210fedcba9876543210";
    /// No daemon names a network so, but each form of it is another text.
    const ODD: &str = "a \"network\"/of ours";

    #[test]
    fn secrets_are_hidden_and_what_is_too_short_for_one_is_not() {
        let mut mask = Mask::default();
        mask.add("a \"secret\" key");
        mask.add("at");
        mask.add("");

        let text = mask.hide(r#"{"at":1,"why":"no a \"secret\" key"}"#);

        assert_eq!(text, r#"{"at":1,"why":"no ***"}"#);
    }

    #[test]
    fn a_secret_that_begins_with_another_one_is_hidden_as_a_whole() {
        let mut mask = Mask::default();
        mask.add("the first");
        mask.add("the first, and the second");

        assert_eq!(mask.hide("the first; the first, and the second"), "***; ***");
    }

    fn create(path: NetworkPath) -> Request {
        let (ip, gateway) = (Ipv4Addr::new(192, 168, 0, 0), Ipv4Addr::new(192, 168, 192, 1));
        Request::CreateNetwork { path, ip: ip.into(), prefix: 16, gateway: gateway.into() }
    }

    fn replied(request: Request, status: u16, body: String) -> Event {
        let content_type = Some("application/json".to_owned());
        let reply = Ok(HttpResponse { status: Status(status), content_type, body: body.into() });
        Event::Replied(Exchange { call: CallId(1), request, reply })
    }

    fn told(id: &str) -> String {
        let id = serde_json::json!(id);
        format!(
            r#"{{"id":{id},"ip":"192.168.0.0/16","mask":"255.255.0.0","gateway":"192.168.192.1"}}"#
        )
    }

    /// All that a machine does that has to do with a network.
    fn doings(network: &NetworkId) -> Vec<Output> {
        let patience = Span::secs(10);
        let call = |request| Output::Call { call: CallId(2), request, patience };
        let (network, provider) = (network.clone(), "0xa".into());
        let ip = Ipv4Addr::new(192, 168, 0, 3);
        let deploy = ExeCommand::Deploy {
            networks: vec![Deployment {
                network: network.clone(),
                ip: [192, 168, 0, 0].into(),
                mask: [255, 255, 0, 0].into(),
                node_ip: ip,
                nodes: vec![(ip, "0xa".into())],
            }],
        };
        vec![
            call(Request::AddNode { network: network.clone(), provider, ip: IpAddr::V4(ip) }),
            call(Request::RemoveNode { network: network.clone(), provider: "0xa".into() }),
            call(Request::RemoveNetwork { network: network.clone() }),
            call(Request::Execute {
                activity: "activity".into(),
                script: Arc::new(vec![deploy]),
                timeout: patience,
            }),
            Output::Probe {
                probe: ProbeId(1),
                what: Probe::Ssh {
                    cluster: ClusterId(0),
                    network: network.clone(),
                    ip,
                    host_key: None,
                },
                patience,
            },
            Output::Notify(Notice::Cluster {
                cluster: "c".into(),
                what: format!("the network {network} is lost"),
            }),
        ]
    }

    /// The lines of an event, and of all that a machine may do about the networks then.
    fn recorded(mask: &mut Mask, event: &Event, networks: &[&str]) -> String {
        if let Event::Replied(exchange) = event {
            mask.add_networks_of(exchange);
        }
        let mut line = Line::step(Timestamp::EPOCH, event);
        for network in networks {
            for output in doings(&NetworkId::from(*network)) {
                line.add(&output);
            }
        }
        line.finish(None, mask)
    }

    #[track_caller]
    fn assert_hidden(text: &str, networks: &[&str]) {
        for network in networks {
            for form in super::forms(network) {
                assert!(!text.contains(&form), "{form} in {text}");
            }
        }
    }

    #[test]
    fn a_network_is_hidden_in_all_that_is_told_of_it_and_done_with_it() {
        let both = [NetworkPath::Bus, NetworkPath::Daemon];
        for (path, network) in both.iter().flat_map(|path| [(path, OURS), (path, ODD)]) {
            let mut mask = Mask::default();

            let event = replied(create(*path), 200, told(network));
            let text = recorded(&mut mask, &event, &[network]);
            let again = recorded(&mut mask, &Event::Elapsed, &[network]);

            assert_hidden(&(text.clone() + &again), &[network]);
            // The reply, three paths, a script, a look, and a notice.
            assert_eq!(text.matches("masked-1").count(), 7, "{text}");
        }
    }

    #[test]
    fn listed_networks_are_hidden_those_of_others_too_and_are_known_apart() {
        let mut mask = Mask::default();
        let list = format!("[{},{}]", told(THEIRS), told(OURS));

        let event = replied(Request::ListNetworks, 200, list);
        let text = recorded(&mut mask, &event, &[OURS, THEIRS]);

        assert_hidden(&text, &[OURS, THEIRS]);
        assert!(text.contains(r#"{"id":"masked-1""#) && text.contains(r#"{"id":"masked-2""#));
        assert!(text.contains("ssh to 192.168.0.3 in masked-2"), "{text}");
    }

    #[test]
    fn a_network_in_a_reply_that_is_not_understood_is_hidden() {
        for body in [
            format!("[{}", told(OURS)),
            format!("no network {OURS}"),
            format!(r#"{{"id":"{}"#, &OURS[..20]),
        ] {
            let event = replied(Request::ListNetworks, 200, body);
            let text = recorded(&mut Mask::default(), &event, &[]);

            assert!(!text.contains(&OURS[..8]), "{text}");
        }
    }

    /// A cluster that has a network.
    fn durable(is_lost: bool) -> Durable {
        let at = Timestamp::EPOCH;
        let plan = Box::new(ClusterPlan {
            platform: "erc20-hoodi-tglm".into(),
            total_budget: Glm::from_whole(5),
            max_glm_per_hour: None,
            autostop: None,
            law: None,
            ssh_public_key: "ssh-ed25519 AAAAC3NzaC1lZDI1 me".to_owned(),
            reputation: Reputation::default(),
            network: None,
            network_path: None,
        });
        let (name, session, first_node) = ("c".into(), "s".into(), NodeId(0));
        let intended =
            NetworkFact::Intended { gateway: [192, 168, 192, 1].into(), path: NetworkPath::Bus };
        let mut facts = vec![
            ClusterRecord::Opened { name, session, plan, at, first_node },
            ClusterRecord::Network(intended),
            ClusterRecord::Network(NetworkFact::Made(OURS.into())),
        ];
        if is_lost {
            facts.push(ClusterRecord::Network(NetworkFact::Lost));
        }
        let cluster = ClusterId(0);
        let mut durable = Durable::default();
        let name = "c".into();
        durable.apply(&Record::Common(CommonRecord::ClusterOpened { cluster, name }));
        for fact in facts {
            durable.apply(&Record::Cluster(cluster, Box::new(fact)));
        }
        durable
    }

    #[test]
    fn what_there_is_when_a_recording_begins_is_hidden() {
        for is_lost in [false, true] {
            let durable = durable(is_lost);
            let mut mask = Mask::default();

            mask.add_secrets_in(&durable);
            let head = Line::head(Seed::new(1), Timestamp::EPOCH, &durable);
            let text = head.finish(None, &mask) + &recorded(&mut mask, &Event::Elapsed, &[OURS]);

            assert_hidden(&text, &[OURS, "AAAAC3NzaC1lZDI1"]);
            assert_eq!(text.matches("masked-1").count(), 7, "{text}");
            assert!(text.contains("ssh-ed25519 *** me"), "{text}");
        }
    }

    #[test]
    fn a_reply_that_never_came_tells_of_no_network() {
        let why = "no connection".to_owned();
        let reply = Err(CallError::NotSent { why });
        let request = create(NetworkPath::Bus);
        let event = Event::Replied(Exchange { call: CallId(1), request, reply });

        let text = recorded(&mut Mask::default(), &event, &[]);

        assert!(text.contains("no connection") && !text.contains("masked"), "{text}");
    }
}
