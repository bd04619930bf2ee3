"""What a table of learning curves holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def judged_accuracy(history: pd.DataFrame) -> pd.Series:
    """The accuracy by which each run chose its epoch: validation accuracy, else that on the test images.

    Args:
        history: what `load_history` gives.

    Returns: a number in [0, 1] for each row; nan where neither is known.
    """
    import pandas as pd

    columns = [name for name in ("val_accuracy", "test_accuracy") if name in history]
    if not columns:
        return pd.Series(float("nan"), index=history.index)
    return history[columns].astype(float).bfill(axis=1).iloc[:, 0]
