//! One line: its frame, its checksum, and its content by format.

use serde::{Deserialize, Serialize};

use super::{FORMAT, error::Fault};
use crate::{
    core::record::{Record, Snapshot},
    units::Timestamp,
};

const BEFORE_CHECKSUM: &[u8] = b"{\"crc32\":\"";
const AFTER_CHECKSUM: &[u8] = b"\",";
const BEFORE_FORMAT: &[u8] = b"\"format\":";
const CHECKSUM_LEN: usize = 8;

/// What a line tells.
#[derive(Debug)]
pub(super) enum Content {
    Records(Vec<Record>),
    Snapshot(Box<Snapshot>),
}

/// A line with its end.
pub(super) fn write(seq: u64, at: Timestamp, key: &str, content: &impl Serialize) -> Vec<u8> {
    let mut body = head(seq, at, key).into_bytes();
    serde_json::to_writer(&mut body, content)
        .expect("records are plain data, and the keys of their maps are texts or numbers");
    body.push(b'}');
    let checksum = checksum(&body);
    [BEFORE_CHECKSUM, checksum.as_bytes(), AFTER_CHECKSUM, &body, b"\n"].concat()
}

/// What the checksum is over, if the line is whole and the checksum is right.
pub(super) fn checked(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\n")?.strip_prefix(BEFORE_CHECKSUM)?;
    let (found, rest) = line.split_at_checked(CHECKSUM_LEN)?;
    let body = rest.strip_prefix(AFTER_CHECKSUM)?;
    (checksum(body).as_bytes() == found).then_some(body)
}

/// Whether a bad line can be the torn remains of a journal's very first batch.
///
/// A snapshot is not torn by a crash, since its file only gets its name when it is complete: dropping
/// a damaged one would forget everything.
pub(super) fn may_be_first(line: &[u8]) -> bool {
    // A crash may leave zeros where nothing was written yet.
    let mut rest = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let seq = format!("\"format\":{FORMAT},\"seq\":0,");
    for part in [BEFORE_CHECKSUM, &[b'?'; CHECKSUM_LEN], AFTER_CHECKSUM, seq.as_bytes()] {
        let len = part.len().min(rest.len());
        let (found, behind) = rest.split_at_checked(len).unwrap_or_default();
        let is_same = |(found, wanted): (&u8, &u8)| found == wanted || *wanted == b'?';
        if !found.iter().zip(part).all(is_same) {
            return false;
        }
        rest = behind;
    }
    true
}

/// Reads a line whose checksum is right, by the format that it names.
pub(super) fn read(line: &[u8], body: &[u8]) -> Result<(u64, Timestamp, Content), Fault> {
    match format(body) {
        Some(1..=FORMAT) => read_frame(line),
        Some(found) => Err(Fault::Format { found }),
        None => Err(Fault::Unreadable { why: "it names no format".to_owned() }),
    }
}

fn head(seq: u64, at: Timestamp, key: &str) -> String {
    let at = at.as_unix_micros();
    format!("\"format\":{FORMAT},\"seq\":{seq},\"at\":{at},\"{key}\":")
}

fn checksum(body: &[u8]) -> String {
    format!("{:0CHECKSUM_LEN$x}", crc32fast::hash(body))
}

fn format(body: &[u8]) -> Option<u32> {
    let rest = body.strip_prefix(BEFORE_FORMAT)?;
    let digits = rest.split(|byte| *byte == b',').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// What every line has, and one of what it can tell.
#[derive(Deserialize)]
struct Frame {
    seq: u64,
    at: Timestamp,
    records: Option<Vec<Record>>,
    snapshot: Option<Box<Snapshot>>,
}

fn read_frame(line: &[u8]) -> Result<(u64, Timestamp, Content), Fault> {
    let read: Frame = serde_json::from_slice(line)
        .map_err(|error| Fault::Unreadable { why: error.to_string() })?;
    match (read.records, read.snapshot) {
        (Some(records), None) => Ok((read.seq, read.at, Content::Records(records))),
        (None, Some(snapshot)) => Ok((read.seq, read.at, Content::Snapshot(snapshot))),
        (Some(_), Some(_)) | (None, None) => {
            let why = "it has not exactly one of `records` and `snapshot`".to_owned();
            Err(Fault::Unreadable { why })
        }
    }
}
