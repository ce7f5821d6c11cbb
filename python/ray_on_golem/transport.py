"""One HTTP request, one JSON answer.

Connections are kept, one for each thread, since Ray calls from many threads and asks a lot. A kept connection may have
been closed by the other side, and then nobody can tell whether the request was read. Each request of the interface is
made so that to do it twice is the same as to do it once, and a broken one is repeated once.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
from collections.abc import Mapping
from typing import Any, Callable

from .errors import AccessError, ConnectionFailed, WebserverError

# Where the webserver listens, unless the cluster file names another port.
DEFAULT_PORT = 4578
HOST = "127.0.0.1"
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0

Headers = Callable[[], Mapping[str, str]]


class Transport:
    """Sends requests to one port of this machine. Safe to be used by many threads."""

    def __init__(self, port: int, headers: Headers = dict, host: str = HOST) -> None:
        self.url = f"http://{host}:{port}"
        self._host = host
        self._port = port
        self._headers = headers
        self._kept = threading.local()

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        seconds: float = ANSWER_SECONDS,
    ) -> dict[str, Any]:
        """Sends a request and returns the JSON object that comes back.

        Raises `ConnectionFailed` without an answer, `AccessError` if the token is refused, and `WebserverError` for every
        other answer than success.
        """
        text = None if body is None else json.dumps(body).encode()
        try:
            status, answer = self._exchange(method, path, text, seconds)
        except ConnectionFailed as failure:
            if isinstance(failure.__cause__, socket.timeout):
                raise
            status, answer = self._exchange(method, path, text, seconds)
        return _read(path, status, answer)

    def _exchange(self, method: str, path: str, text: bytes | None, seconds: float) -> tuple[int, bytes]:
        connection = self._connected()
        headers = {"Content-Type": "application/json", **self._headers()}
        try:
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
        try:
            connection.connect()
        except OSError as error:
            reason = f"No webserver answers on {self.url} ({_why(error)})"
            raise ConnectionFailed(reason) from error
        self._kept.connection = connection
        self._kept.process = os.getpid()
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
