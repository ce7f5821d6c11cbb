//! Which private networks of our own there are, and what each member knows of the others.
//!
//! `DATA/networks.json`, mode 0600, since a process that knows the id of a network can send frames into it:
//!
//! ```json
//! {
//!   "version": 1,
//!   "networks": [{
//!     "id": "0123456789abcdef0123456789abcdef",
//!     "ip": "192.168.0.0", "prefix": 16, "gateway": "192.168.192.1", "address": "192.168.0.1",
//!     "members": [{
//!       "ip": "192.168.0.3", "provider": "0x…", "is_deployed": true,
//!       "differs": { "192.168.0.4": null }
//!     }]
//!   }]
//! }
//! ```
//!
//! A member is told what it does not know, one node at a time: `differs` has the addresses at which it knows
//! another node than the one that is there, or none. So what could not be told is not forgotten, and an address that
//! is used again is freed at each member first.

use std::{
    collections::BTreeMap,
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    files,
    yagna::{Network, NetworkId, ProviderId},
};

const FILE: &str = "networks.json";
const VERSION: u32 = 1;

/// The networks of a data directory.
#[derive(Clone, Debug)]
pub struct Registry {
    path: PathBuf,
    networks: BTreeMap<NetworkId, Entry>,
}

/// One network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its own address.
    pub ip: Ipv4Addr,
    /// The length of its prefix.
    pub prefix: u8,
    /// The mark by which it is found again.
    pub gateway: Ipv4Addr,
    /// Our own address in it: a node learns one address of each other, so it never changes.
    pub address: Ipv4Addr,
    members: BTreeMap<Ipv4Addr, Member>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    provider: ProviderId,
    /// Before that there is nothing that could be told anything.
    is_deployed: bool,
    /// What it knows of an address where that is not so.
    differs: BTreeMap<Ipv4Addr, Option<ProviderId>>,
}

/// Something that a member must be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tell {
    /// The member.
    pub to: ProviderId,
    /// The address that it is about.
    pub ip: Ipv4Addr,
    /// Who the member takes to be there.
    pub known: Option<ProviderId>,
    /// Who is there.
    pub truth: Option<ProviderId>,
}

/// Why the networks are not known, or cannot be changed.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// The disk, or the permissions.
    #[error("cannot {doing} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file has something else.
    #[error("`{}` is not understood ({why}); the nodes of clusters that run cannot be reached without it", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    networks: Vec<NetworkDocument>,
}

#[derive(Serialize, Deserialize)]
struct NetworkDocument {
    id: NetworkId,
    ip: Ipv4Addr,
    prefix: u8,
    gateway: Ipv4Addr,
    address: Ipv4Addr,
    members: Vec<MemberDocument>,
}

#[derive(Serialize, Deserialize)]
struct MemberDocument {
    ip: Ipv4Addr,
    provider: ProviderId,
    is_deployed: bool,
    differs: BTreeMap<Ipv4Addr, Option<ProviderId>>,
}

impl Registry {
    /// The networks that the data directory `data` knows.
    ///
    /// # Errors
    ///
    /// If its file cannot be read, or is not understood.
    pub fn open(data: &Path) -> Result<Self, RegistryError> {
        let path = data.join(FILE);
        let networks = match fs::read_to_string(&path) {
            Ok(text) => {
                read(&text).map_err(|why| RegistryError::Unreadable { path: path.clone(), why })?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => return Err(RegistryError::Io { doing: "read", path, source }),
        };
        Ok(Self { path, networks })
    }

    /// All networks.
    #[must_use]
    pub const fn networks(&self) -> &BTreeMap<NetworkId, Entry> {
        &self.networks
    }

    /// Changes the networks: on the disk first, in one step. Nothing is changed if that fails.
    ///
    /// # Errors
    ///
    /// If the disk fails.
    pub fn change<T>(
        &mut self,
        change: impl FnOnce(&mut BTreeMap<NetworkId, Entry>) -> T,
    ) -> Result<T, RegistryError> {
        let mut networks = self.networks.clone();
        let outcome = change(&mut networks);
        if networks != self.networks {
            let text = write(&networks);
            files::replace(&self.path, text.as_bytes(), 0o600).map_err(|source| {
                RegistryError::Io { doing: "write", path: self.path.clone(), source }
            })?;
            self.networks = networks;
        }
        Ok(outcome)
    }
}

impl Entry {
    /// A network without members. Our own address is the first one of it.
    #[must_use]
    pub fn new(ip: Ipv4Addr, prefix: u8, gateway: Ipv4Addr) -> Self {
        let ip = Ipv4Addr::from_bits(ip.to_bits() & mask(prefix).to_bits());
        let address = Ipv4Addr::from_bits(ip.to_bits().saturating_add(1));
        Self { ip, prefix, gateway, address, members: BTreeMap::new() }
    }

