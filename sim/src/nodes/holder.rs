//! The holder of one private network: it owns the namespaces that the network's nodes are born in, and the
//! bridge between them.
//!
//! It is the first process of a process namespace, and all nodes are in namespaces below it. So when it ends, the
//! kernel kills every process of every node, and frees all that is theirs. It ends once nobody holds the other end of
//! its standard input: whatever kills the simulator, a holder outlives it by milliseconds.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    directory,
    netlink::Netlink,
    orders::{Birth, Ground, HolderOrder, INTERFACE, Reply},
    passing::{Letter, Post, read_message, write_message},
    reaper::Reaper,
    sweep,
};

const BRIDGE: &str = "golem0";
/// A node that is told to end has this long before it is killed from outside.
const ENDS_WITHIN: Duration = Duration::from_secs(2);

/// Between two looks for what a node has left behind, after what was seen has been killed.
const LOOKS_EVERY: Duration = Duration::from_millis(5);

/// Holds a network until its parent is gone.
///
/// # Errors
///
/// If the kernel refuses the network, or the parent speaks another language.
pub(super) async fn hold() -> io::Result<()> {
    let netlink = Netlink::new()?;
    netlink.switch_on("lo")?;
    netlink.add_bridge(BRIDGE)?;
    Arc::new(Holder::new(Common::Bridge(netlink))?).serve().await
}

/// Holds a network of plain processes until its parent is gone.
///
/// # Errors
///
/// If there is no room for its directory, or the parent speaks another language.
pub(super) async fn hold_processes() -> io::Result<()> {
    sweep::adopt()?;
    let all = directory::for_network()?;
    let holder = Arc::new(Holder::new(Common::Directory(all.clone()))?);
    let served = Arc::clone(&holder).serve().await;
    // Nodes end when no process holds the other end of their posts, and are given their time for it.
    let activities: Vec<String> = holder.members().running.keys().cloned().collect();
    for activity in activities {
        holder.stop(&activity).await;
    }
    sweep::end_all();
    directory::remove(&all);
    served
}

#[derive(Debug)]
struct Holder {
    common: Common,
    reaper: Reaper,
    members: Mutex<Members>,
}

/// What the nodes of a network have in common.
#[derive(Debug)]
enum Common {
    /// The bridge that their cables end at.
    Bridge(Netlink),
    /// The directory that theirs are in.
    Directory(PathBuf),
}

#[derive(Debug, Default)]
struct Members {
    born: u64,
    running: BTreeMap<String, Member>,
}

/// A node that runs, seen from outside.
#[derive(Clone, Debug)]
struct Member {
    /// Closing it ends the node.
    post: Arc<Post>,
    pid: Pid,
    /// The name of its cable at the bridge.
    cable: String,
    is_over: watch::Receiver<bool>,
}

impl Holder {
    fn new(common: Common) -> io::Result<Self> {
        Ok(Self { common, reaper: Reaper::start()?, members: Mutex::default() })
    }

    /// Delivers letters until the parent is gone, or says that it is over.
    async fn serve(self: Arc<Self>) -> io::Result<()> {
        let post = Post::of_parent()?;
        // Without namespaces, no process would end what a killed holder leaves.
        let mut terminated = signal(SignalKind::terminate())?;
        loop {
            let letter = tokio::select! {
                letter = post.receive() => letter?,
                _ = terminated.recv() => None,
            };
            let Some(letter) = letter.filter(|letter| letter.text != b"end") else { return Ok(()) };
            let holder = Arc::clone(&self);
            tokio::spawn(async move { holder.deliver(letter).await });
        }
    }

    /// Takes an order of our own, or hands it on to the node that it is for.
    async fn deliver(&self, letter: Letter) {
        if let Some(name) = letter.text.strip_prefix(b"node ") {
            let name = String::from_utf8_lossy(name);
            let member = self.members().running.get(name.as_ref()).cloned();
            if let (Some(member), Some(file)) = (member, &letter.file) {
                // A node that is ending closes the stream, which says it all.
                let _ = member.post.send(b"node", Some(file.as_fd())).await;
            }
            return;
        }
        let Ok(mut stream) = letter.into_stream() else { return };
        let reply = match read_message(&mut stream).await {
            Ok(HolderOrder::Start(birth)) => self.start(&birth).await,
            Ok(HolderOrder::Stop(activity)) => {
                self.stop(&activity).await;
                Reply::Done
            }
            Err(error) => Reply::failed("reading an order", &error),
        };
        // If the parent is gone, we are about to be.
        let _ = write_message(&mut stream, &reply).await;
    }

