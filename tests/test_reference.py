"""The committed studies: where they are found, and that they are what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.reference import REFERENCES
from lossbench import archive, load_runs

STUDIES = sorted(folder.name for folder in archive.reference_folder().iterdir())


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
    monkeypatch.setattr(archive, "__file__", str(tmp_path / "site-packages" / "lossbench" / "archive.py"))
    with pytest.raises(FileNotFoundError, match="clone the repository"):
        archive.reference_folder()
