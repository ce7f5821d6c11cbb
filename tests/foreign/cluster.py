#!/usr/bin/env python3
"""The unmodified original's cluster on a served market, beside its model in `sim/src/original`.

    target/foreign/original/bin/python tests/foreign/cluster.py PLAN.yaml SEED SECONDS

The plan has `populations`, and keeps a head and workers (`keep N`). The original runs in real time, for
so many seconds; `foreign.py install` installs it. What is printed is what both came to.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import aiohttp
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
SIMULATOR = TARGET / os.environ.get("PROFILE", "release") / "golem-sim"
OFFICIAL = "https://registry.golem.network"
KEY = "the-key-of-the-trial"
AUTOSCALER_TICK = 5.0
# As the default cluster file has it, and `sim/src/plan.rs`.
LIMITS = {
    "per_cpu_expected_usage": {"cpu_load": 0.8, "duration_hours": 0.5, "max_cost": 1.5},
    "max_start_price": 0.5,
    "max_cpu_per_hour_price": 0.5,
    "max_env_per_hour_price": 0.5,
}
DEMAND = {
    "image_tag": "golem/ray-on-golem:0.13.0-py3.11-ray2.9.3",
    "capabilities": ["vpn", "inet", "manifest-support"],
    "outbound_urls": ["https://pypi.dev.golem.network"],
}


def kept(plan):
    """How many workers the plan keeps."""
    return next(int(op.split()[1]) for op in plan["ops"] if op.startswith("keep "))


def model(plan, seed, seconds, home):
    """What the model makes of it."""
    plan = {**plan, "seed": seed, "ops": [f"keep {kept(plan)}", f"wait {seconds}"]}
    path = home / "plan.yaml"
    path.write_text(yaml.safe_dump(plan))
    command = [SIMULATOR, "report", path, "--seeds", "1", "--sweep", "policy=original", "--format", "json"]
    row = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["rows"][0]
    ready = {it["nodes"]: it["p50_micros"] and it["p50_micros"] / 1e6 for it in row["ready"]}
    return ready, row["agreements"], float(row["spent_glm"])


def serve(plan, seed, home):
    """A served network with the providers of the plan, and its address."""
    scenario = {"daemon": {"warm": 1}, "populations": plan["populations"]}
    (home / "scenario.yaml").write_text(yaml.safe_dump(scenario))
    (home / "yagna").symlink_to(SIMULATOR)
    command = [SIMULATOR, "serve", home / "scenario.yaml", "--port", "0", "--appkey", KEY, "--seed", str(seed)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    url = server.stdout.readline().split()[0].removeprefix("YAGNA_API_URL=")
    os.environ.update(YAGNA_API_URL=url, YAGNA_APPKEY=KEY, YAGNA_DATADIR=str(home), YAGNA_PATH=str(home / "yagna"))
    return server, url


async def original(plan, seconds, home, url):
    """What the original makes of it, as Ray's autoscaler and its user would use it."""
    import ray_on_golem.server.services  # noqa: F401  first, since services and clusters import each other
    from ray.autoscaler.tags import NODE_KIND_HEAD, NODE_KIND_WORKER, TAG_RAY_NODE_KIND, TAG_RAY_USER_NODE_TYPE
    from ray_on_golem.reputation.service import ReputationService
    from ray_on_golem.server.cluster.cluster import Cluster
    from ray_on_golem.server.models import NodeConfigData, NodeState, ProviderParametersData
    from ray_on_golem.server.services.golem.golem import GolemService

    look_up = aiohttp.ClientSession.get

    def get(session, address, **options):
        """Asks another registry; all else is asked as it is."""
        return look_up(session, str(address).replace(OFFICIAL, f"{url}/registry"), **options)

    aiohttp.ClientSession.get = get

    def config(kind):
        priority = "heads" if kind == NODE_KIND_HEAD else None
        return NodeConfigData(subnet_tag="public", priority_subnet_tag=priority, demand=DEMAND, budget_control=LIMITS)

    def tags(kind):
        return {TAG_RAY_NODE_KIND: kind, TAG_RAY_USER_NODE_TYPE: kind}

    async with ReputationService(home):
        service = GolemService(Path(sys.executable).parent / "websocat", registry_stats=False)
        await service.init(KEY)
        parameters = ProviderParametersData(
            webserver_port=4578,
            ray_gcs_expose_port=None,
            enable_registry_stats=False,
            payment_network="hoodi",
            payment_driver="erc20",
            total_budget=plan.get("budget", 5),
            node_config=config(NODE_KIND_HEAD),
            ssh_private_key=home / "key",
            ssh_user="root",
        )
        cluster = Cluster(service, 4578, "trial", parameters)
        await cluster.start()
        start, ready, look_at = time.monotonic(), {}, 0.0
        while (now := time.monotonic() - start) < seconds:
            if now >= look_at:
                look_at += AUTOSCALER_TICK
                live = cluster.get_non_terminated_nodes()
                heads = [node for node in live if node.tags[TAG_RAY_NODE_KIND] == NODE_KIND_HEAD]
                if not heads:
                    await cluster.request_nodes(config(NODE_KIND_HEAD), 1, tags(NODE_KIND_HEAD))
                missing = kept(plan) - (len(live) - len(heads))
                if missing > 0:
                    kind = NODE_KIND_WORKER
                    await cluster.request_nodes(config(kind), missing, tags(kind))
            running = sum(node.state == NodeState.running for node in cluster.nodes.values())
            ready.setdefault(running, now)
            await asyncio.sleep(0.1)
        await cluster.stop()
    return ready


def main():
    path, seed, seconds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    plan = yaml.safe_load(path.read_text())
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / "key"], check=True)
        modelled, agreements, spent = model(plan, seed, seconds, home)
        server, url = serve(plan, seed, home)
        try:
            ready = asyncio.run(original(plan, seconds, home, url))
            ledger = json.load(urllib.request.urlopen(f"{url}/sim/ledger?authToken={KEY}"))
        finally:
            server.terminate()
    paid = sum(float(it["spent"]) for it in ledger["allocations"]["last"])
    print(f"{path.stem}, seed {seed}, {seconds} s: the original, and its model")
    for nodes in modelled:
        times = [at for running, at in ready.items() if running >= nodes]
        seen = f"{min(times):.1f}" if times else "never"
        expected = f"{modelled[nodes]:.1f}" if modelled[nodes] else "never"
        print(f"{nodes:>4} nodes  {seen:>7}  {expected:>7}")
    print(f"agreements  {ledger['agreements']['count']:>7}  {agreements:>7}")
    print(f"  GLM paid  {paid:>7.4f}  {spent:>7.4f}")


if __name__ == "__main__":
    main()
