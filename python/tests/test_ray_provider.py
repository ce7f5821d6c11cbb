"""The provider's methods, as Ray calls them."""

from __future__ import annotations

import datetime
import json
import os
import re
import shlex
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

from ray_on_golem import ssh_key, webserver
from ray_on_golem.errors import ClusterFileError

from .ray_support import CLUSTERS, HEAD, HEAD_TAGS, NODE_CONFIG, RayTestCase, fresh_for, needs_ray, printed
from .standin import Refused, put_token
from .test_transport import broken

BUDGET = "Budget: at most 5 GLM in all (`total_budget`); no `max_glm_per_hour` limits what an hour costs"


@needs_ray
class UserMachineTest(RayTestCase):
    def test_node_comes_up_and_goes(self) -> None:
        provider = self.provider()
        self.assertEqual(provider.non_terminated_nodes({}), [])

        with printed() as lines:
            created = provider.create_node(NODE_CONFIG, HEAD_TAGS, 1)

        self.assertEqual(created, {"node0": {}})
        self.assertEqual(
            [line for line in lines if not line.startswith("Requested nodes status after 0:00:")],
            [
                BUDGET,
                "Requesting 1 nodes...",
                "  [1/9] Getting an agreement...",
                "node0: [2/9] Creating activity on provider: standin (0x01)...",
                "node0: [9/9] Activity ready on provider: standin (0x01)",
                "All 1 requested nodes ready",
            ],
        )
        self.assertEqual(provider.non_terminated_nodes(HEAD_TAGS), ["node0"])
        self.assertTrue(provider.is_running("node0"))
        self.assertFalse(provider.is_terminated("node0"))
        self.assertEqual(provider.internal_ip("node0"), "192.168.0.3")
        self.assertEqual(provider.external_ip("node0"), "192.168.0.3")
        self.assertEqual(provider.get_node_id("192.168.0.3", use_internal_ip=True), "node0")
        provider.terminate_nodes(["node0"])
        self.assertEqual(provider.non_terminated_nodes({}), [])
        self.assertFalse(provider.is_running("node0"))
        self.assertTrue(provider.is_terminated("node0"))

    def test_budget_is_told_before_nodes_are_requested(self) -> None:
        from ray_on_golem.provider.launch import tell_budget
        from ray_on_golem.provider.log import TerminalLog

        noon = datetime.datetime(2026, 11, 30, 12, tzinfo=datetime.timezone.utc)
        said = "Budget: at most 2.5 GLM in all (`total_budget`)"
        for rate, rest in (
            (None, "; no `max_glm_per_hour` limits what an hour costs"),
            (0.25, " and 0.25 GLM per hour (`max_glm_per_hour`): it lasts until 2026-11-30 22:00 UTC at least"),
            ("1e-5", " and 0.00001 GLM per hour (`max_glm_per_hour`): it lasts until 2055-06-08 04:00 UTC at least"),
            (1e-17, " and 0.00000000000000001 GLM per hour (`max_glm_per_hour`)"),
        ):
            with printed() as lines:
                tell_budget({"total_budget": 2.5, "max_glm_per_hour": rate}, TerminalLog(), noon)

            self.assertEqual(lines, [said + rest])

    def test_node_that_waits_says_why_whenever_the_reason_changes(self) -> None:
        mem = "`min_mem_gib: 4000` is met by 0 of 55 offers; the largest has 512"
        self.standin.waits = [("no-offer", mem)] * 3 + [("budget", "the budget has no room")] * 2

        with printed() as lines:
            self.provider().create_node(NODE_CONFIG, HEAD_TAGS, 1)

        self.assertEqual(
            [line for line in lines if not line.startswith("Requested nodes status after 0:00:")],
            [
                BUDGET,
                "Requesting 1 nodes...",
                "  [1/9] Getting an agreement...",
                f"node0: waits: {mem}",
                "node0: waits: the budget has no room",
                "node0: [2/9] Creating activity on provider: standin (0x01)...",
                "node0: [9/9] Activity ready on provider: standin (0x01)",
                "All 1 requested nodes ready",
            ],
        )

    def test_node_that_waits_repeats_a_sentence_that_grows_and_not_too_often(self) -> None:
        failed = [f"{count} negotiations failed" for count in (1, 2, 2, 2)]
        self.standin.waits = [("no-provider", sentence) for sentence in failed]
        self.patch(mock.patch("ray_on_golem.provider.launch.SAY_SECONDS", 0.0))

        with printed() as lines:
            self.provider().create_node(NODE_CONFIG, HEAD_TAGS, 1)

        self.assertEqual(
            [line for line in lines if line.startswith("node0: waits")],
            ["node0: waits: 1 negotiations failed", "node0: waits: 2 negotiations failed"],
        )

    def test_request_has_the_form_of_the_interface(self) -> None:
        self.provider(payment_network="polygon").create_node(NODE_CONFIG, HEAD_TAGS, 2)

        (body,) = self.standin.bodies("/request_nodes")
        parameters = body.pop("provider_parameters")
        self.assertRegex(body.pop("idempotency_key"), "^[0-9a-f]{32}$")
        self.assertEqual(body, {"cluster_name": "demo", "node_config": NODE_CONFIG, "count": 2, "tags": HEAD_TAGS})
        self.assertEqual(parameters["payment_network"], "polygon")
        self.assertEqual(parameters["payment_driver"], "erc20")
        self.assertIsNone(parameters["ray_gcs_expose_port"])

    def test_all_tags_are_kept_and_must_match(self) -> None:
        provider = self.provider()
        provider.create_node(NODE_CONFIG, HEAD_TAGS, 1)

        provider.set_node_tags("node0", {"ray-node-status": "up-to-date", "ray-launch-request": "7"})

        self.assertEqual(
            provider.node_tags("node0"),
            {**HEAD_TAGS, "ray-node-status": "up-to-date", "ray-launch-request": "7"},
        )
        self.assertEqual(provider.non_terminated_nodes({"ray-launch-request": "7"}), ["node0"])
        self.assertEqual(provider.non_terminated_nodes({"ray-launch-request": "8"}), [])
        self.assertEqual(provider.non_terminated_nodes({"no-such-tag": "7"}), [])

    def test_all_requests_fail(self) -> None:
        self.standin.doomed = {0: "No recommended providers were found", 1: "Budget is too small"}

        with printed() as lines, self.assertRaises(Exception) as caught:
            self.provider().create_node(NODE_CONFIG, HEAD_TAGS, 2)

        sentence = "All node requests failed!\nnode0: No recommended providers were found\nnode1: Budget is too small"
        self.assertEqual(type(caught.exception).__name__, "ClickException")
        self.assertEqual(str(caught.exception), sentence)
        self.assertIn("All node requests failed!", lines)

    def test_some_requests_fail(self) -> None:
        self.standin.doomed = {1: "Budget is too small"}

        with printed() as lines:
            self.provider().create_node(NODE_CONFIG, HEAD_TAGS, 2)

        self.assertEqual(lines[-2:], ["Some node requests failed!", "node1: Budget is too small"])

    def test_refused_request_is_told(self) -> None:
        with printed() as lines, self.assertRaisesRegex(Exception, "no demand"):
            self.provider().create_node({}, HEAD_TAGS, 1)

        self.assertIn("Couldn't request nodes: 400: provider_parameters: unknown [], or no demand", lines)

    def test_request_whose_answer_is_lost_starts_no_second_node(self) -> None:
        provider = self.provider()
        answer = self.standin.answer_request_nodes
        lose = broken(3)

        def loses(body: dict[str, Any]) -> dict[str, Any]:
            answered = answer(body)
            lose("")
            return answered

        self.standin.answer_request_nodes = loses
        created = provider.create_node(NODE_CONFIG, HEAD_TAGS, 1)

        self.assertEqual(created, {"node0": {}})
        self.assertEqual(len(self.standin.bodies("/request_nodes")), 4)
        self.assertEqual(list(self.standin.clusters["demo"]), ["node0"])

    def test_empty_wallet_is_told_before_anything_is_asked_for(self) -> None:
        self.standin.wallet = {"amount": "0"}

        with self.assertRaisesRegex(Exception, "You don't seem to have any GLM tokens on your Golem wallet."):
            self.provider().create_node(NODE_CONFIG, HEAD_TAGS, 1)

        self.assertEqual(self.standin.clusters, {})

    def test_onboarding_is_told_where_money_is_real(self) -> None:
        with printed() as lines:
            self.provider(payment_network="polygon").create_node(NODE_CONFIG, HEAD_TAGS, 1)

        self.assertEqual(
            lines[:4],
            [
                (
                    "Running Ray on Golem on the mainnet requires GLM and POL tokens on the Polygon blockchain "
                    "(see: https://docs.golem.network/docs/creators/ray/mainnet)."
                ),
                "Your wallet:",
                "│ 1000 tGLM │",
                (
                    "You can use the Golem Onboarding portal to top up: "
                    "https://glm.golem.network/#/onboarding/budget?yagnaAddress=0xabc&network=polygon"
                ),
            ],
        )

    def test_commands_on_a_running_cluster_do_not_look_into_the_wallet(self) -> None:
        self.provider().create_node(NODE_CONFIG, HEAD_TAGS, 1)
        self.standin.requests.clear()

        self.provider().non_terminated_nodes(HEAD)

        self.assertEqual(self.standin.paths(), ["/cluster_data"])

    def test_warnings_of_the_webserver_are_told(self) -> None:
        self.standin.warnings = ["[demo] Terminating node `node3` {x}"]

        with printed() as lines:
            self.provider()

        self.assertEqual(lines, ["Server warnings:", "[demo] Terminating node `node3` {x}"])

    def test_dead_webserver_is_explained(self) -> None:
        provider = self.provider()
        self.patch(mock.patch("ray_on_golem.provider.node_provider.TERMINAL_PATIENCE_SECONDS", 0.0))
        self.standin.stop()
        self.standin.meddle = broken(99)

        with printed() as lines, self.assertRaises(Exception) as caught:
            provider.non_terminated_nodes({})

        self.assertEqual(type(caught.exception).__name__, "ClickException")
        self.assertRegex(
            "\n".join(lines), r"see `/nonexistent/webserver_debug.log` for what became of it, and start it again"
        )

    def test_webserver_that_comes_back_is_waited_for(self) -> None:
        provider = self.provider()
        self.standin.meddle = broken(5)

        with printed() as lines:
            self.assertEqual(provider.non_terminated_nodes({}), [])

        self.assertEqual(len([line for line in lines if "waiting for it to come back" in line]), 1)

    def test_unknown_node_has_ended(self) -> None:
        provider = self.provider()

        self.assertTrue(provider.is_terminated("node9"))
        self.assertFalse(provider.is_running("node9"))
        with self.assertRaisesRegex(Exception, "The cluster `demo` has no node `node9`"):
            provider.node_tags("node9")

    def test_node_that_is_gone_already_is_no_failure(self) -> None:
        with printed() as lines:
            self.provider().terminate_node("node9")

        self.assertEqual(lines, ["Couldn't terminate node node9: 400: Cluster with given name not found"])

    def test_node_that_could_not_be_ended_is_seen_again(self) -> None:
        provider = self.provider()
        provider.create_node(NODE_CONFIG, HEAD_TAGS, 1)

        def refuse(_: dict[str, Any]) -> dict[str, Any]:
            raise Refused("Action not allowed while server is shutting down!")

        self.standin.answer_terminate = refuse
        with printed() as lines:
            provider.terminate_node("node0")

        self.assertEqual(
            lines,
            ["Couldn't terminate node node0: 400: Action not allowed while server is shutting down!"],
        )
        self.assertEqual(provider.non_terminated_nodes({}), ["node0"])

    def test_nodes_end_side_by_side(self) -> None:
        provider = self.provider()
        node_ids = list(provider.create_node(NODE_CONFIG, HEAD_TAGS, 4))
        together = threading.Barrier(4, timeout=300)
        self.standin.meddle = lambda path: together.wait() if path == "/terminate" else None

        provider.terminate_nodes(node_ids)

        self.assertEqual(provider.non_terminated_nodes({}), [])

    def test_unknown_parameter_stops_even_what_is_not_completed(self) -> None:
        with self.assertRaisesRegex(Exception, "unknown key `total_bugdet`; did you mean `total_budget`"):
            self.provider(total_bugdet=3)


