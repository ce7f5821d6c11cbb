"""Two users of one machine, with a cluster each: both on the usual port and in the usual directories, as far as they can be.

`test_two_users.py` runs it apart, as root: the users, their files, and the port are gone with it.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import pathlib
import pwd
import re
import stat
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Callable
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import apart  # noqa: E402
import traces  # noqa: E402
from cluster import CLUSTER_FILE, HASTE, PROGRAMS, ROOT, TARGET, plain, tail, wait_until  # noqa: E402

VENV = TARGET / "python" / "ray-2.60"
USUAL, OTHER = 4578, 4579
PATIENCE = 240
# Nothing is started or rented by these.
COMMANDS = (
    ("status",),
    ("status", "--json"),
    ("status", "--page"),
    ("start",),
    ("start", "--sim"),
    ("webserver", "--sim"),
    ("doctor", "--sim"),
    ("stop",),
    ("stop", "--force", "--kill"),
    ("stop", "--keep-clusters"),
    ("restart",),
    ("exec", "--cluster", "demo", "true"),
)
# What everybody is told: which webserver it is, and where it has its data. Nothing about clusters.
OPEN = {"/", "/prove"}
# Ray itself keeps there what it has read of a cluster file.
OF_RAY = "ray-config-"


class User:
    """A user of this machine, with a cluster file."""

    def __init__(self, name: str) -> None:
        subprocess.run(["useradd", "--create-home", "--shell", "/bin/bash", name], check=True)
        entry = pwd.getpwnam(name)
        self.name, self.uid, self.gid, self.home = name, entry.pw_uid, entry.pw_gid, pathlib.Path(entry.pw_dir)
        self.data = self.home / ".local" / "share" / "ray_on_golem"
        self.port = USUAL
        self.file = self.home / "demo.yaml"
        # One node is enough to be seen, stopped, or steered.
        self.write(CLUSTER_FILE.read_text().replace("min_workers: 1", "min_workers: 0", 1))
        self.environment = {
            "HOME": str(self.home),
            "USER": name,
            "LOGNAME": name,
            "PATH": f"{PROGRAMS}:{VENV}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "PYTHONPATH": str(ROOT / "python"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "TERM": "dumb",
        }

    def write(self, text: str) -> None:
        """Writes the cluster file."""
        self.file.write_text(text)
        os.chown(self.file, self.uid, self.gid)

    def begin(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """Begins a command, as this user does."""
        return subprocess.Popen(
            command,
            user=self.uid,
            group=self.gid,
            extra_groups=[],
            cwd=self.home,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: str, **environment: str) -> tuple[int, str]:
        """Runs a command: its exit code, and what it said."""
        return ended(self.begin(*command, **environment))

    def succeed(self, *command: str) -> str:
        """Runs a command that does what it should."""
        code, said = self.run(*command)
        if code:
            raise AssertionError(f"{self.name}: {' '.join(command)} ended with {code}:\n{tail(said)}")
        return said

    def golem(self, command: str, *arguments: str) -> str:
        """Runs a command of ours, for this user's webserver."""
        return self.succeed("ray-on-golem", command, "--port", str(self.port), *arguments)

    def do(self, act: Callable[[], Any]) -> Any:
        """What comes of an act of this user's; what it tells is JSON."""
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setgid(self.gid)
                os.setuid(self.uid)
                with os.fdopen(write, "w") as told:
                    json.dump(act(), told)
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read) as told:
            text = told.read()
        os.waitpid(child, 0)
        return json.loads(text)

    def secrets(self) -> list[str]:
        """What no other user may ever read."""
        keys = pathlib.Path("/tmp").glob("ray_on_golem*/ray_on_golem_rsa_*")
        keys = [file for file in keys if file.stat().st_uid == self.uid and file.suffix != ".pub"]
        names = ("webserver.token", "metrics.token", "yagna.appkey")
        files = [*(self.data / name for name in names), *self.data.glob("heads/*.token"), *keys]
        assert len(files) == 5, files
        # Of a key, a line in its midst.
        return [file.read_text().strip().splitlines()[-2:][0] for file in files]

    def token(self) -> str:
        return (self.data / "webserver.token").read_text().strip()

    def nodes(self) -> dict[str, tuple[str, str]]:
        """The nodes that there are, each with its state and its provider."""
        status = json.loads(self.golem("status", "--json"))
        nodes = [node for cluster in status["clusters"] for node in cluster["nodes"]]
        return {it["node_id"]: (it["state"], it["provider_id"]) for it in nodes if it["state"] != "terminated"}

    def is_up(self) -> bool:
        """Whether a node runs."""
        return [state for state, _ in self.nodes().values()] == ["running"]


