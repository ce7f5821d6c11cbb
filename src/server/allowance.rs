//! What one head may keep busy of the webserver: so many connections, and so many requests in a time.
//!
//! A head's provider can make it ask without end. Then its requests wait for each other, and other heads and users do not
//! notice. An autoscaler of ten thousand nodes stays far below: it asks for all of them at once, every five seconds.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::core::ids::ClusterId;

/// Connections of one head at once.
const CONNECTIONS_MAX: u32 = 64;
/// A head may ask this often without end, and now and then for many times at once.
const PAUSE: Duration = Duration::from_millis(5);
const AT_ONCE: u32 = 2_000;

/// What heads keep busy; its clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Allowances(Arc<Mutex<BTreeMap<ClusterId, Use>>>);

#[derive(Debug)]
struct Use {
    connections: u32,
    /// When as many requests could have come as have come.
    paid_until: Instant,
}

/// A connection of a head, for as long as it lasts.
#[derive(Debug)]
pub(super) struct Place {
    allowances: Allowances,
    cluster: ClusterId,
}

impl Allowances {
    /// A place for a connection of a head; none if the head has as many as it may.
    pub(super) fn place(&self, cluster: ClusterId) -> Option<Place> {
        self.with(cluster, |it| {
            let is_free = it.connections < CONNECTIONS_MAX;
            it.connections += u32::from(is_free);
            is_free
        })
        .then(|| Place { allowances: self.clone(), cluster })
    }

    /// Waits until a head may be answered.
    pub(super) async fn turn(&self, cluster: ClusterId) {
        let earliest = self.with(cluster, |it| {
            let now = Instant::now();
            it.paid_until = it.paid_until.max(now) + PAUSE;
            it.paid_until.checked_sub(PAUSE * AT_ONCE).unwrap_or(now)
        });
        sleep_until(earliest).await;
    }

    fn with<T>(&self, cluster: ClusterId, change: impl FnOnce(&mut Use) -> T) -> T {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Who has no connection, and has not asked for long, has used nothing.
        let now = Instant::now();
        uses.retain(|_, it| it.connections > 0 || it.paid_until > now);
        change(uses.entry(cluster).or_insert(Use { connections: 0, paid_until: now }))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.allowances.with(self.cluster, |it| it.connections = it.connections.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{AT_ONCE, Allowances, CONNECTIONS_MAX, PAUSE};
    use crate::core::ids::ClusterId;

    #[tokio::test(start_paused = true)]
    async fn requests_of_a_head_wait_for_each_other_and_for_no_other_head() {
        let (allowances, began) = (Allowances::default(), Instant::now());

        for _ in 0..AT_ONCE {
            allowances.turn(ClusterId(1)).await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        for _ in 0..100 {
            allowances.turn(ClusterId(1)).await;
        }
        assert!(began.elapsed() >= PAUSE * 100, "{:?}", began.elapsed());

        let waited = began.elapsed();
        allowances.turn(ClusterId(2)).await;
        assert_eq!(began.elapsed(), waited);
    }

    #[tokio::test]
    async fn a_head_has_so_many_connections_and_what_ends_makes_room() {
        let allowances = Allowances::default();
        let places = || (0..).map_while(|_| allowances.place(ClusterId(1)));

        let mut held: Vec<_> = places().collect();
        assert_eq!(held.len(), CONNECTIONS_MAX as usize);
        assert!(allowances.place(ClusterId(2)).is_some());

        held.truncate(10);
        held.extend(places());
        assert_eq!(held.len(), CONNECTIONS_MAX as usize);
        drop(held);
        assert_eq!(places().collect::<Vec<_>>().len(), CONNECTIONS_MAX as usize);
    }
}
