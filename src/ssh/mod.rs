//! ssh to a node: keys, one connection over a private network, and what runs over
//! it. It does what it is told and decides nothing.
//!
//! ```text
//! ssh, rsync, Ray --ProxyCommand--> ray-on-golem ssh-proxy --+
//!                                                            +--> network::Ways --> sshd of a node
//! webserver: probe, Session (run, upload), Tunnel -----------+
//! ```
//!
//! What the webserver does with it, in this order:
//!
//! 1. [`KeyPair::of_cluster`] gives the cluster's key pair and makes it at the first call;
//!    [`KeyPair::public_line`] goes into `ClusterPlan::ssh_public_key`, [`KeyPair::private_text`] is what
//!    `/ger_or_create_default_ssh_key` answers with. A key of the user's own comes from
//!    [`KeyPair::read`].
//! 2. [`HostKeys::open`] gives the host keys of the cluster's nodes, [`Ways`] the ways to
//!    nodes; one [`Login`] for each node puts them together.
//! 3. [`Access::save`] writes what `ssh-proxy` needs whenever a node gets its address, or the network
//!    or the daemon changes; [`Access::remove`] when the cluster is over. [`proxy_command`] is the
//!    text for `ssh_proxy_command`.
//! 4. `Output::Probe` is answered with [`probe`], its error as text: `Input::Probed { outcome }`.
//! 5. When the head answers, [`Session::open`] and [`Session::upload`] bring the token and the Python
//!    package, [`Session::run`] runs a command; then one [`Tunnel`] for each [`Forward`] keeps the head's
//!    way back, and Ray's port here.
//! 6. When a node is over: [`Tunnel::end`] and [`HostKeys::forget`].
//!
//! A node tells its host key when its ssh service is started, and [`HostKeys::supply`] takes it before the
//! first login. Where an image tells none, the key that is seen at the first login that succeeds is the
//! node's from then on.
//!
//! [`Ways`]: crate::network::Ways

mod access;
mod host_keys;
mod keys;
pub mod proxy;
mod quote;
mod session;
mod tunnel;

pub use access::{Access, AccessError, NodeAccess, proxy_command};
pub use host_keys::{HostKeys, HostKeysError};
pub use keys::{KeyError, KeyPair};
pub(crate) use quote::quoted;
pub use session::{Finished, Login, Session, SshError, Upload, probe};
pub use tunnel::{Forward, Pace, Tunnel, TunnelError, TunnelState};
