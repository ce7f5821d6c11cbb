//! What clusters have cost whose books are closed, kept for those who ask later: `DATA/bills.ndjson`, a
//! line for each of the last ones, as `/status` shows it.
//!
//! Nothing decides by it. The board is followed, so a bill is written once its cluster is closed.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;
use tokio::{sync::watch, task::spawn_blocking};

use super::document::ClusterDocument;
use crate::{
    driver::{
        board::{Board, CLOSED_MAX},
        log::Log,
    },
    files,
};

const FILE: &str = "bills.ndjson";
const WHO: &str = "bills";

/// The last bills, the oldest first; its clones are the same.
#[derive(Clone, Debug)]
pub struct Bills {
    path: PathBuf,
    last: Arc<Mutex<Vec<Value>>>,
}

impl Bills {
    /// Those that are kept in `data`; lines that are no bills are left out.
    ///
    /// # Errors
    ///
    /// If there is a file that cannot be read.
    pub fn open(data: &Path) -> io::Result<Self> {
        let path = data.join(FILE);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            other => other?,
        };
        let bills = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        let bills: Vec<Value> = bills.filter(|bill| number(bill).is_some()).collect();
        Ok(Self { path, last: Arc::new(Mutex::new(bills)) })
    }

    /// The last ones.
    #[must_use]
    pub fn last(&self) -> Vec<Value> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes the bills of clusters as they are closed; returns when the manager has stopped.
    pub async fn keep(self, mut board: watch::Receiver<Arc<Board>>, log: Log) {
        let mut known: BTreeSet<u64> = self.last().iter().filter_map(number).collect();
        loop {
            let now = Arc::clone(&board.borrow_and_update());
            let closed = now.closed.iter().filter(|cluster| known.insert(u64::from(cluster.id.0)));
            let documents = closed.map(|cluster| ClusterDocument::of(cluster, true, None));
            let new: Vec<Value> =
                documents.filter_map(|document| serde_json::to_value(document).ok()).collect();
            if !new.is_empty() {
                let bills = self.clone();
                let added = spawn_blocking(move || bills.add(new)).await;
                if let Ok(Err(error)) = added {
                    log.error(WHO, &format!("cannot keep the bill of a cluster: {error}"));
                }
            }
            if board.changed().await.is_err() {
                return;
            }
        }
    }

    fn add(&self, new: Vec<Value>) -> io::Result<()> {
        let text: String = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            last.extend(new);
            let surplus = last.len().saturating_sub(CLOSED_MAX);
            last.drain(..surplus);
            last.iter().map(|bill| format!("{bill}\n")).collect()
        };
        files::replace(&self.path, text.as_bytes(), 0o600)
    }
}

/// The number of the bill's cluster, which no other cluster ever had.
pub fn number(bill: &Value) -> Option<u64> {
    bill["number"].as_u64()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::{Bills, FILE};
    use crate::driver::board::CLOSED_MAX;

    fn bill(number: usize) -> Value {
        json!({"number": number, "cluster_name": "c", "spent_glm": "0.000000000000000001"})
    }

    #[test]
    fn the_last_bills_are_there_in_the_next_life_too() {
        let data = tempfile::tempdir().expect("a directory");
        let bills = Bills::open(data.path()).expect("no file");
        for nth in 0..=CLOSED_MAX {
            bills.add(vec![bill(nth)]).expect("a writable directory");
        }

        let again = Bills::open(data.path()).expect("the file");

        assert_eq!(again.last(), (1..=CLOSED_MAX).map(bill).collect::<Vec<_>>());
        assert_eq!(again.last(), bills.last());
    }

    #[test]
    fn a_damaged_line_is_left_out() {
        let data = tempfile::tempdir().expect("a directory");
        let text = format!("{}\n{{\"number\":\nnothing\n{}\n", bill(1), bill(2));
        fs::write(data.path().join(FILE), text).expect("a writable directory");

        assert_eq!(Bills::open(data.path()).expect("the file").last(), [bill(1), bill(2)]);
    }
}
