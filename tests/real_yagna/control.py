"""Orders to a lab's central net, see `central.py`."""

import json
import socket

PATIENCE = 60.0


def order(path: str, *words):
    """Has the net that listens on the socket `path` do something; returns what it answers. Raises
    `RuntimeError` with the reason if it does not, and `OSError` if it is gone."""
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(PATIENCE)
        control.connect(path)
        control.sendall(json.dumps(words).encode() + b"\n")
        answer = json.loads(control.makefile().readline())
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return answer["ok"]
