//! Journals on a real disk: opened, written, torn, made shorter, fought for, and full.

use std::{
    error::Error,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock},
};

use ray_on_golem::{
    core::{
        cluster::{plan::ClusterName, record::ClusterRecord},
        ids::{ClusterId, NodeId},
        record::{CommonRecord, Durable, JournalId, Record},
    },
    driver::journal::{Journals, JournalsError, Recovered},
    units::Glm,
};
use tempfile::TempDir;

use crate::samples::{CLUSTER, at, batches, of};

const OF_CLUSTER: JournalId = JournalId::Cluster(CLUSTER);

/// Held while a process is started: until it runs its own program it has all our files, also the locks that
/// other tests have given back.
static STARTING: RwLock<()> = RwLock::new(());

fn data() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn open(data: &TempDir) -> (Journals, Recovered) {
    let _nobody_starts = STARTING.read().unwrap_or_else(PoisonError::into_inner);
    Journals::open(data.path()).expect("good journals")
}

fn refused(data: &TempDir) -> String {
    let _nobody_starts = STARTING.read().unwrap_or_else(PoisonError::into_inner);
    let error = Journals::open(data.path()).expect_err("bad journals").to_string();
    error.replace(&data.path().display().to_string(), "DATA")
}

fn file(data: &TempDir, name: &str) -> PathBuf {
    data.path().join("journal").join(name)
}

fn names(data: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(data.path().join("journal")).expect("a directory");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> =
        names.map(|name| name.into_string().expect("our own names")).collect();
    names.sort();
    names
}

fn add(path: &Path, bytes: &[u8]) {
    let mut file = OpenOptions::new().append(true).open(path).expect("it is there");
    file.write_all(bytes).expect("writable");
}

fn name() -> ClusterName {
    ClusterName::from("default")
}

/// Writes a common journal that knows the cluster of the samples, and the cluster's own.
fn write_samples(journals: &mut Journals) -> Durable {
    let mut durable = Durable::default();
    let opened = CommonRecord::ClusterOpened { cluster: CLUSTER, name: name() };
    let common = (JournalId::Common, vec![Record::Common(opened)]);
    let of_cluster = batches(OF_CLUSTER).into_iter().map(|batch| (OF_CLUSTER, batch));
    for (journal, batch) in std::iter::once(common).chain(of_cluster) {
        batch.iter().for_each(|record| durable.apply(record));
        journals.append(journal, at(0), &batch).expect("written");
    }
    durable
}

fn budget(glm: u64) -> Vec<Record> {
    vec![of(CLUSTER, ClusterRecord::BudgetSet { total: Glm::from_whole(glm) })]
}

#[test]
fn what_was_written_is_there_at_the_next_start() {
    let data = data();
    let (mut journals, first) = open(&data);
    assert_eq!(first.durable, Durable::default());

    let durable = write_samples(&mut journals);
    drop(journals);

    let (_journals, second) = open(&data);
    assert_eq!((second.durable, second.torn), (durable, Vec::new()));
    assert_eq!(names(&data), ["cluster-3.ndjson", "common.ndjson", "lock"]);
}

#[test]
fn a_torn_tail_is_told_once_and_cut_off() {
    let data = data();
    let (mut journals, _) = open(&data);
    let mut durable = write_samples(&mut journals);
    drop(journals);
    let path = file(&data, "cluster-3.ndjson");
    let whole = fs::read(&path).expect("readable");
    add(&path, b"{\"crc32\":\"0000");

    let (mut journals, recovered) = open(&data);

    assert_eq!(recovered.durable, durable);
    let told: Vec<String> = recovered.torn.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "line 38, the last of the journal of cluster 3, was torn by a crash; its 14 bytes are dropped"
        ]
    );
    assert_eq!(fs::read(&path).expect("readable"), whole);
    durable.apply(&budget(8)[0]);
    journals.append(OF_CLUSTER, at(1), &budget(8)).expect("written");
    drop(journals);
    let (_journals, again) = open(&data);
    assert_eq!((again.durable, again.torn), (durable, Vec::new()));
}

#[test]
fn a_shorter_journal_says_the_same_and_goes_on() {
    let data = data();
    let (mut journals, _) = open(&data);
    let mut durable = write_samples(&mut journals);
    let path = file(&data, "cluster-3.ndjson");
    for glm in 0..4_u64 {
        let snapshot = durable.snapshot(OF_CLUSTER).expect("it is open");
        journals.compact(at(glm), &snapshot).expect("compacted");
        assert_eq!(fs::read_to_string(&path).expect("readable").lines().count(), 1);
        durable.apply(&budget(glm)[0]);
        journals.append(OF_CLUSTER, at(glm), &budget(glm)).expect("written");
    }
    drop(journals);

    let (_journals, recovered) = open(&data);

    assert_eq!(recovered.durable, durable);
    assert_eq!(fs::read_to_string(&path).expect("readable").lines().count(), 2);
    assert_eq!(names(&data), ["cluster-3.ndjson", "common.ndjson", "lock"]);
}

