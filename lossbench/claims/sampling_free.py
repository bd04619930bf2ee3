"""What paper 002, on a loss free of sampling, claims. All its formulas are lost; ours is a reconstruction.

So runs of the reconstruction decide nothing about the paper's loss: `rebuilt`. Losses on embeddings classify by the
nearest class mean; where the paper compares macro F1 with them, both sides are judged that way here.
"""

from __future__ import annotations

from collections.abc import Sequence

from lossbench.claims import algebra
from lossbench.claims.contrasts import Where, lead_over, loss, minus
from lossbench.claims.verdicts import Claim, Compared, above

TRIPLET, MARGIN = loss("triplet"), loss("margin")
RIVALS = (TRIPLET, MARGIN, loss("n_pair"), loss("proxy_nca"))
CIFAR, CIFAR_100, FASHION = ("cifar-10",), ("cifar-100",), ("fashion-mnist",)
FORMULA = "the loss is a reconstruction: the paper's formulas are missing from its text"
ONE_JUDGE = f"{FORMULA}; the paper compares macro F1, here both sides are classified by the nearest class mean"
BY_CLASS_MEAN = "test_class_mean_accuracy"


def ours(beta: float, gamma: float) -> Where:
    """The reconstructed loss."""
    return loss("sampling_free", beta=beta, gamma=gamma, variant="power")


OURS, OURS_FASHION = ours(4.0, 5.0), ours(4.0, 10.0)
OTHER_BETAS = tuple(ours(beta, 3.0) for beta in (2.0, 3.0, 5.0, 7.0, 10.0))


def ahead(first: Where, rivals: Sequence[Where], metrics: Sequence[str], datasets: Sequence[str]) -> Compared:
    """The reconstruction is ahead of each rival in each score."""
    contrasts = [contrast for metric in metrics for contrast in lead_over(first, rivals, metric, datasets)]
    return above(*contrasts, rebuilt=True)


CLAIMS = (
    Claim(
        "sampling-free-beats-metric-losses-f1", "002", "Section 4.2, Figure 6",
        "On CIFAR-10 the new loss has a higher macro F1 than triplet, margin, N-pair and ProxyNCA.",
        ahead(OURS, RIVALS, [BY_CLASS_MEAN], CIFAR),
        "sampling-comparison", "0.633 against 0.5 to 0.6", ONE_JUDGE,
    ),
    Claim(
        "sampling-free-beats-metric-losses-nmi", "002", "Section 4.2, Figure 7",
        "On CIFAR-10 the new loss has a higher NMI than triplet, margin, N-pair and ProxyNCA.",
        ahead(OURS, RIVALS, ["test_nmi"], CIFAR),
        "sampling-comparison", "0.625 against 0.4 to 0.5", FORMULA,
    ),
    Claim(
        "sampling-free-beats-triplet-by-six", "002", "Section 4.3, Figure 8",
        "On a ResNet and CIFAR-10 its macro F1 is 0.06 above that of triplet.",
        above(minus(OURS, TRIPLET, BY_CLASS_MEAN, CIFAR), size=6.0, rebuilt=True),
        "sampling-comparison", "+0.06", ONE_JUDGE,
    ),
    Claim(
        "sampling-free-triplet-nmi-slightly-higher", "002", "Section 4.3, Figure 8",
        "On a ResNet and CIFAR-10 the NMI of triplet is slightly higher.",
        above(minus(TRIPLET, OURS, "test_nmi", CIFAR), rebuilt=True),
        "sampling-comparison", "", FORMULA,
    ),
    Claim(
        "sampling-free-leads-on-fashion", "002", "Section 4.4, Figure 9",
        "On Fashion-MNIST, with gamma 10, its macro F1 and NMI are above those of triplet and margin.",
        ahead(OURS_FASHION, (TRIPLET, MARGIN), [BY_CLASS_MEAN, "test_nmi"], FASHION),
        "sampling-comparison", "", ONE_JUDGE,
    ),
    Claim(
        "sampling-free-gamma-10-suits-fashion", "002", "Section 4.4",
        "Fashion-MNIST wants another gamma than CIFAR-10: 10 instead of 5.",
        ahead(OURS_FASHION, (OURS,), ["test_macro_f1", "test_nmi"], FASHION),
        "sampling-sweeps", "", FORMULA,
    ),
    Claim(
        "sampling-free-recall-at-8", "002", "Section 4.4, Table 2",
        "Its recall@8 is above that of triplet and margin on every data set.",
        above(
            *lead_over(OURS, (TRIPLET, MARGIN), "test_recall_at_8", CIFAR),
            *lead_over(OURS, (TRIPLET, MARGIN), "test_recall_at_8", CIFAR_100),
            *lead_over(OURS_FASHION, (TRIPLET, MARGIN), "test_recall_at_8", FASHION),
            rebuilt=True,
        ),
        "sampling-comparison", "", FORMULA,
    ),
    Claim(
        "sampling-free-recall-at-1-on-cifar-100", "002", "Section 4.4, Table 1",
        "On CIFAR-100 its recall@1 is above that of triplet and margin.",
        ahead(OURS, (TRIPLET, MARGIN), ["test_recall_at_1"], CIFAR_100),
        "sampling-comparison", "0.632", FORMULA,
    ),
    Claim(
        "sampling-free-beta-4-best", "002", "Section 4.1, Figures 1 and 2",
        "At gamma 3, beta 4 gives the best macro F1 and NMI on CIFAR-10.",
        ahead(ours(4.0, 3.0), OTHER_BETAS, ["test_macro_f1", "test_nmi"], CIFAR),
        "sampling-sweeps", "beta 4", FORMULA,
    ),
    Claim(
        "sampling-free-gamma-5-best", "002", "Section 4.1, Figures 3 and 4",
        "At beta 4, gamma 5 gives the best macro F1 and NMI on CIFAR-10.",
        ahead(OURS, (ours(4.0, 3.0), OURS_FASHION), ["test_macro_f1", "test_nmi"], CIFAR),
        "sampling-sweeps", "gamma 5", FORMULA,
    ),
    Claim(
        "sampling-free-trains-more-easily", "002", "Abstract, Discussions",
        "It trains more easily than losses on triplets: it needs fewer epochs.",
        ahead(OURS, (TRIPLET, MARGIN), ["epochs_needed"], ()),
        "sampling-comparison", "", FORMULA,
    ),
    Claim(
        "sampling-free-needs-no-triplets", "002", "Section 1, Discussions",
        "Without pairs or triplets of images it avoids a large amount of computation.",
        algebra.triplets_to_visit,
        "sampling-comparison", "", "the orders of growth are missing from the paper's text",
    ),
    Claim(
        "sampling-free-weighs-easy-samples-less", "002", "Section 3.1, property 1",
        "Easy samples lose their weight against cross-entropy, hard ones keep it.",
        algebra.sampling_free_weight,
        "sampling-shape", "", FORMULA,
    ),
)  # fmt: skip
