#!/usr/bin/env python3
"""A soak: the real webserver for minutes or hours on a market that is none too good, with clusters that come and go.

    tests/soak/soak.py --minutes 60 --seed 7 --programs target/debug

Providers fail, are dear, and lie. Calls to the daemon fail, and it restarts and forgets. The webserver is killed, ended, and
started again. Its disk is full at times. Heads ask for what they may not have. At the end all clusters are ended; then the
network's own books and the product's must be the same, and nothing may be left: `books.py` and `belongings.py` say what.
What happens, and when, comes from the seed. It needs Linux with namespaces, where the disk is; no root.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "tests" / "ray"), str(ROOT / "python")]

import belongings
import books
import schedule
import traces
from belongings import Belongings
from schedule import Event
from stage import DISK_BYTES, MARK, Disk, Ended, Failed, Network, Webserver, wait_until
from tenant import EXPECTED, LIMITS, MAX_WORKERS, Tenant
from watch import Watch

TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
# Says that we are in a namespace of our own.
INSIDE = "SOAK_INSIDE"
# A long soak has providers whose invoices come late or never.
LONG_MINUTES = 5
# The product gives books up that stay open after twelve minutes from the end of a cluster.
CLOSED_WITHIN = 15 * 60
SETTLED_WITHIN = 60
PLATFORM = "erc20-hoodi-tglm"
# A connection that is not used is closed within two of the client's 20 seconds: it looks for those so often.
IDLE_SECONDS = 45
NO_ROOM = ("room", "space", "disk")


class Soak:
    """One run."""

    def __init__(self, arguments: argparse.Namespace, home: pathlib.Path, ends: contextlib.ExitStack) -> None:
        """Starts the network and the webserver, which end with `ends`."""
        self.seed, self.seconds, self.home = arguments.seed, arguments.minutes * 60, home
        market = home / "market.yaml"
        late = (HERE / "late.yaml").read_text() if arguments.minutes >= LONG_MINUTES else ""
        market.write_text((HERE / "market.yaml").read_text() + late)
        self.network = Network(arguments.programs.resolve(), home, market, arguments.seed)
        ends.callback(self.network.end)
        self.disk = Disk(home / "data")
        ends.callback(self.disk.end)
        self.webserver = Webserver(arguments.programs.resolve(), home, self.network)
        ends.callback(self.webserver.kill)
        self.watch = Watch(self.webserver, MAX_WORKERS)
        self.lives: list[traces.Process] = []
        # What this webserver had of memory, minute by minute.
        self.worked: list[int] = []
        # Whether the disk was full in the life of this webserver.
        self.had_no_room = False
        self.both: books.Books | None = None
        self.refusals: collections.Counter[str] = collections.Counter()
        self.begin("first start")
        self.before = self.idle(2)

    def begin(self, what: str) -> None:
        """Starts the webserver where it must be able to."""
        wait_until("the end of the outage", 120, lambda: time.monotonic() > self.network.away_until)
        ended = self.webserver.start()
        if ended.code != 0:
            self.watch.differs(f"{what}: `start` ended with {ended.code}: {ended.said[-600:]}")
            raise Failed(f"the webserver does not start\n{self.webserver.last_words()}")
        self.had_no_room = False
        self.count_life()
        self.watch.expect()

    def count_life(self) -> None:
        """Another webserver has started."""
        self.lives.append(self.webserver.process)
        self.worked = []

    def idle(self, seconds: float) -> Belongings:
        """The least that the webserver has in so long a time without clusters: it looks at its daemon now and then."""
        looks, until = [], time.monotonic() + seconds
        while time.monotonic() < until:
            looks.append(Belongings.of(self.webserver.process, self.webserver.data))
            time.sleep(0.5)
        return min(looks, key=lambda look: (look.open, len(look.connections)))

    def live(self) -> None:
        """Everything that the schedule says."""
        names = [f"soak-{at}" for at in range(schedule.CLUSTERS)]
        deeds = [schedule.deeds(self.seed, at, self.seconds) for at in range(len(names))]
        tenants = [Tenant(name, self.seed, it, self.webserver, self.watch) for name, it in zip(names, deeds)]
        self.watch.start()
        for tenant in tenants:
            tenant.start()
        began, mishaps, told = time.monotonic(), schedule.mishaps(self.seed, self.seconds), 0
        while time.monotonic() < began + self.seconds:
            since = time.monotonic() - began
            if mishaps and mishaps[0].at <= since:
                self.suffer(mishaps.pop(0))
            elif since >= 60 * (told + 1):
                told += 1
                self.tell(told)
            else:
                self.look_after()
                time.sleep(0.2)
        for tenant in tenants:
            tenant.over.set()
        for tenant in tenants:
            tenant.join(timeout=120)
            if tenant.is_alive() or tenant.trouble is not None:
                self.watch.differs(f"{tenant.name} did not come to its end: {tenant.trouble!r}")

    def tell(self, minute: int) -> None:
        """A line for each minute."""
        has = Belongings.of(self.webserver.process, self.webserver.data) if self.webserver.is_alive() else None
        if has is not None:
            self.worked.append(has.memory)
        say(f"minute {minute}: {self.watch.line()}; {has or 'dead'}; differences: {len(self.watch.differences)}")

    def look_after(self) -> None:
        """A webserver that ends by itself does so for want of room, says so, and goes on when there is some."""
        if self.webserver.process is None or self.webserver.is_alive():
            return
        self.watch.excuse()
        words = self.webserver.last_words()
        if self.had_no_room and any(word in words for word in NO_ROOM):
            self.watch.count("died for want of room")
        else:
            self.watch.differs(f"the webserver has ended by itself:\n{words}")
        self.begin("after its end")

    def suffer(self, event: Event) -> None:
        """One thing happens to the webserver, or to what it stands on."""
        self.look_after()
        handle = {
            "kill": self.kill,
            "term": self.term,
            "keep": self.keep,
            "restart": self.restart,
            "forget": lambda much: self.network.outage("restart", self.some(15, much)),
            "down": lambda much: self.network.outage("down", self.some(15, much)),
            "hang": lambda much: self.network.outage("hang", self.some(15, much)),
            "full": self.full,
            "full-kill": self.full_kill,
            "rough": self.rough,
            "smooth": lambda _much: self.network.faults(),
        }
        handle[event.kind](event.much)
        self.watch.count(event.kind)

    def some(self, most: float, much: float) -> float:
        """So many seconds, from one to the most, and fewer in a short soak."""
        return 1 + much * (min(most, self.seconds / 15) - 1)

    def kill(self, much: float) -> None:
        """What a machine does whose power fails, and comes back after some seconds."""
        self.watch.excuse()
        self.webserver.kill()
        time.sleep(self.some(20, much) - 1)
        self.begin("after kill -9")

    def term(self, _much: float) -> None:
        """What a service manager does."""
        self.watch.excuse()
        self.webserver.signal(signal.SIGTERM, 60)
        self.begin("after SIGTERM")

    def keep(self, _much: float) -> None:
        """What a user does who goes on later."""
        self.watch.excuse()
        self.must(self.webserver.run("stop", "--keep-clusters"), "`stop --keep-clusters`")
        self.begin("after `stop --keep-clusters`")

    def restart(self, _much: float) -> None:
        """What a user does after an update."""
        self.watch.excuse()
        wait_until("the end of the outage", 120, lambda: time.monotonic() > self.network.away_until)
        self.must(self.webserver.run("restart", patience=360), "`restart`")
        self.webserver.process = self.webserver.find()
        self.count_life()
        self.had_no_room = False
        self.watch.expect()

    def must(self, ended: Ended, what: str) -> None:
        """A command must succeed."""
        if ended.code != 0:
            self.watch.differs(f"{what} ended with {ended.code}: {ended.said[-600:]}")

    def full(self, much: float) -> None:
        """Another program fills the disk, and makes room again."""
        self.had_no_room = True
        # What needs to be written may not be; users are answered with a refusal, or by a webserver that has ended.
        self.watch.excuse()
        self.disk.fill()
        time.sleep(self.some(45, much))
        self.disk.free()
        if self.webserver.is_alive():
            self.watch.expect()
        self.look_after()

    def full_kill(self, much: float) -> None:
        """A machine that comes back with its disk full: the webserver starts, or says in a sentence why not."""
        self.watch.excuse()
        self.had_no_room = True
        self.disk.fill()
        self.webserver.kill()
        wait_until("the end of the outage", 120, lambda: time.monotonic() > self.network.away_until)
        ended = self.webserver.start()
        if ended.code == 0:
            self.watch.count("started on a full disk")
            self.count_life()
            time.sleep(5 * much)
        else:
            self.refused(ended)
        self.disk.free()
        if self.webserver.is_alive():
            self.watch.expect()
        elif self.webserver.process is None:
            self.begin("after a full disk")
        self.look_after()

    def refused(self, ended: Ended) -> None:
        """A start on a full disk that has failed."""
        self.watch.count("refused to start on a full disk")
        if len(ended.errors) != 1 or not any(word in ended.errors[0] for word in NO_ROOM):
            self.watch.differs(f"`start` on a full disk ended with {ended.code}, and said: {ended.said[-600:]}")
        else:
            self.refusals[ended.errors[0].replace(str(self.home), "HOME")] += 1

    def rough(self, much: float) -> None:
        """Calls to the daemon fail in all ways."""
        at_most = 1 + int(3 * much)
        kinds = ("request_lost", "reply_lost", "fail_500", "closed", "garbage", "refuse")
        self.network.faults(wrong_ids=int(much > 0.5), **dict.fromkeys(kinds, at_most))

    def settle(self) -> None:
        """The world is well again, and all clusters end."""
        self.network.faults()
        wait_until("the end of the outage", 60, lambda: time.monotonic() > self.network.away_until)
        self.look_after()
        if not self.webserver.is_alive():
            self.begin("at the end")
        user = self.webserver.transport()
        for cluster in user.request("GET", "/status")["clusters"]:
            if cluster["state"] == "running":
                user.request("POST", "/end_cluster", {"cluster_name": cluster["cluster_name"]})

        def are_closed() -> bool:
            return all(it["state"] == "closed" for it in user.request("GET", "/status")["clusters"])

        wait_until("the end of the books of all clusters", CLOSED_WITHIN, are_closed, every=1)
        self.watch.over.set()
        self.watch.join()
        self.watch.look(user.request("GET", "/status"))

    def compare(self) -> list[str]:
        """All that is not as it must be, at the end of the webserver and of the network."""
        found = []
        after = self.idle(IDLE_SECONDS)
        bills = self.webserver.document("bills")["bills"]
        found += belongings.differences(self.before, self.worked, after, len(bills), schedule.CLUSTERS)
        say(f"at the beginning: {self.before}\nat the end: {after}")
        places = [*traces.listeners([self.webserver.process]), self.network.url]
        ended = self.webserver.run("stop", patience=240)
        self.must(ended, "`stop`")
        if self.webserver.is_alive():
            found.append("the webserver runs after `stop`")
        self.both = self.books(bills)
        found += books.differences(self.both)
        code = self.network.end()
        found += [f"the network ended with {code}"] if code else []
        found += [f"a connection is left: {it}" for it in belongings.connections(places)]
        ours = [it for it in traces.started_with(MARK, str(self.webserver.data)) if it.pid != os.getpid()]
        found += [f"a process is left: {traces.command_lines([it])}" for it in ours]
        found += panics(self.webserver.data)
        if self.watch.looks < self.seconds / 10:
            found.append(f"the webserver was looked at only {self.watch.looks} times")
        return found

    def books(self, bills: list[dict]) -> books.Books:
        """Both sets of books, once all that was accepted is paid."""

        def are_paid() -> bool:
            self.network.ask("POST", f"payment-api/v1/batchCycle/{PLATFORM}/now")
            ledger = self.network.ledger()
            due = sum(books.accepted_by_agreement(ledger).values())
            return due <= sum(books.Decimal(it["amount"]) for it in ledger["payments"])

        try:
            wait_until("the payments", SETTLED_WITHIN, are_paid, every=1)
        except Failed as late:
            say(str(late))
        ledger = self.network.ledger()
        sent = [it["id"] for it in ledger["agreements"] if it["session"] is not None]
        told = {it: self.network.ask("GET", f"market-api/v1/agreements/{it}") for it in sent}
        seen = self.watch.clusters
        last, budgets = {it: seen[it].last for it in seen}, {it: seen[it].budget for it in seen}
        return books.Books(ledger, self.network.wallet, told, bills, last, budgets, LIMITS | EXPECTED)

    def summary(self) -> str:
        """What was done, and what came of it."""
        lines = [f"{count:8} {what}" for what, count in sorted(self.watch.counts.items())]
        lines += [f"{count:8} `start` on a full disk said: {said}" for said, count in self.refusals.items()]
        ledger, sums = self.both.ledger, books.sums(self.both)
        kinds = ("agreements", "activities", "allocations", "debitNotes", "invoices", "payments")
        lines += [f"{len(ledger[kind]):8} {kind} at the network" for kind in kinds]
        verdicts = collections.Counter(it["verdict"] for it in self.both.bills)
        lines += [f"{count:8} bills {verdict}" for verdict, count in sorted(verdicts.items())]
        lines += [f"{len(self.lives):8} lives of the webserver", f"{len(sums):8} clusters"]
        lines.append(f"{sum(it.paid for it in sums.values())} GLM spent, billed, accepted, and paid")
        return "\n".join(lines)


def panics(data: pathlib.Path) -> list[str]:
    """Panics that the webserver has told of."""
    logs = [it.read_text(errors="replace").splitlines() for it in data.glob("*.log*")]
    return [line for log in logs for line in log if "panicked" in line]


def say(line: str) -> None:
    """Prints a line at once."""
    print(line, flush=True)


def evidence(soak: Soak) -> pathlib.Path:
    """What a difference is looked for in."""
    place = pathlib.Path(tempfile.mkdtemp(prefix="soak-evidence-"))
    data = soak.webserver.data
    for file in [*data.glob("*.log*"), *data.glob("bills.sqlite*"), *data.glob("journal/*"), soak.home / "network.log"]:
        shutil.copy(file, place)
    (place / "clusters.json").write_text(soak.watch.document())
    ledger = soak.both.ledger if soak.both else soak.network.ledger()
    (place / "ledger.json").write_text(books.json_text(ledger))
    return place


def run(arguments: argparse.Namespace, home: pathlib.Path, ends: contextlib.ExitStack) -> int:
    """A whole soak; its exit code."""
    soak = Soak(arguments, home, ends)
    try:
        soak.live()
        say("the end of all clusters is waited for")
        soak.settle()
        found = soak.compare()
        say(soak.summary())
    except Failed as why:
        found = [f"cut short: {why}"]
    found += [f"{sentence} ({count} times)" for sentence, count in soak.watch.differences.items()]
    for sentence in found:
        say(f"DIFFERENT: {sentence}")
    if found:
        say(f"{len(found)} differences; logs and books are in {evidence(soak)}")
    return 1 if found else 0


def main() -> int:
    """Goes into a namespace of its own, for its disk, and soaks there."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--programs", type=pathlib.Path, default=TARGET / "debug")
    arguments = parser.parse_args()
    if INSIDE not in os.environ:
        os.environ[INSIDE] = "yes"
        command = ["unshare", "--user", "--map-root-user", "--mount", "--", sys.executable, *sys.argv]
        os.execvp(command[0], command)
    # What ends the soak early leaves nothing behind either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="soak-") as home, contextlib.ExitStack() as ends:
        say(f"seed {arguments.seed}, {arguments.minutes:g} minutes, a disk of {DISK_BYTES >> 20} MiB")
        return run(arguments, pathlib.Path(home), ends)


if __name__ == "__main__":
    sys.exit(main())
