//! `/sim/*`: the simulated world itself, to look at and to change while it runs; and what the
//! daemon tells to everybody.

use std::collections::BTreeMap;

use axum::{
    body::Body,
    http::{Method, Response},
};
use ray_on_golem::{
    units::{Glm, Rounding, Span, money::parse_scaled},
    yagna::{AgreementId, BilledAmount, DocumentState, PlatformId, wire},
};
use serde_json::{Map, Value, json};

use super::{State, api::Ask, daemon::Inner, reply};
use crate::{
    fault::{Faults, OutageKind},
    provider::Draft,
    yagna::SimYagna,
};

/// The version of the daemon that is simulated.
pub(super) const VERSION: &str = "0.17.6";

/// So many of each kind are listed, the last ones, unless `?last=` says otherwise.
const LISTED: usize = 100;
const NAME_LENGTH_MAX: usize = 100;

/// Answers a request about the simulated world.
pub(super) async fn answer(state: &State, ask: &Ask) -> Response<Body> {
    let path = ask.path();
    match (ask.method.clone(), path.as_slice()) {
        (Method::GET, ["sim", "ledger"]) => reply::json(200, &ledger(&state.daemon.look(), ask)),
        (Method::GET, ["sim", "providers"]) => reply::json(200, &providers(&state.daemon.look())),
        (Method::GET, ["sim", "trace"]) => reply::json(200, &trace(&state.daemon.look(), ask)),
        (Method::GET, ["sim", "faults"]) => reply::json(200, &faults(&state.daemon.look())),
        (Method::PUT | Method::POST, ["sim", "faults"]) => change_faults(state, ask),
        (Method::GET, ["sim", "account", platform]) => {
            reply::json(200, &account(&state.daemon.look(), platform))
        }
        (Method::GET, ["sim", "nodes"]) => reply::json(200, &json!({ "caveat": state.caveat })),
        (Method::POST, ["sim", "networks"]) => {
            let network =
                state.host.network().map(|(ip, prefix)| json!({ "ip": ip, "prefix": prefix }));
            reply::json(200, &json!(network))
        }
        (Method::POST, ["sim", "nodes", activity]) => spoil_node(state, ask, activity).await,
        (Method::POST, ["sim", "accounts"]) => match serde_json::from_slice::<Value>(&ask.body) {
            Ok(Value::String(platform)) => {
                state.daemon.look().open_account(PlatformId::from(platform));
                reply::json(200, &Value::Null)
            }
            Ok(_) | Err(_) => reply::message(400, "send a platform as a JSON string"),
        },
        _ => reply::message(
            404,
            "there are `GET /sim/ledger`, `/sim/nodes`, `/sim/providers`, `/sim/trace`, `GET`, `PUT`, and \
             `POST /sim/faults`, `POST /sim/networks`, and `POST /sim/nodes/ACTIVITY`",
        ),
    }
}

/// The keys that are let in, for who has one of them.
pub(super) fn app_keys(state: &State, ask: &Ask) -> Response<Body> {
    let inner = state.daemon.look();
    let (id, created) = (inner.yagna.identity(), wire::instant(inner.started));
    let created = created.as_str().unwrap_or_default().trim_end_matches('Z');
    if ask.method == Method::POST {
        return match serde_json::from_slice::<Value>(&ask.body) {
            Ok(Value::String(name)) if name.len() <= NAME_LENGTH_MAX => {
                reply::json(200, &json!(state.keys.named(&name)))
            }
            Ok(_) | Err(_) => reply::message(400, "send a short name as a JSON string"),
        };
    }
    let rows = state.keys.list().into_iter().map(|(name, key)| {
        json!({ "name": name, "key": key, "id": id, "role": "manager", "created": created })
    });
    reply::json(200, &Value::Array(rows.collect()))
}

