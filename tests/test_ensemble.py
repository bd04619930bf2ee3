"""Members trained together become what they become alone: weights, statistics, optimizer states and histories."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lossbench
from lossbench import MODELS, RunConfig, run
from lossbench.data import Split, load
from lossbench.losses import Criterion
from lossbench.models import ModelEntry
from lossbench.records.lease import hold
from lossbench.records.record import Record
from lossbench.studies import ensemble as engine
from lossbench.studies.ensemble import plan
from lossbench.studies.execute import Board, run_configs
from lossbench.training.ensemble import clip_each, shared_settings, shared_state, train_together
from lossbench.training.loop import Diverged, Training, train
from lossbench.training.run import Splits, prepare, start

TINY = RunConfig(dataset="shapes", epochs=2, batch_size=16, train_size=40)
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def build(config: RunConfig, splits: Splits) -> Training:
    """A run in float64, in which separate and batched arithmetic differ by 1e-16 a step."""
    training = start(config, load(config.dataset), splits.train, splits.train.images.device)
    training.model.double()
    training.criterion.double()
    training.normalise.mean, training.normalise.std = training.normalise.mean.double(), training.normalise.std.double()
    return training


def few(config: RunConfig, device: str = "cpu", scored: int = 40) -> Splits:
    splits = prepare(config, load(config.dataset), torch.device(device))
    return replace(splits, scored=Split(splits.scored.images[:scored], splits.scored.target[:scored]))


def train_alone(configs: Sequence[RunConfig], splits: Splits) -> list[Training]:
    trainings = []
    for config in configs:
        trainings.append(build(config, splits))
        for _ in train(trainings[-1], splits.train, splits.scored, splits.prefix):
            pass
    return trainings


def train_all_together(members: list[Training], splits: Splits, epochs: int = 2) -> list[Training]:
    for _ in range(epochs):
        for answer in train_together(members, splits.train, splits.scored, splits.prefix):
            assert isinstance(answer, dict), answer
    return members


def numbers(training: Training) -> Iterator[tuple[str, torch.Tensor]]:
    """Everything that a run has after training, by name."""
    for part in ("model", "criterion"):
        for name, value in getattr(training, part).state_dict().items():
            yield f"{part}.{name}", value
        for name, value in training.best_state[part].items():
            yield f"best {part}.{name}", value
    for index, state in training.optimizer.state_dict()["state"].items():
        for key, value in state.items():
            yield f"optimizer.{index}.{key}", value
    for row in training.history:
        for key, value in row.items():
            yield f"{key} of epoch {row['epoch']}", torch.tensor(value, dtype=torch.float64)
    yield "order", training.order.get_state()
    yield "augmentation", training.augmentation.get_state()
    yield "rate", torch.tensor(training.optimizer.param_groups[0]["lr"])


def assert_equal(alone: Training, together: Training, tolerance: float = 1e-8) -> None:
    theirs, ours = dict(numbers(alone)), dict(numbers(together))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name].dtype == value.dtype
        gap = (ours[name].double() - value.double()).abs().max().item()
        assert gap <= tolerance, f"{alone.config.run_id}: {name} differs by {gap:.1e}"


EVERY_KIND = [
    {"loss": "cross_entropy"},
    {"loss": "focal", "loss_params": {"gamma": 0.5}, "probability": "taylor_softmax"},
    {"loss": "mse", "probability": "soft_margin_softmax"},
    {"loss": "adma", "loss_params": {"learnable": True}, "weight_decay": 1e-2},
    {"loss": "proxy_nca"},
    {"loss": "triplet", "weight_decay": 1e-2},
    {"loss": "margin", "loss_params": {"learn_b": True}, "clip_norm": 0.5},
    {"loss": "false_positive", "loss_params": {"alpha": "dataset"}, "optimizer": "sgd", "lr": 0.01, "clip_norm": 0.1},
    {"loss": "js_divergence", "optimizer": "adadelta", "weight_decay": 0.1, "weight_decay_on": "convolutions"},
    {"loss": "squared_hinge", "scheduler": "step", "lr": 1e-2},
    {"loss": "ldam", "loss_params": {"defer": 0.5}},
    {"loss": "focal", "optimizer": "adamw", "weight_decay": 0.1, "warmup_epochs": 1},
    {"loss": "mse", "optimizer": "adamw", "weight_decay": 0.1, "warmup_epochs": 1, "class_weight": "inverse"},
    {"loss": "cross_entropy", "optimizer": "sgd_plain", "lr": 0.1, "scheduler": "one_cycle", "label_smoothing": 0.1},
    {"loss": "cross_entropy", "optimizer": "sgd_momentum", "lr": 0.01},
]  # fmt: skip


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("augmentation", ["none", "thesis"])
def test_every_kind_of_loss_and_optimizer_learns_what_it_learns_alone(device: str, augmentation: str) -> None:
    configs = [replace(TINY, augmentation=augmentation, **options) for options in EVERY_KIND]
    splits = few(configs[0], device)
    together = train_all_together([build(config, splits) for config in configs], splits)
    for alone, member in zip(train_alone(configs, splits), together, strict=True):
        assert_equal(alone, member)


def test_members_see_one_balanced_draw() -> None:
    uneven = replace(TINY, sampler="balanced", imbalance=4.0)
    configs = [uneven, replace(uneven, loss="focal")]
    splits = few(configs[0], "cpu")
    together = train_all_together([build(config, splits) for config in configs], splits)
    for alone, member in zip(train_alone(configs, splits), together, strict=True):
        assert_equal(alone, member)


def without_batch_norm(in_channels: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(in_channels, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(392, 16))


@pytest.fixture
def plain_model(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = ModelEntry("plain", without_batch_norm, 16, 0, "no batch normalisation", "here", dropout=0.3)
    monkeypatch.setitem(MODELS, "plain", entry)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("plain", {"train_size": 40}),
        ("convnet", {"train_size": 32}),  # dropout on maps and before the head
        ("convnet", {"train_size": 32, "trainable": "last5"}),  # what is frozen drops and counts nothing
        ("small_cnn_cosine", {"train_size": 40, "trainable": "head"}),
        ("resnet18", {"train_size": 8, "batch_size": 4}),
    ],
    ids=str,
)
@pytest.mark.usefixtures("plain_model")
def test_every_kind_of_model_learns_what_it_learns_alone(model: str, options: dict[str, object], device: str) -> None:
    config = replace(TINY, model=model, **options)
    configs = [config, replace(config, loss="mse")]
    splits = few(config, device, scored=8)
    together = train_all_together([build(config, splits) for config in configs], splits)
    for alone, member in zip(train_alone(configs, splits), together, strict=True):
        assert_equal(alone, member)


def test_batch_statistics_are_each_members_own() -> None:
    configs = [TINY, replace(TINY, loss="mse")]
    splits = few(TINY)
    first, second = train_all_together([build(config, splits) for config in configs], splits)
    layers = [layer for layer in first.model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert [int(layer.num_batches_tracked) for layer in layers] == [6, 6], "three batches in two epochs"
    ours, theirs = first.model.state_dict(), second.model.state_dict()
    deep = [name for name in ours if name.endswith("running_mean")][1]
    assert not torch.equal(ours[deep], theirs[deep])


def test_a_member_that_diverges_leaves_the_others_as_they_are() -> None:
    wild = replace(TINY, optimizer="sgd", lr=1e200)
    configs = [TINY, wild, replace(TINY, loss="focal")]
    splits = few(TINY)
    members = [build(config, splits) for config in configs]
    answers = train_together(members, splits.train, splits.scored, splits.prefix)
    assert [type(answer) for answer in answers] == [dict, Diverged, dict]
    assert not members[1].history
    with pytest.raises(Diverged) as alone:
        train_alone([wild], splits)
    assert str(answers[1]) == str(alone.value)
    rest = train_all_together([members[0], members[2]], splits, epochs=1)
    for single, member in zip(train_alone([configs[0], configs[2]], splits), rest, strict=True):
        assert_equal(single, member)


def test_a_state_taken_after_an_epoch_goes_on_alone_or_together() -> None:
    config = replace(TINY, model="convnet_plain", loss="proxy_nca", train_size=32)
    configs = [config, replace(config, loss="margin")]
    splits = few(config, scored=8)
    members = train_all_together([build(config, splits) for config in configs], splits, epochs=1)
    states = copy.deepcopy([member.state_dict() for member in members])
    alone = train_alone(configs, splits)
    again = [build(config, splits) for config in configs]
    for member, state in zip(again, states, strict=True):
        member.load_state_dict(copy.deepcopy(state))
    for single, member in zip(alone, train_all_together(again, splits, epochs=1), strict=True):
        assert_equal(single, member)
    single = build(config, splits)
    single.load_state_dict(copy.deepcopy(states[0]))
    for _ in train(single, splits.train, splits.scored, splits.prefix):
        pass
    assert_equal(alone[0], single)


def test_what_is_handed_back_lies_in_memory_as_the_weights_do() -> None:
    """The fused optimizers go through memory, not through indices: another order would mix up a kernel's numbers."""
    splits = few(TINY)
    (member,) = train_all_together([build(TINY, splits)], splits, epochs=1)
    kernel = member.model.get_parameter("body.0.weight")
    assert member.optimizer.state[kernel]["exp_avg"].stride() == kernel.stride()


