"""The webserver's HTTP interface, call by call."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable, TypeVar

from . import proof
from .errors import AccessError, UnprovenError, WebserverError
from .messages import Node, Wallet, WebserverInfo
from .surroundings import (
    TOKEN_FILE_NAME,
    TOKEN_FILE_VARIABLE,
    is_on_head,
    other_user_at,
    read_token,
    token_file,
    told_token,
    tunnel_host,
)
from .transport import HOST, Transport

# On testnets the webserver waits for free coins to arrive.
WALLET_SECONDS = 330.0
# The answer to `terminate` comes when the node is gone.
TERMINATE_SECONDS = 330.0

# The webserver looks up the image of each node type.
CHECK_SECONDS = 120.0

NO_CLUSTER = "Cluster with given name not found"

Answer = TypeVar("Answer")


class Client:
    """The calls about one cluster. Safe to be used by many threads.

    Each error says what was tried. A token that is refused, or that what listens does not know, is read again once: the
    webserver may have been started anew.
    """

    def __init__(self, port: int, cluster_name: str, own_datadir: Path) -> None:
        self.cluster_name = cluster_name
        self.port = port
        self._own_datadir = own_datadir
        place = proof.HEADS if is_on_head() else proof.users(port)
        self._transport = Transport(port, self._current_token, place, tunnel_host() or HOST)
        self._token_lock = threading.Lock()
        self._token_file = token_file(own_datadir)
        self._is_token_told = False
        self._token: str | None = None

    @property
    def url(self) -> str:
        """Where the webserver is expected."""
        return self._transport.url

    def info(self) -> WebserverInfo:
        """What the webserver says about itself, once it has shown that it knows our token.

        Raises `UnprovenError` if it has not.
        """
        # Where it has its token is looked at before it is believed anything.
        said = self._greeting(openly=True)
        self.use_datadir_of(said)
        try:
            return self._with_token(lambda: self._greeting(openly=False))
        except AccessError as error:
            raise UnprovenError(self._access_sentence(), said.version) from error

    def _greeting(self, openly: bool) -> WebserverInfo:
        answer = self._transport.request("GET", "/", openly=openly)
        try:
            return WebserverInfo.parse(answer)
        except KeyError as error:
            raise WebserverError(
                f"What listens on {self.url} is not the webserver of Ray on Golem; name a free `webserver_port`"
            ) from error

    def use_datadir_of(self, webserver: WebserverInfo) -> bool:
        """Looks for the token where the webserver keeps it, and tells whether that is another place than ours.

        A webserver that was started by hand may have been given a data directory of its own.
        """
        if not webserver.datadir or is_on_head():
            return False
        told = Path(webserver.datadir)
        is_elsewhere = told != self._own_datadir
        if is_elsewhere and self._token_file == self._own_datadir / TOKEN_FILE_NAME and told_token(told):
            with self._token_lock:
                self._token_file, self._is_token_told, self._token = told / TOKEN_FILE_NAME, True, None
        return is_elsewhere

    def nodes(self, has_load: bool | None = None) -> dict[str, Node]:
        """All nodes of the cluster, also those that ended; none if the cluster is not known.

        A head that knows tells whether Ray has load.
        """
        body = {} if has_load is None else {"has_load": has_load}
        try:
            answer = self._post("cluster_data", body, "Couldn't get cluster data")
        except WebserverError as error:
            if error.reason.startswith(NO_CLUSTER):
                return {}
            raise
        data = answer.get("cluster_data") or {}
        try:
            return {node_id: Node.parse(node_id, node) for node_id, node in data.items()}
        except (AttributeError, KeyError, TypeError) as error:
            raise WebserverError("Couldn't get cluster data: the answer is not in the expected form") from error

    def check_cluster(self, config: Mapping[str, Any], name: str | None, text: str | None) -> list[str]:
        """What to warn of in a cluster file, whose name and text may be known.

        Raises `WebserverError` for what nodes cannot be rented with.
        """
        body: dict[str, Any] = {"cluster_config": _without_odd_numbers(config)}
        if name is not None:
            body["cluster_file"] = {"name": name, "text": text}
        what = "The cluster file cannot be used"
        answer = self._post("check_cluster", body, what, seconds=CHECK_SECONDS)
        return [str(warning) for warning in _field(answer, "warnings", what)]

    def request_nodes(
        self,
        parameters: Mapping[str, Any],
        node_config: Mapping[str, Any],
        count: int,
        tags: Mapping[str, str],
        idempotency_key: str,
    ) -> list[str]:
        """Asks for nodes and returns their ids at once; they come up by and by.

        Repeated with the same key, it returns the same nodes.
        """
        body = {
            "provider_parameters": parameters,
            "node_config": node_config,
            "count": count,
            "tags": tags,
            "idempotency_key": idempotency_key,
        }
        what = "Couldn't request nodes"
        answer = self._post("request_nodes", body, what)
        return [str(node_id) for node_id in _field(answer, "requested_nodes", what)]

    def terminate(self, node_id: str) -> None:
        """Ends a node, and waits until it has ended."""
        what = f"Couldn't terminate node {node_id}"
        self._post("terminate", {"node_id": node_id}, what, seconds=TERMINATE_SECONDS)

    def set_tags(self, node_id: str, tags: Mapping[str, str]) -> None:
        """Adds tags to a node, and replaces those that it has."""
        self._post("set_tags", {"node_id": node_id, "tags": tags}, "Couldn't set tags for node")

    def ssh_keys(self) -> tuple[str, str]:
        """The cluster's private and public key, as text: the interface misspells the path, and its base64 is none."""
        what = "Couldn't get or create default ssh key"
        answer = self._post("ger_or_create_default_ssh_key", {}, what)
        fields = ("ssh_private_key_base64", "ssh_public_key_base64")
        private_key, public_key = (str(_field(answer, field, what)) for field in fields)
        return private_key, public_key

    def wallet(self, network: str, driver: str) -> Wallet:
        """The wallet that pays on this network; on a testnet, free coins are asked for first."""
        body = {"payment_network": network, "payment_driver": driver}
        what = "Couldn't get wallet status"
        return Wallet.parse(self._post("get_wallet_status", body, what, seconds=WALLET_SECONDS))

    def _post(self, path: str, body: dict[str, Any], what: str, **options: Any) -> dict[str, Any]:
        if path != "get_wallet_status":
            body = {"cluster_name": self.cluster_name, **body}
        try:
            return self._with_token(lambda: self._transport.request("POST", f"/{path}", body, **options))
        except AccessError as error:
            raise AccessError(f"{what}: {self._access_sentence()}", error.status, error.reason) from error
        except WebserverError as error:
            raise WebserverError(f"{what}: {error}", error.status, error.reason) from error

    def _with_token(self, call: Callable[[], Answer]) -> Answer:
        try:
            return call()
        except AccessError:
            with self._token_lock:
                refused, self._token = self._token, None
            if self._current_token() == refused:
                raise
            return call()

    def _current_token(self) -> str | None:
        with self._token_lock:
            if self._token is None:
                file = self._token_file
                self._token = told_token(file.parent) if self._is_token_told else read_token(file)
            return self._token

    def _access_sentence(self) -> str:
        whose = None if is_on_head() else other_user_at(self.port)
        if whose:
            return (
                f"another user's program (user `{whose}`) listens on 127.0.0.1:{self.port}, where the webserver is to be; "
                f"choose another `webserver_port` in the cluster file"
            )
        cure = (
            f"if it is your webserver, set `webserver_datadir` to its data directory, or {TOKEN_FILE_VARIABLE} to the file of "
            f"its token; if not, name another `webserver_port`"
        )
        if self._token is None:
            return (
                f"something listens on {self.url}, and there is no token in `{self._token_file}` by which our webserver would "
                f"be known; {cure}"
            )
        return (
            f"what listens on {self.url} does not show that it knows the token in `{self._token_file}`, which was not sent; "
            f"{cure}"
        )


def _without_odd_numbers(config: Mapping[str, Any]) -> Any:
    """The same as JSON can say it, which knows no infinite number."""
    return json.loads(json.dumps(config), parse_constant=str)


def _field(answer: Mapping[str, Any], key: str, what: str) -> Any:
    if key not in answer:
        raise WebserverError(f"{what}: there is no `{key}` in the answer")
    return answer[key]
