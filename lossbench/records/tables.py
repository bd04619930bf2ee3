"""All runs of an output folder, or of a packed study, as tables."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lossbench.config import RunConfig
from lossbench.files import replacing
from lossbench.records.packed import Row, packed_folders, read_study
from lossbench.records.record import CHECKSUMS, Record, damaged_file, output_folder, read_json
from lossbench.registry import Anything, Check, Number, OneOf, any_number, at_least, unknown, whole
from lossbench.stats import metrics
from lossbench.stats.metrics import FOLDS, score_folds

__all__ = [
    "Damaged",
    "Record",
    "find_records",
    "load_history",
    "load_predictions",
    "load_runs",
    "output_folder",
]


# Rows of finished records in one file, so that a folder of thousands of runs is read once and then kept up to date.
#
# The file is only a cache: without it, or when it is damaged, of another version or not writable, rows are read from
# the records. Processes that write it at the same time replace it whole; each leaves rows that were true when read.

NAME = ".runs-cache.json"

# Of the files that a row is made of: a file that was replaced or changed has another one.
Stamp = list[int]
Checksums = dict[str, str]  # file of the record -> sha256; empty in the records of earlier versions
Rows = dict[str, tuple[Stamp, Row, Checksums]]


def find_stamps(runs: Path) -> dict[str, Stamp]:
    """The run ids of the finished records in `runs`, sorted, each with a stamp that changes with its files."""
    names = sorted(path.name for path in runs.iterdir()) if runs.is_dir() else []
    stamps = {name: _stamp(runs / name / "result.json") for name in names}
    return {name: stamp + _stamp(runs / name / "config.json") for name, stamp in stamps.items() if stamp}


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def read_cache(output: Path, version: str) -> Rows:
    """The rows kept for `output`; none unless the file is whole and of this version."""
    try:
        digest, content = (output / NAME).read_bytes().split(b"\n", 1)
        if hashlib.sha256(content).hexdigest().encode() != digest:
            return {}
        cached = json.loads(content)
        return {run_id: tuple(entry) for run_id, *entry in cached["rows"]} if cached["version"] == version else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def write_cache(output: Path, version: str, rows: Rows) -> None:
    """Keep these rows for the next reading, if the folder can be written."""
    cached = {"version": version, "rows": [(run_id, *entry) for run_id, entry in rows.items()]}
    content = json.dumps(cached, separators=(",", ":")).encode()
    with suppress(OSError), replacing(output / NAME) as temporary:
        temporary.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


# What a table of runs has as columns even where no run has the value.
ALWAYS = ("status", "best_epoch", "test_accuracy", "test_nll", "val_accuracy", "seconds")

# Without these a file is not what a run has written; others may be missing in the records of earlier versions.
CONFIG_NEEDS = ("dataset", "model", "loss", "seed")
RESULT_NEEDS = ("label", "status", "loss_params", "probability_params")
CACHE_FORM = 2  # to be raised when `_row` makes other rows of the same record

Damaged = Literal["raise", "skip"]


def find_records(output: str | os.PathLike[str] | None = None) -> Iterator[Record]:
    """The finished records under an output folder, in the order of their names."""
    runs = output_folder(output) / "runs"
    if runs.is_dir():
        yield from (Record(path.parent) for path in sorted(runs.glob("*/result.json")))


def load_runs(output: str | os.PathLike[str] | None = None, *, damaged: Damaged = "raise") -> pd.DataFrame:
    """Read every finished run into a table with a row a run, diverged ones included.

    Columns: `run_id label`, the fields of `RunConfig` (parameters as text such as `gamma=2`), then
    `status best_epoch test_accuracy test_nll val_accuracy seconds` and what else a result holds.
    An output folder without runs gives an empty table with these columns. `table.attrs["unproven"]` lists the runs (or
    packed studies) of earlier versions, which no checksum proves.

    Args:
        output: an output folder, a packed study (see `lossbench.records.archive`), or a folder of packed studies such
            as `outputs/reference`; the last adds a column `study`, and a run that is part of two studies is there
            twice.
        damaged: what to do about a record that cannot be read: `raise`, or `skip` it with a warning and name it in
            `table.attrs["damaged"]`, a dict `run_id -> what is wrong`, which is empty when all could be read. Of packed
            studies the whole study is named and left out.

    Raises: ValueError for a damaged record, or a damaged file of a packed study, that is not skipped.
    """
    return read_tables(["runs"], output, damaged=damaged)["runs"]


def load_history(output: str | os.PathLike[str] | None = None, *, damaged: Damaged = "raise") -> pd.DataFrame:
    """Read the learning curves of every finished run: a row an epoch, with the run's names in front.

    Args and errors are those of `load_runs`.
    """
    return read_tables(["history"], output, damaged=damaged)["history"]


def read_tables(
    tables: Sequence[str],
    output: str | os.PathLike[str] | None = None,
    *,
    damaged: Damaged = "raise",
) -> dict[str, pd.DataFrame]:
    """Read these of `TABLES`, each file once."""
    folder, damages = output_folder(output), Damages(damaged)
    packed = packed_folders(folder)
    rows, unproven = (_packed_rows if packed else live_rows)(folder, tables, damages)
    damages.warn()
    runs = _runs_table(rows["runs"])
    frames = {}
    for table in tables:
        if table == "runs":
            frame = runs
        elif table == "history":
            frame = _history_table(rows[table], runs)
        else:
            frame = _predictions_table(table, rows[table])
        frame.attrs |= {"damaged": damages.of(table), "unproven": unproven}
        frames[table] = frame
    return frames


def _packed_rows(folder: Path, tables: Sequence[str], damages: Damages) -> tuple[dict[str, list[Row]], list[str]]:
    needed = list(dict.fromkeys(["runs", *tables]))
    rows: dict[str, list[Row]] = {table: [] for table in needed}
    unproven = []
    for study in packed_folders(folder):
        with damages.noting(study.name, "runs"):
            read, proven = read_study(study, needed)
            name = {} if study == folder else {"study": study.name}
            for table in needed:
                absent = RunConfig.defaults() if table == "runs" else {}  # fields that the study was packed without
                rows[table] += [{**absent, **name, **row} for row in read[table]]
            if not proven:
                unproven.append(study.name)
    return rows, unproven


def live_rows(folder: Path, tables: Sequence[str], damages: Damages) -> tuple[dict[str, list[Row]], list[str]]:
    """The rows of the runs and of these tables, and the runs that no checksum proves; each file is read once."""
    entries = _run_entries(folder, damages)
    rows: dict[str, list[Row]] = {"runs": [row for _, row, _ in entries.values()]}
    rows |= {table: [] for table in tables if table != "runs"}
    predicted = [table for table in tables if table in FROM_PREDICTIONS]
    for run_id, (_, _, checksums) in entries.items():
        record = Record(folder / "runs" / run_id)
        if "history" in tables:
            with damages.noting(run_id, "history"):
                columns, epochs = record.read_history(checksums)
                rows["history"] += [{"run_id": run_id, **dict(zip(columns, epoch, strict=True))} for epoch in epochs]
        if predicted:
            with damages.noting(run_id, *predicted), suppress(FileNotFoundError):  # as of a diverged run
                for table, some in _rows_of_predictions(record, predicted, checksums).items():
                    rows[table] += [{"run_id": run_id, **each} for each in some]
    return rows, [run_id for run_id, (_, _, checksums) in entries.items() if not checksums]


def load_predictions(run_id: str, output: str | os.PathLike[str] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Targets (images,) and log-probabilities (images, classes) of one run's test images.

    Raises: FileNotFoundError for a diverged run and for packed studies, which hold no predictions.
    """
    try:
        return Record(output_folder(output) / "runs" / run_id).predictions
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error.filename!r} is not there: diverged runs and packed studies have no predictions; what is kept of "
            "those is read by load_tables of lossbench.records.archive"
        ) from error


