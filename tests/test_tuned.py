"""Losses tuned with equal budgets: the points, the choice, what is judged, and the study from its plan to its page."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from killing import quick_workers
from scipy import stats as scipy_stats
from scipy.stats import qmc
from typer.testing import CliRunner

from lossbench import LOSSES, RunConfig, load_runs, report
from lossbench.cli import app
from lossbench.losses import Criterion
from lossbench.records import archive
from lossbench.records.declaration import declared_tuned, finals_table, trials_table, widened_table
from lossbench.records.record import Record
from lossbench.report.matrix import TunedSetting
from lossbench.stats.tuning import best_of, best_of_band, choose, judge_finals, trial_scores, trials_to_pass
from lossbench.studies.execute import run_configs
from lossbench.studies.space import (
    DECAY,
    DEFAULT_RATES,
    RATES,
    TUNED_FIELDS,
    TUNED_LOSSES,
    Range,
    first_pull,
    outer_ends,
    tuned,
)
from lossbench.studies.tuned import TunedPlan, plan_tuned, run_tuned

pytestmark = pytest.mark.usefixtures("forked_workers")

ADAM, SGD = RunConfig(), RunConfig(optimizer="sgd")


def by_loss(configs: list[RunConfig]) -> dict[str, list[RunConfig]]:
    return {loss: [config for config in configs if config.loss == loss] for loss, _ in TUNED_LOSSES}


def test_the_first_trial_of_every_loss_is_its_default() -> None:
    for loss, configs in by_loss(tuned(ADAM)).items():
        assert configs[0] == RunConfig(loss=loss)


def test_every_loss_gets_the_same_points_of_scipys_sobol_sequence() -> None:
    shares = qmc.Sobol(4, scramble=True, seed=2).random_base2(4)[1:]
    for configs in by_loss(tuned(replace(ADAM, seed=2))).values():
        assert len(configs) == 16
        rates, decays = (np.array([getattr(config, name) for config in configs[1:]]) for name in TUNED_FIELDS)
        np.testing.assert_allclose(rates, 1e-4 * 300 ** shares[:, 0], rtol=6e-3)
        np.testing.assert_allclose(decays, 1e-6 * 1e4 ** shares[:, 1], rtol=6e-3)


def test_under_sgd_a_loss_with_a_weaker_gradient_gets_a_rate_as_much_larger() -> None:
    losses = by_loss(tuned(SGD))
    for loss, configs in losses.items():
        for config, reference in zip(configs, losses["cross_entropy"], strict=True):
            logits = torch.zeros(10, 10, dtype=torch.float64, requires_grad=True)
            criterion = Criterion(loss, num_classes=10, class_counts=torch.ones(10), **config.loss_params)
            length = torch.autograd.grad(criterion(logits, torch.arange(10)), logits)[0].norm(dim=1).mean().item()
            step, wanted = config.lr * length, reference.lr * np.sqrt(0.9**2 + 9 * 0.1**2) / 10
            assert step == pytest.approx(wanted, rel=6e-3)


@pytest.mark.parametrize("study", [0, 1, 2])
def test_a_losss_own_parameters_lie_in_the_range_that_it_declares(study: int) -> None:
    for loss, configs in by_loss(tuned(replace(ADAM, seed=study))).items():
        searched = [entry for entry in LOSSES[loss].parameters.values() if entry.search][:2]
        for entry in searched:
            values = [config.full_loss_params[entry.name] for config in configs[1:]]
            assert all(entry.search and entry.search.low <= value <= entry.search.high for value in values)
            assert len(set(values)) > 3
        changed = {name for config in configs for name in config.loss_params}
        assert changed <= {entry.name for entry in searched}


def test_an_extended_range_has_the_same_new_points_for_every_loss() -> None:
    plan = TunedPlan(ADAM, TUNED_LOSSES[:3])
    for end, low, high in (("lr high", 3e-2, 0.3), ("lr low", 1e-5, 1e-4)):
        extended = plan.points(end)
        assert len(extended) == 3 * 3 * 4
        assert all(low <= config.lr <= high for config in extended)
        assert len({config.lr for config in extended}) == 3 * 4
        assert not set(extended) & set(plan.points())


@pytest.mark.parametrize(
    ("change", "ends"),
    [
        ({"lr": 2.5e-2}, ["lr high"]),
        ({"lr": 1.5e-4, "weight_decay": 5e-3}, ["lr low", "weight_decay high"]),
        ({"loss": "focal", "loss_params": {"gamma": 4.9}}, ["gamma high"]),
        ({"lr": 2e-3, "weight_decay": 1e-4}, []),
        ({"optimizer": "sgd", "loss": "squared_hinge", "lr": 24.0}, ["lr high"]),
    ],
)
def test_a_winner_in_the_outer_tenth_of_a_range_is_named(change: dict[str, Any], ends: list[str]) -> None:
    assert list(outer_ends(replace(ADAM, **change))) == ends
    assert RATES["adam"].at(0) == 1e-4
    assert DECAY.at(1) == 1e-2


@pytest.mark.parametrize(
    ("losses", "settings", "message"),
    [
        ([], {"lr": 0.1}, "lr cannot be set in a tuned study"),
        ([], {"optimizer": "adadelta"}, r"unknown optimizer with a range of learning rates 'adadelta'; choose from"),
        ([("triplet", {})], {}, "triplet works on embeddings"),
        ([], {"selection": "best_test"}, "chooses by validation accuracy"),
        ([("focal", {}), ("focal", {"gamma": 1.0})], {}, "each loss is tuned once"),
    ],
)
def test_what_cannot_be_tuned_alike_is_refused(losses: list[Any], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_tuned(losses, (), settings)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "sgd_momentum", "sgd_plain"])
def test_every_optimizer_that_can_be_tuned_starts_inside_its_range(optimizer: str) -> None:
    for config in tuned(RunConfig(optimizer=optimizer), TUNED_LOSSES[:2]):
        assert not [end for end in outer_ends(config) if config.weight_decay == 0 and end.startswith("lr")]
        span = RATES[optimizer]
        pull = 1.0 if optimizer.startswith("adam") else first_pull(config.loss, config.loss_params, config.dataset)
        assert span.low * 0.99 <= config.lr * pull <= span.high * 1.01


def test_a_condition_that_leaves_too_few_images_is_refused_before_any_run(tmp_path: Path) -> None:
    """By hand: 90 images a class, of which 1, 50^(-1/3), 50^(-2/3) and 1/50 stay: 90 + 24 + 7 + 2."""
    [plan] = plan_tuned([], ["shapes"], {"train_size": 300}, conditions=({"imbalance": 50.0},))
    with pytest.raises(ValueError, match=r"between 1 and 123, the images that imbalance=50 leaves of 360 .*, got 300"):
        run_tuned(plan, tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="between 1 and 123, the images that imbalance=50 leaves"):
        run_configs([RunConfig(dataset="shapes", imbalance=50.0, train_size=124)], tmp_path)
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.1}, "another value of one of label_noise, noise_kind, .*, transfer, got lr"),
        ({"noise_kind": "asymmetric"}, "noise_kind=asymmetric changes nothing .*label_noise=0.4,noise_kind=asymmetric"),
        ({"train_size": 60}, "train_size=60 changes nothing"),
        ({}, "the condition nothing changes nothing"),
    ],
)
def test_a_condition_that_is_none_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_tuned([], ["shapes"], {"train_size": 60}, conditions=(changes,))


# The tables.


def trials_of(scores: dict[str, list[list[float]]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"loss": loss, "study": study, "point": point, "val_accuracy": score, "status": "finished"}
            for loss, studies in scores.items()
            for study, row in enumerate(studies)
            for point, score in enumerate(row)
        ]
    )


def test_the_expected_best_of_n_trials_is_the_mean_over_all_orders_behind_the_default() -> None:
    draws = np.random.default_rng(0)
    scores = draws.uniform(size=(2, 5)).round(2)
    orders = list(itertools.permutations(range(1, 5)))
    expected = [
        np.mean([max(row[[0, *order[:n]]]) for row in scores for order in orders]) for n in range(scores.shape[1])
    ]
    np.testing.assert_allclose(best_of(scores), expected)
    low, high = best_of_band(scores)
    assert (low <= high).all()
    assert high[-1] <= scores.max()


def test_the_choice_is_by_validation_accuracy_the_earliest_of_equals_and_never_a_diverged_trial() -> None:
    trials = trials_of({"focal": [[0.5, 0.9, 0.9, 0.99], [0.8, 0.1, 0.2, 0.3]]})
    trials.loc[3, "status"] = "diverged"
    trials = trials.assign(test_accuracy=1 - trials["val_accuracy"])
    assert list(choose(trials)["point"]) == [1, 0]
    assert trial_scores(trials)["focal"][0].tolist() == [0.5, 0.9, 0.9, 0.0]


def test_a_loss_passes_cross_entropy_from_the_first_trial_on_that_keeps_it_above() -> None:
    scores = {
        "cross_entropy": np.array([[0.5, 0.6, 0.6]]),
        "better": np.array([[0.6, 0.7, 0.7]]),
        "later": np.array([[0.4, 0.7, 0.7]]),
        "never": np.array([[0.9, 0.1, 0.1]]) * 0.5,
    }
    assert trials_to_pass(scores) == {"better": 1, "later": 2, "never": None}


def test_finals_are_averaged_within_a_study_and_judged_by_students_t_over_the_studies() -> None:
    draws = np.random.default_rng(1)
    rows = [
        {"loss": loss, "study": study, "seed": 1000 * (study + 1) + i, "status": "finished", "test_images": 2000,
         "test_accuracy": 0.8 + 0.02 * (loss == "focal") + 0.002 * draws.normal()}
        for loss in ("cross_entropy", "focal") for study in range(3) for i in range(5)
    ]  # fmt: skip
    finals = pd.DataFrame(rows)
    (row,) = judge_finals(finals).to_dict("records")
    means = finals.pivot_table(index="study", columns="loss", values="test_accuracy")
    expected = scipy_stats.ttest_1samp(means["focal"] - means["cross_entropy"], 0)
    assert (row["n"], row["draws"], row["verdict"]) == (15, 3, "better")
    assert row["p"] == pytest.approx(expected.pvalue)
    assert (row["low"], row["high"]) == pytest.approx(tuple(expected.confidence_interval()))


# A whole study.


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[TunedPlan, Path]:
    output = tmp_path_factory.mktemp("tuned")
    [plan] = plan_tuned(
        [("focal", {})], ["shapes"], {"epochs": 2, "train_size": 60}, trials=4, studies=2, finals=2, widen=False
    )
    with pytest.MonkeyPatch.context() as patch:
        quick_workers(patch)
        assert not run_tuned(plan, output, workers=1, show_progress=False, shard="1/2").summary.failed
        [halfway] = declared_tuned(output)
        assert not halfway.winners, "no choice before the last trial"
        result = run_tuned(plan, output, workers=1, show_progress=False)
    assert result.table is not None
    assert list(result.table["n"]) == [4]
    return plan, output


def test_a_study_is_declared_before_its_runs_and_chooses_by_validation(study: tuple[TunedPlan, Path]) -> None:
    plan, output = study
    [declaration] = declared_tuned(output)
    assert declaration.finished_before == 0
    assert [row["run_id"] for row in declaration.runs] == [config.run_id for config in plan.points()]
    runs = load_runs(output)
    trials, finals = trials_table(runs, declaration), finals_table(runs, declaration)
    assert (len(trials), len(finals)) == (2 * 2 * 4, 2 * 2 * 2)
    assert not set(finals["seed"]) & set(trials["seed"])
    for winner in declaration.winners:
        mine = trials[(trials["loss"] == winner["loss"]) & (trials["study"] == winner["study"])]
        own = mine[mine["run_id"] == winner["run_id"]]
        assert own["val_accuracy"].item() == mine["val_accuracy"].max()
        repeated = finals[finals["run_id"].isin(winner["finals"])]
        assert set(repeated["lr"]) == set(own["lr"])
    paired = finals.groupby(["study", "seed"])["loss"].nunique()
    assert (paired == 2).all()


def test_the_same_study_again_runs_nothing_and_keeps_its_plan(study: tuple[TunedPlan, Path]) -> None:
    plan, output = study
    before = (output / "study-plan.json").read_bytes()
    result = run_tuned(plan, output, workers=1, show_progress=False)
    assert (result.summary.finished, result.summary.skipped) == (0, 24)
    assert (output / "study-plan.json").read_bytes() == before
    [declaration] = declared_tuned(output)
    older = {name: value for name, value in declaration.setting.items() if name != "augmentation"}
    assert replace(declaration, setting=older).plan == declaration.plan, "a later version may have more fields"
    changed = replace(plan, margin=0.01)
    assert changed.declaration().plan != plan.declaration().plan


def test_the_winners_run_again_under_another_condition_on_the_seeds_of_the_finals(
    study: tuple[TunedPlan, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, output = study
    [before] = declared_tuned(output)
    run_tuned(replace(plan, conditions=({"label_noise": 0.4},)), output, workers=1, show_progress=False)
    [declaration] = declared_tuned(output)
    assert declaration.digest == before.digest
    runs = load_runs(output)
    [condition] = declaration.conditions
    clean, noisy = finals_table(runs, declaration), finals_table(runs, declaration, condition)
    assert set(noisy["label_noise"]) == {0.4}
    columns = ["study", "loss", "seed", "lr", "weight_decay"]
    assert noisy[columns].equals(clean[columns])
    monkeypatch.setattr(report.page.drawing, "draw", lambda *_: [])
    page = report.build(output, tmp_path, pdf=False).read_text(encoding="utf-8")
    assert "At the tuned rates: 40 % wrong targets" in page


def test_a_condition_that_is_added_later_runs_only_its_own_runs(study: tuple[TunedPlan, Path]) -> None:
    """Two losses, two studies, two finals: eight runs a condition, whatever stands there already."""
    plan, output = study
    later: tuple[dict[str, Any], ...] = (
        {"label_noise": 0.4, "noise_kind": "asymmetric"}, {"imbalance": 10.0}, {"train_size": 40},
        {"transfer": "sign-digits-mini"},
    )  # fmt: skip
    for i, changes in enumerate(later):
        known = {condition["time"] for entry in declared_tuned(output) for condition in entry.conditions}
        summary = run_tuned(replace(plan, conditions=later[: i + 1]), output, workers=1, show_progress=False).summary
        assert (summary.finished, summary.skipped) == (8, 24 + 8 * i)
        [declaration] = declared_tuned(output)
        assert known <= {condition["time"] for condition in declaration.conditions}
        finals = finals_table(load_runs(output), declaration, declaration.conditions[-1])
        assert all((finals[name] == value).all() for name, value in changes.items())


def test_a_study_under_sgd_gives_each_loss_rates_by_its_first_pull(tmp_path: Path) -> None:
    command = "study tuned --dataset fashion-mini --epochs 1 --train-size 100 --set optimizer=sgd --loss square_loss"
    budget = ["--trials", "2", "--studies", "1", "--finals", "1", "--no-widen", "--workers", "1"]
    done = CliRunner().invoke(app, [*command.split(), *budget, "--output", str(tmp_path)])
    assert done.exit_code == 0, done.output
    [declaration] = declared_tuned(tmp_path)
    runs = load_runs(tmp_path)
    assert len(runs) == 2 * 2 + 2
    assert set(runs["optimizer"]) == {"sgd"}
    # By hand, on zero logits over 10 classes: cross-entropy pulls by p - y, square loss by 2 / C on the target alone.
    factor = np.sqrt(0.9**2 + 9 * 0.1**2) / 0.2
    assert declaration.space["lr_factor"]["square_loss"] == pytest.approx(factor, rel=1e-5)
    defaults = trials_table(runs, declaration).query("point == 0").set_index("loss")["lr"]
    assert defaults["cross_entropy"] == DEFAULT_RATES["sgd"]
    assert defaults["square_loss"] == pytest.approx(factor * DEFAULT_RATES["sgd"], rel=6e-3)


def test_a_winner_in_the_outer_tenth_extends_the_range_for_all_losses_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rates far too small: the largest wins, so the range grows upwards by a factor of ten, and no further."""
    monkeypatch.setitem(RATES, "adam", Range(1e-7, 1e-5))
    monkeypatch.setitem(DEFAULT_RATES, "adam", 9e-6)
    settings = {"epochs": 2, "train_size": 100}
    [plan] = plan_tuned([("focal", {})], ["shapes"], settings, trials=4, studies=1, finals=1)
    told: list[str] = []
    result = run_tuned(plan, tmp_path, say=told.append, workers=1, show_progress=False)
    [declaration] = declared_tuned(tmp_path)
    high = [row for row in declaration.widened if row["end"] == "lr high"]
    assert {row["loss"] for row in high} == {"cross_entropy", "focal"}
    assert "lr high: a winner lies in the outer tenth, so the range is extended for all losses by 2 trials" in told
    runs = load_runs(tmp_path)
    widened = runs[runs["run_id"].isin([row["run_id"] for row in high])]
    assert widened["lr"].between(1e-5, 1e-4).all()
    assert widened["lr"].nunique() == 1
    assert runs["lr"].max() <= 1e-4
    trials = runs[runs["run_id"].isin([row["run_id"] for row in [*declaration.runs, *declaration.widened]])]
    for winner in declaration.winners:
        mine = trials[trials["loss"] == winner["loss"]]
        assert mine.set_index("run_id")["val_accuracy"][winner["run_id"]] == mine["val_accuracy"].max()
    assert any(row["ends"] for row in declaration.winners) == bool(result.notes)
    again = run_tuned(plan, tmp_path, workers=1, show_progress=False).summary
    assert again.finished == 0, "the range is extended once"
    page = report.build(tmp_path, tmp_path / "page", pdf=False).read_text(encoding="utf-8")
    assert "beyond lr high" in page


