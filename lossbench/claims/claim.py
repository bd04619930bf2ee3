"""What a claim is, the five papers that make them, and where the evidence is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lossbench.registry import unknown

if TYPE_CHECKING:
    from lossbench.claims.rules import Rule

THESIS, ADMA = "08_thesis_analysis", "09_adma"
SAMPLING, FALSE_POSITIVE = "10_sampling_free_and_metric_learning", "11_false_positive_loss"
LAYERS = "12_hierarchical_loss"
NOTEBOOKS = (THESIS, ADMA, SAMPLING, FALSE_POSITIVE, LAYERS)

RUNS, MATHEMATICS, PRINTED = "runs", "mathematics", "printed table"
SLIPS = "slips in print"
GROUPS = (RUNS, MATHEMATICS, PRINTED, SLIPS)  # never summed over


@dataclass(frozen=True)
class Paper:
    """A paper: its short name, the families of data sets it measured on, and how it trained."""

    name: str
    datasets: tuple[str, ...]
    trained: str


PAPERS = {
    "000": Paper("thesis", ("fashion-mnist", "cifar-10", "kmnist"), "a pretrained ResNet50, up to 75 epochs"),
    "001": Paper(
        "Adma",
        ("mnist", "fashion-mnist", "cifar-10", "cifar-100", "flowers", "ham10000", "svhn", "dogs-vs-cats"),
        "a convolutional network of its own, all images, 50 to 170 epochs",
    ),
    "002": Paper("sampling-free loss", ("cifar-10", "cifar-100", "fashion-mnist"), "GoogLeNet and ResNets, 70 epochs"),
    "003": Paper("False Positive Loss", ("cifar-10",), "EfficientNetV2 and ResNets, all images, 10 to 200 epochs"),
    "004": Paper("Loss in Layers", ("cifar-10",), "a network that it does not name, until convergence"),
}


@dataclass(frozen=True)
class Place:
    """A figure or table: the notebook it stands in and what it shows."""

    notebook: str
    shows: str


FIGURES = {
    "ce-equals-kl": Place(THESIS, "cross-entropy and KL divergence run by run"),
    "thesis-accuracy": Place(THESIS, "accuracy of each loss minus cross-entropy by data set, with intervals"),
    "thesis-epochs": Place(THESIS, "epochs each loss needs, with intervals"),
    "thesis-probabilities": Place(THESIS, "accuracy and epochs by probability function"),
    "thesis-tables": Place(THESIS, "Tables 4.2 to 4.6 re-derived from Table 4.1"),
    "thesis-confusion": Place(THESIS, "confusion matrices and the recall of each class"),
    "adma-curves": Place(ADMA, "Adma for several exponents beside cross-entropy, values and gradients"),
    "adma-tables": Place(ADMA, "Tables 1 to 4 of the paper, cell by cell against cross-entropy"),
    "adma-accuracy": Place(ADMA, "accuracy of Adma, MSE and squared hinge minus cross-entropy"),
    "adma-learning": Place(ADMA, "learning curves: first epoch, unrest, gap to the training images"),
    "adma-exponent": Place(ADMA, "accuracy over the exponent, as printed and divided by e times a"),
    "adma-fractions": Place(ADMA, "Adma minus cross-entropy over the share of training images"),
    "sampling-shape": Place(SAMPLING, "the reconstructed loss and its weight over the target's probability"),
    "sampling-sweeps": Place(SAMPLING, "macro F1 and NMI over beta and gamma"),
    "sampling-comparison": Place(SAMPLING, "macro F1, NMI and recall@k of all losses"),
    "fpl-shape": Place(FALSE_POSITIVE, "the loss, its class weights and its two terms"),
    "fpl-tables": Place(FALSE_POSITIVE, "Tables 2 and 3 of the paper with their sampling noise"),
    "fpl-accuracy": Place(FALSE_POSITIVE, "False Positive Loss minus cross-entropy on balanced classes"),
    "fpl-imbalance": Place(FALSE_POSITIVE, "False Positive Loss minus cross-entropy on long tails"),
    "layers-accuracy": Place(LAYERS, "accuracy of the poster's losses minus cross-entropy, folds and seeds"),
    "layers-mistakes": Place(LAYERS, "how severe the mistakes are on the class tree"),
    "layers-algebra": Place(LAYERS, "when the hierarchical loss is only cross-entropy"),
}


@dataclass(frozen=True)
class Claim:
    """One statement of a paper and how it is decided.

    Args:
        key: a stable name, such as `thesis-js-least-accurate`.
        paper: a key of `PAPERS`.
        place: where it stands in the paper.
        says: the statement in our words.
        rule: what decides it.
        figure: a key of `FIGURES`, which also names the notebook.
        printed: the paper's own numbers, as text; empty if it gives none.
        reconstruction: what of the paper's method we had to guess, or how a word of it was read; empty if nothing.
        slip: whether it is about copying and arithmetic in print, and not about losses.
    """

    key: str
    paper: str
    place: str
    says: str
    rule: Rule
    figure: str
    printed: str = ""
    reconstruction: str = ""
    slip: bool = False

    def __post_init__(self) -> None:
        if self.paper not in PAPERS:
            raise ValueError(unknown("paper", self.paper, PAPERS))
        if self.figure not in FIGURES:
            raise ValueError(unknown("figure", self.figure, FIGURES))

    @property
    def notebook(self) -> str:
        """The notebook that shows the figure."""
        return FIGURES[self.figure].notebook

    @property
    def group(self) -> str:
        """One of `GROUPS`: what decides the claim, and slips in print apart."""
        return SLIPS if self.slip else self.rule.kind
