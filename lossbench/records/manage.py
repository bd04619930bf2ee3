"""Look through the runs of an output folder, delete them, and take them to another folder.

A run is a folder, and every step here is a single renaming of one: a process that is killed leaves each run whole, on
one side or on both, never in parts. What lies about afterwards is no run, and the next call removes it.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import Any

from lossbench.files import require_writable, sync, temporary_folder
from lossbench.records.lease import LEASE, hold, is_held
from lossbench.records.packed import packed_folders
from lossbench.records.record import CHECKSUMS, OWN_CHECKSUM, Record
from lossbench.registry import unknown


@dataclass(frozen=True)
class Overview:
    """A line about a run: `status` is finished, diverged, unfinished, in work or damaged; `size` in bytes."""

    run_id: str
    status: str
    accuracy: float | None
    epochs: str
    seconds: float | None
    size: int
    weights: bool


def find_runs(output: Path, patterns: Sequence[str] = ()) -> list[str]:
    """The ids of the runs in `output`, begun ones too: all, or those that a pattern such as `*focal*` matches.

    Raises: ValueError for a pattern that matches none, and for packed studies, whose runs are rows of tables.
    """
    if packed_folders(output):
        raise ValueError(f"{str(output)!r} holds packed studies, whose runs are no folders; give an output folder")
    begun = (path.parent for name in ("config.json", "result.json") for path in output.glob(f"runs/*/{name}"))
    names = sorted({path.name for path in begun})
    chosen: set[str] = set() if patterns else set(names)
    for pattern in patterns:
        matches = [name for name in names if fnmatchcase(name, pattern)]
        if not matches:
            raise ValueError(f"{unknown('run', pattern, names)}; they are looked for in {str(output / 'runs')!r}")
        chosen |= set(matches)
    return sorted(chosen)


def overview(record: Record) -> Overview:
    """What is known of a run without reading its tables."""
    size = sum(path.stat().st_size for path in record.path.iterdir() if path.is_file())
    status, result = "in work" if is_held(record.path) else "unfinished", dict[str, Any]()
    if record.finished:
        try:
            result = record.result
            status = str(result["status"])
        except (ValueError, KeyError):
            return Overview(record.path.name, "damaged", None, "", None, size, False)
    epochs = f"{result['epochs_done']} of {result['epochs']}" if {"epochs", "epochs_done"} <= set(result) else ""
    accuracy, seconds = result.get("test_accuracy"), result.get("seconds")
    return Overview(record.path.name, status, accuracy, epochs, seconds, size, bool(result) and record.has_weights)


def check_files(record: Record) -> dict[str, str]:
    """Each file of a run -> `as written`, `damaged`, or `no checksum` where none was kept of it."""
    checksums = {} if not record.finished else record.result.get(CHECKSUMS, {})
    verdicts = {path.name: "no checksum" for path in sorted(record.path.iterdir()) if path.name not in checksums}
    if OWN_CHECKSUM in checksums:
        verdicts["result.json"] = "as written"
    for name in checksums.keys() - {OWN_CHECKSUM}:
        path = record.path / name
        right = path.exists() and sha256(path.read_bytes()).hexdigest() == checksums[name]
        verdicts[name] = "as written" if right else "damaged"
    return dict(sorted(verdicts.items()))


def delete_run(output: Path, run_id: str) -> None:
    """Delete a run, finished or not. Raises Held for one in work."""
    record = Record(output / "runs" / run_id)
    with hold(record.path):
        _discard(record.path)


def transfer_run(output: Path, run_id: str, target: Path, *, copy: bool = False) -> None:
    """Take a run to another output folder, and unless `copy` is asked for, out of this one.

    Raises:
        Held: it is in work.
        ValueError: it is damaged, the target is this folder, or has another run under this name.
    """
    if target.resolve() == output.resolve():
        raise ValueError(f"{str(target)!r} is the folder that the runs are in; choose another")
    record, goal = Record(output / "runs" / run_id), Record(target / "runs" / run_id)
    with hold(record.path):
        if goal.path.exists():
            if _content(goal.path) != _content(record.path):
                raise ValueError(f"{goal.path} is there already and differs; delete one of them")
        else:
            _arrive(record, goal)
        if not copy:
            _discard(record.path)


def _arrive(record: Record, goal: Record) -> None:
    runs = require_writable(goal.path.parent)
    with temporary_folder(runs.resolve().parent, "arriving") as room:
        fresh = Record(room / goal.path.name)
        shutil.copytree(record.path, fresh.path, ignore=shutil.ignore_patterns(LEASE, ".*"))
        if damaged := [name for name, verdict in check_files(fresh).items() if verdict == "damaged"]:
            raise ValueError(f"{record.path / damaged[0]} is damaged; delete the run with `lossbench runs delete`")
        for path in fresh.path.rglob("*"):
            sync(path)
        fresh.path.rename(goal.path)
        sync(runs)


def _discard(path: Path) -> None:
    """Take a folder out of `runs` in one step, then remove it."""
    with temporary_folder(path.resolve().parents[1], "deleted") as room:
        path.rename(room / path.name)


def _content(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != LEASE and not path.name.startswith(".")
    }
