//! Requests for nodes in a drill: those of users and of honest heads, and those of a head whose provider makes it ask.

use ray_on_golem::{
    core::{
        Command, NodeRequest,
        autostop::Autostop,
        cluster::{
            law::Law,
            plan::{ClusterName, ClusterPlan, NodeKind, NodeOrder, TAGS_LENGTH_MAX, Tags},
        },
        ids::ClusterId,
        market::{
            choice::{Choice, Party},
            spec::{Gib, ImageRef, NodeSpec, PriceLimits},
        },
        reputation::Reputation,
        rng::Seed,
    },
    units::Span,
    yagna::PlatformId,
};

use super::{Choosing, Drill, engine::PLATFORM, plan::milli};
use crate::{plan as survey_plan, provider};

/// How many requests a head makes at once.
const FLOOD: u32 = 40;

impl Drill<'_> {
    /// Asks for nodes as the cluster file has them.
    pub(super) fn request(&mut self, kind: NodeKind, count: u32) {
        let order = self.order(kind, count);
        self.ask(order);
    }

    /// The latest request comes once more, with its key, by whom would ask now.
    pub(super) fn repeat(&mut self, change: fn(NodeOrder) -> NodeOrder) {
        if let Some(latest) = self.latest.clone() {
            let only_for = self.asking_head(&latest.cluster, latest.order.kind);
            let order = change(latest.order.clone());
            let request = NodeRequest { only_for, order, ..latest };
            self.engine.command(Command::RequestNodes(Box::new(request)));
        }
    }

    /// A head asks for what its user has not spoken of.
    pub(super) fn betray(&mut self, way: u32) {
        // Without a law other nodes are another type of workers, which the user has not forbidden.
        let has_law = self.state().is_some_and(|state| state.plan.law.is_some());
        if self.state().is_none() || (!has_law && matches!(way, 0..=3 | 8)) {
            return;
        }
        let mut order = self.order(NodeKind::Worker, 1);
        match way {
            0 => order.spec.limits = PriceLimits::default(),
            1 => order.spec.image = ImageRef::Hash("0".repeat(64)),
            2 => order.spec.runtime = "vm-nvidia".to_owned(),
            3 => order.spec.choice = Choice { hedge: 5, newcomers: 100, ..Choice::recommended() },
            4 => {
                order.count = self.plan.max_workers.map_or(u32::MAX, |most| most.saturating_add(1))
            }
            5 => order.count = u32::MAX,
            6 => order = NodeOrder { kind: NodeKind::Head, ..order },
            7 => {
                for _ in 0..FLOOD {
                    self.request(NodeKind::Worker, 1);
                }
            }
            8 => order = NodeOrder { spec: second(order.spec), count: 2, ..order },
            _ => return self.overload_tags(),
        }
        self.ask(order);
    }

    /// A head sticks as much on its nodes as they bear.
    fn overload_tags(&mut self) {
        let tags = Tags::from([("t".to_owned(), "x".repeat(TAGS_LENGTH_MAX - 1))]);
        for node in self.live(NodeKind::Worker) {
            let (cluster, tags) = (self.name(), tags.clone());
            self.engine.command(Command::SetTags { cluster, node, tags });
        }
    }

    /// What the user says that heads may ask for: workers, and one node that is a little larger.
    pub(super) fn law(&self, workers: u32) -> Law {
        let mut law = Law::new(workers);
        let spec = self.spec(NodeKind::Worker);
        law.allow(&spec, workers);
        law.allow(&second(spec), 1);
        law
    }

    fn ask(&mut self, order: NodeOrder) {
        self.keys += 1;
        let request = NodeRequest {
            key: Some(format!("key {}", self.keys)),
            cluster: self.name(),
            only_for: self.asking_head(&self.name(), order.kind),
            plan: self.cluster_plan(),
            order,
        };
        self.latest = Some(request.clone());
        self.engine.command(Command::RequestNodes(Box::new(request)));
    }

    /// Users ask for heads, and heads for workers.
    fn asking_head(&self, name: &ClusterName, kind: NodeKind) -> Option<ClusterId> {
        let clusters = self.engine.machine.view().durable().clusters().iter();
        let mut current = clusters.rev().filter(|(_, it)| it.name == *name && it.ending.is_none());
        match kind {
            NodeKind::Head => None,
            NodeKind::Worker => current.next().map(|(id, _)| *id),
        }
    }

    fn order(&self, kind: NodeKind, count: u32) -> NodeOrder {
        let (spec, image) = (self.spec(kind), survey_plan::image("drill"));
        NodeOrder { kind, spec, image, count, tags: Tags::new() }
    }

    fn cluster_plan(&self) -> ClusterPlan {
        let idle = self.plan.idle_minutes.map(Span::mins);
        ClusterPlan {
            platform: PlatformId::from(PLATFORM),
            total_budget: milli(self.plan.budget),
            max_glm_per_hour: self.plan.max_per_hour.map(milli),
            autostop: idle.map(|idle| Autostop { idle: Some(idle), at: None }),
            law: self.plan.max_workers.map(|workers| self.law(workers)),
            ssh_public_key: "ssh-ed25519 AAAA drill".to_owned(),
            reputation: Reputation::default(),
            network: None,
            network_path: self.plan.path,
        }
    }

    /// What a node is to be, as the cluster file has it.
    fn spec(&self, kind: NodeKind) -> NodeSpec {
        let mut spec = shape(kind);
        if let Some(choosing) = self.plan.choice {
            spec.choice = self.choice(choosing);
        }
        if let Some(policy) = self.policy {
            spec.choice = policy.choice();
        }
        spec
    }

    fn choice(&self, Choosing { hedge, newcomers, barred }: Choosing) -> Choice {
        let seed = Seed::new(self.plan.seed);
        let parties = (0..u64::from(barred)).map(|nth| provider::identity(seed, nth));
        let blacklist = parties.filter_map(|provider| Party::new(provider.as_str())).collect();
        Choice { hedge, newcomers, blacklist, ..Choice::recommended() }
    }
}

/// What a head or a worker is to be.
pub(crate) fn shape(kind: NodeKind) -> NodeSpec {
    let spec = survey_plan::spec();
    match kind {
        NodeKind::Head => spec,
        NodeKind::Worker => NodeSpec { priority_subnet_tag: None, ..spec },
    }
}

/// A second type of workers.
fn second(spec: NodeSpec) -> NodeSpec {
    NodeSpec { min_storage: Gib::from_millionths(1), ..spec }
}
