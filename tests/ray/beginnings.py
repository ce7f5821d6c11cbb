"""Wrong beginnings: what can be wrong before the first node is rented, and the command that meets it.

`test_beginnings.py` tries them, `beginnings.txt` has what users read.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable

from cluster import ROOT, free_port
from stage import Stage

UP = ("ray", "up", "cluster.yaml", "--yes", "--no-config-cache", "--log-style=pretty", "--log-color=false")
UP_AGAIN = tuple(word for word in UP if word != "--no-config-cache")
PLACE = ("--port", "{port}", "--datadir", "{data}")
START = ("ray-on-golem", "start", *PLACE)
STATS = ("ray-on-golem", "network-stats", "cluster.yaml")
DEMAND = "        min_cpu_threads: 1\n"
IMAGE = "        image_tag: golem/ray-on-golem:0.13.0-py3.10.13-ray2.9.3\n"
WORKER = '    resources: {"CPU": 1}\n    node_config: {}\n\nhead_node_type:'


@dataclasses.dataclass(frozen=True)
class Beginning:
    """Something that is wrong, and the command that says so."""

    what: str
    prepare: Callable[[Stage], Any] = lambda _stage: None
    command: tuple[str, ...] = UP

    def play(self) -> tuple[int, str, int]:
        """Tries it: the exit code, what was said, and how many agreements were made."""
        stage = Stage()
        try:
            self.prepare(stage)
            code, text = stage.run(*(word.format(port=stage.port, data=stage.data) for word in self.command))
            return code, stage.told(text), stage.agreements()
        finally:
            stage.end()


def file(what: str, before: str, after: str, command: tuple[str, ...] = UP) -> Beginning:
    """Something in the cluster file."""
    return Beginning(what, lambda stage: stage.change(before, after), command)


def parameter(what: str, lines: str) -> Beginning:
    """A wrong line of `provider.parameters`."""
    return file(what, "    total_budget: 5\n", lines)


def demand(what: str, lines: str) -> Beginning:
    """A wrong line of the demand of all node types."""
    return file(what, DEMAND, lines)


def worker(what: str, node_config: str) -> Beginning:
    """Something that is wrong with the worker's node type only."""
    return file(what, WORKER, WORKER.replace("node_config: {}", f"node_config: {node_config}"))


def variable(what: str, name: str, value: str | None, command: tuple[str, ...] = UP) -> Beginning:
    """A wrong variable of the environment, or one that is not there."""

    def prepare(stage: Stage) -> None:
        stage.environment.pop(name, None)
        if value is not None:
            stage.environment[name] = value

    return Beginning(what, prepare, command)


def no_daemon(stage: Stage) -> None:
    """No daemon runs, and there is no program to start one."""
    stage.end_network()
    stage.without("yagna")


def remembered(stage: Stage) -> None:
    """Ray has kept its answer of an earlier `ray up`, and asks the provider no more for what the file says."""
    stage.environment["TMPDIR"] = str(stage.home)
    stage.run(*(word for word in UP_AGAIN if word != "--yes"))
    if not list(stage.home.glob("ray-config-*")):
        raise AssertionError("Ray remembers nothing")
    stage.run("ray-on-golem", "stop", "--port", str(stage.port), "--datadir", str(stage.data))
    stage.without("ssh")


def other_program_on_port(stage: Stage) -> None:
    """Something that does not speak HTTP listens on the webserver's port."""
    stage.hold(stage.port)


def same_directory(stage: Stage) -> None:
    """A webserver on another port has the data directory."""
    code, said = stage.run("ray-on-golem", "start", "--port", str(free_port()), "--datadir", str(stage.data))
    if code:
        raise AssertionError(said)


def wrong_token(stage: Stage) -> None:
    """The user's programs read another token than that of the webserver that runs."""
    code, said = stage.run("ray-on-golem", "start", "--port", str(stage.port), "--datadir", str(stage.data))
    if code:
        raise AssertionError(said)
    other = stage.home / "other.token"
    other.write_text("0" * 64)
    stage.environment["RAY_ON_GOLEM_TOKEN_FILE"] = str(other)


