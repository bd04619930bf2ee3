"""What paper 004, the poster Loss in Layers, claims."""

from __future__ import annotations

from lossbench.claims import algebra, fold_tests
from lossbench.claims.claim import Claim
from lossbench.claims.contrast import lead_over, loss, minus
from lossbench.claims.rules import Equivalence, Exact, OwnTest, Superiority

CE, RCE = loss("cross_entropy"), loss("confidence_penalty")
FLAT = loss("hierarchical_cross_entropy", mode="flat_nodes")
CONDITIONAL = loss("hierarchical_cross_entropy", mode="conditional", node_weight="path")
LEAF = loss("hierarchical_cross_entropy", mode="leaf", node_weight="literal")
CIFAR = ("cifar-10",)
READING = "the tree is our reading of a picture, and the loss the most literal of three readings of the formula"
READINGS = "the tree is our reading of a picture, and the loss is tested in three readings of the formula"

CLAIMS = (
    Claim(
        "layers-hierarchical-below-ce", "004", "Results after training",
        "The hierarchical loss scores lower than cross-entropy.",
        Superiority((minus(CE, FLAT, datasets=CIFAR),)),
        "layers-accuracy", "h-CE < CE, no numbers", READING,
    ),
    Claim(
        "layers-penalty-equals-ce", "004", "Results after training",
        "The penalty on confident predictions scores about as cross-entropy does.",
        Equivalence((minus(RCE, CE, datasets=CIFAR),)),
        "layers-accuracy", "CE and r-CE about equal, no numbers", "the weight of the penalty, 0.1, is not in the paper",
    ),
    Claim(
        "layers-no-differences", "004", "Results after training, Conclusions",
        "The three losses do not differ in accuracy.",
        Equivalence(tuple(minus(other, CE, datasets=CIFAR) for other in (RCE, FLAT, CONDITIONAL, LEAF))),
        "layers-accuracy", "no significant difference", READINGS,
    ),
    Claim(
        "layers-folds-show-no-difference", "004", "Results after training",
        "Mann-Whitney tests over ten test folds show no difference between the three losses.",
        OwnTest(
            "share of seeds in which any pair of losses differs on ten folds (Mann-Whitney, Holm)",
            fold_tests.share_of_seeds,
        ),
        "layers-accuracy", "no significant difference", READING,
    ),
    Claim(
        "layers-similar-profiles", "004", "Results during training",
        "The three losses have similar accuracy curves during training.",
        Equivalence(tuple(minus(other, CE, "curve_mean", CIFAR) for other in (RCE, FLAT))),
        "layers-accuracy", "", READING,
    ),
    Claim(
        "layers-fewer-critical-mistakes", "004", "Introduction",
        "Knowledge of the class tree makes critical mistakes, an animal for a vehicle or the reverse, fewer.",
        Superiority(tuple(c for one in (FLAT, LEAF) for c in lead_over(one, (CE,), "test_critical_error", CIFAR))),
        "layers-mistakes", "", READINGS,
    ),
    Claim(
        "layers-milder-mistakes", "004", "Introduction",
        "Knowledge of the class tree makes mistakes milder: less far on the tree.",
        Superiority(tuple(c for one in (FLAT, LEAF) for c in lead_over(one, (CE,), "test_mistake_distance", CIFAR))),
        "layers-mistakes", "", READINGS,
    ),
    Claim(
        "layers-penalty-overfits-less", "004", "A closer look at the losses",
        "The penalty on confident predictions avoids overfitting.",
        Superiority(lead_over(RCE, (CE,), "train_gap", CIFAR)),
        "layers-accuracy", "", "the weight of the penalty, 0.1, is not in the paper",
    ),
    Claim(
        "layers-helps-on-harder-data", "004", "Conclusions",
        "On harder data such as CIFAR-100 the hierarchical loss would help.",
        Superiority((minus(FLAT, CE, datasets=("cifar-100",)),)),
        "layers-accuracy", "", READING,
    ),
    Claim(
        "layers-tree-informs-any-model", "004", "Introduction, Hierarchical loss function",
        "The path loss brings the class tree into any model.",
        Exact("mathematics", "path loss on class probabilities against cross-entropy", algebra.leaf_tree_is_ce),
        "layers-algebra", "", READINGS,
    ),
    Claim(
        "layers-second-sum-acts", "004", "Hierarchical loss function",
        "The sum over inner nodes shapes what is learned.",
        Exact("mathematics", "its gradient on random logits", algebra.path_penalty_is_constant),
        "layers-algebra", "", READINGS,
    ),
)  # fmt: skip
