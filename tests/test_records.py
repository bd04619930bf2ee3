"""What a study leaves on disk, read back as tables."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from killing import fork, wait_for
from sklearn import metrics as oracle

import lossbench
from benchmarks.many_runs import plan, write_invented
from conftest import CLASSES, opened_files, write_run
from docs.make_reference import REFERENCES
from lossbench import RunConfig, archive, load_history, load_runs, metrics
from lossbench.files import Owner, replacing, require_writable, write_text
from lossbench.records import lease as leases
from lossbench.records import packed
from lossbench.records import tables as records
from lossbench.records.lease import Held, Lease, hold
from lossbench.records.record import CHECKSUMS, Record, output_folder
from lossbench.records.tables import NAME, load_predictions

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


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("result.json", '{"status": '),
        ("result.json", ""),
        ("result.json", "[]"),
        ("result.json", "\udcff"),  # no UTF-8
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
        broken.write_text(content, errors="surrogateescape")
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


# The cache of rows saves reading and changes nothing: whatever becomes of it, the table is that of the records.


@pytest.fixture
def output(study_folder: Callable[..., Path]) -> Path:
    return study_folder(seeds=(0, 1), epochs=2)


def without_cache(output: Path) -> pd.DataFrame:
    (output / NAME).unlink(missing_ok=True)
    return load_runs(output)


def change_result(record: records.Record, **values: object) -> None:
    """Write into the file as it lies, keeping its time of change."""
    path = record.path / "result.json"
    before = path.stat()
    result = {name: value for name, value in record.result.items() if name != CHECKSUMS}
    path.write_text(json.dumps({**result, **values}))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_only_what_is_new_is_read(output: Path) -> None:
    with opened_files() as opened:
        first = load_runs(output)
    assert len(opened) == 2 * len(first), "a config and a result each"
    with opened_files() as opened:
        pd.testing.assert_frame_equal(load_runs(output), first, check_exact=True)
    assert opened == []
    new = write_run(output, RunConfig(seed=9, epochs=2))
    with opened_files() as opened:
        assert set(load_runs(output)["run_id"]) == {*first["run_id"], new.path.name}
    assert sorted(Path(name).name for name in opened) == ["config.json", "result.json"]


def test_a_changed_record_is_read_again(output: Path) -> None:
    record = next(records.find_records(output))
    load_runs(output)
    change_result(record, test_accuracy=0.125)
    with opened_files() as opened:
        runs = load_runs(output).set_index("run_id")
    assert runs.loc[record.path.name, "test_accuracy"] == 0.125
    assert {Path(name).parent.name for name in opened} == {record.path.name}


def test_a_record_that_is_gone_is_no_row(output: Path) -> None:
    record = next(records.find_records(output))
    before = load_runs(output)
    (record.path / "result.json").unlink()
    after = load_runs(output)
    assert set(before["run_id"]) - set(after["run_id"]) == {record.path.name}


@pytest.mark.parametrize("content", [b"", b"{}", b"\n", b"abc\n{}", bytes(range(256))])
def test_a_damaged_cache_is_made_anew(output: Path, content: bytes) -> None:
    expected = load_runs(output)
    (output / NAME).write_bytes(content)
    pd.testing.assert_frame_equal(load_runs(output), expected)
    with opened_files() as opened:
        load_runs(output)
    assert opened == [], "it serves again"


def test_a_flipped_digit_in_the_cache_is_no_score(output: Path) -> None:
    expected = load_runs(output)
    content = bytearray((output / NAME).read_bytes())
    place = content.index(b'"test_accuracy":0.') + len(b'"test_accuracy":0.')
    content[place] ^= 1
    (output / NAME).write_bytes(content)
    pd.testing.assert_frame_equal(load_runs(output), expected)


def test_a_cache_of_another_version_is_not_used(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_runs(output)
    monkeypatch.setattr(records, "_text", lambda params: "other")
    assert "other" not in set(load_runs(output)["loss_params"]), "the cache served"
    monkeypatch.setattr(records, "CACHE_FORM", records.CACHE_FORM + 1)
    assert set(load_runs(output)["loss_params"]) == {"other"}


def test_a_folder_that_takes_no_cache_is_read_all_the_same(output: Path) -> None:
    expected = load_runs(output)
    (output / NAME).unlink()
    (output / NAME).mkdir()
    pd.testing.assert_frame_equal(load_runs(output), expected)
    assert [path.name for path in output.glob(".*")] == [NAME], "no half-written file stays"


def test_a_skipped_record_is_looked_at_again(output: Path) -> None:
    record = next(records.find_records(output))
    whole = (record.path / "result.json").read_text()
    (record.path / "result.json").write_text("{")
    for _ in range(2):
        with pytest.warns(UserWarning, match=record.path.name):
            assert list(load_runs(output, damaged="skip").attrs["damaged"]) == [record.path.name]
    (record.path / "result.json").write_text(whole)
    assert record.path.name in set(load_runs(output)["run_id"])


def test_several_processes_read_and_write_while_runs_end(output: Path) -> None:
    code = (
        "import sys, lossbench\n"
        "sizes = [len(lossbench.load_runs(sys.argv[1])) for _ in range(15)]\n"
        "assert sizes == sorted(sizes), sizes"
    )
    readers = [subprocess.Popen([sys.executable, "-W", "error", "-c", code, str(output)]) for _ in range(2)]
    for seed in range(20, 30):
        write_run(output, RunConfig(seed=seed, epochs=1), images=50)
        (output / NAME).unlink(missing_ok=True)
        load_runs(output)
    assert [reader.wait(timeout=600) for reader in readers] == [0, 0]
    kept = load_runs(output)
    assert len(kept) == 20 + 10
    pd.testing.assert_frame_equal(kept, without_cache(output))


# A packed study says what the runs said: the same tables, without their images and weights.

LOSSES = (("cross_entropy", {}), ("focal", {"gamma": 0.5}))


@pytest.fixture
def study(study_folder: Callable[..., Path], tmp_path: Path) -> tuple[Path, Path]:
    """Eight invented runs, one of them diverged, and the folder that they are packed into."""
    output = study_folder(LOSSES, seeds=(0, 1), epochs=3, diverged={("focal", "taylor_softmax", 1)})
    return output, archive.pack(output, tmp_path / "reference" / "first", note="invented")


def test_a_packed_study_gives_the_tables_of_its_runs(study: tuple[Path, Path]) -> None:
    live, stored = (vars(archive.load_tables(folder)) for folder in study)
    for name, table in live.items():
        assert len(table)
        pd.testing.assert_frame_equal(table, stored[name], check_exact=True)


def test_a_folder_of_packed_studies_says_which_study_a_row_is_from(study: tuple[Path, Path], tmp_path: Path) -> None:
    output, first = study
    archive.pack(output, tmp_path / "reference" / "second")
    joined, alone = (vars(archive.load_tables(folder)) for folder in (first.parent, first))
    for name, one in alone.items():
        both = joined[name]
        assert both["study"].value_counts().to_dict() == {"first": len(one), "second": len(one)}
        for _, rows in both.groupby("study"):
            pd.testing.assert_frame_equal(rows.drop(columns="study").reset_index(drop=True), one, check_exact=True)


def test_columns_that_only_one_study_has_are_missing_in_the_other(tmp_path: Path) -> None:
    for place, (name, fields) in enumerate({"plain": {}, "clipped": {"clip_norm": 1.0, "train_size": 50}}.items()):
        write_run(tmp_path / name, RunConfig(epochs=2, seed=place, **fields))
        archive.pack(tmp_path / name, tmp_path / "reference" / name)
    runs = lossbench.load_runs(tmp_path / "reference").set_index("study")
    assert runs["clip_norm"].isna().to_dict() == {"clipped": False, "plain": True}
    assert (runs["clip_norm"].dtype, runs["train_size"].dtype) == ("float64", "Int64")


def test_confusion_counts_are_those_of_scikit_learn(study: tuple[Path, Path]) -> None:
    output, folder = study
    run_id = lossbench.load_runs(output)["run_id"].iloc[0]
    rows = archive.load_tables(folder).confusion.query("run_id == @run_id")
    counts = rows.pivot_table("count", "true", "predicted", fill_value=0)
    target, log_probs = load_predictions(run_id, output)
    assert (counts.to_numpy() == oracle.confusion_matrix(target, log_probs.argmax(1))).all()
    false_positives = counts.sum() - np.diag(counts)
    assert false_positives.tolist() == metrics.false_positives(log_probs, target).tolist()


def test_reliability_bins_hold_every_image_and_average_to_the_accuracy(study: tuple[Path, Path]) -> None:
    output, folder = study
    runs = lossbench.load_runs(output).query("status == 'finished'").set_index("run_id")
    bins = archive.load_tables(folder).reliability
    for run_id, rows in bins.groupby("run_id"):
        assert (rows["bin"].tolist(), rows["count"].sum()) == (list(range(15)), runs.loc[run_id, "test_images"])
        mean = (rows["accuracy"] * rows["count"]).sum() / rows["count"].sum()
        assert mean == pytest.approx(runs.loc[run_id, "test_accuracy"], abs=1e-12)


def test_predictions_of_a_packed_study_are_not_there_and_the_error_says_what_is(study: tuple[Path, Path]) -> None:
    _, folder = study
    with pytest.raises(FileNotFoundError, match=r"packed studies have no predictions; .* load_tables"):
        load_predictions(lossbench.load_runs(folder)["run_id"].iloc[0], folder)


def test_fold_scores_hold_the_distances_on_the_class_tree_where_one_is_known(study: tuple[Path, Path]) -> None:
    folds = archive.load_tables(study[1]).folds
    assert folds[["tree_distance", "mistake_distance", "critical_error"]].notna().all(axis=None)
    assert folds.groupby("run_id").size().eq(10).all()


def test_a_diverged_run_is_packed_and_counted(study: tuple[Path, Path]) -> None:
    _, folder = study
    runs = lossbench.load_runs(folder)
    assert archive.read_description(folder)["statuses"] == {"diverged": 1, "finished": 7}
    (lost,) = runs.loc[runs["status"] == "diverged", "run_id"]
    assert lost in set(archive.load_history(folder)["run_id"])
    assert lost not in set(archive.load_tables(folder).confusion["run_id"])


def test_the_description_says_what_a_reader_must_know(study: tuple[Path, Path]) -> None:
    described = archive.read_description(study[1])
    expected = {"name": "first", "note": "invented", "runs": 8, "seeds": [0, 1], "commits": ["0123456789ab"]}
    assert expected.items() <= described.items()
    assert described["hours"] == pytest.approx(8 * 12.5 / 3600, abs=0.005)
    data = described["datasets"]["fashion-mini"]
    assert (data["train_images"], data["test_images"], data["fingerprints"]) == ([4500], [500], ["ab" * 32])


def test_class_names_are_read_from_runs_and_from_packed_studies(study: tuple[Path, Path]) -> None:
    output, folder = study
    for place in (output, folder, folder.parent):
        assert archive.load_class_names(place) == {"fashion-mini": list(CLASSES)}


def test_packing_twice_gives_the_same_bytes(study: tuple[Path, Path], tmp_path: Path) -> None:
    output, first = study
    second = archive.pack(output, tmp_path / "elsewhere" / "first", note="invented")
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(["study.json", *(f"{table}.csv.gz" for table in packed.TABLES)])
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_an_output_without_finished_runs_is_not_packed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no finished runs under"):
        archive.pack(tmp_path, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()


def test_an_unfinished_run_is_named_instead_of_packed(study: tuple[Path, Path], tmp_path: Path) -> None:
    output, _ = study
    begun = Record.of(RunConfig(epochs=7), output)
    begun.write_config(RunConfig(epochs=7))
    with pytest.raises(ValueError, match=rf"1 of 9 runs under .* are not finished, such as '{begun.path.name}'"):
        archive.pack(output, tmp_path / "packed")


def test_a_packed_study_is_never_replaced_by_one_that_lacks_its_runs(study: tuple[Path, Path], tmp_path: Path) -> None:
    output, folder = study
    other = RunConfig(epochs=2, seed=9)
    write_run(tmp_path / "other", other)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match="holds 8 runs that would be lost, such as"):
        archive.pack(tmp_path / "other", folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    archive.pack(tmp_path / "other", folder, overwrite=True)
    assert lossbench.load_runs(folder)["run_id"].tolist() == [other.run_id], "replaced whole, nothing merged"
    write_run(output, other)
    archive.pack(output, folder)
    assert len(lossbench.load_runs(folder)) == 9
    assert [path.name for path in folder.parent.iterdir()] == ["first"], "no scratch folder is left"


def test_a_folder_with_other_files_is_left_alone(study: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(ValueError, match=r"holds 'thesis\.tex', so it is no packed study"):
        archive.pack(study[0], tmp_path / "mine", overwrite=True)


def test_a_failed_replacement_leaves_the_earlier_study(
    study: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    output, folder = study
    rename = Path.rename

    def fail(path: Path, goal: Path) -> Path:
        if path.name == "new":
            raise OSError("disk is gone")
        return rename(path, goal)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="disk is gone"):
        archive.pack(output, folder)
    assert len(lossbench.load_runs(folder)) == 8


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"columns": 3}'])
def test_a_damaged_description_is_named(study: tuple[Path, Path], content: str) -> None:
    (study[1] / "study.json").write_text(content)
    with pytest.raises(ValueError, match=r"study.json is damaged .*pack the study again"):
        lossbench.load_runs(study[1])


@pytest.mark.parametrize("place", [0, 30, 200, -6])
def test_a_flipped_bit_in_a_packed_table_is_found(study: tuple[Path, Path], place: int) -> None:
    path = study[1] / "runs.csv.gz"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"runs.csv.gz is damaged"):
        lossbench.load_runs(study[1])


def test_damaged_predictions_are_named_or_skipped(study: tuple[Path, Path]) -> None:
    output, _ = study
    path = next(output.glob("runs/*/predictions.npz"))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"predictions.npz is damaged"):
        archive.load_tables(output)
    with pytest.warns(UserWarning, match=path.parent.name):
        counts = archive.load_tables(output, damaged="skip").confusion
    assert path.parent.name not in set(counts["run_id"])
    assert list(counts.attrs["damaged"]) == [path.parent.name]


def test_test_images_too_few_for_ten_folds_have_no_fold_scores(tmp_path: Path) -> None:
    write_run(tmp_path / "few", RunConfig(epochs=2), images=95)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert archive.load_tables(tmp_path / "few").folds.empty


def test_every_kind_of_value_comes_back_as_it_was(tmp_path: Path) -> None:
    rows = [
        {"t": "1e5", "n": None, "i": 3, "f": 0.1 + 0.2, "b": True, "mixed": "", "none": None},
        {"t": "", "n": "a,b\n'\"", "i": None, "f": 1e-300 / 3, "b": None, "mixed": None, "later": 7},
    ]
    packed.write_study(tmp_path, {}, {"runs": rows})
    names = ("t", "n", "i", "f", "b", "mixed", "none", "later")
    expected = [{name: row.get(name) for name in names} for row in rows]
    tables, proven = packed.read_study(tmp_path, ["runs"])
    assert (tables["runs"], proven) == (expected, True)
    assert all(type(a) is type(b) for got, row in zip(tables["runs"], expected, strict=True)
               for a, b in zip(got.values(), row.values(), strict=True))  # fmt: skip


def test_packed_tables_are_plain_csv(study: tuple[Path, Path]) -> None:
    table = pd.read_csv(study[1] / "runs.csv.gz")
    assert np.allclose(table["test_accuracy"], lossbench.load_runs(study[0])["test_accuracy"], equal_nan=True)
    assert json.loads((study[1] / "study.json").read_text())["columns"]["runs"]["test_accuracy"] == "float"
    header = gzip.decompress((study[1] / "confusion.csv.gz").read_bytes()).decode().splitlines()[0]
    assert header == "run_id,true,predicted,count"


def test_all_tables_are_read_at_once(study: tuple[Path, Path]) -> None:
    for folder in study:
        tables = archive.load_tables(folder)
        pd.testing.assert_frame_equal(tables.runs, load_runs(folder), check_exact=True)
        pd.testing.assert_frame_equal(tables.history, load_history(folder), check_exact=True)
        assert tables.damaged == {}


def test_damaged_records_are_named_for_all_tables_together(study: tuple[Path, Path]) -> None:
    output, _ = study
    first, second, *_ = lossbench.load_runs(output)["run_id"]
    (output / "runs" / first / "predictions.npz").write_bytes(b"torn")
    (output / "runs" / second / "history.csv").write_text("epoch\nmany\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert set(archive.load_tables(output, damaged="skip").damaged) == {first, second}
    with pytest.raises(ValueError, match=rf"{first}.predictions\.npz is damaged"):
        archive.load_tables(output)


# Damage of every kind: what does not fit is named and left out; what has no checksums is read and marked as unproven.


def unseal(path: Path) -> None:
    """Make a result or a study what an earlier version wrote."""
    values = json.loads(path.read_text(encoding="utf-8"))
    del values[CHECKSUMS]
    path.write_text(json.dumps(values), encoding="utf-8")


@pytest.mark.parametrize("name", ["config.json", "history.csv", "predictions.npz", "result.json"])
def test_a_changed_digit_in_any_file_of_a_record_is_found(output: Path, name: str) -> None:
    record = next(records.find_records(output))
    content = (record.path / name).read_bytes()
    place = next(index for index, byte in enumerate(content) if chr(byte).isdigit())
    (record.path / name).write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.warns(UserWarning, match=record.path.name):
        assert record.path.name in archive.load_tables(output, damaged="skip").damaged


def test_a_record_of_an_earlier_version_is_read_and_marked_as_unproven(output: Path) -> None:
    expected = load_runs(output)
    record = next(records.find_records(output))
    unseal(record.path / "result.json")
    runs = load_runs(output)
    pd.testing.assert_frame_equal(runs, expected)
    assert (expected.attrs["unproven"], runs.attrs["unproven"]) == ([], [record.path.name])


@pytest.mark.parametrize("table", packed.TABLES)
def test_a_changed_table_of_a_packed_study_is_found_and_the_study_left_out(
    study: tuple[Path, Path], tmp_path: Path, table: str
) -> None:
    output, first = study
    archive.pack(output, tmp_path / "reference" / "second")
    text = gzip.decompress((first / f"{table}.csv.gz").read_bytes()).replace(b"0", b"1", 1)
    (first / f"{table}.csv.gz").write_bytes(gzip.compress(text, mtime=0))
    with pytest.raises(ValueError, match=rf"{table}\.csv\.gz is damaged .*restore it or pack the study again"):
        archive.load_tables(first)
    with pytest.warns(UserWarning, match="1 damaged records are left out: first"):
        tables = archive.load_tables(first.parent, damaged="skip")
    assert (set(tables.runs["study"]), set(tables.history["study"])) == ({"second"}, {"second"})
    assert list(tables.damaged) == ["first"]


def test_a_study_that_was_packed_by_an_earlier_version_is_read_and_marked_as_unproven(study: tuple[Path, Path]) -> None:
    _, folder = study
    expected = vars(archive.load_tables(folder))
    unseal(folder / "study.json")
    for name, table in vars(archive.load_tables(folder)).items():
        pd.testing.assert_frame_equal(table, expected[name], check_exact=True)
        assert (expected[name].attrs["unproven"], table.attrs["unproven"]) == ([], [folder.name])


ODD = (None, True, "", "x", -1, 1.5, 1e308, 10**400, [], {}, [[]], "nan", float("nan"), float("inf"))


def spoil(rng: np.random.Generator, path: Path) -> None:
    """Change a value, a byte or the length of one file, as a disk, an editor or another program would."""
    content = path.read_bytes()
    kind = rng.integers(4)
    if kind == 0 and path.suffix == ".json":
        values = json.loads(content)
        name = str(rng.choice(sorted(values)))
        if rng.random() < 0.2:
            del values[name]
        else:
            values[name] = ODD[rng.integers(len(ODD))]
        path.write_text(json.dumps(values), encoding="utf-8")
    elif kind == 1:
        path.write_bytes(content[: rng.integers(len(content))])
    elif kind == 2:
        path.unlink()
    else:
        place = int(rng.integers(len(content)))
        path.write_bytes(content[:place] + rng.bytes(int(rng.integers(1, 9))) + content[place + 1 :])


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "of an earlier version"])
def test_hundreds_of_damaged_records_are_named_or_read_with_values_that_can_be(tmp_path: Path, sealed: bool) -> None:
    rng = np.random.default_rng(7)
    record = write_run(tmp_path / "good", RunConfig(epochs=2), images=100)
    if not sealed:
        unseal(record.path / "result.json")
    good = {path.name: path.read_bytes() for path in record.path.iterdir()}
    expected = archive.load_tables(tmp_path / "good")
    bad = tmp_path / "bad"
    folders = [bad / "runs" / f"run-{number}" for number in range(150)]
    for folder in folders:
        folder.mkdir(parents=True)
        for name, content in good.items():
            (folder / name).write_bytes(content)
        spoil(rng, folder / str(rng.choice(sorted(good))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tables = archive.load_tables(bad, damaged="skip")
    for name, table in vars(tables).items():
        left_out = set(table.attrs["damaged"])
        assert not left_out & set(table["run_id"]), name
        if sealed:
            one = getattr(expected, name).drop(columns="run_id")
            for run_id, rows in table.groupby("run_id"):
                pd.testing.assert_frame_equal(
                    rows.drop(columns="run_id").reset_index(drop=True), one, check_dtype=False, obj=f"{name} {run_id}"
                )
    assert all(text and "\n" not in text for text in tables.damaged.values())
    runs = tables.runs
    assert runs["status"].isin(["finished", "diverged"]).all()
    assert runs["test_accuracy"].dropna().between(0, 1).all()
    assert (runs["seconds"].dropna() >= 0).all()
    assert (runs["seed"] >= 0).all()


# One owner for a run: leases that are taken, kept alive, given up, and taken over from the dead.


def lease_of(folder: Path, owner: Owner, age: float = 0.0) -> Path:
    """A lease that `owner` touched `age` seconds ago."""
    folder.mkdir(exist_ok=True)
    path = folder / "lease.json"
    path.write_text(json.dumps({**owner.to_dict(), "token": "t"}))
    os.utime(path, (time.time() - age,) * 2)
    return path


@pytest.fixture
def ended() -> Owner:
    """A process of this machine that has ended."""
    child = fork(lambda: None)
    child.wait()
    return replace(Owner.me(), pid=child.pid, started=1)


def test_a_run_has_one_owner_until_the_block_ends(tmp_path: Path) -> None:
    with hold(tmp_path / "run") as lease:
        assert json.loads(lease.path.read_text())["pid"] == os.getpid()
        with (
            pytest.raises(Held, match=rf"is being worked on by process {os.getpid()} on") as caught,
            hold(lease.path.parent),
        ):
            pass
        assert caught.value.mine, "waiting for oneself would not end"
    assert not (tmp_path / "run").exists(), "nothing was written there"
    with hold(tmp_path / "run") as lease:
        (tmp_path / "run" / "result.json").touch()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["result.json"]


def test_an_error_in_the_block_gives_the_lease_back(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), hold(tmp_path / "run"):
        raise KeyboardInterrupt
    with hold(tmp_path / "run"):
        pass


def test_the_lease_of_a_killed_process_is_taken_at_once(tmp_path: Path) -> None:
    def keep() -> None:
        with hold(tmp_path):
            time.sleep(60)

    child = fork(keep)
    wait_for(lambda: (tmp_path / "lease.json").exists() and (tmp_path / "lease.json").read_text())
    with pytest.raises(Held) as caught, hold(tmp_path):
        pass
    assert not caught.value.mine
    child.send(signal.SIGKILL)
    wait_for(lambda: Path(f"/proc/{child.pid}/stat").read_text().rpartition(") ")[2][0] == "Z")
    with hold(tmp_path):  # the child is a zombie: nobody has asked for its exit code
        pass
    assert child.wait() == -signal.SIGKILL


def test_a_process_elsewhere_is_given_three_heartbeats(tmp_path: Path, ended: Owner) -> None:
    for elsewhere in (replace(ended, host="other"), replace(ended, space="another container")):
        lease_of(tmp_path, elsewhere, age=25)
        with (
            pytest.raises(Held, match=r"last heard of 2\d s ago; it is taken over after 30 s of silence"),
            hold(tmp_path),
        ):
            pass
        lease_of(tmp_path, elsewhere, age=31)
        with hold(tmp_path):
            pass


def test_a_dead_process_here_is_given_no_time(tmp_path: Path, ended: Owner) -> None:
    lease_of(tmp_path, ended)
    with hold(tmp_path):
        pass


def test_a_process_that_got_a_dead_one_s_number_is_not_taken_for_it(tmp_path: Path) -> None:
    lease_of(tmp_path, replace(Owner.me(), started=1))
    with hold(tmp_path):
        pass


def test_the_owner_s_clock_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lease_of(tmp_path, replace(Owner.me(), host="other"))
    for wrong in (0.0, time.time() + 10**6):
        monkeypatch.setattr(time, "time", lambda wrong=wrong: wrong)
        with pytest.raises(Held), hold(tmp_path):
            pass


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}'])
def test_a_lease_that_cannot_be_read_counts_by_its_age(tmp_path: Path, content: str) -> None:
    path = tmp_path / "lease.json"
    path.write_text(content)
    with pytest.raises(Held, match="worked on by another process"), hold(tmp_path):
        pass
    os.utime(path, (time.time() - 31,) * 2)
    with hold(tmp_path):
        pass


def test_of_eight_takers_of_a_stale_lease_one_gets_it(tmp_path: Path, ended: Owner) -> None:
    def take(folder: Path) -> None:
        wait_for((tmp_path / f"{folder.name}.go").exists)
        try:
            with hold(folder):
                wait_for((tmp_path / f"{folder.name}.end").exists)
        except Held:
            raise SystemExit(3) from None

    for turn in range(3):
        folder = tmp_path / str(turn)
        folder.mkdir()
        lease_of(folder, ended)
        children = [fork(lambda folder=folder: take(folder)) for _ in range(8)]
        (tmp_path / f"{turn}.go").touch()
        wait_for(lambda children=children: sum(child.poll() is not None for child in children) == 7)
        (tmp_path / f"{turn}.end").touch()
        assert Counter(child.wait() for child in children) == {0: 1, 3: 7}


def test_the_heart_beats_while_the_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.02)
    with hold(tmp_path) as lease:
        os.utime(lease.path, (0, 0))
        wait_for(lambda: lease.path.stat().st_mtime > 0)
        lease.check()


def test_an_owner_that_was_taken_over_learns_so_and_leaves_the_lease_alone(tmp_path: Path) -> None:
    with hold(tmp_path) as lease:
        lease_of(tmp_path, replace(Owner.me(), host="other"))
        lease.beat()
        with pytest.raises(Held, match="taken over by another process"):
            lease.check()
    assert json.loads((tmp_path / "lease.json").read_text())["host"] == "other"


def test_a_fresh_lease_is_never_removed_as_the_stale_one_it_followed_and_comes_back_when_deleted(
    tmp_path: Path,
) -> None:
    with hold(tmp_path) as lease:
        Lease(lease.path)._remove_stale("what it had judged to be stale")
        assert lease.path.read_text() == lease.text
        lease.path.unlink()
        lease.beat()
        assert lease.path.read_text() == lease.text
        assert not lease.lost


def test_a_takeover_waits_for_another_one_and_outlives_it(tmp_path: Path, ended: Owner) -> None:
    lease_of(tmp_path, ended)
    stale = (tmp_path / "lease.json").read_text()
    claim = tmp_path / f".lease.json.{sha256(stale.encode()).hexdigest()[:16]}"
    claim.touch()
    with pytest.raises(Held, match="being taken over by another process"), hold(tmp_path):
        pass
    os.utime(claim, (time.time() - 31,) * 2)
    with pytest.raises(Held), hold(tmp_path):  # removes what the killed taker left
        pass
    with hold(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == ["lease.json"]


# The committed studies: where they are found, and that they are what they say.

STUDIES = sorted(folder.name for folder in archive.reference_folder().iterdir() if folder.is_dir())


@pytest.mark.parametrize("name", STUDIES)
def test_a_committed_study_holds_the_runs_that_were_planned(name: str) -> None:
    planned = {config.run_id for config in REFERENCES[name].plan()}
    runs = load_runs(archive.reference_folder() / name)
    assert set(runs["run_id"]) == planned
    assert set(runs["status"]) <= {"finished", "diverged"}
    assert runs["commit"].notna().all()


@pytest.mark.parametrize("name", STUDIES)
def test_every_loss_of_a_committed_study_was_run_with_the_same_five_seeds_or_more(name: str) -> None:
    runs = load_runs(archive.reference_folder() / name)
    compared = ["seed", "run_id", "best_epoch", "seconds", "peak_memory_mb", "commit"]
    fields = [field for field in runs if field in runs.columns[:27] and field not in compared]
    seeds = runs.groupby(fields, dropna=False)["seed"].agg(frozenset)
    assert len(set(seeds)) == 1
    assert len(seeds.iloc[0]) >= 5


def test_the_committed_studies_are_found_from_the_repository_and_from_its_notebooks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = Path(__file__).resolve().parents[1]
    for folder in (root, root / "notebooks", tmp_path):
        monkeypatch.chdir(folder)
        assert archive.reference_folder().resolve() == root / "outputs" / "reference"


def test_without_the_repository_it_is_said_where_the_committed_studies_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(archive, "__file__", str(tmp_path / "site-packages" / "lossbench" / "records" / "archive.py"))
    with pytest.raises(FileNotFoundError, match="clone or install one of them"):
        archive.reference_folder()


# Many runs: planning, skipping and reading them stays quick, and a worker does not grow.
#
# Ten thousand runs may take 10 s; here a part of them may take ten times its share, since other programs may slow a
# test. `benchmarks/many_runs.py` measures.

RUNS = 600


@pytest.fixture(scope="module")
def output_scale(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    for config in plan(RUNS):
        write_invented(config, folder)
    return folder


@contextmanager
def in_time() -> Iterator[list[str]]:
    began = time.process_time()  # that of other programs does not count
    with opened_files() as opened:
        yield opened
    assert time.process_time() - began < 10 * 10 * RUNS / 10_000


def test_many_runs_are_planned_and_skipped_by_a_look_at_the_config_of_each(output_scale: Path) -> None:
    """Two configs may share a short id, so a folder's name alone does not say which run is in it."""
    with in_time() as opened:
        configs = plan(RUNS + 1)
        todo = [config for config in configs if not Record.of(config, output_scale).finished]
    assert (len(configs), todo) == (RUNS + 1, configs[-1:])
    assert {Path(name).name for name in opened} == {"config.json"}
    assert len(set(opened)) == len(opened) <= RUNS + 1


