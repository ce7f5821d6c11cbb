"""The node provider: Ray's questions, answered by the webserver."""

from __future__ import annotations

import copy
import datetime
import sys
import threading
import time
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, NoReturn, TypeVar

import click
from ray.autoscaler._private.event_system import CreateClusterEvent, global_event_system
from ray.autoscaler.command_runner import CommandRunnerInterface
from ray.autoscaler.node_launch_exception import NodeLaunchException
from ray.autoscaler.node_provider import NodeProvider
from ray.autoscaler.tags import TAG_RAY_USER_NODE_TYPE

from .. import cluster_file, misnamed, preflight, ray_schema, ssh_key, surroundings, webserver
from ..client import Client
from ..errors import ClusterFileError, ConnectionFailed, RayOnGolemError, WebserverError
from ..messages import Node, WebserverInfo
from ..snapshot import Nodes, Snapshot
from ..written import WrittenFile
from .command_runner import GolemCommandRunner, Way
from .invocation import may_rent, of_another_user, written_file
from .launch import Launch, look_into_wallet, tell_budget
from .load import Load
from .log import HeadLog, TerminalLog, Titled

# A head waits for its webserver to come back: autoscaler v1 ends for good after five failures in a row.
HEAD_PATIENCE_SECONDS = 600.0
# A user sees soon that something is wrong; a webserver that is started anew answers before that.
TERMINAL_PATIENCE_SECONDS = 30.0
RETRY_SECONDS = 1.0
SAY_SECONDS = 30.0
# Each of them is a request that waits for its node to be gone.
TERMINATIONS_AT_A_TIME = 16

DEFAULT_USER = "root"

Answer = TypeVar("Answer")


