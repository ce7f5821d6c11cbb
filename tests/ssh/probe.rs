//! Looks at nodes, commands, and uploads.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use ray_on_golem::{
    core::{
        cluster::plan::NodeKind,
        ids::{ClusterId, NodeId},
    },
    driver::{
        log::Log,
        probe::{Prober as _, Target},
        reach::{Reach, ReachPlan},
    },
    network::WayError,
    server::auth::HeadTokens,
    ssh::{Finished, HostKeys, KeyPair, Login, Session, SshError, Upload, probe},
    units::Span,
    yagna::{AppKey, Vpn, VpnError},
};

use crate::{
    CLUSTER, IP, PATIENCE, Stage,
    daemon::{Conduct, KEY, Limits, NETWORK},
};

#[tokio::test]
async fn a_node_that_lets_us_in_is_well_and_its_key_is_kept() {
    let stage = Stage::new().await;

    probe(&stage.login(), PATIENCE).await.expect("it is well");

    let kept = fs::read_to_string(stage.hosts.path()).expect("the file");
    assert!(kept.starts_with("192.168.0.3 ssh-ed25519 "), "{kept}");
    assert!(kept.ends_with(" node0\n"), "{kept}");
    let again = HostKeys::open(stage.data.path(), &CLUSTER.into()).expect("a file of ours");
    let login = Login { hosts: again, ..stage.login() };
    probe(&login, PATIENCE).await.expect("it is the same node");
}

#[tokio::test]
async fn a_node_does_not_let_a_stranger_in() {
    let stage = Stage::new().await;
    let other = KeyPair::of_cluster(stage.data.path(), &"other".into()).expect("a new key");
    let login = Login { key: other, ..stage.login() };

    let error = probe(&login, PATIENCE).await.expect_err("another key");

    assert!(matches!(error, SshError::KeyRefused { .. }), "{error}");
    assert!(!stage.hosts.path().exists(), "a failed login proves nothing");
}

#[tokio::test]
async fn another_machine_in_the_place_of_a_node_is_refused() {
    let stage = Stage::new().await;
    probe(&stage.login(), PATIENCE).await.expect("it is well");

    stage.node.replace();
    let error = probe(&stage.login(), PATIENCE).await.expect_err("another machine");

    assert!(matches!(error, SshError::OtherHostKey { node: NodeId(0), .. }), "{error}");
    // The next node at that address is seen for the first time.
    let login = Login { node: NodeId(1), ..stage.login() };
    probe(&login, PATIENCE).await.expect("it is well");
}

#[tokio::test]
async fn a_host_key_that_a_node_told_of_is_required_at_the_first_look() {
    let stage = Stage::new().await;
    let other = KeyPair::of_cluster(stage.data.path(), &"other".into()).expect("a new key");
    let reach = Reach::new(ReachPlan {
        data: stage.data.path().to_owned(),
        net: stage.daemon.net(),
        key: AppKey::new(KEY).expect("a word"),
        ways: stage.vpn().into(),
        heads: HeadTokens::new(stage.data.path()),
        heads_at: ([127, 0, 0, 1], 0).into(),
        log: Log::silent(),
    });
    let target = |host_key: &str| Target {
        cluster: ClusterId(0),
        name: CLUSTER.into(),
        network: NETWORK.into(),
        ip: IP,
        node: Some((NodeId(0), NodeKind::Worker)),
        is_new: true,
        host_key: Some(host_key.into()),
    };

    let lies = reach.probe(target(other.public_line()), PATIENCE).await;
    let nonsense = reach.probe(target("ssh-ed25519 AAAA"), PATIENCE).await;
    let truth = reach.probe(target(&stage.node.host_key()), PATIENCE).await;

    assert!(lies.expect_err("another machine").contains("host key"));
    assert!(nonsense.expect_err("no key").contains("is none"));
    assert_eq!(truth, Ok(()));
}

#[tokio::test]
async fn a_key_of_the_original_opens_nodes() {
    let data = tempfile::tempdir().expect("a directory");
    let path = data.path().join("id");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f"])
        .arg(&path)
        .status();
    assert!(made.expect("`make setup` installs ssh-keygen").success());
    let key = KeyPair::read(&path).expect("a key of ssh-keygen");
    let public = fs::read_to_string(path.with_extension("pub")).expect("the file");
    assert_eq!(format!("{}\n", key.public_line()), public);
    let stage = Stage::with_key(data, key).await;

    probe(&stage.login(), PATIENCE).await.expect("it is well");
}

#[tokio::test]
async fn silence_is_told_with_what_was_tried() {
    let stage = Stage::new().await;
    // However slow this machine is: with enough patience it comes to where the silence is.
    let told = async |text: &str| {
        let mut patience = Span::millis(50);
        loop {
            let error = probe(&stage.login(), patience).await.expect_err("silence").to_string();
            if error.contains(text) {
                assert!(error.contains(&format!("within {patience}")), "{error}");
                return;
            }
            patience = patience.times(2);
        }
    };

    stage.node.stall();
    told("while a command runs").await;
    stage.daemon.change(Conduct::serve(|socket| async {
        std::future::pending::<()>().await;
        drop(socket);
    }));
    told("while shaking hands").await;
    stage.daemon.change(Conduct::Silent);
    told("no connection to 192.168.0.3").await;
}

#[tokio::test]
async fn a_slow_connection_is_well() {
    let stage = Stage::new().await;
    stage
        .daemon
        .change(Conduct::meagre_node(&stage.node, Limits { frame: 1, ..Limits::default() }));

    probe(&stage.login(), PATIENCE).await.expect("it is well");
}

