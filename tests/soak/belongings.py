"""What the webserver has: descriptors, memory, connections, and files; and what of it may be more at the end.

Both looks are at a webserver without clusters. One that has worked keeps pages of what it has freed: the memory of a process
that has lived for long is measured by what the same process had early.

Kept for good are the bills, what is known of providers, logs up to a size, and of each name of a cluster its key, its settings,
and its law.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

import traces

# A pool of connections to the daemon, and a database that was first opened later.
DESCRIPTORS_MORE = 6
THREADS_MORE = 8
# Of one that has just begun, and of one that has worked for a while.
MEMORY_TIMES, MEMORY_MORE, MEMORY_MORE_OF_WORKED = 1.3, 16 << 20, 2 << 20
MEMORY_MAX = 64 << 20
WORKED_MINUTES = 12
# What is kept for good, by its path in the data directory, and the most bytes of it: for each bill, each name, or at all.
BYTES_PER_BILL = 1_500
LOG_BYTES = 20 << 20
KEPT = {
    re.compile(r"(bills|providers)\.sqlite3?(-wal|-shm|-journal|\.lock)?"): 8 << 20,
    re.compile(r"[a-z_]+\.log(\.\d+)?"): LOG_BYTES,
    # Folded when it has grown, and networks that are no more.
    re.compile(r"journal/common\.ndjson"): 9 << 20,
    re.compile(r"networks\.json"): 1 << 10,
}
KEPT_FOR_EACH_NAME = {
    re.compile(r"clusters/soak-\d(\.law)?\.json"): 16 << 10,
    # A key for each address that nodes had and will have.
    re.compile(r"known_hosts/soak-\d"): 16 << 10,
    re.compile(r"ray_on_golem_rsa_[0-9a-f]+(\.pub)?"): 8 << 10,
}
ESTABLISHED = "01"
LISTENING = "0A"


class Belongings(NamedTuple):
    """At one moment."""

    descriptors: dict[str, int]
    threads: int
    # What it has allocated; pages of its program are the system's.
    memory: int
    # Of clients, at the ports that are listened at.
    connections: list[str]
    files: dict[str, int]

    @classmethod
    def of(cls, process: traces.Process, data: pathlib.Path) -> Belongings:
        """Those of a process, and its data directory."""
        status = (traces.PROC / str(process.pid) / "status").read_text()
        number = {
            key: int(it.split()[0]) for key, it in re.findall(r"^(RssAnon|Threads):\s*(.*)$", status, re.MULTILINE)
        }
        files = {str(it.relative_to(data)): it.stat().st_size for it in data.rglob("*") if it.is_file()}
        clients = connections(traces.listeners([process]))
        return cls(descriptors(process), number["Threads"], number["RssAnon"] << 10, clients, files)

    @property
    def open(self) -> int:
        """How many descriptors."""
        return sum(self.descriptors.values())

    def __str__(self) -> str:
        """In a line."""
        size = sum(self.files.values())
        return (
            f"{self.open} descriptors, {self.threads} threads, {self.memory >> 10} KiB of memory, {len(self.files)} files "
            f"with {size >> 10} KiB"
        )


def memory_max(before: int, worked: list[int]) -> int:
    """The most memory at the end: of a process that has lived for long, by what it had in the first third of that time."""
    if len(worked) < WORKED_MINUTES:
        return int(before * MEMORY_TIMES) + MEMORY_MORE
    early = worked[: len(worked) // 3]
    return min(int(max(early) * MEMORY_TIMES) + MEMORY_MORE_OF_WORKED, MEMORY_MAX)


def descriptors(process: traces.Process) -> dict[str, int]:
    """The open descriptors, by their kind, or by what file they are."""
    kinds: dict[str, int] = {}
    for link in (traces.PROC / str(process.pid) / "fd").iterdir():
        try:
            kind = re.sub(r":\[\d+\]$", "", str(link.readlink()))
        except OSError:
            continue
        kinds[kind] = kinds.get(kind, 0) + 1
    return kinds


def connections(places: list[str]) -> list[str]:
    """The connections at these places, `ADDRESS:PORT` each, as the kernel has them."""
    ports = {f"{int(it.rpartition(':')[2]):04X}" for it in places}
    rows = [line.split() for line in (traces.PROC / "net" / "tcp").read_text().splitlines()[1:]]
    # A socket that no process has any more, with inode 0, only waits for its time to be over.
    live = [it for it in rows if it[3] != LISTENING and it[9] != "0"]
    return [f"{it[1]} {it[2]} {it[3]}" for it in live if it[1].partition(":")[2] in ports]


def differences(
    before: Belongings, worked: list[int], after: Belongings, bills: int, names: int
) -> Iterator[str]:
    """What is more at the end than may be. The process that ends has worked with so much memory, minute by minute."""
    if after.open > before.open + DESCRIPTORS_MORE:
        more = {kind: count for kind, count in after.descriptors.items() if count > before.descriptors.get(kind, 0)}
        yield f"{before.open} descriptors were open at the beginning, and {after.open} at the end; more of {more}"
    if after.threads > before.threads + THREADS_MORE:
        yield f"{before.threads} threads ran at the beginning, and {after.threads} at the end"
    if after.memory > memory_max(before.memory, worked):
        minutes = [it >> 10 for it in worked]
        yield f"memory has grown from {before.memory >> 10} to {after.memory >> 10} KiB, by way of {minutes}"
    for it in after.connections:
        yield f"a connection is left: {it}"
    kept_names: dict[re.Pattern[str], int] = {}
    for file, size in sorted(after.files.items()):
        bound = next((most for form, most in KEPT.items() if form.fullmatch(file)), None)
        of_name = next((form for form in KEPT_FOR_EACH_NAME if form.fullmatch(file)), None)
        if file == "bills.sqlite":
            bound = (1 << 20) + bills * BYTES_PER_BILL
        if of_name is not None:
            kept_names[of_name] = kept_names.get(of_name, 0) + 1
            bound = KEPT_FOR_EACH_NAME[of_name]
        if bound is None and file not in before.files:
            yield f"the file `{file}` of {size} bytes is left"
        elif size > (max(2 * before.files[file], 4096) if bound is None else bound):
            yield f"the file `{file}` has {size} bytes at the end, and had {before.files.get(file, 0)}"
    for form, count in kept_names.items():
        if count > 2 * names:
            yield f"{count} files like `{form.pattern}` are kept for {names} names"
