//! Tells members what they do not know of each other, until they do.

use std::{collections::BTreeMap, sync::Weak, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{registry::Tell, service::Inner};
use crate::{
    units::Span,
    yagna::{
        NetworkId, ProviderId,
        bus::{
            Bus,
            control::{Answer, Control},
        },
    },
};

/// How long a member may take to answer.
const PATIENCE: Span = Span::secs(10);
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// What changes elsewhere is looked for at least so often.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// A member that did not take what it was told.
struct Trouble {
    until: Instant,
    pause: Duration,
}

/// Follows one network until it is gone.
pub(super) async fn keep(inner: Weak<Inner>, network: NetworkId, bus: Bus) {
    let mut telling: JoinSet<(Tell, Result<Option<ProviderId>, String>)> = JoinSet::new();
    let mut busy: BTreeMap<ProviderId, ()> = BTreeMap::new();
    let mut trouble: BTreeMap<ProviderId, Trouble> = BTreeMap::new();
    loop {
        let Some(networks) = inner.upgrade() else { return };
        let Some(tells) = networks.tells(&network) else { return };
        let changed = networks.changed();
        drop(networks);
        trouble.retain(|to, _| tells.iter().any(|tell| tell.to == *to));
        let now = Instant::now();
        for tell in tells {
            let waits = trouble.get(&tell.to).is_some_and(|trouble| trouble.until > now);
            if !waits && busy.insert(tell.to.clone(), ()).is_none() {
                telling.spawn(tell_one(bus.clone(), network.clone(), tell));
            }
        }
        let idle = now + LOOK_EVERY;
        let next = trouble.values().map(|it| it.until).filter(|at| *at > now).min();
        tokio::select! {
            Some(told) = telling.join_next(), if !telling.is_empty() => {
                // A task that panics is a bug, which the runtime tells of.
                let Ok((tell, outcome)) = told else { return };
                busy.remove(&tell.to);
                match outcome {
                    Ok(known) => {
                        trouble.remove(&tell.to);
                        let Some(networks) = inner.upgrade() else { return };
                        networks.told(&network, &tell, known.as_ref()).await;
                    }
                    Err(_) => {
                        let pause = trouble.get(&tell.to).map_or(PAUSE_FIRST, |it| it.pause);
                        let until = Instant::now() + pause;
                        let pause = (pause * 2).min(PAUSE_MAX);
                        trouble.insert(tell.to, Trouble { until, pause });
                    }
                }
            }
            () = changed => {}
            () = sleep_until(next.unwrap_or(idle).min(idle)) => {}
        }
    }
}

/// Brings a member one step nearer to the truth; gives what it knows then.
async fn tell_one(
    bus: Bus,
    network: NetworkId,
    tell: Tell,
) -> (Tell, Result<Option<ProviderId>, String>) {
    let outcome = match (&tell.known, &tell.truth) {
        (Some(known), _) => {
            let told =
                say(&bus, &network, &tell.to, Control::remove(network.clone(), known.clone()));
            told.await.and_then(|answer| match answer {
                Answer::Done => Ok(None),
                Answer::Taken => Err("an answer to another question".to_owned()),
                Answer::Refused(why) => Err(why),
            })
        }
        (None, Some(truth)) => {
            add(&bus, &network, &tell, truth).await.map(|()| Some(truth.clone()))
        }
        (None, None) => Ok(None),
    };
    (tell, outcome)
}

/// Adds a node. Its address is taken by itself if an answer was lost, or by a node that we do not know of; either way
/// the node is there after it was removed and added again.
async fn add(
    bus: &Bus,
    network: &NetworkId,
    tell: &Tell,
    truth: &ProviderId,
) -> Result<(), String> {
    let control = Control::add(network.clone(), tell.ip, truth.clone());
    match say(bus, network, &tell.to, control.clone()).await? {
        Answer::Done => return Ok(()),
        Answer::Refused(why) => return Err(why),
        Answer::Taken => {}
    }
    // What it answers does not matter if the next answer is good.
    let _ = say(bus, network, &tell.to, Control::remove(network.clone(), truth.clone())).await?;
    match say(bus, network, &tell.to, control).await? {
        Answer::Done => Ok(()),
        Answer::Taken => Err(format!("the address {} is taken at {}", tell.ip, tell.to)),
        Answer::Refused(why) => Err(why),
    }
}

async fn say(
    bus: &Bus,
    network: &NetworkId,
    to: &ProviderId,
    control: Control,
) -> Result<Answer, String> {
    let address = format!("/net/{to}/vpn/{network}/VpnControl");
    let answer = bus.call(&address, control.to_bytes(), PATIENCE).await;
    answer.map(|bytes| Answer::read(&bytes)).map_err(|error| error.to_string())
}
