"""One request to the daemon's REST API, one answer; nothing is retried."""

import http.client
import json
from urllib.parse import urlencode, urlsplit


def call(base: str, key: str, method: str, path: str, body=None, query=None, timeout=10.0):
    """Returns the status and the body, parsed when it is JSON. Raises `OSError` or
    `http.client.HTTPException` when there is no answer."""
    target = path + ("?" + urlencode(query) if query else "")
    connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=timeout)
    try:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        payload = None if body is None else json.dumps(body)
        connection.request(method, target, payload, headers)
        response = connection.getresponse()
        text = response.read().decode()
        try:
            return response.status, json.loads(text)
        except ValueError:
            return response.status, text
    finally:
        connection.close()
