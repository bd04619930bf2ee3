"""Figures: each function takes a table and `ax` (new axes if left out), and returns `ax`."""

from lossbench.plots.by_setting import differences_by_setting, verdicts
from lossbench.plots.contrasts import contrasts
from lossbench.plots.curves import history, learning_curves
from lossbench.plots.embedding import embedding
from lossbench.plots.heat import heat_map
from lossbench.plots.images import images, mistakes
from lossbench.plots.intervals import accuracy, differences, epochs_to_reach, published_and_measured, score
from lossbench.plots.predictions import by_class, confusion_matrix, reliability, reliability_curves
from lossbench.plots.ranks import critical_difference
from lossbench.plots.robustness import robustness, robustness_table
from lossbench.plots.strips import strips
from lossbench.plots.style import Style, in_order, loss_styles, styles_of, titles_of, use_style
from lossbench.plots.trees import class_tree

__all__ = [
    "Style",
    "accuracy",
    "by_class",
    "class_tree",
    "confusion_matrix",
    "contrasts",
    "critical_difference",
    "differences",
    "differences_by_setting",
    "embedding",
    "epochs_to_reach",
    "heat_map",
    "history",
    "images",
    "in_order",
    "learning_curves",
    "loss_styles",
    "mistakes",
    "published_and_measured",
    "reliability",
    "reliability_curves",
    "robustness",
    "robustness_table",
    "score",
    "strips",
    "styles_of",
    "titles_of",
    "use_style",
    "verdicts",
]
