"""What a table of runs can and cannot tell: every function takes the table of `load_runs`."""

from lossbench.stats.folds import compare_folds, score_folds
from lossbench.stats.grouping import Setting, merge_idle, settings, settings_with
from lossbench.stats.histories import judged_accuracy
from lossbench.stats.paired import (
    LOOKS,
    OUTCOMES,
    VERDICTS,
    Judgement,
    Outcome,
    compare,
    judge,
    judge_by_look,
    paired_differences,
    pairs_needed,
    same_seed_differences,
    sequential,
    single_run_spread,
)
from lossbench.stats.planning import minimum_detectable_effect, plan, power, sample_size, sample_size_equivalence
from lossbench.stats.ranks import Ranking, critical_difference, rank_losses
from lossbench.stats.summary import finished, probability_labels, summarise, t_interval
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
    "finished",
    "judge",
    "judge_by_look",
    "judged_accuracy",
    "merge_idle",
    "minimum_detectable_effect",
    "paired_differences",
    "paired_t_tests",
    "pairs_needed",
    "placement_points",
    "plan",
    "population_p_values",
    "power",
    "probability_labels",
    "probability_wins",
    "rank_losses",
    "same_seed_differences",
    "sample_size",
    "sample_size_equivalence",
    "score_folds",
    "sequential",
    "settings",
    "settings_with",
    "single_run_spread",
    "summarise",
    "t_interval",
]
