"""One run, from its config to its record, on one machine; everything loads on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = [
    "barrier",
    "draw_direction",
    "draw_normalised",
    "evaluate",
    "measure_path",
    "measure_slice",
    "normalise_filters",
    "predict",
    "prepare",
    "start",
    "train",
    "train_epoch",
]

_HOME = {
    "barrier": "landscape",
    "draw_direction": "landscape",
    "draw_normalised": "landscape",
    "evaluate": "loop",
    "measure_path": "landscape",
    "measure_slice": "landscape",
    "normalise_filters": "landscape",
    "predict": "loop",
    "prepare": "run",
    "start": "run",
    "train": "loop",
    "train_epoch": "loop",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"lossbench.training.{_HOME[name]}"), name)
    raise AttributeError(f"module 'lossbench.training' has no attribute {name!r}")


if TYPE_CHECKING:
    from lossbench.training.landscape import barrier as barrier
    from lossbench.training.landscape import draw_direction as draw_direction
    from lossbench.training.landscape import draw_normalised as draw_normalised
    from lossbench.training.landscape import measure_path as measure_path
    from lossbench.training.landscape import measure_slice as measure_slice
    from lossbench.training.landscape import normalise_filters as normalise_filters
    from lossbench.training.loop import evaluate as evaluate
    from lossbench.training.loop import predict as predict
    from lossbench.training.loop import train as train
    from lossbench.training.loop import train_epoch as train_epoch
    from lossbench.training.run import prepare as prepare
    from lossbench.training.run import start as start
