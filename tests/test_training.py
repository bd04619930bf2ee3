"""One run: the same config gives the same bits, whatever interrupts it; what is wrong is said before training."""

from __future__ import annotations

import copy
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from killing import fork, quick_workers, start_anew
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from typer.testing import CliRunner

import lossbench
import lossbench.training.run
from lossbench import LOSSES, PROBABILITIES, RunConfig, load_runs, run
from lossbench.cli import app
from lossbench.data import Dataset, load, stratified_split
from lossbench.data.augmentation import AUGMENTATIONS
from lossbench.losses import Criterion, criterion, register
from lossbench.records.record import Record
from lossbench.studies.execute import run_configs
from lossbench.training import loop, machine, precision
from lossbench.training.checkpoint import save_streams, undisturbed
from lossbench.training.ensemble import Stack
from lossbench.training.loop import Training, build_optimizer, evaluate, full_batches, predict, train, train_step
from lossbench.training.machine import (
    computes_bfloat16,
    describe_machine,
    find_device,
    peak_memory_mb,
    usable_cores,
    warn_of_slow_precision,
)
from lossbench.training.run import prepare
from lossbench.training.run import start as run_start
from lossbench.training.tensorboard import event_writer

TINY = RunConfig(dataset="shapes", epochs=3, batch_size=16, embedding_scores=False)
CPU = torch.device("cpu")


@cache
def weights(config: RunConfig) -> dict[str, torch.Tensor]:
    dataset = load(config.dataset)
    return run_start(config, dataset, prepare(config, dataset, CPU).train, CPU).model.body.state_dict()


def test_a_run_writes_a_whole_record_whose_scores_are_those_of_its_predictions(tmp_path: Path) -> None:
    record = run(TINY, tmp_path)
    names = {path.name for path in record.path.iterdir()}
    assert names == {"config.json", "history.csv", "predictions.npz", "result.json"}
    assert record.config == TINY
    assert list(record.history.columns) == [
        "epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_nll", "val_accuracy",
    ]  # fmt: skip
    result = record.result
    assert result["status"] == "finished"
    assert result["val_accuracy"] == record.history["val_accuracy"].max()
    assert result["best_epoch"] == record.history["val_accuracy"].argmax() + 1, "the first epoch with the best score"
    target, log_probs = record.predictions
    probs = np.exp(log_probs.astype(np.float64))
    assert result["test_accuracy"] == pytest.approx(accuracy_score(target, log_probs.argmax(1)), abs=1e-7)
    assert result["test_nll"] == pytest.approx(log_loss(target, probs / probs.sum(1, keepdims=True)), abs=1e-5)
    assert result["test_accuracy"] > 0.9, "shapes are easy"
    again = run(TINY, tmp_path, progress=stop_after(1))
    assert again.result == result, "a finished run is not run again"


def test_another_seed_gives_another_history(tmp_path: Path) -> None:
    histories = {run(replace(TINY, seed=seed), tmp_path).history.to_csv() for seed in range(3)}
    assert len(histories) == 3


def test_cross_entropy_and_kl_divergence_are_one_function_and_js_divergence_is_another(tmp_path: Path) -> None:
    losses = ("cross_entropy", "kl_divergence", "js_divergence")
    first, twin, other = (
        (run(replace(TINY, loss=loss), tmp_path).path / "history.csv").read_bytes() for loss in losses
    )
    assert first == twin != other


