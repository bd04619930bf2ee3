"""The check behind a notebook's exercises."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any


class Reply(str):
    """A sentence that a notebook shows as it is, without quotes."""

    def __repr__(self) -> str:
        return str(self)


NOT_ANSWERED, RIGHT = Reply("Not answered yet."), Reply("Right.")


def check(answer: Any, solution: Any, *, tolerance: float = 0.02, digits: int = 2, hint: str = "") -> Reply:
    """Compare a reader's answer with the solution. Nothing is raised, so that a notebook runs on.

    Args:
        answer: what the reader gave; `...` stands for what is missing; a function without arguments is called.
        solution: a number, text, truth value, or numbers as a list, array or tensor.
        tolerance: relative error that still counts as right, for numbers; 0 for what can be counted.
        digits: a number rounded to so many significant digits is right too, unless `tolerance` is 0.
        hint: shown with a wrong answer.

    >>> check(..., 0.5)
    Not answered yet.
    >>> check([0.11, 0.3333], [0.105, 1 / 3])
    Right.
    >>> check("0.5", 0.5, hint="a number")
    Not yet. Hint: a number.
    """
    if callable(answer):
        answer, error = _call(answer)
        if error:
            return Reply(f"Not yet: {error}.{_hint(hint)}")
    if answer is ... or (isinstance(answer, list | tuple) and any(item is ... for item in _flat(answer))):
        return NOT_ANSWERED
    return RIGHT if _agree(answer, solution, tolerance, digits) else Reply(f"Not yet.{_hint(hint)}")


def _hint(hint: str) -> str:
    return f" Hint: {hint.rstrip('.')}." if hint else ""


def _call(function: Callable[[], Any]) -> tuple[Any, str]:
    """What a reader's function returns, or what it raises."""
    try:
        return function(), ""
    except Exception as error:  # whatever a reader's code can raise
        return None, f"it stops with {type(error).__name__}: {error}".rstrip(".: ")


def _flat(answer: Any) -> Iterator[Any]:
    for item in answer:
        if isinstance(item, list | tuple):
            yield from _flat(item)
        else:
            yield item


def _agree(answer: Any, solution: Any, tolerance: float, digits: int) -> bool:
    if isinstance(solution, str):
        return isinstance(answer, str) and answer.strip().casefold() == solution.casefold()
    try:
        given, wanted = _numbers(answer), _numbers(solution)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # text, None, lists of unequal length
        return False
    if given.shape != wanted.shape or (given.dtype == bool) != (wanted.dtype == bool):
        return False
    if wanted.dtype == bool:
        return bool((given == wanted).all())
    pairs = zip(given.ravel().tolist(), wanted.ravel().tolist(), strict=True)
    return all(abs(a - b) <= _allowed(b, tolerance, digits) for a, b in pairs)


def _allowed(number: float, tolerance: float, digits: int) -> float:
    """How far an answer may lie from a number; half a unit of its last digit, where that is more."""
    if tolerance == 0 or number == 0:
        return 1e-9 * max(1.0, abs(number))
    rounded = 0.5 * 10.0 ** (math.floor(math.log10(abs(number))) - digits + 1)
    return (1 + 1e-9) * max(tolerance * abs(number), rounded)


def _numbers(answer: Any) -> Any:
    """An array of floats or of truth values, from numbers, lists, arrays, tables and tensors, with gradient or not."""
    import numpy as np

    if isinstance(answer, list | tuple):
        parts = [_numbers(item) for item in answer]
        if len({part.dtype for part in parts}) > 1:
            raise TypeError("truth values among numbers")
        return np.stack(parts) if parts else np.zeros(0)
    if hasattr(answer, "detach"):
        answer = answer.detach().cpu()
    array = np.asarray(answer)
    if array.dtype == bool:
        return array
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{array.dtype} is no number")
    return array.astype(float)