def test_training_together_warns_of_nothing() -> None:
    splits = few(TINY)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train_all_together([build(replace(TINY, loss=loss), splits) for loss in ("focal", "triplet")], splits)


def test_each_members_gradient_is_shortened_as_torch_does_it() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 4, 2), (3,), (3, 5)]
    gradients = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    gradients[0][1] *= 1e-3  # a member whose gradient is short enough
    gradients[1][1] = gradients[2][1] = 1e-3
    expected = []
    for member in range(3):
        parameters = [torch.zeros_like(gradient[member], requires_grad=True) for gradient in gradients]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient[member].clone()
        nn.utils.clip_grad_norm_(parameters, 0.7)
        expected.append([parameter.grad for parameter in parameters])
    clip_each(gradients, 0.7)
    for member, parts in enumerate(expected):
        for gradient, part in zip(gradients, parts, strict=True):
            torch.testing.assert_close(gradient[member], part, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("options", "together"),
    [
        ({"loss": "adma"}, True),
        ({"probability": "taylor_softmax"}, True),
        ({"optimizer": "sgd", "lr": 0.1, "clip_norm": 1.0, "patience": 3}, True),
        ({"seed": 1}, False),
        ({"batch_size": 8}, False),
        ({"label_noise": 0.1}, False),
        ({"model": "small_cnn_cosine"}, False),
        ({"trainable": "head"}, False),
        ({"selection": "best_test"}, False),
    ],
    ids=str,
)
def test_only_runs_on_the_same_images_and_model_are_trained_together(
    options: dict[str, object], together: bool
) -> None:
    assert (shared_settings(TINY) == shared_settings(replace(TINY, **options))) == together


