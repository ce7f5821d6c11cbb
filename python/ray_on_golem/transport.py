"""One HTTP request, one JSON answer.

Connections are kept, one for each thread, since Ray calls from many threads and asks a lot. A kept connection may have
been closed by the other side, and then nobody can tell whether the request was read. Each request of the interface is
made so that to do it twice is the same as to do it once, and a broken one is repeated once.

What listens on the port may be another user's. So each connection is asked for a proof first, and the token goes only where
it was given.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
from collections.abc import Mapping
from typing import Any, Callable

from . import proof
from .errors import AccessError, ConnectionFailed, WebserverError

# Where the webserver listens, unless the cluster file names another port.
DEFAULT_PORT = 4578
HOST = "127.0.0.1"
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0

Token = Callable[[], "str | None"]


class Transport:
    """Sends requests to one port of this machine. Safe to be used by many threads."""

    def __init__(self, port: int, token: Token = lambda: None, place: str | None = None, host: str = HOST) -> None:
        self.url = f"http://{host}:{port}"
        self._host = host
        self._port = port
        self._token = token
        self._place = place or proof.users(port)
        self._kept = threading.local()

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        seconds: float = ANSWER_SECONDS,
        openly: bool = False,
    ) -> dict[str, Any]:
        """Sends a request and returns the JSON object that comes back. One that is sent openly goes without the token to
        whatever listens.

        Raises `ConnectionFailed` without an answer, `AccessError` if there is no token, what listens does not show that it
        knows it, or it is refused, and `WebserverError` for every other answer than success.
        """
        text = None if body is None else json.dumps(body).encode()
        try:
            status, answer = self._exchange(method, path, text, seconds, openly)
        except ConnectionFailed as failure:
            if isinstance(failure.__cause__, socket.timeout):
                raise
            status, answer = self._exchange(method, path, text, seconds, openly)
        return _read(path, status, answer)

    def _exchange(self, method: str, path: str, text: bytes | None, seconds: float, openly: bool) -> tuple[int, bytes]:
        connection = self._connected()
        headers = {} if openly else {"Authorization": f"Bearer {self._proven(connection)}"}
        return self._ask(connection, method, path, text, headers, seconds)

    def _proven(self, connection: http.client.HTTPConnection) -> str:
        """The token, after the other end of this connection has shown that it knows it."""
        token = self._token()
        if token is None:
            raise AccessError("There is no token")
        if self._kept.proven_for != token:
            challenge = proof.challenge()
            text = json.dumps({"mark": proof.mark(token), "challenge": challenge}).encode()
            status, answer = self._ask(connection, "POST", "/prove", text, {}, ANSWER_SECONDS)
            if status == http.client.SERVICE_UNAVAILABLE:
                _read("/prove", status, answer)
            if status != http.client.OK or not proof.is_proven(token, self._place, challenge, _proof_in(answer)):
                self._drop()
                raise AccessError(f"What listens on {self.url} does not show that it knows the token")
            self._kept.proven_for = token
        return token

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        text: bytes | None,
        headers: Mapping[str, str],
        seconds: float,
    ) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json", **headers}
        try:
            if connection.sock is None:
                raise http.client.NotConnected("the connection was closed")
            connection.sock.settimeout(seconds)
            connection.request(method, path, body=text, headers=headers)
            response = connection.getresponse()
            answer = response.read()
        except socket.timeout as error:
            self._drop()
            reason = f"The webserver on {self.url} did not answer `{path}` within {seconds:g} seconds"
            raise ConnectionFailed(reason) from error
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            reason = f"The webserver on {self.url} broke off at `{path}` ({_why(error)})"
            raise ConnectionFailed(reason) from error
        if response.will_close:
            self._drop()
        return response.status, answer

    def _connected(self) -> http.client.HTTPConnection:
        """This thread's connection; a child process does not use that of its parent."""
        connection = getattr(self._kept, "connection", None)
        if connection is not None and self._kept.process == os.getpid():
            return connection
        connection = http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_SECONDS)
        # A connection that has ended is not made again in silence: another process may listen there by then.
        connection.auto_open = 0
        try:
            connection.connect()
        except OSError as error:
            reason = f"No webserver answers on {self.url} ({_why(error)})"
            raise ConnectionFailed(reason) from error
        self._kept.connection = connection
        self._kept.process = os.getpid()
        self._kept.proven_for = None
        return connection

    def _drop(self) -> None:
        connection = getattr(self._kept, "connection", None)
        self._kept.connection = None
        if connection is not None:
            connection.close()


def _read(path: str, status: int, answer: bytes) -> dict[str, Any]:
    if status == http.client.UNAUTHORIZED:
        raise AccessError(_reason(answer), status, _reason(answer))
    if status == http.client.SERVICE_UNAVAILABLE:
        raise ConnectionFailed(f"The webserver is not available ({_reason(answer)})")
    if status != http.client.OK:
        raise WebserverError(f"{status}: {_reason(answer)}", status, _reason(answer))
    try:
        read = json.loads(answer)
    except ValueError as error:
        raise WebserverError(f"`{path}` was not answered in JSON; is it Ray on Golem that listens?") from error
    if not isinstance(read, dict):
        raise WebserverError(f"`{path}` was not answered by an object; is it Ray on Golem that listens?")
    return read


def _proof_in(answer: bytes) -> Any:
    """What stands in the answer in place of the proof."""
    try:
        return json.loads(answer)["proof"]
    except (ValueError, KeyError, TypeError):
        return None


def _reason(answer: bytes) -> str:
    """The error's sentence: in JSON from our webserver, in plain text from what else may listen there."""
    text = answer.decode("utf-8", errors="replace").strip()
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text[:500] or "no reason given"


def _why(error: BaseException) -> str:
    said = getattr(error, "strerror", None) or str(error)
    return said or type(error).__name__
