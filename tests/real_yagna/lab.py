#!/usr/bin/env python3
"""A real yagna daemon, offline, with stand-in providers: one lab is one daemon and its neighbours.

    lab.py install                 once: the daemon from the package index, pinned, into a venv
    lab.py up [--providers 3 --offers 4 --refuse-every 4]      prints one line of JSON
    lab.py down
    lab.py restart                 stops the daemon politely and starts it again in place
    lab.py kill                    ends the daemon as a power cut would; `restart` brings it back
    lab.py lock                    a password locks the daemon's wallet, as `yagna id lock` does
    lab.py restart-locked          the daemon starts with its wallet locked, and waits on its bus
    lab.py freeze | thaw           the daemon stops answering | goes on
    lab.py provider [--mode refuse]                            more offers, until interrupted
    lab.py chain stalls            what becomes of payments from now on: mines, reverts, stalls, …

A lab of its own central net has private networks with nodes whose TCP is the kernel's, each in
namespaces of its own (root, or user namespaces for ordinary users; without /dev/net/tun the simulator's TCP
stands in, and nodes have neither ssh nor a system of their own):

    lab.py up --central            the daemon is on a central net
    lab.py up --state B --join A   a second daemon, on the central net of lab A
    lab.py node alice              a node in the lab's private network; prints one line of JSON
    lab.py node bob --sshd         the same with OpenSSH's server, as root: `login_key` opens it
    lab.py node carol --network ID --ip 10.0.0.2 --provider 0x…    in a network of which only the
                                   caller knows; the daemon is not told
    lab.py link alice --lag-ms 25 --loss 0.01 --reorder 0.05       each way; what is not named stays
    lab.py link alice --silent on                                  nothing passes, until `off`
    lab.py seen alice              frames and bytes in and out, and what the node was told
    lab.py remove alice            the node ends; the daemon is not told
    lab.py kernel --network ID --ip 10.0.0.2 --provider 0x…        the kernel's TCP to such a node, over
                                   the daemon's bus, for comparison; see `kernel.py`
    lab.py drop                    the daemons lose their connections to the net, and come back

What listens on a node is in `services.py`. A stand-in provider of such a lab has a node for each
network that an activity is deployed into, with the activity's id as its name.

Several labs live side by side: each has its own state directory (`--state`), ports, and app key.
Without `--state` it is `default` below the home of all labs, which is `$REAL_YAGNA_STATE` or
`real-yagna` in Cargo's target directory. `up --hold` ends the lab when its standard input closes,
so a lab never outlives the process that asked for it. `REAL_YAGNA_VERSION` asks for another version
of the daemon, for all commands of a lab alike.
"""

import argparse
import fcntl
import hashlib
import http.client
import json
import os
import pty
import random
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import control
import rest
from billing import MISCHIEFS
from chain import CHAIN_IDS, MOODS
from device import apart
from process import Process

# The daemon that all tests run with, and the encoding of what is said on its bus.
NEWEST = "0.17.6"
VERSION = os.environ.get("REAL_YAGNA_VERSION", NEWEST)
PACKAGES = (f"golem-node=={VERSION}", "flatbuffers==25.12.19")
HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent

# Below the range from which the kernel takes ports for outgoing connections.
PORTS = range(20_000, 32_000)
# A daemon takes no longer ones for its central net.
CENTRAL_PORTS = range(2_000, 10_000)
NETWORKS = "/net-api/v2/vpn/net"
BOOT_PATIENCE = 60.0
BOOT_ATTEMPTS = 3

# The options that provider.py needs to know.
TERMS = (
    *("offers", "mode", "refuse_every", "refusal", "subnet"),
    *("coeffs", "threads", "memory", "storage"),
    *("agreements", "agreement_seconds", "activities", "command_seconds", "command_fails", "execute"),
    *("bill", "note_seconds", "payable_seconds", "invoice_seconds", "overcharge", "mischief"),
)


def labs_home() -> Path:
    """Where all labs and the installed daemon live."""
    target = PROJECT / os.environ.get("CARGO_TARGET_DIR", "target")
    return Path(os.environ.get("REAL_YAGNA_STATE") or target / "real-yagna").resolve()


def venv_home() -> Path:
    """Where this version of the daemon is installed."""
    return labs_home() / ("venv" if VERSION == NEWEST else f"venv-{VERSION}")


def venv(program: str) -> str:
    """An installed program: the daemon, or the Python that speaks on its bus."""
    return str(venv_home() / "bin" / program)


