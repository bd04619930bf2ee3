"""Curves for TensorBoard, written while a run trains: `tensorboard --logdir outputs/runs` shows every run by its id.

Needs the extra `tensorboard`. Each row of the history becomes one event in the run's own folder, written at once:
nothing waits in a thread, and nothing has to be closed when a run is killed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lossbench.records.record import Record

Row = Mapping[str, float]

_FORMAT = "brain.Event:2"  # the first event of every file


def require_tensorboard() -> None:
    """Raises: ValueError that says how to install TensorBoard, when it is not there."""
    if find_spec("tensorboard") is None:
        raise ValueError("tensorboard is not installed; install it with pip install 'lossbench[tensorboard]'")


def event_writer(folder: Path) -> Callable[[Row], None]:
    """A callback for `run` that adds each row of the history to the events in `folder`, the run's record.

    Tags are `loss/train`, `loss/val`, `accuracy/train` and so on, and `lr`; the step is the epoch. The config goes
    with them for the HPARAMS page. A run that is resumed writes a new file, whose first event tells TensorBoard to
    forget what an earlier file says about the same epochs or later ones.

    Raises: ValueError when TensorBoard is not installed.
    """
    require_tensorboard()
    path: Path | None = None

    def write(row: Row) -> None:
        nonlocal path
        if path is None:  # only now is it known at which epoch the run goes on
            path = folder / f"events.out.tfevents.{time.time():.6f}"
            _append(path, _opening(folder, int(row["epoch"])))
        scalars = [{"tag": _tag(name), "simple_value": value} for name, value in row.items() if name != "epoch"]
        _append(path, [{"step": int(row["epoch"]), "summary": {"value": scalars}}])

    return write


def _opening(folder: Path, epoch: int) -> list[dict[str, Any]]:
    from tensorboard.compat.proto.event_pb2 import SessionLog
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    config = Record(folder).config
    return [
        {"file_version": _FORMAT},
        {"step": epoch, "session_log": {"status": SessionLog.START}},
        {"summary": hparams_pb(_flat(config.to_dict()), trial_id=config.run_id)},
    ]


def _append(path: Path, events: list[dict[str, Any]]) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    with path.open("ab") as file:
        writer = RecordWriter(file)
        for event in events:
            writer.write(Event(wall_time=time.time(), **event).SerializeToString())


def _tag(column: str) -> str:
    """`val_loss` becomes `loss/val`, so that TensorBoard puts training and validation side by side."""
    part, _, what = column.partition("_")
    return f"{what}/{part}" if what else column


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config as TensorBoard takes it: text, numbers and truth values, each under one name."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        parts = {f"{name}.{key}": part for key, part in value.items()} if isinstance(value, Mapping) else {name: value}
        flat |= {key: part if isinstance(part, bool | int | float) else str(part) for key, part in parts.items()}
    return flat
