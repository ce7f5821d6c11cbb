//! Commands that are carried out outside: whoever serves the daemon to others may run real nodes.
//!
//! The scenario still decides how long a command takes and whether it is possible. Then, in place of
//! being done, it becomes an errand; its outcome comes back by [`SimYagna::errand_done`].

use ray_on_golem::{
    units::Timestamp,
    yagna::{ActivityId, BatchId, Deployment, ProviderId},
};

use super::{
    SimYagna,
    batch::{Outcome, Source},
    ids::place,
};

/// Something that is to be done for an activity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errand {
    /// For which activity.
    pub activity: ActivityId,
    /// What.
    pub task: Task,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Start a node; answers.
    Start {
        /// Which command it is.
        command: CommandPlace,
        /// What the node is like.
        node: Box<NodeFacts>,
    },
    /// Run a program in the node; answers.
    Run {
        /// Which command it is.
        command: CommandPlace,
        /// The program.
        entry_point: String,
        /// Its arguments.
        args: Vec<String>,
    },
    /// Copy a file; answers.
    Transfer {
        /// Which command it is.
        command: CommandPlace,
        /// Where from.
        from: String,
        /// Where to.
        to: String,
        /// The directories of the node that files can be copied to and from.
        volumes: Vec<String>,
    },
    /// Nothing comes out of the node any more, but it is still there.
    Stall,
    /// Remove the node, if there is one.
    Stop,
}

/// Which command of which batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandPlace {
    /// The batch.
    pub batch: BatchId,
    /// The command in it, from 0.
    pub index: u32,
}

/// What a node is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Who provides it.
    pub provider: ProviderId,
    /// Networks that it has joined.
    pub networks: Vec<Deployment>,
    /// Directories that it has for its users' files.
    pub volumes: Vec<String>,
    /// CPU threads.
    pub threads: u32,
    /// Memory, in MiB.
    pub memory: u64,
    /// Disk, in MiB.
    pub storage: u64,
}

impl SimYagna {
    /// From here on, commands are carried out by whoever takes the errands.
    pub fn host_outside(&mut self) {
        self.is_hosted = true;
    }

    /// From here on, negotiations that are over are forgotten: nobody audits a daemon that runs on and on.
    pub fn forget_history(&mut self) {
        self.market.forget_history();
    }

    /// The next thing that is to be done outside.
    pub fn poll_errand(&mut self) -> Option<Errand> {
        self.errands.pop_front()
    }

    /// A command that is carried out has written something.
    pub fn errand_wrote(
        &mut self,
        now: Timestamp,
        place: &CommandPlace,
        source: Source,
        bytes: &[u8],
    ) {
        if let Some(batch) = self.batch_at(place) {
            self.write_output(now, batch, source, bytes);
        }
    }

    /// A command was carried out; one whose activity is over in the meantime is passed over.
    pub fn errand_done(&mut self, now: Timestamp, place: &CommandPlace, outcome: Outcome) {
        if let Some(batch) = self.batch_at(place) {
            let activity = self.activities.batches[batch].activity;
            self.finish_command(now, activity, batch, outcome);
        }
    }

    /// The batch in which a command runs.
    fn batch_at(&self, place: &CommandPlace) -> Option<usize> {
        let batches = &self.activities.batches;
        let number = self::place(batches, place.batch.as_str(), 16, |it| it.id.as_str())?;
        (batches[number].results.len() == place.index as usize).then_some(number)
    }

    /// Lets whoever hosts the nodes do something.
    pub(super) fn ask_host(&mut self, activity: usize, task: Task) {
        if self.is_hosted {
            let activity = self.activities.books[activity].id.clone();
            self.errands.push_back(Errand { activity, task });
        }
    }
}
