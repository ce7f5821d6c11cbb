//! What our demand says: the exact properties and constraints that providers negotiate with.
//!
//! Names and order are those that requestors of this network use; providers' rules match on them.

use std::fmt::Write as _;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{
    negotiate::{Bounds, Terms},
    offer::{NOTE_INTERVAL, PAYMENT_TIMEOUT},
    spec::{Gib, Image, NodeSpec},
};
use crate::{
    units::{Span, Timestamp},
    yagna::{Decorations, DemandBody, PlatformId, Properties},
};

/// Providers end agreements whose notes are not accepted within this time; 240 s is their default
/// and the most that they allow.
pub const ACCEPT_TIMEOUT: Span = Span::secs(240);
const NOTE_INTERVAL_SECS: u64 = 180;

/// The expiration is the demand's mark: our own instant, by which it is found again.
pub(crate) const EXPIRATION: &str = "golem.srv.comp.expiration";

/// What we can live with for payments while the node runs.
#[must_use]
pub fn bounds(spec: &NodeSpec) -> Bounds {
    let terms = |payment_timeout| Terms { note_interval: NOTE_INTERVAL_SECS, payment_timeout };
    Bounds {
        minimal: terms(spec.payment_interval.minimal.as_secs()),
        optimal: terms(spec.payment_interval.optimal.as_secs()),
    }
}

/// The demand for nodes of this shape on one subnet.
#[must_use]
pub fn body(
    spec: &NodeSpec,
    subnet_tag: &str,
    image: &Image,
    decorations: &Decorations,
    expires: Timestamp,
) -> DemandBody {
    DemandBody {
        properties: properties(spec, subnet_tag, image, decorations, expires),
        constraints: constraints(spec, subnet_tag, decorations),
    }
}

/// A counter-proposal: the demand with the chosen platform and the terms that we propose.
#[must_use]
pub fn counter(demand: &DemandBody, platform: &PlatformId, terms: Terms) -> DemandBody {
    let mut body = demand.clone();
    body.properties.set("golem.com.payment.chosen-platform", platform.as_str());
    body.properties.set(NOTE_INTERVAL, terms.note_interval);
    body.properties.set(PAYMENT_TIMEOUT, terms.payment_timeout);
    body
}

fn properties(
    spec: &NodeSpec,
    subnet_tag: &str,
    image: &Image,
    decorations: &Decorations,
    expires: Timestamp,
) -> Properties {
    let mut properties = Properties::default();
    properties.set(EXPIRATION, expires.as_unix_millis());
    properties.set("golem.srv.caps.multi-activity", true);
    properties.set("golem.node.debug.subnet", subnet_tag);
    for (key, value) in &decorations.properties {
        properties.set(key.as_str(), value.as_str());
    }
    if let Some(descriptor) = &spec.node_descriptor {
        properties.set("golem.!exp.gap-31.v0.node.descriptor", Value::Object(descriptor.clone()));
    }
    properties.set("golem.srv.comp.vm.package_format", "gvmkit-squash");
    if spec.outbound_urls.is_empty() {
        let package = format!("hash:sha3:{}:{}", image.sha3, image.url);
        properties.set("golem.srv.comp.task_package", package);
    } else {
        let manifest = manifest(&spec.outbound_urls, image).to_string();
        properties.set("golem.srv.comp.payload", BASE64_STANDARD.encode(manifest));
    }
    let stated = bounds(spec).minimal;
    properties.set("golem.com.payment.debit-notes.accept-timeout?", ACCEPT_TIMEOUT.as_secs());
    properties.set(NOTE_INTERVAL, stated.note_interval);
    properties.set(PAYMENT_TIMEOUT, stated.payment_timeout);
    properties
}

