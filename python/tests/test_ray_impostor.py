"""Another program takes the webserver's port: nothing of the token goes there, and nothing that it says is done."""

from __future__ import annotations

from typing import Any
from unittest import mock

from .ray_support import HEAD_TAGS, NODE_CONFIG, RayTestCase, needs_ray, printed
from .standin import TOKEN, StandIn, serving
from .test_transport import broken

UNKNOWN = "does not show that it knows the token in .*, which was not sent"


@needs_ray
class ImpostorTest(RayTestCase):
    def take_over(self) -> StandIn:
        """The webserver has ended, with its connections, and another program listens in its place."""
        self.standin.meddle = broken(1000)
        self.standin.stop()
        port, place, datadir = self.standin.port, self.standin.place, self.standin.datadir
        return serving(self, port=port, place=place, datadir=datadir, token="the impostor's own")

    def assert_learned_nothing(self, impostor: StandIn) -> None:
        self.assertNotEqual(impostor.heard, [])
        self.assertNotIn(TOKEN, str(impostor.heard))
        self.assertNotIn("Bearer", str(impostor.heard))
        self.assertEqual(impostor.paths(), [])

    def test_provider_is_not_made(self) -> None:
        impostor = self.take_over()

        with self.assertRaisesRegex(Exception, UNKNOWN), printed():
            self.provider()

        self.assert_learned_nothing(impostor)

    def test_provider_does_not_go_on_with_it(self) -> None:
        calls: list[Any] = [
            lambda provider: provider.non_terminated_nodes({}),
            lambda provider: provider.create_node(NODE_CONFIG, HEAD_TAGS, 1),
            lambda provider: provider.set_node_tags("node0", {"a": "b"}),
            lambda provider: provider.internal_ip("node0"),
        ]
        for nth, call in enumerate(calls):
            with self.subTest(nth=nth):
                self.standin = serving(self)
                provider = self.provider()
                impostor = self.take_over()

                with self.assertRaisesRegex(Exception, UNKNOWN), printed():
                    call(provider)

                self.assert_learned_nothing(impostor)

    def test_command_runner_runs_nothing(self) -> None:
        provider = self.provider()
        process_runner = mock.Mock()
        with printed():
            provider.create_node(NODE_CONFIG, HEAD_TAGS, 1)
            runner = provider.get_command_runner(
                "", "node0", {"ssh_user": "root", "ssh_private_key": "/k"}, "demo", process_runner, False
            )
        impostor = self.take_over()

        with self.assertRaisesRegex(Exception, UNKNOWN), printed():
            runner.run("uptime")

        self.assert_learned_nothing(impostor)
        self.assertEqual(process_runner.method_calls, [])

    def test_head_does_not_tell_its_token(self) -> None:
        provider = self.provider()
        self.on_head()
        head = type(provider)(provider.provider_config, "demo")
        head.non_terminated_nodes({})
        impostor = self.take_over()

        with self.assertRaisesRegex(Exception, UNKNOWN):
            head.non_terminated_nodes({})

        self.assert_learned_nothing(impostor)
