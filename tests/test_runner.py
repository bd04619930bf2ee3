"""One run: the same config gives the same bits, whatever interrupts it; what is wrong is said before training."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss

import lossbench
from lossbench import LOSSES, PROBABILITIES, RunConfig, run
from lossbench.checkpoint import read_checkpoint, write_checkpoint
from lossbench.data import load
from lossbench.runner import prepare, start
from lossbench.train import full_batches, train

TINY = RunConfig(dataset="shapes", epochs=3, batch_size=16)
CPU = torch.device("cpu")


def weights(config: RunConfig) -> dict[str, torch.Tensor]:
    dataset = load(config.dataset)
    return start(config, dataset, prepare(config, dataset, CPU).train, CPU).model.body.state_dict()


def test_a_run_writes_a_whole_record(tmp_path: Path) -> None:
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


def test_the_scores_are_those_of_the_stored_predictions(tmp_path: Path) -> None:
    record = run(TINY, tmp_path)
    target, log_probs = record.predictions
    probs = np.exp(log_probs.astype(np.float64))
    assert record.result["test_accuracy"] == pytest.approx(accuracy_score(target, log_probs.argmax(1)), abs=1e-7)
    assert record.result["test_nll"] == pytest.approx(log_loss(target, probs / probs.sum(1, keepdims=True)), abs=1e-5)
    assert record.result["test_accuracy"] > 0.9, "shapes are easy"


def test_equal_configs_give_bit_identical_records(tmp_path: Path) -> None:
    config = replace(TINY, loss="focal", probability="soft_margin_softmax")
    first, second = run(config, tmp_path / "a"), run(config, tmp_path / "b")
    for name in ("history.csv", "predictions.npz"):
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes()


def test_another_seed_gives_another_history(tmp_path: Path) -> None:
    histories = {run(replace(TINY, seed=seed), tmp_path).history.to_csv() for seed in range(3)}
    assert len(histories) == 3


@pytest.mark.parametrize("loss", ["cross_entropy", "js_divergence", "kl_divergence"])
def test_cross_entropy_and_kl_divergence_are_one_function(tmp_path: Path, loss: str) -> None:
    mine = (run(replace(TINY, loss=loss), tmp_path).path / "history.csv").read_bytes()
    theirs = (run(replace(TINY, loss="cross_entropy"), tmp_path).path / "history.csv").read_bytes()
    assert (mine == theirs) == (loss != "js_divergence")


@pytest.mark.parametrize("loss", list(LOSSES))
def test_every_loss_starts_from_the_same_weights_and_trains(tmp_path: Path, loss: str) -> None:
    config = replace(TINY, dataset="fashion-mini", train_size=200, epochs=2, loss=loss)
    reference = weights(replace(config, loss="cross_entropy"))
    assert all(torch.equal(value, reference[name]) for name, value in weights(config).items())
    result = run(config, tmp_path).result
    assert result["status"] == "finished"
    assert result["test_accuracy"] > 0.2, "chance is 0.1"


@pytest.mark.parametrize("probability", list(PROBABILITIES))
def test_every_probability_function_trains(tmp_path: Path, probability: str) -> None:
    assert run(replace(TINY, probability=probability), tmp_path).result["test_accuracy"] > 0.9


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
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_trains(tmp_path: Path, options: dict[str, object]) -> None:
    record = run(replace(TINY, **options), tmp_path)
    assert record.result["test_accuracy"] > 0.7
    assert record.result["train_images"] == options.get("train_size", 400 if "selection" in options else 360)


def test_the_schedules_are_what_they_say(tmp_path: Path) -> None:
    def rates(scheduler: str) -> list[float]:
        config = replace(TINY, scheduler=scheduler, epochs=4, lr=1.0, optimizer="adadelta")
        return run(config, tmp_path).history["lr"].to_list()

    assert rates("constant") == [1.0] * 4
    assert rates("step") == pytest.approx([1.0, 1.0, 0.1, 0.01])
    assert rates("cosine") == pytest.approx([(1 + math.cos(math.pi * i / 4)) / 2 for i in range(4)])


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
    training = start(config, dataset, splits.train, CPU)
    before = {name: value.clone() for name, value in training.model.body.state_dict().items()}
    head = training.model.head.weight.clone()
    for _ in train(training, splits.train, splits.scored, "val"):
        pass
    assert all(torch.equal(value, before[name]) for name, value in training.model.body.state_dict().items())
    assert not torch.equal(head, training.model.head.weight)


def test_only_the_convolutions_are_decayed_where_the_config_says_so() -> None:
    dataset = load("shapes")
    config = replace(TINY, weight_decay=0.1, weight_decay_on="convolutions")
    training = start(config, dataset, prepare(config, dataset, CPU).train, CPU)
    decayed, others = training.optimizer.param_groups
    assert [parameter.ndim for parameter in decayed["params"]] == [4, 4]
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    everything = len(list(training.model.parameters()))
    assert len(decayed["params"]) + len(others["params"]) == everything


def test_the_gradient_is_never_longer_than_asked_for() -> None:
    dataset = load("shapes")
    config = replace(TINY, clip_norm=0.01, optimizer="sgd", lr=1.0, epochs=1, scheduler="constant")
    splits = prepare(config, dataset, CPU)
    training = start(config, dataset, splits.train, CPU)
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


@pytest.mark.parametrize("loss", ["cross_entropy", "proxy_nca", "margin"])
@pytest.mark.parametrize("epoch", [1, 2])
def test_an_interrupted_run_ends_as_if_nothing_had_happened(tmp_path: Path, loss: str, epoch: int) -> None:
    config = replace(TINY, loss=loss)
    with pytest.raises(Interrupted):
        run(config, tmp_path / "broken", progress=stop_after(epoch))
    assert lossbench.load_runs(tmp_path / "broken").empty
    epochs: list[float] = []
    resumed = run(config, tmp_path / "broken", progress=lambda row: epochs.append(row["epoch"]))
    assert epochs == list(range(epoch + 1, 4)), "finished epochs are not computed again"
    whole = run(config, tmp_path / "whole")
    for name in ("history.csv", "predictions.npz"):
        assert (resumed.path / name).read_bytes() == (whole.path / name).read_bytes()


def test_a_damaged_checkpoint_is_not_used(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, {"epoch": 3, "weights": torch.arange(1000.0)})
    path = tmp_path / "checkpoint.pt"
    good = path.read_bytes()
    assert read_checkpoint(tmp_path)["epoch"] == 3  # type: ignore[index]
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(good), 100):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        assert read_checkpoint(tmp_path) is None
        path.write_bytes(good[:place])
        assert read_checkpoint(tmp_path) is None


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    record = run(TINY, tmp_path)
    before = (record.path / "result.json").stat().st_mtime_ns
    again = run(TINY, tmp_path, progress=stop_after(1))
    assert (again.path / "result.json").stat().st_mtime_ns == before


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
        training = start(config, dataset, splits.train, CPU)
        for _ in train(training, splits.train, splits.scored, "val"):
            pass
        orders.append(training.order.get_state())
    assert torch.equal(*orders)


@pytest.mark.parametrize(("images", "sizes"), [(96, [32, 32, 32]), (97, [32, 32, 33]), (98, [32, 32, 32, 2]), (1, [1])])
def test_no_batch_is_left_with_a_single_image(images: int, sizes: list[int]) -> None:
    batches = list(full_batches(torch.arange(images), 32))
    assert [len(batch) for batch in batches] == sizes
    assert torch.equal(torch.cat(batches), torch.arange(images))


def test_the_environment_names_the_output_folder(tmp_path: Path) -> None:
    code = "import lossbench; print(lossbench.run(lossbench.RunConfig(dataset='shapes', epochs=1)).path)"
    environment = {**os.environ, "LOSSBENCH_OUTPUT": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert Path(done.stdout.strip()).is_relative_to(tmp_path)
