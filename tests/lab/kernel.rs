//! The kernel's TCP over a daemon's bus: what the product's own TCP is compared with.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use super::network::Node;
use super::{Lab, script};

/// The kernel's TCP in the place of the product's, in the network of one node. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct KernelTcp {
    process: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// What it sends by; cubic where the kernel has it.
    pub(crate) congestion_control: String,
}

impl Lab {
    /// Reaches a node that was started by [`Lab::node_in`] by the kernel's TCP.
    ///
    /// # Panics
    ///
    /// Panics when no network device can be made.
    pub(crate) fn kernel_tcp(&self, node: &Node) -> KernelTcp {
        let ip = node.ip.to_string();
        let mut process = script("kernel", self.state())
            .args(["--network", &node.network, "--ip", &ip, "--provider", &node.node_id])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is installed");
        let orders = process.stdin.take();
        let mut answers = BufReader::new(process.stdout.take().expect("piped"));
        let congestion_control = line(&mut answers);
        KernelTcp { process, orders, answers, congestion_control }
    }
}

impl KernelTcp {
    /// How long so many bytes take to the node.
    pub(crate) fn up(&mut self, length: usize) -> Duration {
        self.order(&format!("up {length}"))
    }

    /// How long so many bytes take from the node.
    pub(crate) fn down(&mut self, length: usize) -> Duration {
        self.order(&format!("down {length}"))
    }

    /// How long a byte takes there and back.
    pub(crate) fn echo(&mut self) -> Duration {
        self.order("echo")
    }

    fn order(&mut self, order: &str) -> Duration {
        let orders = self.orders.as_mut().expect("it is not dropped");
        writeln!(orders, "{order}").expect("it reads");
        let seconds = line(&mut self.answers).parse().expect("seconds");
        Duration::from_secs_f64(seconds)
    }
}

impl Drop for KernelTcp {
    fn drop(&mut self) {
        // It ends with the pipe by which it is told what to do.
        drop(self.orders.take());
        let ended = self.process.wait();
        assert!(
            std::thread::panicking() || ended.is_ok_and(|status| status.success()),
            "the kernel's TCP ends"
        );
    }
}

fn line(answers: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    answers.read_line(&mut line).expect("the script speaks UTF-8");
    assert!(!line.is_empty(), "it goes on; if not, it said why above");
    line.trim_end().to_owned()
}