    /// The network as the daemon would tell of it.
    #[must_use]
    pub fn told_as(&self, id: &NetworkId) -> Network {
        Network {
            id: id.clone(),
            ip: format!("{}/{}", self.ip, self.prefix),
            mask: mask(self.prefix).into(),
            gateway: self.gateway.into(),
        }
    }

    /// Who is in it, by address.
    pub fn members(&self) -> impl Iterator<Item = (Ipv4Addr, &ProviderId)> {
        self.members.iter().map(|(ip, member)| (*ip, &member.provider))
    }

    /// Lets a provider in. It may be in already.
    ///
    /// # Errors
    ///
    /// If it cannot have that address; the text says why.
    pub fn join(&mut self, ip: Ipv4Addr, provider: &ProviderId) -> Result<(), String> {
        let is_inside = ip.to_bits() & mask(self.prefix).to_bits() == self.ip.to_bits();
        if !is_inside || ip == self.ip {
            return Err(format!("Invalid network IP address: {ip}"));
        }
        let holder = self.members.get(&ip).map(|member| &member.provider);
        if ip == self.address || holder.is_some_and(|holder| holder != provider) {
            return Err(format!("IP address is taken: {ip}"));
        }
        if holder.is_some() {
            return Ok(());
        }
        // A node has one address.
        self.leave(provider);
        self.change(ip, None, Some(provider));
        // It knows nobody before it is told.
        let others = self.members.keys().map(|other| (*other, None));
        let differs = others.collect();
        let member = Member { provider: provider.clone(), is_deployed: false, differs };
        self.members.insert(ip, member);
        Ok(())
    }

    /// Takes a provider out. It may be out already.
    pub fn leave(&mut self, provider: &ProviderId) {
        let found = self.members.iter().find(|(_, member)| member.provider == *provider);
        let Some(ip) = found.map(|(ip, _)| *ip) else { return };
        self.members.remove(&ip);
        self.change(ip, Some(provider), None);
    }

    /// Notes that the member at `ip` is deployed, and whom it knows from its deployment.
    pub fn deployed(&mut self, ip: Ipv4Addr, nodes: &[(Ipv4Addr, ProviderId)]) {
        let truth: BTreeMap<Ipv4Addr, ProviderId> =
            self.members().map(|(ip, provider)| (ip, provider.clone())).collect();
        let own = self.address;
        let Some(member) = self.members.get_mut(&ip) else { return };
        member.is_deployed = true;
        let known: BTreeMap<Ipv4Addr, ProviderId> = nodes.iter().cloned().collect();
        let all = truth.keys().chain(known.keys()).filter(|it| **it != ip && **it != own);
        let wrong = all.filter(|it| truth.get(it) != known.get(it));
        member.differs = wrong.map(|it| (*it, known.get(it).cloned())).collect();
    }

    /// What each member must be told next.
    pub fn tells(&self) -> impl Iterator<Item = Tell> {
        self.members.values().filter(|member| member.is_deployed).filter_map(|member| {
            let (ip, known) = member.differs.first_key_value()?;
            let truth = self.members.get(ip).map(|it| it.provider.clone());
            Some(Tell { to: member.provider.clone(), ip: *ip, known: known.clone(), truth })
        })
    }

