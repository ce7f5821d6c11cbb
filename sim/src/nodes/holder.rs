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
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{sync::watch, time::timeout};

use super::{
    netlink::Netlink,
    orders::{Birth, HolderOrder, INTERFACE, Reply},
    passing::{Letter, Post, read_message, write_message},
    reaper::Reaper,
};

const BRIDGE: &str = "golem0";
/// A node that is told to end has this long before it is killed from outside.
const ENDS_WITHIN: Duration = Duration::from_secs(2);

/// Holds a network until its parent is gone.
///
/// # Errors
///
/// If the kernel refuses the network, or the parent speaks another language.
pub(super) async fn hold() -> io::Result<()> {
    let post = Post::of_parent()?;
    let netlink = Netlink::new()?;
    netlink.switch_on("lo")?;
    netlink.add_bridge(BRIDGE)?;
    let holder = Arc::new(Holder { netlink, reaper: Reaper::start()?, members: Mutex::default() });
    while let Some(letter) = post.receive().await? {
        if letter.text == b"end" {
            return Ok(());
        }
        let holder = Arc::clone(&holder);
        tokio::spawn(async move { holder.deliver(letter).await });
    }
    Ok(())
}

#[derive(Debug)]
struct Holder {
    netlink: Netlink,
    reaper: Reaper,
    members: Mutex<Members>,
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

    /// Starts the first process of a node in fresh namespaces.
    fn conceive(&self, activity: &str) -> io::Result<Member> {
        let (post, theirs) = Post::pair()?;
        let mut command = Command::new("unshare");
        command
            .args(["--net", "--mount", "--pid", "--uts", "--ipc"])
            .args(["--fork", "--kill-child=KILL", "--"])
            .arg(std::env::current_exe()?)
            .arg("node-init")
            .stdin(theirs);
        let offspring = self.reaper.spawn(&mut command)?;
        let (end, is_over) = watch::channel(false);
        tokio::spawn(async move {
            let _ = offspring.code.await;
            end.send_replace(true);
        });
        let mut members = self.members();
        members.born += 1;
        let cable = format!("node{}", members.born);
        let member = Member { post: Arc::new(post), pid: offspring.pid, cable, is_over };
        members.running.insert(activity.to_owned(), member.clone());
        Ok(member)
    }

    /// Tells a node who it is, and connects it.
    async fn raise(&self, birth: &Birth, Member { post, cable, .. }: &Member) -> io::Result<()> {
        post.send(&serde_json::to_vec(birth)?, None).await?;
        let namespace = word(post, "net").await?.ok_or(io::ErrorKind::InvalidData)?;
        let address = birth.spec.address;
        self.netlink.add_cable(cable, BRIDGE, INTERFACE, address, namespace.as_fd())?;
        post.send(b"linked", None).await?;
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
        // The kernel clears a network away some time after its last process. Until then it would answer for the
        // address, which is free now. A cable that is gone already, or was never laid, is what we want.
        let _ = self.netlink.remove_cable(&cable);
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