class GolemNodeProvider(NodeProvider):
    """Nodes on the Golem Network. All methods may be called by many threads.

    On the user's machine a call that asks for nodes returns when they are up, and says meanwhile how far they are. On a
    head it returns at once: the autoscaler sees its nodes coming, and goes on with others.
    """

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        cluster_name = cluster_file.mended(cluster_name)
        super().__init__(provider_config, cluster_name)
        self._is_head = surroundings.is_on_head()
        self._log = HeadLog() if self._is_head else TerminalLog()
        self._parameters = cluster_file.with_defaults(provider_config.get("parameters") or {})
        try:
            if not self._is_head:
                _refuse_what_another_user_has_settled(provider_config)
            self._client = _client(self._parameters, cluster_name)
        except RayOnGolemError as error:
            self._log.abort(error)
        self._datadir = surroundings.datadir(self._parameters)
        self._load = Load(self._log.warning)
        self._snapshot = Snapshot(self._fetch, self._observe)
        self._terminating: set[str] = set()
        self._terminating_lock = threading.Lock()
        self._terminations = threading.BoundedSemaphore(TERMINATIONS_AT_A_TIME)
        if self._is_head:
            self._greet_from_head()
        else:
            self._greet()

    @staticmethod
    def fillout_available_node_types_resources(cluster_config: dict[str, Any]) -> dict[str, Any]:
        """Adds `resources` and what else may be left out, and drops placeholders of older versions that Ray does not accept.

        Ray judges the file next, and shows a traceback for what is wrong with it; that is said here instead.
        """
        config = copy.deepcopy(cluster_config)
        _refuse_what_ray_refuses(config)
        cluster_file.drop_legacy_keys(config)
        cluster_file.fill_optional_keys(config)
        cluster_file.fill_resources(config)
        return config

    @staticmethod
    def bootstrap_config(cluster_config: dict[str, Any]) -> dict[str, Any]:
        """Completes the cluster file, and starts the webserver if need be."""
        log = TerminalLog()
        config = copy.deepcopy(cluster_config)
        file = written_file()
        try:
            cluster_file.check(config)
            if may_rent() is not False:
                cluster_file.check_local_files(config)
            cluster_file.merge_node_configs(config)
            _complete_access(config)
            parameters = config["provider"]["parameters"]
            client = _client(parameters, config["cluster_name"])
            if may_rent() is not False:
                preflight.check(client, parameters)
            _ensure_webserver(client, parameters, log)
            _check_cluster(client, cluster_config, file, log)
            _ensure_key(client, parameters)
        except ClusterFileError as error:
            log.abort(file.sentence(error) if file else error)
        except RayOnGolemError as error:
            log.abort(error)
        global_event_system.execute_callback(
            CreateClusterEvent.ssh_keypair_downloaded,
            {"ssh_key_path": config["auth"]["ssh_private_key"]},
        )
        return config

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        """The nodes that are up or coming up, and have all these tags."""
        nodes = self._nodes()
        return [
            node_id
            for node_id, node in nodes.items()
            if node.matches(tag_filters) and not self._has_ended(node_id, node)
        ]

    def is_running(self, node_id: str) -> bool:
        """Whether the node is up."""
        node = self._nodes().get(node_id)
        return node is not None and node.is_running and not self._has_ended(node_id, node)

    def is_terminated(self, node_id: str) -> bool:
        """Whether the node has ended; the webserver forgets nodes some time after their cluster has ended."""
        return self._has_ended(node_id, self._nodes().get(node_id))

    def node_tags(self, node_id: str) -> dict[str, str]:
        """The tags that Ray gave to the node."""
        return dict(self._node(node_id).tags)

    def internal_ip(self, node_id: str) -> str | None:
        """The node's address in the private network; none before ssh can reach it there."""
        node = self._node(node_id)
        return node.internal_ip if node.is_running or node.is_terminated else None

    def external_ip(self, node_id: str) -> str | None:
        """The same address: nodes on Golem have no other one."""
        return self.internal_ip(node_id)

    def set_node_tags(self, node_id: str, tags: dict[str, str]) -> None:
        """Adds tags to the node."""
        try:
            self._patiently(lambda: self._client.set_tags(node_id, tags))
        except RayOnGolemError as error:
            self._log.abort(error)
        finally:
            self._snapshot.invalidate()

    def create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> dict[str, Any]:
        """Asks for nodes."""
        if self._is_head:
            return self._create_from_head(node_config, tags, count)
        try:
            # Ray leaves `bootstrap_config` out where it remembers its answer from an earlier `ray up`.
            preflight.check(self._client, self._parameters)
            look_into_wallet(self._client, self._parameters, self._log)
            tell_budget(self._parameters, self._log, datetime.datetime.now(datetime.timezone.utc))
            self._log.say(f"Requesting {count} nodes...")
            node_ids = self._request(node_config, tags, count)
            Launch(node_ids, self._snapshot.nodes, self._log).follow()
        except RayOnGolemError as error:
            self._log.abort(error)
        return {node_id: {} for node_id in node_ids}

    def terminate_node(self, node_id: str) -> None:
        """Ends the node."""
        self.terminate_nodes([node_id])

    def terminate_nodes(self, node_ids: list[str]) -> None:
        """Ends nodes side by side. On the user's machine this waits until they are gone.

        From here on they count as terminated, since a head does not wait: one thread of the autoscaler does all that ends
        nodes, and hands out what starts them.
        """
        with self._terminating_lock:
            self._terminating.update(node_ids)
        # What still waits for a webserver must not keep the autoscaler from ending.
        threads = [
            threading.Thread(target=self._terminate, args=(node_id,), name=f"terminate-{node_id}", daemon=True)
            for node_id in node_ids
        ]
        for thread in threads:
            thread.start()
        if not self._is_head:
            for thread in threads:
                thread.join()

    def get_command_runner(
        self,
        log_prefix: str,
        node_id: str,
        auth_config: dict[str, Any],
        cluster_name: str,
        process_runner: ModuleType,
        use_internal_ip: bool,
        docker_config: dict[str, Any] | None = None,
    ) -> CommandRunnerInterface:
        """Makes what runs commands on the node."""
        return GolemCommandRunner(
            log_prefix=log_prefix,
            node_id=node_id,
            provider=self,
            auth_config=auth_config,
            cluster_name=cluster_file.mended(cluster_name),
            process_runner=process_runner,
            use_internal_ip=use_internal_ip,
            find_way=None if self._is_head else lambda: self._way(node_id),
            planned_only=lambda: self._planned_only(node_id),
            datadir=self._datadir,
        )

    def _greet(self) -> None:
        try:
            cluster_file.check({"provider": self.provider_config})
            preflight.check_start(self._client, self._parameters)
            info = _ensure_webserver(self._client, self._parameters, self._log)
            _ensure_key(self._client, self._parameters)
        except RayOnGolemError as error:
            self._log.abort(error)
        if info.datadir:
            self._datadir = Path(info.datadir)
        if info.warnings:
            with self._log.group("Server warnings:"):
                for warning in info.warnings:
                    self._log.warning(warning)

    def _greet_from_head(self) -> None:
        mismatch = webserver.version_mismatch(self._patiently(self._client.info).version)
        if mismatch:
            self._log.warning(f"{mismatch}; what they say to each other may be misunderstood")

    def _create_from_head(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> dict[str, Any]:
        try:
            node_ids = self._request(node_config, tags, count)
        except RayOnGolemError as error:
            raise NodeLaunchException("Golem", str(error), sys.exc_info()) from error
        return {node_id: {} for node_id in node_ids}

    def _request(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> list[str]:
        # By its key, a request whose answer was lost is known when it is repeated.
        key = uuid.uuid4().hex
        try:
            node_ids = self._patiently(
                lambda: self._client.request_nodes(self._parameters, node_config, count, tags, key)
            )
        finally:
            self._snapshot.invalidate()
        # A new cluster of the same name may count its nodes from the beginning.
        with self._terminating_lock:
            self._terminating.difference_update(node_ids)
        return node_ids

    def _terminate(self, node_id: str) -> None:
        try:
            with self._terminations:
                self._patiently(lambda: self._client.terminate(node_id))
        except RayOnGolemError as error:
            self._log.warning(str(error))
            is_gone = isinstance(error, WebserverError) and error.reason.endswith("not found")
            if not is_gone:
                # Whoever wanted the node to end sees it again, and can try again.
                with self._terminating_lock:
                    self._terminating.discard(node_id)
        finally:
            self._snapshot.invalidate()

    def _way(self, node_id: str) -> Way:
        """How ssh gets to the node."""
        node = self._node(node_id)
        if node.internal_ip is None or node.is_terminated:
            raise RayOnGolemError(f"{node_id} is {node.state}, ssh does not reach it: {node.last_words}")
        known_hosts = surroundings.known_hosts(self._datadir, self.cluster_name)
        is_pinned = surroundings.is_pinned(known_hosts, node_id, node.internal_ip)
        detour = () if node.is_reached_by_ssh else self._detour(node_id)
        proxy = webserver.proxy_command(self._datadir, self.cluster_name, node_id)
        return Way(proxy, known_hosts if is_pinned else None, detour)

    def _detour(self, node_id: str) -> tuple[str, ...]:
        place = ("--port", str(cluster_file.port(self._parameters)), "--datadir", str(self._datadir))
        return (webserver.program(), "exec", *place, "--cluster", self.cluster_name, "--node", node_id, "--")

    def _planned_only(self, node_id: str) -> list[str]:
        node_type = self._node(node_id).tags.get(TAG_RAY_USER_NODE_TYPE, "")
        return cluster_file.planned_only(self.provider_config, node_type)

    def _node(self, node_id: str) -> Node:
        node = self._nodes().get(node_id)
        if node is None:
            raise RayOnGolemError(f"The cluster `{self.cluster_name}` has no node `{node_id}`")
        return node

    def _has_ended(self, node_id: str, node: Node | None) -> bool:
        with self._terminating_lock:
            return node is None or node.is_terminated or node_id in self._terminating

    def _nodes(self) -> Nodes:
        try:
            return self._snapshot.nodes()
        except RayOnGolemError as error:
            self._log.abort(error)

    def _fetch(self) -> Nodes:
        has_load = self._load.look() if self._is_head else None
        return self._patiently(lambda: self._client.nodes(has_load))

    def _observe(self, before: Nodes, after: Nodes) -> None:
        """Logs on a head what has become of nodes; elsewhere it is said by what waits for them."""
        if not self._is_head or not before:
            return
        for node_id, node in after.items():
            known = before.get(node_id)
            for line in node.state_log[len(known.state_log) if known else 0 :]:
                self._log.say(f"{node_id}: {line}")
            if node.waiting and node.waiting[0] != (known.waiting[0] if known and known.waiting else None):
                self._log.say(f"{node_id}: {node.last_words}")
            if node.is_terminated and not (known and known.is_terminated):
                with self._terminating_lock:
                    was_wanted = node_id in self._terminating
                if was_wanted:
                    self._log.say(f"{node_id} has ended")
                else:
                    self._log.warning(f"{node_id} has ended: {node.last_words}")

    def _patiently(self, call: Callable[[], Answer]) -> Answer:
        """Repeats what is idempotent until there is an answer, or patience ends."""
        seconds = HEAD_PATIENCE_SECONDS if self._is_head else TERMINAL_PATIENCE_SECONDS
        started = said_at = time.monotonic()
        while True:
            try:
                return call()
            except ConnectionFailed as failure:
                now = time.monotonic()
                if now - started >= seconds:
                    raise ConnectionFailed(f"{failure}; {self._where_to_look()}") from failure
                if said_at == started or now - said_at >= SAY_SECONDS:
                    self._log.warning(f"{failure}; waiting for it to come back")
                    said_at = now
            time.sleep(RETRY_SECONDS)

    def _where_to_look(self) -> str:
        if self._is_head:
            return "the tunnel to the machine that `ray up` ran on is broken, or its webserver has ended"
        log = self._datadir / webserver.LOG_NAME
        return f"see `{log}` for what became of it, and start it again with `ray-on-golem start`"


def _refuse_what_another_user_has_settled(provider_config: dict[str, Any]) -> None:
    """Refuses to go by another user's answer, which names that user's key, and may name anything."""
    file = of_another_user(provider_config)
    if file:
        raise RayOnGolemError(
            f"Ray goes by what another user has settled for such a cluster file (`{file}`); set `TMPDIR` to a directory of "
            "your own, or give the cluster another name"
        )


def _client(parameters: dict[str, Any], cluster_name: str) -> Client:
    return Client(cluster_file.port(parameters), cluster_name, surroundings.datadir(parameters))


def _ensure_webserver(client: Client, parameters: dict[str, Any], log: TerminalLog) -> WebserverInfo:
    datadir = surroundings.datadir(parameters)
    info = webserver.ensure(client, parameters, datadir, Titled(log).say)
    if client.use_datadir_of(info) and parameters["webserver_datadir"]:
        log.warning(
            f"Specified data directory `{datadir}` is different than webserver's: `{info.datadir}`. "
            "Using the webserver setting."
        )
    return info


def _check_cluster(client: Client, config: dict[str, Any], file: WrittenFile | None, log: TerminalLog) -> None:
    """Has the whole file looked at before money is spent. What only uses or ends a cluster is not held up by it."""
    rents = may_rent()
    if rents is None:
        rents = not any(not node.is_terminated for node in client.nodes().values())
    if not rents:
        return
    try:
        warnings = client.check_cluster(config, file and file.name, file and file.text)
    except WebserverError as error:
        # The sentence names the file and the line, or the key.
        raise (RayOnGolemError(error.reason) if file and error.reason else error) from error
    for warning in warnings:
        log.warning(warning)


def _refuse_what_ray_refuses(config: dict[str, Any]) -> None:
    """Ends the command with what Ray has against the file, in the order of its lines.

    A command that rents nothing is left to Ray's own judgement: what Ray would only miss later keeps no cluster from its end.
    """
    if may_rent() is False:
        return
    try:
        faults = ray_schema.faults(config)
    except ImportError:
        # Ray says what to install.
        return
    if not faults:
        return
    file = written_file()
    said = file.sentences(faults) if file else [str(fault) for fault in faults]
    try:
        TerminalLog().abort("\n".join(said))
    except click.ClickException as error:
        # Ray takes an exception here for a sign that `resources` must be in the file.
        raise SystemExit(error.exit_code) from None


def _complete_access(config: dict[str, Any]) -> None:
    """Settles who logs in with which key, and tells the webserver."""
    auth = config.setdefault("auth", {})
    auth.setdefault("ssh_user", DEFAULT_USER)
    parameters = cluster_file.with_defaults(config["provider"].get("parameters") or {})
    named = auth.get("ssh_private_key")
    if named:
        path = Path(named).expanduser().absolute()
    else:
        path = ssh_key.default_path(config["cluster_name"], parameters["webserver_port"])
    auth["ssh_private_key"] = str(path)
    parameters.update(ssh_user=auth["ssh_user"], ssh_private_key=str(path))
    config["provider"]["parameters"] = parameters


def _ensure_key(client: Client, parameters: dict[str, Any]) -> None:
    """Puts the cluster's own key where ssh finds it. The webserver may have made another one since it was written."""
    path = ssh_key.default_path(client.cluster_name, client.port)
    if parameters.get("ssh_private_key") == str(path):
        ssh_key.write(path, *client.ssh_keys())


def __getattr__(name: str) -> NoReturn:
    if name.endswith("NodeProvider"):
        misnamed.refuse(f"{__name__}.{name}")
    raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
