"""What a table of runs can and cannot tell: every function takes the table of `load_runs`."""

from lossbench.stats.noise import NoiseFloor, noise_floor, same_seed_differences
from lossbench.stats.paired import compare, paired_differences
from lossbench.stats.settings import Setting, settings
from lossbench.stats.summary import finished, probability_labels, summarise, t_interval

__all__ = [
    "NoiseFloor",
    "Setting",
    "compare",
    "finished",
    "noise_floor",
    "paired_differences",
    "probability_labels",
    "same_seed_differences",
    "settings",
    "summarise",
    "t_interval",
]
