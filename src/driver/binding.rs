//! Whose a data directory is: `DATA/daemon.json`.
//!
//! The journals say which agreements there are. At another daemon, or under another identity, each of them is unknown, and
//! looks as if it were over: nodes would be said to have ended that run and cost. So while there are clusters in it, a data
//! directory belongs to one network, real or simulated, and on the real one to one identity of the daemon. One without
//! clusters goes over to whatever it is used with next.
//!
//! A directory of an earlier version has no such file. Then the daemon is asked for the agreements of the journals: the one
//! that knows one of them is theirs.

use std::{
    collections::BTreeSet,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::mark::was_simulated;
use crate::{
    core::record::Durable,
    files,
    units::Span,
    yagna::{AgreementId, CallError, Client, Request, Status, Yagna},
};

const FILE: &str = "daemon.json";
const PATIENCE: Span = Span::secs(10);

/// Whose a data directory is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "network", rename_all = "kebab-case")]
pub enum Owner {
    /// A simulated network.
    Simulated,
    /// The real network.
    Real {
        /// The identity of the daemon, by its app-key.
        identity: String,
    },
}

/// What a data directory holds that another daemon would not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    data: PathBuf,
    /// The names of its clusters.
    clusters: BTreeSet<String>,
    /// Agreements whose books are open.
    agreements: Vec<AgreementId>,
}

/// Why a data directory cannot be gone on with.
#[derive(Debug, Error)]
pub enum BindingError {
    /// It belongs to another network or identity.
    #[error(
        "the data directory `{}` belongs to {owner}, where it has clusters ({clusters}); {wanted} is asked for",
        data.display()
    )]
    Other {
        /// The data directory.
        data: PathBuf,
        /// To which.
        owner: String,
        /// Which clusters it has.
        clusters: String,
        /// Which is asked for.
        wanted: String,
    },
    /// It does not say to which it belongs, and the daemon knows nothing of it.
    #[error(
        "the data directory `{}` has clusters ({clusters}), and the daemon knows none of their agreements under the \
         identity {identity}",
        data.display()
    )]
    Unknown {
        /// The data directory.
        data: PathBuf,
        /// Which clusters it has.
        clusters: String,
        /// Under which identity.
        identity: String,
    },
    /// Whether the daemon knows its agreements cannot be found out.
    #[error("the daemon does not say whether it knows the agreements of the data directory `{}`", data.display())]
    Unsaid {
        /// The data directory.
        data: PathBuf,
        /// What it says.
        #[source]
        source: CallError,
    },
    /// The file cannot be written.
    #[error("cannot write `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Simulated => f.write_str(kind(true)),
            Self::Real { identity } => write!(f, "{}, identity {identity}", kind(false)),
        }
    }
}

impl Owner {
    /// Whose the data directory is, as far as its file says.
    #[must_use]
    pub fn of(data: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(data.join(FILE)).ok()?).ok()
    }

    /// Whether that is a simulated network.
    #[must_use]
    pub const fn is_simulated(&self) -> bool {
        matches!(self, Self::Simulated)
    }

    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Simulated, Self::Simulated) => true,
            (Self::Real { identity }, Self::Real { identity: other }) => {
                identity.eq_ignore_ascii_case(other)
            }
            (Self::Simulated, Self::Real { .. }) | (Self::Real { .. }, Self::Simulated) => false,
        }
    }
}

impl Held {
    /// What the journals of `data` have folded to.
    #[must_use]
    pub fn of(data: &Path, durable: &Durable) -> Self {
        let clusters = durable.clusters().values();
        let accounts = clusters.clone().flat_map(|cluster| cluster.accounts.values());
        Self {
            data: data.to_owned(),
            clusters: clusters.map(|cluster| cluster.name.to_string()).collect(),
            agreements: accounts.map(|account| account.agreement.clone()).collect(),
        }
    }

    /// What a data directory holds whose clusters are given up.
    #[must_use]
    pub fn nothing(data: &Path) -> Self {
        Self { data: data.to_owned(), clusters: BTreeSet::new(), agreements: Vec::new() }
    }

    /// Refuses the other kind of network, before it is started.
    ///
    /// # Errors
    ///
    /// If clusters are on the other kind.
    pub fn refuse_other_kind(&self, is_simulated: bool) -> Result<(), BindingError> {
        let bound = Owner::of(&self.data);
        let is_theirs = match &bound {
            Some(owner) => owner.is_simulated() == is_simulated,
            // Each simulated network leaves the mark of its process. What has none is on the real one.
            None => !is_simulated || was_simulated(&self.data),
        };
        if is_theirs || self.clusters.is_empty() {
            return Ok(());
        }
        let owner = bound.map_or_else(|| kind(false).to_owned(), |owner| owner.to_string());
        Err(self.other(owner, kind(is_simulated).to_owned()))
    }

    /// Binds the data directory to who uses it from here on.
    ///
    /// # Errors
    ///
    /// If its clusters belong to another network or identity, or may.
    pub async fn bind(&self, owner: &Owner, daemon: &Client) -> Result<(), BindingError> {
        match Owner::of(&self.data) {
            Some(bound) if bound.is(owner) => return Ok(()),
            Some(bound) if !self.clusters.is_empty() => {
                return Err(self.other(bound.to_string(), owner.to_string()));
            }
            None if !self.agreements.is_empty() => self.find(owner, daemon).await?,
            Some(_) | None => {}
        }
        let path = self.data.join(FILE);
        let written = serde_json::to_vec(owner).map_err(io::Error::other);
        let written = written.and_then(|bytes| files::replace(&path, &bytes, 0o600));
        written.map_err(|source| BindingError::Io { path, source })
    }

    /// Looks for one of the agreements in the books of the daemon.
    async fn find(&self, owner: &Owner, daemon: &Client) -> Result<(), BindingError> {
        let Owner::Real { identity } = owner else { return Ok(()) };
        for agreement in &self.agreements {
            let request = Request::GetAgreement { agreement: agreement.clone() };
            match daemon.call(request, PATIENCE).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_refusal(Status::NOT_FOUND) => {}
                Err(source) => {
                    return Err(BindingError::Unsaid { data: self.data.clone(), source });
                }
            }
        }
        let (data, clusters, identity) = (self.data.clone(), self.names(), identity.clone());
        Err(BindingError::Unknown { data, clusters, identity })
    }

    fn other(&self, owner: String, wanted: String) -> BindingError {
        BindingError::Other { data: self.data.clone(), owner, clusters: self.names(), wanted }
    }

    fn names(&self) -> String {
        let names: Vec<String> = self.clusters.iter().map(|name| format!("`{name}`")).collect();
        names.join(", ")
    }
}

const fn kind(is_simulated: bool) -> &'static str {
    if is_simulated { "a simulated network" } else { "the real network" }
}
