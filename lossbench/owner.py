"""Which process wrote something, and whether that process is known to be dead."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Owner:
    """A process, so described that another one on the same machine can tell whether it still runs.

    `space` distinguishes containers that share a host name but do not see each other's processes. `started` (clock
    ticks since the machine started, 0 where the system does not tell) distinguishes a process from a later one that
    was given the same number.
    """

    host: str
    space: str
    pid: int
    started: int

    @classmethod
    def me(cls) -> Owner:
        """This process."""
        return cls(platform.node(), _space(), os.getpid(), _status(os.getpid())[1])

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Owner:
        """Read `to_dict()` back. KeyError, ValueError or TypeError where it is something else."""
        host, space, pid, started = (values[name] for name in ("host", "space", "pid", "started"))
        return cls(str(host), str(space), int(pid), int(started))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @property
    def place(self) -> str:
        """Eight hexadecimal digits for where the process runs, short enough for a file's name."""
        return sha256(f"{self.host} {self.space}".encode()).hexdigest()[:8]

    @property
    def dead(self) -> bool:
        """Whether the process has certainly ended: False also where that cannot be known from here."""
        if os.name == "nt" or (self.host, self.space) != (platform.node(), _space()):  # on Windows kill(pid, 0) kills
            return False
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):
            return True
        except PermissionError:  # somebody else's, so it lives
            pass
        state, started = _status(self.pid)
        return state in ("Z", "X") or (0 not in (started, self.started) and started != self.started)


def _space() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _status(pid: int) -> tuple[str, int]:
    """State and start time of a process, as Linux tells them; blanks elsewhere."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return fields[0], int(fields[19])
    except (OSError, IndexError, ValueError):
        return "", 0
