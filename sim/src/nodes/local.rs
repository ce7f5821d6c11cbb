//! Local nodes, seen from the process that serves the simulated network.
//!
//! Each private network has a holder (`holder.rs`), and each node a first process (`init.rs`). Both are this program
//! again, inside namespaces that `unshare` of util-linux makes, or, where the host forbids these, as they are. All talk
//! goes through nameless sockets, and both end with us.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    process::{Child, Command},
    sync::Mutex,
};

use super::{
    NodeError, NodeSpec, Wire, Written, forbidden,
    loopback::{self, Loopback},
    orders::{Birth, Ground, HolderOrder, NodeOrder, Reply},
    passing::{Post, read_message, take, write_message},
};

/// What local nodes are made with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalSetup {
    /// The program `golem-sim`; this program itself by default.
    pub program: Option<PathBuf>,
    /// A virtual environment of Python that comes first in the node's search path. A node may write to it, on
    /// its own disk.
    pub venv: Option<PathBuf>,
    /// Paths of the host that nodes shall see, read-only, though they are below `/home`, `/root`, or `/tmp`,
    /// which nodes have for themselves.
    pub visible: Vec<PathBuf>,
}

/// The local nodes of a host.
#[derive(Debug)]
pub(super) struct LocalNodes {
    program: PathBuf,
    way: Way,
    venv: Option<PathBuf>,
    visible: Vec<PathBuf>,
    state: Mutex<State>,
}

/// How nodes are kept apart.
#[derive(Debug)]
enum Way {
    /// By namespaces, with these arguments of `unshare`.
    Namespaces(&'static [&'static str]),
    /// By their addresses and directories only.
    Processes(Loopback),
}

#[derive(Debug, Default)]
struct State {
    holders: BTreeMap<String, Holder>,
    /// The network and address of each activity that has a node.
    places: BTreeMap<String, (String, Ipv4Addr)>,
}

#[derive(Debug)]
struct Holder {
    /// Closing it ends the holder.
    post: Arc<Post>,
    process: Child,
    activities: BTreeSet<String>,
}

impl LocalNodes {
    /// Nodes in namespaces.
    pub(super) async fn in_namespaces(setup: LocalSetup) -> Result<Self, NodeError> {
        Self::new(setup, Way::Namespaces(forbidden::arguments().await?))
    }

    /// Nodes that are plain processes.
    pub(super) fn of_processes(setup: LocalSetup) -> Result<Self, NodeError> {
        let loopback = Loopback::take().map_err(|error| cannot("give nodes addresses", &error))?;
        Self::new(setup, Way::Processes(loopback))
    }

    fn new(setup: LocalSetup, way: Way) -> Result<Self, NodeError> {
        let program = match setup.program {
            Some(program) => program,
            None => env::current_exe().map_err(|error| cannot("find this program", &error))?,
        };
        let venv = setup.venv.map(|venv| {
            fs::canonicalize(&venv).map_err(|error| {
                cannot(&format!("use the virtual environment {}", venv.display()), &error)
            })
        });
        let venv = venv.transpose()?;
        let mut visible = setup.visible;
        visible.extend(venv.as_deref().map(interpreter).unwrap_or_default());
        Ok(Self { program, way, venv, visible, state: Mutex::default() })
    }

    /// The address and prefix that the next private network must have, if nodes cannot have any address.
    pub(super) fn network(&self) -> Option<(Ipv4Addr, u8)> {
        match &self.way {
            Way::Namespaces(_) => None,
            Way::Processes(loopback) => Some((loopback.network(), loopback::PREFIX)),
        }
    }

    pub(super) async fn start(&self, spec: NodeSpec) -> Result<(), NodeError> {
        let activity = spec.activity.clone();
        let place = (spec.network.clone(), spec.address);
        let ground = self.ground(spec.address)?;
        let post = {
            let mut state = self.state.lock().await;
            if state.places.contains_key(&activity) {
                return Err(NodeError::Taken(activity));
            }
            if state.places.values().any(|taken| *taken == place) {
                return Err(NodeError::Taken(spec.address.to_string()));
            }
            if !state.holders.contains_key(&spec.network) {
                let holder = self.hold().map_err(|error| broken(&activity, &error))?;
                state.holders.insert(spec.network.clone(), holder);
            }
            let holder = state.holders.get_mut(&spec.network).expect("it was inserted above");
            holder.activities.insert(activity.clone());
            let post = Arc::clone(&holder.post);
            state.places.insert(activity.clone(), place);
            post
        };
        let (venv, visible) = (self.venv.clone(), self.visible.clone());
        let birth = Birth { spec, venv, visible, ground };
        let order = HolderOrder::Start(Box::new(birth));
        let result = ask_holder(&post, &order).await;
        drop(post);
        if let Err(error) = result {
            self.stop(&activity).await;
            return Err(broken(&activity, &error));
        }
        Ok(())
    }

