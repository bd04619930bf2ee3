"""Which run is this? Everything that changes what is computed tells runs apart, and what is skipped is that run."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from test_checkpoint import CONFIG, files, interrupt

from lossbench import RunConfig, load_runs, run
from lossbench.cli import app
from lossbench.data.importing import import_dataset
from lossbench.records.record import Record, seal
from lossbench.studies.execute import run_configs
from lossbench.training.checkpoint import read_checkpoint, write_checkpoint


@pytest.fixture
def twins() -> list[RunConfig]:
    """Two configs with one id, which has 24 bits of hash: found by trying 5,940 learning rates."""
    rates = (0.00010316600000000001, 0.00010594)
    return [RunConfig(dataset="shapes", epochs=1, train_size=40, lr=lr) for lr in rates]


def test_a_run_whose_id_is_taken_gets_a_longer_one(twins: list[RunConfig], tmp_path: Path) -> None:
    first, second = (run(config, tmp_path) for config in twins)
    assert first.path.name == twins[0].run_id == twins[1].run_id
    assert re.fullmatch(re.escape(twins[0].run_id) + "[0-9a-f]{10}", second.path.name)
    assert [record.config for record in (first, second)] == twins
    assert [record.result["run_id"] for record in (first, second)] == [first.path.name, second.path.name]
    assert run(twins[1], tmp_path) == second
    assert sorted(load_runs(tmp_path)["lr"]) == [config.lr for config in twins]


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.parametrize("engine", ["process", "ensemble"])
def test_both_are_done_in_one_study(engine: str, twins: list[RunConfig], tmp_path: Path) -> None:
    summary = run_configs(twins, tmp_path, engine=engine, workers=2, show_progress=False)
    assert (summary.finished, summary.failed) == (2, {})
    again = run_configs(twins, tmp_path, engine=engine, show_progress=False)
    assert (again.finished, again.skipped) == (0, 2)
    assert sorted(load_runs(tmp_path)["lr"]) == sorted(config.lr for config in twins)


def test_a_result_without_its_config_is_not_taken_for_the_run(tmp_path: Path) -> None:
    record = run(CONFIG, tmp_path)
    (record.path / "config.json").unlink()
    assert not record.has(CONFIG)
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        run(CONFIG, tmp_path)


def without(path: Path, field: str) -> None:
    values = json.loads(path.read_text(encoding="utf-8"))
    del values[field]
    path.write_text(json.dumps(values), encoding="utf-8")


def test_an_interrupted_run_of_a_version_with_fewer_fields_goes_on(tmp_path: Path) -> None:
    whole = files(run(CONFIG, tmp_path / "whole").path)
    folder = interrupt(tmp_path / "broken")
    without(folder / "config.json", "precision")
    state = read_checkpoint(folder)
    assert state is not None
    del state["origin"]["config"]["precision"], state["origin"]["data"]
    write_checkpoint(folder, state)
    (folder / "checkpoint.previous.pt").unlink(missing_ok=True)
    seen: list[float] = []
    record = run(CONFIG, tmp_path / "broken", progress=lambda row: seen.append(row["epoch"]))
    assert seen == [4]
    assert files(record.path) == whole


def test_a_record_of_a_newer_version_names_its_file(tmp_path: Path) -> None:
    record = run(CONFIG, tmp_path)
    path = record.path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"warmup": 0}), encoding="utf-8")
    with pytest.raises(TypeError, match=r"config\.json: unknown RunConfig field 'warmup'"):
        _ = record.config


@pytest.fixture
def own_images(own_cache: Path, pets: Path) -> Path:
    """A data set of the user's own, imported as `mine`."""
    import_dataset(pets, "mine", size=(16, 16), test_fraction=0.5)
    return pets


def test_other_images_under_an_old_name_are_another_run(own_images: Path, tmp_path: Path) -> None:
    before = RunConfig(dataset="mine", epochs=1)
    record = run(before, tmp_path)
    assert len(before.run_id.rpartition("-")[2]) == 16
    import_dataset(own_images, "mine", size=(16, 16), test_fraction=0.5)
    assert RunConfig(dataset="mine", epochs=1).run_id == before.run_id, "the same bytes"
    import_dataset(own_images, "mine", size=(16, 16), test_fraction=0.5, grey=True)
    after = RunConfig(dataset="mine", epochs=1)
    assert after.run_id != before.run_id
    assert run(after, tmp_path).result["dataset_fingerprint"] != record.result["dataset_fingerprint"]
    assert len(load_runs(tmp_path)) == 2


def test_a_config_that_was_made_for_other_images_is_refused(own_images: Path, tmp_path: Path) -> None:
    config = RunConfig(dataset="mine", epochs=1)
    assert config.run_id
    import_dataset(own_images, "mine", size=(16, 16), test_fraction=0.5, grey=True)
    with pytest.raises(ValueError, match=r"mine has other images \(fingerprint .*make the config anew"):
        run(config, tmp_path)
    assert not Record.of(config, tmp_path).finished


def test_a_finished_record_of_other_images_is_not_finished(tmp_path: Path) -> None:
    record = run(CONFIG, tmp_path)
    result = record.result | {"dataset_fingerprint": "ab" * 32}
    (record.path / "result.json").write_text(json.dumps(seal(result, {})), encoding="utf-8")
    for again in (lambda: run(CONFIG, tmp_path), lambda: run_configs([CONFIG], tmp_path, show_progress=False)):
        with pytest.raises(
            ValueError, match=r"computed on other images of shapes \(fingerprint abababababab, now 734b"
        ):
            again()


def test_a_run_never_goes_on_with_other_images(tmp_path: Path) -> None:
    folder = interrupt(tmp_path)
    state = read_checkpoint(folder)
    assert state is not None
    write_checkpoint(folder, {**state, "origin": {**state["origin"], "data": "ab" * 32}})
    seen: list[float] = []
    with pytest.warns(UserWarning, match="belongs to another version of its data set and is not used"):
        run(CONFIG, tmp_path, progress=lambda row: seen.append(row["epoch"]))
    assert seen == [1, 2, 3, 4]


@pytest.mark.parametrize("seed", [2**53 + 1, 2**63 - 2])
def test_a_large_seed_is_the_one_that_was_asked_for(seed: int, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=1, seed=seed)
    assert (config.seed, f"-s{seed}-" in config.run_id) == (seed, True)
    assert run(config, tmp_path).config.seed == seed


TOO_LARGE = [
    (["--seed", str(2**64)], "seed must be at most 9223372036854775806, got 18446744073709551616"),
    (["--epochs", "1" * 30], f"epochs must be at most {2**63 - 1}, got {'1' * 30}"),
    (["--set", f"lr={'9' * 401}"], r"lr must be finite, got 9{60}... (401 characters)"),
    (["--set", f"train_size={'9' * 401}"], "train_size must be finite, got"),
    (["--loss-param", "gamma=" + "[" * 100_000], "a value is nested too deeply: '[[["),
]


@pytest.mark.parametrize(("options", "message"), TOO_LARGE)
def test_numbers_that_nothing_can_hold_are_refused_by_name(options: list[str], message: str) -> None:
    from typer.testing import CliRunner

    done = CliRunner().invoke(app, ["run", "--loss", "focal", *options])
    assert isinstance(done.exception, ValueError)
    expected = message.replace("9{60}", "9" * 60)
    assert str(done.exception).startswith(expected), done.exception
