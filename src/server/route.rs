//! All routes in one table: the router, the guard, and the documentation are made from it.

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    /// The webserver itself.
    Root,
    /// The webserver's proof that it knows a token, before that is sent.
    Prove,
    /// The wallet, funded where that costs nothing.
    GetWalletStatus,
    /// The ids of the nodes that Ray may count on.
    NonTerminatedNodes,
    /// Whether a node is up.
    IsRunning,
    /// Whether a node is no more, or soon will be.
    IsTerminated,
    /// What is stuck on a node.
    Tags,
    /// All nodes of a cluster, and its money.
    ClusterData,
    /// A node's address in the private network.
    InternalIp,
    /// Sticks tags on a node.
    SetTags,
    /// Looks at a cluster file, before anything is asked for.
    CheckCluster,
    /// Asks for nodes.
    RequestNodes,
    /// Ends a node.
    Terminate,
    /// The command that leads ssh to a node.
    SshProxyCommand,
    /// The key pair of a cluster.
    DefaultSshKey,
    /// Stops the webserver.
    Shutdown,
    /// Changes the budget of a running cluster.
    SetBudget,
    /// Ends a cluster.
    EndCluster,
    /// Runs a command on a node.
    RunCommand,
    /// Everything at once, for people and programs.
    Overview,
    /// Numbers for Prometheus.
    Metrics,
    /// This API.
    OpenApi,
    /// Changes as they happen.
    Events,
}

/// How a route is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// By any method.
    Any,
    /// By GET.
    Get,
    /// By POST, with a JSON body.
    Post,
}

impl Route {
    /// Every route.
    pub const ALL: [Self; 23] = [
        Self::Root,
        Self::Prove,
        Self::GetWalletStatus,
        Self::NonTerminatedNodes,
        Self::IsRunning,
        Self::IsTerminated,
        Self::Tags,
        Self::ClusterData,
        Self::InternalIp,
        Self::SetTags,
        Self::CheckCluster,
        Self::RequestNodes,
        Self::Terminate,
        Self::SshProxyCommand,
        Self::DefaultSshKey,
        Self::Shutdown,
        Self::SetBudget,
        Self::EndCluster,
        Self::RunCommand,
        Self::Overview,
        Self::Metrics,
        Self::OpenApi,
        Self::Events,
    ];

    /// Its paths; the first is the usual one.
    #[must_use]
    pub const fn paths(self) -> &'static [&'static str] {
        match self {
            Self::Root => &["/"],
            Self::Prove => &["/prove"],
            Self::GetWalletStatus => &["/get_wallet_status"],
            Self::NonTerminatedNodes => &["/non_terminated_nodes"],
            Self::IsRunning => &["/is_running"],
            Self::IsTerminated => &["/is_terminated"],
            Self::Tags => &["/tags"],
            Self::ClusterData => &["/cluster_data"],
            Self::InternalIp => &["/internal_ip"],
            Self::SetTags => &["/set_tags"],
            Self::CheckCluster => &["/check_cluster"],
            Self::RequestNodes => &["/request_nodes"],
            Self::Terminate => &["/terminate"],
            Self::SshProxyCommand => &["/ssh_proxy_command"],
            // The first is how clients of the original misspell it.
            Self::DefaultSshKey => {
                &["/ger_or_create_default_ssh_key", "/get_or_create_default_ssh_key"]
            }
            Self::Shutdown => &["/shutdown"],
            Self::SetBudget => &["/set_budget"],
            Self::EndCluster => &["/end_cluster"],
            Self::RunCommand => &["/run_command"],
            Self::Overview => &["/status"],
            Self::Metrics => &["/metrics"],
            Self::OpenApi => &["/openapi.json"],
            Self::Events => &["/events"],
        }
    }

    /// How it is asked.
    #[must_use]
    pub const fn verb(self) -> Verb {
        match self {
            Self::Root => Verb::Any,
            Self::Overview | Self::Metrics | Self::OpenApi | Self::Events => Verb::Get,
            Self::Prove
            | Self::GetWalletStatus
            | Self::NonTerminatedNodes
            | Self::IsRunning
            | Self::IsTerminated
            | Self::Tags
            | Self::ClusterData
            | Self::InternalIp
            | Self::SetTags
            | Self::CheckCluster
            | Self::RequestNodes
            | Self::Terminate
            | Self::SshProxyCommand
            | Self::DefaultSshKey
            | Self::Shutdown
            | Self::SetBudget
            | Self::EndCluster
            | Self::RunCommand => Verb::Post,
        }
    }

    /// Whether it is asked without a token: what a client needs to know before it sends one.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Root | Self::Prove)
    }

    /// Whether a head may ask it, about its own cluster: no keys, no wallet, no shutdown, no money.
    #[must_use]
    pub const fn is_for_heads(self) -> bool {
        match self {
            Self::Root
            | Self::Prove
            | Self::NonTerminatedNodes
            | Self::IsRunning
            | Self::IsTerminated
            | Self::Tags
            | Self::ClusterData
            | Self::InternalIp
            | Self::SetTags
            | Self::RequestNodes
            | Self::Terminate => true,
            Self::GetWalletStatus
            | Self::CheckCluster
            | Self::SshProxyCommand
            | Self::DefaultSshKey
            | Self::Shutdown
            | Self::SetBudget
            | Self::EndCluster
            | Self::RunCommand
            | Self::Overview
            | Self::Metrics
            | Self::OpenApi
            | Self::Events => false,
        }
    }

    /// What it does, in a line.
    #[must_use]
    pub const fn summary(self) -> &'static str {
        match self {
            Self::Root => "The webserver itself; needs no token. A browser gets the page",
            Self::Prove => {
                "Shows that the webserver knows a token, which is named by its mark, before it is sent; \
                 needs no token"
            }
            Self::GetWalletStatus => {
                "The wallet; on a testnet with a faucet it is funded once if it is low"
            }
            Self::NonTerminatedNodes => "The ids of the nodes that Ray may count on",
            Self::IsRunning => "Whether a node is up",
            Self::IsTerminated => "Whether a node is no more, or soon will be",
            Self::Tags => "What is stuck on a node",
            Self::ClusterData => "All nodes of a cluster, and its money",
            Self::InternalIp => "A node's address in the private network",
            Self::SetTags => "Sticks tags on a node, beside what is there",
            Self::CheckCluster => {
                "Looks at a whole cluster file before nodes are asked for: what is wrong, by file and line, \
                 or what to warn of"
            }
            Self::RequestNodes => "Asks for nodes; answers at once with their ids",
            Self::Terminate => "Ends a node; answers how it stood before",
            Self::SshProxyCommand => "The command that leads ssh to a node",
            Self::DefaultSshKey => "The key pair of a cluster, made at the first call; plain text",
            Self::Shutdown => "Stops the webserver, and with force all clusters",
            Self::SetBudget => "Changes the budget of a running cluster",
            Self::EndCluster => "Ends a cluster: its nodes at once, its bills as they come",
            Self::RunCommand => {
                "Runs a command on a node through its provider, also where ssh does not reach it"
            }
            Self::Overview => "Everything at once",
            Self::Metrics => "Numbers for Prometheus",
            Self::OpenApi => "This API",
            Self::Events => "Changes as they happen, as server-sent events",
        }
    }
}