    /// Runs a program, and tells what it writes as it comes.
    pub(super) async fn run(
        &self,
        activity: &str,
        program: &str,
        args: &[String],
        mut tell: impl FnMut(Written) + Send,
    ) -> Result<i32, NodeError> {
        let order = NodeOrder::Run { program: program.to_owned(), args: args.to_vec() };
        let mut stream = self.send(activity, &order).await?;
        loop {
            let reply = read_message(&mut stream).await;
            match reply.map_err(|error| broken(activity, &error))? {
                Reply::Wrote(written) => tell(written),
                Reply::Finished(code) => return Ok(code),
                Reply::Done => return Ok(0),
                Reply::Failed(_, reason) => return Err(failed(activity, reason)),
            }
        }
    }

    pub(super) async fn write(
        &self,
        activity: &str,
        path: &str,
        bytes: &[u8],
    ) -> Result<(), NodeError> {
        let mut stream = self.send(activity, &NodeOrder::Write(path.to_owned())).await?;
        let written = async {
            stream.write_all(bytes).await?;
            stream.shutdown().await?;
            read_message(&mut stream).await
        };
        accepted(activity, written.await)
    }

    pub(super) async fn read(&self, activity: &str, path: &str) -> Result<Vec<u8>, NodeError> {
        let mut stream = self.send(activity, &NodeOrder::Read(path.to_owned())).await?;
        accepted(activity, read_message(&mut stream).await)?;
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes).await;
        read.map(|_| bytes).map_err(|error| broken(activity, &error))
    }

    pub(super) async fn connect(
        &self,
        network: &str,
        address: Ipv4Addr,
        port: u16,
    ) -> io::Result<Box<dyn Wire>> {
        let found = {
            let state = self.state.lock().await;
            let mut places = state.places.iter();
            places
                .find(|(_, place)| (place.0.as_str(), place.1) == (network, address))
                .and_then(|(activity, _)| Some((activity.clone(), state.post(activity)?)))
        };
        let (activity, post) = found.ok_or(io::ErrorKind::HostUnreachable)?;
        let mut stream = open_node(&post, &activity).await?;
        write_message(&mut stream, &NodeOrder::Connect(port)).await?;
        match read_message(&mut stream).await? {
            Reply::Done | Reply::Finished(_) | Reply::Wrote(_) => {
                Ok(Box::new(take(&stream).await?))
            }
            Reply::Failed(Some(number), _) => Err(io::Error::from_raw_os_error(number)),
            Reply::Failed(None, reason) => Err(io::Error::other(reason)),
        }
    }

    pub(super) async fn has(&self, network: &str, address: Ipv4Addr) -> bool {
        let state = self.state.lock().await;
        state.places.values().any(|place| (place.0.as_str(), place.1) == (network, address))
    }

    pub(super) async fn stop(&self, activity: &str) {
        let mut state = self.state.lock().await;
        let Some((network, _)) = state.places.remove(activity) else { return };
        let Some(holder) = state.holders.get_mut(&network) else { return };
        holder.activities.remove(activity);
        if holder.activities.is_empty() {
            let last = state.holders.remove(&network);
            drop(state);
            if let Some(holder) = last {
                holder.end().await;
            }
            return;
        }
        let post = Arc::clone(&holder.post);
        drop(state);
        // A holder that does not answer has died, and its nodes with it.
        let _ = ask_holder(&post, &HolderOrder::Stop(activity.to_owned())).await;
    }

    pub(super) async fn stall_ssh(
        &self,
        activity: &str,
        is_stalled: bool,
    ) -> Result<(), NodeError> {
        self.done(activity, &NodeOrder::StallSsh(is_stalled)).await
    }

    pub(super) async fn fill_disk(&self, activity: &str, is_full: bool) -> Result<(), NodeError> {
        self.done(activity, &NodeOrder::FillDisk(is_full)).await
    }

    pub(super) async fn end(&self) {
        let state = std::mem::take(&mut *self.state.lock().await);
        for holder in state.holders.into_values() {
            holder.end().await;
        }
    }

    /// What a node of this address stands on.
    fn ground(&self, address: Ipv4Addr) -> Result<Ground, NodeError> {
        match &self.way {
            Way::Namespaces(_) => Ok(Ground::Namespaces),
            // The holder says where.
            Way::Processes(loopback) if loopback::may_have(address) => {
                Ok(Ground::Directory { root: PathBuf::new(), ssh_port: loopback.ssh_port() })
            }
            Way::Processes(_) => Err(NodeError::Forbidden(format!(
                "nodes that are plain processes have loopback addresses, and {address} is none: \
                 `POST /sim/networks` tells where a private network may be"
            ))),
        }
    }

    /// Starts the holder of a network.
    fn hold(&self) -> io::Result<Holder> {
        let (post, theirs) = Post::pair()?;
        let mut command = match &self.way {
            Way::Namespaces(arguments) => {
                let mut command = Command::new("unshare");
                command
                    .args(*arguments)
                    .args(["--net", "--pid", "--fork", "--kill-child=KILL", "--"])
                    .arg(&self.program)
                    .arg("node-holder")
                    .kill_on_drop(true);
                command
            }
            Way::Processes(_) => {
                let mut command = Command::new(&self.program);
                // A user who kills the simulator's group leaves it the time to end its nodes.
                command.args(["node-holder", "--processes"]).process_group(0);
                command
            }
        };
        let process = command.stdin(Stdio::from(theirs)).spawn()?;
        Ok(Holder { post: Arc::new(post), process, activities: BTreeSet::new() })
    }

    /// Asks a node for something that has no answer.
    async fn done(&self, activity: &str, order: &NodeOrder) -> Result<(), NodeError> {
        let mut stream = self.send(activity, order).await?;
        accepted(activity, read_message(&mut stream).await)
    }

    /// Sends a node an order; the answer comes on the stream.
    async fn send(&self, activity: &str, order: &NodeOrder) -> Result<UnixStream, NodeError> {
        let post = self.state.lock().await.post(activity);
        let post = post.ok_or_else(|| NodeError::Unknown(activity.to_owned()))?;
        let sent = async {
            let mut stream = open_node(&post, activity).await?;
            write_message(&mut stream, order).await?;
            Ok(stream)
        };
        sent.await.map_err(|error| broken(activity, &error))
    }
}

