//! What each way to a node of a real daemon must carry whole: transfers of all sizes, a tree of files, and 50 sessions
//! at once; half of it while both cores are busy.
//!
//! `TIMES=100 cargo test --test bus_path --test daemon_path -- of_all_sizes --nocapture` makes a hundred of each size, and
//! says how far it is. With `TIMES`, whatever it is, the tree has 50 MiB rather than ten: the daemon needs a second of the
//! processor for each MiB of it.

#![expect(clippy::print_stderr, reason = "a hundred transfers take long")]

use std::{collections::BTreeMap, env, fs, path::Path};

use futures_util::future::join_all;

use crate::{
    proxy::{Burner, Services, bytes, sha256, transfers_arrive_whole},
    proxy_shell::Shell,
};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// How often each size goes up and down if nothing is said.
const TIMES: u64 = 10;
const SESSIONS: usize = 50;
/// So many of them are begun at a time.
const TOGETHER: usize = 10;

/// 64 KiB, 1 MiB, and 12 MiB, up and down.
pub(crate) async fn all_sizes_arrive_whole(node: &impl Services) {
    let times = env::var("TIMES").map_or(TIMES, |times| times.parse().expect("a number"));
    for size in [64 * KIB, MIB, 12 * MIB] {
        transfers_arrive_whole(node, size, times).await;
        eprintln!("{size} bytes: {times} of {times} whole, up and down");
    }
}

/// Files of all kinds go to the node by rsync, and come back while both cores are busy.
pub(crate) async fn a_tree_arrives_file_by_file(shell: &Shell) {
    let place = tempfile::tempdir().expect("a directory");
    let [source, there, back] = ["source", "there", "back"].map(|name| place.path().join(name));
    plant(&source);
    let planted = tree(&source);
    let [here, node] = [&source, &there].map(|path| format!("{}/", path.display()));

    // The node has the file system of this machine.
    shell.rsync(&here, &format!("root@node:{node}")).await;
    assert!(tree(&there) == planted, "up");
    let _busy = Burner::start();
    shell.rsync(&format!("root@node:{node}"), &format!("{}/", back.display())).await;
    assert!(tree(&back) == planted, "down");
}

/// 50 sessions are open together before the first one gets its input; both cores are busy from the middle on.
pub(crate) async fn sessions_at_once_are_whole(shell: &Shell) {
    let mut busy = None;
    let mut sessions = Vec::new();
    while sessions.len() < SESSIONS {
        if sessions.len() >= SESSIONS / 2 {
            busy.get_or_insert_with(Burner::start);
        }
        let open = || shell.open("echo ready; sha256sum");
        let mut fresh: Vec<_> = (0..TOGETHER).map(|_| open()).collect();
        join_all(fresh.iter_mut().map(|session| session.says("ready\n"))).await;
        sessions.append(&mut fresh);
    }

    let contents: Vec<Vec<u8>> = (0..SESSIONS).map(|at| bytes(64 * KIB, at as u64)).collect();
    let ends = sessions.into_iter().zip(&contents).map(|(session, it)| session.end(it));
    let said = join_all(ends).await;

    let hashes = contents.iter().map(|content| format!("{}  -\n", sha256(content)));
    assert_eq!(said, hashes.collect::<Vec<_>>());
    drop(busy);
}

/// Large files and small ones, empty ones, deep ones, and a link.
fn plant(place: &Path) {
    let (large, others) =
        if env::var_os("TIMES").is_some() { (20 * MIB, 29) } else { (4 * MIB, 5) };
    let mut files = vec![("large".to_owned(), large), ("empty".to_owned(), 0)];
    files.extend((0..others).map(|at| (format!("some/of a mebibyte/{at}"), MIB)));
    files.extend((0..256).map(|at| (format!("many/{}/small/{at}", at % 7), 4 * KIB)));
    for (number, (name, size)) in files.iter().enumerate() {
        let path = place.join(name);
        fs::create_dir_all(path.parent().expect("it has a name")).expect("a writable directory");
        fs::write(path, bytes(*size, number as u64)).expect("a writable directory");
    }
    std::os::unix::fs::symlink("large", place.join("link")).expect("a writable directory");
}

/// All files below a directory by their names: their hashes, or where they lead.
fn tree(place: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut left = vec![place.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let entry = entry.expect("it is read");
            let (path, kind) = (entry.path(), entry.file_type().expect("it is read"));
            let name = path.strip_prefix(place).expect("it is below").display().to_string();
            if kind.is_dir() {
                left.push(path);
            } else if kind.is_symlink() {
                let target = fs::read_link(path).expect("it is read");
                found.insert(name, format!("-> {}", target.display()));
            } else {
                found.insert(name, sha256(&fs::read(path).expect("it is read")));
            }
        }
    }
    found
}