@needs_ray
class HeadTest(RayTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.on_head()

    def test_request_returns_at_once_and_nodes_are_listed(self) -> None:
        self.patch(mock.patch("ray_on_golem.snapshot.Snapshot.__init__.__defaults__", fresh_for(60.0)))
        provider = self.provider()

        created = provider.create_node(NODE_CONFIG, HEAD_TAGS, 2)

        self.assertEqual(list(created), ["node0", "node1"])
        self.assertEqual(provider.non_terminated_nodes({}), ["node0", "node1"])
        self.assertFalse(provider.is_running("node0"))
        self.assertNotIn("/get_wallet_status", self.standin.paths())
        self.assertNotIn("/ger_or_create_default_ssh_key", self.standin.paths())

    def test_address_is_told_when_ssh_can_reach_it(self) -> None:
        self.patch(mock.patch("ray_on_golem.snapshot.Snapshot.__init__.__defaults__", fresh_for(60.0)))
        provider = self.provider()
        provider.create_node(NODE_CONFIG, HEAD_TAGS, 1)

        self.assertIsNone(provider.internal_ip("node0"))
        self.assertEqual(self.standin.clusters["demo"]["node0"]["internal_ip"], "192.168.0.3")
        provider.set_node_tags("node0", {})
        self.assertEqual(provider.internal_ip("node0"), "192.168.0.3")

    def test_no_webserver_is_started(self) -> None:
        self.patch(mock.patch("ray_on_golem.provider.node_provider.HEAD_PATIENCE_SECONDS", 0.0))
        start = self.patch(mock.patch("ray_on_golem.webserver._spawn"))
        self.standin.stop()

        with self.assertRaisesRegex(Exception, "the tunnel to the machine that `ray up` ran on is broken"):
            self.provider()

        start.assert_not_called()

    def test_broken_tunnel_is_waited_for(self) -> None:
        provider = self.provider()
        self.standin.meddle = broken(7)

        with self.assertLogs("ray.autoscaler.ray_on_golem", "WARNING") as logs:
            self.assertEqual(provider.non_terminated_nodes({}), [])

        self.assertEqual(len(logs.output), 1)

    def test_refused_request_is_a_launch_failure_with_the_reason(self) -> None:
        from ray.autoscaler.node_launch_exception import NodeLaunchException

        with self.assertRaises(NodeLaunchException) as caught:
            self.provider().create_node({}, HEAD_TAGS, 1)

        self.assertEqual(
            caught.exception.description, "Couldn't request nodes: 400: provider_parameters: unknown [], or no demand"
        )

    def test_what_becomes_of_nodes_is_logged(self) -> None:
        provider = self.provider()
        provider.create_node(NODE_CONFIG, HEAD_TAGS, 1)
        provider.non_terminated_nodes({})
        self.standin.doomed = {1: "Budget is too small"}

        with self.assertLogs("ray.autoscaler.ray_on_golem", "INFO") as logs:
            provider.create_node(NODE_CONFIG, HEAD_TAGS, 1)
            provider.non_terminated_nodes({})
            provider.non_terminated_nodes({})

        self.assertEqual(
            [record.getMessage() for record in logs.records],
            [
                "node0: [9/9] Activity ready on provider: standin (0x01)",
                "node1: [1/9] Getting an agreement...",
                "node1: Budget is too small",
                "node1 has ended: Budget is too small",
            ],
        )

    def test_ending_nodes_does_not_hold_up_the_autoscaler(self) -> None:
        provider = self.provider()
        provider.create_node(NODE_CONFIG, HEAD_TAGS, 1)
        may_end = threading.Event()
        self.addCleanup(may_end.set)
        self.standin.meddle = lambda path: may_end.wait(300) if path == "/terminate" else None

        provider.terminate_nodes(["node0"])

        self.assertEqual(provider.non_terminated_nodes({}), [])
        self.assertTrue(provider.is_terminated("node0"))

    def test_new_node_may_have_the_id_of_an_old_one(self) -> None:
        provider = self.provider()
        provider.create_node(NODE_CONFIG, HEAD_TAGS, 1)
        provider.terminate_nodes(["node0"])
        end = time.monotonic() + 300
        while self.standin.clusters["demo"]["node0"]["state"] != "terminated":
            self.assertLess(time.monotonic(), end, "it does not end")
            time.sleep(0.01)
        self.standin.clusters.clear()

        provider.create_node(NODE_CONFIG, HEAD_TAGS, 1)

        self.assertEqual(provider.non_terminated_nodes({}), ["node0"])

    def test_other_version_is_a_warning(self) -> None:
        self.standin.version = "9.0.0"

        with self.assertLogs("ray.autoscaler.ray_on_golem", "WARNING"):
            self.provider()

    def test_autoscaler_logs_why_a_worker_waits_once_for_each_kind_of_reason(self) -> None:
        provider = self.provider()
        provider.create_node(NODE_CONFIG, HEAD_TAGS, 2)
        provider.non_terminated_nodes({})
        kinds = ["no-provider", "no-provider", "budget"]
        self.standin.waits = [(kind, f"{kind} {nth}") for nth, kind in enumerate(kinds)]

        with self.assertLogs("ray.autoscaler.ray_on_golem", "INFO") as logs:
            for _ in range(4):
                provider.non_terminated_nodes({})

        said = [record.getMessage() for record in logs.records if "node1: waits" in record.getMessage()]
        self.assertEqual(said, ["node1: waits: no-provider 0", "node1: waits: budget 2"])

    def test_many_threads_share_few_requests(self) -> None:
        self.patch(mock.patch("ray_on_golem.snapshot.Snapshot.__init__.__defaults__", fresh_for(60.0)))
        provider = self.provider()
        node_ids = list(provider.create_node(NODE_CONFIG, HEAD_TAGS, 50))
        self.standin.requests.clear()

        def tick() -> None:
            self.assertEqual(provider.non_terminated_nodes({}), node_ids)
            for node_id in node_ids:
                provider.is_running(node_id), provider.is_terminated(node_id), provider.node_tags(node_id)
                provider.internal_ip(node_id)

        threads = [threading.Thread(target=tick) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        self.assertEqual(self.standin.paths(), ["/cluster_data"])


@needs_ray
class CommandRunnerTest(RayTestCase):
    def runner(self, provider, node_id="node0", key="/k"):
        self.process_runner = mock.Mock()
        runner = provider.get_command_runner(
            "", node_id, {"ssh_user": "root", "ssh_private_key": key}, "demo", self.process_runner, True
        )
        self.patch(mock.patch("os.makedirs"))
        return runner

    def provider_of(self, resources):
        from ray_on_golem.provider.node_provider import GolemNodeProvider

        config = self.file()
        config["available_node_types"]["ray.head.default"]["resources"] = resources
        config = GolemNodeProvider.fillout_available_node_types_resources(config)
        provider = GolemNodeProvider(config["provider"], "demo")
        provider.create_node(NODE_CONFIG, HEAD_TAGS, 1)
        return provider

    def commands(self):
        calls = self.process_runner.method_calls
        return [call.args[0] for call in calls]

    def option(self, command, name):
        return next((word.split("=", 1)[1] for word in command if word.startswith(f"{name}=")), None)

    def proxy_command(self) -> str:
        place = f"--port 22 --datadir {self.standin.datadir}"
        return f"{webserver.program()} ssh-proxy --cluster demo --node node0 {place}"

    def test_what_the_webserver_says_is_not_run(self) -> None:
        runner = self.runner(self.provider_of({}))
        self.standin.clusters["demo"]["node0"]["ssh_proxy_command"] = "touch /tmp/owned"
        with printed():
            runner.run("uptime")

        (command,) = self.commands()
        self.assertEqual(self.option(command, "ProxyCommand"), self.proxy_command())

    def test_ssh_goes_through_the_proxy_and_stays_alive(self) -> None:
        runner = self.runner(self.provider_of({}))
        with printed():
            runner.run("uptime", timeout=10, run_env="host")
            runner.run("uptime", ssh_options_override_ssh_key="/k")

        for command in self.commands():
            self.assertEqual(command[0], "ssh")
            self.assertIn("root@192.168.0.3", command)
            self.assertEqual(self.option(command, "ProxyCommand"), self.proxy_command())
            self.assertEqual(self.option(command, "ServerAliveInterval"), "30")
            self.assertEqual(self.option(command, "ServerAliveCountMax"), "10")
            self.assertEqual(self.option(command, "PasswordAuthentication"), "no")

    def test_a_command_that_stops_the_cluster_has_the_head_end_it(self) -> None:
        runner = self.runner(self.provider_of({}))
        # As Ray 2.60 says it; 2.9 leaves the last part to the runner.
        end = "ray teardown ~/ray_bootstrap_config.yaml --yes --workers-only"
        with printed():
            runner.run(f"true; ray stop; {end}; sudo shutdown -h now")
            runner.run(f"true; ray stop; {end}", shutdown_after_run=True)

        newer, older = (command[-1] for command in self.commands())
        self.assertEqual(newer, older)
        self.assertIn("; ray down ~/ray_bootstrap_config.yaml --yes", newer)
        self.assertNotIn("teardown", newer)
        self.assertNotIn("shutdown", newer)

    def test_host_key_is_checked_once_it_is_known(self) -> None:
        self.standin.datadir = str(self.directory)
        runner = self.runner(self.provider_of({}))
        with printed():
            runner.run("uptime")
            known_hosts = self.directory / "known_hosts" / "demo"
            known_hosts.parent.mkdir()
            known_hosts.write_text("192.168.0.3 ssh-ed25519 AAAA node0\n")
            runner.run("uptime")

        unknown, known = self.commands()
        self.assertEqual(self.option(unknown, "StrictHostKeyChecking"), "no")
        self.assertEqual(self.option(known, "StrictHostKeyChecking"), "yes")
        self.assertEqual(self.option(known, "UserKnownHostsFile"), str(known_hosts))

    def test_ssh_is_shown_odd_paths_by_links(self) -> None:
        odd = self.directory / 'it\'s 100% "here" \\ #1 ${HOME}'
        self.standin.datadir = str(odd)
        key = odd / "key of mine"
        known_hosts = odd / "known_hosts" / "demo"
        known_hosts.parent.mkdir(parents=True)
        known_hosts.write_text("192.168.0.3 ssh-ed25519 AAAA node0\n")
        runner = self.runner(self.provider_of({}), key=str(key))
        with printed():
            runner.run("uptime")
            runner.run("uptime")

        first, command = self.commands()
        self.assertEqual(first, command)
        for shown, real in (
            (self.option(command, "UserKnownHostsFile"), known_hosts),
            (command[command.index("-i") + 1], key),
        ):
            self.assertRegex(shown, r"[a-z0-9_/]+/keys/link_[0-9a-f]{20}")
            self.assertEqual(os.readlink(shown), str(real))
        self.assertEqual(len(list((self.directory / "keys").iterdir())), 2)

    def test_on_a_head_ssh_is_direct(self) -> None:
        provider = self.provider_of({})
        self.on_head()
        runner = self.runner(type(provider)(provider.provider_config, "demo"))

        with printed():
            runner.run("uptime")

        (command,) = self.commands()
        self.assertIsNone(self.option(command, "ProxyCommand"))
        self.assertIn("root@192.168.0.3", command)

    def test_rsync_has_its_flags_and_filters(self) -> None:
        runner = self.runner(self.provider_of({}))
        options = {"rsync_exclude": ["*.pyc"], "rsync_filter": [".gitignore"]}
        with printed():
            runner.run_rsync_up("/here/", "/there", options)
            runner.run_rsync_down("/there", "/here")

        up, down = self.commands()
        self.assertEqual(up[:2], ["rsync", "--rsh"])
        shell = as_rsync_reads(up[2])
        self.assertEqual(self.option(shell, "ProxyCommand"), self.proxy_command())
        self.assertEqual(self.option(shell, "ConnectTimeout"), "120s")
        self.assertEqual(up[3:9], ["-avz", "--no-o", "--no-g", "-v", "--stats", "--progress"])
        self.assertEqual(up[9:13], ["--exclude", "*.pyc", "--filter", "dir-merge,- .gitignore"])
        self.assertEqual(up[13:], ["--", "/here/", "root@192.168.0.3:/there"])
        self.assertEqual(down[9:], ["--", "root@192.168.0.3:/there", "/here"])

    def test_rsync_reads_the_same_words_whatever_is_in_them(self) -> None:
        words = ["a b", "it's", 'say "x"', "\\", "c:\\", "", "%d", "two\nlines", "'", '"', "ü", "$HOME #x"]

        from ray_on_golem.provider.command_runner import _for_rsync

        self.assertEqual(as_rsync_reads(_for_rsync(words)), words)

    def test_shell_command_can_be_pasted(self) -> None:
        runner = self.runner(self.provider_of({}))

        with printed():
            words = shlex.split(runner.remote_shell_command_str())

        self.assertEqual(words[:4], ["ssh", "-tt", "-i", "/k"])
        self.assertEqual(words[-1], "root@192.168.0.3")
        self.assertEqual(self.option(words, "ProxyCommand"), self.proxy_command())

    def test_node_that_is_not_up_is_told(self) -> None:
        provider = self.provider_of({})
        provider.terminate_node("node0")

        with self.assertRaisesRegex(Exception, r"node0 is terminated, ssh does not reach it: \[9/9\]"), printed():
            self.runner(provider).run("uptime")

    def test_provider_runs_what_ssh_does_not_reach(self) -> None:
        import click

        provider = self.provider_of({})
        self.standin.clusters["demo"]["node0"]["is_reached_by_ssh"] = False
        runner = self.runner(provider)
        with printed() as lines:
            runner.run("ray status", environment_variables={"A": 1})

        (command,) = self.commands()
        self.assertEqual(command[1:4], ["exec", "--port", str(self.standin.port)])
        self.assertEqual(command[6:-1], ["--cluster", "demo", "--node", "node0", "--"])
        self.assertTrue(command[-1].endswith("PYTHONWARNINGS=ignore && (export A=1;ray status)"), command)
        self.assertIn("ssh does not reach node0 any more; its provider runs the command", lines)
        for what in (
            lambda: runner.run("$SHELL"),
            lambda: runner.run(None, port_forward=[(1, 1)]),
            lambda: runner.run_rsync_up("/here", "/there"),
        ):
            with printed() as lines, self.assertRaises(click.ClickException):
                what()
            self.assertIn("which does not reach node0 any more", "".join(lines))
        self.assertEqual(len(self.commands()), 1)

    def test_shared_connections_are_of_one_node_of_one_webserver(self) -> None:
        provider = self.provider_of({})
        paths = [self.runner(provider, node_id).ssh_control_path for node_id in ("node0", "node1")]
        provider._datadir = provider._datadir / "another"
        runner = self.runner(provider)
        paths.append(runner.ssh_control_path)
        with printed():
            runner.run("uptime")

        self.assertEqual(self.option(self.commands()[0], "ControlPath"), f"{paths[-1]}/%C")
        self.assertEqual(len(set(paths)), 3)
        for path in paths:
            self.assertEqual(Path(path).parent, ssh_key.private_directory())
            # The directory with the longest name; in place of `%C` there are 40 characters, and 17 more until ssh listens.
            longest = f"/tmp/ray_on_golem_{2**32 - 1}/{Path(path).name}/{'C' * 40}.{'x' * 16}"
            self.assertLess(len(longest), 108)

    def test_node_tells_by_itself_what_was_only_planned(self) -> None:
        cases = [
            ({}, None),
            ({"CPU": 1}, '{"CPU":1}'),
            ({"CPU": 1, "memory": 5, "x": 2}, '{"CPU":1,"memory":5,"x":2}'),
        ]
        for said, advertised in cases:
            with self.subTest(said=said):
                provider = self.provider_of(said)
                resources = {"CPU": 1, "memory": 751619276, **said}
                runner = self.runner(provider)
                with printed():
                    runner.run("ray start", environment_variables={"A": 1, "RAY_OVERRIDE_RESOURCES": resources})

                sent = " ".join(self.commands()[0])
                self.assertIn("export A=1;", sent)
                self.assertEqual(advertised is not None, "RAY_OVERRIDE_RESOURCES" in sent)
                self.assertIn(advertised or "", sent)


@needs_ray
class RememberedTest(RayTestCase):
    """What `ray` remembers of an earlier command, in a file that every user can have put there."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(mock.patch.object(tempfile, "tempdir", str(self.directory)))
        self.remembered = self.directory / "ray-config-0123"

    def found(self, config: dict[str, Any], is_ours: bool, **parameters: Any) -> Path | None:
        import click
        from ray_on_golem.provider import invocation

        self.remembered.write_text(json.dumps({"config": {"provider": config}}))
        owner = os.getuid() if is_ours else os.getuid() + 1
        context = click.Context(click.Command("exec"), info_name="exec")
        context.params = {"cluster_config_file": "cluster.yaml", **parameters}
        with context, mock.patch.object(os, "getuid", return_value=owner):
            return invocation.of_another_user(config)

    def test_answer_of_another_user_is_found(self) -> None:
        config = {"module": "m", "parameters": {"webserver_port": 4578}}
        for told in ({}, {"_config_cache_path": str(self.remembered)}):
            with self.subTest(told=told):
                self.assertEqual(self.found({**config, **told}, is_ours=False), self.remembered)
                self.assertIsNone(self.found({**config, **told}, is_ours=True))
                self.assertIsNone(self.found({**config, **told}, is_ours=False, no_config_cache=True))
        self.remembered.unlink()
        self.assertIsNone(self.found({"_config_cache_path": "/nothing/there"}, is_ours=False))

    def test_answer_of_another_user_is_not_gone_by(self) -> None:
        from ray_on_golem.provider import node_provider

        self.patch(mock.patch.object(node_provider, "of_another_user", return_value=self.remembered))
        with printed() as lines, self.assertRaises(Exception) as caught:
            self.provider()

        self.assertEqual(type(caught.exception).__name__, "ClickException")
        (sentence,) = [line for line in lines if "settled" in line]
        self.assertIn(f"settled for such a cluster file (`{self.remembered}`); set `TMPDIR`", sentence)
        self.assertEqual(self.standin.paths(), [])


@needs_ray
class FixturesTest(RayTestCase):
    def test_our_cluster_files_are_completed_and_pass_the_schema(self) -> None:
        from ray.autoscaler._private.util import validate_config

        names = sorted(path.name for path in CLUSTERS.glob("*.yaml"))
        self.assertIn("full.yaml", names)
        for name in names:
            with self.subTest(name=name):
                config = self.bootstrapped(name)
                validate_config(config)
                self.assertEqual(set(config) & {"head_node", "worker_nodes"}, set())
                for node_type in config["available_node_types"].values():
                    self.assertGreaterEqual(node_type["resources"]["CPU"], 1)

    def test_every_key_that_is_documented_is_known_and_the_other_way_round(self) -> None:
        from ray_on_golem import cluster_file

        parameters = self.file("full.yaml")["provider"]["parameters"]

        def keys(found, known):
            deeper = [name for name in known if known[name] is not None]
            return {name: keys(found.get(name, {}), known[name]) if name in deeper else None for name in found}

        documented = keys(parameters, cluster_file.PARAMETERS)
        known = {key: value for key, value in cluster_file.PARAMETERS.items() if not key.startswith("ssh_")}
        known["node_config"]["demand"].pop("image_hash")
        self.addCleanup(known["node_config"]["demand"].__setitem__, "image_hash", None)
        self.assertEqual(documented, known)

    def test_misspelt_key_stops_ray_up_with_a_suggestion(self) -> None:
        with printed() as lines, self.assertRaisesRegex(Exception, "webserver_prot"):
            self.bootstrapped(webserver_prot=1)

        self.assertIn(
            "`provider.parameters` has an unknown key `webserver_prot`; did you mean `webserver_port`?", lines
        )

    def test_key_is_fetched_and_its_event_fired(self) -> None:
        from ray.autoscaler._private.event_system import CreateClusterEvent, global_event_system

        fired = []
        event = CreateClusterEvent.ssh_keypair_downloaded
        global_event_system.add_callback_handler(event, fired.append)
        self.addCleanup(global_event_system.clear_callbacks_for_event, event)

        config = self.bootstrapped()

        path = config["auth"]["ssh_private_key"]
        self.assertEqual(config["auth"]["ssh_user"], "root")
        self.assertEqual(config["provider"]["parameters"]["ssh_private_key"], path)
        with open(path, encoding="utf-8") as file:
            self.assertEqual(file.read(), "private demo\n")
        self.assertEqual([event["ssh_key_path"] for event in fired], [path])

    def test_key_of_the_user_must_be_one(self) -> None:
        from ray_on_golem.provider.node_provider import GolemNodeProvider

        config = self.file()
        config["auth"] = {"ssh_private_key": str(self.directory / "mine")}
        with (
            self.assertRaisesRegex(Exception, "there is no ssh key `.*/mine`; correct `auth.ssh_private_key`"),
            printed(),
        ):
            GolemNodeProvider.bootstrap_config(config)
        subprocess.run(["ssh-keygen", "-q", "-N", "", "-f", str(self.directory / "mine")], check=True)

        completed = GolemNodeProvider.bootstrap_config(config)

        self.assertEqual(completed["auth"]["ssh_private_key"], str(self.directory / "mine"))
        self.assertEqual(self.standin.bodies("/ger_or_create_default_ssh_key"), [])

    def test_whole_file_is_looked_at_before_anything_is_asked_for(self) -> None:
        from ray_on_golem.provider.node_provider import GolemNodeProvider

        config = self.file()
        config["provider"]["parameters"]["total_budget"] = float("inf")
        self.standin.file_warnings = ["`holesky` has been shut down"]
        with printed() as lines:
            GolemNodeProvider.bootstrap_config(config)
        (asked,) = self.standin.bodies("/check_cluster")
        self.assertEqual(asked["cluster_config"]["provider"]["parameters"].pop("total_budget"), "Infinity")
        del config["provider"]["parameters"]["total_budget"]
        self.assertEqual(asked, {"cluster_name": "demo", "cluster_config": config})
        self.assertEqual(lines, ["`holesky` has been shut down"])

        self.standin.complaint = "available_node_types.w.node_config.demand: is wrong"
        with printed(), self.assertRaisesRegex(Exception, "available_node_types.w.node_config.demand: is wrong"):
            GolemNodeProvider.bootstrap_config(config)

    def test_what_is_wrong_in_a_file_holds_up_no_cluster_that_runs(self) -> None:
        from ray_on_golem.provider.node_provider import GolemNodeProvider

        provider = self.provider()
        with printed():
            provider.create_node(NODE_CONFIG, HEAD_TAGS, 1)
        self.standin.complaint = "the image has gone"

        with printed():
            GolemNodeProvider.bootstrap_config(self.file())

        self.assertEqual(self.standin.bodies("/check_cluster"), [])

    def test_written_file_is_what_the_command_line_names(self) -> None:
        import click
        from ray_on_golem.provider import invocation

        path = self.directory / "cluster.yaml"
        path.write_text("cluster_name: x\nprovider:\n  parameters:\n    oops: 1\n")
        self.assertEqual((invocation.written_file(), invocation.may_rent()), (None, None))
        for name, start, rents in (
            ("up", None, True),
            ("down", None, False),
            ("exec", False, False),
            ("exec", True, True),
        ):
            with click.Context(click.Command(name), info_name=name) as context:
                context.params = {"cluster_config_file": str(path), "start": start}
                file = invocation.written_file()
                self.assertEqual(invocation.may_rent(), rents)
        assert file is not None
        self.assertEqual(
            [
                file.sentence(ClusterFileError("wrong", *place))
                for place in (("provider", "parameters", "oops"), ("provider", "module"), ("docker",), ())
            ],
            [f"{path}:4: wrong", f"{path}:2: wrong", f"{path}: wrong", f"{path}: wrong"],
        )

    def test_datadir_of_a_running_webserver_wins_with_a_warning(self) -> None:
        elsewhere = self.directory / "elsewhere"
        put_token(elsewhere)
        self.standin.datadir = str(elsewhere)

        with printed() as lines:
            self.provider(webserver_datadir=str(self.directory / "mine"))

        self.assertEqual(
            lines,
            [
                (
                    f"Specified data directory `{self.directory}/mine` is different than webserver's: `{elsewhere}`. "
                    "Using the webserver setting."
                )
            ],
        )


def as_rsync_reads(line: str) -> list[str]:
    """The words of a command line, by the rule in rsync's manual for `--rsh`."""
    words = re.findall(r"""((?:[^ '"]|'(?:[^']|'')*'|"(?:[^"]|"")*")+)""", line)
    quoted = re.compile(r"""'((?:[^']|'')*)'|"((?:[^"]|"")*)\"""", re.DOTALL)

    def bare(found: re.Match[str]) -> str:
        single, double = found.groups()
        return single.replace("''", "'") if double is None else double.replace('""', '"')

    return [quoted.sub(bare, word) for word in words]


if __name__ == "__main__":
    unittest.main()