    async fn start(&self, birth: &Birth) -> Reply {
        let activity = birth.spec.activity.clone();
        let result = match self.conceive(&activity) {
            Ok(member) => self.raise(birth, &member).await,
            Err(error) => Err(error),
        };
        if result.is_err() {
            self.stop(&activity).await;
        }
        Reply::of("starting the node", result)
    }

    /// Starts the first process of a node, in fresh namespaces where there are any.
    fn conceive(&self, activity: &str) -> io::Result<Member> {
        let (post, theirs) = Post::pair()?;
        let program = std::env::current_exe()?;
        let mut command = match &self.common {
            Common::Bridge(_) => {
                let mut command = Command::new("unshare");
                command
                    .args(["--net", "--mount", "--pid", "--uts", "--ipc"])
                    .args(["--fork", "--kill-child=KILL", "--"])
                    .arg(program);
                command
            }
            Common::Directory(_) => Command::new(program),
        };
        command.arg("node-init").stdin(theirs);
        let mut members = self.members();
        let offspring = self.reaper.spawn(&mut command)?;
        let (end, is_over) = watch::channel(false);
        tokio::spawn(async move {
            let _ = offspring.code.await;
            end.send_replace(true);
        });
        members.born += 1;
        let cable = format!("node{}", members.born);
        let member = Member { post: Arc::new(post), pid: offspring.pid, cable, is_over };
        members.running.insert(activity.to_owned(), member.clone());
        Ok(member)
    }

    /// Tells a node who it is, and connects it.
    async fn raise(&self, birth: &Birth, Member { post, cable, .. }: &Member) -> io::Result<()> {
        match &self.common {
            Common::Bridge(netlink) => {
                post.send(&serde_json::to_vec(birth)?, None).await?;
                let namespace = word(post, "net").await?.ok_or(io::ErrorKind::InvalidData)?;
                let address = birth.spec.address;
                netlink.add_cable(cable, BRIDGE, INTERFACE, address, namespace.as_fd())?;
                post.send(b"linked", None).await?;
            }
            Common::Directory(all) => {
                let mut birth = birth.clone();
                if let Ground::Directory { root, .. } = &mut birth.ground {
                    *root = all.join(cable);
                }
                post.send(&serde_json::to_vec(&birth)?, None).await?;
            }
        }
        word(post, "ready").await.map(|_| ())
    }

    /// Ends a node, and waits until its last process is gone.
    async fn stop(&self, activity: &str) {
        let Some(member) = self.members().running.remove(activity) else { return };
        let Member { post, pid, cable, mut is_over } = member;
        // It ends by itself when nobody holds the other end, at once and with all that it started.
        let _ = post.send(b"end", None).await;
        drop(post);
        if timeout(ENDS_WITHIN, is_over.wait_for(|is_over| *is_over)).await.is_err() {
            // The signal is handed on to the node's first process, as its parent's death.
            let _ = kill_process(pid, Signal::KILL);
            // Nothing outlives that signal; an end that nobody is left to tell is one, too.
            let _ = is_over.wait_for(|is_over| *is_over).await;
        }
        match &self.common {
            // The kernel clears a network away some time after its last process. Until then it would answer for the
            // address, which is free now. A cable that is gone already, or was never laid, is what we want.
            Common::Bridge(netlink) => drop(netlink.remove_cable(&cable)),
            Common::Directory(all) => {
                self.end_strays().await;
                directory::remove(&all.join(cable));
            }
        }
    }

    /// Ends what a node has left that could not end it itself.
    async fn end_strays(&self) {
        while self.kill_strays() {
            sleep(LOOKS_EVERY).await;
        }
    }

    /// Kills what descends from no node that runs; tells whether there was anything.
    fn kill_strays(&self) -> bool {
        // While it is locked no node is born, whose first process would be a stray for a moment.
        let members = self.members();
        let first = members.running.values().map(|member| member.pid.as_raw_pid());
        sweep::end_strays(&first.collect())
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for a word of a node; any other word is what it fails with.
async fn word(post: &Post, wanted: &str) -> io::Result<Option<OwnedFd>> {
    match post.receive().await? {
        Some(letter) if letter.text == wanted.as_bytes() => Ok(letter.file),
        Some(letter) => Err(io::Error::other(String::from_utf8_lossy(&letter.text).into_owned())),
        None => Err(io::Error::other("its first process has died")),
    }
}
