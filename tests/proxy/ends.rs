//! How the ends of a connection over the bus reach both of its sides, whichever daemon carries it.

use tokio::{io::AsyncReadExt as _, time::timeout};

use crate::proxy::{PATIENCE, Proxy, Services, bytes, sha256};

/// The end of the input reaches the node, which answers after it.
pub(crate) async fn an_end_of_the_input_reaches_the_node(node: &impl Services) {
    let content = bytes(100_000, 3);

    let mut proxy = node.proxy("take-all");
    proxy.send(&content).await;
    proxy.shut();
    let answer = proxy.rest().await;

    assert_eq!(answer, format!("100000 {}", sha256(&content)).into_bytes());
    assert!(proxy.ended_well().await);
}

/// An end that the node sets is an end, and a reset a failure.
pub(crate) async fn an_end_of_the_node_is_told_from_a_reset(node: &impl Services) {
    let mut closed = node.proxy("close");
    assert_eq!(closed.rest().await, b"hello\n");
    closed.shut();
    assert!(closed.ended_well().await);

    // A reset may overtake what was sent before it, so the node is asked for it once the greeting is here.
    let mut reset = node.proxy("reset");
    assert_eq!(reset.next(6).await, b"hello\n");
    reset.send(b"x").await;
    assert_eq!(reset.rest().await, b"");
    assert!(!reset.ended_well().await);
}

impl Proxy {
    /// Ends its input.
    fn shut(&mut self) {
        self.input = None;
    }

    /// The next bytes of its output.
    async fn next(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let read = timeout(PATIENCE, self.output.read_exact(&mut bytes)).await;
        read.expect("in time").expect("as many as that");
        bytes
    }

    /// What comes until its output ends.
    async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = timeout(PATIENCE, self.output.read_to_end(&mut bytes)).await;
        read.expect("in time").expect("a pipe");
        bytes
    }

    async fn ended_well(&mut self) -> bool {
        timeout(PATIENCE, self.child.wait()).await.expect("in time").expect("it ran").success()
    }
}
