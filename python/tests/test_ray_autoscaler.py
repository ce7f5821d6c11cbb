"""Ray's autoscalers, the second and the first, with the provider as it is on a head."""

from __future__ import annotations

import json
import time
import unittest
from pathlib import Path
from typing import Any, Callable
from unittest import mock

from .ray_support import VERSION, RayTestCase, fresh_for, needs_ray

needs_v2 = unittest.skipUnless(VERSION >= (2, 50), "autoscaler v2 is the default since Ray 2.50")

WORKER = "ray.worker.default"


class AutoscalerTestCase(RayTestCase):
    """A cluster that has a head, seen from there."""

    def start(self, name: str = "demo.yaml", **worker: Any) -> dict[str, Any]:
        """Completes a cluster file as `ray up` does, starts the head, and goes there."""
        from ray.autoscaler._private.commands import _bootstrap_config
        from ray.autoscaler._private.providers import _get_node_provider

        config = self.file(name)
        config["available_node_types"][WORKER].update(worker)
        # All work is for workers.
        config["available_node_types"]["ray.head.default"]["resources"] = {"CPU": 0, "memory": 0}
        config = _bootstrap_config(config, no_config_cache=True)
        head = config["available_node_types"]["ray.head.default"]["node_config"]
        tags = {"ray-node-type": "head", "ray-user-node-type": "ray.head.default", "ray-node-status": "up-to-date"}
        provider = _get_node_provider(config["provider"], config["cluster_name"], use_cache=False)
        provider.create_node(head, tags, 1)
        self.on_head()
        self.patch(mock.patch("ray_on_golem.snapshot.Snapshot.__init__.__defaults__", fresh_for(1.0)))
        self.provider = _get_node_provider(config["provider"], config["cluster_name"], use_cache=False)
        self.standin.requests.clear()
        return config

    def eventually(self, holds: Callable[[], bool]) -> None:
        """Waits for what other threads do."""
        end = time.monotonic() + 300
        while not holds():
            self.assertLess(time.monotonic(), end, "it does not happen")
            time.sleep(0.01)

    def begin_tick(self, provider: Any) -> None:
        """What is asked from here on is counted; a busy machine may take longer for it than answers are fresh."""
        provider._snapshot._fresh_seconds = 300.0
        provider._snapshot.invalidate()
        self.standin.requests.clear()

    def write(self, config: dict[str, Any]) -> str:
        """Puts the cluster file where the head has it. JSON is YAML."""
        file = Path(self.directory / "ray_bootstrap_config.yaml")
        file.write_text(json.dumps(config))
        return str(file)


@needs_v2
class SecondAutoscalerTest(AutoscalerTestCase):
    def adapter(self, config: dict[str, Any]) -> Any:
        from ray.autoscaler.v2.instance_manager.config import FileConfigReader
        from ray.autoscaler.v2.instance_manager.node_provider import NodeProviderAdapter

        return NodeProviderAdapter(self.provider, FileConfigReader(self.write(config)))

    def launches(self, config: dict[str, Any], bundles: list[dict[str, float]]) -> dict[str, int]:
        """What the scheduler would start for these bundles."""
        from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
        from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
        from ray.autoscaler.v2.utils import ResourceRequestUtil

        read = AutoscalingConfig(config, skip_content_hash=True)
        request = SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs=read.get_node_type_configs(),
            max_num_nodes=read.get_max_num_nodes(),
            resource_requests=ResourceRequestUtil.group_by_count(
                [ResourceRequestUtil.make(bundle) for bundle in bundles]
            ),
        )
        reply = ResourceDemandScheduler().schedule(request)
        return {launch.instance_type: launch.count for launch in reply.to_launch}

    def test_filled_resources_make_it_scale(self) -> None:
        config = self.start(resources={}, min_workers=0)

        self.assertEqual(self.launches(config, [{"CPU": 1}] * 3)[WORKER], 3)
        config["available_node_types"][WORKER]["resources"] = {}
        self.assertNotIn(WORKER, self.launches(config, [{"CPU": 1}] * 3), "Ray scales without resources, too")

    def test_memory_is_planned_with(self) -> None:
        config = self.start(resources={}, min_workers=0)

        self.assertEqual(self.launches(config, [{"memory": 500 << 20}] * 2)[WORKER], 2)

    def test_nodes_are_launched_listed_and_ended(self) -> None:
        config = self.start()
        adapter = self.adapter(config)

        adapter.launch({WORKER: 3}, "request-1")
        self.eventually(lambda: len(self.standin.clusters["demo"]) == 4)
        found = adapter.get_non_terminated()

        workers = [instance for instance in found.values() if instance.node_type == WORKER]
        self.assertEqual(sorted(found), ["node0", "node1", "node2", "node3"])
        self.assertEqual({instance.request_id for instance in workers}, {"request-1"})
        self.assertFalse(any(instance.is_running for instance in workers))
        self.eventually(lambda: all(instance.is_running for instance in adapter.get_non_terminated().values()))
        adapter.terminate(["node1", "node2"], "request-2")
        self.eventually(lambda: sorted(adapter.get_non_terminated()) == ["node0", "node3"])
        self.assertEqual(adapter.poll_errors(), [])

    def test_reason_of_a_failed_launch_is_kept(self) -> None:
        config = self.start()
        del config["available_node_types"][WORKER]["node_config"]["demand"]
        adapter = self.adapter(config)

        adapter.launch({WORKER: 1}, "request-1")
        errors: list[Any] = []
        self.eventually(lambda: bool(errors) or bool(errors.extend(adapter.poll_errors())) or bool(errors))

        self.assertIn("Couldn't request nodes: 400", str(errors[0].__cause__))

    def test_one_tick_is_one_request(self) -> None:
        config = self.start()
        adapter = self.adapter(config)
        adapter.launch({WORKER: 3}, "request-1")
        self.eventually(lambda: len(self.standin.clusters["demo"]) == 4)
        # The threads of the launch may still have questions.
        for executor in (adapter._main_executor, adapter._node_launcher_executors):
            executor.shutdown()
        self.begin_tick(self.provider)

        adapter.get_non_terminated()

        self.assertEqual(self.standin.paths(), ["/cluster_data"])


