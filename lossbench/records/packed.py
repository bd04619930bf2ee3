"""The files of a packed study: tables as compressed CSV and a `study.json` that describes them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from lossbench.files import replacing, write_text
from lossbench.records.record import CHECKSUMS, check_seal, seal

TABLES = ("runs", "history", "confusion", "reliability", "folds")

Row = Mapping[str, Any]


def packed_folders(folder: Path) -> list[Path]:
    """The packed studies that `folder` stands for: itself, those directly in it, or none where it holds live runs."""
    if (folder / "runs").is_dir():
        return []
    if (folder / "study.json").is_file():
        return [folder]
    return sorted(found.parent for found in folder.glob("*/study.json"))


def read_description(folder: Path) -> dict[str, Any]:
    """What `study.json` says; ValueError if it is damaged."""
    path = folder / "study.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values["columns"], dict):
            raise TypeError("columns is no table")
        check_seal(values)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _damaged_study(path, error) from error
    return dict(values)


def read_study(folder: Path, tables: Sequence[str]) -> tuple[dict[str, list[Row]], bool]:
    """The rows of these of `TABLES` with the types they had, and whether checksums prove the study.

    Raises: ValueError for a damaged file, FileNotFoundError for one that is not there.
    """
    description = read_description(folder)
    checksums = description.get(CHECKSUMS, {})
    rows = {}
    for table in tables:
        path = folder / f"{table}.csv.gz"
        content = path.read_bytes()
        if checksums.get(path.name, digest := sha256(content).hexdigest()) != digest:
            raise _damaged_study(path, "its checksum is not the one in study.json")
        try:
            rows[table] = _read_table(content, description["columns"][table])
        except (ValueError, TypeError, KeyError, EOFError, gzip.BadGzipFile, zlib.error, csv.Error) as error:
            raise _damaged_study(path, repr(error)) from error
    return rows, bool(checksums)


def _damaged_study(path: Path, why: object) -> ValueError:
    return ValueError(f"{path} is damaged ({why}); restore it or pack the study again")


def _read_table(content: bytes, kinds: Mapping[str, str]) -> list[Row]:
    names, *lines = csv.reader(io.StringIO(gzip.decompress(content).decode("utf-8"), newline=""))
    readers = [_READERS[kinds[name]] for name in names]
    return [{name: read(cell) for name, read, cell in zip(names, readers, line, strict=True)} for line in lines if line]


def write_study(folder: Path, description: Row, tables: Mapping[str, list[Row]]) -> None:
    """Write all files of a packed study; equal content gives equal bytes."""
    columns, files = {}, {}
    for table, rows in tables.items():
        names = list(dict.fromkeys(name for row in rows for name in row))
        columns[table] = {name: _kind_of([row.get(name) for row in rows]) for name in names}
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(names)
        writers = [_write_json if kind == "json" else _write_cell for kind in columns[table].values()]
        writer.writerows([write(row.get(name)) for name, write in zip(names, writers, strict=True)] for row in rows)
        files[f"{table}.csv.gz"] = gzip.compress(text.getvalue().encode("utf-8"), mtime=0)
    for name, content in files.items():
        with replacing(folder / name) as temporary:
            temporary.write_bytes(content)
    described = seal({**description, "columns": columns}, files)
    write_text(folder / "study.json", json.dumps(described, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _kind_of(values: list[Any]) -> str:
    """How a column is written so that its values come back as they were; an empty cell is a missing value."""
    types = {type(value) for value in values}
    if types == {str}:
        return "text"  # an empty cell is an empty text here
    types -= {type(None)}
    for kind, members in (("bool", {bool}), ("int", {int}), ("float", {int, float})):
        if types and types <= members:
            return kind
    return "json"


def _write_cell(value: object) -> str:
    return "" if value is None else str(value)


def _write_json(value: object) -> str:
    return "" if value is None else json.dumps(value)


def _optional(read: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda cell: None if cell == "" else read(cell)


_READERS: dict[str, Callable[[str], Any]] = {
    "text": str,
    "bool": _optional(lambda cell: cell == "True"),
    "int": _optional(int),
    "float": _optional(float),
    "json": _optional(json.loads),
}
