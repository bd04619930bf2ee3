"""A run on disk: `<output>/runs/<run_id>/`, whose `result.json`, written last, means finished."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossbench.config import RunConfig
from lossbench.files import replacing, write_text

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SCORES = ("status", "best_epoch", "test_accuracy", "test_nll", "val_accuracy", "seconds")


def output_folder(output: str | os.PathLike[str] | None = None) -> Path:
    """The folder for results: the one given, else the environment's LOSSBENCH_OUTPUT, else `outputs`.

    JupyterLab runs a notebook in the notebook's own folder; there the repository's `outputs` is meant.
    """
    given = output or os.environ.get("LOSSBENCH_OUTPUT")
    if given:
        return Path(given)
    among_notebooks = Path.cwd().name == "notebooks" and Path("../pyproject.toml").exists()
    return Path("../outputs" if among_notebooks else "outputs")


@dataclass(frozen=True)
class Record:
    """One run's folder, read when asked."""

    path: Path

    @classmethod
    def of(cls, config: RunConfig, output: str | os.PathLike[str] | None = None) -> Record:
        """Where the record of `config` is, or will be."""
        return cls(output_folder(output) / "runs" / config.run_id)

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end, diverged runs included."""
        return (self.path / "result.json").exists()

    @property
    def config(self) -> RunConfig:
        """What was run."""
        return RunConfig.from_dict(_read(self.path / "config.json"))

    @property
    def result(self) -> dict[str, Any]:
        """Scores, status, times, versions and where it ran."""
        return _read(self.path / "result.json")

    @property
    def history(self) -> pd.DataFrame:
        """A row an epoch."""
        import pandas as pd

        with (self.path / "history.csv").open(newline="", encoding="utf-8") as file:
            columns, *rows = csv.reader(file)
        values = [[float(cell) for cell in row] for row in rows]  # exact, unlike the parsers of older pandas
        return pd.DataFrame(values, columns=columns).astype({"epoch": "int64"})

    @property
    def predictions(self) -> tuple[np.ndarray, np.ndarray]:
        """Targets (images,) and log-probabilities (images, classes) of the test images, in file order."""
        import numpy as np

        with np.load(self.path / "predictions.npz", allow_pickle=False) as stored:
            return stored["target"], stored["log_probs"]

    def __repr__(self) -> str:
        if not self.finished:
            return f"Record({self.path.name}, not finished)"
        result = self.result
        return (
            f"Record({self.path.name}, {result['status']}, test accuracy {_number(result['test_accuracy'])}, "
            f"epoch {result['best_epoch']} of {result['epochs']}, {result['seconds']:.1f} s)"
        )

    def write_config(self, config: RunConfig) -> None:
        """Start a record. A folder that holds another config under the same name is never overwritten."""
        if (self.path / "config.json").exists():
            if (stored := _read(self.path / "config.json")) != json.loads(_json(config.to_dict())):
                raise ValueError(f"{self.path} already holds another run: {stored}; move it away or use another output")
            return
        write_text(self.path / "config.json", _json(config.to_dict()))

    def write(
        self,
        result: Mapping[str, Any],
        history: Sequence[Mapping[str, float]],
        target: np.ndarray | None = None,
        log_probs: np.ndarray | None = None,
    ) -> None:
        """Finish a record: the history, the predictions if there are any, and the result last."""
        import numpy as np

        columns = list(history[0]) if history else ["epoch"]
        lines = [",".join(columns), *(",".join(repr(row[column]) for column in columns) for row in history)]
        write_text(self.path / "history.csv", "\n".join(lines) + "\n")
        if target is not None and log_probs is not None:
            with replacing(self.path / "predictions.npz") as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, target=target, log_probs=log_probs)
        write_text(self.path / "result.json", _json(result))


def find_records(output: str | os.PathLike[str] | None = None) -> Iterator[Record]:
    """The finished records under an output folder, in the order of their names."""
    runs = output_folder(output) / "runs"
    if runs.is_dir():
        yield from (Record(path.parent) for path in sorted(runs.glob("*/result.json")))


def load_runs(output: str | os.PathLike[str] | None = None) -> pd.DataFrame:
    """Read every finished run into a table with a row a run, diverged ones included.

    Columns: `run_id label`, the fields of `RunConfig` (parameters as text such as `gamma=2`), then
    `status best_epoch test_accuracy test_nll val_accuracy seconds` and what else a result holds.
    An output folder without runs gives an empty table with these columns.
    """
    import pandas as pd

    rows = [_row(record) for record in find_records(output)]
    first = ["run_id", "label", *RunConfig.__dataclass_fields__, *SCORES]
    columns = list(dict.fromkeys([*first, *(key for row in rows for key in row)]))
    # Counts that may be missing stay whole numbers.
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(("train_size", "patience", "best_epoch"), "Int64"))


def load_history(output: str | os.PathLike[str] | None = None) -> pd.DataFrame:
    """Read the learning curves of every finished run: a row an epoch, with the run's names in front."""
    import pandas as pd

    tables = []
    for record in find_records(output):
        row = _row(record)
        names = {name: row[name] for name in ("run_id", "dataset", "model", "loss", "label", "probability", "seed")}
        tables.append(record.history.assign(**names)[[*names, *record.history.columns]])
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["run_id", "epoch"])


def load_predictions(run_id: str, output: str | os.PathLike[str] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Targets and log-probabilities of one run's test images."""
    return Record(output_folder(output) / "runs" / run_id).predictions


def _row(record: Record) -> dict[str, Any]:
    # Plain JSON, not RunConfig: a record stays readable where its loss or data set is not known.
    config, result = _read(record.path / "config.json"), record.result
    flat = {key: value for key, value in result.items() if not isinstance(value, dict | list)}
    params = {key: _text(result[key]) for key in ("loss_params", "probability_params")}
    return {"run_id": record.path.name, **RunConfig.defaults(), **config, **flat, **params}


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); delete the folder {path.parent} and run it again") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} is damaged (no table of names); delete the folder {path.parent} and run it again")
    return values


def _text(params: Mapping[str, Any]) -> str:
    return ";".join(f"{key}={_number(value)}" for key, value in params.items())


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