class Damages:
    """Which runs or studies could not be read, and whether that ends the reading."""

    def __init__(self, damaged: Damaged) -> None:
        if damaged not in (allowed := ("raise", "skip")):
            raise ValueError(unknown("way with damaged records", damaged, allowed))
        self.skip = damaged == "skip"
        self.messages: dict[str, dict[str, str]] = {}  # table -> run or study -> what is wrong

    @contextmanager
    def noting(self, name: str, *tables: str) -> Iterator[None]:
        """Note what is wrong with a record for these tables, or let the error through."""
        try:
            yield
        except ValueError as error:
            if not self.skip:
                raise
            for table in tables:
                self.messages.setdefault(table, {})[name] = str(error)

    def of(self, table: str) -> dict[str, str]:
        """What is not in a table; what is damaged in the runs is in no table."""
        return {**self.messages.get("runs", {}), **self.messages.get(table, {})}

    def warn(self) -> None:
        """Warn of everything that was skipped."""
        if names := list(dict.fromkeys(name for messages in self.messages.values() for name in messages)):
            warnings.warn(f"{len(names)} damaged records are left out: {', '.join(names)}", stacklevel=4)


def _run_entries(folder: Path, damages: Damages) -> Rows:
    """A row for each finished run, its lists and tables left out; only new and changed records are read."""
    defaults = RunConfig.defaults()
    version = f"{CACHE_FORM} {defaults}"
    cached = read_cache(folder, version)
    entries: Rows = {}
    for run_id, stamp in find_stamps(folder / "runs").items():
        if run_id in cached and cached[run_id][0] == stamp:
            entries[run_id] = cached[run_id]
            continue
        record = Record(folder / "runs" / run_id)
        with damages.noting(run_id, "runs"):
            entries[run_id] = stamp, *_row(record, defaults)
    if entries != cached:
        write_cache(folder, version, entries)
    return entries


