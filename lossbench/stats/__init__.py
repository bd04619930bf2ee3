"""What a table of runs can and cannot tell: every function takes the table of `load_runs`."""

from lossbench.stats.folds import compare_folds, fold_scores, mann_whitney_folds, score_folds
from lossbench.stats.grouping import Setting, merge_idle, settings, settings_with
from lossbench.stats.histories import judged_accuracy
from lossbench.stats.margins import equivalence, signed_rank_posterior, tost
from lossbench.stats.mixed import mixed_model
from lossbench.stats.paired import (
    LOOKS,
    OUTCOMES,
    VERDICTS,
    Judgement,
    Outcome,
    compare,
    judge,
    paired_differences,
    pairs_needed,
    same_seed_differences,
    sequential,
    single_run_spread,
)
from lossbench.stats.planning import minimum_detectable_effect, power, sample_size, sample_size_equivalence
from lossbench.stats.ranks import Ranking, critical_difference, rank_losses
from lossbench.stats.resampling import (
    interquartile_mean,
    interval_of_differences,
    mean_interval,
    probability_of_improvement,
)
from lossbench.stats.summary import finished, probability_labels, summarise, t_interval
from lossbench.stats.testing import dunnett, dunnett_p, effect_size, significance
from lossbench.stats.thesis import paired_t_tests, placement_points, population_p_values, probability_wins

__all__ = [
    "LOOKS",
    "OUTCOMES",
    "VERDICTS",
    "Judgement",
    "Outcome",
    "Ranking",
    "Setting",
    "compare",
    "compare_folds",
    "critical_difference",
    "dunnett",
    "dunnett_p",
    "effect_size",
    "equivalence",
    "finished",
    "fold_scores",
    "interquartile_mean",
    "interval_of_differences",
    "judge",
    "judged_accuracy",
    "mann_whitney_folds",
    "mean_interval",
    "merge_idle",
    "minimum_detectable_effect",
    "mixed_model",
    "paired_differences",
    "paired_t_tests",
    "pairs_needed",
    "placement_points",
    "population_p_values",
    "power",
    "probability_labels",
    "probability_of_improvement",
    "probability_wins",
    "rank_losses",
    "same_seed_differences",
    "sample_size",
    "sample_size_equivalence",
    "score_folds",
    "sequential",
    "settings",
    "settings_with",
    "signed_rank_posterior",
    "significance",
    "single_run_spread",
    "summarise",
    "t_interval",
    "tost",
]
