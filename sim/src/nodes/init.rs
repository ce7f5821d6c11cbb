//! The first process of a node: it builds the node's world, serves its ssh, runs what the provider is told to
//! run, and takes all with it when it ends.

use std::{
    fs,
    io::{self, Write as _},
    net::SocketAddr,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use rustix::system::sethostname;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixListener, UnixStream, unix::pipe},
    signal::unix::{SignalKind, signal},
};

use super::{
    SSH_PORT, Written, directory, filesystem,
    netlink::Netlink,
    orders::{Birth, Ground, INTERFACE, NodeOrder, Reply},
    passing::{Letter, Post, give, read_message, write_message},
    paths::Paths,
    reaper::Reaper,
    sshd::{Sshd, Surroundings},
    sweep,
};

/// The most that is read of an output at once.
const CHUNK: usize = 8192;

/// Lives for as long as the holder does.
///
/// # Errors
///
/// If the kernel refuses a part of the node's world; the holder is told, too.
pub(super) async fn live() -> io::Result<()> {
    let post = Post::of_parent()?;
    let Some(letter) = post.receive().await? else { return Ok(()) };
    let birth: Birth = serde_json::from_slice(&letter.text)?;
    let ground = birth.ground.clone();
    let lived = match begin(&post, birth).await {
        Ok(node) => serve(&post, Arc::new(node)).await,
        Err(error) => post.send(error.to_string().as_bytes(), None).await,
    };
    // In a namespace the kernel ends all at once, and has nothing to remove.
    if let Some(root) = ground.directory() {
        sweep::end_all();
        directory::remove(root);
    }
    lived
}

async fn serve(post: &Post, node: Arc<Node>) -> io::Result<()> {
    let calls = UnixListener::bind(node.birth.ground.calls())?;
    post.send(b"ready", None).await?;
    let mut terminated = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            letter = post.receive() => match letter? {
                Some(letter) if letter.file.is_some() => {
                    let node = Arc::clone(&node);
                    tokio::spawn(async move { node.deliver(letter).await });
                }
                Some(_) | None => return Ok(()),
            },
            call = calls.accept() => {
                let (stream, _) = call?;
                let node = Arc::clone(&node);
                tokio::spawn(async move { node.answer_call(stream).await });
            }
            _ = terminated.recv() => return Ok(()),
        }
    }
}

/// Asks the first process of the node that this process is in to start its ssh server anew.
///
/// # Errors
///
/// If this is no node, or the server does not start.
pub(super) async fn call_ssh(calls: Option<&Path>) -> io::Result<()> {
    let own = Ground::Namespaces.calls();
    let mut stream = UnixStream::connect(calls.unwrap_or(&own)).await?;
    match read_message(&mut stream).await? {
        Reply::Done | Reply::Finished(_) | Reply::Wrote(_) => Ok(()),
        Reply::Failed(_, reason) => Err(io::Error::other(reason)),
    }
}

/// A node from within.
#[derive(Debug)]
struct Node {
    birth: Birth,
    reaper: Reaper,
    sshd: Sshd,
}

async fn begin(post: &Post, birth: Birth) -> io::Result<Node> {
    match birth.ground.directory() {
        None => enter(post, &birth).await?,
        Some(root) => {
            sweep::adopt()?;
            directory::make(&birth, root)?;
        }
    }
    let reaper = Reaper::start()?;
    let surroundings = Surroundings {
        ground: birth.ground.clone(),
        address: birth.spec.address,
        environment: environment(&birth),
    };
    let sshd = Sshd::new(reaper.clone(), surroundings)?;
    Ok(Node { birth, reaper, sshd })
}

/// Takes the namespaces that this process is in for the node's.
async fn enter(post: &Post, birth: &Birth) -> io::Result<()> {
    let namespace = fs::File::open("/proc/self/ns/net")?;
    post.send(b"net", Some(namespace.as_fd())).await?;
    if post.receive().await?.is_none() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let netlink = Netlink::new()?;
    netlink.switch_on("lo")?;
    netlink.add_address(INTERFACE, birth.spec.address, birth.spec.netmask)?;
    netlink.switch_on(INTERFACE)?;
    sethostname(birth.spec.hostname.as_bytes())?;
    filesystem::enter(birth)
}

/// The variables of every process of a node.
fn environment(birth: &Birth) -> Vec<(String, String)> {
    let home = birth.ground.at("/root").display().to_string();
    let fixed = [
        ("HOME", home.as_str()),
        ("LANG", "C.UTF-8"),
        ("LOGNAME", "root"),
        ("PATH", &birth.path()),
        ("SHELL", "/bin/bash"),
        ("USER", "root"),
    ];
    let fixed = fixed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let own = birth.ground.directory().map(|_| directory::variables(birth)).unwrap_or_default();
    fixed.chain(own).chain(birth.spec.env.clone()).collect()
}

impl Node {
    /// Does what came with a letter, and answers on its stream.
    async fn deliver(&self, letter: Letter) {
        let Ok(mut stream) = letter.into_stream() else { return };
        let reply = match read_message(&mut stream).await {
            Ok(NodeOrder::Connect(port)) => return self.connect(stream, port).await,
            Ok(NodeOrder::Run { program, args }) => self.run(&mut stream, &program, &args).await,
            Ok(NodeOrder::Write(path)) => {
                Reply::of(&format!("writing `{path}`"), self.write(&mut stream, &path).await)
            }
            Ok(NodeOrder::Read(path)) => return self.read(stream, &path).await,
            Ok(NodeOrder::StallSsh(is_stalled)) => {
                self.sshd.stall(is_stalled);
                Reply::Done
            }
            Ok(NodeOrder::FillDisk(is_full)) => {
                let filled = match self.birth.ground {
                    Ground::Namespaces => filesystem::fill(is_full, self.birth.spec.disk),
                    Ground::Directory { .. } => Err(io::Error::other(
                        "a node that is plain processes has no disk of its own",
                    )),
                };
                Reply::of("filling the disk", filled)
            }
            Err(error) => Reply::failed("reading an order", &error),
        };
        // The caller may have gone.
        let _ = write_message(&mut stream, &reply).await;
    }

