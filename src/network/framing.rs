//! A connection to a node as it goes through a socket of this machine, with what a socket cannot tell.
//!
//! In both directions go chunks: a length in two bytes, the highest first, and as many bytes. A chunk of no bytes is
//! the end that one side set. Where a direction ends without one, the connection was reset, or the process at the
//! other end died.

use std::{
    io,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{
    io::{
        AsyncBufReadExt as _, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
        Interest,
    },
    net::{UnixStream, unix::OwnedReadHalf},
    sync::Notify,
    time::{sleep, timeout},
};

use crate::units::Span;

/// What a process has sent before its good end has so long for each chunk to be taken.
const FAREWELL: Duration = Duration::from_secs(60);
/// The most bytes in a chunk.
const CHUNK_MAX: usize = 32 << 10;
/// What is read of a socket at a time.
const READ_MAX: usize = 64 << 10;
/// The bytes of its length.
const HEADER: usize = 2;

/// Sends a chunk.
pub(super) async fn send(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    let mut chunk = vec![0; HEADER];
    chunk.extend_from_slice(bytes);
    send_chunk(writer, &mut chunk).await
}

/// Sends what is behind the place for its length, by one call to the system.
async fn send_chunk(writer: &mut (impl AsyncWrite + Unpin), chunk: &mut [u8]) -> io::Result<()> {
    let length = u16::try_from(chunk.len() - HEADER).map_err(io::Error::other)?;
    chunk[..HEADER].copy_from_slice(&length.to_be_bytes());
    writer.write_all(chunk).await
}

/// Takes a chunk; it is empty at the end that the other side set.
///
/// # Errors
///
/// If there is none: the other side is gone.
pub(super) async fn take(
    reader: &mut (impl AsyncRead + Unpin),
    bytes: &mut Vec<u8>,
) -> io::Result<()> {
    let gone = |error: io::Error| {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            io::Error::new(io::ErrorKind::ConnectionReset, "the connection was reset")
        } else {
            error
        }
    };
    let length = reader.read_u16().await.map_err(gone)?;
    bytes.resize(usize::from(length), 0);
    reader.read_exact(bytes).await.map_err(gone)?;
    Ok(())
}

/// Adds the chunks that are here already: to pass on many small ones together costs as much as one.
fn gather(reader: &mut BufReader<OwnedReadHalf>, bytes: &mut Vec<u8>) {
    // The end that the other side has set comes alone.
    while !bytes.is_empty()
        && let Some((header, rest)) = reader.buffer().split_first_chunk::<HEADER>()
        && let length = usize::from(u16::from_be_bytes(*header))
        && length > 0
        && let Some(chunk) = rest.get(..length)
    {
        bytes.extend_from_slice(chunk);
        reader.consume(HEADER + length);
    }
}

/// Moves bytes between `socket` and a connection until both directions have ended. When the other side has ended
/// its direction, and `input` has been silent for `linger`, it is done, too.
///
/// # Errors
///
/// If one of them breaks.
pub(super) async fn carry(
    socket: UnixStream,
    input: impl AsyncRead,
    output: impl AsyncWrite,
    linger: Option<Span>,
) -> io::Result<()> {
    let (from, mut to) = socket.into_split();
    let mut from = BufReader::with_capacity(READ_MAX, from);
    let has_ended = Notify::new();
    let is_all_said = AtomicBool::new(false);
    let up = async {
        let mut input = pin!(input);
        let mut chunk = vec![0; HEADER + CHUNK_MAX];
        let mut is_lingering = false;
        loop {
            let read = async {
                match linger.filter(|_| is_lingering) {
                    Some(linger) => {
                        let patience = Duration::from_micros(linger.as_micros());
                        timeout(patience, input.read(&mut chunk[HEADER..])).await.unwrap_or(Ok(0))
                    }
                    None => input.read(&mut chunk[HEADER..]).await,
                }
            };
            let length = tokio::select! {
                length = read => length?,
                () = has_ended.notified(), if !is_lingering => {
                    is_lingering = true;
                    continue;
                }
            };
            send_chunk(&mut to, &mut chunk[..HEADER + length]).await?;
            if length == 0 {
                is_all_said.store(true, Ordering::Relaxed);
                return Ok(());
            }
        }
    };
    let down = async {
        let mut output = pin!(output);
        let mut bytes = Vec::new();
        loop {
            take(&mut from, &mut bytes).await?;
            gather(&mut from, &mut bytes);
            let passed_on = async {
                if bytes.is_empty() {
                    return output.shutdown().await;
                }
                output.write_all(&bytes).await?;
                output.flush().await
            };
            tokio::select! {
                passed_on = passed_on => passed_on?,
                // What the webserver sent before it closed is for the program that reads our output, however late.
                died = died(from.get_ref(), &is_all_said), if linger.is_none() => return Err(died),
            }
            if bytes.is_empty() {
                has_ended.notify_one();
                return Ok::<(), io::Error>(());
            }
        }
    };
    tokio::try_join!(up, down)?;
    Ok(())
}

