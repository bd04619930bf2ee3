"""TensorBoard's own reader gets back what was trained, once each, also after kills."""

import os
import threading
from dataclasses import replace

import psutil
import pytest

from lossbench.config import RunConfig
from lossbench.engines import run_configs
from lossbench.records import Record
from lossbench.runner import run
from lossbench.tensorboard import event_writer

TINY = RunConfig(dataset="shapes", train_size=60, epochs=3, loss="focal", loss_params={"gamma": 0.5})
ROWS = [{"epoch": e, "lr": 0.1 / e, "train_loss": 1.0 / e, "val_accuracy": 0.25 * e} for e in (1, 2, 3)]


@pytest.fixture
def installed():
    """The extra, or no test."""
    pytest.importorskip("tensorboard", reason="the extra 'tensorboard' is not installed")


@pytest.fixture
def folder(tmp_path, installed):
    """A record that has only just begun."""
    record = Record.of(TINY, tmp_path)
    record.write_config(TINY)
    return record.path


def load(folder):
    """What TensorBoard's own reader finds in a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder))
    return accumulator.Reload()


def read(folder):
    """Every scalar: tag -> [(step, value), ...]."""
    found = load(folder)
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def write(folder, rows):
    add = event_writer(folder)
    for row in rows:
        add(row)


def test_every_number_of_the_history_is_read_back(tmp_path, installed):
    record = run(TINY, tmp_path, tensorboard=True)
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
    assert [step for step, _ in read(folder)["loss/train"]] == [1, 3]


def test_the_settings_are_there_for_the_page_of_hyperparameters(folder):
    event_writer(folder)(ROWS[0])
    from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data

    content = load(folder).PluginTagToContent("hparams")["_hparams_/session_start_info"]
    found = parse_session_start_info_plugin_data(content).hparams
    assert found["loss"].string_value == "focal"
    assert found["loss_params.gamma"].number_value == 0.5
    assert found["lr"].number_value == TINY.lr
    assert found["pretrained"].bool_value is False
    assert found["patience"].string_value == "None"


def test_nothing_stays_open_in_a_worker_that_serves_many_runs(tmp_path, folder):
    before = threading.active_count()
    for seed in range(20):
        record = Record.of(replace(TINY, seed=seed), tmp_path)
        record.write_config(replace(TINY, seed=seed))
        write(record.path, ROWS)
    assert threading.active_count() == before
    assert not [file.path for file in psutil.Process().open_files() if "tfevents" in file.path]


def test_without_tensorboard_the_error_says_what_to_install_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr("lossbench.tensorboard.find_spec", lambda name: None)
    output = tmp_path / "out"
    starts = (
        lambda: event_writer(tmp_path),
        lambda: run(TINY, output, tensorboard=True),
        lambda: run_configs([TINY], output, tensorboard=True),
    )
    for start in starts:
        with pytest.raises(ValueError, match=r"install it with pip install 'lossbench\[tensorboard\]'"):
            start()
    assert not (output / "runs").exists()
