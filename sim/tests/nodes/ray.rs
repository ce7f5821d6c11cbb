//! Real Ray on two local nodes.

use std::{path::Path, process::Output, time::Duration};

use golem_sim::nodes::{LocalSetup, NodeSpec};

use tokio::time::timeout;

use crate::lab::{Lab, spec, text};

/// Where Ray is, next to what is built; `make setup` puts it there.
const VENV: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/../python/ray-2.60");

/// Prints the processors and the memory of each node as Ray sees them, and where tasks ran.
const PROGRAM: &str = r#"
import ray
ray.init(address="auto", log_to_driver=False)

@ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
def where():
    return ray.util.get_node_ip_address()

seen = set()
while len(seen) < 2:
    seen.update(ray.get([where.remote() for _ in range(8)]))
for node in sorted(ray.nodes(), key=lambda node: node["NodeManagerAddress"]):
    given = node["Resources"]
    total = given["memory"] + given["object_store_memory"]
    print(node["NodeManagerAddress"], given["CPU"], round(total / 2**30))
print(*sorted(seen))
"#;

/// A busy machine starts Ray slowly.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test]
async fn tasks_run_on_both_nodes_of_a_cluster() {
    assert!(Path::new(VENV).exists(), "there is no Ray in {VENV}: run `make setup`");
    let setup = LocalSetup { venv: Some(VENV.into()), ..LocalSetup::default() };
    let lab = Lab::with(setup).await;
    for (activity, number, threads, memory) in [("head", 3, 3, 4 << 30), ("worker", 4, 5, 6 << 30)]
    {
        let spec = spec(activity, "net", number);
        let spec = NodeSpec { threads, memory, disk: 8 << 30, ..spec };
        lab.host.start(spec).await.expect("the node starts");
        lab.prepare(activity, number).await;
    }

    let start = "ray start --disable-usage-stats --log-color=false";
    let head =
        login(&lab, 3, &format!("{start} --head --port 6379 --include-dashboard=false")).await;
    let worker = login(&lab, 4, &format!("{start} --address 192.168.0.3:6379")).await;
    let tasks = login(
        &lab,
        3,
        &format!("cat > tasks.py <<'END'\n{PROGRAM}END\npython tasks.py 2>&1 | grep -v INFO"),
    )
    .await;
    // What it shows is some seconds old.
    let status = login(
        &lab,
        3,
        "timeout 60 bash -c 'until ray status | grep /8.0; do :; done' >&2; ray status",
    )
    .await;
    let module = login(
        &lab,
        3,
        "site=$(python -c 'import site; print(site.getsitepackages()[0])') \
         && mkdir /opt/extra && echo 'answer = 42' > /opt/extra/extra.py \
         && echo /opt/extra > $site/extra.pth && python -c 'import extra; print(extra.answer)'",
    )
    .await;

    assert!(head.status.success(), "{head:?}");
    assert!(worker.status.success(), "{worker:?}");
    assert_eq!(
        text(&tasks.stdout),
        "192.168.0.3 3.0 4\n192.168.0.4 5.0 6\n192.168.0.3 192.168.0.4\n",
        "{}",
        text(&tasks.stderr)
    );
    assert!(text(&status.stdout).contains("/8.0 CPU"), "{}", text(&status.stdout));
    assert_eq!(text(&module.stdout), "42\n", "{}", text(&module.stderr));
    lab.host.end().await;
}

/// Runs a line as Ray's own command runner does.
async fn login(lab: &Lab, number: u8, line: &str) -> Output {
    let line = format!("true && source ~/.bashrc && export OMP_NUM_THREADS=1 && ({line})");
    let quoted = line.replace('\'', r"'\''");
    let mut command = lab.ssh(number).await;
    command.args(["-tt", "root@127.0.0.1"]).arg(format!("bash --login -c -i '{quoted}'"));
    let output = timeout(PATIENCE, command.output()).await;
    let output =
        output.unwrap_or_else(|_| panic!("it never ends: {line}")).expect("ssh is installed");
    // A terminal ends its lines as typewriters do.
    Output { stdout: text(&output.stdout).replace('\r', "").into_bytes(), ..output }
}

/// Ray takes the machine for its own, and there are two nodes on it.
#[tokio::test]
async fn nodes_that_are_processes_have_ray_of_their_own() {
    assert!(Path::new(VENV).exists(), "there is no Ray in {VENV}: run `make setup`");
    let setup = LocalSetup { venv: Some(VENV.into()), ..LocalSetup::default() };
    let lab = Lab::of_processes_with(setup).await;
    for (activity, number, threads, memory) in [("head", 3, 3, 4 << 30), ("worker", 4, 5, 6 << 30)]
    {
        let spec = NodeSpec { threads, memory, ..lab.spec(activity, number) };
        lab.host.start(spec).await.expect("the node starts");
        lab.prepare(activity, number).await;
    }
    let [head_at, worker_at] = [lab.address(3), lab.address(4)];

    let start = "ray start --disable-usage-stats --log-color=false";
    // Another port than the usual one, which Ray of this machine's user may have.
    let head =
        login(&lab, 3, &format!("{start} --head --port 26379 --include-dashboard=false")).await;
    let second =
        login(&lab, 4, &format!("{start} --head --port 26379 --include-dashboard=false")).await;
    let worker = login(&lab, 4, &format!("{start} --address {head_at}:26379")).await;
    let tasks = login(
        &lab,
        3,
        &format!("cat > tasks.py <<'END'\n{PROGRAM}END\npython tasks.py 2>&1 | grep -v -e INFO -e WARNING"),
    )
    .await;
    let module = login(
        &lab,
        3,
        "site=$(python3 -c 'import sysconfig; print(sysconfig.get_path(\"purelib\"))') \
         && echo 'answer = 42' > $site/extra.py && python3 -c 'import extra; print(extra.answer)'",
    )
    .await;
    let stop = login(&lab, 4, "ray stop --force").await;
    let left = login(&lab, 3, "ray status | grep -c node_").await;

    assert!(head.status.success(), "{head:?}");
    assert!(text(&second.stdout).contains("port 26379 of this machine is taken"), "{second:?}");
    assert!(worker.status.success(), "{worker:?}");
    let expected = format!("{head_at} 3.0 4\n{worker_at} 5.0 6\n{head_at} {worker_at}\n");
    assert_eq!(text(&tasks.stdout), expected, "{}", text(&tasks.stderr));
    assert_eq!(text(&module.stdout), "42\n", "{}", text(&module.stderr));
    let extra = Path::new(VENV).join("lib/python3.11/site-packages/extra.py");
    assert!(!extra.exists(), "what is installed in a node stays in it");
    assert!(text(&stop.stdout).contains("Stopped all"), "{stop:?}");
    // The head's Ray answers still.
    assert!(left.status.success(), "{left:?}");
    lab.host.end().await;
}