#[test]
fn a_compaction_that_cannot_be_written_changes_nothing() {
    let data = data();
    let (mut journals, _) = open(&data);
    let mut durable = write_samples(&mut journals);
    let snapshot = durable.snapshot(OF_CLUSTER).expect("it is open");
    let obstacle = file(&data, "cluster-3.new");
    fs::create_dir(&obstacle).expect("writable");

    let error = journals.compact(at(0), &snapshot).expect_err("no file can have that name");

    assert!(matches!(error, JournalsError::Io { doing: "remove", .. }), "{error:?}");
    durable.apply(&budget(1)[0]);
    journals.append(OF_CLUSTER, at(1), &budget(1)).expect("written");
    drop(journals);
    fs::remove_dir(&obstacle).expect("writable");
    assert_eq!(open(&data).1.durable, durable);
}

#[test]
fn the_journal_of_a_closed_cluster_goes_also_after_a_crash() {
    let data = data();
    let (mut journals, _) = open(&data);
    write_samples(&mut journals);
    let path = file(&data, "cluster-3.ndjson");
    let left_over = fs::read(&path).expect("readable");
    let closed =
        CommonRecord::ClusterClosed { cluster: CLUSTER, name: name(), next_node: NodeId(7) };
    journals.append(JournalId::Common, at(9), &[Record::Common(closed)]).expect("written");
    assert_eq!(names(&data), ["common.ndjson", "lock"]);
    drop(journals);
    fs::write(&path, left_over).expect("writable");
    fs::write(file(&data, "common.new"), "half of a").expect("writable");
    fs::write(file(&data, "notes.txt"), "not ours").expect("writable");

    let (_journals, recovered) = open(&data);

    assert!(recovered.durable.is_clean());
    assert_eq!(names(&data), ["common.ndjson", "lock", "notes.txt"]);
}

#[test]
fn nothing_is_written_of_a_closed_cluster() {
    let data = data();
    let (mut journals, _) = open(&data);
    write_samples(&mut journals);
    let closed =
        CommonRecord::ClusterClosed { cluster: CLUSTER, name: name(), next_node: NodeId(7) };
    journals.append(JournalId::Common, at(9), &[Record::Common(closed)]).expect("written");

    let late = journals.append(OF_CLUSTER, at(9), &budget(8));

    assert!(matches!(late, Err(JournalsError::Closed { .. })), "{late:?}");
    assert_eq!(names(&data), ["common.ndjson", "lock"]);
}

#[test]
fn a_cluster_may_be_known_before_its_first_record_is_written() {
    let data = data();
    let (mut journals, _) = open(&data);
    let opened = CommonRecord::ClusterOpened { cluster: ClusterId(0), name: name() };
    journals.append(JournalId::Common, at(0), &[Record::Common(opened)]).expect("written");
    drop(journals);

    let (_journals, recovered) = open(&data);

    assert!(recovered.durable.clusters().is_empty());
    let known: Vec<JournalId> = recovered.durable.journals().collect();
    assert_eq!(known, [JournalId::Common, JournalId::Cluster(ClusterId(0))]);
}

#[test]
fn a_journal_that_cannot_be_trusted_is_refused_and_left_as_it_is() {
    let data = data();
    let (mut journals, _) = open(&data);
    write_samples(&mut journals);
    drop(journals);
    let (common, path) = (file(&data, "common.ndjson"), file(&data, "cluster-3.ndjson"));
    let mut bytes = fs::read(&path).expect("readable");
    bytes[100] ^= 1;
    fs::write(&path, &bytes).expect("writable");

    let damaged = refused(&data);
    fs::remove_file(common).expect("writable");
    let stray = refused(&data);

    insta::assert_snapshot!([damaged, stray].join("\n"));
    assert_eq!(fs::read(&path).expect("readable"), bytes);
}

#[test]
fn journals_of_a_directory_that_is_a_file_say_so() {
    let data = data();
    fs::write(data.path().join("journal"), "").expect("writable");

    let error = Journals::open(data.path()).expect_err("no directory");

    assert!(error.to_string().ends_with("/journal`"), "{error}");
    assert!(error.source().is_some());
}

#[cfg(target_os = "linux")]
mod processes {
    //! Real processes: this test program, started a second time with a data directory of ours.

    use std::{
        io::{BufRead, BufReader, Read},
        process::{Child, Command, Stdio},
    };

    use super::*;

    /// Says to the second process what its data directory is.
    const DATA: &str = "JOURNAL_TEST_DATA";
    /// Has the second process fill the disk before it writes.
    const FULL: &str = "JOURNAL_TEST_FULL";
    const BATCHES: u64 = 100;

