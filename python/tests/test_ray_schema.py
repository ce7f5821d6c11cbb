"""A cluster file against the schema of the Ray that is installed, beside Ray's own judgement of it."""

from __future__ import annotations

import copy
import json
import logging
import os
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray_on_golem import cluster_file, file_check, ray_schema
from ray_on_golem.written import WrittenFile

from .ray_support import CLUSTERS, ROOT, VERSION, needs_ray

if VERSION > (0, 0):
    import yaml

Change = Callable[[dict[str, Any]], object]

NAME = "golem-cluster.yaml"
HEAD = "ray.head.default"
WORKER = "ray.worker.default"
KEY = "`auth.ssh_private_key`"


def put(*place: str, value: Any) -> Change:
    """Writes a value at a place."""

    def change(config: dict[str, Any]) -> None:
        for step in place[:-1]:
            config = config[step]
        config[place[-1]] = value

    return change


def without(*place: str) -> Change:
    """Takes a key out."""

    def change(config: dict[str, Any]) -> None:
        for step in place[:-1]:
            config = config[step]
        del config[place[-1]]

    return change


def worker(key: str, value: Any) -> Change:
    """Writes a value of the worker's node type."""
    return put("available_node_types", WORKER, key, value=value)


REFUSED: list[tuple[Change, str]] = [
    (put("max_workerz", value=2), "the file has an unknown key `max_workerz`; did you mean `max_workers`?"),
    (
        put("total_budget", value=5),
        "the file has an unknown key `total_budget`; its place is `provider.parameters.total_budget`",
    ),
    (
        put("auth", value={"ssh_usr": "root"}),
        "`auth` has an unknown key `ssh_usr`; did you mean `ssh_user`?",
    ),
    (
        worker("resourcez", {"CPU": 1}),
        f"`available_node_types.{WORKER}` has an unknown key `resourcez`; did you mean `resources`?",
    ),
    (put("cluster_name", value=2024), "`cluster_name` must be text, not `2024`"),
    (put("max_workers", value="two"), '`max_workers` must be a whole number, not `"two"`'),
    (put("max_workers", value=True), "`max_workers` must be a whole number, not `true`"),
    (put("max_workers", value=-1), "`max_workers` must be at least 0, not `-1`"),
    (put("upscaling_speed", value=None), "`upscaling_speed` must be a number, not `null`"),
    (put("auth", value=None), "`auth` must be a map of keys and values, not `null`"),
    (put("file_mounts", value=["/data"]), "`file_mounts` must be a map of keys and values, not a list"),
    (put("rsync_exclude", value="*.o"), '`rsync_exclude` must be a list, such as `[a, b]`, not `"*.o"`'),
    (
        put("head_start_ray_commands", value=["ray stop", {"a": 1}]),
        "`head_start_ray_commands.1` must be text, not a map",
    ),
    (
        put("file_mounts_sync_continuously", value="no"),
        '`file_mounts_sync_continuously` must be `true` or `false`, not `"no"`',
    ),
    (worker("min_workers", 1.5), f"`available_node_types.{WORKER}.min_workers` must be a whole number, not `1.5`"),
    (
        worker("resources", {"CPU": 0.5}),
        f"`available_node_types.{WORKER}.resources.CPU` must be a whole number, not `0.5`",
    ),
    (
        worker("resources", None),
        f"`available_node_types.{WORKER}.resources` must be a map of keys and values, not `null`",
    ),
    (
        worker("min_workers", 11),
        f"`min_workers` of `{WORKER}` is 11, and its `max_workers` is 10; lower the first, or raise the second",
    ),
    (
        put("max_workers", value=0),
        "all `min_workers` together are 1, and `max_workers` allows 0; raise it",
    ),
    (put("provider", "use_internal_ips", value=1), "`provider.use_internal_ips` must be `true` or `false`, not `1`"),
    (without("max_workers"), "the file has no `max_workers`, which Ray needs; write `max_workers: 2`"),
    (without("setup_commands"), "the file has no `setup_commands`, which Ray needs; write `setup_commands: []`"),
    (
        without("head_setup_commands"),
        "the file has no `head_setup_commands`, which Ray needs; write `head_setup_commands: []`",
    ),
    (
        without("worker_setup_commands"),
        "the file has no `worker_setup_commands`, which Ray needs; write `worker_setup_commands: []`",
    ),
    (put("head_node", value={"a": 1}), "the file has an unknown key `head_node`; did you mean `head_node_type`?"),
]

