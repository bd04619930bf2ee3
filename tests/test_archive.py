"""A packed study says what the runs said: the same tables, without their images and weights."""

from __future__ import annotations

import gzip
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu
from sklearn import metrics as oracle

import lossbench
from conftest import CLASSES, write_run
from lossbench import RunConfig, archive, metrics, packed, stats
from lossbench.records import Record, load_predictions

READERS = ("load_runs", "load_history", "load_confusion", "load_reliability", "load_folds")
LOSSES = (("cross_entropy", {}), ("focal", {"gamma": 0.5}))


@pytest.fixture
def study(study_folder: Callable[..., Path], tmp_path: Path) -> tuple[Path, Path]:
    """Eight invented runs, one of them diverged, and the folder that they are packed into."""
    output = study_folder(LOSSES, seeds=(0, 1), epochs=3, diverged={("focal", "taylor_softmax", 1)})
    return output, archive.pack(output, tmp_path / "reference" / "first", note="invented")


def read_all(folder: Path) -> dict[str, pd.DataFrame]:
    return {name: getattr(archive, name)(folder) for name in READERS}


@pytest.mark.parametrize("reader", READERS)
def test_a_packed_study_gives_the_tables_of_its_runs(study: tuple[Path, Path], reader: str) -> None:
    live, stored = (getattr(archive, reader)(folder) for folder in study)
    assert len(live)
    pd.testing.assert_frame_equal(live, stored, check_exact=True)


@pytest.mark.parametrize("reader", READERS)
def test_a_folder_of_packed_studies_says_which_study_a_row_is_from(
    study: tuple[Path, Path], tmp_path: Path, reader: str
) -> None:
    output, first = study
    archive.pack(output, tmp_path / "reference" / "second")
    both, one = (getattr(archive, reader)(folder) for folder in (first.parent, first))
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
    counts = archive.load_confusion(folder, [run_id]).pivot_table("count", "true", "predicted", fill_value=0)
    target, log_probs = load_predictions(run_id, output)
    assert (counts.to_numpy() == oracle.confusion_matrix(target, log_probs.argmax(1))).all()
    false_positives = counts.sum() - np.diag(counts)
    assert false_positives.tolist() == metrics.false_positives(log_probs, target).tolist()


def test_reliability_bins_hold_every_image_and_average_to_the_accuracy(study: tuple[Path, Path]) -> None:
    output, folder = study
    runs = lossbench.load_runs(output).query("status == 'finished'").set_index("run_id")
    bins = archive.load_reliability(folder)
    for run_id, rows in bins.groupby("run_id"):
        assert (rows["bin"].tolist(), rows["count"].sum()) == (list(range(15)), runs.loc[run_id, "test_images"])
        mean = (rows["accuracy"] * rows["count"]).sum() / rows["count"].sum()
        assert mean == pytest.approx(runs.loc[run_id, "test_accuracy"], abs=1e-12)


def test_fold_scores_compare_as_they_do_from_predictions(study: tuple[Path, Path]) -> None:
    output, folder = study
    ids = lossbench.load_runs(output)["run_id"].iloc[[0, 4]].tolist()
    scores = archive.load_folds(folder, ids).pivot_table("accuracy", "fold", "run_id")[ids]
    found = stats.compare_folds(scores).iloc[0]
    assert found["p_mann_whitney"] == mannwhitneyu(scores[ids[0]], scores[ids[1]], method="auto").pvalue


def test_folds_without_a_score_and_single_losses_are_not_compared(study: tuple[Path, Path]) -> None:
    scores = archive.load_folds(study[1]).pivot_table("accuracy", "fold", "run_id")
    with pytest.raises(ValueError, match="1 loss"):
        stats.compare_folds(scores.iloc[:, :1])
    with pytest.raises(ValueError, match="some folds have no score"):
        stats.compare_folds(scores.shift(1))


def test_predictions_of_a_packed_study_are_not_there_and_the_error_says_what_is(study: tuple[Path, Path]) -> None:
    _, folder = study
    with pytest.raises(FileNotFoundError, match=r"packed studies have no predictions; .* load_confusion"):
        load_predictions(lossbench.load_runs(folder)["run_id"].iloc[0], folder)


def test_fold_scores_hold_the_distances_on_the_class_tree_where_one_is_known(study: tuple[Path, Path]) -> None:
    folds = archive.load_folds(study[1])
    assert folds[["tree_distance", "mistake_distance", "critical_error"]].notna().all(axis=None)
    assert folds.groupby("run_id").size().eq(10).all()


def test_a_diverged_run_is_packed_and_counted(study: tuple[Path, Path]) -> None:
    _, folder = study
    runs = lossbench.load_runs(folder)
    assert archive.read_description(folder)["statuses"] == {"diverged": 1, "finished": 7}
    (lost,) = runs.loc[runs["status"] == "diverged", "run_id"]
    assert lost in set(archive.load_history(folder)["run_id"])
    assert lost not in set(archive.load_confusion(folder)["run_id"])


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


def test_a_truncated_table_is_found(study: tuple[Path, Path]) -> None:
    path = study[1] / "history.csv.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"history.csv.gz is damaged"):
        lossbench.load_history(study[1])


def test_damaged_predictions_are_named_or_skipped(study: tuple[Path, Path]) -> None:
    output, _ = study
    path = next(output.glob("runs/*/predictions.npz"))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"predictions.npz is damaged"):
        archive.load_confusion(output)
    with pytest.warns(UserWarning, match=path.parent.name):
        counts = archive.load_confusion(output, damaged="skip")
    assert path.parent.name not in set(counts["run_id"])
    assert list(counts.attrs["damaged"]) == [path.parent.name]


def test_test_images_too_few_for_ten_folds_have_no_fold_scores(tmp_path: Path) -> None:
    write_run(tmp_path / "few", RunConfig(epochs=2), images=95)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert archive.load_folds(tmp_path / "few").empty


def test_every_kind_of_value_comes_back_as_it_was(tmp_path: Path) -> None:
    rows = [
        {"t": "1e5", "n": None, "i": 3, "f": 0.1 + 0.2, "b": True, "mixed": "", "none": None},
        {"t": "", "n": "a,b\n'\"", "i": None, "f": 1e-300 / 3, "b": None, "mixed": None, "later": 7},
    ]
    packed.write_study(tmp_path, {}, {"runs": rows})
    names = ("t", "n", "i", "f", "b", "mixed", "none", "later")
    expected = [{name: row.get(name) for name in names} for row in rows]
    assert packed.read_rows(tmp_path, "runs") == expected
    assert all(type(a) is type(b) for got, row in zip(packed.read_rows(tmp_path, "runs"), expected, strict=True)
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
        for name, table in read_all(folder).items():
            pd.testing.assert_frame_equal(getattr(tables, name.removeprefix("load_")), table, check_exact=True)
        assert tables.damaged == {}


def test_damaged_records_are_named_for_all_tables_together(study: tuple[Path, Path]) -> None:
    output, _ = study
    first, second, *_ = lossbench.load_runs(output)["run_id"]
    (output / "runs" / first / "predictions.npz").write_bytes(b"torn")
    (output / "runs" / second / "history.csv").write_text("epoch\nmany\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert set(archive.load_tables(output, damaged="skip").damaged) == {first, second}
    with pytest.raises(ValueError, match=rf"{second}.history\.csv is damaged"):
        archive.load_tables(output)