def damaged_journal(stage: Stage) -> None:
    """A line in the midst of a journal is not what was written."""
    journal = stage.data / "journal"
    journal.mkdir(parents=True)
    lines = (ROOT / "fixtures" / "journal" / "v3-common.ndjson").read_text().splitlines(keepends=True)
    (journal / "common.ndjson").write_text("".join([lines[0], "what is this?\n", *lines[1:]]))


def empty_wallet(stage: Stage) -> None:
    """The daemon's wallet has no GLM."""
    scenario = stage.home / "poor.yaml"
    scenario.write_text("daemon: {wallet: 0}\npopulations: [{count: 12}]\n")
    stage.start_network(str(scenario))
    stage.change("payment_network: hoodi", "payment_network: polygon")


def hanging_daemon(stage: Stage) -> None:
    """The daemon takes connections, and answers none of them."""
    stage.ask("PUT", "sim/faults", {"outage": {"kind": "hang", "for": 600}})


def old_daemon(stage: Stage) -> None:
    """No daemon runs, and its program is of a version from before the network of the file."""
    stage.end_network()
    stage.yagna('[ "$1" = --version ] && echo "yagna 0.17.0-rc10 (cb4c085c9 2025-02-27)"')


def locked_wallet(stage: Stage) -> None:
    """A password locks the daemon's wallet, as `yagna id list` tells of 0.17.6."""
    stage.yagna('golem-sim yagna "$@" | sed \'s/"locked": *""/"locked": "X"/\'')


def dead_proxy(stage: Stage) -> None:
    """What is not on this machine is asked for through a proxy that does not answer."""
    stage.environment["http_proxy"] = "http://127.0.0.1:1"
    stage.environment["GOLEM_REGISTRY_URL"] = "http://registry.example"


def small_disk(stage: Stage) -> None:
    """The data directory lies on a full disk."""
    stage.data.mkdir()
    script = 'mount -t tmpfs -o size=16k none "$0" && cat /dev/zero >"$0/full" 2>/dev/null; exec "$@"'
    stage.prefix = ("unshare", "--user", "--map-root-user", "--mount", "bash", "-c", script, str(stage.data))


def read_only(stage: Stage) -> None:
    """The data directory cannot be written to."""
    stage.data.mkdir()
    script = 'mount -t tmpfs -o ro none "$0" && exec "$@"'
    stage.prefix = ("unshare", "--user", "--map-root-user", "--mount", "bash", "-c", script, str(stage.data))