OPTIONS = [
    {"optimizer": "sgd", "lr": 0.01},
    {"optimizer": "adadelta", "lr": 1.0},
    {"scheduler": "step"},
    {"scheduler": "constant", "weight_decay": 1e-4},
    {"train_size": 100},
    {"precision": "bfloat16"},
    {"selection": "best_test"},
    {"clip_norm": 1.0},
    {"weight_decay": 1e-3, "weight_decay_on": "convolutions"},
    {"label_noise": 0.1, "noise_kind": "asymmetric"},
    {"label_smoothing": 0.2, "class_weight": "class_balanced", "imbalance": 2.0},
    {"optimizer": "adamw", "weight_decay": 1e-2, "warmup_epochs": 1},
    {"optimizer": "sgd_plain", "lr": 0.1, "scheduler": "one_cycle"},
    {"optimizer": "sgd_momentum", "lr": 0.01},
    {"sampler": "balanced", "imbalance": 4.0},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_trains(tmp_path: Path, options: dict[str, object]) -> None:
    record = run(replace(TINY, **options), tmp_path)
    assert record.result["test_accuracy"] > 0.7
    if "imbalance" not in options:
        assert record.result["train_images"] == options.get("train_size", 400 if "selection" in options else 360)


def test_the_schedules_are_what_they_say(tmp_path: Path) -> None:
    def rates(scheduler: str) -> list[float]:
        config = replace(TINY, scheduler=scheduler, epochs=4, lr=1.0, optimizer="adadelta")
        return run(config, tmp_path).history["lr"].to_list()

    assert rates("constant") == [1.0] * 4
    assert rates("step") == pytest.approx([1.0, 1.0, 0.1, 0.01])
    assert rates("cosine") == pytest.approx([(1 + math.cos(math.pi * i / 4)) / 2 for i in range(4)])


def rates_of_steps(config: RunConfig, steps: int) -> list[float]:
    """The learning rate of every step, as a training sets it."""
    dataset = load("shapes")
    training = run_start(config, dataset, prepare(config, dataset, CPU).train, CPU)
    rates = []
    for _ in range(config.epochs):
        training.epoch += 1
        for step in range(steps):
            training.set_rate(step, steps)
            rates.append(training.optimizer.param_groups[0]["lr"])
        training.optimizer.step()
        training.scheduler.step()
    return rates


@pytest.mark.parametrize(("epochs", "steps"), [(1, 1), (1, 7), (2, 5), (10, 12)])
def test_one_cycle_is_the_schedule_that_torch_has_under_this_name(epochs: int, steps: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.3, total_steps=epochs * steps, cycle_momentum=False
    )
    expected = []
    for step in range(epochs * steps):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < epochs * steps - 1:
            theirs.step()
    config = replace(TINY, scheduler="one_cycle", epochs=epochs, lr=0.3)
    assert rates_of_steps(config, steps) == pytest.approx(expected, rel=1e-9)


def test_a_warm_up_rises_evenly_with_every_step_and_the_schedule_follows() -> None:
    config = replace(TINY, warmup_epochs=2, scheduler="cosine", epochs=4, lr=0.8)
    rates = rates_of_steps(config, 5)
    assert rates[:10] == pytest.approx([0.08 * step for step in range(1, 11)])
    assert rates[10:] == pytest.approx([0.8] * 5 + [0.4] * 5)


def test_class_weights_of_a_run_are_those_of_its_own_training_images() -> None:
    config = replace(TINY, class_weight="inverse", imbalance=4.0, label_smoothing=0.1)
    dataset = load("shapes")
    train_split = prepare(config, dataset, CPU).train
    training = run_start(config, dataset, train_split, CPU)
    weight = 1 / torch.bincount(train_split.target).double()
    weight = (weight / weight.mean()).float()
    logits = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
    expected = F.cross_entropy(logits, train_split.target[:32], weight=weight, label_smoothing=0.1)
    torch.testing.assert_close(training.criterion(logits, train_split.target[:32]), expected)


def test_label_noise_makes_the_training_targets_worse_and_leaves_the_others(tmp_path: Path) -> None:
    noisy = run(replace(TINY, label_noise=0.5), tmp_path).history
    clean = run(TINY, tmp_path).history
    assert noisy["train_accuracy"].iloc[-1] < clean["train_accuracy"].iloc[-1] - 0.2
    splits = [prepare(config, load("shapes"), CPU) for config in (TINY, replace(TINY, label_noise=0.5))]
    assert torch.equal(splits[0].scored.target, splits[1].scored.target)
    assert not torch.equal(splits[0].train.target, splits[1].train.target)


def test_validation_images_are_not_trained_on_and_best_test_holds_none_out() -> None:
    dataset = load("shapes")
    splits = prepare(TINY, dataset, CPU)
    assert len(splits.train) + len(splits.scored) == len(dataset.train)
    training = {image.numpy().tobytes() for image in splits.train.images}
    assert not training & {image.numpy().tobytes() for image in splits.scored.images}
    everything = prepare(replace(TINY, selection="best_test"), dataset, CPU)
    assert (len(everything.train), everything.prefix) == (len(dataset.train), "test")


def test_training_only_the_head_leaves_the_body_as_it_was(tmp_path: Path) -> None:
    config = replace(TINY, trainable="head")
    dataset = load("shapes")
    splits = prepare(config, dataset, CPU)
    training = run_start(config, dataset, splits.train, CPU)
    before = {name: value.clone() for name, value in training.model.body.state_dict().items()}
    head = training.model.head.weight.clone()
    for _ in train(training, splits.train, splits.scored, "val"):
        pass
    assert all(torch.equal(value, before[name]) for name, value in training.model.body.state_dict().items())
    assert not torch.equal(head, training.model.head.weight)


def test_only_the_convolutions_are_decayed_where_the_config_says_so() -> None:
    dataset = load("shapes")
    config = replace(TINY, weight_decay=0.1, weight_decay_on="convolutions")
    training = run_start(config, dataset, prepare(config, dataset, CPU).train, CPU)
    decayed, others = training.optimizer.param_groups
    assert [parameter.ndim for parameter in decayed["params"]] == [4, 4]
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    everything = len(list(training.model.parameters()))
    assert len(decayed["params"]) + len(others["params"]) == everything


def test_the_gradient_is_never_longer_than_asked_for() -> None:
    dataset = load("shapes")
    config = replace(TINY, clip_norm=0.01, optimizer="sgd", lr=1.0, epochs=1, scheduler="constant")
    splits = prepare(config, dataset, CPU)
    training = run_start(config, dataset, splits.train, CPU)
    for _ in train(training, splits.train, splits.scored, "val"):
        pass
    norms = [parameter.grad.norm() for parameter in training.model.parameters() if parameter.grad is not None]
    assert 0 < torch.stack(norms).norm() <= 0.01 * (1 + 1e-4)


def test_a_patient_run_stops_after_so_many_epochs_without_a_better_score(tmp_path: Path) -> None:
    config = replace(TINY, epochs=30, patience=2)
    record = run(config, tmp_path)
    scores = record.history["val_accuracy"]
    assert len(scores) < 30
    assert record.result["epochs_done"] == len(scores) == record.result["best_epoch"] + 2
    assert scores.argmax() + 1 == record.result["best_epoch"]


class Interrupted(Exception):
    pass


def stop_after(epoch: int) -> Callable[[dict[str, float]], None]:
    def progress(row: dict[str, float]) -> None:
        if row["epoch"] == epoch:
            raise Interrupted

    return progress


INTERRUPTED = [
    {"loss": "cross_entropy"},
    {"loss": "proxy_nca"},
    {"loss": "margin"},
    {"optimizer": "sgd", "lr": 0.1, "scheduler": "one_cycle", "class_weight": "inverse"},
    {"optimizer": "adamw", "weight_decay": 0.01, "warmup_epochs": 2, "label_smoothing": 0.1},
]


@pytest.mark.parametrize("options", INTERRUPTED, ids=str)
def test_an_interrupted_run_ends_as_if_nothing_had_happened(tmp_path: Path, options: dict[str, object]) -> None:
    config = replace(TINY, **options)
    whole = run(config, tmp_path / "whole")
    for epoch in (1, 2):
        output = tmp_path / f"broken after {epoch}"
        with pytest.raises(Interrupted):
            run(config, output, progress=stop_after(epoch))
        assert lossbench.load_runs(output).empty
        epochs: list[float] = []
        resumed = run(config, output, progress=lambda row, epochs=epochs: epochs.append(row["epoch"]))
        assert epochs == list(range(epoch + 1, 4)), "finished epochs are not computed again"
        for name in ("history.csv", "predictions.npz"):
            assert (resumed.path / name).read_bytes() == (whole.path / name).read_bytes()


def test_a_diverging_run_is_recorded_with_its_last_finite_scores(tmp_path: Path) -> None:
    config = replace(TINY, lr=1e30, optimizer="sgd", loss="mse")
    with pytest.warns(UserWarning, match=r"training loss became nan at step \d+ of epoch 1"):
        record = run(replace(config, loss="cross_entropy"), tmp_path)
    assert record.result["status"] == "diverged"
    assert record.result["test_accuracy"] is None
    runs = lossbench.load_runs(tmp_path)
    assert list(runs["status"]) == ["diverged"]
    assert "NaN" not in (record.path / "result.json").read_text()


def test_a_record_of_another_run_is_never_overwritten(tmp_path: Path) -> None:
    record = run(TINY, tmp_path)
    other = json.loads((record.path / "config.json").read_text()) | {"epochs": 4}
    (record.path / "config.json").write_text(json.dumps(other))
    before = {path.name: path.read_bytes() for path in record.path.iterdir()}
    assert run(TINY, tmp_path).path.name == TINY.long_run_id
    assert {path.name: path.read_bytes() for path in record.path.iterdir()} == before


BAD = [
    ({"device": "cuda:99"}, ValueError, r"device 'cuda:99' is not available; choose from cpu"),
    ({"device": "warp"}, ValueError, r"device 'warp' is not available"),
    ({"output": "/proc/lossbench"}, PermissionError, r"cannot write to output"),
]


@pytest.mark.parametrize(("arguments", "kind", "message"), BAD, ids=[str(row[0]) for row in BAD])
def test_what_is_wrong_is_said_before_training(
    tmp_path: Path, arguments: dict[str, str], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        run(TINY, **({"output": str(tmp_path)} | arguments), progress=stop_after(1))


def test_an_empty_data_folder_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty"):
        run(replace(TINY, dataset="fashion-mnist"), tmp_path, data=tmp_path / "empty", progress=stop_after(1))


def test_a_loss_that_draws_numbers_does_not_change_the_order_of_the_images(tmp_path: Path) -> None:
    dataset = load("shapes")
    orders = []
    for loss in ("cross_entropy", "margin"):
        config = replace(TINY, loss=loss)
        splits = prepare(config, dataset, CPU)
        training = run_start(config, dataset, splits.train, CPU)
        for _ in train(training, splits.train, splits.scored, "val"):
            pass
        orders.append(training.order.get_state())
    assert torch.equal(*orders)


@pytest.mark.parametrize(("images", "sizes"), [(96, [32, 32, 32]), (97, [32, 32, 33]), (98, [32, 32, 32, 2]), (1, [1])])
def test_no_batch_is_left_with_a_single_image(images: int, sizes: list[int]) -> None:
    batches = list(full_batches(torch.arange(images), 32))
    assert [len(batch) for batch in batches] == sizes
    assert torch.equal(torch.cat(batches), torch.arange(images))


def test_the_environment_names_the_output_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOSSBENCH_OUTPUT", str(tmp_path / "out"))
    code = "import lossbench; print(lossbench.run(lossbench.RunConfig(dataset='shapes', epochs=1)).path)"
    assert start_anew(code, log=tmp_path / "log") == 0
    assert Path((tmp_path / "log").read_text().strip()).is_relative_to(tmp_path / "out")


# The training loop, where a whole run does not show it.


@pytest.mark.parametrize("loss", ["triplet", "contrastive", "n_pair"])
def test_a_loss_that_compares_images_is_scored_in_batches_of_the_training(loss: str) -> None:
    # All triplets of 5,000 images would take 500 GB.
    config = RunConfig(dataset="shapes", batch_size=16, loss=loss)
    dataset = load(config.dataset)
    splits = prepare(config, dataset, torch.device("cpu"))
    training = run_start(config, dataset, splits.train, torch.device("cpu"))
    embeddings, target = predict(training, splits.test)[0].embeddings, splits.test.target
    parts = list(zip(embeddings.split(16), target.split(16), strict=True))
    expected = [training.criterion(*part).item() * len(part[1]) for part in parts]
    sizes: list[int] = []
    training.criterion.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    assert evaluate(training, splits.test)["loss"] == pytest.approx(sum(expected) / len(target), rel=1e-5)
    assert max(sizes) <= 16
    assert sum(sizes) == len(target)


# Our optimizers against torch's own.

THEIRS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "sgd": lambda groups, lr: torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True),
    "adadelta": torch.optim.Adadelta,
}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))


