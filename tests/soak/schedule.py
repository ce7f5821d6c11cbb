"""What happens in a soak, and when: all of it is drawn from the seed before anything begins."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

# How many clusters there are at a time.
CLUSTERS = 3

# What happens to the webserver, its daemon, and its disk, and how often of so many.
MISHAPS = {
    "kill": 2,  # kill -9, and a start
    "term": 1,  # SIGTERM, and a start
    "keep": 1,  # `stop --keep-clusters`, and a start
    "restart": 1,  # `restart`
    "forget": 2,  # the daemon restarts, and forgets what daemons forget
    "down": 1,  # the daemon does not answer
    "hang": 1,  # the daemon takes requests, and answers none
    "full": 2,  # the disk is full
    "full-kill": 1,  # the disk is full, and the webserver is killed then
    "rough": 2,  # calls to the daemon fail
    "smooth": 1,  # they do not
}
# After this share of the time the webserver is left alive, so that what leaks shows.
REIGN = 0.65
QUIET_SECONDS = 12
ENDS_OF_WEBSERVER = frozenset({"kill", "term", "keep", "restart", "full-kill"})

# What is done with a cluster, and how often of so many.
DEEDS = {
    "grow": 10,
    "shrink": 3,
    "look": 3,
    "tag": 1,
    "budget": 1,
    "end": 1,
    "down": 1,
    # What a head does that has fallen into wrong hands.
    "beyond": 2,
    "others": 1,
    "tags": 1,
    "keys": 1,
    "nonsense": 1,
    "flood": 1,
    "mute": 1,
}


class Event(NamedTuple):
    """Something that happens: after how many seconds, what, and how much of it, from 0 to 1."""

    at: float
    kind: str
    much: float


def mishaps(seed: int, seconds: float) -> list[Event]:
    """What happens to the webserver and what it stands on."""
    # Once all of it happens while all of it may, and the first clusters come up before.
    deck = MISHAPS if seconds >= 300 else dict.fromkeys(MISHAPS, 1)
    quiet = min(QUIET_SECONDS, seconds / 6)
    pace = min((REIGN * seconds - quiet) / (1 + len(deck)), 35)
    events = _events(random.Random(f"mishaps {seed}"), deck, seconds - quiet, pace)
    events = [event._replace(at=event.at + quiet) for event in events]
    return [event for event in events if event.at < REIGN * seconds or event.kind not in ENDS_OF_WEBSERVER]


def deeds(seed: int, cluster: int, seconds: float) -> list[Event]:
    """What is done with one cluster."""
    pace = min(max(seconds / 40, 1.5), 6)
    return _events(random.Random(f"deeds {seed} {cluster}"), DEEDS, seconds, pace)


def _events(random_: random.Random, deck: dict[str, int], seconds: float, pace: float) -> list[Event]:
    """Events at a mean distance of `pace`, of kinds that all come before one comes too often."""
    events, at, kinds = [], 0.0, _cards(random_, deck)
    while True:
        at += random_.uniform(0.5 * pace, 1.5 * pace)
        if at >= seconds:
            return events
        events.append(Event(round(at, 3), next(kinds), random_.random()))


def _cards(random_: random.Random, deck: dict[str, int]) -> Iterator[str]:
    """A shuffled deck, drawn to its end again and again."""
    while True:
        cards = [kind for kind, count in deck.items() for _ in range(count)]
        random_.shuffle(cards)
        yield from cards
