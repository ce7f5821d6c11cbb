//! What a head may ask for: workers that the user's own `ray up` spoke of, and no more of them.
//!
//! A head runs on a provider's machine, which could make it ask for other nodes: without price limits, at a provider of its
//! choice, with another image, or for more of them. What the user says of a cluster is its law, and binds its head.

use serde::{Deserialize, Serialize};

use super::plan::{NodeKind, NodeOrder};
use crate::core::{market::spec::NodeSpec, output::RequestError};

/// So many types of workers are remembered of a cluster whose file changes while it runs.
const TYPES_MAX: usize = 200;

/// What the user has said of a cluster's workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Law {
    /// How many workers there may be at a time.
    pub max_workers: u32,
    /// What workers may be, the latest first; two types with the same nodes are one.
    pub workers: Vec<WorkerType>,
}

/// A type of workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerType {
    /// What its nodes are.
    pub spec: NodeSpec,
    /// How many of them there may be at a time.
    pub max_workers: u32,
}

impl Law {
    /// A law for so many workers, of no type yet.
    #[must_use]
    pub const fn new(max_workers: u32) -> Self {
        Self { max_workers, workers: Vec::new() }
    }

    /// Allows workers, beside those that are allowed.
    pub fn allow(&mut self, spec: &NodeSpec, max_workers: u32) {
        match self.workers.iter_mut().find(|it| it.spec == *spec) {
            Some(known) => known.max_workers = known.max_workers.saturating_add(max_workers),
            None => self.workers.push(WorkerType { spec: spec.clone(), max_workers }),
        }
    }

    /// The law from now on. A head that has not got the new file yet may still ask for workers as the earlier one has them.
    #[must_use]
    pub(super) fn after(mut self, before: Option<&Self>) -> Self {
        let before = before.into_iter().flat_map(|law| &law.workers);
        for earlier in before {
            if !self.workers.iter().any(|it| it.spec == earlier.spec) {
                self.workers.push(earlier.clone());
            }
        }
        self.workers.truncate(TYPES_MAX);
        self
    }

    /// Whether a head may have what it orders beside the workers that are there.
    ///
    /// # Errors
    ///
    /// Says what it may have.
    pub(super) fn check<'a>(
        &self,
        order: &NodeOrder,
        live: impl Iterator<Item = &'a NodeSpec>,
    ) -> Result<(), RequestError> {
        let of_type = self.workers.iter().find(|it| it.spec == order.spec);
        let (NodeKind::Worker, Some(of_type)) = (order.kind, of_type) else {
            return Err(RequestError::NotInFile);
        };
        let (mut workers, mut of_this_type) = (order.count, order.count);
        for spec in live {
            workers = workers.saturating_add(1);
            of_this_type = of_this_type.saturating_add(u32::from(*spec == order.spec));
        }
        if workers > self.max_workers {
            return Err(RequestError::OverLimit { limit: self.max_workers, wanted: workers });
        }
        if of_this_type > of_type.max_workers {
            let (limit, wanted) = (of_type.max_workers, of_this_type);
            return Err(RequestError::OverTypeLimit { limit, wanted });
        }
        Ok(())
    }
}
