//! The nine steps that bring a node up, as a table.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::plan::Subnet;
use crate::{
    units::Span,
    yagna::{Deployment, ExeCommand, NetworkId, ProviderId},
};

/// A step of bringing a node up, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Negotiate, sign, and wait for the provider's approval.
    SignAgreement,
    /// Have the provider start something.
    CreateActivity,
    /// Announce the node in the private network.
    JoinNetwork,
    /// Fetch the image.
    Deploy,
    /// Start the container.
    Start,
    /// Run the bootstrap script.
    Configure,
    /// Start the ssh service.
    StartSsh,
    /// See whether a command runs over ssh.
    CheckSsh,
    /// The node is up.
    Ready,
}

/// What a step leaves behind that must be undone when the node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Undo {
    /// Nothing of its own.
    Nothing,
    /// Cancel or terminate the agreement.
    EndAgreement,
    /// Destroy the activity.
    DestroyActivity,
    /// Take the node out of the private network; its address is free then.
    LeaveNetwork,
}

/// What holds for one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The step.
    pub step: Step,
    /// How long it may take before the next provider is asked.
    pub patience: Span,
    /// How often its call is tried when the daemon certainly did nothing.
    pub tries: u32,
    /// What must be undone once it was begun.
    pub undo: Undo,
}

impl Step {
    /// Every step and its rule, in order.
    pub const RULES: [Rule; 9] = [
        rule(Self::SignAgreement, Span::secs(75), 3, Undo::EndAgreement),
        rule(Self::CreateActivity, Span::secs(60), 3, Undo::DestroyActivity),
        rule(Self::JoinNetwork, Span::secs(60), 6, Undo::LeaveNetwork),
        rule(Self::Deploy, Span::mins(5), 3, Undo::Nothing),
        rule(Self::Start, Span::mins(2), 1, Undo::Nothing),
        rule(Self::Configure, Span::mins(2), 1, Undo::Nothing),
        rule(Self::StartSsh, Span::mins(1), 1, Undo::Nothing),
        rule(Self::CheckSsh, Span::mins(2), u32::MAX, Undo::Nothing),
        rule(Self::Ready, Span::ZERO, 0, Undo::Nothing),
    ];

    /// Its rule.
    #[must_use]
    pub const fn rule(self) -> Rule {
        Self::RULES[self as usize]
    }

    /// Its number, from 1.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8 + 1
    }

    /// Its name, for stores and programs; it never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SignAgreement => "sign-agreement",
            Self::CreateActivity => "create-activity",
            Self::JoinNetwork => "join-network",
            Self::Deploy => "deploy",
            Self::Start => "start",
            Self::Configure => "configure",
            Self::StartSsh => "start-ssh",
            Self::CheckSsh => "check-ssh",
            Self::Ready => "ready",
        }
    }

    /// The line that users read when it begins; `provider` is the provider's name and id.
    #[must_use]
    pub fn line(self, provider: &str) -> String {
        let what = match self {
            Self::SignAgreement => "Getting an agreement...".to_owned(),
            Self::CreateActivity => format!("Creating activity on provider: {provider}..."),
            Self::JoinNetwork => "Adding activity to internal VPN...".to_owned(),
            Self::Deploy => "Deploying image...".to_owned(),
            Self::Start => "Starting VM container...".to_owned(),
            Self::Configure => "Running bootstrap commands...".to_owned(),
            Self::StartSsh => "Starting ssh service...".to_owned(),
            Self::CheckSsh => "Checking SSH connection...".to_owned(),
            Self::Ready => format!("Activity ready on provider: {provider}"),
        };
        format!("[{}/{}] {what}", self.number(), Self::RULES.len())
    }

    /// The step that the command of the batch belongs to.
    #[must_use]
    pub const fn of_command(command: u32) -> Option<Self> {
        match command {
            0 => Some(Self::Deploy),
            1 => Some(Self::Start),
            2 => Some(Self::Configure),
            3 => Some(Self::StartSsh),
            _ => None,
        }
    }
}

const fn rule(step: Step, patience: Span, tries: u32, undo: Undo) -> Rule {
    Rule { step, patience, tries, undo }
}

/// Where the node stands in its network.
pub(super) struct Place<'a> {
    pub(super) network: &'a NetworkId,
    pub(super) subnet: Subnet,
    pub(super) ip: Ipv4Addr,
    /// Everybody in the network, this node included.
    pub(super) nodes: Vec<(Ipv4Addr, ProviderId)>,
    /// Whether the image is taken to have what only the common one has; a planted bug.
    pub(super) is_strict: bool,
}

