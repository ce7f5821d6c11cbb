"""The `ray` command from `up` to `down`, with a webserver that it starts itself, and an ssh that only takes notes."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path
from typing import Any

from ray_on_golem import ssh_key

from .ray_support import CLUSTERS, ROOT, VERSION, needs_ray
from .standin import put_token, serving
from .test_transport import unused_port

PACKAGE = ROOT / "python"
# Nothing takes so long; it ends what hangs.
SECONDS = 600


@needs_ray
class CommandLineTest(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.port = unused_port()
        self.name = f"test-{os.getpid()}-{self.port}"
        self.datadir = self.directory / "data"
        self.notes = self.directory / "notes"
        for tool in ("ssh", "rsync"):
            self.program(
                self.directory / "bin" / tool,
                f"""\
                import json, sys
                with open({str(self.notes)!r}, "a") as file:
                    file.write(json.dumps([{tool!r}, *sys.argv[1:]]) + "\\n")
                """,
            )
        self.webserver = self.program(
            self.directory / "webserver",
            f"import sys; sys.path.insert(0, {str(PACKAGE)!r}); from tests.standin import main; main()",
        )
        self.cluster = self.directory / "cluster.yaml"
        self.addCleanup(self.end_webserver)
        self.addCleanup(self.remove_keys)

    def program(self, path: Path, script: str) -> Path:
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!{sys.executable}\n{textwrap.dedent(script)}")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    def end_webserver(self) -> None:
        file = self.datadir / "ray_on_golem.pid"
        if file.exists():
            os.kill(int(file.read_text()), signal.SIGTERM)

    def remove_keys(self) -> None:
        for path in (self.key, self.key.with_name(f"{self.key.name}.pub")):
            path.unlink(missing_ok=True)

    @property
    def key(self) -> Path:
        """Where `ray up` puts the key of the cluster."""
        return ssh_key.default_path(self.name, self.port)

    def write(self, **parameters: Any) -> None:
        """Writes the cluster file. JSON is YAML."""
        import yaml

        config: dict[str, Any] = yaml.safe_load((CLUSTERS / "demo.yaml").read_text(encoding="utf-8"))
        config["cluster_name"] = self.name
        config["provider"]["parameters"].update(webserver_port=self.port, **parameters)
        self.cluster.write_text(json.dumps(config))

    def ray(self, *arguments: str) -> subprocess.CompletedProcess:
        """Runs `ray` with arguments, the cluster file after the first of them."""
        environment = {
            **os.environ,
            "PATH": f"{self.directory / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(PACKAGE),
            # Ray keeps completed cluster files there.
            "TMPDIR": str(self.directory),
            "RAY_ON_GOLEM_PATH": str(self.webserver),
            "RAY_ON_GOLEM_DATADIR": str(self.datadir),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_UP_enable_autoscaler_v2": "1",
        }
        environment.pop("ON_GOLEM_NETWORK", None)
        command = [str(Path(sys.executable).with_name("ray")), arguments[0], str(self.cluster), *arguments[1:]]
        ran = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
            timeout=SECONDS,
        )
        return subprocess.CompletedProcess(command, ran.returncode, plain(ran.stdout), plain(ran.stderr))

    def succeed(self, *arguments: str) -> str:
        ran = self.ray(*arguments)
        self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)
        return ran.stdout

    def taken(self) -> list[list[str]]:
        """The commands that ssh and rsync were called with since the last look."""
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        self.notes.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]

    def test_from_up_to_down(self) -> None:
        self.write()

        up = self.succeed("up", "-y")

        for line in (
            "Ray On Golem ",
            f"Starting webserver on http://127.0.0.1:{self.port}...",
            "Starting webserver done",
            "Budget: at most 5 GLM in all",
            "Requesting 1 nodes...",
            "All 1 requested nodes ready",
            "New status: up-to-date",
        ):
            self.assertIn(line, up)
        self.assertNotIn("legacy field", up)
        commands = self.taken()
        started = [command for command in commands if "ray start --head" in command[-1]]
        self.assertEqual(len(started), 1)
        for command in commands:
            place = f"--cluster {self.name} --node node0 --port 22 --datadir {self.datadir}"
            self.assertIn(f"ProxyCommand={self.webserver} ssh-proxy {place}", " ".join(command))
            self.assertIn(str(self.key), " ".join(command))
            self.assertNotIn("token of the stand-in", " ".join(command))

        self.assertIn("192.168.0.3", self.succeed("get-head-ip"))
        again = self.succeed("up", "-y")
        self.assertNotIn("Requesting", again)
        self.assertNotIn("Starting webserver", again)
        self.taken()
        self.succeed("exec", "ray status")
        self.assertIn("ray status", self.taken()[-1][-1])
        self.succeed("rsync-up", str(self.cluster), "/remote/cluster.yaml")
        self.assertEqual(self.taken()[-1][-1], "root@192.168.0.3:/remote/cluster.yaml")
        down = self.succeed("down", "-y")
        self.assertIn("No nodes remaining.", down)
        self.assertIn("Head node of cluster", self.ray("get-head-ip").stderr)

    def test_what_is_wrong_with_a_file_keeps_no_cluster_from_its_end(self) -> None:
        self.write()
        text = self.cluster.read_text()
        self.succeed("up", "-y")
        wrong = text.replace('"file_mounts": {}', '"file_mounts": {"/there": "nothing"}, "rsync_exclude": [5]')
        self.assertNotEqual(wrong, text)
        self.cluster.write_text(wrong)
        self.key.unlink()

        up = self.ray("up", "-y")
        down = self.succeed("down", "-y")

        self.assertEqual(up.returncode, 1)
        self.assertIn("`rsync_exclude.0` must be text, not `5`", up.stderr)
        self.assertIn("No nodes remaining.", down)

    def test_bad_cluster_file_is_one_sentence(self) -> None:
        self.write(total_bugdet=3)

        ran = self.ray("up", "-y")

        self.assertEqual(ran.returncode, 1)
        place = f"{self.cluster}:1: `provider.parameters`"
        self.assertIn(f"{place} has an unknown key `total_bugdet`; did you mean `total_budget`?", ran.stderr)
        self.assertNotIn("Traceback", ran.stdout + ran.stderr)
        self.assertFalse(self.datadir.exists(), "a webserver was started")

    def test_old_module_is_told_with_the_right_one(self) -> None:
        self.write()
        text = self.cluster.read_text()
        for old in ("provider.GolemNodeProvider", "GolemNodeProvider", "provider.node_provider.RayOnGolemNodeProvider"):
            self.cluster.write_text(text.replace("provider.node_provider.GolemNodeProvider", old))

            for command in ("up", "down"):
                ran = self.ray(command, "-y")

                self.assertEqual(ran.returncode, 1)
                self.assertIn(
                    f"{self.cluster}:1: `provider.module`: there is no `ray_on_golem.{old}`; "
                    "write `ray_on_golem.provider.node_provider.GolemNodeProvider`",
                    ran.stderr,
                )
                self.assertNotIn("Traceback", ran.stdout + ran.stderr)
        self.assertFalse(self.datadir.exists(), "a webserver was started")

    def test_file_that_is_not_there_to_be_mounted_is_told_at_once(self) -> None:
        self.write()
        text = self.cluster.read_text()
        self.cluster.write_text(text.replace('"file_mounts": {}', '"file_mounts": {"/there": "nothing"}'))

        ran = self.ray("up", "-y")

        self.assertEqual(ran.returncode, 1)
        sentence = "`file_mounts./there`: there is no `nothing` to read; correct it, or leave it out"
        self.assertIn(f"{self.cluster}:1: {sentence}", ran.stderr)
        self.assertNotIn("Traceback", ran.stdout + ran.stderr)
        self.assertFalse(self.datadir.exists(), "a webserver was started")

    def test_impostor_on_the_port_is_told_in_one_sentence_and_nothing_of_the_token(self) -> None:
        put_token(self.datadir, "our token")
        impostor = serving(self, datadir=str(self.datadir))
        self.port = impostor.port
        self.write()

        for command in (("up", "-y"), ("exec", "true"), ("down", "-y")):
            ran = self.ray(*command)

            self.assertEqual(ran.returncode, 1, ran.stdout + ran.stderr)
            self.assertIn("does not show that it knows the token in", ran.stderr)
            self.assertNotIn("Traceback", ran.stdout + ran.stderr)
        self.assertNotIn("our token", str(impostor.heard))
        self.assertNotIn("Bearer", str(impostor.heard))
        self.assertEqual(impostor.paths(), [])
        self.assertEqual(self.taken(), [], "nothing was run by ssh")

    def test_webserver_that_does_not_start_is_explained(self) -> None:
        self.write()
        self.program(self.webserver, "print('the daemon is missing'); raise SystemExit(1)")

        ran = self.ray("up", "-y")

        self.assertEqual(ran.returncode, 1)
        self.assertIn("Starting webserver failed! It ended with code 1.", ran.stderr)
        self.assertIn("the daemon is missing", ran.stderr)
        self.assertNotIn("Traceback", ran.stdout + ran.stderr)


def plain(text: str) -> str:
    """Text without colours."""
    return re.sub("\x1b\\[[0-9;]*m", "", text)


@unittest.skipUnless(VERSION >= (2, 60), "an older Ray has another schema")
class DemoFileTest(unittest.TestCase):
    def test_demo_grows_from_two_nodes_to_four(self) -> None:
        import yaml

        config = yaml.safe_load((CLUSTERS / "demo.yaml").read_text(encoding="utf-8"))

        worker = config["available_node_types"]["ray.worker.default"]
        self.assertEqual((worker["min_workers"], worker["max_workers"], config["max_workers"]), (1, 3, 3))


if __name__ == "__main__":
    unittest.main()