    /// How much members do not know.
    #[must_use]
    pub fn untold(&self) -> usize {
        self.members.values().map(|member| member.differs.len()).sum()
    }

    /// Notes that a member knows `known` to be at an address, or nobody.
    pub fn told(&mut self, to: &ProviderId, ip: Ipv4Addr, known: Option<&ProviderId>) {
        let truth = self.members.get(&ip).map(|it| it.provider.clone());
        let Some(member) = self.members.values_mut().find(|member| member.provider == *to) else {
            return;
        };
        if truth.as_ref() == known {
            member.differs.remove(&ip);
        } else {
            member.differs.insert(ip, known.cloned());
        }
    }

    /// Who is at an address changes, which the members do not know.
    fn change(&mut self, ip: Ipv4Addr, old: Option<&ProviderId>, new: Option<&ProviderId>) {
        for (at, member) in &mut self.members {
            if *at == ip {
                continue;
            }
            let known = member.differs.remove(&ip).unwrap_or_else(|| old.cloned());
            if known.as_ref() != new {
                member.differs.insert(ip, known);
            }
        }
    }
}

const fn mask(prefix: u8) -> Ipv4Addr {
    let bits = if prefix > 32 { 32 } else { prefix as u32 };
    let mask = if bits == 0 { 0 } else { u32::MAX << (32 - bits) };
    Ipv4Addr::from_bits(mask)
}

fn write(networks: &BTreeMap<NetworkId, Entry>) -> String {
    let member = |(ip, member): (&Ipv4Addr, &Member)| MemberDocument {
        ip: *ip,
        provider: member.provider.clone(),
        is_deployed: member.is_deployed,
        differs: member.differs.clone(),
    };
    let network = |(id, entry): (&NetworkId, &Entry)| NetworkDocument {
        id: id.clone(),
        ip: entry.ip,
        prefix: entry.prefix,
        gateway: entry.gateway,
        address: entry.address,
        members: entry.members.iter().map(member).collect(),
    };
    let document = Document { version: VERSION, networks: networks.iter().map(network).collect() };
    let mut text = serde_json::to_string_pretty(&document).expect("text and numbers are JSON");
    text.push('\n');
    text
}

fn read(text: &str) -> Result<BTreeMap<NetworkId, Entry>, String> {
    let document: Document = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if document.version != VERSION {
        return Err(format!("version {} where {VERSION} is known", document.version));
    }
    let member = |it: MemberDocument| {
        let MemberDocument { ip, provider, is_deployed, differs } = it;
        (ip, Member { provider, is_deployed, differs })
    };
    let network = |it: NetworkDocument| {
        let NetworkDocument { id, ip, prefix, gateway, address, members } = it;
        let members = members.into_iter().map(member).collect();
        (id, Entry { ip, prefix, gateway, address, members })
    };
    Ok(document.networks.into_iter().map(network).collect())
}

#[cfg(test)]
mod tests {
    use std::{fs, net::Ipv4Addr, os::unix::fs::PermissionsExt as _};

    use super::{Entry, Registry, RegistryError, Tell};
    use crate::yagna::ProviderId;

    const fn ip(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }

    fn entry() -> Entry {
        Entry::new(ip(7), 24, ip(200))
    }

    /// Tells each member what it must know until there is nothing left; gives how much that was.
    fn tell_all(entry: &mut Entry) -> Vec<Tell> {
        let mut all = Vec::new();
        loop {
            let Some(tell) = entry.tells().next() else { break };
            let known = if tell.known.is_some() { None } else { tell.truth.as_ref() };
            entry.told(&tell.to, tell.ip, known);
            all.push(tell);
        }
        all
    }

