//! Connections for other processes of the same user: the webserver has the networks, and `ssh-proxy` asks it for a
//! connection over the socket `DATA/door.sock`, mode 0600.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddrV4},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::{sleep, timeout},
};

use super::{
    connections::Connections,
    framing::{carry, send, take},
    stream::NodeStream,
    way::Ways,
};
use crate::{
    units::Span,
    yagna::{NetworkId, bus::socket},
};

const FILE: &str = "door.sock";
/// Connections at once, over all clusters.
const CONNECTIONS_MAX: usize = 256;
/// Who knocks says at once what is wanted.
const QUESTION: Duration = Duration::from_secs(5);
/// How long a connection to a node may take.
const PATIENCE: Span = Span::secs(30);
/// A system without descriptors gets some back.
const PAUSE: Duration = Duration::from_millis(100);

/// The socket, and who answers there. It is gone when it is dropped.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
    path: PathBuf,
    ways: Ways,
    connections: Connections,
}

/// Asks for a connection to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Knock {
    /// In which network.
    pub network: NetworkId,
    /// At which address.
    pub ip: Ipv4Addr,
    /// On which port.
    pub port: u16,
}

/// Why there is no connection, or none any more.
#[derive(Debug, Error)]
pub enum DoorError {
    /// Nobody answers at the socket.
    #[error("the webserver does not run in the data directory `{}`; nodes are reached through it", data.display())]
    NoWebserver {
        /// The data directory.
        data: PathBuf,
    },
    /// The webserver says why not.
    #[error("{0}")]
    Refused(String),
    /// The socket cannot be used.
    #[error("cannot use `{}`: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("{0}")]
    Broken(io::Error),
}

/// What a process asks.
#[derive(Serialize, Deserialize)]
enum Question {
    /// A connection to a node.
    #[serde(rename = "connect")]
    Connect(Knock),
    /// That a connection, which it has from the daemon, is counted as long as it keeps the socket open.
    #[serde(rename = "count")]
    Count {
        /// In which network.
        network: NetworkId,
    },
}

/// What the webserver answers.
#[derive(Serialize, Deserialize)]
enum Answer {
    #[serde(rename = "connected")]
    Connected,
    #[serde(rename = "refused")]
    Refused(String),
}

impl Door {
    /// Opens the door of the data directory `data`. One that a webserver before left behind is replaced.
    ///
    /// # Errors
    ///
    /// If the socket cannot be made.
    pub fn open(data: &Path, ways: Ways) -> Result<Self, DoorError> {
        let path = data.join(FILE);
        match socket::listen(&path) {
            Ok(listener) => Ok(Self { listener, path, ways, connections: Connections::default() }),
            Err(source) => Err(DoorError::Io { path, source }),
        }
    }

    /// The connections that are open.
    #[must_use]
    pub fn connections(&self) -> Connections {
        self.connections.clone()
    }

    /// Gives connections to the processes that ask. It never ends.
    pub async fn serve(self) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok((socket, _)) = self.listener.accept().await else {
                sleep(PAUSE).await;
                continue;
            };
            let (ways, room) = (self.ways.clone(), Arc::clone(&room));
            let connections = self.connections.clone();
            tokio::spawn(async move {
                // The process that asked is told what broke.
                let _ = answer(socket, &ways, &room, &connections).await;
            });
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // It may be gone with its directory.
        let _ = fs::remove_file(&self.path);
    }
}

impl Knock {
    /// Joins `input` and `output` with the node, by the webserver of the data directory `data`. The end of each
    /// direction is passed on. After the node has ended, an input that is silent for `linger` is not waited for.
    ///
    /// # Errors
    ///
    /// If there is no webserver, or no connection, or it breaks.
    pub async fn join(
        &self,
        data: &Path,
        input: impl AsyncRead,
        output: impl AsyncWrite,
        linger: Span,
    ) -> Result<(), DoorError> {
        let socket = ask(data, &Question::Connect(self.clone())).await?;
        carry(socket, input, output, Some(linger)).await.map_err(DoorError::Broken)
    }
}

/// Has the webserver of the data directory `data` count a connection to a node of this network as long as the socket is
/// open.
///
/// # Errors
///
/// If there is no webserver, or it has no room.
pub async fn count(data: &Path, network: NetworkId) -> Result<UnixStream, DoorError> {
    ask(data, &Question::Count { network }).await
}

async fn ask(data: &Path, question: &Question) -> Result<UnixStream, DoorError> {
    let mut socket = reach(data).await?;
    let question = serde_json::to_vec(question).expect("text and numbers are always JSON");
    let mut bytes = Vec::new();
    send(&mut socket, &question).await.map_err(DoorError::Broken)?;
    take(&mut socket, &mut bytes).await.map_err(DoorError::Broken)?;
    match serde_json::from_slice(&bytes) {
        Ok(Answer::Connected) => Ok(socket),
        Ok(Answer::Refused(why)) => Err(DoorError::Refused(why)),
        Err(error) => Err(DoorError::Broken(io::Error::other(error))),
    }
}

async fn reach(data: &Path) -> Result<UnixStream, DoorError> {
    let path = data.join(FILE);
    socket::connect(&path).await.map_err(|source| {
        let is_away =
            matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
        if is_away {
            DoorError::NoWebserver { data: data.to_owned() }
        } else {
            DoorError::Io { path, source }
        }
    })
}

