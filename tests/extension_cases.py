"""A loss in a file of the user's own, which leaves no trace in other tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lossbench import DATASETS, LOSSES, MODELS, PROBABILITIES, registry
from lossbench.data import AUGMENTATIONS
from lossbench.optimizers import OPTIMIZERS
from lossbench.registry import VARIABLE

SOURCE = '''
from typing import Annotated

from lossbench.losses import above, of_target, over_target, register


@register(shown=("scale",), soft_target="by_class")
def scaled(log_probs, target, *, scale: Annotated[float, above(0)] = 2.0):
    r"""Cross-entropy times a number.

    .. math:: L = -s \\log p_t

    Range: [0, inf).
    Gradient: that of cross_entropy times s.
    At p -> 0: as cross_entropy.
    At p -> 1: as cross_entropy.
    Equals: cross_entropy at scale 1.
    Source: none.
    Peers: none.
    """
    return over_target(-scale * of_target(log_probs, target), target)
'''


@pytest.fixture
def leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of these files is known to other tests."""
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setattr(registry, "_loaded", {})
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    modules = dict(sys.modules)
    tables: list[registry.Registry[Any]] = [LOSSES, PROBABILITIES, MODELS, DATASETS, AUGMENTATIONS, OPTIMIZERS]
    kept = [(table, dict(table)) for table in tables]
    yield
    for table, before in kept:
        table.clear()
        table.update(before)
        table.extended.clear()
    for name in set(sys.modules) - set(modules):
        if isinstance(getattr(sys.modules[name], "__loader__", None), registry._TextLoader):
            del sys.modules[name]


@pytest.fixture
def own_losses(leave_no_trace: None, tmp_path: Path) -> Path:
    """A file that registers `scaled`."""
    path = tmp_path / "my_losses.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path