def test_members_with_other_outputs_or_at_another_epoch_are_kept_apart() -> None:
    tree = {"root": ["round", "straight"], "round": ["disc", "ring"], "straight": ["square", "cross"]}
    losses = [("cross_entropy", {}), ("focal", {}), ("hierarchical_cross_entropy", {"tree": tree})]
    splits = few(TINY)
    members = [build(replace(TINY, loss=loss, loss_params=params), splits) for loss, params in losses]
    states = [shared_state(member) for member in members]
    assert states[0] == states[1] != states[2]
    train_together(members[:1], splits.train, splits.scored, splits.prefix)
    assert shared_state(members[0]) != states[1]


# The ensemble engine leaves records like those of single runs, loses nothing when stopped, and gives way to others.

TINY_STUDY = RunConfig(dataset="shapes", epochs=2, train_size=100)
THREE = [
    TINY_STUDY,
    replace(TINY_STUDY, loss="adma", loss_params={"learnable": True}),
    replace(TINY_STUDY, loss="proxy_nca"),
]


def execute(configs: list[RunConfig], output: Path, **options: Any) -> lossbench.Summary:
    return run_configs(configs, output, engine="ensemble", device="cpu", show_progress=False, **options)


@pytest.fixture
def together_engine_ensemble(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The losses of each epoch that is trained together, in order."""
    calls: list[list[str]] = []
    real = engine.train_together

    def record(members: list[Any], *arguments: Any) -> Any:
        calls.append([member.config.loss for member in members])
        return real(members, *arguments)

    monkeypatch.setattr(engine, "train_together", record)
    return calls


def test_records_are_those_of_single_runs_but_for_rounding(
    tmp_path: Path, together_engine_ensemble: list[list[str]]
) -> None:
    summary = execute(THREE, tmp_path / "together")
    assert (summary.finished, summary.exit_code) == (3, 0)
    assert together_engine_ensemble == [["cross_entropy", "adma", "proxy_nca"]] * 2
    for config in THREE:
        single, member = run(config, tmp_path / "alone"), Record.of(config, tmp_path / "together")
        assert {path.name for path in member.path.iterdir()} == {path.name for path in single.path.iterdir()}
        assert member.config == single.config
        assert list(member.history.columns) == list(single.history.columns)
        np.testing.assert_allclose(member.history, single.history, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(member.predictions[1], single.predictions[1], atol=0.01)
        ours, theirs = member.result, single.result
        assert (ours.pop("engine"), "engine" in theirs) == ("ensemble", False)  # its numbers are rounded otherwise
        assert list(ours) == list(theirs)
        assert {key: type(value) for key, value in ours.items()} == {key: type(value) for key, value in theirs.items()}
        same = ("run_id", "status", "best_epoch", "num_parameters", "dataset_fingerprint", "events", "train_images")
        assert {key: ours[key] for key in same} == {key: theirs[key] for key in same}
        assert ours["test_accuracy"] == pytest.approx(theirs["test_accuracy"], abs=0.01)
    runs = [lossbench.load_runs(tmp_path / name) for name in ("together", "alone")]
    assert list(runs[0].drop(columns="engine").columns) == list(runs[1].columns)
    assert list(runs[0]["run_id"]) == list(runs[1]["run_id"])


def test_the_plan_puts_together_what_shares_images_and_model() -> None:
    configs = [replace(TINY_STUDY, seed=seed, loss=loss) for loss in ("mse", "focal", "adma") for seed in (0, 1)]
    assert [[config.seed for config in group] for group in plan(configs, None)] == [[0, 0, 0], [1, 1, 1]]
    assert [len(group) for group in plan(configs, 2)] == [2, 1, 2, 1]
    assert {config.run_id for group in plan(configs, 2) for config in group} == {config.run_id for config in configs}


def test_a_diverging_member_is_recorded_and_the_others_finish(
    tmp_path: Path, together_engine_ensemble: list[list[str]]
) -> None:
    wild = replace(TINY_STUDY, optimizer="sgd", lr=1e30)
    summary = execute([TINY_STUDY, wild, replace(TINY_STUDY, loss="focal")], tmp_path)
    assert (summary.finished, summary.diverged, summary.exit_code) == (2, 1, 0)
    assert together_engine_ensemble == [["cross_entropy", "cross_entropy", "focal"], ["cross_entropy", "focal"]]
    result = Record.of(wild, tmp_path).result
    assert (result["status"], result["epochs_done"], result["test_accuracy"]) == ("diverged", 0, None)


def test_a_patient_member_leaves_early_and_a_longer_one_stays(
    tmp_path: Path, together_engine_ensemble: list[list[str]]
) -> None:
    short, long = replace(TINY_STUDY, epochs=1), replace(TINY_STUDY, epochs=3, loss="focal")
    patient = replace(TINY_STUDY, epochs=3, patience=1, loss="mse", lr=1e-12)
    assert execute([short, long, patient], tmp_path).finished == 3
    assert together_engine_ensemble == [["cross_entropy", "focal", "mse"], ["focal", "mse"], ["focal"]]
    assert [Record.of(config, tmp_path).result["epochs_done"] for config in (short, long, patient)] == [1, 3, 2]


def test_a_stopped_study_goes_on_from_its_last_epoch(
    tmp_path: Path, together_engine_ensemble: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = [replace(config, model="convnet", train_size=32, batch_size=16) for config in THREE[:2]]
    whole = tmp_path / "whole"
    execute(configs, whole)
    together_engine_ensemble.clear()
    real = Board.epoch
    monkeypatch.setattr(Board, "epoch", lambda self, config, epoch: (real(self, config, epoch), self.stopping.set()))
    assert execute(configs, tmp_path / "broken").finished == 0
    assert len(together_engine_ensemble) == 1
    monkeypatch.undo()
    assert execute(configs, tmp_path / "broken").finished == 2
    for config in configs:
        ours, theirs = Record.of(config, tmp_path / "broken").history, Record.of(config, whole).history
        np.testing.assert_allclose(
            ours, theirs, rtol=1e-4, atol=1e-4, err_msg="dropout and order go on where they were"
        )
    assert not list((tmp_path / "broken" / "runs").glob("*/checkpoint*")), "no checkpoint outlives its run"
    assert not list((tmp_path / "broken" / "runs").glob("*/lease*"))


def test_a_run_alone_does_not_silently_go_on_from_an_ensembles_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Board, "epoch", lambda self, config, epoch: self.stopping.set())
    execute(THREE[:2], tmp_path)
    with pytest.raises(ValueError, match="device cpu, ensemble"):
        run(TINY_STUDY, tmp_path, device="cpu")
    record = run(TINY_STUDY, tmp_path, device="cpu", resume="anyway")
    assert len(record.history) == 2


KILLED = """
import os, sys
from lossbench import RunConfig
from lossbench.studies import ensemble; from lossbench.studies.execute import run_configs
tiny = {"dataset": "shapes", "train_size": 100}
configs = [RunConfig(**tiny, epochs=epochs, loss=loss) for epochs, loss in ((1, "mse"), (3, "focal"))]
real = ensemble.train_together
def train(members, *arguments):
    if members[0].epoch == 2:
        os.kill(os.getpid(), 9)
    return real(members, *arguments)
ensemble.train_together = train
run_configs(configs, sys.argv[1], engine="ensemble", device="cpu", show_progress=False)
"""


def test_a_killed_study_keeps_finished_members_and_loses_an_epoch_at_most(
    tmp_path: Path, together_engine_ensemble: list[list[str]]
) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=environment, check=False).returncode == -9
    configs = [replace(TINY_STUDY, epochs=epochs, loss=loss) for epochs, loss in ((1, "mse"), (3, "focal"))]
    assert [Record.of(config, tmp_path).finished for config in configs] == [True, False]
    run_alone = execute(configs, tmp_path)
    assert (run_alone.skipped, run_alone.finished) == (1, 1)
    history = Record.of(configs[1], tmp_path).history
    assert list(history["epoch"]) == [1, 2, 3]


def test_what_cannot_be_trained_together_is_trained_alone_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def fails(members: list[Any], *arguments: Any) -> Any:
        raise torch.OutOfMemoryError("no room for so many")

    monkeypatch.setattr(engine, "train_together", fails)
    monkeypatch.setattr(Board, "say", lambda self, text: said.append(text))
    assert execute(THREE, tmp_path).finished == 3
    assert next(text for text in said if "no room" in text).startswith("3 runs cannot be trained together")


def test_one_broken_loss_does_not_take_the_others_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Criterion.forward

    def forward(self: Criterion, inputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if self.entry.name == "adma":
            raise RuntimeError("adma is broken")
        return real(self, inputs, target)

    monkeypatch.setattr(Criterion, "forward", forward)
    summary = execute(THREE, tmp_path)
    assert summary.finished == 2
    assert summary.failed == {THREE[1].run_id: "RuntimeError: adma is broken"}
    assert summary.exit_code == 1


def test_a_run_that_another_process_does_is_left_to_it_and_waited_for(
    tmp_path: Path, together_engine_ensemble: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "HELD_SECONDS", 0.01)
    other = Record.of(TINY_STUDY, tmp_path)
    claim = hold(other.path)
    claim.__enter__()
    real = Board.done

    def done(self: Board, config: RunConfig, answer: dict[str, Any]) -> None:
        real(self, config, answer)
        if self.summary.finished == 2:  # the others have not waited for it
            claim.__exit__(None, None, None)

    monkeypatch.setattr(Board, "done", done)
    assert execute(THREE, tmp_path).finished == 3
    assert together_engine_ensemble[0] == ["adma", "proxy_nca"]
    assert json.loads((other.path / "result.json").read_text())["status"] == "finished"


def test_members_of_a_tree_with_more_outputs_are_trained_apart(
    tmp_path: Path, together_engine_ensemble: list[list[str]]
) -> None:
    tree = {"root": ["round", "straight"], "round": ["disc", "ring"], "straight": ["square", "cross"]}
    nodes = [replace(TINY_STUDY, epochs=1, loss="hierarchical_cross_entropy", loss_params={"tree": tree, "mode": mode})
             for mode in ("conditional", "flat_nodes")]  # fmt: skip
    assert execute([replace(TINY_STUDY, epochs=1), *nodes], tmp_path).finished == 3
    assert [len(losses) for losses in together_engine_ensemble] == [1, 2]


@pytest.mark.usefixtures("leave_no_trace")
def test_what_a_loss_does_to_torch_ends_with_the_ensemble(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    extension = tmp_path / "changes.py"
    extension.write_text(
        "import torch\nfrom lossbench.losses import register\n\n@register\ndef changes_dtype(log_probs, target):\n"
        "    torch.set_default_dtype(torch.float64)\n    return -log_probs.gather(1, target[:, None]).squeeze(1)\n"
    )
    lossbench.extend(extension)
    summary = execute([TINY_STUDY, replace(TINY_STUDY, loss="changes_dtype")], tmp_path)
    assert (summary.finished, torch.get_default_dtype()) == (2, torch.float32)
    assert torch.equal(torch.get_rng_state(), before)
