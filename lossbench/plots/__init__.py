"""Figures: each function takes a table and `ax` (new axes if left out), and returns `ax`."""

from lossbench.plots.curves import history, learning_curves
from lossbench.plots.images import images, mistakes
from lossbench.plots.intervals import accuracy, differences, epochs_to_reach
from lossbench.plots.predictions import confusion_matrix, reliability
from lossbench.plots.ranks import critical_difference
from lossbench.plots.style import PROBABILITY_MARKERS, Style, in_order, loss_styles, styles_of, use_style

__all__ = [
    "PROBABILITY_MARKERS",
    "Style",
    "accuracy",
    "confusion_matrix",
    "critical_difference",
    "differences",
    "epochs_to_reach",
    "history",
    "images",
    "in_order",
    "learning_curves",
    "loss_styles",
    "mistakes",
    "reliability",
    "styles_of",
    "use_style",
]
