"""A loss in a file of the user's own, which leaves no trace in other tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lossbench import LOSSES, PROBABILITIES, extensions
from lossbench.extensions import VARIABLE

SOURCE = '''
from lossbench.losses import register
from lossbench.losses.primitives import of_target, over_target
from lossbench.parameters import above


@register(checks={"scale": above(0)}, shown=("scale",), soft_target="by_class")
def scaled(log_probs, target, *, scale: float = 2.0):
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
    monkeypatch.setattr(extensions, "_loaded", {})
    kept = [(registry, dict(registry)) for registry in (LOSSES, PROBABILITIES)]
    yield
    for registry, before in kept:
        registry.clear()
        registry.update(before)


@pytest.fixture
def own_losses(leave_no_trace: None, tmp_path: Path) -> Path:
    """A file that registers `scaled`."""
    path = tmp_path / "my_losses.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path
