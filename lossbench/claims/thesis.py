"""What paper 000, the thesis, claims."""

from __future__ import annotations

from lossbench.claims import algebra, thesis_tables
from lossbench.claims.claim import Claim
from lossbench.claims.contrast import alone, lead_over, loss, minus
from lossbench.claims.rules import Equivalence, Exact, Superiority

CE, JS = loss("cross_entropy"), loss("js_divergence")
FOCAL_HALF, FOCAL_2 = loss("focal", gamma=0.5), loss("focal", gamma=2.0)
SOFTMAX, TAYLOR = {"probability": "softmax"}, {"probability": "taylor_softmax"}
SOFT_MARGIN = {"probability": "soft_margin_softmax"}

CLAIMS = (
    Claim(
        "thesis-ce-most-accurate", "000", "Conclusions 1, Table 4.2",
        "Cross-entropy gives the best accuracy of the losses compared, by a little.",
        Superiority(lead_over(CE, (JS, FOCAL_HALF, FOCAL_2))),
        "thesis-accuracy", "13 placement points; Focal 0.5 10, Focal 2 7, JS 4",
    ),
    Claim(
        "thesis-ce-ahead-of-kl", "000", "Conclusions 1, Table 4.2",
        "Cross-entropy is ahead of KL divergence in accuracy.",
        Exact("mathematics", "largest difference in value and gradient on one-hot targets", algebra.ce_is_kl),
        "ce-equals-kl", "13 against 11 placement points",
    ),
    Claim(
        "thesis-kl-faster-than-ce", "000", "Conclusions 2, Table 4.2",
        "KL divergence converges faster than cross-entropy.",
        Exact("printed table", "paired t over the nine cells of Table 4.1", thesis_tables.kl_epochs),
        "ce-equals-kl", "13 against 7.5 placement points",
    ),
    Claim(
        "thesis-js-least-accurate", "000", "Conclusions 3, Table 4.2",
        "JS divergence gives the worst accuracy and is not to be recommended.",
        Superiority(tuple(minus(other, JS) for other in (CE, FOCAL_HALF, FOCAL_2))),
        "thesis-accuracy", "last on two of three data sets",
    ),
    Claim(
        "thesis-js-slowest", "000", "Table 4.2, section 4.4",
        "JS divergence needs the most epochs to its best accuracy.",
        Superiority(tuple(minus(JS, other, "best_epoch") for other in (CE, FOCAL_HALF, FOCAL_2))),
        "thesis-epochs", "3 of at most 15 placement points",
    ),
    Claim(
        "thesis-focal-half-fastest", "000", "Abstract, Conclusions 2",
        "Focal loss with gamma 0.5 reaches its best accuracy in the fewest epochs.",
        Superiority(lead_over(FOCAL_HALF, (CE, JS, FOCAL_2), "best_epoch")),
        "thesis-epochs", "14 of at most 15 placement points",
    ),
    Claim(
        "thesis-focal-half-rises-fastest", "000", "Abstract, Conclusions 2",
        "Focal loss with gamma 0.5 converges fastest, measured by the rise of the curve instead of its peak.",
        Superiority(lead_over(FOCAL_HALF, (CE, JS, FOCAL_2), "epochs_to_95")),
        "thesis-epochs",
    ),
    Claim(
        "thesis-softmax-most-accurate", "000", "Conclusions 4, Table 4.4",
        "Plain softmax gives the best accuracy of the three probability functions in most cases.",
        Superiority(lead_over(SOFTMAX, (SOFT_MARGIN, TAYLOR))),
        "thesis-probabilities", "best in 8 of 15 sets; soft margin 4, Taylor 3",
    ),
    Claim(
        "thesis-soft-margin-fastest", "000", "Conclusions 5, Table 4.4",
        "Soft-margin softmax needs the fewest epochs of the three, by a little.",
        Superiority(lead_over(SOFT_MARGIN, (SOFTMAX, TAYLOR), "best_epoch")),
        "thesis-probabilities", "first in 6 of 15 sets; Taylor 5, softmax 4",
    ),
    Claim(
        "thesis-losses-do-not-differ", "000", "Conclusions 1 and 7, Table 4.6",
        "No loss differs from the others in accuracy.",
        Equivalence(tuple(minus(other, CE) for other in (JS, FOCAL_HALF, FOCAL_2))),
        "thesis-accuracy", "one of 15 p values below 0.05",
    ),
    Claim(
        "thesis-probabilities-do-not-differ", "000", "Conclusions 7, Table 4.5",
        "No probability function differs from the others in accuracy.",
        Equivalence((minus(SOFT_MARGIN, SOFTMAX), minus(TAYLOR, SOFTMAX), minus(TAYLOR, SOFT_MARGIN))),
        "thesis-probabilities", "smallest p 0.054",
    ),
    Claim(
        "thesis-tables-4-2-to-4-4", "000", "Tables 4.2, 4.3, 4.4",
        "The placement points and the counts of wins follow from the runs of Table 4.1.",
        Exact("printed table", "every value computed again from Table 4.1", thesis_tables.placement),
        "thesis-tables",
    ),
    Claim(
        "thesis-table-4-5", "000", "Table 4.5",
        "The p values between probability functions follow from Table 4.1.",
        Exact("printed table", "paired one-tailed t-tests over five losses", thesis_tables.t_tests),
        "thesis-tables", "18 p values",
    ),
    Claim(
        "thesis-table-4-6", "000", "Table 4.6",
        "The p values of the losses follow from Table 4.1.",
        Exact("printed table", "normal tail of each loss's mean among the runs, to 5e-4", thesis_tables.population),
        "thesis-tables", "30 p values",
    ),
    Claim(
        "thesis-only-kmnist-js-significant", "000", "Section 4.4, Table 4.6",
        "Nothing is significant but the poor accuracy of JS divergence on KMNIST.",
        Exact(
            "printed table", "Table 4.6 with the standard error of a mean, two-tailed, Holm within a data set",
            thesis_tables.significant_losses,
        ),
        "thesis-tables", "p 0.0425",
    ),
    Claim(
        "thesis-best-runs-100th-percentile", "000", "Section 4.4",
        "The best runs of each data set lie in the 100th percentile.",
        Exact("printed table", "percentile of each best run as in Table 4.6", thesis_tables.best_percentiles),
        "thesis-tables", "100",
    ),
    Claim(
        "thesis-captions-agree", "000", "Figures 4.1 to 4.17 against Table 4.1",
        "Figure captions and the table of results report the same accuracies.",
        Exact("printed table", "values of the captions that differ from the table's", thesis_tables.captions),
        "thesis-tables", "45 accuracies twice",
    ),
    Claim(
        "thesis-shirt-hardest", "000", "Section 4.1",
        "The seventh class of Fashion-MNIST, shirts, is the hardest in every configuration.",
        Superiority((alone({}, "hardest_lead", ("fashion-mnist",)),)),
        "thesis-confusion",
    ),
    Claim(
        "thesis-cat-hardest", "000", "Section 4.2",
        "The fourth class of CIFAR-10, cats, is the hardest.",
        Superiority((alone({}, "hardest_lead", ("cifar-10",)),)),
        "thesis-confusion",
    ),
    Claim(
        "thesis-similar-classes-confused", "000", "Conclusions 6",
        "Mistakes fall mostly between similar classes.",
        Superiority((alone({}, "similar_mistakes", ("fashion-mnist", "cifar-10")),)),
        "thesis-confusion",
    ),
)  # fmt: skip
