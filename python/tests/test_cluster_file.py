"""What is read in a cluster file before Ray goes on with it."""

from __future__ import annotations

import unittest
from typing import Any

from ray_on_golem import cluster_file
from ray_on_golem.errors import ClusterFileError

GIB = 1 << 30


def config(parameters: Any = None, head: Any = None, worker: Any = None, **top: Any) -> dict[str, Any]:
    """A cluster file with these parameters and node types."""
    return {
        "cluster_name": "c",
        "provider": {"type": "external", "parameters": parameters or {}},
        "available_node_types": {"head": head or {}, "worker": worker or {}},
        "head_node_type": "head",
        **top,
    }


class CheckTest(unittest.TestCase):
    def refuse(self, refused: dict[str, Any]) -> str:
        with self.assertRaises(ClusterFileError) as caught:
            cluster_file.check(refused)
        return str(caught.exception)

    def test_misspelt_keys_are_corrected_on_each_level(self) -> None:
        usage = {"budget_control": {"per_cpu_expected_usage": {"cpu_laod": 0.5}}}
        cases = [
            (
                config({"total_bugdet": 3}),
                "`provider.parameters` has an unknown key `total_bugdet`; did you mean `total_budget`?",
            ),
            (
                config({"node_config": {"subnet": "public"}}),
                "`provider.parameters.node_config` has an unknown key `subnet`; did you mean `subnet_tag`?",
            ),
            (
                config(worker={"node_config": {"demand": {"min_mem_gb": 1}}}),
                "`available_node_types.worker.node_config.demand` has an unknown key `min_mem_gb`; did you mean `min_mem_gib`?",
            ),
            (
                config(head={"node_config": usage}),
                (
                    "`available_node_types.head.node_config.budget_control.per_cpu_expected_usage` has an unknown key "
                    "`cpu_laod`; did you mean `cpu_load`?"
                ),
            ),
        ]
        for refused, sentence in cases:
            with self.subTest(sentence=sentence):
                self.assertEqual(self.refuse(refused), sentence)

    def test_key_on_the_wrong_level_is_told_its_place(self) -> None:
        self.assertEqual(
            self.refuse(config({"image_tag": "x"})),
            "`provider.parameters` has an unknown key `image_tag`; "
            "its place is `provider.parameters.node_config.demand.image_tag`",
        )

    def test_key_like_no_other_is_answered_with_all(self) -> None:
        sentence = self.refuse(config(worker={"node_config": {"zzz": 1}}))

        known = "known are `budget_control`, `demand`, `priority_subnet_tag`, `provider_choice`, `subnet_tag`"
        self.assertTrue(sentence.endswith(known))

    def test_list_in_place_of_a_map_is_refused(self) -> None:
        self.assertEqual(
            self.refuse(config({"node_config": ["a"]})),
            "`provider.parameters.node_config` must be a map of keys and values",
        )

    def test_docker_is_refused(self) -> None:
        self.assertIn("name the image as `image_tag`", self.refuse(config(docker={"image": "x"})))

    def test_port_is_a_port(self) -> None:
        self.assertEqual(cluster_file.port({"webserver_port": 4578}), 4578)
        for said in ("4578", 0, 65536, 1.5, True, None):
            with self.subTest(said=said), self.assertRaises(ClusterFileError):
                cluster_file.port({"webserver_port": said})

    def test_node_descriptor_is_anything(self) -> None:
        cluster_file.check(config({"node_config": {"demand": {"node_descriptor": {"any": {"thing": 1}}}}}))

    def test_empty_sections_are_fine(self) -> None:
        cluster_file.check(config(docker={}))
        cluster_file.check({"cluster_name": "c"})
        cluster_file.check({"provider": {"parameters": None}, "available_node_types": {"head": None}})


class DefaultsTest(unittest.TestCase):
    def test_what_is_left_out_has_a_default(self) -> None:
        self.assertEqual(cluster_file.with_defaults({}), dict(cluster_file.DEFAULTS))

    def test_null_puts_the_default_back_but_for_the_port_of_gcs(self) -> None:
        said = {"payment_network": None, "ray_gcs_expose_port": None, "webserver_datadir": None, "total_budget": 2}

        self.assertEqual(
            cluster_file.with_defaults(said),
            {**cluster_file.DEFAULTS, "ray_gcs_expose_port": None, "total_budget": 2},
        )