/// What the node may run and reach, unsigned: each provider's own whitelist decides.
fn manifest(outbound_urls: &[String], image: &Image) -> Value {
    let mut protocols: Vec<&str> = Vec::new();
    for url in outbound_urls {
        let protocol = url.split_once("://").map_or("https", |(scheme, _)| scheme);
        if !protocols.contains(&protocol) {
            protocols.push(protocol);
        }
    }
    json!({
        "version": "0.1.0",
        "createdAt": "2023-06-26T00:00:00.000000Z",
        "expiresAt": "2100-01-01T00:00:00.000000Z",
        "metadata": {
            "name": "Golem Ray", "description": "Golem ray webserver", "version": "0.0.1",
        },
        "payload": [{ "urls": [image.url], "hash": format!("sha3:{}", image.sha3) }],
        "compManifest": {
            "version": "0.1.0",
            "script": { "commands": ["run /bin/sh -c *"], "match": "regex" },
            "net": { "inet": { "out": { "protocols": protocols, "urls": outbound_urls } } },
        },
    })
}

fn constraints(spec: &NodeSpec, subnet_tag: &str, decorations: &Decorations) -> String {
    let mut members = vec![format!("(golem.node.debug.subnet={subnet_tag})")];
    members.extend(decorations.constraints.iter().cloned());
    if let Some(threads) = spec.max_cpu_threads {
        members.push(format!("(golem.inf.cpu.threads<={threads})"));
    }
    members.push(format!("(golem.runtime.name={})", spec.runtime));
    let capabilities: Vec<String> = spec
        .capabilities
        .iter()
        .map(|capability| format!("(golem.runtime.capabilities={capability})"))
        .collect();
    if !capabilities.is_empty() {
        members.push(all(&capabilities));
    }
    for (key, least) in
        [("golem.inf.mem.gib", spec.min_mem), ("golem.inf.storage.gib", spec.min_storage)]
    {
        if least > Gib::ZERO {
            members.push(format!("({key}>={least})"));
        }
    }
    if spec.min_cpu_threads > 0 {
        members.push(format!("(golem.inf.cpu.threads>={})", spec.min_cpu_threads));
    }
    all(&members)
}