def _row(record: Record, defaults: Row) -> tuple[Row, Checksums]:
    # Plain JSON, not RunConfig: a record stays readable where its loss or data set is not known.
    result = record.result
    checksums = result.get(CHECKSUMS, {})
    config = read_json(record.path / "config.json", record.read("config.json", checksums))
    for name, values, needed in (("config.json", config, CONFIG_NEEDS), ("result.json", result, RESULT_NEEDS)):
        try:
            if missing := [key for key in needed if key not in values]:
                raise ValueError(f"no {', '.join(missing)}")
            (RunConfig.check_stored if values is config else check_result)(values)
        except (ValueError, TypeError) as error:
            raise damaged_file(record.path / name, error) from error
    params = {key: _text(result[key]) for key in ("loss_params", "probability_params")}
    flat = {key: value for key, value in result.items() if not isinstance(value, dict | list)}
    row = {"run_id": "", **defaults, **config, **flat, **params}
    return row | {"run_id": record.path.name}, checksums  # a copied folder is a run of its own name


SHARE, COUNT, POSITIVE = Number(0, 1), whole(0), whole(1)
RESULT_CHECKS: dict[str, tuple[Check, bool]] = {  # whether the value may be missing
    "run_id": (Anything(text=True), False),
    "label": (Anything(text=True), False),
    "status": (OneOf(("finished", "diverged")), False),
    "epochs": (POSITIVE, False),
    "epochs_done": (COUNT, False),
    "best_epoch": (POSITIVE, True),
    "seconds": (at_least(0), False),
    "num_parameters": (COUNT, False),
    "train_images": (COUNT, False),
    "test_images": (COUNT, False),
    "peak_memory_mb": (at_least(0), True),
    "val_accuracy": (SHARE, True),
    "test_nll": (any_number(), True),
    **{f"test_{name}": (SHARE, True) for name in ("accuracy", "top5", "macro_f1", "ece")},
}


def check_result(values: Mapping[str, Any]) -> None:
    """Refuse a result whose values are of other types, or out of their range; those that it lacks are not looked at."""
    for name, value in values.items():
        check, may_be_missing = RESULT_CHECKS.get(name, (None, True))
        if check is not None and not (may_be_missing and value is None):
            check(name, value)
        elif check is None and name.startswith("test_") and not isinstance(value, list | None):
            any_number()(name, value)
    for name in ("loss_params", "probability_params"):
        if not isinstance(values[name], dict):
            raise TypeError("parameters without names")
    names = values.get("class_names", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"class_names are {names!r:.60}")


