//! One session of a local node's ssh server: a command or a shell, with pipes or with a terminal.
//!
//! It ends when its command ends. What the command leaves running in the background may hold the pipes or
//! the terminal open for as long as it likes.

use std::{
    ffi::OsString,
    fs, io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::ffi::OsStringExt as _,
    },
    path::Path,
    process::Command,
    sync::Arc,
};

use bytes::Bytes;
use russh::{
    Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig,
    server::{Handle, Msg},
};
use rustix::{
    io::{ioctl_fionbio, read},
    process::{Pid, Signal, kill_process_group},
    pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::unix::pipe,
    sync::{mpsc, oneshot, watch},
};

use super::{
    paths::Paths,
    sshd::{Launcher, QUEUE_CHUNKS, Surroundings},
};

const SHELL: &str = "/bin/bash";
/// Extended data of this code is standard error (RFC 4254, 5.2).
const STANDARD_ERROR: u32 = 1;
/// How much is read at most after the command has ended: what it can have left in a pipe or a terminal.
const LAST_WORDS_BYTES_MAX: usize = 256 * 1024;

type Outgoing = Arc<ChannelWriteHalf<Msg>>;

/// Serves a channel from its first request to its close.
pub(super) async fn serve(channel: Channel<Msg>, client: Handle, launcher: Arc<Launcher>) {
    let (mut incoming, outgoing) = channel.split();
    let outgoing = Arc::new(outgoing);
    let (id, mut wishes) = (outgoing.id(), Wishes::default());
    while let Some(message) = incoming.wait().await {
        let Some(task) = wishes.note(message) else {
            // The client may be gone before it reads the answer.
            let _ = client.channel_success(id).await;
            continue;
        };
        match task.and_then(|task| wishes.launch(task, &launcher)) {
            Ok(child) => {
                let _ = client.channel_success(id).await;
                child.attend(&mut incoming, &outgoing).await;
            }
            Err(error) => {
                let _ = client.channel_failure(id).await;
                let words = format!("cannot start a session: {error}\n");
                let _ = outgoing.extended_data_bytes(STANDARD_ERROR, words.into_bytes()).await;
            }
        }
        break;
    }
    let _ = outgoing.close().await;
}

/// What the client asks for before anything runs.
#[derive(Debug, Default)]
struct Wishes {
    environment: Vec<(String, String)>,
    terminal: Option<(String, Winsize)>,
}

/// What a session runs.
#[derive(Debug)]
enum Task {
    Shell,
    Command(Vec<u8>),
}