/// The batch that brings a node up: one command for each of the steps 4 to 7.
pub(super) fn batch(place: Place<'_>, ssh_public_key: &str) -> Vec<ExeCommand> {
    let ip = place.ip;
    let deployment = Deployment {
        network: place.network.clone(),
        ip: place.subnet.ip,
        mask: place.subnet.mask(),
        node_ip: ip,
        nodes: place.nodes,
    };
    vec![
        ExeCommand::Deploy { networks: vec![deployment] },
        ExeCommand::Start,
        shell(if place.is_strict { STRICT.to_owned() } else { bootstrap(ip, ssh_public_key) }),
        shell(START_SSH.to_owned()),
    ]
}

const STRICT: &str = "mv /root_copy/.bashrc ~";

/// Starts the ssh service, and prints its host key if the image has one of this kind.
const START_SSH: &str =
    "service ssh start >&2 && (cat /etc/ssh/ssh_host_ed25519_key.pub 2>/dev/null || true)";

/// The daemon leaves the node's connections open when ours end. So the ssh server of a node asks its client every
/// 15 s for an answer, and ends a session whose client has given none for a minute.
const SSHD_OPTIONS: &str = "ClientAliveInterval 15\\nClientAliveCountMax 4\\n";

/// The command that starts the ssh service again.
pub(super) fn repair() -> Vec<ExeCommand> {
    vec![shell("service ssh restart".to_owned())]
}

/// The form that every manifest of ours allows.
fn shell(script: String) -> ExeCommand {
    ExeCommand::Run { entry_point: "/bin/sh".to_owned(), args: vec!["-c".to_owned(), script] }
}

/// Prepares a node for Ray, in one script. Files that an image does not have are no reason to fail.
fn bootstrap(ip: Ipv4Addr, ssh_public_key: &str) -> String {
    let host = ip.to_string().replace('.', "-");
    let key = ssh_public_key.lines().next().unwrap_or_default().replace('\'', "");
    format!(
        "set -e\n\
         echo 'ON_GOLEM_NETWORK=1' >> /etc/environment\n\
         echo 'NODE_IP={ip}' >> /etc/environment\n\
         echo '{host}' > /etc/hostname\n\
         echo '{ip} {host}' >> /etc/hosts\n\
         mkdir -p /root/.ssh\n\
         for file in .bashrc .profile .config .local venv; do\n\
         if [ -e \"/root_copy/$file\" ] && [ ! -e \"/root/$file\" ]; then mv \"/root_copy/$file\" \
         /root/; fi\n\
         done\n\
         echo 'export PATH=$PATH:/root/.local/bin' >> /root/.bashrc\n\
         echo '{key}' >> /root/.ssh/authorized_keys\n\
         chmod 700 /root/.ssh\n\
         chmod 600 /root/.ssh/authorized_keys\n\
         if [ -d /etc/ssh/sshd_config.d ]; then \
         printf '{SSHD_OPTIONS}' > /etc/ssh/sshd_config.d/ray-on-golem.conf; fi\n"
    )
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::{Step, bootstrap};

    #[test]
    fn rules_stand_in_the_order_of_their_steps() {
        for (index, rule) in Step::RULES.iter().enumerate() {
            assert_eq!(rule.step as usize, index);
        }
        assert_eq!(Step::Deploy.line("x"), "[4/9] Deploying image...");
        assert_eq!(Step::Ready.line("one (0x1)"), "[9/9] Activity ready on provider: one (0x1)");
    }

    #[test]
    fn a_key_cannot_leave_its_quotes() {
        let script = bootstrap(Ipv4Addr::new(192, 168, 0, 3), "ssh-ed25519 AAAA me'; rm -rf /\nx");

        assert!(script.contains("echo 'ssh-ed25519 AAAA me; rm -rf /' >>"), "{script}");
        assert!(script.contains("echo '192-168-0-3' > /etc/hostname"), "{script}");
    }

    #[test]
    fn the_ssh_server_of_a_node_ends_sessions_that_nobody_has() {
        let script = bootstrap(Ipv4Addr::new(192, 168, 0, 3), "ssh-ed25519 AAAA me");

        let options = r"ClientAliveInterval 15\nClientAliveCountMax 4\n";
        let line = format!("printf '{options}' > /etc/ssh/sshd_config.d/ray-on-golem.conf");
        assert!(script.contains(&line), "{script}");
    }
}
