"""The webserver's HTTP interface, call by call."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import AccessError, WebserverError
from .messages import Node, Wallet, WebserverInfo
from .surroundings import TOKEN_FILE_NAME, TOKEN_FILE_VARIABLE, is_on_head, read_token, token_file, tunnel_host
from .transport import HOST, Transport

# On testnets the webserver waits for free coins to arrive.
WALLET_SECONDS = 330.0
# The answer to `terminate` comes when the node is gone.
TERMINATE_SECONDS = 330.0

# The webserver looks up the image of each node type.
CHECK_SECONDS = 120.0

NO_CLUSTER = "Cluster with given name not found"


class Client:
    """The calls about one cluster. Safe to be used by many threads.

    Each error says what was tried. A token that is refused is read again once: the webserver may have been started anew.
    """

    def __init__(self, port: int, cluster_name: str, own_datadir: Path) -> None:
        self.cluster_name = cluster_name
        self.port = port
        self._own_datadir = own_datadir
        self._transport = Transport(port, self._authorization, tunnel_host() or HOST)
        self._token_lock = threading.Lock()
        self._token_file = token_file(own_datadir)
        self._token: str | None = None

    @property
    def url(self) -> str:
        """Where the webserver is expected."""
        return self._transport.url

    def info(self) -> WebserverInfo:
        """What the webserver says about itself; needs no token."""
        answer = self._transport.request("GET", "/")
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
        is_elsewhere = Path(webserver.datadir) != self._own_datadir
        if is_elsewhere and self._token_file == self._own_datadir / TOKEN_FILE_NAME:
            self._token_file = Path(webserver.datadir) / TOKEN_FILE_NAME
            self._token = None
        return is_elsewhere

    def nodes(self) -> dict[str, Node]:
        """All nodes of the cluster, also those that ended; none if the cluster is not known."""
        try:
            answer = self._post("cluster_data", {}, "Couldn't get cluster data")
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

    def ssh_proxy_command(self, node_id: str) -> str | None:
        """The command through which ssh reaches a node, once there is a way."""
        what = "Couldn't get ssh proxy command"
        answer = self._post("ssh_proxy_command", {"node_id": node_id}, what)
        return _field(answer, "ssh_proxy_command", what)

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
            return self._post_with_token(f"/{path}", body, **options)
        except AccessError as error:
            raise AccessError(f"{what}: {self._access_sentence()}", error.status, error.reason) from error
        except WebserverError as error:
            raise WebserverError(f"{what}: {error}", error.status, error.reason) from error

    def _post_with_token(self, path: str, body: dict[str, Any], **options: Any) -> dict[str, Any]:
        try:
            return self._transport.request("POST", path, body, **options)
        except AccessError:
            with self._token_lock:
                refused, self._token = self._token, None
            self._authorization()
            if self._token == refused:
                raise
            return self._transport.request("POST", path, body, **options)

    def _authorization(self) -> Mapping[str, str]:
        with self._token_lock:
            if self._token is None:
                self._token = read_token(self._token_file)
            return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def _access_sentence(self) -> str:
        if self._token is None:
            return (
                f"the webserver on {self.url} asks for a token, and there is none to be read in `{self._token_file}`; "
                f"set `webserver_datadir` to the data directory of that webserver, or {TOKEN_FILE_VARIABLE} to its token"
            )
        return f"the webserver on {self.url} refuses the token in `{self._token_file}`; is it another user's webserver?"


def _without_odd_numbers(config: Mapping[str, Any]) -> Any:
    """The same as JSON can say it, which knows no infinite number."""
    return json.loads(json.dumps(config), parse_constant=str)


def _field(answer: Mapping[str, Any], key: str, what: str) -> Any:
    if key not in answer:
        raise WebserverError(f"{what}: there is no `{key}` in the answer")
    return answer[key]
