"""Processes, each known by its own id: start, look, signal, end.

A process is named by its id *and* by the instant of its start, so that an id which the kernel has
given to somebody else is never signalled. Linux only: both are read from `/proc`.
"""

import os
import select
import signal
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """One process, for ever: ids are used again, a pair of id and start is not."""

    pid: int
    started: int

    @classmethod
    def start(cls, argv, env, log: Path) -> "Process":
        """Starts a process that outlives us; both its streams go to `log`."""
        with log.open("ab") as out:
            child = subprocess.Popen(
                argv,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        return cls._of(child)

    @classmethod
    def start_and_hear(cls, argv, env, log: Path, patience: float) -> tuple["Process", str]:
        """Starts a process that says one line on its standard output once it is ready."""
        with log.open("ab") as errors:
            child = subprocess.Popen(
                argv,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        ready, _, _ = select.select([child.stdout], [], [], patience)
        line = child.stdout.readline().decode().strip() if ready else ""
        child.stdout.close()
        if not line:
            child.kill()
            raise RuntimeError(f"{Path(argv[1]).name} did not start, see {log}")
        return cls._of(child), line

    @classmethod
    def _of(cls, child: subprocess.Popen) -> "Process":
        child.returncode = 0  # Keeps `Popen` from complaining about a child that outlives it.
        _, started = _stat(child.pid) or ("Z", 0)
        return cls(child.pid, started)

    def alive(self) -> bool:
        """Says whether this very process still runs; a zombie does not."""
        stat = _stat(self.pid)
        return stat is not None and stat[0] != "Z" and stat[1] == self.started

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to this very process, or to none."""
        if self.alive():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass

    def kill(self) -> None:
        """Ends the process at once."""
        self.signal(signal.SIGKILL)
        self._wait(5.0)

    def stop(self, patience: float = 12.0) -> None:
        """Asks the process to end, again and again (the daemon misses a request that comes while
        it starts), then ends it."""
        deadline = time.monotonic() + patience
        while self.alive() and time.monotonic() < deadline:
            self.signal(signal.SIGTERM)
            self.signal(signal.SIGCONT)  # A frozen process cannot end.
            self._wait(0.5)
        self.kill()

    def _wait(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.01)

    def to_json(self) -> dict:
        """The form kept in the state file."""
        return asdict(self)


def _stat(pid: int):
    """State letter and start time of a process, or `None` if there is none of that id."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name is in parentheses and may hold blanks, so count from its end.
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])