@needs_ray
class FirstAutoscalerTest(AutoscalerTestCase):
    def autoscaler(self, config: dict[str, Any]) -> Any:
        from ray.autoscaler._private.autoscaler import StandardAutoscaler
        from ray.autoscaler._private.load_metrics import LoadMetrics

        self.metrics = LoadMetrics()
        # Its commands on nodes succeed and do nothing.
        runner = mock.Mock(check_output=mock.Mock(return_value=b""))
        return StandardAutoscaler(
            self.write(config), self.metrics, mock.Mock(), process_runner=runner, update_interval_s=0, max_failures=0
        )

    def report(self, bundles: list[dict[str, float]]) -> None:
        """All nodes report to the head that these bundles wait; if none does, they have been idle for ever."""
        common = {"waiting_bundles": bundles, "infeasible_bundles": [], "pending_placement_groups": []}
        is_new = VERSION >= (2, 30)
        used = self.metrics.ray_nodes_last_used_time_by_ip if is_new else self.metrics.last_used_time_by_ip
        idle = (0.0,) if is_new else ()
        for node in self.standin.clusters["demo"].values():
            address = node["internal_ip"]
            if address is not None:
                resources = {"CPU": 0.0 if node["node_id"] == "node0" else 1.0}
                self.metrics.update(address, node["node_id"].encode(), resources, resources, *idle, **common)
                used[address] = time.time() if bundles else 0.0

    def test_it_scales_up_and_down(self) -> None:
        config = self.start(resources={}, min_workers=0)
        autoscaler = self.autoscaler(config)
        nodes = self.standin.clusters["demo"]

        def update(bundles: list[dict[str, float]]) -> list[str]:
            self.report(bundles)
            autoscaler.update()
            workers = [node for node in nodes.values() if node["tags"]["ray-node-type"] == "worker"]
            return [node["state"] for node in workers]

        # Ray looks at its launches after it has listed nodes: one that ends in between is in neither, and is made up for.
        self.eventually(lambda: update([{"CPU": 1.0}] * 2).count("running") >= 2)
        self.eventually(lambda: set(update([])) == {"terminated"})

    def test_tick_needs_few_requests(self) -> None:
        config = self.start(min_workers=3)
        autoscaler = self.autoscaler(config)

        def is_quiet() -> bool:
            autoscaler.update()
            tags = [node["tags"] for node in self.standin.clusters["demo"].values()]
            return len(tags) == 4 and all(each["ray-node-status"] == "up-to-date" for each in tags)

        self.eventually(is_quiet)
        autoscaler.update()
        self.begin_tick(autoscaler.provider)
        autoscaler.update()

        self.assertLessEqual(len(self.standin.paths()), 2, self.standin.paths())
        self.assertEqual(set(self.standin.paths()) - {"/cluster_data"}, set())


if __name__ == "__main__":
    unittest.main()
