"""Where data, tokens, and keys are."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from ray_on_golem import ssh_key, surroundings
from ray_on_golem.errors import RayOnGolemError
from ray_on_golem.transport import DEFAULT_PORT


class SurroundingsTest(unittest.TestCase):
    def test_nearest_datadir_wins(self) -> None:
        with mock.patch.object(Path, "home", return_value=Path("/h")), mock.patch("sys.platform", "linux"):
            cases = [
                ({"webserver_datadir": "/a"}, {"RAY_ON_GOLEM_DATADIR": "/b"}, "/a"),
                ({"webserver_datadir": None}, {"RAY_ON_GOLEM_DATADIR": "/b"}, "/b"),
                ({}, {"XDG_DATA_HOME": "/x"}, "/x/ray_on_golem"),
                ({}, {}, "/h/.local/share/ray_on_golem"),
            ]
            for parameters, environment, expected in cases:
                with self.subTest(expected=expected):
                    self.assertEqual(surroundings.datadir(parameters, environment), Path(expected))

    def test_head_has_a_token_of_its_own(self) -> None:
        on_head = {"ON_GOLEM_NETWORK": "192.168.0.0/24"}
        named = {"RAY_ON_GOLEM_TOKEN_FILE": "/n", **on_head}

        self.assertEqual(surroundings.token_file(Path("/d"), {}), Path("/d/webserver.token"))
        self.assertEqual(surroundings.token_file(Path("/d"), on_head), Path("/etc/ray_on_golem/token"))
        self.assertEqual(surroundings.token_file(Path("/d"), named), Path("/n"))

    def test_only_a_head_has_a_tunnel_at_another_address(self) -> None:
        named = {"RAY_ON_GOLEM_TUNNEL_HOST": "127.7.0.3"}

        self.assertIsNone(surroundings.tunnel_host(named))
        self.assertIsNone(surroundings.tunnel_host({"ON_GOLEM_NETWORK": "1"}))
        self.assertEqual(surroundings.tunnel_host({"ON_GOLEM_NETWORK": "1", **named}), "127.7.0.3")

    def test_missing_and_empty_tokens_are_none(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "token"
            self.assertIsNone(surroundings.read_token(file))
            file.write_text("\n")
            self.assertIsNone(surroundings.read_token(file))
            file.write_bytes(b"\xff")
            self.assertIsNone(surroundings.read_token(file))

    def test_file_of_host_keys_has_the_name_that_the_webserver_gives_it(self) -> None:
        # The webserver's side of it is `src/ssh/file.rs`.
        digest = hashlib.md5(b"x" * 300, usedforsecurity=False).hexdigest()
        for cluster, name in (
            ("golem-cluster_1", "golem-cluster_1"),
            ("../a b", "%2E%2E%2Fa%20b"),
            ("x" * 300, f"%{digest}"),
        ):
            with self.subTest(name):
                self.assertEqual(surroundings.known_hosts(Path("/d"), cluster), Path("/d/known_hosts") / name)

    def test_host_key_of_a_node_is_pinned_once_it_is_known(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            file = surroundings.known_hosts(Path(directory), "golem.ü-1")
            self.assertEqual(file.relative_to(directory), Path("known_hosts/golem%2E%C3%BC-1"))
            self.assertFalse(surroundings.is_pinned(file, "node0", "192.168.0.3"))
            file.parent.mkdir()
            file.write_text("192.168.0.3 ssh-ed25519 AAAA node0\n\n192.168.0.4 ssh-ed25519 AAAA node1\n")
            self.assertTrue(surroundings.is_pinned(file, "node0", "192.168.0.3"))
            # The address was another node's before.
            self.assertFalse(surroundings.is_pinned(file, "node2", "192.168.0.4"))
            self.assertFalse(surroundings.is_pinned(file, "node0", None))


class SshKeyTest(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name) / "keys"

    def test_path_is_as_it_always_was(self) -> None:
        # Unless another user of this machine has it.
        with mock.patch.object(ssh_key, "_belongs_to_another", return_value=False):
            path = ssh_key.default_path("golem-cluster", DEFAULT_PORT)

        self.assertEqual(str(path), "/tmp/ray_on_golem/ray_on_golem_rsa_2b6976a4b5")

    def test_clusters_of_one_name_have_a_key_for_each_webserver(self) -> None:
        path = ssh_key.default_path("golem-cluster", 4579, self.directory)

        self.assertEqual(path, self.directory.with_name("keys-4579") / "ray_on_golem_rsa_2b6976a4b5")

    def test_key_is_for_its_owner_only(self) -> None:
        path = ssh_key.default_path("c", DEFAULT_PORT, self.directory)

        ssh_key.write(path, "private", "public")

        self.assertEqual(path.read_text(), "private")
        self.assertEqual(path.with_name(f"{path.name}.pub").read_text(), "public")
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(self.directory.stat().st_mode), 0o700)

    def test_key_is_replaced_if_it_changed_or_was_open_to_others(self) -> None:
        path = ssh_key.default_path("c", DEFAULT_PORT, self.directory)
        ssh_key.write(path, "old", "public")
        before = path.stat().st_ino

        ssh_key.write(path, "old", "public")
        self.assertEqual(path.stat().st_ino, before)
        path.chmod(0o644)
        ssh_key.write(path, "old", "public")
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        ssh_key.write(path, "new", "public")
        self.assertEqual(path.read_text(), "new")
        self.assertEqual(sorted(file.name for file in self.directory.iterdir()), [path.name, f"{path.name}.pub"])

    def test_directory_of_another_user_is_not_used(self) -> None:
        self.directory.mkdir()
        with mock.patch.object(os, "getuid", return_value=os.getuid() + 1):
            path = ssh_key.default_path("c", DEFAULT_PORT, self.directory)
            self.assertEqual(path.parent.name, f"keys_{os.getuid()}")
            with self.assertRaises(RayOnGolemError):
                ssh_key.write(self.directory / "key", "private", "public")

    def test_key_where_this_user_may_not_look_is_told(self) -> None:
        with mock.patch.object(Path, "stat", side_effect=PermissionError):
            said = ssh_key.fault(self.directory / "key")

        self.assertIn(f"the ssh key `{self.directory / 'key'}` is where this user may not look", said or "")

    def test_link_in_place_of_the_directory_is_not_followed(self) -> None:
        self.directory.symlink_to(self.directory.parent)

        with self.assertRaises(RayOnGolemError):
            ssh_key.write(self.directory / "key", "private", "public")