def install() -> str:
    """Installs the daemon unless this version is there; several callers may come at once."""
    home = labs_home()
    home.mkdir(parents=True, exist_ok=True)
    place = venv_home()
    done = place / f".installed-{'-'.join(PACKAGES)}"
    with (home / "install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(place, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", place], check=True)
            pip = [place / "bin" / "pip", "--disable-pip-version-check", "--quiet"]
            subprocess.run([*pip, "install", *PACKAGES], check=True, stdout=sys.stderr)
            done.touch()
    return venv("yagna")


class Lab:
    """One lab, known by its state directory; `lab.json` in it is all there is to remember."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.file = directory / "lab.json"
        self.facts = json.loads(self.file.read_text()) if self.file.exists() else {}

    def remember(self, **facts):
        """Adds to what is remembered; the file is never seen half written."""
        self.facts.update(facts)
        draft = self.file.with_suffix(".draft")
        draft.write_text(json.dumps(self.facts, indent=1))
        draft.replace(self.file)

    def process(self, name: str):
        """One of the lab's processes, or `None` if it was never started."""
        recorded = self.facts.get(name)
        return Process(**recorded) if recorded else None

    def up(self, options):
        """Starts everything: the outside, the daemon, the identities, the offers."""
        self.down()
        shutil.rmtree(self.directory, ignore_errors=True)
        for part in ("home", "data"):
            (self.directory / part).mkdir(parents=True)
        # The path of a socket has about 100 bytes, and a state directory may be deep.
        sockets = tempfile.mkdtemp(prefix="lab-")
        self.facts = {}
        self.remember(app_key=secrets.token_hex(16), socket_dir=sockets, owner="requestor")
        self._start_outside()
        if options.join:
            other = Lab(options.join.resolve()).facts
            self.remember(central=other["central"], joined=True, owner=self.directory.name)
        elif options.central:
            self._start_central()
        self._boot_on_free_port()
        if options.providers > 0:
            self._make_identities(options.providers)
            # The daemon reads its list of identities only when it starts.
            self.restart()
        if options.providers > 0 and options.offers > 0:
            self._start_provider(options)

    def down(self, politely: bool = True):
        """Ends everything that was started; the files stay."""
        for name in ("provider", "daemon", "central_process", "outside"):
            process = self.process(name)
            if process and politely:
                process.stop()
            elif process:
                process.kill()
        if "socket_dir" in self.facts:
            shutil.rmtree(self.facts["socket_dir"], ignore_errors=True)

    def restart(self):
        """Stops the daemon, if it runs, and starts it on the same port with the same data."""
        daemon = self.process("daemon")
        if daemon:
            daemon.stop()
        self._boot()

    def lock(self):
        """Locks the wallet with a password, which the daemon's command line asks a terminal for."""
        argv = [venv("yagna"), "id", "lock", "--new-password"]
        command, terminal = pty.fork()
        if command == 0:
            os.execve(argv[0], argv, self._environment())
        said = b""
        # It drops what was typed before it asked.
        for question in (b"Password: ", b"Confirm password: "):
            while question not in said:
                said += os.read(terminal, 1000)
            os.write(terminal, b"secret\n")
            said = said.split(question, 1)[1]
        while select.select([terminal], [], [], BOOT_PATIENCE)[0]:
            try:
                said += os.read(terminal, 1000)
            except OSError:
                break  # Nothing more comes from a terminal without its program.
        os.close(terminal)
        if os.waitpid(command, 0)[1] != 0:
            raise RuntimeError(f"yagna id lock: {said.decode(errors='replace')}")

    def restart_locked(self):
        """Starts the daemon anew, and returns when it waits for its wallet on the bus."""
        self.process("daemon").stop()
        daemon = self._launch()
        deadline = time.monotonic() + BOOT_PATIENCE
        while time.monotonic() < deadline and daemon.alive():
            try:
                if self._cli("id", "show")["Ok"]["isLocked"]:
                    return
            except (subprocess.SubprocessError, ValueError, KeyError):
                time.sleep(0.1)
        raise TimeoutError("yagna does not wait for its wallet")

    def describe(self) -> dict:
        """What a user of the lab needs to know."""
        names = ("api_url", "app_key", "node_id", "registry_url", "identities")
        daemon = self.facts["daemon"]["pid"]
        known = {name: self.facts.get(name, []) for name in names}
        cli = {name: self._environment()[name] for name in ("YAGNA_DATADIR", "GSB_URL")}
        cli["YAGNA_PATH"] = venv("yagna")
        return {**known, "pid": daemon, "state": str(self.directory), "cli": cli}

    def _start_central(self):
        """Starts the central net on a free port; another lab may take the same one meanwhile."""
        nodes = Path(self.facts["socket_dir"]) / "nodes"
        for attempt in range(BOOT_ATTEMPTS):
            port = free_port(CENTRAL_PORTS)
            argv = [venv("python"), "-B", str(HERE / "central.py"), str(port), str(nodes)]
            try:
                log = self.directory / "central.log"
                process, _ = Process.start_and_hear(argv, os.environ, log, BOOT_PATIENCE)
            except RuntimeError:
                if attempt + 1 == BOOT_ATTEMPTS:
                    raise
                continue
            central = {"port": port, "control": str(nodes / "control")}
            self.remember(central=central, central_process=process.to_json())
            return

    def order(self, *words):
        """Has the central net do something, and returns what it answers."""
        if "central" not in self.facts:
            sys.exit(f"lab.py: the lab in {self.directory} has no central net: `up --central` gives one")
        try:
            return control.order(self.facts["central"]["control"], *words)
        except (OSError, RuntimeError) as error:
            sys.exit(f"lab.py: {words[0]}: {error}")

    def node(self, options) -> dict:
        """Starts a node; without a network of the caller's it is in that of the lab, which is made
        with its first node."""
        node = options.provider or f"0x{private_key(options.name)[:40]}"
        network, ip = options.network, options.ip
        if network is None:
            if "network" not in self.facts:
                self.remember(network=self._ask("POST", NETWORKS, {"ip": "192.168.0.0/24"})["id"], next_ip=2)
            network = self.facts["network"]
            if ip is None:
                ip = f"192.168.0.{self.facts['next_ip']}"
                self.remember(next_ip=self.facts["next_ip"] + 1)
        elif ip is None:
            sys.exit("lab.py: a node in a network of yours needs `--ip`, too")
        kind = "sshd" if options.sshd else "without-device" if options.without_device else "plain"
        facts = self.order("add", options.name, node, network, ip, options.mtu, kind)
        if options.network is None:
            self._ask("POST", f"{NETWORKS}/{network}/nodes", {"id": node, "ip": ip})
        return {"name": options.name, "node_id": node, "network": network, **facts}

    def kernel_argv(self, options) -> list:
        """The command that reaches a node by the kernel's TCP, over this daemon's bus."""
        settings = {
            "bus": f"{self.facts['socket_dir']}/gsb.sock",
            "network": options.network,
            "provider": options.provider,
            "ip": options.ip,
            "own_ip": f"{options.ip.rpartition('.')[0]}.1",
            "mtu": options.mtu,
        }
        return [*apart(), venv("python"), "-B", str(HERE / "kernel.py"), json.dumps(settings)]

    def _ask(self, method: str, path: str, body):
        facts = self.facts
        status, answer = rest.call(facts["api_url"], facts["app_key"], method, path, body)
        if status >= 300:
            sys.exit(f"lab.py: {method} {path}: the daemon answers {status} {answer}")
        return answer

    def _start_outside(self):
        argv = [sys.executable, str(HERE / "outside.py")]
        log = self.directory / "outside.log"
        process, port = Process.start_and_hear(argv, os.environ, log, BOOT_PATIENCE)
        self.remember(outside=process.to_json(), registry_url=f"http://127.0.0.1:{port}")

    def _boot_on_free_port(self):
        for attempt in range(BOOT_ATTEMPTS):
            self.remember(api_url=f"http://127.0.0.1:{free_port()}")
            try:
                self._boot()
                return
            except ChildProcessError:
                # Somebody else may have taken the port meanwhile.
                if attempt + 1 == BOOT_ATTEMPTS:
                    raise

    def _boot(self):
        """Starts the daemon and returns when it answers to our key."""
        daemon = self._launch()
        deadline = time.monotonic() + BOOT_PATIENCE
        while time.monotonic() < deadline:
            if not daemon.alive():
                raise ChildProcessError(f"yagna ended while it started, see {self._log}")
            try:
                status, me = self._call("GET", "/me")
                if status == 200:
                    self.remember(node_id=me["identity"])
                    return
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.02)
        daemon.kill()
        raise TimeoutError(f"yagna does not answer, see {self._log}")

    @property
    def _log(self) -> Path:
        return self.directory / "yagna.log"

    def _launch(self) -> Process:
        gsb = Path(self.facts["socket_dir"]) / "gsb.sock"
        gsb.unlink(missing_ok=True)
        settings = payment_settings(self.facts["registry_url"])
        (self.directory / "data" / "config-payments.toml").write_text(settings)
        argv = [venv("yagna"), "service", "run", "--disable-metrics-push"]
        daemon = Process.start(argv, self._environment(), self._log)
        self.remember(daemon=daemon.to_json())
        return daemon

    def _call(self, method: str, path: str):
        return rest.call(self.facts["api_url"], self.facts["app_key"], method, path, timeout=2.0)

    def _environment(self) -> dict:
        """The daemon's whole environment: nothing of the user's own daemon gets in."""
        directory, facts = self.directory, self.facts
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(directory / "home"),
            "YAGNA_DATADIR": str(directory / "data"),
            "YAGNA_API_URL": facts["api_url"],
            "GSB_URL": f"unix:{facts['socket_dir']}/gsb.sock",
            "YAGNA_AUTOCONF_APPKEY": facts["app_key"],
            "YAGNA_AUTOCONF_ID_SECRET": private_key(facts["owner"]),
            "YA_CONSENT_STATS": "deny",
            "YAGNA_METRICS_URL": "http://127.0.0.1:9/",
            "YAGNA_LOG_DIR": "",  # Log to the standard streams only.
            "YAGNA_HTTP_WORKERS": "2",
        }
        if "central" in facts:
            environment["YA_NET_TYPE"] = "central"
            environment["CENTRAL_NET_HOST"] = f"127.0.0.1:{facts['central']['port']}"
        else:
            # A relay where nobody listens: identities of one daemon reach each other in process,
            # no name is looked up, and start-up does not wait for an answer.
            environment["YA_NET_TYPE"] = "hybrid"
            environment["YA_NET_RELAY_HOST"] = "127.0.0.1:9"
            environment["YA_NET_BIND_URL"] = "udp://127.0.0.1:0"
            environment["YA_NET_SESSION_REQUEST_TIMEOUT"] = "100ms"
        for network in CHAIN_IDS:
            environment[f"{network.upper()}_GETH_ADDR"] = f"{facts['registry_url']}/{network}"
        return environment

    def _make_identities(self, count: int):
        identities = []
        for number in range(count):
            name = f"provider-{number}"
            key = private_key(name if self.facts["owner"] == "requestor" else f"{self.facts['owner']} {name}")
            made = self._cli("id", "create", name, "--no-password", "--from-private-key", key)
            node_id = made["Ok"]["nodeId"]
            app_key = self._cli("app-key", "create", name, "--id", node_id)
            identities.append({"name": name, "id": node_id, "key": app_key})
        self.remember(identities=identities)

    def _cli(self, *words):
        argv = [venv("yagna"), *words, "--json"]
        done = subprocess.run(argv, env=self._environment(), check=True, capture_output=True, timeout=BOOT_PATIENCE)
        return json.loads(done.stdout)

    def provider_argv(self, options) -> list:
        """The command that sells on the terms in `options`."""
        identities = self.facts["identities"][: options.providers]
        terms = {name: value for name, value in vars(options).items() if name in TERMS}
        terms.update(
            api_url=self.facts["api_url"],
            bus=f"{self.facts['socket_dir']}/gsb.sock",
            identities=identities,
            hold=options.command == "provider" and options.hold,
            control=self.facts.get("central", {}).get("control"),
        )
        return [venv("python"), str(HERE / "provider.py"), json.dumps(terms)]

    def _start_provider(self, options):
        log = self.directory / "provider.log"
        argv = self.provider_argv(options)
        process, _ = Process.start_and_hear(argv, os.environ, log, BOOT_PATIENCE)
        self.remember(provider=process.to_json())


