"""How the webserver shows that it knows our token, before the token is sent to it.

Any program that finds its port free may listen there, and be taken for it. So what listens is sent a challenge first, which
it can answer only if it knows the token; `src/server/proof.rs` says how, and why the answer is of no use elsewhere.
"""

from __future__ import annotations

import hmac
import secrets

HEADS = "heads"


def users(port: int) -> str:
    """The place of a user's client, which has connected to this port."""
    return f"users of port {port}"


def challenge() -> str:
    """A new challenge."""
    return secrets.token_hex(32)


def mark(token: str) -> str:
    """By what the token is named to who knows it."""
    return _digest(token, "ray-on-golem mark")


def proof(token: str, place: str, challenge: str) -> str:
    """What only who knows the token can answer."""
    return _digest(token, f"ray-on-golem proof, {place}, {challenge}")


def is_proven(token: str, place: str, challenge: str, answer: object) -> bool:
    """Tells whether the answer is the proof."""
    wanted = proof(token, place, challenge)
    return isinstance(answer, str) and hmac.compare_digest(wanted.encode(), answer.encode("utf-8", "replace"))


def _digest(token: str, statement: str) -> str:
    return hmac.new(token.encode(), statement.encode(), "sha256").hexdigest()