ACCEPTED: list[Change] = [
    lambda config: None,
    put("head_node", value={}),
    put("worker_nodes", value=None),
    put("min_workers", value=3),
    put("metadata", value={"a": [1, {"b": None}]}),
    put("idle_timeout_minutes", value=0.5),
    put("auth", value={"ssh_user": "ray"}),
    worker("max_workers", 3),
    worker("docker", {}),
    worker("labels", {"zone": "a"}),
    without("available_node_types", HEAD, "resources"),
    without("file_mounts"),
    without("cluster_synced_files"),
    without("initialization_commands"),
    without("idle_timeout_minutes"),
    put("rsync_exclude", value=["*.o"]),
]


def judged_by_ray(config: dict[str, Any]) -> str:
    """What Ray itself says of it at `ray up`, where the node provider fills in what it does; nothing if it takes it."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    try:
        prepared = prepare_config(copy.deepcopy(config))
        cluster_file.drop_legacy_keys(prepared)
        cluster_file.fill_optional_keys(prepared)
        if isinstance(prepared["available_node_types"][WORKER].get("resources", {}), dict):
            cluster_file.fill_resources(prepared)
        validate_config(prepared)
    except Exception as error:  # noqa: BLE001  Ray ends in whatever its code meets.
        return f"{type(error).__name__}: {error}"
    return ""


@needs_ray
class RaySchemaTest(unittest.TestCase):
    """Ray's judgement, in words for the person who wrote the file."""

    def setUp(self) -> None:
        logging.disable(logging.CRITICAL)
        self.addCleanup(logging.disable, logging.NOTSET)

    def changed(self, change: Change) -> dict[str, Any]:
        config = yaml.safe_load((CLUSTERS / NAME).read_text(encoding="utf-8"))
        change(config)
        return config

    def test_what_ray_refuses_is_said_in_one_sentence(self) -> None:
        for change, sentence in REFUSED:
            with self.subTest(sentence):
                config = self.changed(change)

                self.assertEqual([str(fault) for fault in ray_schema.faults(config)], [sentence])
                self.assertNotEqual(judged_by_ray(config), "")

    def test_what_ray_takes_is_taken(self) -> None:
        for change in ACCEPTED:
            config = self.changed(change)
            with self.subTest(json.dumps(config)):
                self.assertEqual(judged_by_ray(config), "")
                self.assertEqual([str(fault) for fault in ray_schema.faults(config)], [])

    def test_a_number_that_is_none_is_refused_though_ray_takes_it(self) -> None:
        config = self.changed(put("idle_timeout_minutes", value=float("nan")))

        said = "`idle_timeout_minutes` must be a finite number, not `nan`"
        self.assertEqual([str(fault) for fault in ray_schema.faults(config)], [said])

    def test_what_ray_stumbles_over_when_the_head_is_rented_is_said_before(self) -> None:
        for key in ("rsync_exclude", "rsync_filter", "cluster_synced_files"):
            found = ray_schema.faults(self.changed(put(key, value=["*.o", 5])))

            self.assertEqual([str(fault) for fault in found], [f"`{key}.1` must be text, not `5`"])

    def test_each_version_of_ray_has_its_own_word(self) -> None:
        found = ray_schema.faults(self.changed(worker("idle_timeout_s", 60)))

        self.assertEqual(len(found), 0 if VERSION >= (2, 60) else 1)

    def test_all_cluster_files_of_the_project_are_taken(self) -> None:
        for path in sorted(CLUSTERS.glob("*.yaml")):
            with self.subTest(path.name):
                config = yaml.safe_load(path.read_text(encoding="utf-8"))
                self.assertEqual([str(fault) for fault in ray_schema.faults(config)], [])

    def test_values_that_json_does_not_have_are_told_by_line(self) -> None:
        text = "cluster_name: 2026-11-30\nmax_workers: 2\navailable_node_types:\n  1: {}\n"

        found = WrittenFile("c.yaml", text).sentences(file_check.faults(text))

        self.assertEqual(
            found,
            [
                "c.yaml:1: `cluster_name`: YAML reads `2026-11-30` as a date; put it in quotes",
                "c.yaml:4: `available_node_types` has a key `1` that is no text; put it in quotes",
            ],
        )


