"""CONTRIBUTING.md shows how a loss is added; what it shows works as it stands."""

from __future__ import annotations

import importlib.util
import math
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from lossbench import LOSSES, Criterion

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
EXAMPLE, ROW = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def poly1(tmp_path):
    """The example's loss, registered for one test."""
    source = tmp_path / "example.py"
    source.write_text(EXAMPLE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("example", source)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module.poly1
    del LOSSES["poly1"]


def test_the_example_has_the_value_of_its_row(poly1):
    assert ROW.strip() == '("poly1", {"epsilon": 1.0}, math.log(2) + 0.5),'
    log_probs = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64).log()
    value = Criterion("poly1", epsilon=1.0)(log_probs, torch.tensor([0]))
    assert value.item() == pytest.approx(math.log(2) + 0.5, abs=1e-12)


def test_the_example_without_its_first_term_is_cross_entropy(poly1):
    logits = torch.randn(16, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    target = torch.arange(16) % 5
    torch.testing.assert_close(Criterion("poly1", epsilon=0)(logits, target), F.cross_entropy(logits, target))


def test_the_example_states_its_gradient_correctly(poly1):
    logits = torch.randn(16, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    target = torch.arange(16) % 5
    (gradient,) = torch.autograd.grad(Criterion("poly1", epsilon=2.0, reduction="sum")(logits, target), logits)
    p = logits.detach().softmax(1)
    p_target = p.gather(1, target[:, None])
    torch.testing.assert_close(gradient, -(1 + 2.0 * p_target) * (F.one_hot(target, 5) - p))


def test_the_example_is_finite_at_extreme_logits(poly1):
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], requires_grad=True)
    loss = Criterion("poly1")(logits, torch.tensor([0, 0]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_every_path_that_it_names_is_there():
    root = Path(__file__).parents[1]
    for link in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (root / link).exists(), link
