//! Ends processes by their descent, where no namespace does it.
//!
//! A process that calls itself the reaper of its descendants ([`adopt`]) is given all that lose their parent, also those
//! that have made themselves daemons. So everything that ever came of it is below it in the table of processes, and it
//! is done when nothing is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait};

/// Makes orphaned descendants children of this process.
pub(super) fn adopt() -> io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Kills all descendants of this process, and returns when the last one is gone.
///
/// Those whom this user may not end, as they have become another one's, are left. It blocks the thread.
pub(super) fn end_all() {
    let own = getpid();
    loop {
        let mut killed = 0;
        for pid in descendants(own, &Table::read(), &BTreeSet::new()) {
            killed += usize::from(kill_process(pid, Signal::KILL).is_ok());
        }
        // One that was born meanwhile is seen in the next round, which comes when one of the killed is buried.
        if killed == 0 || wait(WaitOptions::empty()).is_err() {
            return;
        }
    }
}

/// Kills the descendants of this process but these children and their own; tells whether there were any.
pub(super) fn end_strays(kept: &BTreeSet<i32>) -> bool {
    let strays = descendants(getpid(), &Table::read(), kept);
    strays.into_iter().fold(false, |any, pid| any | kill_process(pid, Signal::KILL).is_ok())
}

/// The children of each process that lives.
struct Table(BTreeMap<i32, Vec<i32>>);

impl Table {
    fn read() -> Self {
        let mut table: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
        for entry in entries {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            if let Some(parent) = living_parent(&stat) {
                table.entry(parent).or_default().push(pid);
            }
        }
        Self(table)
    }
}

/// The parent of a process by its line of proc(5), unless only its remains are left.
fn living_parent(stat: &str) -> Option<i32> {
    // The name, in brackets, may have spaces and brackets in it.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_whitespace();
    let state = words.next()?;
    let parent = words.next()?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(parent)
}

/// All below a process, but those that are kept and what is below them.
fn descendants(root: Pid, table: &Table, kept: &BTreeSet<i32>) -> Vec<Pid> {
    let mut found = vec![root.as_raw_pid()];
    let mut next = 0;
    while let Some(parent) = found.get(next) {
        let children = table.0.get(parent).into_iter().flatten();
        let children: Vec<i32> = children.copied().filter(|pid| !kept.contains(pid)).collect();
        found.extend(children);
        next += 1;
    }
    found.into_iter().skip(1).filter_map(Pid::from_raw).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use rustix::process::Pid;

    use super::{Table, descendants, living_parent};

    #[test]
    fn a_parent_is_found_behind_any_name() {
        assert_eq!(living_parent("7 (a b) S 3 7 7 0"), Some(3));
        assert_eq!(living_parent("7 (x) R 9 (y)) S 4 7"), Some(4));
        assert_eq!(living_parent("7 (gone) Z 3 7 7 0"), None);
        assert_eq!(living_parent(""), None);
    }

    #[test]
    fn what_is_kept_is_kept_with_all_below() {
        let table =
            Table(BTreeMap::from([(1, vec![2, 3]), (2, vec![4]), (3, vec![5]), (5, vec![6])]));
        let root = Pid::from_raw(1).expect("a pid");

        let found = |kept: &[i32]| -> Vec<i32> {
            let kept = kept.iter().copied().collect::<BTreeSet<_>>();
            descendants(root, &table, &kept).into_iter().map(Pid::as_raw_pid).collect()
        };

        assert_eq!(found(&[]), [2, 3, 4, 5, 6]);
        assert_eq!(found(&[3]), [2, 4]);
    }
}