/// How an account stands, as the daemon's command line tells it.
fn account(inner: &Inner, platform: &str) -> Value {
    let yagna = &inner.yagna;
    let mut parts = platform.splitn(3, '-');
    let (driver, network, token) = (parts.next(), parts.next(), parts.next());
    let is_real = token == Some("glm");
    let reserved = yagna
        .allocations()
        .iter()
        .filter(|book| !book.is_released && book.allocation.platform.as_str() == platform);
    let reserved = reserved.fold(Glm::ZERO, |sum, book| sum.plus(book.allocation.remaining));
    let ours = |id| yagna.agreement(id).is_some_and(|view| view.platform.as_str() == platform);
    let sum = |is_wanted: fn(DocumentState) -> bool| {
        let invoices = yagna.invoices().iter().map(|book| &book.invoice);
        let wanted = invoices.filter(|it| is_wanted(it.state) && ours(&it.agreement));
        let amounts: Vec<Glm> = wanted.filter_map(|it| it.amount.glm().ok()).collect();
        let total = amounts.iter().fold(Glm::ZERO, |sum, amount| sum.plus(*amount));
        json!({ "agreementsCount": amounts.len(), "totalAmount": total.to_string() })
    };
    let nothing = json!({ "agreementsCount": 0, "totalAmount": "0" });
    json!({
        "amount": yagna.wallet().to_string(),
        "reserved": reserved.to_string(),
        "driver": driver,
        "network": network,
        "token": if is_real { "GLM" } else { "tGLM" },
        "outgoing": {
            "requested": sum(|_| true),
            "accepted": sum(|it| matches!(it, DocumentState::Accepted | DocumentState::Settled)),
            "confirmed": sum(|state| state == DocumentState::Settled),
        },
        "incoming": { "requested": nothing, "accepted": nothing, "confirmed": nothing },
        "gas": {
            "currency_short_name": if is_real { "ETH" } else { "tETH" },
            "currency_long_name": "Ether",
            "balance": "1",
        },
        "block_number": 0,
        "block_datetime": "1970-01-01T00:00:00Z",
    })
}

/// Faults of one node: it dies, its ssh server falls silent, or its disk is full.
async fn spoil_node(state: &State, ask: &Ask, activity: &str) -> Response<Body> {
    let form = "send one of `{\"kill\": true}`, `{\"stall_ssh\": true}`, and `{\"fill_disk\": \
                true}`; false undoes the last two";
    let Ok(Value::Object(document)) = serde_json::from_slice(&ask.body) else {
        return reply::message(400, form);
    };
    let said =
        document.iter().next().and_then(|(key, value)| Some((key.as_str(), value.as_bool()?)));
    let done = match said {
        Some(("kill", true)) => {
            state.bus.detach(activity);
            state.host.kill(activity).await;
            Ok(())
        }
        Some(("stall_ssh", is_stalled)) => state.host.stall_ssh(activity, is_stalled).await,
        Some(("fill_disk", is_full)) => state.host.fill_disk(activity, is_full).await,
        Some(_) | None => return reply::message(400, form),
    };
    match done {
        Ok(()) => reply::json(200, &Value::Null),
        Err(error) => reply::message(404, &error.to_string()),
    }
}

/// What the daemon says of its version.
pub(super) fn version(state: &State) -> Value {
    let started = wire::instant(state.daemon.look().started);
    // These instants carry no zone and no fraction.
    let started: String = started.as_str().unwrap_or_default().chars().take(19).collect();
    json!({
        "current": {
            "version": VERSION,
            "name": "(simulated)",
            "seen": true,
            "releaseTs": "2015-10-13T15:43:00",
            "insertionTs": started,
            "updateTs": started,
        },
        "pending": null,
    })
}

/// Counters in the text form of Prometheus.
pub(super) fn metrics(state: &State) -> String {
    let inner = state.daemon.look();
    let yagna = &inner.yagna;
    let seconds = inner.now().as_unix_millis() / 1_000;
    let counters = [
        ("market_demands_created", yagna.demands().len()),
        ("market_agreements_requestor_created", yagna.agreements().len()),
        ("activity_requestor_activities_created", yagna.activities().len()),
        ("payment_debit_notes_requestor_received", yagna.notes().len()),
        ("payment_invoices_requestor_received", yagna.invoices().len()),
    ];
    let mut text = format!("# metrics snapshot (ts={seconds}) (prometheus exposition format)\n");
    for (name, count) in counters {
        text.push_str(&format!("# TYPE {name} counter\n{name} {count}\n"));
    }
    text
}