def private_key(name: str) -> str:
    """A key that is the same in every lab, so that node ids are too. It guards nothing."""
    return hashlib.sha256(f"ray-on-golem lab {name}".encode()).hexdigest()


def free_port(ports: range = PORTS) -> int:
    """A port that nobody listens on at the moment."""
    while True:
        port = random.choice(ports)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def payment_settings(chains_url: str) -> str:
    """The settings of the daemon's payment driver: the stand-in chains, and waits of a second
    where its own take up to a minute. Without the contracts that bundle calls, a balance is one
    plain call, and so is a payment."""
    engine = {
        "process-interval": 1,
        "process-interval-after-send": 1,
        "process-interval-after-error": 1,
        "process-interval-after-no-gas-or-token-start": 1,
        "process-interval-after-no-gas-or-token-max": 1,
        "process-interval-after-no-gas-or-token-increase": 1.5,
        "report-alive-interval": 30,
        "gather-interval": 1,
        "gather-at-start": "true",
        "automatic-recover": "false",
        "ignore-deadlines": "false",
    }
    lines = ["[engine]", *(f"{name} = {value}" for name, value in engine.items())]
    for network, number in CHAIN_IDS.items():
        symbol = "GLM" if network in ("mainnet", "polygon") else "tGLM"
        lines += [
            f"[chain.{network}]",
            f'chain-name = "{network}"',
            f"chain-id = {number}",
            'currency-symbol = "ETH"',
            "priority-fee = 0.000001",
            "max-fee-per-gas = 20.0",
            "transaction-timeout = 100",
            f'token = {{ address = "0x{number:040x}", symbol = "{symbol}" }}',
            "confirmation-blocks = 0",
            'block-explorer-url = ""',
            "external-source-check-interval = 300",
            f"[[chain.{network}.rpc-endpoints]]",
            f'names = "{network}"',
            f'endpoints = "{chains_url}/{network}"',
            "priority = 0",
            "max-timeout-ms = 5000",
            "verify-interval-secs = 300",
            "allowed-head-behind-secs = 120",
        ]
    return "\n".join([*lines, ""])


