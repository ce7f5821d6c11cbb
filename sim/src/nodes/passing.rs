//! Letters between our own processes: a few bytes, and an open file that changes hands with them.
//!
//! They go through a nameless pair of sockets, so there is no path that others could open or that somebody
//! would have to remove, and whoever holds one end learns of the other's death.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    cmsg_space,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Interest},
    net::{TcpStream, UnixStream},
};

/// A letter is at most this long.
const LETTER_BYTES_MAX: usize = 64 * 1024;
/// A message on a stream is at most this long.
const MESSAGE_BYTES_MAX: u32 = 1 << 30;
/// What a connection is given with: an open file needs a byte to go with.
const GIVEN: &[u8] = b"c";

/// What arrives in one piece.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) text: Vec<u8>,
    pub(super) file: Option<OwnedFd>,
}

/// One end of the pair.
#[derive(Debug)]
pub(super) struct Post {
    /// It keeps letters apart, as a stream does not, and tells of its end, as datagrams do not; only its type is
    /// that of a stream.
    socket: UnixStream,
}

impl Post {
    /// Our end, and the end for a child's standard input.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self::new(ours)?, theirs))
    }

    /// The end that this process was given as its standard input.
    pub(super) fn of_parent() -> io::Result<Self> {
        Self::new(io::stdin().as_fd().try_clone_to_owned()?)
    }

    fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = std::os::unix::net::UnixStream::from(socket);
        socket.set_nonblocking(true)?;
        Ok(Self { socket: UnixStream::from_std(socket)? })
    }

    pub(super) async fn send(&self, text: &[u8], file: Option<BorrowedFd<'_>>) -> io::Result<()> {
        send(&self.socket, text, file).await
    }

    /// The next letter; nothing once the other end is closed.
    pub(super) async fn receive(&self) -> io::Result<Option<Letter>> {
        receive(&self.socket).await
    }

    /// Sends one end of a fresh stream under an address, and keeps the other.
    pub(super) async fn open(&self, address: &str) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        let theirs = OwnedFd::from(theirs.into_std()?);
        self.send(address.as_bytes(), Some(theirs.as_fd())).await?;
        Ok(ours)
    }
}

impl Letter {
    /// The stream that came with it.
    pub(super) fn into_stream(self) -> io::Result<UnixStream> {
        let file = self.file.ok_or(io::ErrorKind::InvalidData)?;
        let stream = std::os::unix::net::UnixStream::from(file);
        stream.set_nonblocking(true)?;
        UnixStream::from_std(stream)
    }
}

/// Gives a connection to the other end of a stream, which has read all that was written before.
pub(super) async fn give(stream: &UnixStream, connection: TcpStream) -> io::Result<()> {
    send(stream, GIVEN, Some(connection.as_fd())).await
}

/// Takes a connection that the other end of a stream gives.
pub(super) async fn take(stream: &UnixStream) -> io::Result<TcpStream> {
    let letter = receive(stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let file = letter.file.ok_or(io::ErrorKind::InvalidData)?;
    let connection = std::net::TcpStream::from(file);
    connection.set_nonblocking(true)?;
    TcpStream::from_std(connection)
}

async fn send(socket: &UnixStream, text: &[u8], file: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let write = || {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let files: Vec<BorrowedFd<'_>> = file.into_iter().collect();
        if !files.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(&files));
        }
        sendmsg(socket, &[IoSlice::new(text)], &mut ancillary, SendFlags::NOSIGNAL)
            .map_err(io::Error::from)
    };
    socket.async_io(Interest::WRITABLE, write).await.map(|_| ())
}

async fn receive(socket: &UnixStream) -> io::Result<Option<Letter>> {
    let read = || {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut text = vec![0; LETTER_BYTES_MAX];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(socket, &mut [IoSliceMut::new(&mut text)], &mut ancillary, flags)?;
        text.truncate(received.bytes);
        let file = ancillary.drain().find_map(|message| {
            // Nobody sends anything else.
            let RecvAncillaryMessage::ScmRights(mut files) = message else { return None };
            files.next()
        });
        Ok(Letter { text, file })
    };
    let letter = socket.async_io(Interest::READABLE, read).await?;
    Ok((!letter.text.is_empty()).then_some(letter))
}

/// Writes a message with its length in front, so that its reader takes no byte of what follows it.
pub(super) async fn write_message<T: Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    stream.write_all(&[&length.to_be_bytes(), text.as_slice()].concat()).await
}

pub(super) async fn read_message<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<T> {
    let length = stream.read_u32().await?;
    if length > MESSAGE_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut text).await?;
    Ok(serde_json::from_slice(&text)?)
}
