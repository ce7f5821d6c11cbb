//! What Ray does in a drill: its autoscaler, and its tags.

use ray_on_golem::{
    core::{
        Command,
        cluster::{
            plan::{ClusterName, NodeKind, Tags},
            state::{Node, NodeState},
        },
        ids::NodeId,
    },
    units::Span,
};

use super::{Drill, Looks};

/// Ray does not start on workers for so long.
const RAY_FAILS_WITHIN: Span = Span::hours(6);
/// Ray's autoscaler looks this often.
pub(crate) const AUTOSCALER_TICK: Span = Span::secs(5);
/// What it says of the load is passed on this often.
const LOOK_PAUSE: Span = Span::mins(1);

impl Drill<'_> {
    /// Time passes, and Ray's autoscaler looks now and then.
    pub(super) fn wait(&mut self, span: Span) {
        let until = self.engine.now.plus(span);
        while self.engine.now < until && !self.engine.is_broken() {
            let pause = match (self.kept, self.looks) {
                (Some(_), _) => AUTOSCALER_TICK,
                (None, Looks::Load | Looks::Idle | Looks::Unknown) => LOOK_PAUSE,
                (None, Looks::Never) => span,
            };
            if let Some(workers) = self.kept {
                self.keep(workers);
            }
            self.look();
            self.engine.run_for(pause.min(until.since(self.engine.now)));
        }
        self.engine.run_for(until.since(self.engine.now));
    }

    /// The autoscaler of each head that runs looks at its nodes.
    fn look(&mut self) {
        let has_load = match self.looks {
            Looks::Load => Some(true),
            Looks::Idle => Some(false),
            Looks::Unknown => None,
            Looks::Never => return,
        };
        let is_up = |node: &Node| node.kind == NodeKind::Head && node.state == NodeState::Running;
        let clusters = self.engine.machine.view().durable().clusters().values();
        let headed = clusters.filter(|it| it.ending.is_none() && it.nodes.values().any(is_up));
        let names: Vec<ClusterName> = headed.map(|cluster| cluster.name.clone()).collect();
        for cluster in names {
            self.engine.command(Command::HeadLooked { cluster, has_load });
        }
    }

    fn keep(&mut self, workers: u32) {
        let mut nodes = self.state().into_iter().flat_map(|state| state.nodes.values());
        let is_head = |node: &Node| node.kind == NodeKind::Head && node.state <= NodeState::Running;
        if !nodes.any(is_head) {
            self.request(NodeKind::Head, 1);
        }
        self.scale(workers);
    }

    /// What Ray's autoscaler does when the load asks for so many workers.
    pub(super) fn scale(&mut self, wanted: u32) {
        let workers = self.live(NodeKind::Worker);
        let wanted = wanted as usize;
        if workers.len() < wanted {
            let missing = u32::try_from(wanted - workers.len()).unwrap_or(0);
            self.request(NodeKind::Worker, missing);
        }
        for node in workers.into_iter().skip(wanted) {
            let cluster = self.name();
            self.engine.command(Command::TerminateNode { cluster, node });
        }
    }

    /// What Ray does when it does not start on workers that have come up, so many times.
    pub(super) fn ray_fails(&mut self, count: u32) {
        let is_up = |node: &Node| node.kind == NodeKind::Worker && node.state == NodeState::Running;
        let mut left = count;
        let until = self.engine.now.plus(RAY_FAILS_WITHIN);
        while left > 0 && self.engine.now < until && !self.engine.is_broken() {
            let mut nodes = self.state().into_iter().flat_map(|state| &state.nodes);
            if let Some((node, _)) = nodes.find(|(_, node)| is_up(node)) {
                let (cluster, node) = (self.name(), *node);
                self.say_of_ray(node, "update-failed");
                self.engine.command(Command::TerminateNode { cluster, node });
                if self.kept.is_none() {
                    self.request(NodeKind::Worker, 1);
                }
                left -= 1;
            }
            self.wait(AUTOSCALER_TICK);
        }
    }

    pub(super) fn say_of_ray(&mut self, node: NodeId, status: &str) {
        let tags = Tags::from([("ray-node-status".to_owned(), status.to_owned())]);
        let cluster = self.name();
        self.engine.command(Command::SetTags { cluster, node, tags });
    }
}