/// What really happened, the last of each kind.
fn ledger(inner: &Inner, ask: &Ask) -> Value {
    let last = ask.value("last").and_then(|text| text.parse().ok()).unwrap_or(LISTED);
    let yagna = &inner.yagna;
    let allocations = listed(yagna.allocations(), last, |book| {
        json!({
            "id": book.allocation.id,
            "platform": book.allocation.platform,
            "total": book.allocation.total.to_string(),
            "spent": book.allocation.spent.to_string(),
            "isReleased": book.is_released,
        })
    });
    let agreements = listed(yagna.agreements(), last, |book| {
        json!({
            "id": book.id,
            "provider": book.provider,
            "state": book.state,
            "session": book.session,
            "created": wire::instant(book.created),
            "ended": book.ended.map(wire::instant),
        })
    });
    let activities = listed(yagna.activities(), last, |book| {
        json!({
            "id": book.id,
            "agreement": book.agreement,
            "created": wire::instant(book.created),
            "ended": book.ended.map(wire::instant),
            "isReady": book.is_ready,
            "isKnown": book.is_known,
            "cost": book.cost(inner.now()).to_string(),
        })
    });
    let demands = listed(
        yagna.demands(),
        last,
        |book| json!({ "id": book.id, "since": wire::instant(book.since), "hasEnded": book.end.is_some() }),
    );
    json!({
        "identity": yagna.identity(),
        "wallet": yagna.wallet().to_string(),
        "demands": demands,
        "allocations": allocations,
        "agreements": agreements,
        "activities": activities,
        "networks": networks(yagna, last),
        "debitNotes": listed(yagna.notes(), last, |book| {
            let note = &book.note;
            bill(json!(note.id), &note.agreement, &note.total_due, note.state)
        }),
        "invoices": listed(yagna.invoices(), last, |book| {
            let invoice = &book.invoice;
            bill(json!(invoice.id), &invoice.agreement, &invoice.amount, invoice.state)
        }),
        "payments": listed(yagna.payments(), last, |book| {
            json!({
                "payee": book.payee,
                "agreement": book.agreement,
                "amount": book.amount.to_string(),
                "at": wire::instant(book.at),
            })
        }),
    })
}

fn networks(yagna: &SimYagna, last: usize) -> Value {
    listed(yagna.networks(), last, |book| {
        let nodes: Vec<Value> =
            book.nodes.iter().map(|(ip, node)| json!({ "ip": ip, "id": node })).collect();
        let network = &book.network;
        let is_removed = book.removed.is_some();
        json!({ "id": network.id, "ip": network.ip, "nodes": nodes, "isRemoved": is_removed })
    })
}

fn bill(id: Value, agreement: &AgreementId, amount: &BilledAmount, state: DocumentState) -> Value {
    json!({ "id": id, "agreement": agreement, "amount": amount.as_str(), "state": state })
}

/// How many there are, and the last of them.
fn listed<T>(books: &[T], last: usize, row: impl Fn(&T) -> Value) -> Value {
    let from = books.len().saturating_sub(last);
    let rows: Vec<Value> = books[from..].iter().map(row).collect();
    json!({ "count": books.len(), "last": rows })
}

/// Who offers, as far as our daemon knows.
fn providers(inner: &Inner) -> Value {
    let mut providers: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (number, offer) in inner.yagna.known_offers() {
        let properties = offer.properties(&Draft::default());
        let row = json!({
            "offer": inner.yagna.offer_id(number),
            "name": offer.name(),
            "threads": properties.get("golem.inf.cpu.threads"),
            "coefficients": properties.get("golem.com.pricing.model.linear.coeffs"),
        });
        providers.entry(offer.provider.as_str()).or_default().push(row);
    }
    let mut busy: BTreeMap<&str, u64> = BTreeMap::new();
    for book in inner.yagna.agreements().iter().filter(|book| book.ended.is_none()) {
        *busy.entry(book.provider.as_str()).or_default() += 1;
    }
    let rows = providers.into_iter().map(|(id, offers)| {
        let agreements = busy.get(id).copied().unwrap_or(0);
        json!({ "id": id, "offers": offers, "openAgreements": agreements })
    });
    Value::Array(rows.collect())
}

/// The last calls, the oldest first.
fn trace(inner: &Inner, ask: &Ask) -> Value {
    let last = ask.value("last").and_then(|text| text.parse().ok()).unwrap_or(LISTED);
    let from = inner.trace.len().saturating_sub(last);
    let rows = inner.trace.iter().skip(from).map(|traced| {
        json!({
            "began": wire::instant(traced.began),
            "took": traced.took.to_string(),
            "call": traced.endpoint.name(),
            "status": traced.status,
        })
    });
    json!({ "waiting": inner.waiting(), "last": rows.collect::<Vec<_>>() })
}

fn faults(inner: &Inner) -> Value {
    let Faults {
        request_lost,
        reply_lost,
        fail_500,
        closed,
        garbage,
        refuse,
        wrong_ids,
        outages: _,
    } = &inner.faults;
    let outage = inner.outage().map(|kind| match kind {
        OutageKind::Restart => "restart",
        OutageKind::Down => "down",
        OutageKind::Hang => "hang",
    });
    json!({
        "request_lost": request_lost,
        "reply_lost": reply_lost,
        "fail_500": fail_500,
        "closed": closed,
        "garbage": garbage,
        "refuse": refuse,
        "wrong_ids": wrong_ids,
        "outage": outage,
    })
}

