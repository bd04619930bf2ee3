"""A run on disk: `<output>/runs/<run_id>/`, whose `result.json`, written last, means finished."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossbench.config import SCORING, RunConfig
from lossbench.files import replacing, write_text
from lossbench.registry import unknown

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def output_folder(output: str | os.PathLike[str] | None = None) -> Path:
    """The folder for results: the one given, else the environment's LOSSBENCH_OUTPUT, else `outputs`.

    JupyterLab runs a notebook in the notebook's own folder; there the repository's `outputs` is meant.
    """
    given = output or os.environ.get("LOSSBENCH_OUTPUT")
    if given:
        return Path(given)
    among_notebooks = Path.cwd().name == "notebooks" and Path("../pyproject.toml").exists()
    return Path("../outputs" if among_notebooks else "outputs")


def what_to_keep(keep: str | None = None) -> str | None:
    """What a run leaves beyond its scores and predictions: as given, else as the environment's LOSSBENCH_KEEP says."""
    keep = keep or os.environ.get("LOSSBENCH_KEEP") or None
    if keep is not None and keep not in KEEPS:
        raise ValueError(unknown("thing to keep", keep, KEEPS))
    return keep


@dataclass(frozen=True)
class Record:
    """One run's folder, read when asked."""

    path: Path

    @classmethod
    def of(cls, config: RunConfig, output: str | os.PathLike[str] | None = None) -> Record:
        """Where the record of `config` is, or will be: under its longer id where another config has the shorter one."""
        runs = output_folder(output) / "runs"
        record = cls(runs / config.run_id)
        try:
            return record if record.is_of(config) else cls(runs / config.long_run_id)
        except (ValueError, OSError):  # nothing there yet, or damaged, which whoever reads it will say
            return record

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end, diverged runs included."""
        return (self.path / "result.json").exists()

    @property
    def config(self) -> RunConfig:
        """What was run."""
        path = self.path / "config.json"
        values = read_json(path)
        try:
            return RunConfig.from_dict(values)
        except (TypeError, ValueError) as error:
            hint = "what a file of yours registers is known after lossbench.extend('FILE.py') or --extend FILE.py"
            raise type(error)(f"{path}: {error}; {hint}") from error

    def is_of(self, config: RunConfig) -> bool:
        """Whether config.json holds this config; fields that it lacks count as at their defaults.

        Raises: ValueError if the file is damaged or not there.
        """
        stored = RunConfig.defaults() | read_json(self.path / "config.json")
        return {name: value for name, value in stored.items() if name not in SCORING} == dict(
            json.loads(_json(config.trained()))
        )

    def has(self, config: RunConfig, data: Path | None = None) -> bool:
        """Whether this is the finished record of `config`, on the images that its data set has now.

        Raises: ValueError when it was computed on others.
        """
        from lossbench.data.loading import known_fingerprint

        if not self.finished:
            return False
        try:
            if not self.is_of(config):
                return False
            before = self.result.get("dataset_fingerprint")
        except (ValueError, OSError):
            return False
        now = known_fingerprint(config.dataset, data)
        if before and now and before != now:
            raise ValueError(
                f"{self.path} was computed on other images of {config.dataset} (fingerprint {before[:12]}, now "
                f"{now[:12]}): move the folder away or use another output"
            )
        return True

    @property
    def result(self) -> dict[str, Any]:
        """Scores, status, times, versions, where it ran, and checksums; ValueError if the file is damaged."""
        path = self.path / "result.json"
        values = read_json(path)
        try:
            check_seal(values)
        except (ValueError, TypeError, KeyError) as error:
            raise damaged_file(path, error) from error
        return values

    def read(self, name: str, checksums: Mapping[str, str] | None = None) -> bytes:
        """A file of the record, proven by its checksum in the result where that has one (None: look there).

        Raises: ValueError where it is damaged or not there.
        """
        path = self.path / name
        if checksums is None:
            checksums = self.result.get(CHECKSUMS, {}) if self.finished else {}
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise damaged_file(path, error) from error
        if checksums.get(name, digest := sha256(content).hexdigest()) != digest:
            raise damaged_file(path, "it is not what the run wrote: its checksum is another")
        return content

    @property
    def has_weights(self) -> bool:
        """Whether the run was finished with its network's weights."""
        return WEIGHTS in self.result.get(CHECKSUMS, {})

    def require_kept(self, keep: str | None) -> None:
        """ValueError where a finished run lacks the weights that are asked for; a diverged one may have none."""
        if keep == "weights" and not self.has_weights and self.result["best_epoch"] is not None:
            raise ValueError(
                f"{self.path} was finished without its weights, which cannot be had afterwards; delete it with "
                f"`lossbench runs delete {self.path.name}` and run it again, choose another output, or leave "
                "--keep weights out"
            )

    @property
    def outcome(self) -> dict[str, Any]:
        """What a study shows of a run that has ended: `run_id status test_accuracy seconds label probability`."""
        result = self.result
        kept = {key: result[key] for key in ("run_id", "status", "test_accuracy", "seconds", "label")}
        return {**kept, "probability": self.config.probability}

    @property
    def history(self) -> pd.DataFrame:
        """A row an epoch."""
        import pandas as pd

        columns, rows = self.read_history()
        return pd.DataFrame(rows, columns=columns).astype({"epoch": "int64"})

    def read_history(self, checksums: Mapping[str, str] | None = None) -> tuple[list[str], list[list[float]]]:
        """The columns of the history and a row an epoch; ValueError if the file is damaged or not there."""
        path = self.path / "history.csv"
        try:
            columns, *lines = csv.reader(io.StringIO(self.read(path.name, checksums).decode("utf-8"), newline=""))
            rows = [[float(cell) for cell in line] for line in lines]  # exact, unlike the parsers of older pandas
            if any(len(row) != len(columns) for row in rows):
                raise ValueError("rows of different lengths")
            if columns[:1] != ["epoch"] or len(set(columns)) < len(columns):
                raise ValueError(f"columns {', '.join(columns)}")
            if [row[0] for row in rows] != list(range(1, len(rows) + 1)):
                raise ValueError("epochs that do not follow each other")
        except (ValueError, csv.Error) as error:
            if str(path) in str(error):
                raise
            raise damaged_file(path, error) from error
        return columns, rows

    @property
    def predictions(self) -> tuple[np.ndarray, np.ndarray]:
        """Targets (images,) and log-probabilities (images, classes) of the test images, in file order."""
        return self.read_predictions()

    def read_predictions(self, checksums: Mapping[str, str] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The `predictions`; FileNotFoundError for a run that has none, ValueError where they are damaged."""
        import numpy as np

        path = self.path / "predictions.npz"
        if not path.exists() and path.name not in (checksums or {}):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        content = self.read(path.name, checksums)
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as stored:
                target, log_probs = stored["target"], stored["log_probs"]
            if target.dtype.kind not in "iu" or log_probs.dtype.kind != "f" or log_probs.shape[:-1] != target.shape:
                raise ValueError(f"targets {target.dtype} {target.shape}, scores {log_probs.dtype} {log_probs.shape}")
        except (ValueError, KeyError, EOFError, OSError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
            raise damaged_file(path, error) from error
        return target, log_probs

    def missing_metrics(self, config: RunConfig) -> list[str]:
        """The metrics of `config` that a finished record lacks, or has from another version of the user's file."""
        from lossbench.stats.metrics import METRICS

        if not config.metrics or not self.finished:
            return []
        result = self.result
        if result["status"] != "finished":
            return []
        versions = {name: note["version"] for name, note in result.get(METRIC_NOTES, {}).items()}
        return [name for name in config.metrics if versions.get(name) != (METRICS.version(name) or "")]

    def add_metrics(self, config: RunConfig) -> None:
        """Score the kept predictions by the metrics that are missing, and write the result anew."""
        from lossbench.stats.metrics import measure_all

        if not (names := self.missing_metrics(config)):
            return
        result = self.result
        target, log_probs = self.predictions
        values, notes = measure_all(names, log_probs, target)
        whole = {**result, **values, METRIC_NOTES: {**result.get(METRIC_NOTES, {}), **notes}}
        files = {name: self.read(name) for name in result.get(CHECKSUMS, {}) if name != OWN_CHECKSUM}
        write_text(self.path / "result.json", _json(seal(whole, files)))

    def __repr__(self) -> str:
        if not self.finished:
            return f"Record({self.path.name}, not finished)"
        result = self.result
        accuracy = "none" if result["test_accuracy"] is None else f"{result['test_accuracy']:.6g}"
        return (
            f"Record({self.path.name}, {result['status']}, test accuracy {accuracy}, "
            f"epoch {result['best_epoch']} of {result['epochs']}, {result['seconds']:.1f} s)"
        )

    def write_config(self, config: RunConfig) -> None:
        """Start a record. A folder that holds another config under the same name is never overwritten."""
        if (self.path / "config.json").exists():
            if not self.is_of(config):
                raise ValueError(f"{self.path} already holds another run; move it away or use another output")
            return
        write_text(self.path / "config.json", _json(config.trained()))

    def write(
        self,
        result: Mapping[str, Any],
        history: Sequence[Mapping[str, float]],
        target: np.ndarray | None = None,
        log_probs: np.ndarray | None = None,
        weights: bytes | None = None,
    ) -> None:
        """Finish a record: history, predictions and weights if any, and last the result, which proves them."""
        import numpy as np

        columns = list(history[0]) if history else ["epoch"]
        lines = [",".join(columns), *(",".join(repr(row[column]) for column in columns) for row in history)]
        write_text(self.path / "history.csv", "\n".join(lines) + "\n")
        if target is not None and log_probs is not None:
            with replacing(self.path / "predictions.npz") as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, target=target, log_probs=log_probs)
        names = ["config.json", "history.csv", *(["predictions.npz"] if target is not None else [])]
        files = {name: path.read_bytes() for name in names if (path := self.path / name).exists()}
        if weights is None:
            (self.path / WEIGHTS).unlink(missing_ok=True)  # of a try that was killed before its result was written
        else:
            with replacing(self.path / WEIGHTS) as temporary:
                temporary.write_bytes(weights)
            files[WEIGHTS] = weights
        write_text(self.path / "result.json", _json(seal(result, files)))


