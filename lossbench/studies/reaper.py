"""Ends what a killed study leaves of its own Ray cluster, whose agents wait for minutes before they see it gone.

`studies/ray.py` starts it as `python -m lossbench.studies.reaper PID:STARTED ...`. It waits for standard input to
close, as it does when the study's process ends in whatever way, and then ends those processes that are still there.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

GRACE_SECONDS = 1.0


def main() -> None:
    """Wait, then end the processes that were named."""
    sys.stdin.read()
    time.sleep(GRACE_SECONDS)
    for word in sys.argv[1:]:
        pid, started = (int(part) for part in word.split(":"))
        if (process := _parent_and_start(pid)) is not None and process[
            1
        ] == started:  # the number may be another's by now
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def watch_descendants() -> subprocess.Popen[bytes] | None:
    """Start a reaper of all processes that this one has started; None where the system does not list them."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*"):
        if (process := _parent_and_start(int(path.name))) is not None:
            parents[int(path.name)] = process
    mine, more = set[int](), {os.getpid()}
    while more:
        mine |= more
        more = {pid for pid, (parent, _) in parents.items() if parent in mine} - mine
    words = [f"{pid}:{parents[pid][1]}" for pid in mine - {os.getpid()}]
    if not words:
        return None
    command = [sys.executable, "-m", "lossbench.studies.reaper", *words]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def _parent_and_start(pid: int) -> tuple[int, int] | None:
    """The parent of a process, and when it started in clock ticks; None when it is not there."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return int(fields[1]), int(fields[19])
    except (OSError, IndexError, ValueError):
        return None


if __name__ == "__main__":
    main()