def test_the_page_and_the_packed_study_carry_the_declared_plan(study: tuple[TunedPlan, Path], tmp_path: Path) -> None:
    _, output = study
    [declaration] = declared_tuned(output)
    packed = archive.pack(output, tmp_path / "packed")
    assert declared_tuned(packed) == [declaration]
    assert archive.pack(output, packed) == packed, "packed once more into the same place"
    left = archive.load_tables(packed)
    trials = {trial["run_id"] for trial in declaration.runs}
    assert trials < set(left.runs["run_id"])
    assert set(left.reliability["run_id"]) == set(left.runs["run_id"]) - trials, "trials are judged by validation"
    for source in (output, packed):
        page = tmp_path / "page"
        assert report.build(source, page, pdf=False) == page / "tuned.html"
        text = (page / "tuned.html").read_text(encoding="utf-8")
        assert declaration.digest in text
        assert "Tuned against tuned" in text
        shown = pd.read_csv(page / "tables" / "tuned-answer-1-questions.csv")
        assert shown[shown["question"] == "clean"]["n"].tolist() == [4]
        assert (page / "tables" / "tuned-answer-1-fates.csv").exists()
        assert (page / "tables" / "tuned-1-gains.csv").exists()
        assert (page / "figures" / "tuned-1-best-of-n.png").exists()
        assert not (page / "report.html").exists()


