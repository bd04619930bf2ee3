"""The ensemble engine leaves records like those of single runs, loses nothing when stopped, and gives way to others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lossbench
from lossbench import RunConfig, run
from lossbench.engines import ensemble as engine
from lossbench.engines import run_configs
from lossbench.engines.ensemble import plan
from lossbench.engines.job import Board
from lossbench.lease import hold
from lossbench.losses import Criterion
from lossbench.records import Record

TINY = RunConfig(dataset="shapes", epochs=2, train_size=100)
THREE = [TINY, replace(TINY, loss="adma", loss_params={"learnable": True}), replace(TINY, loss="proxy_nca")]


def execute(configs: list[RunConfig], output: Path, **options: Any) -> lossbench.Summary:
    return run_configs(configs, output, engine="ensemble", device="cpu", show_progress=False, **options)


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The losses of each epoch that is trained together, in order."""
    calls: list[list[str]] = []
    real = engine.train_together

    def record(members: list[Any], *arguments: Any) -> Any:
        calls.append([member.config.loss for member in members])
        return real(members, *arguments)

    monkeypatch.setattr(engine, "train_together", record)
    return calls


def test_records_are_those_of_single_runs_but_for_rounding(tmp_path: Path, together: list[list[str]]) -> None:
    summary = execute(THREE, tmp_path / "together")
    assert (summary.finished, summary.exit_code) == (3, 0)
    assert together == [["cross_entropy", "adma", "proxy_nca"]] * 2
    for config in THREE:
        single, member = run(config, tmp_path / "alone"), Record.of(config, tmp_path / "together")
        assert {path.name for path in member.path.iterdir()} == {path.name for path in single.path.iterdir()}
        assert member.config == single.config
        assert list(member.history.columns) == list(single.history.columns)
        np.testing.assert_allclose(member.history, single.history, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(member.predictions[1], single.predictions[1], atol=0.01)
        ours, theirs = member.result, single.result
        assert list(ours) == list(theirs)
        assert {key: type(value) for key, value in ours.items()} == {key: type(value) for key, value in theirs.items()}
        same = ("run_id", "status", "best_epoch", "num_parameters", "dataset_fingerprint", "events", "train_images")
        assert {key: ours[key] for key in same} == {key: theirs[key] for key in same}
        assert ours["test_accuracy"] == pytest.approx(theirs["test_accuracy"], abs=0.01)
    runs = [lossbench.load_runs(tmp_path / name) for name in ("together", "alone")]
    assert list(runs[0].columns) == list(runs[1].columns)
    assert list(runs[0]["run_id"]) == list(runs[1]["run_id"])


def test_the_plan_puts_together_what_shares_images_and_model() -> None:
    configs = [replace(TINY, seed=seed, loss=loss) for loss in ("mse", "focal", "adma") for seed in (0, 1)]
    assert [[config.seed for config in group] for group in plan(configs, None)] == [[0, 0, 0], [1, 1, 1]]
    assert [len(group) for group in plan(configs, 2)] == [2, 1, 2, 1]
    assert {config.run_id for group in plan(configs, 2) for config in group} == {config.run_id for config in configs}


def test_a_diverging_member_is_recorded_and_the_others_finish(tmp_path: Path, together: list[list[str]]) -> None:
    wild = replace(TINY, optimizer="sgd", lr=1e30)
    summary = execute([TINY, wild, replace(TINY, loss="focal")], tmp_path)
    assert (summary.finished, summary.diverged, summary.exit_code) == (2, 1, 0)
    assert together == [["cross_entropy", "cross_entropy", "focal"], ["cross_entropy", "focal"]]
    result = Record.of(wild, tmp_path).result
    assert (result["status"], result["epochs_done"], result["test_accuracy"]) == ("diverged", 0, None)


def test_a_patient_member_leaves_early_and_a_longer_one_stays(tmp_path: Path, together: list[list[str]]) -> None:
    short, long = replace(TINY, epochs=1), replace(TINY, epochs=3, loss="focal")
    patient = replace(TINY, epochs=3, patience=1, loss="mse", lr=1e-12)
    assert execute([short, long, patient], tmp_path).finished == 3
    assert together == [["cross_entropy", "focal", "mse"], ["focal", "mse"], ["focal"]]
    assert [Record.of(config, tmp_path).result["epochs_done"] for config in (short, long, patient)] == [1, 3, 2]


def test_a_stopped_study_goes_on_from_its_last_epoch(
    tmp_path: Path, together: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = [replace(config, model="convnet", train_size=32, batch_size=16) for config in THREE[:2]]
    whole = tmp_path / "whole"
    execute(configs, whole)
    together.clear()
    real = Board.epoch
    monkeypatch.setattr(Board, "epoch", lambda self, config, epoch: (real(self, config, epoch), self.stopping.set()))
    assert execute(configs, tmp_path / "broken").finished == 0
    assert len(together) == 1
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
        run(TINY, tmp_path, device="cpu")
    record = run(TINY, tmp_path, device="cpu", resume="anyway")
    assert len(record.history) == 2


KILLED = """
import os, sys
from lossbench import RunConfig
from lossbench.engines import ensemble, run_configs
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
    tmp_path: Path, together: list[list[str]]
) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=environment, check=False).returncode == -9
    configs = [replace(TINY, epochs=epochs, loss=loss) for epochs, loss in ((1, "mse"), (3, "focal"))]
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
    tmp_path: Path, together: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "HELD_SECONDS", 0.01)
    other = Record.of(TINY, tmp_path)
    claim = hold(other.path)
    claim.__enter__()
    real = Board.done

    def done(self: Board, config: RunConfig, answer: dict[str, Any]) -> None:
        real(self, config, answer)
        if self.summary.finished == 2:  # the others have not waited for it
            claim.__exit__(None, None, None)

    monkeypatch.setattr(Board, "done", done)
    assert execute(THREE, tmp_path).finished == 3
    assert together[0] == ["adma", "proxy_nca"]
    assert json.loads((other.path / "result.json").read_text())["status"] == "finished"


def test_members_of_a_tree_with_more_outputs_are_trained_apart(tmp_path: Path, together: list[list[str]]) -> None:
    tree = {"root": ["round", "straight"], "round": ["disc", "ring"], "straight": ["square", "cross"]}
    nodes = [replace(TINY, epochs=1, loss="hierarchical_cross_entropy", loss_params={"tree": tree, "mode": mode})
             for mode in ("conditional", "flat_nodes")]  # fmt: skip
    assert execute([replace(TINY, epochs=1), *nodes], tmp_path).finished == 3
    assert [len(losses) for losses in together] == [1, 2]
