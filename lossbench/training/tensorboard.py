"""Curves for TensorBoard, written while a run trains: `tensorboard --logdir outputs/runs` shows every run by its id.

Needs the extra `tensorboard`. Each row of the history is on disk in the run's own folder before the next epoch begins.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lossbench.records.record import Record

Row = Mapping[str, float]


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
    return _Events(folder)


class _Events:
    """Closes its file, and ends the thread that writes it, when nobody refers to it any more."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writer: Any = None

    def __call__(self, row: Row) -> None:
        epoch = int(row["epoch"])
        if self.writer is None:  # only now is it known at which epoch the run goes on
            self.writer = _open(self.folder, epoch)
            weakref.finalize(self, self.writer.close)
        for name, value in row.items():
            if name != "epoch":  # `val_loss` becomes `loss/val`: training and validation side by side
                split, _, score = name.partition("_")
                self.writer.add_scalar(f"{score}/{split}" if score else name, value, epoch)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.writer.flush()


def _open(folder: Path, epoch: int) -> Any:
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from torch.utils.tensorboard import SummaryWriter

    config = Record(folder).config
    settings: dict[str, Any] = {}  # as TensorBoard takes them: text, numbers and truth values, each under one name
    for name, value in config.to_dict().items():
        entries = {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
        settings |= {key: each if isinstance(each, bool | int | float) else str(each) for key, each in entries.items()}
    writer: Any = SummaryWriter(folder, purge_step=epoch)
    writer.file_writer.add_summary(hparams_pb(settings, trial_id=config.run_id))
    return writer
