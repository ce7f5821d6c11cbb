//! What an earlier version kept of closed clusters: `DATA/bills.ndjson`, a line for each of the last ones, as `/status`
//! showed it. It is taken over once, and removed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rusqlite::{Transaction, params};
use serde_json::Value;

use super::{
    Notice, Store, StoreError,
    schema::{add_to_total, count_in_total, read},
};
use crate::{
    sqlite::instant,
    units::{Glm, Timestamp},
};

pub(super) fn file(data: &Path) -> PathBuf {
    data.join("bills.ndjson")
}

/// Takes over what is there; lines that are no bills are left out.
pub(super) fn take_over(
    store: &mut Store,
    data: &Path,
    now: Timestamp,
) -> Result<Option<Notice>, StoreError> {
    let path = file(data);
    let failed = |source| StoreError::Io { path: path.clone(), source };
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(failed)?,
    };
    let lines = text.split(|byte| *byte == b'\n');
    let pictures: Vec<Value> = lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let pictures: Vec<&Value> = pictures.iter().filter(|it| it["number"].is_u64()).collect();
    let (is_simulated, identity) = (store.owner.is_simulated, store.owner.identity.clone());
    store.change(|transaction| {
        pictures.iter().try_for_each(|picture| {
            let opening = "INSERT OR IGNORE INTO cluster
                 (number, opened, name, platform, simulated, identity, next_line, closed, picture)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?8)";
            let text = |key: &str| picture[key].as_str().unwrap_or_default();
            let (number, name) = (picture["number"].as_i64(), text("cluster_name"));
            let opened = began(picture).unwrap_or(now);
            let (platform, text) = (text("payment_platform"), picture.to_string());
            let values = params![
                number,
                instant(opened),
                name,
                platform,
                is_simulated,
                identity,
                instant(now),
                text
            ];
            if transaction.execute(opening, values)? > 0 {
                take(transaction, transaction.last_insert_rowid(), name, opened, picture)?;
            }
            Ok(())
        })
    })?;
    fs::remove_file(&path).map_err(failed)?;
    Ok(Some(Notice::Imported { path, clusters: pictures.len() }))
}

/// When its cluster began.
fn began(picture: &Value) -> Option<Timestamp> {
    let at: jiff::Timestamp = picture["started_at"].as_str()?.parse().ok()?;
    Some(Timestamp::from_unix_micros(u64::try_from(at.as_microsecond()).ok()?))
}

/// Each node has what it came to; when that was is not known.
fn take(
    transaction: &Transaction<'_>,
    cluster: i64,
    name: &str,
    at: Timestamp,
    picture: &Value,
) -> rusqlite::Result<()> {
    let nodes = picture["nodes"].as_array().map_or(&[][..], Vec::as_slice);
    let mut of_nodes = Glm::ZERO;
    for (number, node) in (0_i64..).zip(nodes) {
        let text = |key: &str| node[key].as_str().unwrap_or_default();
        let id = text("node_id").trim_start_matches("node").parse::<u32>().unwrap_or(0);
        let spent = read(text("spent_glm"));
        let (spent_text, provider) = (spent.to_string(), text("provider_id"));
        let signing = "INSERT INTO agreement
             (cluster, number, node, provider, provider_name, start, per_second, accepted)
             VALUES (?1, ?2, ?3, ?4, ?5, '0', '0', ?6)";
        let values = params![cluster, number, id, provider, text("provider_name"), spent_text];
        transaction.execute(signing, values)?;
        of_nodes = of_nodes.plus(spent);
        let bill = Sum { bill: format!("node{id}"), agreement: Some(number), spent };
        bill.put(transaction, cluster, name, at)?;
    }
    // A cluster forgets nodes that ended long ago, but not what they have cost.
    let spent = read(picture["spent_glm"].as_str().unwrap_or("0")).minus(of_nodes);
    let bill = Sum { bill: "other nodes".to_owned(), agreement: None, spent };
    bill.put(transaction, cluster, name, at)
}

/// Bills of which only the sum is known.
struct Sum {
    bill: String,
    agreement: Option<i64>,
    spent: Glm,
}

impl Sum {
    fn put(
        &self,
        transaction: &Transaction<'_>,
        cluster: i64,
        name: &str,
        at: Timestamp,
    ) -> rusqlite::Result<()> {
        if self.spent == Glm::ZERO {
            return Ok(());
        }
        let Self { bill, agreement, spent } = self;
        let deciding = "INSERT OR IGNORE INTO bill
             (cluster, agreement, at, kind, bill, verdict, billed, accepted)
             VALUES (?1, ?2, ?3, 'earlier', ?4, 'accepted', ?5, ?5)";
        let values = params![cluster, agreement, instant(at), bill, spent.to_string()];
        if transaction.execute(deciding, values)? > 0 {
            count_in_total(transaction, name, "accepted_bills")?;
            add_to_total(transaction, name, "spent", *spent)?;
        }
        Ok(())
    }
}
