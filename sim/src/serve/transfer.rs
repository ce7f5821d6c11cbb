//! The command `transfer`: files go between a node and the requestor, whose files are services on its daemon's bus.

use sha3::{Digest, Sha3_256};
use thiserror::Error;
use url::Url;

use super::{
    daemon::Daemon,
    services::{Blob, CallError, Chunk, Payload, Services},
};
use crate::nodes::{NodeError, NodeHost};

/// The most that is sent in one message.
const CHUNK: u64 = 40 << 10;
/// A larger file is not taken.
const FILE_MAX: u64 = 256 << 20;

/// What a transfer may have at its ends.
pub(super) struct Ends<'a> {
    pub(super) host: &'a NodeHost,
    pub(super) activity: &'a str,
    /// The directories of the node that files are copied to and from.
    pub(super) volumes: &'a [String],
}

/// One end of a transfer.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// A file of the node.
    Node(String),
    /// The address of a service on the requestor's bus.
    Requestor(String),
}

/// Why a file is not copied.
#[derive(Debug, Error)]
pub(super) enum TransferError {
    #[error("Transfer error: invalid URL `{0}`")]
    NoUrl(String),
    #[error(
        "Transfer error: unsupported scheme: {0}; nothing but the requestor is reached by the simulated network"
    )]
    Scheme(String),
    #[error("Transfer error: no node has the name {0}")]
    Stranger(String),
    #[error("Transfer error: `{0}` is in no volume of the node")]
    NoVolume(String),
    #[error("Transfer error: a file of {0} bytes is too large for the simulated network")]
    TooLarge(u64),
    #[error("Transfer error: {wanted} bytes of a file were asked for, and {given} came")]
    Part { wanted: u64, given: usize },
    #[error("Transfer error: {0}")]
    Node(#[from] NodeError),
    #[error("Transfer error: {0}")]
    Call(#[from] CallError),
}

/// What a client says of a file of its own.
#[derive(serde::Deserialize)]
struct Metadata {
    #[serde(rename = "fileSize")]
    file_size: u64,
}

impl Ends<'_> {
    /// Copies a file.
    pub(super) async fn transfer(
        &self,
        daemon: &Daemon,
        services: &Services,
        from: &str,
        to: &str,
    ) -> Result<(), TransferError> {
        let identity = daemon.look().yagna.identity().as_str().to_owned();
        let (from, to) = (self.end(from, &identity)?, self.end(to, &identity)?);
        let bytes = match &from {
            End::Node(path) => self.host.read(self.activity, path).await?,
            End::Requestor(address) => download(daemon, services, address).await?,
        };
        match &to {
            End::Node(path) => self.host.write(self.activity, path, &bytes).await?,
            End::Requestor(address) => upload(daemon, services, address, &bytes).await?,
        }
        Ok(())
    }

    fn end(&self, text: &str, identity: &str) -> Result<End, TransferError> {
        let url = Url::parse(text).map_err(|_| TransferError::NoUrl(text.to_owned()))?;
        match url.scheme() {
            "container" => {
                // Reading the URL has resolved what leads upwards.
                let path = url.path();
                let is_inside = |volume: &String| {
                    let below = path.strip_prefix(volume.trim_end_matches('/'));
                    below.is_some_and(|below| below.len() > 1 && below.starts_with('/'))
                };
                if !self.volumes.iter().any(is_inside) {
                    return Err(TransferError::NoVolume(path.to_owned()));
                }
                Ok(End::Node(path.to_owned()))
            }
            "gftp" => {
                let node = url.host_str().unwrap_or_default();
                if !node.eq_ignore_ascii_case(identity) {
                    return Err(TransferError::Stranger(node.to_owned()));
                }
                Ok(End::Requestor(format!("/public/gftp{}", url.path())))
            }
            scheme => Err(TransferError::Scheme(scheme.to_owned())),
        }
    }
}

async fn download(
    daemon: &Daemon,
    services: &Services,
    address: &str,
) -> Result<Vec<u8>, TransferError> {
    let life = *daemon.life().borrow();
    let Metadata { file_size } = services.call(life, address, Payload::Metadata {}).await?;
    if file_size > FILE_MAX {
        return Err(TransferError::TooLarge(file_size));
    }
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < file_size {
        let offset = bytes.len() as u64;
        let size = CHUNK.min(file_size - offset);
        let Chunk { content: Blob(content), .. } =
            services.call(life, address, Payload::Read { offset, size }).await?;
        if content.is_empty() || content.len() as u64 > size {
            return Err(TransferError::Part { wanted: size, given: content.len() });
        }
        bytes.extend(content);
    }
    Ok(bytes)
}

async fn upload(
    daemon: &Daemon,
    services: &Services,
    address: &str,
    bytes: &[u8],
) -> Result<(), TransferError> {
    let life = *daemon.life().borrow();
    let mut offset = 0;
    for content in bytes.chunks(CHUNK as usize) {
        let chunk = Chunk { offset, content: Blob(content.to_vec()) };
        offset += content.len() as u64;
        let _: serde::de::IgnoredAny =
            services.call(life, address, Payload::Write { chunk }).await?;
    }
    let digest = Sha3_256::digest(bytes);
    let hash = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let _: serde::de::IgnoredAny = services.call(life, address, Payload::Written { hash }).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{End, Ends};
    use crate::nodes::NodeHost;

    const IDENTITY: &str = "0x00000000000000000000000000000000000000aa";

    /// The end that a text means, or why it is none.
    fn end(text: &str) -> Result<End, String> {
        let host = NodeHost::virtual_nodes();
        let volumes = ["/golem/work".to_owned()];
        let ends = Ends { host: &host, activity: "a", volumes: &volumes };
        ends.end(text, IDENTITY).map_err(|error| error.to_string())
    }

    #[test]
    fn ends_are_files_of_the_node_and_of_the_requestor() {
        let requestor = format!("gftp://{IDENTITY}/name");

        assert_eq!(end("container:/golem/work/a/b"), Ok(End::Node("/golem/work/a/b".to_owned())));
        assert_eq!(end(&requestor), Ok(End::Requestor("/public/gftp/name".to_owned())));
    }

    #[test]
    fn nothing_else_is_an_end() {
        for (text, why) in [
            ("nonsense", "invalid URL"),
            ("container:/etc/passwd", "`/etc/passwd` is in no volume"),
            ("container:/golem/workshop/a", "is in no volume"),
            ("container:/golem/work/../../etc/passwd", "`/etc/passwd` is in no volume"),
            ("gftp://0x01/name", "no node has the name 0x01"),
            ("https://example.org/a", "unsupported scheme: https"),
        ] {
            let refusal = end(text).expect_err("it is none");
            assert!(refusal.contains(why), "{text}: {refusal}");
        }
    }
}
