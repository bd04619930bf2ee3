"""All runs of an output folder, or of a packed study, as tables."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lossbench.config import RunConfig
from lossbench.packed import Row, packed_folders, read_rows
from lossbench.record import Record, damaged_file, output_folder, read_json
from lossbench.record_cache import Rows, find_stamps, read_cache, write_cache
from lossbench.registry import unknown

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["Damaged", "Record", "find_records", "load_history", "load_predictions", "load_runs", "output_folder"]

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
        output: an output folder, a packed study (see `lossbench.archive`), or a folder of packed studies such as
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
            "those is read by load_confusion, load_reliability and load_folds of lossbench.archive"
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
