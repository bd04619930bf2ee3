"""The scores that claims are about: where they stand, in what unit they are said, which difference matters."""

from __future__ import annotations

from dataclasses import dataclass

MARGIN = 0.5  # percentage points: the smallest difference that matters, and the margin of equivalence


@dataclass(frozen=True)
class Scale:
    """A score.

    Args:
        words: what it is called.
        unit: unit of every number said about it.
        factor: from the column's unit to this one.
        matters: the smallest difference that matters, in `unit`; None takes the margin that `evaluate` is given.
        more_is_better: False for epochs and mistakes.
        needs: the table beside the runs that it comes from.
    """

    words: str
    unit: str = "points"
    factor: float = 100.0
    matters: float | None = None
    more_is_better: bool = True
    needs: str = "runs"

    def margin(self, points: float) -> float:
        """The smallest difference that matters, in `unit`."""
        return points if self.matters is None else self.matters


def _epochs(words: str, needs: str = "runs") -> Scale:
    return Scale(words, "epochs", 1.0, 1.0, more_is_better=False, needs=needs)


SCALES = {
    "test_accuracy": Scale("test accuracy"),
    "test_macro_f1": Scale("macro F1"),
    "test_nmi": Scale("NMI"),
    "test_recall_at_1": Scale("recall@1"),
    "test_recall_at_8": Scale("recall@8"),
    "test_top5": Scale("top-5 accuracy"),
    "test_critical_error": Scale("critical mistakes", more_is_better=False),
    "test_mistake_distance": Scale("tree distance of mistakes", "edges", 1.0, 0.1, more_is_better=False),
    "best_epoch": _epochs("best epoch"),
    "epochs_to_95": _epochs("epochs to 95 % of the last accuracy", "history"),
    "first_epoch_accuracy": Scale("accuracy after the first epoch", needs="history"),
    "curve_mean": Scale("accuracy averaged over the epochs", needs="history"),
    "roughness": Scale("unrest of the accuracy from epoch to epoch", more_is_better=False, needs="history"),
    "train_gap": Scale("training minus validation accuracy", more_is_better=False, needs="history"),
    "rescued": Scale("share of mistakes whose true class is among the first five"),
    "hardest_lead": Scale("recall by which the class lies below every other", needs="confusion"),
    "similar_mistakes": Scale("mistakes within the class's branch beyond chance", needs="confusion"),
}
