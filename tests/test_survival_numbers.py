"""Losses that stop being numbers end their run and nothing else; every loss gives the same bits twice."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from killing import fork, quick_workers
from torch import Tensor

import lossbench.runner
from lossbench import LOSSES, PROBABILITIES, RunConfig, load_runs, run
from lossbench.data import Dataset, load
from lossbench.engines import run_configs
from lossbench.losses import register

TINY = RunConfig(dataset="shapes", epochs=3, train_size=96)  # three steps an epoch
STEPS = 3
TREE = {"root": ["angular", "round"], "angular": ["square", "cross"], "round": ["disc", "ring"]}


@pytest.fixture
def spoilt() -> Iterator[Callable[[int, float], None]]:
    """A registered loss `spoilt`; `spoilt(step, value)` makes it return `value` at that training step."""
    plan = {"step": 0, "at": 0, "value": math.nan}

    @register()
    def spoilt(log_probs: Tensor, target: Tensor) -> Tensor:
        r"""Cross-entropy with one bad step.

        .. math:: -\log p_t

        Range: [0, ∞).
        Gradient: as cross_entropy.
        At p -> 0: as cross_entropy.
        At p -> 1: falls to 0.
        Equals: cross_entropy at every other step.
        Source: this test.
        Peers: none.

        Args:
            log_probs: (batch, classes) log-probabilities.
            target: (batch,) class indices.

        Returns: (batch,) loss.
        """
        loss = -log_probs.gather(1, target[:, None]).squeeze(1)
        if not torch.is_grad_enabled():
            return loss
        plan["step"] += 1
        return loss * plan["value"] if plan["step"] == plan["at"] else loss

    def set_plan(at: int, value: float) -> None:
        plan.update(step=0, at=at, value=value)

    yield set_plan
    del LOSSES["spoilt"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("step", [1, 2, 5, 9])
def test_the_very_step_whose_loss_is_no_number_is_named(
    tmp_path: Path, spoilt: Callable[[int, float], None], step: int, value: float
) -> None:
    spoilt(step, value)
    epoch, within = divmod(step - 1, STEPS)
    with pytest.warns(UserWarning, match=rf"became {value} at step {within + 1} of epoch {epoch + 1}"):
        result = run(replace(TINY, loss="spoilt"), tmp_path).result
    assert (result["status"], result["epochs_done"]) == ("diverged", epoch)
    assert (result["test_accuracy"] is None) == (epoch == 0), "else the scores of the last finite epochs"


def test_a_study_with_losses_that_are_no_numbers_goes_on_and_counts_them(
    tmp_path: Path, spoilt: Callable[[int, float], None]
) -> None:
    spoilt(4, math.nan)
    configs = [replace(TINY, loss=loss, seed=seed) for loss in ("spoilt", "mse") for seed in (0, 1)]
    configs.append(replace(TINY, lr=1e6, optimizer="sgd"))

    def study() -> None:
        quick_workers()
        summary = run_configs(configs, tmp_path, workers=1, show_progress=False)
        sys.stdout.write(str(summary))
        sys.exit(summary.exit_code)

    assert fork(study, tmp_path / "log").wait() == 0, (tmp_path / "log").read_text()
    assert "5 of 5 runs finished, 2 diverged" in (tmp_path / "log").read_text()
    (log,) = (tmp_path / "logs").iterdir()
    assert len(re.findall(r"training loss became nan at step", log.read_text())) == 2
    assert load_runs(tmp_path)["status"].value_counts().to_dict() == {"finished": 3, "diverged": 2}


@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "proxy_nca"])
def test_images_that_are_infinite_end_the_run_at_its_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    def load_infinite(name: str, data: Path | None) -> Dataset:
        return replace(load(name, data), std=(0.0,))

    monkeypatch.setattr(lossbench.runner, "load", load_infinite)
    with pytest.warns(UserWarning, match=r"became (nan|inf) at step 1 of epoch 1"):
        assert run(replace(TINY, loss=loss), tmp_path).result["status"] == "diverged"


@pytest.mark.parametrize("loss", list(LOSSES))
def test_every_loss_gives_the_same_bits_twice(tmp_path: Path, loss: str) -> None:
    names = list(PROBABILITIES)
    probability = names[list(LOSSES).index(loss) % len(names)]  # each probability function a few times
    params = {"tree": TREE} if loss == "hierarchical_cross_entropy" else {}
    config = replace(TINY, loss=loss, loss_params=params, probability=probability, epochs=2)
    first, second = (run(config, tmp_path / name).path for name in "ab")
    for name in ("history.csv", "predictions.npz"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_another_number_of_threads_gives_nearly_the_same_scores(tmp_path: Path) -> None:
    one, two = (run(TINY, tmp_path / str(n), threads=n).result for n in (1, 2))
    torch.set_num_threads(1)
    assert one["test_nll"] == pytest.approx(two["test_nll"], abs=1e-4)
