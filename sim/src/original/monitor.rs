//! What watches a node that is up (§9).

use std::rc::Rc;

use ray_on_golem::{
    units::Span,
    yagna::{ActivityPhase, Request, Response, Status},
};

use super::{
    cluster::Cluster,
    node::{Node, Place, answers_ssh, execute, shell},
    service::{PROVIDER_TIMEOUT, Service},
};
use crate::yagna::Refusal;

const LOOK_EVERY: Span = Span::mins(1);
/// A look at the state that comes to no answer is repeated so often.
const STATE_TRIES: u32 = 3;
const STATE_PAUSE: Span = Span::secs(2);
/// So many failures in its lifetime end a node, however far apart.
const SSH_FAILURES: u32 = 3;
const RESTART_PATIENCE: Span = Span::secs(120);
const AFTER_RESTART: Span = Span::secs(5);

/// Looks how the activity stands. An error ends the looking, and nobody is told.
pub(super) async fn activity(node: Rc<Node>, cluster: Rc<Cluster>, place: Place) {
    loop {
        let Some(is_over) = is_over(&cluster.service, &place).await else { return };
        if is_over {
            cluster.service.world.spawn(Cluster::lose(cluster.clone(), node));
            return;
        }
        cluster.service.world.sleep(LOOK_EVERY).await;
    }
}

/// Looks whether a command runs over ssh, and starts the ssh service again.
pub(super) async fn ssh(node: Rc<Node>, cluster: Rc<Cluster>, place: Place) {
    let service = &cluster.service;
    let mut failures = 0;
    loop {
        if answers_ssh(service, place.ip).await {
            service.world.sleep(LOOK_EVERY).await;
            continue;
        }
        failures += 1;
        if failures >= SSH_FAILURES {
            service.world.spawn(Cluster::lose(cluster.clone(), node));
            return;
        }
        let restart = execute(service, &place.activity, shell("service ssh restart"));
        // Whether it worked shows at the next look.
        service.world.within(RESTART_PATIENCE, restart).await;
        service.world.sleep(AFTER_RESTART).await;
    }
}

async fn is_over(service: &Service, place: &Place) -> Option<bool> {
    for _ in 0..STATE_TRIES {
        let (activity, timeout) = (place.activity.clone(), PROVIDER_TIMEOUT);
        match service.world.call(Request::GetActivityState { activity, timeout }).await {
            Ok(Response::ActivityState(state)) => {
                let ends = [ActivityPhase::Terminated, ActivityPhase::Unresponsive];
                let is_over = ends.contains(&state.now)
                    || state.next.is_some_and(|next| ends.contains(&next))
                    || state.error.is_some();
                return Some(is_over);
            }
            Err(Refusal { status: Status(408 | 504), .. }) => {
                service.world.sleep(STATE_PAUSE).await;
            }
            Ok(_) | Err(_) => return None,
        }
    }
    None
}