def test_a_dry_run_lists_the_trials_that_are_left(study: tuple[TunedPlan, Path], tmp_path: Path) -> None:
    plan, _ = study
    command = "study tuned --dataset shapes --epochs 2 --train-size 60 --loss focal --trials 4 --studies 2 --finals 2"
    printed = CliRunner().invoke(app, [*command.split(), "--dry-run", "--output", str(tmp_path)])
    assert printed.stdout.split() == [config.run_id for config in plan.points()]
    assert "then 8 finals" in printed.stderr
    assert not list(tmp_path.iterdir())


def test_a_damaged_plan_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study-plan.json").write_text(json.dumps({"settings": [], "tuned": [{"what": 1}]}))
    with pytest.raises(ValueError, match="is damaged"):
        declared_tuned(tmp_path)
    assert not Record(tmp_path / "runs" / "none").finished


COMMITTED = Path(__file__).parents[1] / "outputs" / "tuned"


@pytest.mark.parametrize("folder", sorted(COMMITTED.iterdir()), ids=lambda folder: folder.name)
def test_a_committed_study_has_all_runs_that_it_declared_before_them(folder: Path) -> None:
    runs, plans = load_runs(folder), declared_tuned(folder)
    assert plans[0].finished_before == 0
    note = json.loads((folder / "study.json").read_text())["note"]
    for plan in plans:
        if not plan.winners:  # given up, and said so
            assert plan.digest[:12] in note
            continue
        assert len(trials_table(runs, plan)) == len(plan.runs) == plan.trials * plan.studies * len(plan.losses)
        finals = finals_table(runs, plan)
        assert len(finals) == plan.finals * plan.studies * len(plan.losses)
        chosen = choose(pd.concat([trials_table(runs, plan), widened_table(runs, plan)], ignore_index=True))
        assert set(chosen["run_id"]) == {winner["run_id"] for winner in plan.winners}
        assert set(judge_finals(finals)["n"]) == {plan.finals * plan.studies}


@pytest.mark.parametrize(
    ("settings", "questions"),
    [
        ({}, {"clean": "test_accuracy", "calibration": "test_ece"}),
        ({"label_noise": 0.4}, {"tuned on 40 % wrong targets": "test_accuracy"}),
        ({"imbalance": 100.0}, {"tuned on tail 100:1": "test_macro_f1"}),
        (
            {"dataset": "ham10000-5984"},
            {"clean": "test_accuracy", "tail 72:1": "test_macro_f1", "calibration": "test_ece"},
        ),
    ],
)
def test_the_finals_answer_the_question_of_the_images_that_the_losses_were_tuned_on(
    settings: dict[str, Any], questions: dict[str, str]
) -> None:
    plan = TunedPlan(RunConfig(**settings)).declaration()
    nothing = pd.DataFrame()
    setting = TunedSetting((plan,), nothing, nothing, nothing, {}, 0, 0, 0)
    assert {question: metric for question, (metric, _) in setting.questions().items()} == questions
    assert setting.name.endswith(f", {setting.base}") == (setting.base != "clean")
