"""Runs in the formats of other programs: CSV and Parquet tables, MLflow's and Weights & Biases' files on disk.

Nothing is sent anywhere. What is exported twice is there once.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from lossbench.config import RunConfig
from lossbench.files import replacing, require_writable
from lossbench.records.packed import TABLES
from lossbench.records.tables import load_history, load_runs, read_tables
from lossbench.registry import unknown

PROJECT = "lossbench"
PACKAGES = {"parquet": "pyarrow", "mlflow": "mlflow", "wandb": "wandb", "onnx": "onnxscript"}  # extra -> what it needs


def require_extra(extra: str) -> None:
    """Raises: ValueError that says how to install what an export needs, when it is not there."""
    if find_spec(PACKAGES[extra]) is None:
        raise ValueError(f"{PACKAGES[extra]} is not installed; install it with pip install 'lossbench[{extra}]'")


def export_csv(path: Path, output: Path, table: str = "runs") -> int:
    """Write one of `TABLES` as CSV and return its number of rows; numbers come back as they are."""
    frame = _read(output, table)
    with replacing(path) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n")
    return len(frame)


def export_parquet(path: Path, output: Path, table: str = "runs") -> int:
    """Write one of `TABLES` as Parquet and return its number of rows."""
    require_extra("parquet")
    frame = _read(output, table)
    frame.attrs = {}
    with replacing(path) as temporary:
        frame.to_parquet(temporary, engine="pyarrow", index=False, compression="zstd")
    return len(frame)


def _read(output: Path, table: str) -> pd.DataFrame:
    if table not in TABLES:
        raise ValueError(unknown("table", table, TABLES))
    frame = read_tables([table], output)[table]
    if frame.empty:
        raise ValueError(f"no rows of {table!r} in {str(output)!r}; run something with --output {output} first")
    return frame


@dataclass(frozen=True)
class _Run:
    """A run as trackers know it."""

    name: str
    params: dict[str, str]
    tags: dict[str, str]
    scores: dict[str, float]
    epochs: list[dict[str, float]]


def _runs(output: Path) -> Iterator[_Run]:
    runs, history = load_runs(output), load_history(output)
    if runs.empty:
        raise ValueError(f"no finished runs in {str(output)!r}; run something with --output {output} first")
    key = [column for column in ("study", "run_id") if column in runs]
    curves = dict(iter(history.groupby(key))) if len(history) else {}
    fields = [column for column in runs if column in RunConfig.__dataclass_fields__]
    for row in runs.to_dict("records"):
        curve = curves.get(tuple(row[column] for column in key))
        epochs = [] if curve is None else [_numbers(epoch) for epoch in curve.to_dict("records")]
        curved = {name for epoch in epochs for name in epoch}
        others = {name: value for name, value in row.items() if name not in fields and not _missing(value)}
        yield _Run(
            name="-".join(str(row[column]) for column in key),
            params={str(name): str(row[name]) for name in fields if not _missing(row[name])},
            tags={str(name): str(value) for name, value in others.items() if isinstance(value, str | bool)},
            scores={
                str(name): float(value)
                for name, value in others.items()
                if not isinstance(value, str | bool) and name not in curved
            },
            epochs=epochs,
        )


def _missing(value: Any) -> bool:
    return value is None or value != value or str(value) == "<NA>"


def _numbers(row: dict[Any, Any]) -> dict[str, float]:
    values = {str(name): float(value) for name, value in row.items() if not isinstance(value, str)}
    return {name: value for name, value in values.items() if math.isfinite(value) and name != "seed"}


def export_mlflow(folder: Path, output: Path) -> int:
    """Add every finished run to an MLflow file store and return how many are new; `folder` is its tracking folder.

    MLflow asks for MLFLOW_ALLOW_FILE_STORE=true wherever such a folder is read, or for `mlflow migrate-filestore`.
    """
    require_extra("mlflow")
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    runs = list(_runs(output))
    client = MlflowClient(tracking_uri=require_writable(folder).resolve().as_uri())
    found = client.get_experiment_by_name(PROJECT)
    experiment = client.create_experiment(PROJECT) if found is None else found.experiment_id
    there = {run.info.run_name for run in client.search_runs([experiment], max_results=50_000)}
    new = [run for run in runs if run.name not in there]
    for run in new:
        started = client.create_run(experiment, start_time=0, run_name=run.name).info.run_id
        metrics = [Metric(name, value, 0, len(run.epochs)) for name, value in run.scores.items()]
        for epoch in run.epochs:
            step = int(epoch["epoch"])
            metrics += [Metric(name, value, 0, step) for name, value in epoch.items() if name != "epoch"]
        params = [Param(name, value) for name, value in run.params.items()]
        tags = [RunTag(name, value) for name, value in run.tags.items()]
        for start in range(0, max(len(metrics), 1), 1000):  # as many as MLflow takes at once
            client.log_batch(started, metrics=metrics[start : start + 1000])
        client.log_batch(started, params=params, tags=tags)
        client.set_terminated(started, "FINISHED" if run.tags["status"] == "finished" else "FAILED")
    return len(new)


def export_wandb(folder: Path, output: Path) -> int:
    """Write every finished run as an offline run of Weights & Biases, for `wandb sync`; returns how many are new."""
    require_extra("wandb")
    import wandb

    runs = list(_runs(output))
    new = [run for run in runs if not list(folder.glob(f"wandb/offline-run-*-{run.name[:_LONGEST_ID]}"))]
    require_writable(folder)
    leave = sys.exit  # wandb puts one of its own there
    for run in new:
        quiet = wandb.Settings(console="off", silent=True, disable_git=True, save_code=False, x_disable_stats=True)
        names = {"project": PROJECT, "id": run.name[:_LONGEST_ID], "name": run.name}
        offline = wandb.init(
            mode="offline", dir=str(folder), config=run.params, tags=[run.tags["status"]], settings=quiet, **names
        )
        for epoch in run.epochs:
            offline.log({name: value for name, value in epoch.items() if name != "epoch"}, step=int(epoch["epoch"]))
        offline.summary.update({**run.scores, **run.tags})
        offline.finish()
    sys.exit = leave
    return len(new)


_LONGEST_ID = 128
