"""What a table of runs can and cannot tell: every function takes the table of `load_runs`."""

from lossbench.stats.folds import fold_scores, mann_whitney_folds
from lossbench.stats.noise import NoiseFloor, noise_floor, same_seed_differences
from lossbench.stats.paired import compare, paired_differences
from lossbench.stats.settings import Setting, settings
from lossbench.stats.summary import finished, probability_labels, summarise, t_interval
from lossbench.stats.thesis import paired_t_tests, placement_points, population_p_values, probability_wins

__all__ = [
    "NoiseFloor",
    "Setting",
    "compare",
    "finished",
    "fold_scores",
    "mann_whitney_folds",
    "noise_floor",
    "paired_differences",
    "paired_t_tests",
    "placement_points",
    "population_p_values",
    "probability_labels",
    "probability_wins",
    "same_seed_differences",
    "settings",
    "summarise",
    "t_interval",
]
