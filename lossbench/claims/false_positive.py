"""What paper 003, on False Positive Loss, claims."""

from __future__ import annotations

from lossbench.claims import algebra, printed_gains
from lossbench.claims.claim import Claim
from lossbench.claims.contrast import alone, lead_over, loss, minus
from lossbench.claims.rules import Equivalence, Exact, Superiority

CE = loss("cross_entropy")
FPL = loss("false_positive", form="ce", alpha="dataset", top_k=1)
UNWEIGHTED, SQUARED = loss("false_positive", form="ce", alpha="none", top_k=1), loss("false_positive", form="mse")
TAIL = {"imbalance": 10.0}

CLAIMS = (
    Claim(
        "fpl-beats-ce", "003", "Abstract, Conclusions, Table 2",
        "False Positive Loss classifies images better than cross-entropy: fewer mistakes.",
        Superiority((minus(FPL, CE),), printed=0.22),
        "fpl-accuracy", "39 and 5 mistakes fewer of 10,000: +0.39 and +0.05",
    ),
    Claim(
        "fpl-comparable-to-ce", "003", "Discussion",
        "False Positive Loss in either form is at least comparable to cross-entropy in accuracy.",
        Equivalence((minus(FPL, CE), minus(SQUARED, CE))),
        "fpl-accuracy",
    ),
    Claim(
        "fpl-better-top-5", "003", "Table 3",
        "False Positive Loss has the higher top-5 accuracy.",
        Superiority((minus(FPL, CE, "test_top5"),), printed=0.02),
        "fpl-accuracy", "99.87 against 99.85",
    ),
    Claim(
        "fpl-smoother", "003", "Section 3.5, Figure 3",
        "The accuracy grows more smoothly under False Positive Loss.",
        Superiority(lead_over(FPL, (CE,), "roughness")),
        "fpl-accuracy",
    ),
    Claim(
        "fpl-helps-on-long-tails", "003", "Sections 2 and 2.2",
        "With its class weights, False Positive Loss overcomes imbalance: a higher macro F1 on a long tail.",
        Superiority((minus(FPL, CE, "test_macro_f1", where=TAIL),)),
        "fpl-imbalance",
    ),
    Claim(
        "fpl-class-weights-help-on-long-tails", "003", "Section 2.2",
        "The class weights are what helps on a long tail.",
        Superiority((minus(FPL, UNWEIGHTED, "test_macro_f1", where=TAIL),)),
        "fpl-imbalance",
    ),
    Claim(
        "fpl-true-class-among-five", "003", "Abstract, Conclusions",
        "Where cross-entropy is wrong, the true class is mostly among the five most probable ones.",
        Superiority((alone(CE, "rescued", null=50.0),)),
        "fpl-shape",
    ),
    Claim(
        "fpl-class-weights-when-balanced", "003", "Section 2.2",
        "The class weights have a part in the good results on CIFAR-10, whose classes are of one size.",
        Exact("mathematics", "weighted over unweighted loss on balanced classes", algebra.class_weights_when_balanced),
        "fpl-shape",
    ),
    Claim(
        "fpl-two-measures", "003", "Section 3.2",
        "The total of false positives and the accuracy are two measures.",
        Exact("mathematics", "total of false positives against mistakes", algebra.errors_are_false_positives),
        "fpl-tables",
    ),
    Claim(
        "fpl-table-2-adds-up", "003", "Table 2",
        "The totals of Table 2 are the sums of its classes.",
        Exact("printed table", "sums over ten classes", printed_gains.fpl_totals_add_up),
        "fpl-tables", "4425, 4464, 3531, 3536",
    ),
    Claim(
        "fpl-gain-beyond-sampling", "003", "Section 3.4, Table 2",
        "Table 2 shows that False Positive Loss makes fewer mistakes.",
        Exact(
            "printed table", "mean gain of the two networks with its binomial interval",
            printed_gains.fpl_gain_in_table_2,
        ),
        "fpl-tables", "39 and 5 mistakes fewer",
    ),
    Claim(
        "fpl-gain-of-0-68", "003", "Section 3.4 against Table 3",
        "Trained from scratch, the ResNet50 gains 0.68 points of top-1 accuracy.",
        Exact("printed table", "difference of the accuracies in Table 3", printed_gains.fpl_gain_in_text),
        "fpl-tables", "+0.68",
    ),
    Claim(
        "fpl-gain-pretrained", "003", "Abstract, Table 3",
        "False Positive Loss is better with pretrained weights too.",
        Exact("printed table", "difference of the accuracies in Table 3", printed_gains.fpl_gain_pretrained),
        "fpl-tables", "94.02 against 94.22",
    ),
)  # fmt: skip