async fn answer(
    mut socket: UnixStream,
    ways: &Ways,
    room: &Semaphore,
    connections: &Connections,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    timeout(QUESTION, take(&mut socket, &mut bytes)).await??;
    let refuse =
        |why: String| serde_json::to_vec(&Answer::Refused(why)).expect("text is always JSON");
    let connected = serde_json::to_vec(&Answer::Connected).expect("text is always JSON");
    let Ok(_permit) = room.try_acquire() else {
        let why = format!("{CONNECTIONS_MAX} connections to nodes are open; no more can be made");
        return send(&mut socket, &refuse(why)).await;
    };
    let knock: Knock = match serde_json::from_slice(&bytes) {
        Ok(Question::Connect(knock)) => knock,
        Ok(Question::Count { network }) => {
            let _counted = connections.begin(network);
            send(&mut socket, &connected).await?;
            return until_closed(&mut socket).await;
        }
        Err(error) => return send(&mut socket, &refuse(format!("no question: {error}"))).await,
    };
    let stream = match connect(&knock, ways).await {
        Ok(stream) => stream,
        Err(why) => return send(&mut socket, &refuse(why)).await,
    };
    let _counted = connections.begin(knock.network);
    send(&mut socket, &connected).await?;
    let (input, output) = tokio::io::split(stream);
    carry(socket, input, output, None).await
}

async fn connect(knock: &Knock, ways: &Ways) -> Result<NodeStream, String> {
    let to = SocketAddrV4::new(knock.ip, knock.port);
    let networks = ways.own(&knock.network);
    let networks =
        networks.ok_or("the webserver does not know the private network of this cluster")?;
    let connecting = networks.connect(&knock.network, to, PATIENCE);
    connecting.await.map_err(|error| error.to_string())
}

/// Waits for the other process to close the socket; what it sends is of no interest.
async fn until_closed(socket: &mut UnixStream) -> io::Result<()> {
    let mut bytes = [0; 64];
    while socket.read(&mut bytes).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, path::Path};

    use super::{Door, DoorError, Knock, count};
    use crate::{
        network::{Networks, Ways},
        units::Span,
        yagna::{AppKey, Vpn, bus::BusAddress},
    };

    const LINGER: Span = Span::secs(10);

    fn ways(data: &Path) -> Ways {
        let net = "http://127.0.0.1:9/net-api/v2/vpn".parse().expect("a literal");
        let vpn = Vpn::at(&net, AppKey::new("key").expect("a word")).expect("an address");
        let nowhere = BusAddress::Unix(data.join("no-bus"));
        Ways::new(vpn, Some(Networks::open(data, Some(nowhere)).expect("no file")))
    }

    fn knock() -> Knock {
        Knock { network: "0123".into(), ip: [10, 0, 0, 3].into(), port: 22 }
    }

    async fn tried(data: &Path) -> DoorError {
        let joined = knock().join(data, tokio::io::empty(), tokio::io::sink(), LINGER).await;
        joined.expect_err("there is no such network")
    }

    #[tokio::test]
    async fn without_a_webserver_the_sentence_says_so() {
        let data = tempfile::tempdir().expect("a directory");

        let error = tried(data.path()).await;
        assert!(matches!(error, DoorError::NoWebserver { .. }), "{error}");

        // What a webserver that was killed leaves behind is no webserver.
        let door = Door::open(data.path(), ways(data.path())).expect("a writable directory");
        fs::rename(data.path().join("door.sock"), data.path().join("kept")).expect("it is there");
        drop(door);
        fs::rename(data.path().join("kept"), data.path().join("door.sock")).expect("it is there");
        let error = tried(data.path()).await;
        assert!(matches!(error, DoorError::NoWebserver { .. }), "{error}");
        Door::open(data.path(), ways(data.path())).expect("it is replaced");
    }

    #[tokio::test]
    async fn a_deep_data_directory_has_a_door_for_its_user_only() {
        let root = tempfile::tempdir().expect("a directory");
        let data = root.path().join("d".repeat(90)).join("e".repeat(90));
        fs::create_dir_all(&data).expect("a writable directory");
        let door = Door::open(&data, ways(&data)).expect("however long the path is");
        let mode = fs::metadata(data.join("door.sock")).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let serving = tokio::spawn(door.serve());

        let error = tried(&data).await;

        assert!(matches!(&error, DoorError::Refused(_)), "{error}");
        assert!(error.to_string().contains("does not know the private network"), "{error}");
        serving.abort();
        assert!(serving.await.expect_err("it never ends").is_cancelled());
        assert!(!data.join("door.sock").exists());
    }

    #[tokio::test]
    async fn a_connection_of_the_daemon_is_counted_while_its_process_has_the_socket() {
        let data = tempfile::tempdir().expect("a directory");
        let door = Door::open(data.path(), ways(data.path())).expect("a writable directory");
        let mut seen = door.connections().changes();
        let serving = tokio::spawn(door.serve());

        let socket = count(data.path(), "0123".into()).await.expect("there is room");
        assert_eq!(*seen.borrow(), [("0123".into(), 1)].into());

        drop(socket);
        seen.wait_for(BTreeMap::is_empty).await.expect("it is counted no more");
        serving.abort();
    }
}