    async fn answer_call(&self, mut stream: UnixStream) {
        let reply = Reply::of("starting the ssh server", self.sshd.start().await);
        let _ = write_message(&mut stream, &reply).await;
    }

    /// Connects to a port of this node, and gives the connection away: who has it sees how it ends.
    async fn connect(&self, mut stream: UnixStream, port: u16) {
        let port = if port == SSH_PORT { self.birth.ground.ssh_port() } else { port };
        let address = SocketAddr::from((self.birth.spec.address, port));
        match TcpStream::connect(address).await {
            Ok(connection) => {
                let _ = connection.set_nodelay(true);
                if write_message(&mut stream, &Reply::Done).await.is_ok() {
                    // A caller that has gone does not take it, and it is closed.
                    let _ = give(&stream, connection).await;
                }
            }
            Err(error) => {
                let _ = write_message(&mut stream, &Reply::failed("connecting", &error)).await;
            }
        }
    }

    async fn run(&self, stream: &mut UnixStream, program: &str, args: &[String]) -> Reply {
        match self.finish(stream, program, args).await {
            Ok(code) => Reply::Finished(code),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let stderr = format!("{program}: not found\n").into_bytes();
                let _ = write_message(stream, &Reply::Wrote(Written::Stderr(stderr))).await;
                Reply::Finished(127)
            }
            Err(error) => Reply::failed(&format!("running `{program}`"), &error),
        }
    }

    /// Takes the content of a file from a stream.
    async fn write(&self, stream: &mut UnixStream, path: &str) -> io::Result<()> {
        let path = self.birth.ground.at(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = fs::File::create(&path)?;
        let mut chunk = vec![0; CHUNK];
        loop {
            match stream.read(&mut chunk).await? {
                0 => return Ok(()),
                count => file.write_all(&chunk[..count])?,
            }
        }
    }

    /// Gives the content of a file to a stream.
    async fn read(&self, mut stream: UnixStream, path: &str) {
        // The caller may have gone.
        match fs::read(self.birth.ground.at(path)) {
            Ok(bytes) => {
                if write_message(&mut stream, &Reply::Done).await.is_ok() {
                    let _ = stream.write_all(&bytes).await;
                }
            }
            Err(error) => {
                let reply = Reply::failed(&format!("reading `{path}`"), &error);
                let _ = write_message(&mut stream, &reply).await;
            }
        }
    }

    /// Runs a program, tells what it writes as it comes, and returns its exit code.
    async fn finish(
        &self,
        stream: &mut UnixStream,
        program: &str,
        args: &[String],
    ) -> io::Result<i32> {
        let (stdout, stdout_end) = io::pipe()?;
        let (stderr, stderr_end) = io::pipe()?;
        let offspring = {
            let mut command = match self.birth.ground.directory() {
                None => {
                    let mut command = Command::new(program);
                    command.args(args).current_dir("/");
                    command
                }
                Some(root) => {
                    let paths = Paths::below(root);
                    let mut command = Command::new(paths.in_text(program));
                    command.args(args.iter().map(|text| paths.in_text(text))).current_dir(root);
                    command
                }
            };
            command.env_clear().envs(environment(&self.birth));
            command.stdin(Stdio::null()).stdout(stdout_end).stderr(stderr_end);
            // Our ends of the pipes for the child close with the command.
            self.reaper.spawn(&mut command)?
        };
        let stdout = pipe::Receiver::from_owned_fd(OwnedFd::from(stdout))?;
        let stderr = pipe::Receiver::from_owned_fd(OwnedFd::from(stderr))?;
        let (mut stdout, mut stderr) = (Output::new(stdout), Output::new(stderr));
        let mut ended = offspring.code;
        let code = loop {
            let written = tokio::select! {
                code = &mut ended => break code.unwrap_or(1),
                bytes = stdout.next() => Written::Stdout(bytes),
                bytes = stderr.next() => Written::Stderr(bytes),
            };
            // The program goes on, whoever reads what it writes.
            let _ = write_message(stream, &Reply::Wrote(written)).await;
        };
        // What it leaves running may keep the pipes open, and is not waited for.
        for written in [Written::Stdout(stdout.rest()), Written::Stderr(stderr.rest())] {
            let _ = write_message(stream, &Reply::Wrote(written)).await;
        }
        Ok(code)
    }
}

/// One output of a program that runs.
struct Output {
    pipe: pipe::Receiver,
    is_open: bool,
}

impl Output {
    const fn new(pipe: pipe::Receiver) -> Self {
        Self { pipe, is_open: true }
    }

    /// What is written next. Silence is no end: what is closed is waited for without end.
    async fn next(&mut self) -> Vec<u8> {
        while self.is_open && self.pipe.readable().await.is_ok() {
            let mut bytes = Vec::with_capacity(CHUNK);
            match self.pipe.try_read_buf(&mut bytes) {
                Ok(1..) => return bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => self.is_open = false,
            }
        }
        std::future::pending().await
    }

    /// What was written and not read, without waiting for more.
    fn rest(&self) -> Vec<u8> {
        let (mut bytes, mut chunk) = (Vec::new(), [0; CHUNK]);
        while let Ok(count @ 1..) = rustix::io::read(self.pipe.as_fd(), &mut chunk) {
            bytes.extend_from_slice(&chunk[..count]);
        }
        bytes
    }
}
