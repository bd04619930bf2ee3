"""What paper 003, on False Positive Loss, claims; its printed numbers come from `lossbench.published`."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import ndtr

from lossbench import published
from lossbench.claims import algebra
from lossbench.claims.contrasts import alone, lead_over, loss, minus
from lossbench.claims.verdicts import PRINTED, Answer, Claim, above, exact, within
from lossbench.stats.paired import ALPHA, holm

CE = loss("cross_entropy")
FPL = loss("false_positive", form="ce", alpha="dataset", top_k=1)
ANY_FPL = loss("false_positive", form="ce")  # of tuned losses
UNWEIGHTED, SQUARED = loss("false_positive", form="ce", alpha="none", top_k=1), loss("false_positive", form="mse")
TAIL = {"imbalance": 10.0}
TEST_IMAGES = 10_000


@exact(PRINTED, "sums over ten classes")
def totals_add_up() -> Answer:
    table = published.load("fpl_tables_2_3")
    counts = table[table["metric"] == "false_positives"].assign(value=lambda t: t["value"].astype(float))
    total = counts["class"] == "TOTAL"
    key = ["model", "loss"]
    sums = counts[~total].groupby(key)["value"].sum()
    off = (sums - counts[total].set_index(key)["value"]).abs()
    return Answer(not off.any(), int((off > 0).sum()), "totals that differ", len(sums), "sums over ten classes")


@exact(PRINTED, "the four printed gains with their binomial intervals")
def gains_in_print() -> Answer:
    """The gains of Tables 2 and 3, each against what 10,000 test images can tell.

    The same images were scored by both losses, but which ones were wrong is not printed; taking the two as independent
    makes the intervals too wide rather than too narrow.
    """
    right = _cells()
    gains = 100 * (right["false_positive"] - right["cross_entropy"])
    errors = 100 * np.sqrt((right * (1 - right) / TEST_IMAGES).sum(axis=1))
    p = holm(2 * ndtr(-np.abs(gains / errors)))
    best = int(np.argmax(gains))
    low, high = (float(gains.iloc[best] + sign * 1.96 * errors.iloc[best]) for sign in (-1, 1))
    beyond = ((p < ALPHA) & (gains > 0)).any()
    listed = ", ".join(f"{gain:+.2f}" for gain in gains)
    why = f"gains of {listed}; for each another sample of test images could reverse the sign"
    limits = ("one run a cell", "the estimate is the largest of the gains, with its binomial interval")
    return Answer(True if beyond else None, float(gains.iloc[best]), "points", len(gains), why, limits, low, high)


@exact(PRINTED, "difference of the accuracies in Table 3")
def gain_in_text() -> Answer:
    cells = _cells().xs("no", level="pretrained").xs("ResNet50", level="model")
    gain = 100 * float((cells["false_positive"] - cells["cross_entropy"]).iloc[0])
    why = f"Table 3 and the abstract give {gain:+.2f}, the text +0.68"
    return Answer(abs(gain - 0.68) < 0.005, gain, "points", 1, why, ("one run a cell",))


def _cells() -> pd.DataFrame:
    """Test accuracies of Tables 2 and 3, a row a network, a column a loss."""
    table = published.runs("fpl_tables_2_3")
    return table.pivot(index=["source_table", "model", "pretrained"], columns="loss", values="test_accuracy")


CLAIMS = (
    Claim(
        "fpl-beats-ce", "003", "Abstract, Conclusions, Table 2",
        "False Positive Loss classifies images better than cross-entropy: fewer mistakes.",
        above(minus(FPL, CE), tuned=(minus(ANY_FPL, CE),)),
        "fpl-accuracy", "39 and 5 mistakes fewer of 10,000: +0.39 and +0.05",
    ),
    Claim(
        "fpl-comparable-to-ce", "003", "Discussion",
        "False Positive Loss in either form is comparable to cross-entropy in accuracy.",
        within(minus(FPL, CE), minus(SQUARED, CE), tuned=(minus(ANY_FPL, CE),)),
        "fpl-accuracy", "many results in which it did not outperform",
    ),
    Claim(
        "fpl-better-top-5", "003", "Table 3",
        "False Positive Loss has the higher top-5 accuracy.",
        above(minus(FPL, CE, "test_top5"), tuned=(minus(ANY_FPL, CE, "test_top5"),)),
        "fpl-accuracy", "99.87 against 99.85, 99.93 against 99.89",
    ),
    Claim(
        "fpl-smoother", "003", "Section 3.5, Figure 3",
        "The accuracy grows more smoothly under False Positive Loss.",
        above(*lead_over(FPL, (CE,), "roughness"), tuned=lead_over(ANY_FPL, (CE,), "roughness")),
        "fpl-accuracy",
    ),
    Claim(
        "fpl-helps-on-long-tails", "003", "Sections 2 and 2.2",
        "With its class weights, False Positive Loss overcomes imbalance: a higher macro F1 on a long tail.",
        above(minus(FPL, CE, "test_macro_f1", where=TAIL)),
        "fpl-imbalance",
    ),
    Claim(
        "fpl-class-weights-help-on-long-tails", "003", "Section 2.2",
        "The class weights are what helps on a long tail.",
        above(minus(FPL, UNWEIGHTED, "test_macro_f1", where=TAIL)),
        "fpl-imbalance",
    ),
    Claim(
        "fpl-true-class-among-five", "003", "Abstract, Conclusions",
        "Where cross-entropy is wrong, the true class is mostly among the five most probable ones.",
        above(alone(CE, "rescued", null=50.0)),
        "fpl-shape",
    ),
    Claim(
        "fpl-opposite-to-focal", "003", "Section 1.2",
        "False Positive Loss acts in a manner opposite to focal loss.",
        algebra.opposite_to_focal,
        "fpl-shape", "", "opposite is read as: easy samples gain weight where focal loss takes it away",
    ),
    Claim(
        "fpl-others-ignore-false-classes", "003", "Discussion",
        "Cross-entropy does not care about the value of the false positive class.",
        algebra.push_on_false_class,
        "fpl-shape",
    ),
    Claim(
        "fpl-gain-beyond-sampling", "003", "Abstract, section 3.4, Tables 2 and 3",
        "In some cases the networks with False Positive Loss outperform those with cross-entropy.",
        gains_in_print,
        "fpl-tables", "+0.39, +0.05, +0.32, and −0.20 with pretrained weights",
    ),
    Claim(
        "fpl-gain-of-0-68", "003", "Section 3.4 against Table 3",
        "Trained from scratch, the ResNet50 gains 0.68 points of top-1 accuracy.",
        gain_in_text,
        "fpl-tables", "+0.68",
    ),
    Claim(
        "fpl-table-2-adds-up", "003", "Table 2",
        "The totals of Table 2 are the sums of its classes.",
        totals_add_up,
        "fpl-tables", "4425, 4464, 3531, 3536", slip=True,
    ),
)  # fmt: skip
