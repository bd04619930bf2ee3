"""Named studies: what they plan, what they will cost, and that each runs to its end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import lossbench
from lossbench import RunConfig, papers
from lossbench.data import DATASETS
from lossbench.engines import run_configs
from lossbench.estimate import estimate
from lossbench.losses import Criterion
from lossbench.study import SCALES, STUDIES, compare_losses, plan_study


def test_the_thesis_study_is_five_losses_under_three_probability_functions() -> None:
    configs = plan_study("thesis", ["fashion-mini"], 3)
    assert len({config.run_id for config in configs}) == 45
    cells = {(config.label, config.probability) for config in configs}
    assert len(cells) == 15
    assert [config.seed for config in configs] == sorted(config.seed for config in configs), "seed by seed"


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", list(STUDIES))
def test_every_study_plans_distinct_runs_of_one_protocol(name: str, scale: str) -> None:
    configs = plan_study(name, seeds=2, scale=scale)
    assert len({config.run_id for config in configs}) == len(configs) > 1
    assert "?" in STUDIES[name].question
    assert {config.dataset for config in configs} == set(STUDIES[name].scale(scale).datasets) <= set(DATASETS)
    assert any(config.loss == "cross_entropy" for config in configs), "the loss that all others are compared with"
    by_seed = [{c.run_id.split("-s")[0] for c in configs if c.seed == seed} for seed in (0, 1)]
    assert by_seed[0] == by_seed[1], "every seed has every loss"


@pytest.mark.slow
@pytest.mark.parametrize("name", list(STUDIES))
def test_every_study_runs_to_its_end_at_the_smallest_scale(name: str, tmp_path: Path) -> None:
    configs = plan_study(name, scale="smoke")
    if name == "pretrained":
        pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra `pretrained`")
        configs = configs[4:6]  # one that trains all layers and one that trains the head: the others cost a minute
    summary = run_configs(configs, tmp_path, workers=1, show_progress=False)
    assert (summary.finished + summary.diverged, summary.failed) == (len(configs), {})
    runs = lossbench.load_runs(tmp_path)
    assert len(runs) == len(configs)
    assert runs["test_accuracy"].between(0.0, 1.0).all()


def test_settings_given_win_over_the_scales() -> None:
    configs = plan_study("thesis", scale="smoke", settings={"epochs": 4, "lr": 0.01})
    assert {(config.epochs, config.lr, config.train_size) for config in configs} == {(4, 0.01, 300)}


def test_what_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown study 'theses'; did you mean 'thesis'"):
        plan_study("theses")
    with pytest.raises(ValueError, match="seeds must be at least 1"):
        plan_study("thesis", seeds=0)
    with pytest.raises(ValueError, match=r"unknown scale 'laptp'; did you mean 'laptop'"):
        plan_study("thesis", scale="laptp")
    with pytest.raises(TypeError, match=r"unknown RunConfig field 'epoch'"):
        plan_study("thesis", settings={"epoch": 1})


def test_losses_are_compared_over_paired_seeds() -> None:
    configs = compare_losses([("cross_entropy", {}), ("focal", {"gamma": 1.0})], seeds=2, base=RunConfig(epochs=3))
    assert [(config.seed, config.loss, config.epochs) for config in configs] == [
        (0, "cross_entropy", 3), (0, "focal", 3), (1, "cross_entropy", 3), (1, "focal", 3),
    ]  # fmt: skip


def test_an_estimate_names_each_kind_of_run_and_the_data_that_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOSSBENCH_DATA", raising=False)
    monkeypatch.setenv("LOSSBENCH_CACHE", str(tmp_path))
    text = estimate(plan_study("thesis", ["shapes", "svhn"], 1), workers=2, device="cpu")
    rows = [line.split() for line in text.splitlines()]
    assert ["shapes", "small_cnn", "15"] in [row[:3] for row in rows]
    assert "with 2 workers on cpu" in text
    assert "missing: svhn: " in text
    assert "missing: shapes" not in text


def test_an_estimate_is_of_the_right_size(tmp_path: Path) -> None:
    config = RunConfig(epochs=2, train_size=1000)
    measured = lossbench.run(config, tmp_path, device="cpu").result["seconds"]
    from lossbench.estimate import measure
    from lossbench.machine import find_device

    estimated = 3600 * measure([config], find_device("cpu"), None).hours
    assert measured / 4 < estimated < 4 * measured


@pytest.mark.parametrize("loss", papers.FIRST_PULL)
def test_the_first_pull_is_the_length_of_the_gradient_beside_that_of_cross_entropy(loss: str) -> None:
    def pull(name: str) -> float:
        logits = torch.zeros(1, 10, dtype=torch.float64, requires_grad=True)
        return float(torch.autograd.grad(Criterion(name)(logits, torch.tensor([3])), logits)[0].norm())

    assert pull(loss) / pull("cross_entropy") == pytest.approx(papers.FIRST_PULL[loss], rel=1e-3)


def test_the_study_of_adma_also_matches_the_first_steps_under_sgd() -> None:
    plan = papers.adma(RunConfig(train_size=1_000))
    rates = {config.loss: config.lr for config in plan if config.optimizer == "sgd" and config.lr != 0.01}
    assert rates == {"adma": 0.0404, "mse": 0.5, "squared_hinge": 0.25}
