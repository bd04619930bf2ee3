"""Losses that follow the epochs: told by the trainer, the same after a kill, in workers and trained together."""

from __future__ import annotations

import copy
import os
import pickle
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from killing import fork

import lossbench
from conftest import without_trace
from lossbench import RunConfig, run
from lossbench.losses import Criterion
from lossbench.records.record import Record
from lossbench.studies import run_configs

COUNTS = [1, 10, 100, 100_000]
EMBEDDINGS = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
TARGET = torch.tensor([0, 1, 2, 3, 3, 2, 1, 0])
ANNEALED = """
from lossbench.losses import of_target, register

@register
def annealed(log_probs, target, epoch, epochs, *, start: float = 4.0):
    log_p = of_target(log_probs, target)
    return -log_p + start * (1 - (epoch - 1) / epochs) * (1 - log_p.exp())
"""
DEFERRED = RunConfig(
    dataset="shapes", loss="ldam", loss_params={"defer": 0.5}, imbalance=4.0, epochs=4, batch_size=16, train_size=48
)


@pytest.fixture(scope="module")
def annealed(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    file = tmp_path_factory.mktemp("own") / "annealed_loss.py"
    file.write_text(ANNEALED)
    with without_trace():
        lossbench.extend(file)
        yield RunConfig(dataset="shapes", loss="annealed", epochs=4, batch_size=16, train_size=48)


def ldam(**params: object) -> Criterion:
    return Criterion("ldam", num_classes=4, embedding_dim=6, class_counts=COUNTS, reduction="none", **params)


def test_deferred_weights_begin_after_their_share_of_the_epochs():
    plain, deferred = ldam()(EMBEDDINGS, TARGET), ldam(defer=0.8)
    effective = torch.tensor([(1 - 0.9999**n) / (1 - 0.9999) for n in COUNTS])
    weight = (1 / effective) / (1 / effective).mean()
    for epoch in range(1, 11):
        deferred.set_epoch(epoch, 10)
        expected = plain * (weight[TARGET] if epoch > 8 else 1)
        torch.testing.assert_close(deferred(EMBEDDINGS, TARGET), expected, rtol=1e-5, atol=1e-6)


def test_a_loss_that_follows_the_epochs_must_be_told_and_any_other_may_be():
    with pytest.raises(ValueError, match=r"ldam with defer=0.8 follows the epochs: call criterion\.set_epoch"):
        ldam(defer=0.8)(EMBEDDINGS, TARGET)
    plain = ldam()
    before = plain(EMBEDDINGS, TARGET)
    plain.set_epoch(3, 4)
    assert torch.equal(plain(EMBEDDINGS, TARGET), before)
    for epoch, epochs, message in ((0, 4, "epoch must be at least 1"), (5, 4, "at most 4"), (1, 0, "epochs must be")):
        with pytest.raises(ValueError, match=message):
            plain.set_epoch(epoch, epochs)


def test_a_term_of_ones_own_follows_the_epochs_outside_the_trainer(annealed: RunConfig):
    logits = EMBEDDINGS[:, :4].clone().requires_grad_()
    criterion = Criterion("annealed")
    with pytest.raises(ValueError, match=r"annealed follows the epochs: call criterion\.set_epoch"):
        criterion(logits, TARGET)
    for epoch, factor in ((1, 4.0), (2, 2.0)):
        criterion.set_epoch(epoch, 2)
        miss = 1 - logits.softmax(1).gather(1, TARGET[:, None]).mean()
        for same in (criterion, copy.deepcopy(criterion), pickle.loads(pickle.dumps(criterion))):
            torch.testing.assert_close(same(logits, TARGET), F.cross_entropy(logits, TARGET) + factor * miss)
    assert not criterion.state_dict()


def outcome(output: Path, config: RunConfig) -> dict[str, object]:
    record = Record.of(config, output)
    files = {name: (record.path / name).read_bytes() for name in ("history.csv", "predictions.npz")}
    scores = {name: value for name, value in record.result.items() if name.startswith(("test_", "val_", "best_"))}
    return files | scores


@pytest.mark.parametrize("which", ["deferred", "annealed"])
@pytest.mark.parametrize("last", [1, 2, 3])
def test_a_run_with_a_schedule_that_is_killed_and_resumed_ends_bit_identically(
    which: str, last: int, tmp_path: Path, annealed: RunConfig
):
    config = DEFERRED if which == "deferred" else annealed
    run(config, tmp_path / "whole")

    def die(row: dict[str, float]) -> None:
        if row["epoch"] == last:
            os.kill(os.getpid(), signal.SIGKILL)

    assert fork(lambda: run(config, tmp_path / "killed", progress=die)).wait() == -signal.SIGKILL
    run(config, tmp_path / "killed")
    assert outcome(tmp_path / "killed", config) == outcome(tmp_path / "whole", config)


def test_the_schedule_changes_what_is_learned_from_the_epoch_on_that_it_names(tmp_path: Path):
    histories = [
        run(replace(DEFERRED, loss_params=params), tmp_path).history["train_loss"].tolist()
        for params in ({"defer": 0.5}, {})
    ]
    assert histories[0][:2] == histories[1][:2]
    assert histories[0][2] != histories[1][2]


@pytest.mark.usefixtures("forked_workers")
def test_worker_processes_follow_the_epochs(tmp_path: Path, annealed: RunConfig):
    configs = [DEFERRED, annealed]
    for config in configs:
        run(config, tmp_path / "here")
    run_configs(configs, tmp_path / "workers", workers=2, show_progress=False)
    for config in configs:
        assert outcome(tmp_path / "workers", config) == outcome(tmp_path / "here", config)


def test_a_loaded_run_s_criterion_stands_at_the_selected_epoch(tmp_path: Path, annealed: RunConfig):
    record = run(annealed, tmp_path, keep="weights")
    criterion = lossbench.load(record.path.name, tmp_path).criterion
    weight = 4 * (1 - (record.result["best_epoch"] - 1) / 4)
    expected = F.cross_entropy(EMBEDDINGS[:, :4], TARGET) + weight * (
        1 - EMBEDDINGS[:, :4].softmax(1).gather(1, TARGET[:, None]).mean()
    )
    torch.testing.assert_close(criterion(EMBEDDINGS[:, :4], TARGET), expected)
