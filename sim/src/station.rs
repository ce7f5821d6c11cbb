//! A node of a lab of real daemons where the kernel gives no network device: its TCP is the one of this program.
//!
//! `tests/real_yagna/inside.py` starts it. Its standard input is a socket of packets, each of which is an Ethernet frame to
//! the node or from it. A connection to a port of the node goes on to a port of this machine.

use std::{
    collections::BTreeMap,
    io,
    net::Ipv4Addr,
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
    thread,
};

use clap::Args;
use ray_on_golem::{
    cli::error::CliError,
    network::End,
    tcp::{Knock, StackPlan, source},
};
use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
};
use tokio::{
    io::copy_bidirectional,
    net::TcpStream,
    runtime,
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// More than a frame has.
const FRAME_MAX: usize = 1 << 16;
/// Frames that wait to be taken.
const FRAMES_MAX: usize = 64;

/// The options of `station`.
#[derive(Debug, Args)]
pub(crate) struct StationArgs {
    /// The node's address in its network
    #[arg(long)]
    ip: Ipv4Addr,
    /// The length of the network's prefix
    #[arg(long, default_value_t = 24)]
    prefix: u8,
    /// A port of the node, and the port of this machine that it leads to, such as `22=40022`
    #[arg(long, value_name = "PORT=PORT", value_parser = ports)]
    port: Vec<(u16, u16)>,
}

struct Station {
    end: Arc<End>,
    socket: OwnedFd,
    frames: mpsc::Receiver<Vec<u8>>,
    ports: BTreeMap<u16, u16>,
    talks: JoinSet<()>,
}

/// Runs the node until its socket closes.
pub(crate) fn run(args: StationArgs) -> Result<(), CliError> {
    runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let socket = io::stdin().as_fd().try_clone_to_owned()?;
        let (frames, incoming) = mpsc::channel(FRAMES_MAX);
        let reader = socket.try_clone()?;
        thread::spawn(move || read_frames(&reader, &frames));
        let plan = StackPlan { address: args.ip, prefix: args.prefix, seed: rand::random() };
        let end = End::new(plan);
        end.lock().listen();
        let station = Station {
            end,
            socket,
            frames: incoming,
            ports: args.port.into_iter().collect(),
            talks: JoinSet::new(),
        };
        Ok(station.serve().await?)
    })
}

impl Station {
    async fn serve(mut self) -> io::Result<()> {
        loop {
            let deadline = self.work()?;
            tokio::select! {
                frame = self.frames.recv() => match frame {
                    Some(frame) => self.take(&frame),
                    None => return Ok(()),
                },
                () = self.end.woken() => {}
                Some(_) = self.talks.join_next(), if !self.talks.is_empty() => {}
                () = sleep_until(deadline) => {}
            }
        }
    }

    /// Takes a frame; the node that sent it is a member from then on.
    fn take(&self, frame: &[u8]) {
        let now = self.end.now();
        let mut stack = self.end.lock();
        if let Some(ip) = source(frame).filter(|ip| !ip.is_unspecified()) {
            stack.add(ip);
        }
        stack.take(now, frame);
    }

    /// Sends what there is, and begins what is wanted. Says when to do so again.
    fn work(&mut self) -> io::Result<Instant> {
        let now = self.end.now();
        let (frames, knocks, deadline) = {
            let mut stack = self.end.lock();
            let frames = stack.flush(now);
            let knocks: Vec<Knock> = std::iter::from_fn(|| stack.next_knock()).collect();
            (frames, knocks, stack.deadline())
        };
        for (_, frame) in frames {
            match send(&self.socket, &frame, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                // What does not fit is lost, as on any network.
                Ok(_) | Err(Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for knock in knocks {
            let port = self.ports.get(&knock.port()).copied();
            self.talks.spawn(talk(Arc::clone(&self.end), port, knock));
        }
        Ok(self.end.until(deadline))
    }
}

/// Hands on the frames that come, until the socket closes.
fn read_frames(socket: &OwnedFd, frames: &mpsc::Sender<Vec<u8>>) {
    let mut frame = vec![0; FRAME_MAX];
    while let Ok((length, _)) = recv(socket, &mut frame, RecvFlags::empty())
        && length > 0
        && frames.blocking_send(frame[..length].to_vec()).is_ok()
    {}
}

/// One connection, from the wish for it to its end.
async fn talk(end: Arc<End>, port: Option<u16>, knock: Knock) {
    let connected = match port {
        Some(port) => TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok(),
        None => None,
    };
    let Some(mut service) = connected else {
        return end.with(|stack| stack.refuse(knock));
    };
    let Some(id) = end.with(|stack| stack.admit(knock)) else { return };
    let mut stream = end.stream(id);
    if service.set_nodelay(true).is_ok() && stream.made().await.is_ok() {
        // An error of one side resets the other one, when both are dropped.
        let _ = copy_bidirectional(&mut stream, &mut service).await;
    }
}

fn ports(text: &str) -> Result<(u16, u16), String> {
    let read = |(from, to): (&str, &str)| Some((from.parse().ok()?, to.parse().ok()?));
    text.split_once('=')
        .and_then(read)
        .ok_or_else(|| "two ports are needed, as in `22=40022`".to_owned())
}
