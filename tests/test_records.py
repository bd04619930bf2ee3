"""What a study leaves on disk, read back as tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import lossbench
from lossbench import RunConfig
from lossbench.records import Record, load_predictions, output_folder

PROMISED = {
    *("run_id", "dataset", "model", "loss", "loss_params", "probability", "seed"),
    *("status", "epochs", "best_epoch", "test_accuracy", "val_accuracy", "seconds"),
}


def test_load_runs_has_a_row_a_run_and_the_promised_columns(study_folder: Callable[..., Path]) -> None:
    runs = lossbench.load_runs(study_folder(seeds=(0, 1)))
    assert len(runs) == 5 * 2 * 2
    assert set(runs.columns) >= PROMISED
    assert runs["run_id"].is_unique
    focal = runs[runs["loss"] == "focal"]
    assert set(focal["loss_params"]) == {"gamma=0.5", "gamma=2"}
    assert set(focal["label"]) == {"focal γ=0.5", "focal γ=2"}


def test_counts_that_may_be_missing_stay_whole(study_folder: Callable[..., Path]) -> None:
    study_folder(seeds=(0,), train_size=500)
    runs = lossbench.load_runs(study_folder(seeds=(0,)))
    assert {str(size) for size in runs["train_size"]} == {"500", "<NA>"}
    assert all(str(epoch).isdecimal() for epoch in runs["best_epoch"])


def test_a_diverged_run_is_a_row_like_any_other(study_folder: Callable[..., Path]) -> None:
    runs = lossbench.load_runs(study_folder(diverged={("focal", "softmax", 1)}))
    assert runs["status"].value_counts().to_dict() == {"finished": 28, "diverged": 2}
    assert runs.loc[runs["status"] == "diverged", "test_accuracy"].isna().all()


@pytest.mark.parametrize("content", [b"", b'{"status": ', b"[]", b"\xff\xfe"])
def test_a_damaged_result_is_named_with_what_to_do(study_folder: Callable[..., Path], content: bytes) -> None:
    folder = study_folder(seeds=(0,))
    damaged = next((folder / "runs").iterdir()) / "result.json"
    damaged.write_bytes(content)
    with pytest.raises(ValueError, match=r"result.json is damaged .*; delete the folder .* and run it again"):
        lossbench.load_runs(folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("result.json", '{"status": '),
        ("result.json", "{}"),
        ("config.json", '{"loss": '),
        ("config.json", "{}"),
        ("config.json", None),
    ],
)
def test_a_damaged_record_is_skipped_by_name_when_asked(
    study_folder: Callable[..., Path], name: str, content: str | None
) -> None:
    folder = study_folder(seeds=(0,))
    whole = lossbench.load_runs(folder)
    assert whole.attrs["damaged"] == {}
    broken = folder / "runs" / whole["run_id"].iloc[3] / name
    broken.unlink()
    if content is not None:
        broken.write_text(content)
    with pytest.raises(ValueError, match=rf"{name} is damaged .*; delete the folder"):
        lossbench.load_runs(folder)
    with pytest.warns(UserWarning, match=f"1 damaged records are left out: {broken.parent.name}"):
        rest = lossbench.load_runs(folder, damaged="skip")
    assert set(whole["run_id"]) - set(rest["run_id"]) == {broken.parent.name} == set(rest.attrs["damaged"])
    assert f"{name} is damaged" in rest.attrs["damaged"][broken.parent.name]


@pytest.mark.parametrize("content", ["", "epoch,val_loss\n1,x\n", "epoch,val_loss\n1\n"])
def test_a_damaged_history_is_named_or_skipped(study_folder: Callable[..., Path], content: str) -> None:
    folder = study_folder(seeds=(0,))
    broken = next((folder / "runs").iterdir()) / "history.csv"
    broken.write_text(content)
    with pytest.raises(ValueError, match=r"history.csv is damaged .*; delete the folder"):
        lossbench.load_history(folder)
    with pytest.warns(UserWarning, match=broken.parent.name):
        history = lossbench.load_history(folder, damaged="skip")
    assert list(history.attrs["damaged"]) == [broken.parent.name]
    assert broken.parent.name not in set(history["run_id"])
    assert len(lossbench.load_runs(folder)) == 10, "its scores are there all the same"


def test_a_wrong_word_for_damaged_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown way with damaged records 'skipp'; did you mean 'skip'"):
        lossbench.load_runs(tmp_path, damaged="skipp")


def test_an_empty_folder_gives_an_empty_table_with_the_same_columns(tmp_path: Path) -> None:
    runs = lossbench.load_runs(tmp_path)
    assert runs.empty
    assert set(runs.columns) >= PROMISED
    assert lossbench.load_history(tmp_path).empty


def test_an_unfinished_run_is_not_a_row(study_folder: Callable[..., Path]) -> None:
    folder = study_folder(seeds=(0,))
    Record.of(RunConfig(epochs=3), folder).write_config(RunConfig(epochs=3))
    assert len(lossbench.load_runs(folder)) == 10


def test_histories_carry_the_names_of_their_runs(study_folder: Callable[..., Path]) -> None:
    folder = study_folder(seeds=(0,))
    history = lossbench.load_history(folder)
    assert len(history) == 10 * 8
    assert set(history["run_id"]) == set(lossbench.load_runs(folder)["run_id"])
    assert {"epoch", "label", "probability", "seed", "val_accuracy"} <= set(history.columns)
    assert history["epoch"].dtype == "int64"


def test_histories_are_read_back_to_the_last_bit(tmp_path: Path) -> None:
    record = Record.of(RunConfig(), tmp_path)
    rows = [{"epoch": 1, "val_loss": 0.1 + 0.2}, {"epoch": 2, "val_loss": 1e-300 / 3}]
    record.write_config(RunConfig())
    record.write({"status": "finished"}, rows)
    assert record.history.to_dict("records") == rows


def test_predictions_are_read_back(study_folder: Callable[..., Path]) -> None:
    folder = study_folder(seeds=(0,))
    run_id = lossbench.load_runs(folder)["run_id"].iloc[0]
    target, log_probs = load_predictions(run_id, folder)
    assert log_probs.shape == (len(target), 10)


def test_a_record_shows_itself_in_a_line(study_folder: Callable[..., Path], tmp_path: Path) -> None:
    config = RunConfig(epochs=8)
    assert "not finished" in repr(Record.of(config, tmp_path / "none"))
    shown = repr(Record.of(config, study_folder(seeds=(0,))))
    assert config.run_id in shown
    assert "test accuracy 0.8" in shown


def test_the_output_folder_is_the_argument_then_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOSSBENCH_OUTPUT", raising=False)
    assert output_folder() == Path("outputs")
    monkeypatch.setenv("LOSSBENCH_OUTPUT", "elsewhere")
    assert output_folder() == Path("elsewhere")
    assert output_folder("here") == Path("here")


def test_a_notebook_writes_into_the_repositorys_outputs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LOSSBENCH_OUTPUT", raising=False)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert output_folder() == Path("outputs"), "some other folder of that name"
    (tmp_path / "pyproject.toml").touch()
    assert output_folder().resolve() == tmp_path / "outputs"