class TwoUsers(unittest.TestCase):
    """Methods are what happens, one after the other."""

    def test_neither_sees_stops_or_steers_the_other(self) -> None:
        lay_out()
        self.ann, self.ben = User("ann"), User("ben")
        try:
            for day in (
                self.ben_waits_where_ray_would_put_connections_of_ann,
                self.ann_begins,
                self.ben_is_told_of_the_port,
                self.ben_is_told_what_ray_remembers,
                self.ben_begins_beside,
                self.both_are_up,
                self.neither_commands_the_other,
                self.neither_is_answered_by_the_other,
                self.neither_reads_of_the_other,
                self.both_are_as_they_were,
                self.ben_ends,
                self.ann_ends,
            ):
                began = time.monotonic()
                day()
                print(f"{day.__name__}: {time.monotonic() - began:.1f} s", flush=True)
        finally:
            for user in (self.ann, self.ben):
                user.run("ray-on-golem", "stop", "--force", "--kill", "--port", str(user.port))

    def ben_waits_where_ray_would_put_connections_of_ann(self) -> None:
        """Every user can foresee the name, and a connection that waits there already would be taken for one to a node."""
        name = hashlib.sha256(b"ann").hexdigest()[:10]
        self.trap = pathlib.Path(f"/tmp/ray_ssh_{name}")
        self.trap.mkdir()
        self.trap.chmod(0o777)
        os.chown(self.trap, self.ben.uid, self.ben.gid)

    def ann_begins(self) -> None:
        self.ann.golem("start", "--sim", "--sim-haste", str(HASTE), "--no-registry-stats")
        self.up = {self.ann: self.ann.begin("ray", "up", "demo.yaml", "--yes")}

    def ben_is_told_of_the_port(self) -> None:
        for command in COMMANDS:
            code, said = self.ben.run("ray-on-golem", *command)
            self.assertEqual(code, 3, f"{command}: {said}")
            self.tells_of_the_port(said, self.ann)
        self.assertIn("No bill is known", self.ben.succeed("ray-on-golem", "bills"))

    def ben_is_told_what_ray_remembers(self) -> None:
        """The same file on the same port: Ray has an answer, which is Ann's."""
        wait_until("what Ray remembers", 60, lambda: list(pathlib.Path("/tmp").glob(f"{OF_RAY}*")))
        own = self.ben.home / "tmp"
        self.ben.do(own.mkdir)

        remembering = self.ben.begin("ray", "up", "demo.yaml", "--yes")
        others = [self.ben.begin("ray", it, "demo.yaml", "--yes", TMPDIR=str(own)) for it in ("up", "down")]

        code, said = ended(remembering)
        self.assertNotEqual(code, 0, said)
        self.assertIn("Ray goes by what another user has settled for such a cluster file", said)
        self.assertIn("set `TMPDIR` to a directory of your own", said)
        self.assertNotIn("Traceback", said)
        for other in others:
            code, said = ended(other)
            self.assertNotEqual(code, 0, said)
            self.tells_of_the_port(said, self.ann)

    def ben_begins_beside(self) -> None:
        self.ben.port = OTHER
        port = f"    webserver_port: {OTHER}\n    payment_network:"
        self.ben.write(self.ben.file.read_text().replace("    payment_network:", port, 1))

        self.ben.golem("start", "--sim", "--sim-haste", str(HASTE), "--no-registry-stats")
        self.up[self.ben] = self.ben.begin("ray", "up", "demo.yaml", "--yes")

    def both_are_up(self) -> None:
        for user, up in self.up.items():
            code, said = ended(up)
            self.assertEqual(code, 0, f"{user.name}: {said}")
            wait_until(f"the node of {user.name}", 60, user.is_up)
        self.before = {user: user.nodes() for user in self.up}

    def neither_commands_the_other(self) -> None:
        for one, other in self.pairs():
            for name, *arguments in COMMANDS:
                code, said = one.run("ray-on-golem", name, "--port", str(other.port), *arguments)
                self.assertEqual(code, 3, f"{name}: {said}")
                # A user who has a webserver is told where that is, or that it has the data directory.
                ours = f"the webserver of `{one.data}` .* listens on port {one.port}\nhint: name it by `--port"
                theirs = f"another user's program \\(user `{other.name}`\\) listens on 127.0.0.1:{other.port}"
                self.assertRegex(said, f"{ours}|{theirs}|another `ray-on-golem` uses `{one.data}")
            for name, *arguments in (("status",), ("stop", "--force"), ("bills",), ("start", "--sim")):
                code, said = one.run("ray-on-golem", name, *arguments, "--datadir", str(other.data))
                self.assertNotEqual(code, 0, said)
            theirs = one.home / "theirs.yaml"
            theirs.write_text(re.sub("cluster_name:.*", "cluster_name: demo ", other.file.read_text()))
            code, said = one.run("ray", "down", "theirs.yaml", "--yes", TMPDIR=str(one.home))
            self.assertNotEqual(code, 0, said)
            self.tells_of_the_port(said, other)

    def neither_is_answered_by_the_other(self) -> None:
        for one, other in self.pairs():
            routes = asked(other.port, "GET", "/openapi.json", other.token())[1]
            routes = [(verb.upper(), path) for path, verbs in json.loads(routes)["paths"].items() for verb in verbs]
            self.assertGreater(len(routes), 15)
            for verb, path in routes:
                for token in (None, one.token()):
                    status, text = asked(other.port, verb, path, token)
                    told = one.do(lambda at=(other.port, verb, path, token): asked(*at))
                    self.assertEqual(told[0], status)
                    if path not in OPEN:
                        self.assertEqual(status, 401, f"{verb} {path}: {text}")
                    for secret in (*other.secrets(), "node0"):
                        self.assertNotIn(secret, text)
            network = json.loads((other.data / "yagna.pid").read_text())["url"]
            port = int(network.rstrip("/").rpartition(":")[2])
            for verb, path in (("GET", "/sim/ledger"), ("PUT", "/sim/faults"), ("GET", "/market-api/v1/demands")):
                self.assertEqual(asked(port, verb, path, one.token())[0], 401, path)

    def neither_reads_of_the_other(self) -> None:
        for one, other in self.pairs():
            temporary = [
                it for it in pathlib.Path("/tmp").iterdir() if it.stat().st_uid == other.uid and it != self.trap
            ]
            files = [path for place in (other.data, *temporary) for path in (place, *place.rglob("*"))]
            theirs = [str(path) for path in files if not path.is_symlink() and path.stat().st_uid == other.uid]
            self.assertGreater(len(theirs), 20)
            seen = one.do(lambda theirs=theirs: [path for path in theirs if is_open_to_us(path)])
            self.assertEqual([path for path in seen if OF_RAY not in path], [])
            pids = [int(entry.name) for entry in traces.PROC.glob("[0-9]*") if entry.stat().st_uid == other.uid]
            self.assertGreater(len(pids), 3)
            lines = traces.command_lines(traces.family(pids))
            for secret in other.secrets():
                self.assertNotIn(secret, lines)
            environments = [f"/proc/{pid}/environ" for pid in pids]
            self.assertEqual(one.do(lambda paths=environments: [it for it in paths if is_open_to_us(it)]), [])
        self.assertEqual(list(self.trap.iterdir()), [])

    def both_are_as_they_were(self) -> None:
        for user, nodes in self.before.items():
            self.assertEqual(user.nodes(), nodes)
        for user, command in [
            (user, user.begin("ray", "exec", "demo.yaml", "ls /opt/ray_on_golem")) for user in self.up
        ]:
            code, said = ended(command)
            self.assertEqual((code, "ray_on_golem" in said), (0, True), f"{user.name}: {said}")

    def ben_ends(self) -> None:
        self.ben.succeed("ray", "down", "demo.yaml", "--yes")
        self.ben.golem("stop")
        self.assertEqual(self.ann.nodes(), self.before[self.ann])

    def ann_ends(self) -> None:
        self.ann.golem("stop", "--force")
        for user in self.up:
            billed = json.loads(user.succeed("ray-on-golem", "bills", "--json"))["bills"]
            self.assertEqual({bill["node_id"] for bill in billed}, set(self.before[user]))

    def tells_of_the_port(self, said: str, other: User) -> None:
        """One sentence says whose the port is, and what to do."""
        whose = f"another user's program (user `{other.name}`) listens on 127.0.0.1:{other.port}, where the webserver is to be"
        self.assertIn(whose, said)
        self.assertRegex(said, "choose another .*`webserver_port` in the cluster file")
        self.assertNotRegex(said, "Traceback|end it")
        self.assertEqual(len(re.findall("^error: ", said, re.MULTILINE | re.IGNORECASE)), 1, said)

    def pairs(self) -> list[tuple[User, User]]:
        return [(self.ann, self.ben), (self.ben, self.ann)]


