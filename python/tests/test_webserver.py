"""The webserver is found, or started, or it is said why not."""

from __future__ import annotations

import os
import shlex
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

from ray_on_golem import __version__, cluster_file, webserver
from ray_on_golem.client import Client
from ray_on_golem.errors import AccessError, StartError

from .standin import StandIn, put_token, serving
from .test_transport import unused_port

TESTS = Path(__file__).parent


class WebserverTest(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.datadir = Path(directory.name) / "data"
        environment = mock.patch.dict(os.environ, RAY_ON_GOLEM_DATADIR=str(self.datadir))
        environment.start()
        self.addCleanup(environment.stop)
        self.said: list[str] = []

    def serving(self, **fields: Any) -> StandIn:
        """A webserver of ours."""
        put_token(self.datadir)
        return serving(self, **fields)

    def ensure(self, port: int) -> Any:
        return webserver.ensure(
            Client(port, "c", self.datadir), parameters(webserver_port=port), self.datadir, self.said.append
        )

    def program(self, script: str) -> None:
        """Makes a program that is found in place of `ray-on-golem`."""
        file = self.datadir.parent / "program"
        file.write_text(f"#!{sys.executable}\n{textwrap.dedent(script)}")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        os.environ["RAY_ON_GOLEM_PATH"] = str(file)

    def use_standin(self) -> None:
        """Starts are of a stand-in, which is ended by its process id after the test."""
        self.program(
            f"""\
            import sys
            sys.path.insert(0, {str(TESTS.parent)!r})
            from tests.standin import main
            main()
            """
        )
        spawn = webserver._spawn

        def noted(*arguments: Any) -> subprocess.Popen:
            process = spawn(*arguments)
            self.addCleanup(process.wait)
            self.addCleanup(process.send_signal, signal.SIGTERM)
            return process

        patch = mock.patch.object(webserver, "_spawn", noted)
        patch.start()
        self.addCleanup(patch.stop)

    def test_running_webserver_is_used(self) -> None:
        standin = self.serving()

        self.assertEqual(self.ensure(standin.port).version, __version__)
        self.assertEqual(self.said, [])

    def test_missing_webserver_is_started_once(self) -> None:
        self.use_standin()
        port = unused_port()

        info = self.ensure(port)
        self.ensure(port)

        self.assertEqual(info.datadir, str(self.datadir))
        self.assertEqual(
            [line for line in self.said if not line.startswith("Webserver is not yet running")],
            [f"Starting webserver on http://127.0.0.1:{port}...", "Starting webserver done"],
        )
        process = int((self.datadir / "ray_on_golem.pid").read_text())
        self.assertNotEqual(os.getsid(process), os.getsid(0))
        self.assertEqual(Client(port, "c", self.datadir).nodes(), {})

    def test_failed_start_shows_the_log(self) -> None:
        self.program("import sys; print('the daemon is not installed'); sys.exit(3)")
        self.datadir.mkdir()
        (self.datadir / "webserver_debug.log").write_text("what was said the day before\n")

        with self.assertRaises(StartError) as caught:
            self.ensure(unused_port())

        log = self.datadir / "webserver_debug.log"
        self.assertEqual(
            str(caught.exception).splitlines(),
            [
                "Starting webserver failed! It ended with code 3.",
                f"The last lines of `{log}`:",
                "the daemon is not installed",
            ],
        )

    def test_failed_start_is_told_in_the_last_words(self) -> None:
        self.program("import sys; print('[INFO] x\\nerror: no room\\nhint: make some', file=sys.stderr); sys.exit(3)")

        with self.assertRaises(StartError) as caught:
            self.ensure(unused_port())

        self.assertEqual(str(caught.exception), "Starting webserver failed! no room\nhint: make some")

    def test_missing_program_is_named(self) -> None:
        os.environ["RAY_ON_GOLEM_PATH"] = "/nowhere/ray-on-golem"

        with self.assertRaisesRegex(
            StartError, rf"There is no program `/nowhere/ray-on-golem`; `pip install \.` where .* {__version__} are"
        ):
            self.ensure(unused_port())

    def test_start_ends_after_its_time(self) -> None:
        self.program("import time; time.sleep(600)")

        patch = mock.patch.object(webserver, "START_SECONDS", 0.0)
        with patch, self.assertRaisesRegex(StartError, "Timeout of `0:05:00` reached"):
            self.ensure(unused_port())

    def test_other_version_is_refused_with_a_way_out(self) -> None:
        standin = serving(self, version="0.13.0")

        with self.assertRaisesRegex(
            StartError, f"{__version__}, but version 0.13.0 of the webserver .*`ray-on-golem stop`"
        ):
            self.ensure(standin.port)

    def test_what_does_not_know_our_token_is_not_used(self) -> None:
        standin = self.serving(token="another user's")

        with self.assertRaisesRegex(AccessError, "does not show that it knows the token in .*, which was not sent"):
            self.ensure(standin.port)
        self.assertNotIn("Bearer", str(standin.heard))

    def test_program_of_the_proxy_command_is_ours_whatever_names_stand_in_it(self) -> None:
        self.datadir.mkdir()
        self.program("")
        program = os.environ["RAY_ON_GOLEM_PATH"]
        for datadir, cluster in (("/d", "c"), ("/it's %h", "a b"), ("/back\\slash", '-x "$(id)"')):
            command = webserver.proxy_command(Path(datadir), cluster, "node0")

            words = ["ssh-proxy", "--cluster", cluster, "--node", "node0", "--port", "22", "--datadir", datadir]
            self.assertEqual(shlex.split(command.replace("%%", "%")), [program, *words])
        self.assertEqual(
            webserver.proxy_command(Path("/it's 50% of \\"), "plain", "node1"),
            f"{program} ssh-proxy --cluster plain --node node1 --port 22 --datadir "
            r"'/it'\''s 50%% of '\\''",
        )

    def test_other_patch_of_the_version_fits(self) -> None:
        standin = self.serving(version=f"{__version__.rsplit('.', 1)[0]}.99")

        self.ensure(standin.port)

    def test_webserver_that_shuts_down_is_waited_for(self) -> None:
        standin = self.serving(is_shutting_down=True)

        def ends(_: str) -> None:
            if len(standin.requests) >= 5:
                standin.is_shutting_down = False

        standin.meddle = ends
        self.ensure(standin.port)

        self.assertEqual(
            self.said,
            [
                "Previous webserver instance is still shutting down, waiting up to 60 seconds ...",
                "Previous webserver instance shutdown completed.",
            ],
        )

    def test_webserver_that_never_ends_is_not_waited_for_long(self) -> None:
        standin = self.serving(is_shutting_down=True)

        patch = mock.patch.object(webserver, "SHUTDOWN_SECONDS", 0.0)
        with patch, self.assertRaisesRegex(StartError, "`ray-on-golem stop --kill`"):
            self.ensure(standin.port)

    def test_command_line(self) -> None:
        environment = {"RAY_ON_GOLEM_PATH": "/opt/rog"}

        self.assertEqual(
            webserver.command(parameters(), environment),
            ["/opt/rog", "webserver", "-p", "4578", "--registry-stats", "--self-shutdown"],
        )
        self.assertEqual(
            webserver.command(
                parameters(webserver_port=1, enable_registry_stats=False, webserver_datadir="/d"), environment
            ),
            ["/opt/rog", "webserver", "-p", "1", "--no-registry-stats", "--self-shutdown", "--datadir", "/d"],
        )
        # The webserver expands no `~`, and may not tell a name from an option.
        for said, meant in (("~/d", Path.home() / "d"), ("-d", Path.cwd() / "-d")):
            command = webserver.command(parameters(webserver_datadir=said), environment)
            self.assertEqual(command[-2:], ["--datadir", str(meant)])

    def test_program_is_looked_for_on_the_path_then_beside_python(self) -> None:
        beside = self.datadir.parent / "bin"
        beside.mkdir()
        program = beside / "ray-on-golem"
        program.touch(0o755)

        with mock.patch.object(sys, "executable", str(beside / "python3")):
            self.assertEqual(webserver.program({"PATH": "/nowhere"}), str(program))
        self.assertEqual(webserver.program({"PATH": str(beside)}), str(program))
        self.assertEqual(webserver.program({"PATH": "/nowhere"}), "ray-on-golem")


def parameters(**said: Any) -> dict[str, Any]:
    """Parameters as a cluster file without any has them."""
    return {**cluster_file.DEFAULTS, **said}
