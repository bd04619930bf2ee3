"""The check behind a notebook's exercises."""

from __future__ import annotations

from typing import Any


def check(answer: Any, solution: Any, *, tolerance: float = 1e-3, hint: str = "") -> str:
    """Compare a reader's answer with the solution.

    Args:
        answer: what the reader gave; `...`, or a list that holds it, as long as something is missing.
        solution: a number, text, truth value, or numbers as a list, array or tensor.
        tolerance: relative error that still counts as right, for numbers.
        hint: shown with a wrong answer.

    Returns: "not answered yet" or "right".
    Raises: AssertionError with the hint when the answer is wrong.

    >>> check(..., 0.5)
    'not answered yet'
    >>> check(0.5001, 0.5)
    'right'
    """
    if answer is ... or (isinstance(answer, list | tuple) and any(item is ... for item in answer)):
        return "not answered yet"
    assert _agree(answer, solution, tolerance), f"not yet: {answer!r}. {hint}".strip()
    return "right"


def _agree(answer: Any, solution: Any, tolerance: float) -> bool:
    import numpy as np

    if isinstance(solution, str | bool):
        return bool(answer == solution)
    try:
        given, wanted = np.asarray(answer, dtype=float), np.asarray(solution, dtype=float)
    except (TypeError, ValueError):
        return False
    return given.shape == wanted.shape and bool(np.allclose(given, wanted, rtol=tolerance, atol=1e-9))
