"""One run, from its config to its record, on one machine; everything loads on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lossbench.doors import on_first_use

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


__getattr__ = on_first_use(__name__, _HOME)


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