class MergeTest(unittest.TestCase):
    def test_nearer_level_wins_and_lists_grow(self) -> None:
        shared = {"subnet_tag": "public", "demand": {"outbound_urls": ["a", "b"], "min_mem_gib": 1}}
        own = {"demand": {"outbound_urls": ["b", "c"], "min_mem_gib": 2}, "priority_subnet_tag": None}
        file = config({"node_config": shared}, worker={"node_config": own})

        cluster_file.merge_node_configs(file)

        demand = {"outbound_urls": ["a", "b", "c"], "min_mem_gib": 2}
        merged = {"subnet_tag": "public", "demand": demand, "priority_subnet_tag": None}
        self.assertEqual(file["available_node_types"]["worker"]["node_config"], merged)
        self.assertEqual(
            file["available_node_types"]["head"]["node_config"],
            {"priority_subnet_tag": "ray-on-golem-heads", **shared},
        )

    def test_halves_of_a_character_are_one_again(self) -> None:
        self.assertEqual(cluster_file.mended("a \ud83d\ude00 ü"), "a \U0001f600 ü")
        self.assertEqual(cluster_file.mended("a \U0001f600"), "a \U0001f600")

    def test_merging_twice_changes_nothing(self) -> None:
        file = config({"node_config": {"demand": {"outbound_urls": ["a"]}}}, worker={"node_config": {}})
        cluster_file.merge_node_configs(file)
        once = str(file)

        cluster_file.merge_node_configs(file)

        self.assertEqual(str(file), once)

    def test_levels_stay_apart(self) -> None:
        file = config({"node_config": {"demand": {"outbound_urls": ["a"]}}})
        cluster_file.merge_node_configs(file)

        file["available_node_types"]["worker"]["node_config"]["demand"]["outbound_urls"].append("b")

        self.assertEqual(file["provider"]["parameters"]["node_config"]["demand"]["outbound_urls"], ["a"])


class ResourcesTest(unittest.TestCase):
    def filled(self, demand: dict[str, Any], resources: Any = None) -> dict[str, Any]:
        file = config(worker={"node_config": {"demand": demand}, "resources": resources})
        cluster_file.fill_resources(file)
        self.file = file
        return file["available_node_types"]["worker"]["resources"]

    def test_least_of_the_demand_is_filled_in(self) -> None:
        self.assertEqual(self.filled({"min_cpu_threads": 4}), {"CPU": 4})
        self.assertEqual(self.filled({"min_mem_gib": 2.5}), {"CPU": 1, "memory": 5 * GIB * 7 // 20})
        self.assertEqual(self.filled({"runtime": "vm-nvidia"}), {"CPU": 1, "GPU": 1})
        self.assertEqual(self.filled({}), {"CPU": 1})

    def test_numbers_are_whole(self) -> None:
        for value in self.filled({"min_cpu_threads": 2.9, "min_mem_gib": 0.3333}).values():
            self.assertIs(type(value), int)

    def test_what_the_user_said_wins(self) -> None:
        demand = {"min_cpu_threads": 4, "min_mem_gib": 1}

        self.assertEqual(self.filled(demand, {"CPU": 0, "memory": 5, "GPU": 2}), {"CPU": 0, "memory": 5, "GPU": 2})
        self.assertEqual(cluster_file.planned_only(self.file["provider"], "worker"), [])

    def test_what_was_filled_in_is_known(self) -> None:
        self.filled({"min_mem_gib": 1}, {"CPU": 8})

        self.assertEqual(cluster_file.planned_only(self.file["provider"], "worker"), ["memory"])
        self.assertEqual(cluster_file.planned_only(self.file["provider"], "head"), ["CPU"])
        self.assertEqual(cluster_file.planned_only(self.file["provider"], "another"), [])
        self.assertEqual(cluster_file.planned_only({}, "worker"), [])

    def test_demand_of_the_level_above_counts(self) -> None:
        file = config({"node_config": {"demand": {"min_cpu_threads": 8}}})
        cluster_file.fill_resources(file)

        self.assertEqual(file["available_node_types"]["worker"]["resources"], {"CPU": 8})

    def test_nonsense_is_left_to_the_webserver(self) -> None:
        for nonsense in ("four", None, -1, True, [], float("nan"), float("inf")):
            with self.subTest(nonsense=nonsense):
                self.assertEqual(self.filled({"min_cpu_threads": nonsense, "min_mem_gib": nonsense}), {"CPU": 1})

    def test_legacy_keys_are_dropped(self) -> None:
        for placeholder in (True, None, {}, ""):
            file = config(head_node=placeholder, worker_nodes=placeholder)
            cluster_file.drop_legacy_keys(file)
            self.assertEqual(set(file) & {"head_node", "worker_nodes"}, set())
