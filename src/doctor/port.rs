//! The webserver's port: free, ours already, or another program's.

use std::{
    fs,
    io::{self, ErrorKind},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
};

use serde_json::Value;
use url::Url;

use super::{Finding, Scene, data};
use crate::{
    http::{Outgoing, Transport},
    units::Span,
    yagna::wire::Method,
};

/// Our own webserver answers in milliseconds.
const PATIENCE: Span = Span::secs(2);
const NAME: &str = "port";
/// A port of `/proc/net/tcp` that is listened on.
const LISTENING: &str = "0A";
const TO_BE: &str = ", where the webserver is to be";
/// What to do where the port cannot be had.
pub const CURE: &str =
    "choose another port with `--port`, and `webserver_port` in the cluster file";

/// Who listens on a port, as far as the system tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Listener {
    /// Whose it is.
    user: Option<u32>,
    /// The process; only its own user and root are told.
    pid: Option<u32>,
}

/// The webserver that answers on a port.
struct Webserver {
    version: String,
    data: PathBuf,
}

pub(super) async fn check(scene: &Scene) -> Vec<Finding> {
    let port = scene.port;
    let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) else {
        let what = format!("127.0.0.1:{port} is free for the webserver");
        return vec![Finding::good(NAME, what)];
    };
    let listener = Listener::of(port).unwrap_or_default();
    let is_ours = listener.user.is_none_or(|user| user == rustix::process::getuid().as_raw());
    match webserver(port).await {
        Some(webserver) if is_ours => vec![ours(scene, &listener, &webserver)],
        Some(_) | None => {
            let (what, cure) = taken(port, &error);
            vec![Finding::bad(NAME, what, cure)]
        }
    }
}

/// The data directory of our webserver at a port, if it is there.
pub async fn data_of_webserver(port: u16) -> Option<PathBuf> {
    let webserver = webserver(port).await?;
    let listener = Listener::of(port).unwrap_or_default();
    let is_ours = listener.user.is_none_or(|user| user == rustix::process::getuid().as_raw());
    is_ours.then_some(webserver.data)
}

/// Why no webserver of ours is at a port, and what to do, if another user's program is there.
#[must_use]
pub fn of_another_user(port: u16) -> Option<(String, String)> {
    let user = Listener::of(port)?.user?;
    let is_ours = user == rustix::process::getuid().as_raw();
    (!is_ours).then(|| {
        let what = format!("{} listens on 127.0.0.1:{port}{TO_BE}", listener(port));
        (what, CURE.to_owned())
    })
}

/// Why a port cannot be listened on, and what to do.
#[must_use]
pub fn taken(port: u16, error: &io::Error) -> (String, String) {
    if error.kind() != ErrorKind::AddrInUse {
        return (format!("cannot listen on 127.0.0.1:{port}: {error}"), CURE.to_owned());
    }
    of_another_user(port).unwrap_or_else(|| {
        let what = format!("{} listens on 127.0.0.1:{port}{TO_BE}", listener(port));
        (what, format!("end it, or {CURE}"))
    })
}

/// What listens on a port, as far as the system tells.
#[must_use]
pub fn listener(port: u16) -> String {
    let listener = Listener::of(port).unwrap_or_default();
    match listener.user {
        Some(user) if user != rustix::process::getuid().as_raw() => {
            format!("another user's program (user {})", data::user_name(user))
        }
        Some(_) | None => match listener.pid {
            Some(pid) => format!("`{}` (pid {pid})", program_of(pid)),
            None => "another program".to_owned(),
        },
    }
}

fn ours(scene: &Scene, listener: &Listener, webserver: &Webserver) -> Finding {
    let Webserver { version, data } = webserver;
    let pid = listener.pid.map_or_else(String::new, |pid| format!(", pid {pid}"));
    let ours = env!("CARGO_PKG_VERSION");
    let minor = |version: &str| version.split('.').take(2).collect::<Vec<_>>().join(".");
    let what = format!("our webserver {version} listens on 127.0.0.1:{}{pid}", scene.port);
    if minor(version) != minor(ours) {
        let cure = format!("end it with `ray-on-golem stop`: this is version {ours}");
        return Finding::bad(NAME, what, cure);
    }
    match *data == scene.data {
        true => Finding::good(NAME, what),
        false => Finding::note(NAME, format!("{what}; its data directory is `{}`", data.display())),
    }
}

/// The webserver of Ray on Golem at a port.
async fn webserver(port: u16) -> Option<Webserver> {
    let url = Url::parse(&format!("http://127.0.0.1:{port}/")).ok()?;
    let transport = Transport::direct(false).ok()?;
    let outgoing = Outgoing { method: Method::Get, url, bearer: None, headers: &[], body: None };
    let response = transport.send(outgoing, PATIENCE).await.ok()?;
    let document: Value = serde_json::from_slice(&response.body).ok()?;
    document["shutting_down"].as_bool()?;
    let text = |key: &str| document[key].as_str().map(str::to_owned);
    Some(Webserver { version: text("version")?, data: text("datadir")?.into() })
}

impl Listener {
    /// The one of a port of 127.0.0.1, or of all addresses.
    fn of(port: u16) -> Option<Self> {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
        let (user, inode) = tables
            .into_iter()
            .find_map(|table| socket_in(&fs::read_to_string(table).ok()?, port))?;
        Some(Self { user: Some(user), pid: pid_of(&inode) })
    }
}

/// The user and the inode of the socket that listens on a port, by a table of the kernel's:
/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode`.
fn socket_in(table: &str, port: u16) -> Option<(u32, String)> {
    table.lines().skip(1).find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (_, local_port) = words.get(1)?.rsplit_once(':')?;
        let is_it = u16::from_str_radix(local_port, 16) == Ok(port) && *words.get(3)? == LISTENING;
        is_it.then_some((words.get(7)?.parse().ok()?, (*words.get(9)?).to_owned()))
    })
}

/// The process that has a socket open.
fn pid_of(inode: &str) -> Option<u32> {
    let wanted = PathBuf::from(format!("socket:[{inode}]"));
    let has_it = |process: &Path| {
        let files = fs::read_dir(process.join("fd")).ok()?;
        let mut files = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
        files.any(|target| target == wanted).then_some(())
    };
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        has_it(&entry.path()).map(|()| pid)
    })
}

fn program_of(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::socket_in;

    #[test]
    fn a_listener_is_found_in_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:11E2 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1001        0 11 1 0 100\n\
            1: 0100007F:11E2 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 100\n";

        assert_eq!(socket_in(table, 4578), Some((1000, "4711".to_owned())));
        assert_eq!(socket_in(table, 4579), None);
        assert_eq!(socket_in("", 4578), None);
    }
}