fn all(members: &[String]) -> String {
    let mut text = String::from("(&");
    for (index, member) in members.iter().enumerate() {
        let separator = if index == 0 { "" } else { "\n\t" };
        // Writing to a string cannot fail.
        let _ = write!(text, "{separator}{member}");
    }
    text.push(')');
    text
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_STANDARD};
    use serde_json::{Value, json};

    use super::{body, bounds, counter};
    use crate::{
        core::market::{
            choice::Choice,
            spec::{Gib, Image, ImageRef, NodeSpec, PaymentInterval, PriceLimits},
        },
        units::{Span, Timestamp},
        yagna::{Decorations, DemandBody, PlatformId},
    };

    fn spec() -> NodeSpec {
        NodeSpec {
            subnet_tag: "public".to_owned(),
            priority_subnet_tag: None,
            image: ImageRef::Tag("golem/ray".to_owned()),
            runtime: "vm".to_owned(),
            capabilities: vec!["vpn".to_owned(), "inet".to_owned()],
            outbound_urls: Vec::new(),
            min_mem: Gib::from_millionths(1_000_000),
            min_storage: Gib::from_millionths(2_500_000),
            min_cpu_threads: 2,
            max_cpu_threads: Some(8),
            node_descriptor: None,
            limits: PriceLimits::default(),
            choice: Choice::original(),
            payment_interval: PaymentInterval {
                minimal: Span::hours(12),
                optimal: Span::hours(24),
            },
        }
    }

    fn demand(spec: &NodeSpec) -> DemandBody {
        let address = "golem.com.payment.platform.erc20-hoodi-tglm.address";
        let decorations = Decorations {
            properties: vec![
                (address.to_owned(), "0xabc".to_owned()),
                ("golem.com.payment.protocol.version".to_owned(), "3".to_owned()),
            ],
            constraints: vec![
                format!("(|({address}=*))"),
                "(golem.com.payment.protocol.version>1)".to_owned(),
            ],
        };
        let image = Image { url: "http://images/ray".to_owned(), sha3: "abcd".to_owned() };
        let expires = Timestamp::from_unix_micros(1_826_755_141_642_000);
        body(spec, "public", &image, &decorations, expires)
    }

    #[test]
    fn the_demand_of_an_image_says_exactly_this() {
        let demand = demand(&spec());

        let properties = json!({
            "golem.srv.comp.expiration": 1_826_755_141_642_u64,
            "golem.srv.caps.multi-activity": true,
            "golem.node.debug.subnet": "public",
            "golem.com.payment.debit-notes.accept-timeout?": 240,
            "golem.com.scheme.payu.debit-note.interval-sec?": 180,
            "golem.com.scheme.payu.payment-timeout-sec?": 43_200,
            "golem.com.payment.platform.erc20-hoodi-tglm.address": "0xabc",
            "golem.com.payment.protocol.version": "3",
            "golem.srv.comp.task_package": "hash:sha3:abcd:http://images/ray",
            "golem.srv.comp.vm.package_format": "gvmkit-squash",
        });
        assert_eq!(Value::Object(demand.properties.0), properties);
        assert_eq!(
            demand.constraints,
            "(&(golem.node.debug.subnet=public)\n\
             \t(|(golem.com.payment.platform.erc20-hoodi-tglm.address=*))\n\
             \t(golem.com.payment.protocol.version>1)\n\
             \t(golem.inf.cpu.threads<=8)\n\
             \t(golem.runtime.name=vm)\n\
             \t(&(golem.runtime.capabilities=vpn)\n\
             \t(golem.runtime.capabilities=inet))\n\
             \t(golem.inf.mem.gib>=1.0)\n\
             \t(golem.inf.storage.gib>=2.5)\n\
             \t(golem.inf.cpu.threads>=2))"
        );
    }

    #[test]
    fn a_node_that_wants_out_sends_a_manifest() {
        let spec = NodeSpec {
            outbound_urls: vec!["https://pypi.example".to_owned(), "http://b".to_owned()],
            ..spec()
        };

        let demand = demand(&spec);

        let payload = demand.properties.text("golem.srv.comp.payload").expect("a manifest");
        let manifest = BASE64_STANDARD.decode(payload).expect("base64");
        let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
        assert_eq!(demand.properties.get("golem.srv.comp.task_package"), None);
        assert_eq!(
            manifest["compManifest"]["net"]["inet"]["out"],
            json!({ "protocols": ["https", "http"], "urls": ["https://pypi.example", "http://b"] })
        );
        assert_eq!(manifest["compManifest"]["script"]["commands"], json!(["run /bin/sh -c *"]));
        assert_eq!(
            manifest["payload"],
            json!([{ "urls": ["http://images/ray"], "hash": "sha3:abcd" }])
        );
    }

    #[test]
    fn a_descriptor_travels_as_it_is() {
        let descriptor = json!({ "node": { "id": "0x1" } });
        let node_descriptor = descriptor.as_object().cloned();

        let demand = demand(&NodeSpec { node_descriptor, ..spec() });

        let key = "golem.!exp.gap-31.v0.node.descriptor";
        assert_eq!(demand.properties.get(key), Some(&descriptor));
    }

    #[test]
    fn a_counter_proposal_names_the_platform_and_the_terms() {
        let demand = demand(&spec());
        let terms = bounds(&spec()).optimal;

        let counter = counter(&demand, &PlatformId::from("erc20-hoodi-tglm"), terms);

        let said = |key: &str| counter.properties.get(key).cloned();
        assert_eq!(said("golem.com.payment.chosen-platform"), Some(json!("erc20-hoodi-tglm")));
        assert_eq!(said("golem.com.scheme.payu.payment-timeout-sec?"), Some(json!(86_400)));
        assert_eq!(counter.constraints, demand.constraints);
    }
}