def coefficients(text: str) -> list:
    """Prices as in an offer: per CPU second, per second, start."""
    prices = [float(part) for part in text.split(",")]
    if len(prices) != 3:
        raise argparse.ArgumentTypeError("three numbers, separated by commas")
    return prices


def mischief(text: str) -> list:
    """Kinds of mischief, separated by commas."""
    kinds = [kind for kind in text.split(",") if kind]
    for kind in kinds:
        if kind not in MISCHIEFS:
            raise argparse.ArgumentTypeError(f"{kind} is none of {', '.join(MISCHIEFS)}")
    return kinds


def add_terms(parser):
    """Options that say what is offered, how it is negotiated, and what comes of it."""
    add = parser.add_argument
    add("--providers", type=int, default=0, metavar="N", help="identities that sell")
    add("--offers", type=int, default=1, metavar="K", help="offers of each identity")
    add("--mode", choices=("counter", "silent", "refuse"), default="counter")
    add("--refuse-every", type=int, default=0, metavar="N", help="each N-th offer refuses")
    add("--refusal", default="Node is busy.", help="the reason given by a refusing offer")
    add("--subnet", default="public")
    add("--coeffs", type=coefficients, default=[0.0001, 0.00005, 0.0], metavar="CPU,ENV,START")
    add("--threads", type=int, default=8)
    add("--memory", type=float, default=16.0, metavar="GIB")
    add("--storage", type=float, default=100.0, metavar="GIB")

    add("--agreements", choices=("approve", "refuse", "ignore"), default="approve")
    add("--agreement-seconds", type=float, default=0.0, metavar="S", help="time to decide")
    add("--activities", choices=("start", "ignore"), default="start")
    add("--command-seconds", type=float, default=0.0, metavar="S", help="time for each command")
    add("--command-fails", type=int, default=-1, metavar="N", help="an activity's N-th, from 0")

    add("--execute", action="store_true", help="run commands on nodes; with `--central`, as root")

    add("--bill", action="store_true", help="send debit notes and invoices")
    add("--note-seconds", type=float, default=0.0, metavar="S", help="none but the last if 0")
    add("--payable-seconds", type=float, default=0.0, metavar="S", help="when notes are due")
    add("--invoice-seconds", type=float, default=0.0, metavar="S", help="after the agreement")
    add("--overcharge", type=float, default=1.0, metavar="F", help="bill so many times the price")
    add("--mischief", type=mischief, default=[], metavar="KIND,…", help=", ".join(MISCHIEFS))


