"""All runs of an output folder, or of a packed study, as tables."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lossbench.config import RunConfig
from lossbench.files import replacing
from lossbench.records.packed import Row, packed_folders, read_rows
from lossbench.records.record import Record, damaged_file, output_folder, read_json
from lossbench.registry import unknown
from lossbench.stats import metrics
from lossbench.stats.metrics import FOLDS, score_folds

if TYPE_CHECKING:
    import pandas as pd

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


# What a table of runs has as columns even where no run has the value.
ALWAYS = ("status", "best_epoch", "test_accuracy", "test_nll", "val_accuracy", "seconds")

# Without these a file is not what a run has written; others may be missing in the records of earlier versions.
CONFIG_NEEDS = ("dataset", "model", "loss", "seed")
RESULT_NEEDS = ("label", "status", "loss_params", "probability_params")
CACHE_FORM = 1  # to be raised when `_row` makes other rows of the same record

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
    An output folder without runs gives an empty table with these columns.

    Args:
        output: an output folder, a packed study (see `lossbench.records.archive`), or a folder of packed studies such
        as
            `outputs/reference`; the last adds a column `study`, and a run that is part of two studies is there twice.
        damaged: what to do about a record that cannot be read: `raise`, or `skip` it with a warning and name it in
            `table.attrs["damaged"]`, a dict `run_id -> what is wrong`, which is empty when all could be read.

    Raises: ValueError for a damaged record that is not skipped, or a damaged file of a packed study.
    """
    folder = output_folder(output)
    if packed_folders(folder):
        return _runs_table(read_rows(folder, "runs"), {})
    found = Damages(damaged)
    rows = run_rows(folder, found)
    return _runs_table(rows, found.said())


def load_history(output: str | os.PathLike[str] | None = None, *, damaged: Damaged = "raise") -> pd.DataFrame:
    """Read the learning curves of every finished run: a row an epoch, with the run's names in front.

    Args and errors are those of `load_runs`.
    """
    folder = output_folder(output)
    runs = load_runs(folder, damaged=damaged)
    if packed_folders(folder):
        return _history_table(read_rows(folder, "history"), runs, {})
    found = Damages(damaged, runs.attrs["damaged"])
    rows = history_rows(folder, runs["run_id"], found)
    return _history_table(rows, runs, found.said())


