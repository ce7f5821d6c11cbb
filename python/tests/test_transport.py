"""Requests and answers over real sockets."""

from __future__ import annotations

import socket
import threading
import unittest
from typing import Callable
from unittest import mock

from ray_on_golem import transport
from ray_on_golem.errors import AccessError, ConnectionFailed, WebserverError
from ray_on_golem.transport import Transport

from .standin import TOKEN, serving

TAGS = {"cluster_name": "c", "node_id": "node0"}


class TransportTest(unittest.TestCase):
    def setUp(self) -> None:
        self.standin = serving(self)
        self.transport = Transport(self.standin.port, lambda: TOKEN)

    def test_one_thread_keeps_one_connection(self) -> None:
        for _ in range(5):
            self.transport.request("GET", "/")

        self.assertEqual(self.standin.connections, 1)

    def test_each_thread_has_a_connection(self) -> None:
        def ask() -> None:
            for _ in range(5):
                self.transport.request("GET", "/")

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        self.assertEqual(self.standin.connections, 4)
        self.assertEqual([path for path, _ in self.standin.requests].count("/"), 20)

    def test_broken_request_is_repeated(self) -> None:
        self.standin.meddle = broken(1)

        self.assertEqual(self.transport.request("GET", "/")["datadir"], "/nonexistent")

    def test_request_is_repeated_once_only(self) -> None:
        self.standin.meddle = broken(2)

        with self.assertRaises(ConnectionFailed) as caught:
            self.transport.request("GET", "/", openly=True)

        self.assertIn("broke off at `/`", str(caught.exception))

    def test_nobody_listens(self) -> None:
        nobody = Transport(unused_port(), lambda: TOKEN)

        with self.assertRaises(ConnectionFailed) as caught:
            nobody.request("GET", "/")

        self.assertRegex(
            str(caught.exception), r"No webserver answers on http://127\.0\.0\.1:\d+ \(Connection refused\)"
        )

    def test_silence_ends(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            quiet = Transport(silent.getsockname()[1])

            with self.assertRaises(ConnectionFailed) as caught:
                quiet.request("GET", "/", seconds=0.05, openly=True)

        self.assertIn("did not answer `/` within 0.05 seconds", str(caught.exception))

    def test_reason_of_a_refusal_is_told(self) -> None:
        with self.assertRaises(WebserverError) as caught:
            self.transport.request("POST", "/internal_ip", TAGS)

        self.assertEqual(str(caught.exception), "400: Cluster with given name not found")

    def test_unknown_path_is_refused(self) -> None:
        with self.assertRaises(WebserverError) as caught:
            self.transport.request("POST", "/nowhere", {})

        self.assertEqual(str(caught.exception), "404: not found")

    def test_token_is_sent_and_judged(self) -> None:
        request = ("POST", "/non_terminated_nodes", {"cluster_name": "c"})

        self.assertEqual(self.transport.request(*request), {"nodes_ids": []})
        for stranger in (Transport(self.standin.port, lambda: "wrong"), Transport(self.standin.port)):
            with self.assertRaises(AccessError):
                stranger.request(*request)

    def test_each_connection_is_proven_before_the_token_is_sent_on_it(self) -> None:
        self.transport.request("GET", "/")
        self.standin.meddle = broken(1)
        self.transport.request("GET", "/")

        asked = [(heard.split()[0], TOKEN in heard) for heard in self.standin.heard]
        proven = [("/prove", False), ("/", True)]
        self.assertEqual(asked, [*proven, ("/", True), *proven])

    def test_connection_that_has_ended_is_not_made_again_in_silence(self) -> None:
        self.transport.request("GET", "/")
        self.transport._kept.connection.close()
        # What listens from here on is not ours.
        self.standin.token = "another"

        with self.assertRaises(AccessError):
            self.transport.request("GET", "/")
        self.assertEqual([TOKEN in heard for heard in self.standin.heard], [False, True, False])

    def test_other_answers_than_json_objects_are_refused(self) -> None:
        for answer in (b"hello", b"[1]", b"\xff\xfe"):
            with self.subTest(answer=answer), self.assertRaises(WebserverError):
                transport._read("/", 200, answer)

    def test_webserver_on_its_way_out_or_in_is_as_good_as_none(self) -> None:
        with self.assertRaisesRegex(ConnectionFailed, "not available .the manager has stopped."):
            transport._read("/", 503, b'{"error": "the manager has stopped"}')

    def test_token_that_does_not_reach_so_far_is_told(self) -> None:
        with self.assertRaises(WebserverError) as caught:
            transport._read("/", 403, b'{"error": "this token is for another cluster"}')

        self.assertEqual(str(caught.exception), "403: this token is for another cluster")
        self.assertNotIsInstance(caught.exception, AccessError)

    def test_error_in_plain_text_is_told(self) -> None:
        with self.assertRaises(WebserverError) as caught:
            transport._read("/terminate", 400, b"Action not allowed while server is shutting down!")

        self.assertEqual(str(caught.exception), "400: Action not allowed while server is shutting down!")

    def test_child_process_makes_its_own_connection(self) -> None:
        self.transport.request("GET", "/")

        with mock.patch.object(transport.os, "getpid", return_value=-1):
            self.transport.request("GET", "/")

        self.assertEqual(self.standin.connections, 2)


def broken(times: int) -> Callable[[str], None]:
    """Breaks the connection before the answer, so many times."""
    left: list[int] = [times]

    def meddle(_: str) -> None:
        if left[0]:
            left[0] -= 1
            raise ConnectionError

    return meddle


def unused_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]