def _runs_table(rows: Sequence[Row]) -> pd.DataFrame:
    first = [*(["study"] if rows and "study" in rows[0] else []), "run_id", "label"]
    names = [*first, *RunConfig.defaults(), *ALWAYS, *(name for row in rows for name in row)]
    columns = list(dict.fromkeys(names))
    table = pd.DataFrame([[row.get(name) for name in columns] for row in rows], columns=columns)
    # What is missing everywhere is a missing number; counts that may be missing stay whole numbers.
    empty = {name: "float64" for name in columns if rows and table[name].isna().all()}
    return table.astype({**empty, **dict.fromkeys(("train_size", "patience", "best_epoch"), "Int64")})


def _history_table(rows: Sequence[Row], runs: pd.DataFrame) -> pd.DataFrame:
    """Put the names of each run in front of its epochs."""
    key = [name for name in ("study", "run_id") if name in runs]
    columns = list(dict.fromkeys([*key, "epoch", *(name for row in rows for name in row)]))
    history = pd.DataFrame([[row.get(name) for name in columns] for row in rows], columns=columns)
    history = history.astype({name: "int64" if name == "epoch" else "float64" for name in columns if name not in key})
    names = runs[[*key, "dataset", "model", "loss", "label", "probability", "seed"]]
    return names.merge(history, on=key) if rows else history


def _predictions_table(table: str, rows: Sequence[Row]) -> pd.DataFrame:
    names = [name for name in ("study", "run_id") if rows and name in rows[0]] or ["run_id"]
    columns = list(dict.fromkeys([*names, *COLUMNS[table], *(name for row in rows for name in row)]))
    frame = pd.DataFrame([[row.get(name) for name in columns] for row in rows], columns=columns)
    return frame.astype({name: "int64" if name in WHOLE else "float64" for name in columns if name not in names})


def _text(params: Mapping[str, Any]) -> str:
    return ";".join(f"{key}={_number(value)}" for key, value in params.items())


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


# Small tables that stand for a run's predictions: confusion counts, reliability bins, scores by fold.

COLUMNS = {
    "confusion": ("true", "predicted", "count"),
    "reliability": ("bin", "low", "high", "count", "confidence", "accuracy"),
    "folds": ("fold", "accuracy", "macro_f1"),
}
WHOLE = ("true", "predicted", "bin", "count", "fold")


def _rows_of_predictions(record: Record, tables: Sequence[str], checksums: Checksums) -> dict[str, list[Row]]:
    target, log_probs = record.read_predictions(checksums)
    try:
        class_names = record.result["class_names"]
        return {table: FROM_PREDICTIONS[table](target, log_probs, class_names) for table in tables}
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise damaged_file(record.path / "predictions.npz", error) from error


def confusion_rows(target: NDArray[Any], log_probs: NDArray[Any], class_names: Sequence[str]) -> list[Row]:
    """How often each true class (by index) was taken for each other; pairs that never occur are left out."""
    counts = metrics.confusion_matrix(log_probs, target)
    return [
        {"true": int(true), "predicted": int(predicted), "count": int(counts[true, predicted])}
        for true, predicted in zip(*np.nonzero(counts), strict=True)
    ]


def reliability_rows(target: NDArray[Any], log_probs: NDArray[Any], class_names: Sequence[str]) -> list[Row]:
    """Confidence and accuracy in 15 equal bins of confidence; None where no image falls."""
    table = metrics.reliability_table(log_probs, target)
    rows: list[Row] = []
    for number, (low, high, count, confidence, accuracy) in enumerate(table.itertuples(index=False)):
        means = {"confidence": float(confidence), "accuracy": float(accuracy)} if count else {}
        rows.append({"bin": number, "low": float(low), "high": float(high), "count": int(count), **means})
    return rows


def fold_rows(target: NDArray[Any], log_probs: NDArray[Any], class_names: Sequence[str]) -> list[Row]:
    """Scores on each fold of the test images; none where a class has fewer images than there are folds."""
    if np.bincount(target, minlength=len(class_names)).min() < FOLDS:
        return []
    return [{"fold": fold, **scores} for fold, scores in enumerate(score_folds(target, log_probs, class_names))]


FROM_PREDICTIONS: dict[str, Callable[..., list[Row]]] = {
    "confusion": confusion_rows,
    "reliability": reliability_rows,
    "folds": fold_rows,
}