def lay_out() -> None:
    """A machine with nothing of this one's users, where every user can read the programs."""
    os.umask(0o022)
    apart.loopback()
    shown = [ROOT, TARGET.resolve(), pathlib.Path(sys.base_prefix).resolve()]
    closed = {
        next((it for it in reversed(path.parents) if not it.stat().st_mode & stat.S_IXOTH), None) for path in shown
    }
    apart.cover(pathlib.Path("/tmp"), "1777", shown)
    for directory in (closed | {pathlib.Path("/home")}) - {None}:
        apart.cover(directory, "755", shown)
    settings = pathlib.Path("/etc")
    with tempfile.TemporaryDirectory() as copy:
        subprocess.run(["cp", "--archive", f"{settings}/.", copy], check=True)
        apart.cover(settings, "755")
        subprocess.run(["cp", "--archive", f"{copy}/.", str(settings)], check=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """How a command has ended: its exit code, and what it said."""
    try:
        said, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"{process.args} does not end:\n{tail(process.communicate()[0])}") from None
    return process.returncode, plain(said)


def asked(port: int, verb: str, path: str, token: str | None) -> tuple[int, str]:
    """What is answered at a port of this machine."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    connection.request(verb, path, body=b'{"cluster_name": "demo"}' if verb != "GET" else None, headers=headers)
    response = connection.getresponse()
    answer = response.status, response.read().decode(errors="replace")
    connection.close()
    return answer


def is_open_to_us(path: str) -> bool:
    """Whether this user can read a file, list a directory, or connect to a socket."""
    kind = os.R_OK | os.W_OK if stat_or_none(path) and stat.S_ISSOCK(os.stat(path).st_mode) else os.R_OK
    return os.access(path, kind)


def stat_or_none(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


if __name__ == "__main__":
    unittest.main()