def train_optimizers(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> Tensor:
    """A few steps on fixed images; all weights as one vector."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        images = torch.randn(8, 1, 8, 8, generator=generator)
        loss = nn.functional.cross_entropy(model(images), torch.arange(8) % 3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return nn.utils.parameters_to_vector(model.parameters()).detach()


@pytest.mark.parametrize("name", THEIRS)
def test_steps_are_those_of_torch(name: str) -> None:
    ours, theirs = network(), network()
    config = RunConfig(optimizer=name, lr=0.01, weight_decay=0.1)
    found = train_optimizers(ours, build_optimizer(ours, Criterion("cross_entropy"), config), 5)
    groups = [
        {"params": [theirs[0].weight, theirs[3].weight], "weight_decay": 0.1},
        {"params": [theirs[0].bias, theirs[3].bias], "weight_decay": 0.1},
    ]
    expected = train_optimizers(theirs, THEIRS[name](groups, lr=0.01), 5)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", [loop.Adam, loop.SGD, loop.Adadelta])
def test_nothing_records_gradients_while_stepping(kind: type[torch.optim.Optimizer]) -> None:
    model = network()
    optimizer = kind(model.parameters(), lr=0.1)
    train_optimizers(model, optimizer, 1)
    state = [v for held in optimizer.state.values() for v in held.values() if isinstance(v, Tensor)]
    assert not any(tensor.requires_grad for tensor in state)
    assert all(p.grad_fn is None for p in model.parameters())


@pytest.mark.parametrize("name", THEIRS)
def test_torch_goes_on_from_our_state(name: str) -> None:
    config = RunConfig(optimizer=name, lr=0.01)
    ours, theirs = network(), network()
    optimizer = build_optimizer(ours, Criterion("cross_entropy"), config)
    train_optimizers(ours, optimizer, 2)
    successor = THEIRS[name](theirs.parameters(), lr=0.01)
    successor.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(
        train_optimizers(theirs, successor, 3), train_optimizers(ours, optimizer, 3), rtol=1e-6, atol=1e-7
    )


@pytest.mark.parametrize("kind", [loop.Adam, loop.SGD, loop.Adadelta])
def test_hooks_are_called(kind: type[torch.optim.Optimizer]) -> None:
    model, called = network(), []
    optimizer = kind(model.parameters(), lr=0.1)
    optimizer.register_step_post_hook(lambda *_: called.append(1))
    train_optimizers(model, optimizer, 2)
    assert called == [1, 1]


# What a record says about where it was computed.


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not start a child at its parent's peak")
def test_peak_memory_grows_with_what_is_held_and_a_childs_is_its_own() -> None:
    before = peak_memory_mb()
    ballast = torch.ones((int(before) + 200) * 2**20, dtype=torch.uint8)
    code = "from lossbench.training.machine import peak_memory_mb; print(peak_memory_mb())"
    child = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert peak_memory_mb() >= before + 150 > child
    del ballast


def test_the_machine_is_described_without_its_name() -> None:
    import socket

    described = describe_machine(torch.device("cpu"))
    assert (described["device"], described["threads"]) == ("cpu", torch.get_num_threads())
    assert described["versions"]["torch"] == torch.__version__
    assert socket.gethostname() not in str(described)


def test_there_is_always_a_device_and_a_core() -> None:
    assert find_device(None).type in ("cpu", "cuda")
    assert usable_cores() >= 1


@pytest.mark.parametrize(
    ("able", "expected"),
    [
        ({"avx2": True}, False),
        ({"avx512_f": True, "avx512_bf16": False}, False),
        ({"avx512_f": True, "avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"neon": True, "bf16": True}, True),
    ],
)
def test_bfloat16_is_known_by_the_processors_instructions(
    able: dict[str, bool], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    assert computes_bfloat16(CPU) is expected


def test_a_torch_that_cannot_tell_warns_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert computes_bfloat16(CPU)


def test_imitated_bfloat16_is_warned_of(monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder) -> None:
    monkeypatch.setattr(machine, "computes_bfloat16", lambda device: False)
    warn_of_slow_precision("float32", CPU)
    assert not recwarn.list
    with pytest.warns(UserWarning, match="several times slower"):
        warn_of_slow_precision("bfloat16", CPU)


# What `precision="auto"` becomes.


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[float], list[float]]]:
    """Says what the measurement gives; the list grows by each time that it is made."""
    monkeypatch.setenv("LOSSBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(precision, "computes_bfloat16", lambda device: True)
    made: list[float] = []

    def give(ratio: float) -> list[float]:
        precision.choose_precision.cache_clear()
        monkeypatch.setattr(precision, "measure_bfloat16", lambda device: made.append(ratio) or ratio)
        return made

    yield give
    precision.choose_precision.cache_clear()


@pytest.mark.parametrize(
    ("ratio", "chosen"), [(0.3, "float32"), (1.09, "float32"), (1.11, "bfloat16"), (2.5, "bfloat16")]
)
def test_auto_is_the_faster_precision_says_so_once_and_has_that_ones_name(
    measured: Callable[[float], list[float]], ratio: float, chosen: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = measured(ratio)
    configs = [RunConfig(precision="auto", seed=seed) for seed in range(3)]
    assert [config.precision for config in configs] == [chosen] * 3
    assert [config.run_id for config in configs] == [RunConfig(precision=chosen, seed=s).run_id for s in range(3)]
    assert replace(configs[0], seed=1) == configs[1]
    assert RunConfig().precision == "float32", "never the default"
    assert made == [ratio], "once a process"
    assert capsys.readouterr().err.count(f"precision auto is {chosen}: convolutions train {ratio:.2f} times") == 1


def test_the_choice_is_remembered_for_the_next_command_and_a_damaged_memory_is_replaced(
    measured: Callable[[float], list[float]], tmp_path: Path
) -> None:
    made = measured(2.0)
    assert precision.choose_precision() == "bfloat16"
    measured(0.5)
    assert precision.choose_precision() == "bfloat16", "a study goes on as it began"
    assert made == [2.0]
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_text("nan\n")
    measured(0.5)
    assert precision.choose_precision() == "float32"
    assert (made, kept.read_text()) == ([2.0, 0.5], "0.500\n")


def test_auto_without_instructions_measures_nothing_and_without_a_cache_measures_each_time(
    measured: Callable[[float], list[float]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LOSSBENCH_CACHE", str(tmp_path / "file" / "cache"))
    made = measured(2.0)
    assert precision.choose_precision() == "bfloat16"
    measured(2.0)
    assert precision.choose_precision() == "bfloat16"
    assert made == [2.0, 2.0]
    monkeypatch.setattr(precision, "computes_bfloat16", lambda device: False)
    measured(2.0)
    assert precision.choose_precision() == "float32"
    assert len(made) == 2


def test_the_record_of_an_auto_run_holds_the_precision_that_was_chosen(
    measured: Callable[[float], list[float]], tmp_path: Path
) -> None:
    measured(2.0)
    record = run(RunConfig(dataset="shapes", train_size=40, epochs=1, precision="auto"), tmp_path)
    assert json.loads((record.path / "config.json").read_text())["precision"] == "bfloat16"
    assert run(RunConfig(dataset="shapes", train_size=40, epochs=1, precision="bfloat16"), tmp_path) == record


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the limit is for x86 processors")
def test_imitated_bfloat16_is_measured_as_slower_than_float32() -> None:
    code = (
        "import torch; from lossbench.training import precision; print(precision.measure_bfloat16(torch.device('cpu')))"
    )
    limited = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run([sys.executable, "-c", code], env=limited, capture_output=True, text=True, check=True)
    assert 0 < float(ended.stdout) < precision.PAYS


def test_the_measurement_leaves_random_streams_and_threads_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "PROBE_SECONDS", 0.01)
    threads, stream = torch.get_num_threads(), torch.get_rng_state()
    assert precision.measure_bfloat16(CPU) > 0
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), stream)


# A training step never reads a number back from the device: on a GPU it would stand still until the answer came.
#
# There is no GPU here, so the operations of a step on the CPU are watched. Those that read a value, or whose result's
# size depends on values, wait on a GPU; so does a tensor made of a Python number, which is copied there.

WAITS = {
    "_local_scalar_dense",
    "item",
    "is_nonzero",
    "nonzero",
    "masked_select",
    "_unique2",
    "unique_dim",
    "lift_fresh",
}
CONFIG = RunConfig(dataset="fashion-mini", train_size=200, batch_size=16)
DRAWS_ON_THE_CPU = {"margin"}  # it reads distances back to draw negatives, so that a GPU draws the same ones


class Watch(TorchDispatchMode):
    """Collects the waiting operations that are called inside it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in WAITS:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """Watch a step as a GPU would see it: targets are checked on the CPU alone."""
    monkeypatch.setattr(criterion, "_values_readable", lambda tensor: False)
    with Watch() as watch:
        yield watch


def begin(config: RunConfig) -> tuple[Training, torch.Tensor, torch.Tensor]:
    dataset = load(config.dataset)
    split = prepare(config, dataset, torch.device("cpu")).train
    return run_start(config, dataset, split, torch.device("cpu")), split.images[:16], split.target[:16]


@pytest.mark.parametrize("loss", [name for name in LOSSES if name not in DRAWS_ON_THE_CPU])
def test_no_loss_waits(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    training, images, target = begin(replace(CONFIG, loss=loss))
    with watched(monkeypatch) as watch:
        train_step(training, images, target)
    assert watch.seen == []


@pytest.mark.parametrize("probability", list(PROBABILITIES))
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "adadelta"])
def test_no_probability_function_or_optimizer_waits(
    probability: str, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, probability=probability, optimizer=optimizer, clip_norm=1.0, precision="bfloat16")
    training, images, target = begin(config)
    with watched(monkeypatch) as watch:
        train_step(training, images, target)
    assert watch.seen == []