impl Wishes {
    /// Notes a wish, or tells what to run now.
    fn note(&mut self, message: ChannelMsg) -> Option<io::Result<Task>> {
        if let ChannelMsg::Exec { command, .. } = message {
            return Some(Ok(Task::Command(command)));
        }
        if let ChannelMsg::RequestShell { .. } = message {
            return Some(Ok(Task::Shell));
        }
        if let ChannelMsg::RequestSubsystem { name, .. } = message {
            return Some(Err(io::Error::other(format!("there is no subsystem `{name}`"))));
        }
        if let ChannelMsg::Close = message {
            return Some(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        if let ChannelMsg::SetEnv { variable_name, variable_value, .. } = message {
            self.environment.push((variable_name, variable_value));
        } else if let ChannelMsg::RequestPty { term, col_width, row_height, .. } = message {
            self.terminal = Some((term, size(col_width, row_height)));
        }
        None
    }

    fn launch(&self, task: Task, launcher: &Launcher) -> io::Result<Child> {
        let Surroundings { ground, environment, .. } = &launcher.surroundings;
        let mut command = Command::new("/proc/self/exe");
        command.arg("node-exec");
        if self.terminal.is_some() {
            command.arg("--terminal");
        }
        match task {
            Task::Shell => command.args(["--", "-bash", SHELL]),
            Task::Command(line) => {
                let line = match ground.directory() {
                    None => line,
                    Some(root) => Paths::below(root).in_command(&line),
                };
                command.args(["--", "bash", SHELL, "-c"]).arg(OsString::from_vec(line))
            }
        };
        command.current_dir(ground.at("/root")).env_clear();
        command.envs(environment.iter().cloned());
        command.envs(settings(&ground.at("/etc/environment")));
        command.envs(self.environment.iter().cloned());
        match &self.terminal {
            Some((kind, size)) => {
                command.env("TERM", kind);
                Child::with_terminal(command, *size, launcher)
            }
            None => Child::with_pipes(command, launcher),
        }
    }
}

/// A command that runs.
#[derive(Debug)]
struct Child {
    pid: Pid,
    code: oneshot::Receiver<i32>,
    input: pipe::Sender,
    /// Where its words come from, and as which kind they are sent.
    outputs: Vec<(pipe::Receiver, Option<u32>)>,
    terminal: Option<OwnedFd>,
}

impl Child {
    fn with_pipes(mut command: Command, launcher: &Launcher) -> io::Result<Self> {
        let (stdin_end, stdin) = io::pipe()?;
        let (stdout, stdout_end) = io::pipe()?;
        let (stderr, stderr_end) = io::pipe()?;
        command.stdin(stdin_end).stdout(stdout_end).stderr(stderr_end);
        let offspring = launcher.reaper.spawn(&mut command)?;
        let outputs = vec![(reader(stdout)?, None), (reader(stderr)?, Some(STANDARD_ERROR))];
        let input = writer(stdin)?;
        Ok(Self { pid: offspring.pid, code: offspring.code, input, outputs, terminal: None })
    }

    fn with_terminal(mut command: Command, size: Winsize, launcher: &Launcher) -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let terminal = openpt(flags)?;
        unlockpt(&terminal)?;
        tcsetwinsize(&terminal, size)?;
        let inner = ioctl_tiocgptpeer(&terminal, flags)?;
        command.stdin(inner.try_clone()?).stdout(inner.try_clone()?).stderr(inner);
        let offspring = launcher.reaper.spawn(&mut command)?;
        let outputs = vec![(reader(terminal.try_clone()?)?, None)];
        let input = writer(terminal.try_clone()?)?;
        let terminal = Some(terminal);
        Ok(Self { pid: offspring.pid, code: offspring.code, input, outputs, terminal })
    }

    /// Stays with the command until it ends, or the client goes. A terminal hangs up then; what had pipes
    /// finds them closed.
    async fn attend(self, incoming: &mut ChannelReadHalf, outgoing: &Outgoing) {
        let Self { pid, code, input, outputs, terminal } = self;
        let (queue, queued) = mpsc::channel(QUEUE_CHUNKS);
        let feeding = tokio::spawn(feed(input, queued));
        let (end, is_over) = watch::channel(false);
        let speaking: Vec<_> = outputs
            .into_iter()
            .map(|(file, kind)| {
                tokio::spawn(carry(file, kind, Arc::clone(outgoing), is_over.clone()))
            })
            .collect();
        let voices: Vec<_> = speaking.iter().map(|task| task.abort_handle()).collect();
        let ending = async {
            let code = code.await.unwrap_or(1);
            end.send_replace(true);
            for task in speaking {
                let _ = task.await;
            }
            let status = u32::try_from(code).unwrap_or(1);
            let _ = outgoing.exit_status(status).await;
            let _ = outgoing.eof().await;
        };
        tokio::select! {
            () = ending => {}
            () = listen(incoming, queue, terminal.as_ref(), pid) => {}
        }
        feeding.abort();
        for voice in voices {
            voice.abort();
        }
    }
}

/// Takes what the client sends while the command runs.
async fn listen(
    incoming: &mut ChannelReadHalf,
    queue: mpsc::Sender<Bytes>,
    terminal: Option<&OwnedFd>,
    pid: Pid,
) {
    let mut queue = Some(queue);
    while let Some(message) = incoming.wait().await {
        if let ChannelMsg::Data { data } = message {
            if let Some(queue) = &queue {
                // A command that has closed its input does not miss the rest.
                let _ = queue.send(data).await;
            }
        } else if let ChannelMsg::Eof = message {
            queue = None;
        } else if let ChannelMsg::WindowChange { col_width, row_height, .. } = message {
            if let Some(terminal) = terminal {
                let _ = tcsetwinsize(terminal, size(col_width, row_height));
            }
        } else if let ChannelMsg::Signal { signal } = message {
            if let Some(signal) = number(&signal) {
                let _ = kill_process_group(pid, signal);
            }
        } else if let ChannelMsg::Close = message {
            return;
        }
    }
}

/// Writes to the command's input, and closes it at the end.
async fn feed(mut input: pipe::Sender, mut queued: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = queued.recv().await {
        if input.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// Sends what the command says, to the end or until it is over and has nothing more to say.
async fn carry(
    mut file: pipe::Receiver,
    kind: Option<u32>,
    outgoing: Outgoing,
    mut is_over: watch::Receiver<bool>,
) {
    let mut chunk = vec![0; 32 * 1024];
    let mut left = LAST_WORDS_BYTES_MAX;
    while left > 0 {
        let count = tokio::select! {
            biased;
            count = file.read(&mut chunk) => count,
            _ = is_over.wait_for(|is_over| *is_over) => Err(io::ErrorKind::WouldBlock.into()),
        };
        let count = match count {
            Ok(count) => count,
            // It is over: what is there is there.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                read(file.as_fd(), &mut chunk).unwrap_or_default()
            }
            // A terminal that nobody holds open any more.
            Err(_) => 0,
        };
        if count == 0 {
            return;
        }
        if *is_over.borrow() {
            left = left.saturating_sub(count);
        }
        let bytes = chunk[..count].to_vec();
        let sent = match kind {
            Some(kind) => outgoing.extended_data_bytes(kind, bytes).await,
            None => outgoing.data_bytes(bytes).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// The variables of `/etc/environment`, which the bootstrap writes for all sessions.
fn settings(file: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.trim_start_matches("export ").split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.trim_matches(['"', '\'']).to_owned()))
        .collect()
}

/// The reading side of a pipe or of a terminal.
fn reader(file: impl Into<OwnedFd>) -> io::Result<pipe::Receiver> {
    let file = file.into();
    ioctl_fionbio(&file, true)?;
    pipe::Receiver::from_owned_fd_unchecked(file)
}

/// The writing side of a pipe or of a terminal.
fn writer(file: impl Into<OwnedFd>) -> io::Result<pipe::Sender> {
    let file = file.into();
    ioctl_fionbio(&file, true)?;
    pipe::Sender::from_owned_fd_unchecked(file)
}

fn size(columns: u32, rows: u32) -> Winsize {
    let short = |count: u32| u16::try_from(count).unwrap_or(u16::MAX);
    Winsize { ws_row: short(rows), ws_col: short(columns), ws_xpixel: 0, ws_ypixel: 0 }
}

/// The signals that RFC 4254 names (6.10); others are not handed on.
fn number(signal: &Sig) -> Option<Signal> {
    match signal {
        Sig::ABRT => Some(Signal::ABORT),
        Sig::ALRM => Some(Signal::ALARM),
        Sig::FPE => Some(Signal::FPE),
        Sig::HUP => Some(Signal::HUP),
        Sig::ILL => Some(Signal::ILL),
        Sig::INT => Some(Signal::INT),
        Sig::KILL => Some(Signal::KILL),
        Sig::PIPE => Some(Signal::PIPE),
        Sig::QUIT => Some(Signal::QUIT),
        Sig::SEGV => Some(Signal::SEGV),
        Sig::TERM => Some(Signal::TERM),
        Sig::USR1 => Some(Signal::USR1),
        Sig::Custom(_) => None,
    }
}