impl State {
    fn post(&self, activity: &str) -> Option<Arc<Post>> {
        let (network, _) = self.places.get(activity)?;
        Some(Arc::clone(&self.holders.get(network)?.post))
    }
}

impl Holder {
    /// Ends all nodes of the network, and waits until their last process is gone.
    async fn end(mut self) {
        // Others may be about to ask something, so the end is said, not only shown.
        let _ = self.post.send(b"end", None).await;
        // It is our child, so that waiting cannot fail.
        let _ = self.process.wait().await;
    }
}

async fn ask_holder(post: &Post, order: &HolderOrder) -> io::Result<()> {
    let mut stream = post.open("holder").await?;
    write_message(&mut stream, order).await?;
    match read_message(&mut stream).await? {
        Reply::Done | Reply::Finished(_) | Reply::Wrote(_) => Ok(()),
        Reply::Failed(_, reason) => Err(io::Error::other(reason)),
    }
}

/// Whether a node has done what it was asked for.
fn accepted(activity: &str, reply: io::Result<Reply>) -> Result<(), NodeError> {
    match reply.map_err(|error| broken(activity, &error))? {
        Reply::Done | Reply::Finished(_) | Reply::Wrote(_) => Ok(()),
        Reply::Failed(_, reason) => Err(failed(activity, reason)),
    }
}

fn failed(activity: &str, reason: String) -> NodeError {
    NodeError::Broken { activity: activity.to_owned(), reason }
}

async fn open_node(post: &Post, activity: &str) -> io::Result<UnixStream> {
    post.open(&format!("node {activity}")).await
}

/// Where the interpreter of a virtual environment is installed, which may be anywhere: what it was made from, and
/// where that really is.
fn interpreter(venv: &Path) -> Vec<PathBuf> {
    let settings = fs::read_to_string(venv.join("pyvenv.cfg")).unwrap_or_default();
    let named = settings.lines().filter_map(|line| line.split_once('='));
    let home = named.filter(|(name, _)| name.trim() == "home").map(|(_, path)| path.trim().into());
    let programs = fs::canonicalize(venv.join("bin/python")).ok();
    let programs = programs.and_then(|program| Some(program.parent()?.to_owned()));
    let parents = home.chain(programs).filter_map(|bin: PathBuf| Some(bin.parent()?.to_owned()));
    parents.filter(|path| path != venv).collect()
}

fn cannot(what: &str, error: &io::Error) -> NodeError {
    NodeError::Forbidden(format!("cannot {what}: {error}"))
}

fn broken(activity: &str, error: &io::Error) -> NodeError {
    let reason = if error.kind() == io::ErrorKind::UnexpectedEof {
        "it ended".to_owned()
    } else {
        error.to_string()
    };
    NodeError::Broken { activity: activity.to_owned(), reason }
}
