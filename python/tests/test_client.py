"""The calls, their errors, and the token."""

from __future__ import annotations

import os
import pwd
import tempfile
import unittest
from decimal import Decimal
from pathlib import Path
from unittest import mock

from ray_on_golem import proof, surroundings
from ray_on_golem.client import Client
from ray_on_golem.errors import AccessError, WebserverError
from ray_on_golem.messages import Wallet

from .standin import TOKEN, put_token, serving
from .test_transport import unused_port

NODE_CONFIG = {"demand": {"image_tag": "golem/ray-on-golem:x"}}


class ClientTest(unittest.TestCase):
    def setUp(self) -> None:
        self.datadir = Path(self.enter(tempfile.TemporaryDirectory()))
        self.enter(mock.patch.dict(os.environ, clear=True))
        self.standin = serving(self, datadir=str(self.datadir))
        put_token(self.datadir)
        self.client = self.client_in(self.datadir)

    def enter(self, manager):
        self.addCleanup(manager.__exit__, None, None, None)
        return manager.__enter__()

    def client_in(self, datadir: Path) -> Client:
        return Client(self.standin.port, "c", datadir)

    def test_life_of_a_node(self) -> None:
        self.assertEqual(self.client.nodes(), {})
        self.assertEqual(self.client.request_nodes({}, NODE_CONFIG, 1, {"a": "b"}, "key"), ["node0"])
        self.assertEqual(self.client.nodes()["node0"].state, "pending")
        self.client.nodes()
        node = self.client.nodes()["node0"]
        self.assertTrue(node.is_running)
        self.assertEqual(node.last_words, "[9/9] Activity ready on provider: standin (0x01)")
        self.client.set_tags("node0", {"c": "d"})
        self.assertEqual(self.client.nodes()["node0"].tags, {"a": "b", "c": "d"})
        self.client.terminate("node0")
        self.assertTrue(self.client.nodes()["node0"].is_terminated)

    def test_errors_say_what_was_tried(self) -> None:
        with self.assertRaises(WebserverError) as caught:
            self.client.terminate("node7")

        self.assertEqual(str(caught.exception), "Couldn't terminate node node7: 400: Cluster with given name not found")

    def test_request_that_is_repeated_gives_the_same_nodes(self) -> None:
        first = self.client.request_nodes({}, NODE_CONFIG, 2, {}, "key")

        self.assertEqual(self.client.request_nodes({}, NODE_CONFIG, 2, {}, "key"), first)
        self.assertEqual(self.client.request_nodes({}, NODE_CONFIG, 1, {}, "other"), ["node2"])

    def test_token_is_read_from_the_data_directory(self) -> None:
        self.standin.token = "secret"
        put_token(self.datadir, "secret")

        self.assertEqual(self.client.nodes(), {})

    def test_token_file_of_the_environment_wins(self) -> None:
        self.standin.token = "secret"
        put_token(self.datadir, "wrong")
        named = self.datadir / "named"
        named.write_text("secret")
        os.environ["RAY_ON_GOLEM_TOKEN_FILE"] = str(named)

        self.assertEqual(self.client_in(self.datadir).nodes(), {})

    def test_new_token_of_a_webserver_started_anew_is_found(self) -> None:
        put_token(self.datadir, "old")
        self.standin.token = "old"
        self.client.nodes()
        self.standin.token = "new"
        put_token(self.datadir, "new")

        self.assertEqual(self.client.request_nodes({}, NODE_CONFIG, 2, {}, "key"), ["node0", "node1"])

    def test_token_is_looked_for_where_the_webserver_keeps_it(self) -> None:
        client = self.client_in(self.datadir / "another")
        with self.assertRaises(AccessError):
            client.nodes()

        self.assertTrue(client.use_datadir_of(client.info()))
        self.assertEqual(client.nodes(), {})

    def test_token_is_not_taken_from_where_others_can_put_one(self) -> None:
        self.datadir.chmod(0o777)
        client = self.client_in(self.datadir / "another")

        with self.assertRaisesRegex(AccessError, "no token in `.*/another/webserver.token` by which"):
            client.info()
        self.datadir.chmod(0o755)
        (self.datadir / "webserver.token").chmod(0o644)
        with self.assertRaises(AccessError):
            client.info()
        (self.datadir / "webserver.token").unlink()
        (self.datadir / "webserver.token").symlink_to(self.datadir / "elsewhere")
        (self.datadir / "elsewhere").touch(mode=0o600)
        (self.datadir / "elsewhere").write_text("token of the stand-in")
        with self.assertRaises(AccessError):
            client.info()

        put_token(self.datadir / "own")
        self.standin.datadir = str(self.datadir / "own")
        self.assertEqual(client.info().datadir, self.standin.datadir)

    def test_webserver_that_does_not_trust_us_tells_no_datadir(self) -> None:
        self.standin.datadir = ""

        self.assertFalse(self.client.use_datadir_of(self.client.info()))

    def test_missing_token_is_explained(self) -> None:
        (self.datadir / "webserver.token").unlink()

        with self.assertRaisesRegex(AccessError, "there is no token in `.*webserver.token` by which"):
            self.client.nodes()

    def test_nothing_of_the_token_goes_to_what_does_not_know_it(self) -> None:
        put_token(self.datadir, "ours")

        for call in (self.client.info, self.client.nodes, lambda: self.client.terminate("node0")):
            with self.assertRaisesRegex(
                AccessError, "does not show that it knows the token in `.*`, which was not sent; if it is your"
            ) as caught:
                call()
            self.assertNotIn("ours", str(caught.exception))

        self.assertNotIn("ours", str(self.standin.heard))
        self.assertEqual(self.standin.paths(), [])

    def test_other_user_on_the_port_is_named(self) -> None:
        client = self.client_in(self.datadir / "another")

        name = pwd.getpwuid(os.getuid()).pw_name
        whose = f"another user's program \\(user `{name}`\\) listens on 127.0.0.1:{self.standin.port}, where"
        with mock.patch.object(os, "getuid", return_value=os.getuid() + 1):
            with self.assertRaisesRegex(AccessError, whose):
                client.ssh_keys()
            self.assertIsNone(surroundings.other_user_at(unused_port()))
        self.assertIsNone(surroundings.other_user_at(self.standin.port))

    def test_proof_that_was_passed_on_from_another_port_is_none(self) -> None:
        ours = serving(self)
        # It lets ours answer in its place.
        self.standin.answer_prove = ours.answer_prove

        with self.assertRaises(AccessError):
            self.client.info()
        self.assertEqual(Client(ours.port, "c", self.datadir).info().datadir, ours.datadir)
        self.assertNotIn("Bearer", str(self.standin.heard))

    def test_proof_is_for_one_challenge(self) -> None:
        first = self.standin.answer_prove({"mark": proof.mark(TOKEN), "challenge": proof.challenge()})
        self.standin.answer_prove = lambda body: first

        with self.assertRaises(AccessError):
            self.client.info()

    def test_heads_are_proven_to_for_themselves(self) -> None:
        os.environ.update(
            ON_GOLEM_NETWORK="192.168.0.0/24", RAY_ON_GOLEM_TOKEN_FILE=str(self.datadir / "webserver.token")
        )
        head = self.client_in(self.datadir)

        with self.assertRaises(AccessError):
            head.info()
        self.assertNotIn("Bearer", str(self.standin.heard))
        self.standin.place = "heads"
        self.assertEqual(head.nodes(), {})

    def test_something_else_that_listens_is_recognised(self) -> None:
        self.standin.answer_greeting = lambda body: {"hello": "world"}

        with self.assertRaisesRegex(
            WebserverError, "is not the webserver of Ray on Golem; name a free `webserver_port`"
        ):
            self.client.info()

    def test_answers_in_another_form_are_errors(self) -> None:
        self.standin.answer_cluster_data = lambda body: {"cluster_data": {"node0": {}}}
        self.standin.answer_request_nodes = lambda body: {}

        for call in (
            self.client.nodes,
            lambda: self.client.request_nodes({}, {}, 1, {}, "key"),
        ):
            with self.assertRaises(WebserverError):
                call()

    def test_wallet(self) -> None:
        wallet = self.client.wallet("polygon", "erc20")

        self.assertEqual(wallet, Wallet("0xabc", "│ 1000 tGLM │", Decimal(1000)))
        self.assertFalse(wallet.is_empty)

    def test_wallet_is_empty_only_if_it_says_so(self) -> None:
        for amount, is_empty in (("0", True), ("0.0", True), (0, True), ("0.1", False), (None, False), ("?", False)):
            with self.subTest(amount=amount):
                wallet = Wallet.parse({"yagna_payment_status": {"amount": amount}})
                self.assertEqual(wallet.is_empty, is_empty)