fn change_faults(state: &State, ask: &Ask) -> Response<Body> {
    let document = match serde_json::from_slice::<Value>(&ask.body) {
        Ok(Value::Object(document)) => document,
        Ok(_) => return reply::message(400, "send a JSON object"),
        Err(error) => return reply::message(400, &format!("send a JSON object: {error}")),
    };
    match state.daemon.disturb(|faults| changed(faults, &document)) {
        Ok(()) => reply::json(200, &faults(&state.daemon.look())),
        Err(why) => reply::message(400, &why),
    }
}

/// The faults with what `document` says in place of what was, and an outage that begins now.
fn changed(
    faults: &Faults,
    document: &Map<String, Value>,
) -> Result<(Faults, Option<(OutageKind, Span)>), String> {
    let mut faults = faults.clone();
    let mut outage = None;
    for (key, value) in document {
        let percent = || {
            let number = value.as_u64().and_then(|number| u8::try_from(number).ok());
            let number = number.filter(|number| *number <= 100);
            number.ok_or_else(|| format!("`{key}` must be a whole number from 0 to 100"))
        };
        match key.as_str() {
            "request_lost" => faults.request_lost = percent()?,
            "reply_lost" => faults.reply_lost = percent()?,
            "fail_500" => faults.fail_500 = percent()?,
            "closed" => faults.closed = percent()?,
            "garbage" => faults.garbage = percent()?,
            "refuse" => faults.refuse = percent()?,
            "wrong_ids" => faults.wrong_ids = percent()?,
            "outage" if value.is_null() => faults.outages.clear(),
            "outage" => outage = Some(read_outage(value)?),
            _ => {
                return Err(format!(
                    "`{key}` is no fault; there are `request_lost`, `reply_lost`, `fail_500`, \
                     `closed`, `garbage`, `refuse`, `wrong_ids`, and `outage`"
                ));
            }
        }
    }
    if faults.total() > 100 {
        return Err("the faults add up to more than 100 percent; lower one of them".to_owned());
    }
    Ok((faults, outage))
}

fn read_outage(value: &Value) -> Result<(OutageKind, Span), String> {
    let form = "`outage` must be null, or like `{\"kind\": \"restart\", \"for\": 3}`";
    let kind = match value.get("kind").and_then(Value::as_str) {
        Some("restart") => OutageKind::Restart,
        Some("down") => OutageKind::Down,
        Some("hang") => OutageKind::Hang,
        Some(_) | None => return Err(format!("{form}; its kind is `restart`, `down`, or `hang`")),
    };
    let seconds = value.get("for").and_then(Value::as_number).map(ToString::to_string);
    let micros = seconds.and_then(|text| parse_scaled(&text, 6, Rounding::Down).ok());
    let micros = micros.and_then(|micros| u64::try_from(micros).ok());
    Ok((kind, Span::micros(micros.ok_or_else(|| form.to_owned())?)))
}

#[cfg(test)]
mod tests {
    use ray_on_golem::units::Span;
    use serde_json::{Map, Value, json};

    use super::changed;
    use crate::fault::{Faults, OutageKind};

    fn object(document: Value) -> Map<String, Value> {
        document.as_object().expect("an object").clone()
    }

    #[test]
    fn faults_are_changed_one_by_one() {
        let before = Faults { garbage: 7, ..Faults::default() };
        let change = json!({ "fail_500": 20, "outage": { "kind": "restart", "for": 0.5 } });

        let (after, outage) = changed(&before, &object(change)).expect("sound");

        assert_eq!(after, Faults { garbage: 7, fail_500: 20, ..Faults::default() });
        assert_eq!(outage, Some((OutageKind::Restart, Span::millis(500))));
    }

    #[test]
    fn a_bad_change_says_what_to_write() {
        for (change, words) in [
            (json!({ "closed": 101 }), "`closed` must be a whole number from 0 to 100"),
            (json!({ "closed": 60, "garbage": 60 }), "more than 100 percent"),
            (json!({ "gremlins": 1 }), "`gremlins` is no fault"),
            (json!({ "outage": { "kind": "nap", "for": 1 } }), "`restart`, `down`, or `hang`"),
            (json!({ "outage": { "kind": "hang", "for": -1 } }), "must be null, or like"),
        ] {
            let why = changed(&Faults::default(), &object(change)).expect_err("refused");
            assert!(why.contains(words), "{why}");
        }
    }
}
