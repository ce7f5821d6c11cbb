//! Changes as they happen, as server-sent events: everything once, then each node and cluster that
//! changed, and a word when a cluster is over.
//!
//! A client that reads slowly misses pictures in between, never the last one.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::response::{
    IntoResponse, Response,
    sse::{Event, KeepAlive, Sse},
};
use futures_util::stream;
use serde::Serialize;
use serde_json::json;
use tokio::sync::watch;

use super::document::{ClusterSummary, NodeData};
use crate::{
    driver::board::{Board, ClusterBoard},
    units::Timestamp,
};

const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a client has seen, and what it has not.
struct Reader {
    changes: watch::Receiver<Arc<Board>>,
    seen: Board,
    ready: std::vec::IntoIter<Event>,
    is_first: bool,
}

/// A stream of changes.
pub(super) fn response(changes: watch::Receiver<Arc<Board>>) -> Response {
    let reader =
        Reader { changes, seen: Board::default(), ready: Vec::new().into_iter(), is_first: true };
    let events = stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((Ok::<_, Infallible>(event), reader))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

impl Reader {
    /// The next event; none when the manager has stopped.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.next() {
                return Some(event);
            }
            if !self.is_first {
                self.changes.changed().await.ok()?;
            }
            self.is_first = false;
            let board = Arc::clone(&self.changes.borrow_and_update());
            self.ready = differences(&self.seen, &board).into_iter();
            self.seen = Board::clone(&board);
        }
    }
}

/// What has changed between two boards.
fn differences(old: &Board, new: &Board) -> Vec<Event> {
    let (mut events, now) = (Vec::new(), new.now());
    for (id, cluster) in &new.clusters {
        let before = old.clusters.get(id);
        if before.is_some_and(|before| Arc::ptr_eq(before, cluster)) {
            continue;
        }
        events.extend(event("cluster", &ClusterSummary::of(cluster, false, now)));
        events.extend(nodes(before.map(AsRef::as_ref), cluster, now));
    }
    for (id, cluster) in &old.clusters {
        if !new.clusters.contains_key(id) {
            let over = json!({ "cluster_name": cluster.name.as_str(), "number": id.0 });
            events.extend(event("cluster_over", &over));
        }
    }
    if new.is_shutting_down && !old.is_shutting_down {
        events.extend(event("shutting_down", &json!({})));
    }
    events
}

fn nodes(before: Option<&ClusterBoard>, cluster: &ClusterBoard, now: Timestamp) -> Vec<Event> {
    let changed = cluster.nodes.iter().filter(|(id, node)| {
        before.and_then(|before| before.nodes.get(id)).is_none_or(|before| before != *node)
    });
    changed
        .filter_map(|(id, node)| {
            let data = NodeData::of(cluster, *id, node, None, now);
            let (name, number) = (cluster.name.as_str(), cluster.id.0);
            event("node", &json!({ "cluster_name": name, "number": number, "node": data }))
        })
        .collect()
}

/// Plain data is always JSON.
fn event(name: &str, data: &impl Serialize) -> Option<Event> {
    Event::default().event(name).json_data(data).ok()
}
