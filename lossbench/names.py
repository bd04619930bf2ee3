"""One wording for every unknown name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def unknown(kind: str, name: object, allowed: Iterable[str]) -> str:
    """Say which `kind` of name was not found, the nearest one, and all that are allowed.

    >>> unknown("loss", "focl", ["cross_entropy", "focal"])
    "unknown loss 'focl'; did you mean 'focal'? choose from cross_entropy, focal"
    """
    names = list(allowed)
    near = get_close_matches(str(name), names, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {kind} {name!r}; {hint}choose from {', '.join(names) or '(none)'}"