def test_a_step_together_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = ["cross_entropy", "triplet", "mse"]
    begun = [begin(replace(CONFIG, loss=loss, clip_norm=1.0)) for loss in losses]
    stack = Stack([training for training, _, _ in begun])
    with watched(monkeypatch) as watch:
        stack.step(*begun[0][1:])
    assert watch.seen == []


def test_the_watch_sees_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    with watched(monkeypatch) as watch:
        torch.ones(3).sum().item()
        torch.ones(3).nonzero()
        torch.tensor(1.0)
    assert watch.seen == ["_local_scalar_dense", "nonzero", "lift_fresh"]


@pytest.mark.parametrize("augmentation", [name for name in AUGMENTATIONS if name != "none"])
@pytest.mark.parametrize("channels", [1, 3])
def test_no_augmentation_reads_from_the_images_device(augmentation: str, channels: int) -> None:
    """Tensors of the device `meta` have no values, so that reading one is an error."""
    images = torch.empty(8, channels, 16, 16, device="meta")
    changed = AUGMENTATIONS[augmentation](images, torch.Generator().manual_seed(0))
    assert changed.shape == images.shape
    assert changed.device.type == "meta"


# TensorBoard's own reader gets back what was trained, once each, also after kills.

TINY_TENSORBOARD = RunConfig(dataset="shapes", train_size=60, epochs=3, loss="focal", loss_params={"gamma": 0.5})
ROWS = [{"epoch": e, "lr": 0.1 / e, "train_loss": 1.0 / e, "val_accuracy": 0.25 * e} for e in (1, 2, 3)]