#[tokio::test]
async fn a_connection_that_is_cut_anywhere_fails_at_once() {
    let stage = Stage::new().await;
    for limit in (1..1600).step_by(97) {
        let limits = Limits { down: limit, ..Limits::default() };
        stage.daemon.change(Conduct::meagre_node(&stage.node, limits));

        let error = probe(&stage.login(), PATIENCE).await.expect_err("it was cut");

        assert!(matches!(error, SshError::Broken { .. }), "{limit}: {error}");
    }
}

#[tokio::test]
async fn what_the_daemon_refuses_is_told_in_words() {
    let stage = Stage::new().await;
    let tried = async |login: Login| {
        let error = probe(&login, PATIENCE).await.expect_err("refused");
        let SshError::Way(WayError::Daemon(error)) = error else { panic!("{error}") };
        error
    };

    let login = Login { network: "gone".into(), ..stage.login() };
    assert!(
        matches!(tried(login).await, VpnError::NoNetwork(network) if network.as_str() == "gone")
    );
    let key = AppKey::new("other").expect("a word");
    let vpn = Vpn::at(&stage.daemon.net(), key).expect("an address");
    assert!(matches!(
        tried(Login { ways: vpn.into(), ..stage.login() }).await,
        VpnError::BadAppKey
    ));
    stage.daemon.change(Conduct::Refuse(400, r#"{"message":"no route"}"#));
    assert_eq!(
        tried(stage.login()).await.to_string(),
        r#"the daemon refuses the connection to 192.168.0.3: status 400 {"message":"no route"}"#
    );
    let login = stage.login();
    drop(stage);
    assert!(matches!(tried(login).await, VpnError::NoDaemon(_)));
}

#[tokio::test]
async fn the_daemon_is_asked_again_for_a_node_that_it_does_not_find() {
    let stage = Stage::new().await;
    // A real daemon gives the second refusal now and then, though the port is open.
    for refusal in [Conduct::Refuse(504, ""), Conduct::Refuse(400, "Socket closed")] {
        stage.daemon.change(refusal);
        let login = stage.login();
        let appears = async {
            stage.daemon.has_refused().await;
            stage.daemon.change(Conduct::node(&stage.node));
        };

        let (probed, ()) = tokio::join!(probe(&login, PATIENCE), appears);

        probed.expect("the second answer is another");
    }
    stage.daemon.change(Conduct::Refuse(504, ""));
    let error = probe(&stage.login(), Span::millis(100)).await.expect_err("it stays away");
    let SshError::Way(WayError::Daemon(error)) = error else { panic!("{error}") };
    assert!(matches!(error, VpnError::NoNode { ip: IP, port: 22 }), "{error}");
}

#[tokio::test]
async fn a_command_takes_its_input_and_tells_its_end() {
    let stage = Stage::new().await;
    let session = Session::open(&stage.login(), PATIENCE).await.expect("it is well");

    let finished = session.run("cat; echo oh >&2; exit 3", b"question", PATIENCE).await;

    let expected =
        Finished { code: Some(3), stdout: b"question".to_vec(), stderr: b"oh\n".to_vec() };
    assert_eq!(finished.expect("it ends"), expected);
    let error = expected.succeeded("asking").expect_err("the code is 3");
    assert_eq!(error.to_string(), "asking failed on the node: oh");
    // Input that nobody takes holds nothing up.
    let finished = session.run("true", &vec![b'x'; 8 << 20], PATIENCE).await.expect("it ends");
    assert_eq!(finished.code, Some(0));
    session.close().await;
}

#[tokio::test]
async fn an_upload_is_there_with_its_mode() {
    let stage = Stage::new().await;
    let session = Session::open(&stage.login(), PATIENCE).await.expect("it is well");
    let path = stage.node.home().join("a b/token");
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    for bytes in [bytes, b"second".to_vec(), Vec::new()] {
        let upload = Upload { path: path.display().to_string(), mode: 0o640, bytes };

        session.upload(&upload, PATIENCE).await.expect("there is room");

        assert!(fs::read(&path).expect("the file") == upload.bytes);
        assert_eq!(fs::metadata(&path).expect("the file").permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(path.parent().expect("it is in one")).expect("it is").count(), 1);
    }
    let upload = Upload { path: "/proc/none/x".to_owned(), mode: 0o600, bytes: b"x".to_vec() };
    let error = session.upload(&upload, PATIENCE).await.expect_err("no such place").to_string();
    assert!(error.starts_with("the upload of `/proc/none/x` failed on the node: "), "{error}");
}

#[tokio::test]
async fn an_upload_that_is_cut_leaves_what_was_there() {
    let stage = Stage::new().await;
    let path = stage.node.home().join("token");
    fs::write(&path, "first").expect("a writable directory");
    let limits = Limits { up: 1 << 20, ..Limits::default() };
    stage.daemon.change(Conduct::meagre_node(&stage.node, limits));
    let session = Session::open(&stage.login(), PATIENCE).await.expect("it is well");
    let bytes = vec![b'x'; 4 << 20];
    let upload = Upload { path: path.display().to_string(), mode: 0o600, bytes };

    let error = session.upload(&upload, PATIENCE).await.expect_err("it was cut");

    assert!(matches!(error, SshError::Broken { .. }), "{error}");
    stage.node.has_ended(1).await;
    let kept = fs::read_to_string(&path).expect("the file");
    assert!(kept == "first", "{} bytes", kept.len());
    assert_eq!(fs::read_dir(stage.node.home()).expect("it is there").count(), 1);
}
