"""golem-workers makes a cluster of one node, asked by its own API.

    workers.py IMAGE_HASH IMAGE_URL
"""

import json
import socket
import sys
import threading
import time
import urllib.request

import uvicorn
from golem_workers.entrypoints.web import create_application

IMAGE_HASH, IMAGE_URL = sys.argv[1:]
PATIENCE_SECONDS = 60

PAYLOADS = [
    {"golem.payload.NodeInfo": {"subnet_tag": "public"}},
    {"golem.payload.RepositoryVmPayload": {"image_hash": IMAGE_HASH, "image_url": IMAGE_URL}},
]
CLUSTER = {
    "cluster_id": "neighbour",
    "payment_config": {"network": "hoodi"},
    # Funds of the cluster are released with it; those of a budget alone are not.
    "allocation_config": {"amount": 1.0},
    "budget_types": {
        "default": {
            "budget": {
                "golem_workers.budgets.AveragePerCpuUsageLinearModelBudget": {
                    "average_cpu_load": 1.0,
                    "average_duration_hours": 0.5,
                    "average_max_cost": 5.0,
                }
            },
            "scope": "cluster",
        }
    },
    "network_types": {"default": {"ip": "192.168.0.1/16"}},
    "node_types": {"default": {"market_config": {"demand": {"payloads": PAYLOADS}}}},
}
NODE = {
    "cluster_id": "neighbour",
    "node_networks": {"default": {"ip": None}},
    "node_config": {
        "on_start_commands": [
            {"golem_workers.work.deploy_and_start_activity": {"deploy_timeout_minutes": 5}},
            {"golem_workers.work.run_in_shell": ["echo hello from golem-workers > /tmp/hello"]},
            {"golem_workers.work.run_in_shell": ["grep -q workers /tmp/hello"]},
        ]
    },
}


def ask(url: str, document: dict) -> dict:
    body = json.dumps(document).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
        return json.load(response)


def wait_for(url: str, document: dict, what: str, state: str):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (now := ask(url, document)[what]["state"]) != state:
        if now in ("stopped", "provisioning-failed") or time.monotonic() > deadline:
            sys.exit(f"workers.py: the {what} is {now}, not {state}")
        time.sleep(0.2)
    print("STATE", what, state)


def main():
    listener = socket.create_server(("127.0.0.1", 0))
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(create_application(), log_level="warning"))
    serving = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    serving.start()
    try:
        cluster = {"cluster_id": "neighbour"}
        ask(f"{base}/create-cluster", CLUSTER)
        wait_for(f"{base}/get-cluster", cluster, "cluster", "started")
        node = {**cluster, "node_id": ask(f"{base}/create-node", NODE)["node"]["node_id"]}
        wait_for(f"{base}/get-node", node, "node", "started")
        ask(f"{base}/delete-node", node)
        ask(f"{base}/delete-cluster", cluster)
        print("STATE cluster deleted")
    finally:
        server.should_exit = True
        serving.join()


main()
