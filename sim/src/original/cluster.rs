//! One cluster (§4, §11): its nodes, the stacks that they come from, and what it is paid from.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use ray_on_golem::{
    core::{
        cluster::plan::NodeKind,
        market::spec::{Image, NodeSpec},
    },
    units::Glm,
};

use super::{
    node::Node,
    payment::Payments,
    service::Service,
    stack::{Shape, Stack},
    sync::{Work, all},
};
use crate::meter::NodeKey;

/// One cluster.
pub(super) struct Cluster {
    pub(super) service: Rc<Service>,
    number: u64,
    payments: Rc<Payments>,
    nodes: RefCell<Vec<Rc<Node>>>,
    /// By kind and subnet: what a head and a worker ask for is never the same (§4).
    stacks: RefCell<BTreeMap<(NodeKind, String), Rc<Stack>>>,
    phase: Cell<Phase>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    Stopping,
    Stopped,
}

impl Cluster {
    pub(super) fn start(service: &Rc<Service>, number: u64, budget: Glm) -> Rc<Self> {
        let payments = Payments::new(budget);
        *service.payments.borrow_mut() = Some(Rc::clone(&payments));
        Rc::new(Self {
            service: Rc::clone(service),
            number,
            payments,
            nodes: RefCell::default(),
            stacks: RefCell::default(),
            phase: Cell::new(Phase::Running),
        })
    }

    /// Asks for nodes of one shape.
    pub(super) fn request(
        self: &Rc<Self>,
        kind: NodeKind,
        spec: &NodeSpec,
        image: &Image,
        count: u32,
    ) {
        let subnets = spec.priority_subnet_tag.iter().chain([&spec.subnet_tag]);
        let stacks: Vec<Rc<Stack>> =
            subnets.map(|subnet| self.stack(kind, spec, image, subnet)).collect();
        for _ in 0..count {
            let number = self.nodes.borrow().len() as u64;
            let key = NodeKey { cluster: self.number, node: number };
            let node = Node::new(key, kind, stacks.clone());
            self.service.meter.borrow_mut().requested(self.service.world.now(), key);
            self.nodes.borrow_mut().push(Rc::clone(&node));
            node.schedule_start(self);
        }
    }

    /// How many nodes of a kind are, or will be, up.
    pub(super) fn live(&self, kind: NodeKind) -> usize {
        self.nodes.borrow().iter().filter(|node| node.kind == kind && node.is_live()).count()
    }

    /// Whether nodes can be asked of it.
    pub(super) fn is_running(&self) -> bool {
        self.phase.get() == Phase::Running
    }

    /// Whether it has ended, bills and all.
    pub(super) fn is_stopped(&self) -> bool {
        self.phase.get() == Phase::Stopped
    }

    /// Ends everything.
    pub(super) async fn stop(self: Rc<Self>) {
        if self.phase.replace(Phase::Stopping) != Phase::Running {
            return;
        }
        let service = &self.service;
        let nodes = self.nodes.borrow().clone();
        all(nodes.iter().map(|it| -> Work<'_> { Box::pin(it.stop(service)) }).collect()).await;
        let stacks: Vec<Rc<Stack>> = self.stacks.take().into_values().collect();
        all(stacks.iter().map(|it| -> Work<'_> { Box::pin(it.stop(service)) }).collect()).await;
        self.payments.stop(service).await;
        self.phase.set(Phase::Stopped);
    }

    /// Ends a node that is not reached any more, and what ends with it.
    pub(super) async fn lose(self: Rc<Self>, node: Rc<Node>) {
        if node.is_live() {
            node.stop(&self.service).await;
            self.on_node_stopped(&node).await;
        }
    }

    /// The cluster ends with its head and with its last node, and a stack with its last node (§11).
    async fn on_node_stopped(self: &Rc<Self>, node: &Node) {
        let live: Vec<Rc<Node>> =
            self.nodes.borrow().iter().filter(|node| node.is_live()).cloned().collect();
        if live.is_empty() || node.kind == NodeKind::Head {
            Self::stop(Rc::clone(self)).await;
            return;
        }
        for stack in &node.stacks {
            let is_used = |node: &Rc<Node>| node.stacks.iter().any(|it| Rc::ptr_eq(it, stack));
            if !live.iter().any(is_used) {
                stack.stop(&self.service).await;
            }
        }
    }

    fn stack(&self, kind: NodeKind, spec: &NodeSpec, image: &Image, subnet: &str) -> Rc<Stack> {
        let mut stacks = self.stacks.borrow_mut();
        let stack = stacks.entry((kind, subnet.to_owned())).or_insert_with(|| {
            let (spec, image) = (spec.clone(), image.clone());
            let shape = Shape { spec, subnet: subnet.to_owned(), image };
            Stack::start(shape, &self.service, &self.payments)
        });
        Rc::clone(stack)
    }
}