@pytest.fixture
def installed():
    """The extra, or no test."""
    pytest.importorskip("tensorboard", reason="the extra 'tensorboard' is not installed")


@pytest.fixture
def folder(tmp_path, installed):
    """A record that has only just begun."""
    record = Record.of(TINY_TENSORBOARD, tmp_path)
    record.write_config(TINY_TENSORBOARD)
    return record.path


def load_tensorboard(folder):
    """What TensorBoard's own reader finds in a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder))
    return accumulator.Reload()


def read(folder):
    """Every scalar: tag -> [(step, value), ...]."""
    found = load_tensorboard(folder)
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def write(folder, rows):
    add = event_writer(folder)
    for row in rows:
        add(row)


def test_every_number_of_the_history_is_read_back(tmp_path, installed):
    record = run(TINY_TENSORBOARD, tmp_path, tensorboard=True)
    read_back = read(record.path)
    tags = {"train_loss": "loss/train", "val_loss": "loss/val", "train_accuracy": "accuracy/train",
            "val_accuracy": "accuracy/val", "val_nll": "nll/val", "lr": "lr"}  # fmt: skip
    assert set(read_back) == set(tags.values())
    for column, tag in tags.items():
        steps, values = zip(*read_back[tag], strict=True)
        assert steps == (1, 2, 3)
        assert values == pytest.approx(record.history[column], rel=1e-6)


def test_a_resumed_run_shows_each_epoch_once(folder):
    write(folder, ROWS)  # the checkpoint of the last two epochs was lost, so they are trained again
    write(folder, [row | {"lr": 7.0} for row in ROWS[1:]])
    assert dict(read(folder)["lr"]) == pytest.approx({1: 0.1, 2: 7.0, 3: 7.0})
    assert [step for step, _ in read(folder)["loss/train"]] == [1, 2, 3]


def test_an_event_cut_short_by_a_kill_costs_only_itself(folder):
    write(folder, ROWS[:2])
    (torn,) = folder.glob("events.*")
    os.truncate(torn, torn.stat().st_size - 5)
    write(folder, ROWS[2:])
    epochs = {tag: [step for step, _ in values] for tag, values in read(folder).items()}
    assert sorted(epochs.values()) == [[1, 2, 3]] * (len(epochs) - 1) + [[1, 3]], "the last number of the second row"


def test_the_settings_are_there_for_the_page_of_hyperparameters(folder):
    event_writer(folder)(ROWS[0])
    from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data

    content = load_tensorboard(folder).PluginTagToContent("hparams")["_hparams_/session_start_info"]
    found = parse_session_start_info_plugin_data(content).hparams
    assert found["loss"].string_value == "focal"
    assert found["loss_params.gamma"].number_value == 0.5
    assert found["lr"].number_value == TINY_TENSORBOARD.lr
    assert found["pretrained"].bool_value is False
    assert found["patience"].string_value == "None"


def test_nothing_stays_open_in_a_worker_that_serves_many_runs(tmp_path, folder):
    before = threading.active_count()
    for seed in range(20):
        record = Record.of(replace(TINY_TENSORBOARD, seed=seed), tmp_path)
        record.write_config(replace(TINY_TENSORBOARD, seed=seed))
        write(record.path, ROWS)
    assert threading.active_count() == before
    assert not [file.path for file in psutil.Process().open_files() if "tfevents" in file.path]


def test_without_tensorboard_the_error_says_what_to_install_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr("lossbench.training.tensorboard.find_spec", lambda name: None)
    output = tmp_path / "out"
    starts = (
        lambda: event_writer(tmp_path),
        lambda: run(TINY_TENSORBOARD, output, tensorboard=True),
        lambda: run_configs([TINY_TENSORBOARD], output, tensorboard=True),
    )
    for start in starts:
        with pytest.raises(ValueError, match=r"install it with pip install 'lossbench\[tensorboard\]'"):
            start()
    assert not (output / "runs").exists()


# Losses that stop being numbers end their run and nothing else; every loss gives the same bits twice.

TINY_RUN = RunConfig(dataset="shapes", epochs=3, train_size=96, embedding_scores=False)  # three steps an epoch
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
        result = run(replace(TINY_RUN, loss="spoilt"), tmp_path).result
    assert (result["status"], result["epochs_done"]) == ("diverged", epoch)
    assert (result["test_accuracy"] is None) == (epoch == 0), "else the scores of the last finite epochs"


SPOILT_FILE = """
import torch
from lossbench.losses import register