def test_the_table_of_many_runs_reads_each_record_once(output_scale: Path) -> None:
    with in_time() as opened:
        assert len(load_runs(output_scale)) == RUNS
    assert len(opened) == 2 * RUNS
    with in_time() as opened:
        assert len(load_runs(output_scale)) == RUNS
    assert opened == []


def test_the_curves_of_many_runs_open_a_file_a_run(output_scale: Path) -> None:
    load_runs(output_scale)
    with in_time() as opened:
        assert len(load_history(output_scale)) == 5 * RUNS
    assert len(opened) == RUNS


GROWTH = """
import sys
from pathlib import Path
from lossbench import RunConfig, run

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))

losses = ["cross_entropy", "focal", "proxy_nca", "adma", "triplet"]
for seed in range(50):
    run(RunConfig(dataset="shapes", loss=losses[seed % 5], epochs=1, train_size=100, seed=seed), sys.argv[1])
    if seed in (9, 49):
        print(resident())
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's memory there")
def test_a_worker_does_not_grow_over_fifty_runs(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", GROWTH, str(tmp_path)], capture_output=True, text=True, check=True)
    early, late = map(int, done.stdout.split())
    assert late < 1.05 * early


# Files that are whole or not there.


def test_a_failed_write_leaves_the_old_file_and_no_remains(tmp_path: Path) -> None:
    path = write_text(tmp_path / "result.json", "old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    assert write_text(tmp_path / "written", "x").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_missing_folders_are_made(tmp_path: Path) -> None:
    assert write_text(tmp_path / "a" / "b" / "c.txt", "ü").read_text(encoding="utf-8") == "ü"


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    with pytest.raises(NotADirectoryError, match=r"taken' is not a folder; choose another with --output"):
        require_writable(tmp_path / "taken")
    with pytest.raises(NotADirectoryError, match="is not a folder"):
        require_writable(tmp_path / "taken" / "below")


def test_an_output_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(PermissionError, match=r"cannot write to output '/proc/lossbench'.*--output"):
        require_writable(Path("/proc/lossbench"))  # holds for root too
