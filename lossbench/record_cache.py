"""Rows of finished records in one file, so that a folder of thousands of runs is read once and then kept up to date.

The file is only a cache: without it, or when it is damaged, of another version or not writable, rows are read from
the records. Processes that write it at the same time replace it whole; each leaves rows that were true when read.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from lossbench.files import replacing
from lossbench.packed import Row

NAME = ".runs-cache.json"

# Of the files that a row is made of: a file that was replaced or changed has another one.
Stamp = list[int]
Rows = dict[str, tuple[Stamp, Row]]


def find_stamps(runs: Path) -> dict[str, Stamp]:
    """The run ids of the finished records in `runs`, sorted, each with a stamp that changes with its files."""
    names = sorted(path.name for path in runs.iterdir()) if runs.is_dir() else []
    stamps = {name: _stamp(runs / name / "result.json") for name in names}
    return {name: stamp + _stamp(runs / name / "config.json") for name, stamp in stamps.items() if stamp}


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def read_cache(output: Path, version: str) -> Rows:
    """The rows kept for `output`; none unless the file is whole and of this version."""
    try:
        digest, content = (output / NAME).read_bytes().split(b"\n", 1)
        if hashlib.sha256(content).hexdigest().encode() != digest:
            return {}
        kept = json.loads(content)
        return {run_id: (stamp, row) for run_id, stamp, row in kept["rows"]} if kept["version"] == version else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def write_cache(output: Path, version: str, rows: Rows) -> None:
    """Keep these rows for the next reading, if the folder can be written."""
    kept = {"version": version, "rows": [(run_id, stamp, row) for run_id, (stamp, row) in rows.items()]}
    content = json.dumps(kept, separators=(",", ":")).encode()
    with suppress(OSError), replacing(output / NAME) as temporary:
        temporary.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