BEGINNINGS = [
    # Missing programs.
    Beginning("no rsync", lambda stage: stage.without("rsync")),
    Beginning("no ssh", lambda stage: stage.without("ssh")),
    Beginning("no ssh, where Ray remembers an earlier answer", remembered, UP_AGAIN),
    Beginning("neither a daemon nor its program", no_daemon),
    Beginning("neither a daemon nor its program, at the start of the webserver", no_daemon, START),
    Beginning("no daemon for a survey", no_daemon, STATS),
    variable("a program of the webserver that is not there", "RAY_ON_GOLEM_PATH", "/nowhere/ray-on-golem"),
    # Ports.
    Beginning("a port that another program has", other_program_on_port),
    Beginning("a port that another program has, at the start of the webserver", other_program_on_port, START),
    # Files, as a whole.
    Beginning("no cluster file", lambda stage: stage.file.unlink()),
    Beginning("a cluster file that is no YAML", lambda stage: stage.file.write_text("cluster_name: [\n")),
    file("the module of an old how-to", "node_provider.GolemNodeProvider", "GolemNodeProvider"),
    file(
        "containers", "upscaling_speed: 10", "upscaling_speed: 10\ndocker: {image: rayproject/ray, container_name: ray}"
    ),
    file("a directory to be copied that is not there", "file_mounts: {}", "file_mounts: {/data: /nowhere/data}"),
    # What Ray itself refuses.
    file("a misspelt key of Ray's", "upscaling_speed: 10", "upscaling_sped: 10"),
    file("two values of Ray's that are none", "upscaling_speed: 10", "upscaling_speed: fast\nrsync_exclude: none"),
    file("more workers at least than at most", "\nmax_workers: 3", "\nmax_workers: 0"),
    # Values of the parameters.
    parameter("a misspelt parameter", "    total_bugdet: 5\n"),
    parameter("a budget of nothing", "    total_budget: 0\n"),
    parameter("a budget that is text", "    total_budget: plenty\n"),
    parameter("an end at no time of day", '    total_budget: 5\n    autostop: {at: "25:00"}\n'),
    parameter("a port of the webserver that is none", "    total_budget: 5\n    webserver_port: 70000\n"),
    file("a key of ssh that is not there", "file_mounts: {}", "auth: {ssh_private_key: ~/nowhere}\nfile_mounts: {}"),
    file("an unknown network", "payment_network: hoodi", "payment_network: hodi"),
    # Values of node types.
    demand("a misspelt key of a demand", "        min_cpu_treads: 1\n"),
    demand("more threads at least than at most", "        min_cpu_threads: 8\n        max_cpu_threads: 4\n"),
    file("a price that is negative", "max_start_price: 0.5", "max_start_price: -0.5"),
    file("an image that the registry does not know", IMAGE, "        image_tag: nobody/nothing:1\n"),
    file("no image", IMAGE, ""),
    worker("more threads of a worker at least than at most", "{demand: {min_cpu_threads: 8, max_cpu_threads: 4}}"),
    worker("a worker's price that is negative", "{budget_control: {max_cpu_per_hour_price: -1}}"),
    worker("an image of a worker that the registry does not know", "{demand: {image_tag: 'nobody/nothing:1'}}"),
    worker("a worker's memory that is text", "{demand: {min_mem_gib: much}}"),
    worker("a misspelt key of a worker", "{demand: {min_mem_gb: 4}}"),
    worker("a worker that may reach an address that is none", "{demand: {outbound_urls: ['ftp://example.com']}}"),
    worker(
        "two images of a worker",
        "{demand: {image_hash: 'sha3:0123456789abcdef0123456789abcdef0123456789abcdef01234567'}}",
    ),
    worker("a worker that providers of no address may have", "{provider_choice: {whitelist: ['0x12']}}"),
    Beginning("a survey for an unknown node type", command=(*STATS, "ray.worker.gpu")),
    # The daemon, its wallet, its network.
    variable("an address of the daemon that is none", "YAGNA_API_URL", "localhost:7465"),
    variable("an app-key that the daemon does not know", "YAGNA_APPKEY", "another-key"),
    Beginning("a daemon that does not answer", hanging_daemon),
    variable("a program of the daemon that is not there", "YAGNA_PATH", "/nowhere/yagna"),
    Beginning("a wallet without GLM", empty_wallet),
    variable("a registry that does not answer", "GOLEM_REGISTRY_URL", "http://127.0.0.1:1"),
    Beginning("a proxy that does not answer", dead_proxy),
    Beginning("a daemon of an old version", old_daemon),
    Beginning("a wallet that is locked", locked_wallet),
    # Directories.
    Beginning("a data directory on a full disk", small_disk),
    Beginning("a data directory that is read-only", read_only),
    Beginning("a data directory that is a file", lambda stage: stage.data.write_text("")),
    Beginning("a data directory that a webserver on another port has", same_directory),
    Beginning("a data directory that a webserver on another port has, at the start of another", same_directory, START),
    Beginning("a journal that is damaged", damaged_journal),
    Beginning("another token than the webserver's", wrong_token),
    # Commands before their time.
    Beginning("a scenario that is not there", command=(*START, "--sim", "nowhere.yaml")),
    Beginning("a Python of simulated nodes that is not there", command=(*START, "--sim", "--sim-venv", "/nowhere")),
    Beginning(
        "no port in particular", command=("ray-on-golem", "start", "--port", "0", "--datadir", "{data}", "--sim")
    ),
    Beginning("simulated providers that never work", command=(*START, "--sim", "--sim-haste", "0")),
]