/// Waits for the end of the other process, while what it has sent waits for a node that takes nothing: reading the
/// socket would tell of it only behind that. A process that was told everything may have gone in good order.
async fn died(socket: &OwnedReadHalf, is_all_said: &AtomicBool) -> io::Error {
    // Besides what is out of band, which there is none of here, this is ready when the other side has closed.
    if let Err(error) = socket.ready(Interest::PRIORITY).await {
        return error;
    }
    if is_all_said.load(Ordering::Relaxed) {
        sleep(FAREWELL).await;
    }
    io::Error::new(io::ErrorKind::ConnectionReset, "the process that had the connection is gone")
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, duplex, split},
        net::UnixStream,
    };

    use super::{BufReader, READ_MAX, carry, gather, send, take};
    use crate::units::Span;

    #[tokio::test]
    async fn both_ends_are_passed_on_each_by_itself() {
        let (near, far) = UnixStream::pair().expect("a pair");
        let ((mut mine, a), (mut yours, b)) = (duplex(64), duplex(64));
        let carrying = async {
            let ((read, write), (read_too, write_too)) = (split(a), split(b));
            let carried =
                tokio::join!(carry(near, read, write, None), carry(far, read_too, write_too, None));
            (carried.0.is_ok(), carried.1.is_ok())
        };
        let asking = async {
            mine.write_all(&[7; 100_000]).await.expect("open");
            mine.shutdown().await.expect("open");
            let mut answer = Vec::new();
            mine.read_to_end(&mut answer).await.expect("an end");
            answer
        };
        let answering = async {
            let mut question = Vec::new();
            yours.read_to_end(&mut question).await.expect("an end");
            yours.write_all(&question).await.expect("still open");
            yours.shutdown().await.expect("open");
        };

        let (carried, answer, ()) = tokio::join!(carrying, asking, answering);

        assert_eq!(carried, (true, true));
        assert!(answer == [7; 100_000]);
    }

    #[tokio::test]
    async fn a_side_that_dies_is_an_error_and_no_end() {
        let (near, far) = UnixStream::pair().expect("a pair");
        let (_open, input) = duplex(64);
        let cut = async {
            let mut far = far;
            send(&mut far, b"half").await.expect("open");
        };

        let (carried, ()) = tokio::join!(carry(near, input, tokio::io::sink(), None), cut);

        assert_eq!(carried.expect_err("no end").kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_side_that_dies_is_noticed_while_what_it_sent_is_not_taken() {
        let (near, far) = UnixStream::pair().expect("a pair");
        let (_open, input) = duplex(64);
        let (output, _never_read) = duplex(64);
        let carrying = tokio::spawn(carry(near, input, output, None));
        let mut far = far;
        send(&mut far, &[7; 1_000]).await.expect("there is room");
        // More than is taken is on the way.
        send(&mut far, &[7; 1_000]).await.expect("there is room");

        drop(far);

        let carried = carrying.await.expect("no panic");
        assert_eq!(carried.expect_err("no end").kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn what_was_sent_before_a_good_end_is_still_passed_on() {
        let (near, mut far) = UnixStream::pair().expect("a pair");
        let (output, mut slow) = duplex(64);
        let carrying = tokio::spawn(carry(near, tokio::io::empty(), output, None));
        let mut end = vec![1];
        take(&mut far, &mut end).await.expect("the node has ended its direction");
        assert!(end.is_empty());
        send(&mut far, &[7; 1_000]).await.expect("there is room");
        send(&mut far, b"").await.expect("there is room");
        drop(far);

        let mut passed_on = Vec::new();
        slow.read_to_end(&mut passed_on).await.expect("an end");

        assert_eq!(passed_on, [7; 1_000]);
        carrying.await.expect("no panic").expect("a good end");
    }

    #[tokio::test]
    async fn chunks_that_are_here_are_gathered_and_an_end_stays_an_end() {
        let (near, mut far) = UnixStream::pair().expect("a pair");
        for text in ["a", "bc", "def", "", "after the end"] {
            send(&mut far, text.as_bytes()).await.expect("there is room");
        }
        let (from, _to) = near.into_split();
        let mut from = BufReader::with_capacity(READ_MAX, from);
        let mut bytes = Vec::new();

        take(&mut from, &mut bytes).await.expect("a chunk");
        gather(&mut from, &mut bytes);
        assert_eq!(bytes, b"abcdef");

        take(&mut from, &mut bytes).await.expect("a chunk");
        gather(&mut from, &mut bytes);
        assert_eq!(bytes, b"");
    }

    #[tokio::test]
    async fn an_input_that_stays_silent_after_the_end_is_left() {
        let (near, mut far) = UnixStream::pair().expect("a pair");
        let (_open, input) = duplex(64);
        let node = async {
            send(&mut far, b"").await.expect("open");
            let mut bytes = vec![1];
            take(&mut far, &mut bytes).await.expect("an end");
            assert!(bytes.is_empty());
        };

        let linger = Some(Span::millis(1));
        let (carried, ()) = tokio::join!(carry(near, input, tokio::io::sink(), linger), node);

        carried.expect("a good end");
    }
}