    /// Appends until that fails or there is enough; then holds the journals until its input ends.
    #[test]
    fn another_process() {
        let own = data();
        let given = std::env::var_os(DATA).map(PathBuf::from);
        let (mut journals, _) =
            Journals::open(given.as_deref().unwrap_or_else(|| own.path())).expect("free");
        write_samples(&mut journals);
        if std::env::var_os(FULL).is_some() {
            let data = given.as_deref().expect("a disk of its own");
            fill(data);
            begin_another(&mut journals, data);
        }
        let all: Result<Vec<u64>, JournalsError> = (0..BATCHES)
            .map(|glm| journals.append(OF_CLUSTER, at(glm), &vec![budget(glm); 10].concat()))
            .collect();
        if given.is_none() {
            assert!(all.is_ok(), "{all:?}");
            return;
        }
        let told = all.map_or_else(|error| error.to_string(), |_| "written".to_owned());
        writeln!(io::stderr(), "told: {told}").expect("somebody listens");
        io::stdin().read_to_end(&mut Vec::new()).expect("a pipe");
        // With room again, the journal goes on where it was good.
        journals.append(OF_CLUSTER, at(0), &[]).expect("an empty batch has room");
    }

    /// On a full disk no cluster begins; with room it does, also if the disk is full again by then.
    fn begin_another(journals: &mut Journals, data: &Path) {
        let another = ClusterId(CLUSTER.0 + 1);
        let no_room = journals.make_room().expect_err("the disk is full");
        fs::remove_file(data.join("filler")).expect("writable");
        journals.make_room().expect("there is room");
        fill(data);

        let opened = CommonRecord::ClusterOpened { cluster: another, name: name() };
        journals.append(JournalId::Common, at(0), &[Record::Common(opened)]).expect("a reserve");
        let mut first = batches(OF_CLUSTER)[0].clone();
        for record in &mut first {
            if let Record::Cluster(cluster, _) = record {
                *cluster = another;
            }
        }
        journals.append(JournalId::Cluster(another), at(0), &first).expect("a reserve");

        let source = no_room.source().map(ToString::to_string).unwrap_or_default();
        assert!(source.starts_with("No space left on device"), "{no_room}: {source}");
    }

    /// Leaves no room on a disk.
    fn fill(data: &Path) {
        let mut filler = File::create(data.join("filler")).expect("writable");
        let full = loop {
            if let Err(error) = filler.write_all(&[0; 4_096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::StorageFull, "{full}");
    }

    /// Starts it behind a shell command, and waits for what it says.
    fn start(data: &TempDir, before: &str) -> (Child, String) {
        let program = std::env::current_exe().expect("this test");
        let starting = STARTING.write().unwrap_or_else(PoisonError::into_inner);
        let mut child = Command::new("sh")
            .args(["-c", &format!("{before} exec \"$0\" \"$@\"")])
            .arg(program)
            .args(["--exact", "files::processes::another_process", "--nocapture"])
            .env(DATA, data.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a shell");
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let told = lines
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("told: ").map(ToOwned::to_owned));
        drop(starting);
        (child, told.expect("it says something"))
    }

    #[test]
    fn two_processes_never_share_a_journal() {
        let data = data();
        let (mut child, told) = start(&data, "");
        assert_eq!(told, "written");

        let while_it_runs = refused(&data);
        child.kill().expect("it runs");
        child.wait().expect("it ends");

        assert_eq!(
            while_it_runs,
            "another `ray-on-golem` uses `DATA/journal`; stop it first, or choose another data directory"
        );
        let (_journals, recovered) = open(&data);
        let budget = recovered.durable.cluster(CLUSTER).map(|cluster| cluster.budget);
        assert_eq!(budget, Some(Glm::from_whole(BATCHES - 1)));
    }

    #[test]
    fn a_full_disk_is_told_and_leaves_whole_lines() {
        let data = data();
        // The limit is in blocks of 512 bytes; without the trap, the system would end the process.
        let (mut child, told) = start(&data, "trap '' XFSZ; ulimit -f 31;");

        drop(child.stdin.take());
        let ended = child.wait().expect("it ends");

        let path = file(&data, "cluster-3.ndjson");
        assert_eq!(told, format!("cannot write to `{}`", path.display()));
        assert!(ended.success());
        let (_journals, recovered) = open(&data);
        assert_eq!(recovered.torn, []);
        let written = fs::read_to_string(&path).expect("readable").lines().count();
        assert!((32..50).contains(&written), "{written}");
    }

    #[test]
    fn a_journal_has_room_of_its_own_when_others_fill_the_disk() {
        let data = data();
        // A disk of twenty MiB, which is gone with the process.
        let disk = "mount -t tmpfs -o size=20m none $JOURNAL_TEST_DATA";
        let before = format!(
            "export {FULL}=yes; exec unshare --user --map-root-user --mount sh -c '{disk} && exec \"$0\" \"$@\"' \"$0\" \"$@\";"
        );

        let (mut child, told) = start(&data, &before);
        drop(child.stdin.take());

        assert_eq!(told, "written");
        assert!(child.wait().expect("it ends").success());
    }
}
