"""What paper 002, on a loss free of sampling, claims. All its formulas are lost; ours is a reconstruction."""

from __future__ import annotations

from lossbench.claims import algebra
from lossbench.claims.claim import Claim
from lossbench.claims.contrast import lead_over, loss, minus
from lossbench.claims.rules import Exact, Superiority

CE, FOCAL = loss("cross_entropy"), loss("focal", gamma=2.0)
TRIPLET, MARGIN = loss("triplet"), loss("margin")
N_PAIR, PROXY_NCA = loss("n_pair"), loss("proxy_nca")
CIFAR, FASHION = ("cifar-10",), ("fashion-mnist",)
FORMULA = "the loss is a reconstruction: the paper's formulas are missing from its text"


def ours(beta: float, gamma: float) -> dict[str, object]:
    """The reconstructed loss."""
    return dict(loss("sampling_free", beta=beta, gamma=gamma, variant="power"))


OURS, OURS_FASHION = ours(4.0, 5.0), ours(4.0, 10.0)

CLAIMS = (
    Claim(
        "sampling-free-beats-metric-losses-f1", "002", "Section 4.2, Figure 6",
        "On CIFAR-10 the new loss has a higher macro F1 than triplet, margin, N-pair and ProxyNCA.",
        Superiority(lead_over(OURS, (TRIPLET, MARGIN, N_PAIR, PROXY_NCA), "test_macro_f1", CIFAR)),
        "sampling-comparison", "0.633 against 0.5 to 0.6", FORMULA,
    ),
    Claim(
        "sampling-free-beats-metric-losses-nmi", "002", "Section 4.2, Figure 7",
        "On CIFAR-10 the new loss has a higher NMI than triplet, margin, N-pair and ProxyNCA.",
        Superiority(lead_over(OURS, (TRIPLET, MARGIN, N_PAIR, PROXY_NCA), "test_nmi", CIFAR)),
        "sampling-comparison", "0.625 against 0.4 to 0.5", FORMULA,
    ),
    Claim(
        "sampling-free-beats-triplet-by-six", "002", "Section 4.3, Figure 8",
        "On a ResNet and CIFAR-10 its macro F1 is 0.06 above that of triplet.",
        Superiority((minus(OURS, TRIPLET, "test_macro_f1", CIFAR),), size=6.0, printed=6.0),
        "sampling-comparison", "+0.06", FORMULA,
    ),
    Claim(
        "sampling-free-leads-on-fashion", "002", "Section 4.4, Figure 9",
        "On Fashion-MNIST, with gamma 10, its macro F1 and NMI are above those of triplet and margin.",
        Superiority(
            lead_over(OURS_FASHION, (TRIPLET, MARGIN), "test_macro_f1", FASHION)
            + lead_over(OURS_FASHION, (TRIPLET, MARGIN), "test_nmi", FASHION)
        ),
        "sampling-comparison", "", FORMULA,
    ),
    Claim(
        "sampling-free-recall-at-8", "002", "Section 4.4, Table 2",
        "Its recall@8 is above that of triplet and margin on every data set.",
        Superiority(
            lead_over(OURS, (TRIPLET, MARGIN), "test_recall_at_8", CIFAR)
            + lead_over(OURS_FASHION, (TRIPLET, MARGIN), "test_recall_at_8", FASHION)
        ),
        "sampling-comparison", "", FORMULA,
    ),
    Claim(
        "sampling-free-recall-at-1-on-cifar-100", "002", "Section 4.4, Table 1",
        "On CIFAR-100 its recall@1 is above that of triplet and margin.",
        Superiority(lead_over(OURS, (TRIPLET, MARGIN), "test_recall_at_1", ("cifar-100",))),
        "sampling-comparison", "0.632", FORMULA,
    ),
    Claim(
        "sampling-free-beta-4-best-f1", "002", "Section 4.1, Figure 1",
        "At gamma 3, beta 4 gives the best macro F1 on CIFAR-10.",
        Superiority(
            lead_over(ours(4.0, 3.0), [ours(b, 3.0) for b in (2.0, 3.0, 5.0, 7.0, 10.0)], "test_macro_f1", CIFAR)
        ),
        "sampling-sweeps", "beta 4", FORMULA,
    ),
    Claim(
        "sampling-free-beta-4-best-nmi", "002", "Section 4.1, Figure 2",
        "At gamma 3, beta 4 gives the best NMI on CIFAR-10.",
        Superiority(
            lead_over(ours(4.0, 3.0), [ours(b, 3.0) for b in (2.0, 3.0, 5.0, 7.0, 10.0)], "test_nmi", CIFAR)
        ),
        "sampling-sweeps", "beta 4", FORMULA,
    ),
    Claim(
        "sampling-free-gamma-5-best", "002", "Section 4.1, Figures 3 and 4",
        "At beta 4, gamma 5 gives the best macro F1 and NMI on CIFAR-10.",
        Superiority(
            lead_over(OURS, [ours(4.0, 3.0), ours(4.0, 10.0)], "test_macro_f1", CIFAR)
            + lead_over(OURS, [ours(4.0, 3.0), ours(4.0, 10.0)], "test_nmi", CIFAR)
        ),
        "sampling-sweeps", "gamma 5", FORMULA,
    ),
    Claim(
        "sampling-free-beats-traditional-losses", "002", "Abstract, Conclusions",
        "It classifies better than traditional losses such as cross-entropy.",
        Superiority(lead_over(OURS, (CE, FOCAL), "test_macro_f1")),
        "sampling-comparison", "", FORMULA,
    ),
    Claim(
        "sampling-free-trains-more-easily", "002", "Abstract, Discussions",
        "It trains more easily than losses on triplets: it needs fewer epochs.",
        Superiority(lead_over(OURS, (TRIPLET, MARGIN), "epochs_to_95")),
        "sampling-comparison", "", FORMULA,
    ),
    Claim(
        "sampling-free-weighs-easy-samples-less", "002", "Section 3.1, property 1",
        "Easy samples lose their weight against cross-entropy, hard ones keep it.",
        Exact("mathematics", "the loss's factor on a grid of probabilities", algebra.sampling_free_weight),
        "sampling-shape", "", FORMULA,
    ),
)  # fmt: skip
