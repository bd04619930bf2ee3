"""What paper 000, the thesis, claims; its printed numbers come from `lossbench.published`, not from our runs."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
from scipy.special import ndtr

from lossbench import published, stats
from lossbench.claims import algebra
from lossbench.claims.contrasts import alone, lead_over, loss, minus
from lossbench.claims.verdicts import PRINTED, Answer, Claim, above, exact, within

CE, JS = loss("cross_entropy"), loss("js_divergence")
FOCAL_HALF, FOCAL_2 = loss("focal", gamma=0.5), loss("focal", gamma=2.0)
FOCAL = loss("focal")  # of tuned losses, with a gamma of its own
SOFTMAX, TAYLOR = {"probability": "softmax"}, {"probability": "taylor_softmax"}
SOFT_MARGIN = {"probability": "soft_margin_softmax"}
FINE_TUNED = {"pretrained": True, "trainable": "all"}
ONE_RUN = "one run a cell"
MARGINAL = 1.45  # points: the widest range of Table 4.1 within a data set, which the thesis calls slight
OUTLIER = 5.0  # points of recall below every other class: half of what shirts and cats lie below theirs
NOT_EQUAL = "not significant is not equal"


@exact(PRINTED, "every value computed again from Table 4.1")
def placement() -> Answer:
    wins = stats.probability_wins(_thesis())
    overall = wins.groupby(["metric", "probability"])["wins"].sum().reset_index()
    derived = (stats.placement_points(_thesis()), "points"), (wins, "wins"), (overall, "wins")
    gaps = [_beside(name, *table)["gap"] for name, table in zip(published.DERIVED, derived, strict=False)]
    off, n = int(np.count_nonzero(np.concatenate(gaps) > 1e-9)), sum(map(len, gaps))
    return Answer(off == 0, off, "values that differ", n, f"{n - off} values follow exactly")


@exact(PRINTED, "paired one-tailed t-tests over five losses")
def t_tests() -> Answer:
    gaps = _beside("thesis_table_4_5", stats.paired_t_tests(_thesis()), "p_one_tailed")["gap"]
    off = int((gaps > 1e-6).sum())
    return Answer(off == 0, off, "values that differ", len(gaps), "all follow from paired tests")


@exact(PRINTED, "normal tail of each loss's mean among the runs, to 5e-4")
def population() -> Answer:
    table = _beside("thesis_table_4_6", stats.population_p_values(_thesis()), "p")
    rows = table[table["gap"] > 5e-4].to_dict("records")
    off = [f"{row['dataset']}, {row['label']}, {row['metric']}" for row in rows]
    why = f"{len(table) - len(off)} follow" + (f", not {'; '.join(off)}" if off else "")
    return Answer(not off, len(off), "values that differ", len(table), why)


@exact(PRINTED, "Table 4.6 with the standard error of a mean, two-tailed, Holm within a data set")
def significant_losses() -> Answer:
    """How many losses differ from the mean of all runs once a mean is compared with the spread of means."""
    table = stats.population_p_values(_thesis(), variant="se", tails=2)
    table = table[table["metric"] == "test_accuracy"]
    named = []
    for dataset, part in table.groupby("dataset", sort=False):
        passed = stats.paired.holm(part["p"]) < 0.05
        named += [f"{label} on {dataset}" for label, yes in zip(part["label"], passed, strict=True) if yes]
    others = [name for name in named if name != "js_divergence on kmnist"]
    why = f"below 0.05: {', '.join(named) or 'none'}"
    limits = (ONE_RUN, "the runs of a population are not independent", NOT_EQUAL)
    return Answer(not others, len(named), "losses", len(table), why, limits)


@exact(PRINTED, "p values of Table 4.5, two-tailed")
def significant_functions() -> Answer:
    printed = published.cells("thesis_table_4_5")
    p = 2 * printed.loc[printed["metric"] == "test_accuracy", "printed"]
    why = f"the smallest of {len(p)} two-tailed p values, twice the printed one-tailed one, is {p.min():.3f}"
    limits = (ONE_RUN, NOT_EQUAL, "one-tailed after seeing the sign")
    return Answer(p.min() >= 0.05, float(p.min()), "smallest p", len(p), why, limits)


@exact(PRINTED, "most over fewest epochs of a data set in Table 4.1")
def fewer_epochs() -> Answer:
    ratio = _thesis().groupby("dataset")["best_epoch"].agg(lambda epochs: epochs.max() / epochs.min())
    why = f"at most {ratio.max():.3g}, on {ratio.idxmax()}; best of 15 against worst of 15, so partly luck"
    return Answer(abs(ratio.max() - 2.5) < 0.05, float(ratio.max()), "times", len(ratio), why, (ONE_RUN,))


@exact(PRINTED, "percentile of each best run as in Table 4.6")
def best_percentiles() -> Answer:
    shares = []
    for _, part in _thesis().groupby("dataset"):
        for metric, sign in (("test_accuracy", 1), ("best_epoch", -1)):
            values = sign * part[metric].to_numpy(dtype=float)
            shares.append(100 * float(ndtr((values.max() - values.mean()) / values.std())))
    why = f"between {min(shares):.1f} and {max(shares):.1f}"
    return Answer(min(shares) >= 99.5, min(shares), "% of runs below", len(shares), why, (ONE_RUN,))


@exact(PRINTED, "values of the captions that differ from the table's")
def captions() -> Answer:
    key = ["dataset", "label", "probability"]
    table = _thesis().set_index(key)["test_accuracy"]
    figures = published.runs("thesis_figure_captions").set_index(key)["test_accuracy"]
    off = (table - figures.reindex(table.index)).abs() > 1e-9
    losses = sorted({str(label) for _, label, _ in table.index[off]})
    why = f"differ: {', '.join(losses) or 'none'}"
    return Answer(not losses, int(off.sum()), "values that differ", len(table), why)


@cache
def _thesis() -> pd.DataFrame:
    return published.runs("thesis_table_4_1")


def _beside(name: str, derived: pd.DataFrame, column: str) -> pd.DataFrame:
    """A printed table with what was derived beside each value, and the size of the `gap`."""
    table = published.cells(name).merge(derived, validate="one_to_one")
    return table.assign(gap=(table["printed"] - table[column]).abs())


CLAIMS = (
    Claim(
        "thesis-ce-most-accurate", "000", "Conclusions 1, Table 4.2",
        "Cross-entropy gives the best accuracy of the losses compared, by a little.",
        above(*lead_over(CE, (JS, FOCAL_HALF, FOCAL_2)), tuned=lead_over(CE, (JS, FOCAL))),
        "thesis-accuracy", "13 placement points; Focal 0.5 10, Focal 2 7, JS 4",
    ),
    Claim(
        "thesis-ce-ahead-of-kl", "000", "Conclusions 1 and 2, Table 4.2",
        "Cross-entropy and KL divergence are two: the first is ahead in accuracy, the second converges faster.",
        algebra.ce_is_kl,
        "ce-equals-kl", "accuracy 13 against 11 placement points, epochs 7.5 against 13",
    ),
    Claim(
        "thesis-js-least-accurate", "000", "Conclusions 3, Table 4.2",
        "JS divergence gives the worst accuracy and is not to be recommended.",
        above(
            *(minus(other, JS) for other in (CE, FOCAL_HALF, FOCAL_2)),
            tuned=tuple(minus(other, JS) for other in (CE, FOCAL)),
        ),
        "thesis-accuracy", "last on two of three data sets",
    ),
    Claim(
        "thesis-js-slowest", "000", "Table 4.2, section 4.4",
        "JS divergence needs the most epochs to its best accuracy.",
        above(
            *(minus(JS, other, "best_epoch") for other in (CE, FOCAL_HALF, FOCAL_2)),
            tuned=tuple(minus(JS, other, "best_epoch") for other in (CE, FOCAL)),
        ),
        "thesis-epochs", "3 of at most 15 placement points",
    ),
    Claim(
        "thesis-focal-half-fastest", "000", "Abstract, Conclusions 2",
        "Focal loss with gamma 0.5 reaches its best accuracy in the fewest epochs.",
        above(*lead_over(FOCAL_HALF, (CE, JS, FOCAL_2), "best_epoch")),
        "thesis-epochs", "14 of at most 15 placement points",
    ),
    Claim(
        "thesis-up-to-2.5-times-fewer-epochs", "000", "Conclusions",
        "The fastest configurations need up to 2.5 times fewer epochs.",
        fewer_epochs,
        "thesis-epochs", "2.5",
    ),
    Claim(
        "thesis-differences-marginal", "000", "Chapter 4 below Table 4.1, Conclusions",
        "The accuracies of the configurations differ only marginally.",
        within(
            *(minus(other, CE) for other in (JS, FOCAL_HALF, FOCAL_2)),
            minus(SOFT_MARGIN, SOFTMAX), minus(TAYLOR, SOFTMAX), minus(TAYLOR, SOFT_MARGIN),
            margin=MARGINAL,
            tuned=tuple(minus(other, CE) for other in (JS, FOCAL)),
        ),
        "thesis-accuracy", "ranges of 0.81, 1.45 and 1.23 points within a data set",
        "marginal is read as the widest range that the thesis prints within a data set",
    ),
    Claim(
        "thesis-softmax-most-accurate", "000", "Conclusions 4, Table 4.4",
        "Plain softmax gives the best accuracy of the three probability functions in most cases.",
        above(*lead_over(SOFTMAX, (SOFT_MARGIN, TAYLOR))),
        "thesis-probabilities", "best in 8 of 15 sets; soft margin 4, Taylor 3",
    ),
    Claim(
        "thesis-js-best-with-taylor", "000", "Table 4.3",
        "JS divergence is most accurate with Taylor softmax.",
        above(*lead_over(TAYLOR, (SOFTMAX, SOFT_MARGIN), where=JS)),
        "thesis-probabilities", "best on 2 of 3 data sets",
    ),
    Claim(
        "thesis-ce-best-with-soft-margin", "000", "Table 4.3",
        "Cross-entropy is most accurate with soft-margin softmax in most cases.",
        above(*lead_over(SOFT_MARGIN, (SOFTMAX, TAYLOR), where=CE)),
        "thesis-probabilities", "best on 2 of 3 data sets",
    ),
    Claim(
        "thesis-kl-best-with-softmax", "000", "Table 4.3",
        "KL divergence is most accurate with softmax.",
        above(*lead_over(SOFTMAX, (SOFT_MARGIN, TAYLOR), where=CE)),
        "thesis-probabilities", "best on 3 of 3 data sets", "KL divergence is cross-entropy, whose runs stand for it",
    ),
    Claim(
        "thesis-soft-margin-fastest", "000", "Conclusions 5, Table 4.4",
        "Soft-margin softmax needs the fewest epochs of the three, by a little.",
        above(*lead_over(SOFT_MARGIN, (SOFTMAX, TAYLOR), "best_epoch")),
        "thesis-probabilities", "first in 6 of 15 sets; Taylor 5, softmax 4",
    ),
    Claim(
        "thesis-functions-not-significant", "000", "Conclusions 7, Table 4.5",
        "The accuracies of the probability functions are not shown to differ.",
        significant_functions,
        "thesis-probabilities", "smallest one-tailed p 0.054",
    ),
    Claim(
        "thesis-only-kmnist-js-significant", "000", "Section 4.4, Conclusions 7, Table 4.6",
        "Nothing is significant but the poor accuracy of JS divergence on KMNIST.",
        significant_losses,
        "thesis-tables", "p 0.0425",
    ),
    Claim(
        "thesis-middle-rate-best", "000", "Chapter 3",
        "For the pretrained network a learning rate of 1e-3 is too high and 1e-5 too low; 1e-4 is satisfactory.",
        above(*(minus({"lr": 1e-4}, {"lr": other}, where=FINE_TUNED) for other in (1e-3, 1e-5))),
        "thesis-accuracy", "", "read as: 1e-4 is the most accurate of the three",
    ),
    Claim(
        "thesis-augmentation-helps", "000", "Chapter 3",
        "Its transformations of the training images increase the accuracy.",
        above(minus({"augmentation": "thesis"}, {"augmentation": "none"})),
        "thesis-accuracy",
    ),
    Claim(
        "thesis-focal-for-imbalance", "000", "Section 3.1.1",
        "Focal loss copes better than cross-entropy with classes of unequal size.",
        above(*(minus(FOCAL_2, CE, where={"imbalance": factor}) for factor in (10.0, 100.0))),
        "thesis-accuracy", "", "the thesis quotes it from the paper on focal loss and does not measure it",
    ),
    Claim(
        "thesis-shirt-hardest", "000", "Section 4.1",
        "The seventh class of Fashion-MNIST, shirts, is the hardest under every probability function.",
        above(*(alone(which, "hardest_lead", ("fashion-mnist",)) for which in (SOFTMAX, SOFT_MARGIN, TAYLOR))),
        "thesis-confusion",
    ),
    Claim(
        "thesis-cat-hardest", "000", "Section 4.2",
        "The fourth class of CIFAR-10, cats, is the hardest under softmax and soft-margin softmax.",
        above(*(alone(which, "hardest_lead", ("cifar-10",)) for which in (SOFTMAX, SOFT_MARGIN))),
        "thesis-confusion", "under Taylor softmax the third class, birds",
    ),
    Claim(
        "thesis-kmnist-has-no-outlier", "000", "Section 4.3",
        "No class of KMNIST is particularly hard.",
        above(alone({}, "worst_gap", ("kmnist",), null=OUTLIER, weight=-1.0)),
        "thesis-confusion", "", f"read as: the recall of no class lies {OUTLIER:g} points below that of every other",
    ),
    Claim(
        "thesis-similar-classes-confused", "000", "Conclusions 6",
        "Mistakes fall mostly between similar classes.",
        above(alone({}, "similar_mistakes", ("fashion-mnist", "cifar-10"))),
        "thesis-confusion", "", "similar: in the same branch of the class tree, more often than by chance",
    ),
    Claim(
        "thesis-tables-4-2-to-4-4", "000", "Tables 4.2, 4.3, 4.4",
        "The placement points and the counts of wins follow from the runs of Table 4.1.",
        placement,
        "thesis-tables", slip=True,
    ),
    Claim(
        "thesis-table-4-5", "000", "Table 4.5",
        "The p values between probability functions follow from Table 4.1.",
        t_tests,
        "thesis-tables", "18 p values", slip=True,
    ),
    Claim(
        "thesis-table-4-6", "000", "Table 4.6",
        "The p values of the losses follow from Table 4.1.",
        population,
        "thesis-tables", "30 p values", slip=True,
    ),
    Claim(
        "thesis-best-runs-100th-percentile", "000", "Section 4.4",
        "The best runs of each data set lie in the 100th percentile.",
        best_percentiles,
        "thesis-tables", "100", slip=True,
    ),
    Claim(
        "thesis-captions-agree", "000", "Figures 4.1 to 4.17 against Table 4.1",
        "Figure captions and the table of results report the same accuracies.",
        captions,
        "thesis-tables", "45 accuracies twice", slip=True,
    ),
)  # fmt: skip
