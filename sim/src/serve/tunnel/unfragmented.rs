//! A client's connection on which a message in fragments is an error: the real daemon ends there.
//!
//! The library of websockets joins fragments before it tells of a message, so that they are found among the bytes.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The longest head of a frame: two bytes, eight of length, four of mask.
const HEAD_MAX: usize = 14;

/// A connection that passes whole messages on, and ends at the first fragment.
#[derive(Debug)]
pub(super) struct Unfragmented<S> {
    stream: S,
    frames: Frames,
}

/// Where in the stream of frames it is.
#[derive(Debug, Default)]
struct Frames {
    /// What was read of the head of a frame.
    head: [u8; HEAD_MAX],
    head_length: usize,
    /// What is still to come of its payload.
    payload: u64,
}

impl<S> Unfragmented<S> {
    /// A connection that begins with the head of a frame.
    pub(super) fn new(stream: S) -> Self {
        Self { stream, frames: Frames::default() }
    }
}

impl Frames {
    /// Looks at what comes next; whether all messages are whole so far.
    fn are_whole(&mut self, mut bytes: &[u8]) -> bool {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.payload > 0 {
                let passed = self.payload.min(bytes.len() as u64);
                self.payload -= passed;
                bytes = &bytes[usize::try_from(passed).expect("no more than there are")..];
                continue;
            }
            self.head[self.head_length] = byte;
            self.head_length += 1;
            bytes = rest;
            if self.head_length == self.wanted() {
                self.payload = self.length();
                self.head_length = 0;
                let is_last = self.head[0] & 0x80 != 0;
                if !is_last {
                    return false;
                }
            }
        }
        true
    }

    /// How long the head is, as far as can be known.
    fn wanted(&self) -> usize {
        if self.head_length < 2 {
            return 2;
        }
        let length = match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.head[1] & 0x80 != 0 { 4 } else { 0 };
        2 + length + mask
    }

    /// How long the payload is, of a head that is whole.
    fn length(&self) -> u64 {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        match self.head[1] & 0x7f {
            126 => number(&self.head[2..4]),
            127 => number(&self.head[2..10]),
            short => u64::from(short),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unfragmented<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        match self.frames.are_whole(&buffer.filled()[before..]) {
            true => Poll::Ready(Ok(())),
            false => Poll::Ready(Err(io::Error::other("a message in fragments"))),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unfragmented<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::Frames;

    /// A frame of zeros, with a mask of zeros.
    fn frame(first: u8, length: usize) -> Vec<u8> {
        let mut frame = vec![first];
        match length {
            0..126 => frame.push(0x80 | u8::try_from(length).expect("short")),
            126..0x1_0000 => {
                frame.push(0x80 | 126);
                frame.extend(u16::try_from(length).expect("short").to_be_bytes());
            }
            _ => {
                frame.push(0x80 | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(vec![0; length]);
        frame
    }

    #[test]
    fn messages_are_whole_however_they_are_cut_and_a_fragment_is_not() {
        let whole: Vec<u8> = [0, 1, 125, 126, 65_535, 65_536, 3]
            .iter()
            .flat_map(|length| frame(0x82, *length))
            .collect();
        for cut in [1, 2, 3, 7, 1_000, whole.len()] {
            let mut frames = Frames::default();
            assert!(whole.chunks(cut).all(|bytes| frames.are_whole(bytes)), "by {cut}");

            let mut with_fragment = whole.clone();
            with_fragment.extend(frame(0x02, 5));
            let mut frames = Frames::default();
            assert!(!with_fragment.chunks(cut).all(|bytes| frames.are_whole(bytes)), "by {cut}");
        }
    }
}