steps = []

@register
def spoilt_in_a_file(log_probs, target):
    steps.append(1)
    return -log_probs.gather(1, target[:, None]).squeeze(1) * (torch.nan if len(steps) == 4 else 1)
"""


def test_a_study_with_losses_that_are_no_numbers_goes_on_and_counts_them(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SPOILT_FILE)

    def study() -> None:
        quick_workers()
        lossbench.extend(tmp_path / "mine.py")
        losses = ("spoilt_in_a_file", "mse")
        configs = [replace(TINY_RUN, loss=loss, seed=seed) for loss in losses for seed in (0, 1)]
        configs.append(replace(TINY_RUN, lr=1e6, optimizer="sgd"))
        summary = run_configs(configs, tmp_path, workers=1, show_progress=False)
        sys.stdout.write(str(summary))
        sys.exit(summary.exit_code)

    assert fork(study, tmp_path / "log").wait() == 0, (tmp_path / "log").read_text()
    assert "5 of 5 runs finished, 2 diverged" in (tmp_path / "log").read_text()
    assert load_runs(tmp_path)["status"].value_counts().to_dict() == {"finished": 3, "diverged": 2}


WILD = [  # finite losses in training, and a weight or a score that is not
    ("mse", "sgd", 1e12, 20),
    ("mse", "adam", 1e12, 20),
    ("focal", "sgd", 100.0, 270),
    ("proxy_nca", "sgd", 1e10, 60),
    ("triplet", "sgd", 1e8, 20),
    ("cross_entropy", "adam", 1e10, 18),
]


@pytest.mark.parametrize(("loss", "optimizer", "lr", "images"), WILD)
@pytest.mark.parametrize("epochs", [1, 2])
def test_whatever_stops_being_finite_ends_as_a_record_that_can_be_read(
    tmp_path: Path, loss: str, optimizer: str, lr: float, images: int, epochs: int
) -> None:
    config = replace(TINY, loss=loss, optimizer=optimizer, lr=lr, train_size=images, epochs=epochs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        result = run(config, tmp_path).result
    runs, history = load_runs(tmp_path), lossbench.load_history(tmp_path)
    assert list(runs["status"]) == [result["status"]]
    assert np.isfinite(history.select_dtypes("number")).all(axis=None)
    if result["status"] == "diverged":
        steps = math.ceil(result["train_images"] / config.batch_size)
        assert 1 <= result["diverged"]["step"] <= steps
        assert 1 <= result["diverged"]["epoch"] <= epochs
        assert not math.isfinite(float(result["diverged"]["value"]))
    else:
        assert all(value is None or np.isfinite(value).all() for name, value in result.items() if "test_" in name)


@pytest.mark.parametrize("at", ["first", "last"])
def test_a_weight_that_is_no_number_is_found_in_its_step_though_the_loss_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    last = math.ceil(360 / TINY.batch_size)
    spoilt = 1 if at == "first" else last
    count = 0

    def step(training: Training, images: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal count
        count += 1
        answer = train_step(training, images, target)
        if count == spoilt:
            with torch.no_grad():
                training.model.body[0].weight[0] = -math.inf  # type: ignore[index, operator]
        return answer

    monkeypatch.setattr(loop, "train_step", step)
    with pytest.warns(UserWarning, match=rf"a weight became -inf at step {spoilt} of epoch 1"):
        result = run(TINY, tmp_path).result
    assert (result["status"], count) == ("diverged", spoilt)
    assert result["diverged"] == {"what": "a weight", "value": "-inf", "epoch": 1, "step": spoilt}


def test_test_images_that_cannot_be_scored_are_a_divergence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(training: Training, split: object) -> tuple[Any, Tensor]:
        output, scores = predict(training, split)  # type: ignore[arg-type]
        return output, scores.fill_(math.nan)

    monkeypatch.setattr(lossbench.training.run, "predict", spoil)
    with pytest.warns(UserWarning, match="a test prediction became nan"):
        result = run(TINY, tmp_path).result
    assert (result["status"], result["test_accuracy"], result["best_epoch"]) == ("diverged", None, None)


# A run leaves the process as it found it, and the order of runs changes no number.


def disturb() -> None:
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_num_threads(2)
    torch.set_grad_enabled(False)
    torch.set_anomaly_enabled(True)
    torch.set_float32_matmul_precision("medium")
    np.seterr(all="raise")


def state() -> list[object]:
    torch_settings = [torch.get_default_dtype(), torch.get_default_device(), torch.get_num_threads()]
    modes = [torch.is_grad_enabled(), torch.is_anomaly_enabled(), torch.get_float32_matmul_precision()]
    streams = [save_streams(), torch.get_rng_state().tolist()]
    return [*torch_settings, *modes, np.geterr(), *streams]


def test_what_a_run_changes_in_the_process_ends_with_it(tmp_path: Path) -> None:
    before = state()
    run(TINY, tmp_path / "plain")
    assert state() == before

    def progress(row: dict[str, float]) -> None:
        disturb()
        raise Interrupted

    with pytest.raises(Interrupted):
        run(TINY, tmp_path / "wild", progress=progress)
    assert state() == before


def test_what_was_changed_before_a_run_does_not_change_its_numbers(tmp_path: Path) -> None:
    expected = run(TINY, tmp_path / "plain")
    before = state()
    with undisturbed():
        torch.manual_seed(77)
        disturb()
        torch.set_default_device("cpu")
        np.seterr(all="warn")
        found = run(TINY, tmp_path / "after")
    for name in ("history.csv", "predictions.npz"):
        assert (found.path / name).read_bytes() == (expected.path / name).read_bytes()
    assert state() == before


def test_a_record_whose_folder_was_deleted_while_it_trained_is_whole(tmp_path: Path) -> None:
    folder = Record.of(TINY, tmp_path).path

    def progress(row: dict[str, float]) -> None:
        if row["epoch"] == TINY.epochs:
            shutil.rmtree(folder)

    record = run(TINY, tmp_path, progress=progress)
    assert record.config == TINY
    assert list(load_runs(tmp_path)["status"]) == ["finished"]


def test_a_finished_run_is_shown_from_a_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(f"cannot write to output {folder}")

    run(replace(TINY, epochs=1), tmp_path)
    monkeypatch.setattr("lossbench.cli.studies.refuse_unwritable", refuse)
    monkeypatch.setattr(lossbench.training.run, "require_writable", refuse)
    words = ["run", "--dataset", "shapes", "--set", "batch_size=16", "--set", "embedding_scores=false"]
    words += ["--output", str(tmp_path), "--epochs"]
    shown = CliRunner().invoke(app, [*words, "1"])
    assert (shown.exit_code, "already finished" in shown.output) == (0, True)
    other = CliRunner().invoke(app, [*words, "2"])
    assert other.exit_code != 0, "another run needs room for its record"


@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "proxy_nca"])
def test_images_that_are_infinite_end_the_run_at_its_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    def load_infinite(name: str, data: Path | None) -> Dataset:
        return replace(load(name, data), std=(0.0,))

    monkeypatch.setattr(lossbench.training.run, "load", load_infinite)
    with pytest.warns(UserWarning, match=r"became (nan|inf) at step 1 of epoch 1"):
        assert run(replace(TINY_RUN, loss=loss), tmp_path).result["status"] == "diverged"


@pytest.mark.parametrize("loss", list(LOSSES))
def test_every_loss_starts_from_the_same_weights_trains_and_gives_the_same_bits_twice(
    tmp_path: Path, loss: str
) -> None:
    names = list(PROBABILITIES)
    probability = names[list(LOSSES).index(loss) % len(names)]  # each probability function a few times
    params = {"tree": TREE} if loss == "hierarchical_cross_entropy" else {}
    shared = replace(TINY, train_size=200, epochs=2)
    config = replace(shared, loss=loss, loss_params=params, probability=probability)
    reference = weights(shared)
    assert all(torch.equal(value, reference[name]) for name, value in weights(config).items())
    first, second = (run(config, tmp_path / name) for name in "ab")
    assert first.result["status"] == "finished"
    assert first.result["test_accuracy"] > 0.5, "chance is 0.25"
    for name in ("history.csv", "predictions.npz"):
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes()


def test_another_number_of_threads_gives_nearly_the_same_scores(tmp_path: Path) -> None:
    one, two = (run(TINY_RUN, tmp_path / str(n), threads=n).result for n in (1, 2))
    assert one["test_nll"] == pytest.approx(two["test_nll"], abs=1e-4)


# What the features are worth on another data set.


@pytest.mark.parametrize(("dataset", "transfer"), [("shapes", "sign-digits-mini"), ("sign-digits-mini", "shapes")])
def test_features_are_judged_on_other_images_and_nothing_else_changes(
    tmp_path: Path, dataset: str, transfer: str
) -> None:
    plain = RunConfig(dataset=dataset, epochs=1, train_size=96, embedding_scores=False)
    without, record = run(plain, tmp_path), run(replace(plain, transfer=transfer), tmp_path, keep="weights")
    for name in ("history.csv", "predictions.npz"):
        assert (without.path / name).read_bytes() == (record.path / name).read_bytes()
    assert without.result["test_transfer_accuracy"] is None
    by_hand = _transfer_by_hand(record, dataset, transfer)
    assert record.result["test_transfer_accuracy"] == pytest.approx(by_hand, abs=0.01)  # bytes round otherwise
    assert record.result["test_transfer_accuracy"] > 2 / load(transfer).num_classes


def _transfer_by_hand(record: Record, dataset: str, transfer: str) -> float:
    trained, other, seen = lossbench.load(record.path.name, record.path.parents[1]), load(transfer), load(dataset)

    def features(images: Tensor) -> np.ndarray:
        grey = torch.tensor([0.2989, 0.587, 0.114])[None, :, None, None]  # of ITU-R BT.601
        channels = seen.image_shape[0]
        if images.shape[1] != channels:
            images = (images * grey).sum(1, keepdim=True).floor().byte() if channels == 1 else images.repeat(1, 3, 1, 1)
        sized = F.interpolate(
            images.float(), size=seen.image_shape[1:], mode="bilinear", antialias=True, align_corners=False
        )
        scaled = (sized.round() / 255 - torch.tensor(seen.mean)[:, None, None]) / torch.tensor(seen.std)[:, None, None]
        with torch.no_grad():
            return trained.model(scaled.to(memory_format=torch.channels_last)).embeddings.double().numpy()

    x, y = features(other.train.images), other.train.target.numpy()
    rest, held = stratified_split(other.train.target, 0.1, 0)

    def classifier(strength: float, rows: Tensor) -> Callable[[np.ndarray], np.ndarray]:
        scale = (x[rows].mean(0), np.where(x[rows].std(0) == 0, 1, x[rows].std(0)))
        model = LogisticRegression(C=strength, max_iter=1000, tol=1e-3).fit((x[rows] - scale[0]) / scale[1], y[rows])
        return lambda points: model.predict((points - scale[0]) / scale[1])

    scores = {c: (classifier(c, rest)(x[held]) == y[held]).mean() for c in (0.01, 0.1, 1.0, 10.0)}
    best = max(scores, key=lambda strength: scores[strength])
    predicted = classifier(best, torch.arange(len(y)))(features(other.test.images))
    return float((predicted == other.test.target.numpy()).mean())


def test_another_data_set_that_is_not_there_ends_a_study_before_its_first_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOSSBENCH_DATA", str(tmp_path / "nothing"))
    (tmp_path / "nothing").mkdir()
    (tmp_path / "nothing" / "notes.txt").touch()
    with pytest.raises(FileNotFoundError, match="kmnist"):
        run_configs([replace(TINY_RUN, transfer="kmnist")], tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").rglob("config.json"))


def test_the_batched_engine_judges_features_as_a_run_alone_does(tmp_path: Path) -> None:
    configs = [replace(TINY_RUN, transfer="sign-digits-mini", epochs=1, seed=seed) for seed in (0, 1)]
    run_configs(configs, tmp_path / "together", engine="ensemble", show_progress=False)
    for config in configs:
        together, alone = Record.of(config, tmp_path / "together").result, run(config, tmp_path / "alone").result
        assert together["test_transfer_accuracy"] == pytest.approx(alone["test_transfer_accuracy"], abs=0.02)