def add_node(parser, is_new: bool):
    """Options that say where a node is, and what it has; of one that is there already all must be said."""
    add = parser.add_argument
    add("--network", required=not is_new, metavar="ID", help="one that the caller knows; else the lab's")
    add("--ip", required=not is_new, help="the node's address; its network is the 256 around it")
    add("--provider", required=not is_new, metavar="NODE_ID", help="whose it is; else of an identity of no daemon")
    add("--mtu", type=int, default=1220, help="1220, as the runtime of virtual machines has it")
    if is_new:
        add("--sshd", action="store_true", help="with OpenSSH's server on port 22")
        add("--without-device", action="store_true", help="its TCP is the simulator's, not the kernel's")


def add_link(parser):
    """Options that say what the way to a node is like, each way."""
    add = parser.add_argument
    add("--lag-ms", type=float, metavar="MS")
    add("--loss", type=float, metavar="SHARE", help="of all frames, 0 to 1")
    add("--reorder", type=float, metavar="SHARE", help="of all frames, 0 to 1")
    add("--silent", choices=("on", "off"), help="whether nothing passes")


def link_settings(options) -> dict:
    """Those that are given, as the central net takes them."""
    settings = {"loss": options.loss, "reorder": options.reorder}
    if options.lag_ms is not None:
        settings["lag"] = options.lag_ms / 1000
    if options.silent is not None:
        settings["silent"] = options.silent == "on"
    return {name: value for name, value in settings.items() if value is not None}