WEIGHTS = "model.safetensors"
KEEPS = ("weights",)
METRIC_NOTES = "metrics"  # of the result: for each metric that was asked for its version, and why it is missing
CHECKSUMS = "checksums"
OWN_CHECKSUM = "these values"  # the checksum of the table that holds the checksums, without them


def seal(values: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
    """Add to `values` the sha256 of each file that belongs to them, and that of the values themselves."""
    own = {name: value for name, value in values.items() if name != CHECKSUMS}
    digests = {name: sha256(content).hexdigest() for name, content in files.items()}
    return {**own, CHECKSUMS: {**digests, OWN_CHECKSUM: sha256(_json(own).encode()).hexdigest()}}


def check_seal(values: Mapping[str, Any]) -> None:
    """ValueError where sealed values are not what was sealed; values of earlier versions have no seal."""
    if CHECKSUMS not in values:
        return
    own = {name: value for name, value in values.items() if name != CHECKSUMS}
    if values[CHECKSUMS][OWN_CHECKSUM] != sha256(_json(own).encode()).hexdigest():
        raise ValueError("its values are not those that were written: their checksum is another")


def read_json(path: Path, content: bytes | None = None) -> dict[str, Any]:
    """The names and values in a file of a record; ValueError if it is damaged or not there."""
    try:
        values = json.loads(path.read_bytes() if content is None else content, parse_constant=_refuse_constant)
    except (ValueError, FileNotFoundError, RecursionError) as error:
        raise damaged_file(path, error) from error
    if not isinstance(values, dict):
        raise damaged_file(path, "no table of names")
    return values


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no number")


def damaged_file(path: Path, why: object) -> ValueError:
    """The error for a file of a record that cannot be used."""
    return ValueError(f"{path} is damaged ({why}); delete the folder {path.parent} and run it again")


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
