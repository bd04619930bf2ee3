"""False Positive Loss against its parts: cross-entropy, the one-against-rest terms, and the weights of the classes."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from lossbench.losses import Criterion

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = 2 * torch.randn(64, 10, generator=GENERATOR, dtype=torch.float64)
TARGET = torch.randint(10, (64,), generator=GENERATOR)

loss_of = partial(Criterion, "false_positive", reduction="none")


@pytest.mark.parametrize("alpha", [(1.0, 1.0), (0.25, 0.5)])
def test_false_positive_loss_of_two_classes_is_cross_entropy_times_both_alphas(alpha: tuple[float, float]):
    two, target = LOGITS[:, :2], TARGET % 2
    loss = loss_of(alpha=alpha)(two, target)
    torch.testing.assert_close(loss, sum(alpha) * F.cross_entropy(two, target, reduction="none"))


def test_false_positive_loss_adds_the_one_against_rest_term_of_the_hardest_class():
    loss = loss_of(alpha="none")(LOGITS, TARGET)
    p = LOGITS.softmax(1)
    p[torch.arange(64), TARGET] = 0
    hardest = F.binary_cross_entropy(p.amax(1), torch.zeros(64, dtype=torch.float64), reduction="none")
    torch.testing.assert_close(loss, F.cross_entropy(LOGITS, TARGET, reduction="none") + hardest)


def test_false_positive_alphas_from_balanced_counts_are_all_the_same():
    counts = torch.full((10,), 600)
    loss = loss_of(alpha="dataset", class_counts=counts)(LOGITS, TARGET)
    torch.testing.assert_close(loss, 0.9 * loss_of(alpha="none")(LOGITS, TARGET))


def test_false_positive_alphas_follow_the_counts_of_the_batch_or_the_dataset():
    counts = torch.bincount(TARGET, minlength=10)
    batch = loss_of(alpha="batch")(LOGITS, TARGET)
    dataset = loss_of(alpha="dataset", class_counts=counts)(LOGITS, TARGET)
    given_alpha = loss_of(alpha=[1 - n / 64 for n in counts.tolist()])(LOGITS, TARGET)
    torch.testing.assert_close(batch, dataset, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(batch, given_alpha, rtol=1e-6, atol=1e-6)


def test_a_batch_of_one_class_has_no_false_positive_target_term():
    target = torch.full((64,), 3)
    loss = loss_of()(LOGITS, target)
    others = LOGITS.softmax(1).scatter(1, target[:, None], 0.0)
    torch.testing.assert_close(loss, -torch.log1p(-others.amax(1)))


def test_more_false_positives_than_wrong_classes_are_all_of_them():
    many = loss_of(top_k=99)(LOGITS, TARGET)
    torch.testing.assert_close(many, loss_of(top_k=9)(LOGITS, TARGET))
    p = LOGITS.softmax(1).scatter(1, TARGET[:, None], 0.0)
    every = loss_of(alpha="none", top_k=9)(LOGITS, TARGET)
    expected = F.cross_entropy(LOGITS, TARGET, reduction="none") - torch.log1p(-p).sum(1)
    torch.testing.assert_close(every, expected)


def test_the_gradient_of_the_worst_false_positives_is_not_clamped_away():
    logits = torch.tensor([[-200.0, 200.0, 0.0]], requires_grad=True)
    loss = Criterion("false_positive", alpha="none")(logits, torch.tensor([0]))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(600)  # 400 for the target, 200 for 1 - p_F = exp(-200)
    torch.testing.assert_close(gradient, torch.tensor([[-1.0, 2.0, -1.0]]))
