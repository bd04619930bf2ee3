"""What a claim is, and the five papers that make them."""

from __future__ import annotations

from dataclasses import dataclass

from lossbench.claims.figures import FIGURES
from lossbench.claims.rules import Rule
from lossbench.registry import unknown


@dataclass(frozen=True)
class Paper:
    """A paper: its short name, and the families of data sets it measured on."""

    name: str
    datasets: tuple[str, ...]


PAPERS = {
    "000": Paper("thesis", ("fashion-mnist", "cifar-10", "kmnist")),
    "001": Paper(
        "Adma",
        ("mnist", "fashion-mnist", "cifar-10", "cifar-100", "flowers", "ham10000", "svhn", "dogs-vs-cats"),
    ),
    "002": Paper("sampling-free loss", ("cifar-10", "cifar-100", "fashion-mnist")),
    "003": Paper("False Positive Loss", ("cifar-10",)),
    "004": Paper("Loss in Layers", ("cifar-10",)),
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
        reconstruction: what of the paper's method we had to guess; empty if nothing.
    """

    key: str
    paper: str
    place: str
    says: str
    rule: Rule
    figure: str
    printed: str = ""
    reconstruction: str = ""

    def __post_init__(self) -> None:
        if self.paper not in PAPERS:
            raise ValueError(unknown("paper", self.paper, PAPERS))
        if self.figure not in FIGURES:
            raise ValueError(unknown("figure", self.figure, FIGURES))

    @property
    def notebook(self) -> str:
        """The notebook that shows the figure."""
        return FIGURES[self.figure].notebook