    #[test]
    fn what_is_kept_is_there_after_a_restart_and_nobody_else_reads_it() {
        let data = tempfile::tempdir().expect("a directory");
        let mut registry = Registry::open(data.path()).expect("no file");
        registry
            .change(|networks| {
                let mut entry = entry();
                entry.join(ip(3), &"0xa".into()).expect("free");
                entry.join(ip(4), &"0xb".into()).expect("free");
                entry.deployed(ip(3), &[]);
                networks.insert("0123".into(), entry);
            })
            .expect("a writable directory");

        let again = Registry::open(data.path()).expect("a file of ours");

        assert_eq!(again.networks(), registry.networks());
        let path = data.path().join("networks.json");
        let mode = fs::metadata(&path).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&path, r#"{"version":2,"networks":[]}"#).expect("writable");
        let error = Registry::open(data.path()).expect_err("another version");
        assert!(
            matches!(&error, RegistryError::Unreadable { why, .. } if why.contains("version 2"))
        );
    }

    #[test]
    fn addresses_are_inside_and_have_one_holder() {
        let mut entry = entry();
        let (a, b): (ProviderId, ProviderId) = ("0xa".into(), "0xb".into());

        assert_eq!((entry.ip, entry.address), (ip(0), ip(1)));
        assert_eq!(entry.join(ip(3), &a), Ok(()));
        assert_eq!(entry.join(ip(3), &a), Ok(()));
        assert_eq!(entry.join(ip(3), &b), Err("IP address is taken: 10.0.0.3".to_owned()));
        assert_eq!(entry.join(ip(1), &b), Err("IP address is taken: 10.0.0.1".to_owned()));
        assert!(entry.join(ip(0), &b).is_err());
        assert!(entry.join(Ipv4Addr::new(10, 0, 1, 3), &b).is_err());
        // A node that comes again has its new address only.
        assert_eq!(entry.join(ip(5), &a), Ok(()));
        assert_eq!(entry.members().collect::<Vec<_>>(), [(ip(5), &a)]);
    }

    #[test]
    fn each_member_is_told_of_each_other_one_once() {
        let mut entry = entry();
        for last in 3..6 {
            let provider = format!("0x{last}").into();
            entry.join(ip(last), &provider).expect("free");
            assert_eq!(entry.tells().filter(|tell| tell.to == provider).count(), 0);
            entry.deployed(ip(last), &[(ip(1), "0xus".into()), (ip(last), provider)]);
        }

        let tells = tell_all(&mut entry);

        assert_eq!(tells.len(), 6);
        assert_eq!(entry.untold(), 0);
    }

    #[test]
    fn whom_a_member_knows_from_its_deployment_it_is_not_told_of() {
        let mut entry = entry();
        let (a, b): (ProviderId, ProviderId) = ("0xa".into(), "0xb".into());
        entry.join(ip(3), &a).expect("free");
        entry.deployed(ip(3), &[]);
        entry.join(ip(4), &b).expect("free");
        entry.deployed(ip(4), &[(ip(1), "0xus".into()), (ip(3), a.clone()), (ip(4), b.clone())]);

        let tells = tell_all(&mut entry);

        assert_eq!(tells, [Tell { to: a, ip: ip(4), known: None, truth: Some(b) }]);
    }

    #[test]
    fn an_address_that_is_used_again_is_freed_first() {
        let mut entry = entry();
        let (a, b, c): (ProviderId, ProviderId, ProviderId) =
            ("0xa".into(), "0xb".into(), "0xc".into());
        entry.join(ip(3), &a).expect("free");
        entry.join(ip(4), &b).expect("free");
        entry.deployed(ip(3), &[(ip(4), b.clone())]);

        entry.leave(&b);
        entry.join(ip(4), &c).expect("free again");
        let tells = tell_all(&mut entry);

        let tell = |known, truth| Tell { to: a.clone(), ip: ip(4), known, truth };
        assert_eq!(tells, [tell(Some(b), Some(c.clone())), tell(None, Some(c))]);
    }

    #[test]
    fn who_leaves_before_anybody_heard_of_it_is_not_told_of() {
        let mut entry = entry();
        let (a, b): (ProviderId, ProviderId) = ("0xa".into(), "0xb".into());
        entry.join(ip(3), &a).expect("free");
        entry.deployed(ip(3), &[]);
        entry.join(ip(4), &b).expect("free");

        entry.leave(&b);

        assert_eq!(entry.tells().count(), 0);
    }
}
