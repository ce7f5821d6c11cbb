"""What is refused before anything is started: asked of a program that answers in place of `ray-on-golem doctor`."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

from ray_on_golem import cluster_file, preflight, ssh_key, surroundings
from ray_on_golem.client import Client
from ray_on_golem.errors import RayOnGolemError, StartError

from .standin import put_token, serving
from .test_transport import unused_port

MISSING = {"name": "rsync", "verdict": "bad", "what": "there is no `rsync` on the path", "cure": "install it"}
LOCKED = {"name": "wallet", "verdict": "bad", "what": "the wallet is locked", "cure": None}
NOTE = {"name": "ray", "verdict": "note", "what": "Ray differs", "cure": None}


class PreflightTest(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        patch = mock.patch.dict(os.environ, RAY_ON_GOLEM_PATH=str(self.directory / "program"))
        patch.start()
        self.addCleanup(patch.stop)
        os.environ.pop("ON_GOLEM_NETWORK", None)
        put_token(self.directory)

    def doctor(self, *findings: dict[str, Any], text: str | None = None) -> None:
        """Makes a program that finds this, and notes what it was asked."""
        answer = json.dumps({"version": 1, "findings": list(findings)}) if text is None else text
        script = f"import json, sys\njson.dump(sys.argv[1:], open({str(self.asked)!r}, 'w'))\nprint({answer!r})\n"
        program = self.directory / "program"
        program.write_text(f"#!{sys.executable}\n{script}raise SystemExit(3)\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    @property
    def asked(self) -> Path:
        return self.directory / "asked"

    def check(self, port: int, **parameters: Any) -> None:
        given = cluster_file.with_defaults({"webserver_port": port, **parameters})
        preflight.check(Client(port, "c", self.directory), given)

    def test_everything_that_is_wrong_is_said_with_its_cure(self) -> None:
        self.doctor(MISSING, NOTE, LOCKED)

        with self.assertRaises(StartError) as caught:
            self.check(unused_port())

        self.assertEqual(str(caught.exception), "there is no `rsync` on the path; install it\nthe wallet is locked")

    def test_it_is_asked_about_what_the_cluster_file_says(self) -> None:
        self.doctor(NOTE)
        port = unused_port()

        self.check(port, payment_network="polygon", webserver_datadir="/d")

        place = ["--port", str(port), "--network", "polygon", "--datadir", "/d"]
        self.assertEqual(json.loads(self.asked.read_text()), ["doctor", "--quick", "--json", *place])

    def test_a_cluster_that_has_nodes_is_never_kept_from_its_end(self) -> None:
        self.doctor(MISSING)
        standin = serving(self)
        client = Client(standin.port, "c", self.directory)
        client.request_nodes({}, {"demand": {"image_tag": "x"}}, 1, {}, "key")

        self.check(standin.port)

        self.assertFalse(self.asked.exists())

    def test_a_key_that_others_can_read_is_refused_with_its_cure(self) -> None:
        self.doctor(NOTE)
        key = self.directory / "my key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        key.chmod(0o640)

        with self.assertRaises(StartError) as caught:
            self.check(unused_port(), ssh_private_key=str(key))

        cure = f"run `chmod 600 '{key}'`"
        why = f"the ssh key `{key}` can be read by others (its mode is 0640), and ssh takes no such key; {cure}"
        self.assertEqual(str(caught.exception), why)
        key.chmod(0o600)
        self.check(unused_port(), ssh_private_key=str(key))
        port = unused_port()
        self.check(port, ssh_private_key=str(ssh_key.default_path("c", port)))

    def test_a_running_webserver_is_not_looked_at_once_more(self) -> None:
        self.doctor(MISSING)
        standin = serving(self)
        parameters = cluster_file.with_defaults({"webserver_port": standin.port})

        preflight.check_start(Client(standin.port, "c", self.directory), parameters)

        self.assertFalse(self.asked.exists())
        parameters["webserver_port"] = unused_port()
        with self.assertRaises(StartError):
            preflight.check_start(Client(parameters["webserver_port"], "c", self.directory), parameters)

    def test_nodes_on_a_head_look_at_nothing(self) -> None:
        self.doctor(MISSING)
        os.environ["ON_GOLEM_NETWORK"] = "192.168.0.0/24"

        self.check(unused_port())

        self.assertFalse(self.asked.exists())

    def test_what_cannot_be_asked_is_left_to_the_start_of_the_webserver(self) -> None:
        self.check(unused_port())
        self.doctor(text="usage: something else")
        self.check(unused_port())

        self.assertTrue(self.asked.exists())


class HomelessTest(unittest.TestCase):
    def test_a_user_without_a_home_is_told_where_to_put_data(self) -> None:
        # What `Path.home` says of a user that the system's file does not know.
        with mock.patch.object(Path, "home", side_effect=RuntimeError("Could not determine home directory.")):
            with self.assertRaisesRegex(RayOnGolemError, "no home directory .*by `webserver_datadir`"):
                surroundings.datadir({}, {})
            self.assertEqual(surroundings.datadir({}, {"RAY_ON_GOLEM_DATADIR": "/d"}), Path("/d"))


class ProxyTest(unittest.TestCase):
    def test_the_webserver_is_never_asked_through_a_proxy(self) -> None:
        standin = serving(self)
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        put_token(Path(directory.name))
        nowhere = f"http://127.0.0.1:{unused_port()}"
        with mock.patch.dict(os.environ, http_proxy=nowhere, HTTP_PROXY=nowhere, all_proxy=nowhere):
            info = Client(standin.port, "c", Path(directory.name)).info()

        self.assertFalse(info.is_shutting_down)