@needs_ray
class FileCheckTest(unittest.TestCase):
    """What `ray-on-golem doctor CLUSTER.yaml` is told."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def told(self, text: str) -> list[str]:
        """What the program says of a file that stands in its standard input."""
        code = "from ray_on_golem import file_check; file_check.tell('c.yaml')"
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
        done = subprocess.run(
            [sys.executable, "-c", code], input=text.encode(), capture_output=True, check=True, env=environment
        )
        self.assertEqual(done.stderr, b"")
        return list(json.loads(done.stdout))

    def changed(self, before: str, after: str) -> str:
        text = (CLUSTERS / NAME).read_text(encoding="utf-8")
        self.assertIn(before, text)
        return text.replace(before, after)

    def line(self, text: str, word: str) -> int:
        return text[: text.index(word)].count("\n") + 1

    def test_a_good_file_has_nothing_wrong(self) -> None:
        self.assertEqual(self.told((CLUSTERS / NAME).read_text(encoding="utf-8")), [])

    def test_everything_that_ray_refuses_is_said_in_the_order_of_the_file(self) -> None:
        text = self.changed("\nmax_workers: 10\n", "\nmax_workers: ten\n").replace("file_mounts: {}", "file_mount: {}")

        self.assertEqual(
            self.told(text),
            [
                f'c.yaml:{self.line(text, "max_workers: ten")}: `max_workers` must be a whole number, not `"ten"`',
                f"c.yaml:{self.line(text, 'file_mount:')}: the file has an unknown key `file_mount`; did you mean `file_mounts`?",
            ],
        )

    def test_what_is_to_be_copied_must_be_there(self) -> None:
        text = self.changed("file_mounts: {}", "file_mounts: {/data: /nowhere}")
        where = f"c.yaml:{self.line(text, 'file_mounts:')}"

        self.assertEqual(
            self.told(text),
            [f"{where}: `file_mounts./data`: there is no `/nowhere` to read; correct it, or leave it out"],
        )

    def test_the_webserver_and_the_provider_must_be_found(self) -> None:
        parameters = "provider.parameters"
        module = "ray_on_golem.provider.node_provider.GolemNodeProvider"
        port, place = f"`{parameters}.webserver_port`", f"`{parameters}.webserver_datadir`"
        for before, after, said in [
            ("total_budget: 5", 'webserver_port: "80"', f'{port} must be a whole number up to 65535, not `"80"`'),
            ("total_budget: 5", "webserver_datadir: 5", f"{place} must be text, not `5`; put it in quotes"),
            (module, f"{module}s", f"`provider.module`: there is no `{module}s`; write `{module}`"),
            (module, "golem.Provider", f"`provider.module`: there is no `golem.Provider`; write `{module}`"),
            (module, "nowhere", f"`provider.module`: there is no `nowhere`; write `{module}`"),
        ]:
            with self.subTest(after):
                text = self.changed(before, after)
                self.assertEqual(self.told(text), [f"c.yaml:{self.line(text, after)}: {said}"])

    def test_a_key_must_be_one_that_ssh_takes(self) -> None:
        def make(name: str, passphrase: str) -> Path:
            path = self.directory / name
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path)]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
            return path

        good, locked, open_to_all = make("good", ""), make("locked", "secret"), make("open", "")
        open_to_all.chmod(0o644)
        public = self.directory / "public"
        public.write_text(good.with_suffix(".pub").read_text())
        public.chmod(0o600)
        missing = self.directory / "missing"
        refused = f"the ssh key `{open_to_all}` can be read by others (its mode is 0644), and ssh takes no such key"
        why = {
            good: "",
            missing: f"there is no ssh key `{missing}`; correct `auth.ssh_private_key`, or leave it out",
            open_to_all: f"{refused}; run `chmod 600 {open_to_all}`",
            locked: f"the ssh key `{locked}` has a passphrase, which Ray cannot enter; name one without in {KEY}",
            public: f"`{public}` is no private key that ssh understands; name one in {KEY}, such as `ssh-keygen` makes",
        }
        for path, said in why.items():
            with self.subTest(path.name):
                text = self.changed("file_mounts: {}", f"file_mounts: {{}}\nauth: {{ssh_private_key: {path}}}")
                where = f"c.yaml:{self.line(text, 'auth:')}"
                self.assertEqual(self.told(text), [f"{where}: {said}"] if said else [])


if __name__ == "__main__":
    unittest.main()