def load_predictions(run_id: str, output: str | os.PathLike[str] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Targets (images,) and log-probabilities (images, classes) of one run's test images.

    Raises: FileNotFoundError for a diverged run and for packed studies, which hold no predictions.
    """
    try:
        return Record(output_folder(output) / "runs" / run_id).predictions
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error.filename!r} is not there: diverged runs and packed studies have no predictions; what is kept of "
            "those is read by load_confusion, load_reliability and load_folds of lossbench.records.archive"
        ) from error


class Damages:
    """Which records could not be read, and whether that ends the reading."""

    def __init__(self, damaged: Damaged, known: Mapping[str, str] | None = None) -> None:
        if damaged not in (allowed := ("raise", "skip")):
            raise ValueError(unknown("way with damaged records", damaged, allowed))
        self.skip = damaged == "skip"
        self.known = dict(known or {})
        self.new: dict[str, str] = {}

    @contextmanager
    def in_record(self, record: Record) -> Iterator[None]:
        """Note what is wrong with a record, or let the error through."""
        try:
            yield
        except ValueError as error:
            if not self.skip:
                raise
            self.new[record.path.name] = str(error)

    def said(self) -> dict[str, str]:
        """Warn of the records that this reading skipped; returns all that were."""
        if self.new:
            warnings.warn(f"{len(self.new)} damaged records are left out: {', '.join(self.new)}", stacklevel=3)
        return {**self.known, **self.new}


def run_rows(folder: Path, found: Damages) -> list[Row]:
    """A row for each finished run, its lists and tables left out; only new and changed records are read."""
    defaults = RunConfig.defaults()
    version = f"{CACHE_FORM} {defaults}"
    kept = read_cache(folder, version)
    rows: Rows = {}
    for run_id, stamp in find_stamps(folder / "runs").items():
        if run_id in kept and kept[run_id][0] == stamp:
            rows[run_id] = kept[run_id]
            continue
        record = Record(folder / "runs" / run_id)
        with found.in_record(record):
            rows[run_id] = stamp, _row(record, defaults)
    if rows != kept:
        write_cache(folder, version, rows)
    return [row for _, row in rows.values()]


def history_rows(folder: Path, run_ids: Iterable[str], found: Damages) -> list[Row]:
    """A row for each epoch of each of these runs."""
    rows: list[Row] = []
    for record in (Record(folder / "runs" / run_id) for run_id in run_ids):
        with found.in_record(record):
            columns, epochs = record.read_history()
            rows += [{"run_id": record.path.name, **dict(zip(columns, epoch, strict=True))} for epoch in epochs]
    return rows


def _row(record: Record, defaults: Row) -> Row:
    # Plain JSON, not RunConfig: a record stays readable where its loss or data set is not known.
    config, result = read_json(record.path / "config.json"), record.result
    for name, values, needed in (("config.json", config, CONFIG_NEEDS), ("result.json", result, RESULT_NEEDS)):
        if missing := [key for key in needed if key not in values]:
            raise damaged_file(record.path / name, f"no {', '.join(missing)}")
    flat = {key: value for key, value in result.items() if not isinstance(value, dict | list)}
    try:
        params = {key: _text(result[key]) for key in ("loss_params", "probability_params")}
    except AttributeError as error:
        raise damaged_file(record.path / "result.json", "parameters without names") from error
    return {"run_id": record.path.name, **defaults, **config, **flat, **params}


def _runs_table(rows: Sequence[Row], damaged: dict[str, str]) -> pd.DataFrame:
    import pandas as pd

    first = [*(["study"] if rows and "study" in rows[0] else []), "run_id", "label"]
    names = [*first, *RunConfig.__dataclass_fields__, *ALWAYS, *(name for row in rows for name in row)]
    columns = list(dict.fromkeys(names))
    table = pd.DataFrame([[row.get(name) for name in columns] for row in rows], columns=columns)
    # What is missing everywhere is a missing number; counts that may be missing stay whole numbers.
    empty = {name: "float64" for name in columns if rows and table[name].isna().all()}
    table = table.astype({**empty, **dict.fromkeys(("train_size", "patience", "best_epoch"), "Int64")})
    table.attrs["damaged"] = damaged
    return table


def _history_table(rows: Sequence[Row], runs: pd.DataFrame, damaged: dict[str, str]) -> pd.DataFrame:
    """Put the names of each run in front of its epochs."""
    import pandas as pd

    key = [name for name in ("study", "run_id") if name in runs]
    columns = list(dict.fromkeys([*key, "epoch", *(name for row in rows for name in row)]))
    history = pd.DataFrame([[row.get(name) for name in columns] for row in rows], columns=columns)
    history = history.astype({name: "int64" if name == "epoch" else "float64" for name in columns if name not in key})
    names = runs[[*key, "dataset", "model", "loss", "label", "probability", "seed"]]
    table = names.merge(history, on=key) if rows else history
    table.attrs["damaged"] = damaged
    return table


def _text(params: Mapping[str, Any]) -> str:
    return ";".join(f"{key}={_number(value)}" for key, value in params.items())


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


# Small tables that stand for a run's predictions: confusion counts, reliability bins, scores by fold.

Predictions = tuple[NDArray[Any], NDArray[Any], Sequence[str]]


def prediction_rows(
    folder: Path, tables: Iterable[str], run_ids: Collection[str] | None, found: Damages
) -> dict[str, list[Row]]:
    """Rows of these tables for the finished runs in `folder` that have predictions; each file is read once."""
    rows: dict[str, list[Row]] = {table: [] for table in tables}
    for record in find_records(folder):
        wanted = run_ids is None or record.path.name in run_ids
        if not wanted or not (record.path / "predictions.npz").exists():
            continue
        with found.in_record(record):
            target, log_probs = record.predictions
            try:
                predictions = target, log_probs, record.result["class_names"]
                fresh = {table: FROM_PREDICTIONS[table](*predictions) for table in rows}
            except (KeyError, ValueError, IndexError) as error:
                raise damaged_file(record.path / "predictions.npz", error) from error
            for table, found_rows in fresh.items():
                rows[table] += [{"run_id": record.path.name, **row} for row in found_rows]
    return rows


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
    for place, (low, high, count, confidence, accuracy) in enumerate(table.itertuples(index=False)):
        means = {"confidence": float(confidence), "accuracy": float(accuracy)} if count else {}
        rows.append({"bin": place, "low": float(low), "high": float(high), "count": int(count), **means})
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