def parse_arguments():
    """The command line."""
    parser = argparse.ArgumentParser(prog="lab.py", description="A real yagna daemon, offline.")
    commands = parser.add_subparsers(dest="command", required=True)
    names = ("install", "up", "down", "restart", "kill", "freeze", "thaw", "provider", "chain")
    names += ("lock", "restart-locked", "node", "link", "seen", "remove", "kernel", "drop")
    for name in names:
        command = commands.add_parser(name)
        if name != "install":
            command.add_argument("--state", type=Path, metavar="DIR")
        if name in ("up", "provider"):
            add_terms(command)
        if name == "up":
            command.add_argument("--central", action="store_true", help="on a central net of its own")
            command.add_argument("--join", type=Path, metavar="DIR", help="on that of another lab")
        if name == "chain":
            command.add_argument("mood", choices=MOODS)
        if name in ("node", "link", "seen", "remove"):
            command.add_argument("name")
        if name in ("node", "kernel"):
            add_node(command, is_new=name == "node")
        if name == "link":
            add_link(command)
        if name in ("up", "provider"):
            command.add_argument("--hold", action="store_true", help="until standard input closes")
    return parser.parse_args()


def run_up(lab: Lab, options):
    """Starts a lab and, on request, holds it."""
    install()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("lab.py: ended"))
    held = False
    try:
        lab.up(options)
        print(json.dumps(lab.describe()), flush=True)
        held = not options.hold
        while options.hold and sys.stdin.readline():
            pass
    finally:
        if not held:
            # Read anew: a restart by another process leaves another daemon than ours.
            Lab(lab.directory).down(politely=False)


def main():
    """One command."""
    options = parse_arguments()
    if options.command == "install":
        print(install())
        return
    lab = Lab((options.state or labs_home() / "default").resolve())
    if options.command == "up":
        run_up(lab, options)
    elif options.command == "down":
        lab.down()
    elif not lab.process("daemon"):
        sys.exit(f"lab.py: there is no lab in {lab.directory}")
    elif options.command == "restart":
        lab.restart()
    elif options.command == "lock":
        lab.lock()
    elif options.command == "restart-locked":
        lab.restart_locked()
    elif options.command == "kill":
        lab.process("daemon").kill()
    elif options.command == "provider":
        options.providers = options.providers or len(lab.facts.get("identities", []))
        argv = lab.provider_argv(options)
        os.execv(argv[0], argv)
    elif options.command == "node":
        print(json.dumps(lab.node(options)))
    elif options.command == "link":
        lab.order("shape", options.name, link_settings(options))
    elif options.command == "seen":
        print(json.dumps(lab.order("seen", options.name)))
    elif options.command == "remove":
        lab.order("remove", options.name)
    elif options.command == "kernel":
        argv = lab.kernel_argv(options)
        os.execvp(argv[0], argv)
    elif options.command == "drop":
        lab.order("drop")
    elif options.command == "chain":
        status, _ = rest.call(lab.facts["registry_url"], "", "PUT", "/mood", options.mood)
        if status != 200:
            sys.exit(f"lab.py: the chain answers {status}")
    else:
        number = {"freeze": "SIGSTOP", "thaw": "SIGCONT"}[options.command]
        lab.process("daemon").signal(getattr(signal, number))


if __name__ == "__main__":
    main()
