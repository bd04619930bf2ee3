"""Keep a study in a repository: `pack` writes its tables without images and weights, the readers read them back.

Every reader takes an output folder (`<output>/runs/`), a packed study, or a folder of packed studies, where a column
`study` comes first; so an analysis moves from one to the other by changing a path.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lossbench.files import SHIPPED
from lossbench.records.declaration import NAME as DECLARED
from lossbench.records.declaration import TunedDeclaration, declared_tuned
from lossbench.records.packed import TABLES, Row, packed_folders, read_description, read_study, write_study
from lossbench.records.record import Record, output_folder
from lossbench.records.tables import Damaged, Damages, live_rows, load_history, load_runs, read_tables
from lossbench.registry import unknown

__all__ = [
    "AllTables",
    "load_class_names",
    "load_history",
    "load_runs",
    "load_tables",
    "pack",
    "read_description",
    "reference",
    "reference_folder",
]

Output = str | os.PathLike[str] | None

REFERENCE = Path("outputs") / "reference"
OF_TEST_IMAGES = ("confusion", "reliability", "folds")


@dataclass(frozen=True)
class AllTables:
    """Everything that is kept of a study.

    Args:
        runs, history: what `load_runs` and `load_history` give.
        confusion: `run_id true predicted count`: test images by class index (`load_class_names` names them); pairs that
            never occur have no row, a run without predictions, such as a diverged one, has none at all.
        reliability: `run_id bin low high count confidence accuracy`: how often a run is right at each level of
            confidence, in 15 equal bins as of `metrics.reliability_table`; the last two are nan where no image falls.
        folds: `run_id fold` and the scores of `stats.score_folds` on ten stratified folds of the test images, the same
            for all runs of a data set; a run with fewer than ten test images in some class has no rows.
    """

    runs: pd.DataFrame
    history: pd.DataFrame
    confusion: pd.DataFrame
    reliability: pd.DataFrame
    folds: pd.DataFrame

    @property
    def damaged(self) -> dict[str, str]:
        """Run -> what is wrong with its record, for those that were skipped."""
        return {
            key: message for table in vars(self).values() for key, message in table.attrs.get("damaged", {}).items()
        }

    def joined(self, other: AllTables) -> AllTables:
        """The tables of both."""
        both = zip(vars(self).items(), vars(other).values(), strict=True)
        return AllTables(**{name: pd.concat([mine, more], ignore_index=True) for (name, mine), more in both})

    def without(self, run_ids: Collection[str]) -> AllTables:
        """The tables without these runs."""
        return AllTables(**{name: table[~table["run_id"].isin(run_ids)] for name, table in vars(self).items()})


def load_tables(output: Output = None, *, damaged: Damaged = "raise") -> AllTables:
    """Read all tables of a folder, each file once; arguments and errors are those of `load_runs`."""
    return AllTables(**read_tables(TABLES, output, damaged=damaged))


def reference_folder() -> Path:
    """The folder of the studies that are committed with lossbench, each with at least five paired seeds.

    Looks from the working directory, or from its parent where that is `notebooks`, then beside the package and in it.

    Raises: FileNotFoundError when they are nowhere.
    """
    beside = Path(__file__).resolve().parents[2] / REFERENCE
    for place in (REFERENCE, Path("..") / REFERENCE, beside, SHIPPED / "reference"):
        if packed_folders(place):
            return place
    raise FileNotFoundError(
        "the committed studies are not here: they are in outputs/reference of the repository and in the wheel; clone "
        "or install one of them, or read your own runs, such as those in 'outputs'"
    )


def reference(table: str = "runs") -> pd.DataFrame:
    """One table of the committed studies, a column `study` first: `runs history confusion reliability folds`."""
    if table not in TABLES:
        raise ValueError(unknown("table", table, TABLES))
    return read_tables([table], reference_folder())[table]


def load_class_names(output: Output = None) -> dict[str, list[str]]:
    """The names of the classes of each data set, in target order."""
    folder = output_folder(output)
    if studies := packed_folders(folder):
        return {
            dataset: facts["class_names"]
            for study in studies
            for dataset, facts in read_description(study)["datasets"].items()
        }
    runs = load_runs(folder, damaged="skip").drop_duplicates("dataset")
    return {
        dataset: Record(folder / "runs" / run_id).result["class_names"]
        for dataset, run_id in zip(runs["dataset"], runs["run_id"], strict=True)
    }


def pack(
    output: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    name: str | None = None,
    note: str = "",
    overwrite: bool = False,
) -> Path:
    """Write the tables of all runs under `output` into `folder`, small enough for a repository.

    `folder` gets `runs.csv.gz`, `history.csv.gz`, `confusion.csv.gz`, `reliability.csv.gz`, `folds.csv.gz`,
    `study.json`, and `study-plan.json` where the study was declared. Numbers come back exactly. The same runs give the
    same bytes. The trials of a tuned study, which are judged by their validation accuracy, have no rows in the last
    three tables. The folder is whole or as it was: an earlier packed study in it is replaced, never merged.

    Args:
        output: an output folder with finished runs.
        folder: where to; its parents are made.
        name: what the study is called; None takes the folder's name.
        note: a sentence or two for the reader of `study.json`.
        overwrite: also replace a packed study that holds runs which `output` does not.

    Returns: `folder`.

    Raises: ValueError when `output` holds no finished run, an unfinished or a damaged one, or when `folder` holds
        something else than a packed study or, without `overwrite`, runs that would be lost.
    """
    source, goal = Path(output), Path(folder)
    tables = leave_out_trials(_tables_of(source), declared_tuned(source))
    _require_replaceable(goal, {row["run_id"] for row in tables["runs"]}, overwrite)
    goal.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=goal.parent, prefix=f".{goal.name}.") as scratch:
        fresh = Path(scratch) / "new"
        fresh.mkdir()
        write_study(fresh, _describe(source, tables["runs"], name or goal.name, note), tables)
        if (source / DECLARED).exists():
            (fresh / DECLARED).write_bytes((source / DECLARED).read_bytes())
        _swap(fresh, goal, Path(scratch) / "old")
    return goal


def _tables_of(source: Path) -> dict[str, list[Row]]:
    if packed_folders(source):
        raise ValueError(f"{str(source)!r} holds packed studies; give the output folder that their runs are in")
    tables, _ = live_rows(source, TABLES, Damages("raise"))
    runs = tables["runs"]
    if not runs:
        raise ValueError(f"no finished runs under {str(source / 'runs')!r}; run a study with --output {source} first")
    finished = {row["run_id"] for row in runs}
    begun = sorted(path.parent.name for path in source.glob("runs/*/config.json"))
    if unfinished := [run_id for run_id in begun if run_id not in finished]:
        raise ValueError(
            f"{len(unfinished)} of {len(begun)} runs under {str(source)!r} are not finished, such as "
            f"{unfinished[0]!r}; finish the study (it goes on where it stopped) or delete their folders"
        )
    return tables


def leave_out_trials(tables: dict[str, list[Row]], plans: Iterable[TunedDeclaration]) -> dict[str, list[Row]]:
    """The tables without what the trials of tuned studies were on single test images."""
    trials = set[str]().union(*(plan.trial_ids for plan in plans))
    kept = {table: [row for row in tables[table] if row["run_id"] not in trials] for table in OF_TEST_IMAGES}
    return tables | kept


def _describe(source: Path, runs: Sequence[Row], name: str, note: str) -> dict[str, Any]:
    """What a reader must know about a study before its numbers."""
    results = [Record(source / "runs" / row["run_id"]).result for row in runs]
    by_dataset: dict[str, list[Row]] = {dataset: [] for dataset in _distinct(row["dataset"] for row in runs)}
    for row, result in zip(runs, results, strict=True):
        by_dataset[row["dataset"]].append(result)
    versions = [result.get("versions", {}) for result in results]
    return {
        "name": name,
        "note": note,
        "runs": len(runs),
        "statuses": dict(sorted(Counter(row["status"] for row in runs).items())),
        "seeds": _distinct(row["seed"] for row in runs),
        "hours": round(sum(row["seconds"] for row in runs) / 3600, 2),
        "commits": _distinct(row.get("commit") for row in runs),
        "devices": _distinct(row.get("device") for row in runs),
        "versions": {
            package: _distinct(found.get(package) for found in versions)
            for package in _distinct(package for found in versions for package in found)
        },
        "datasets": {dataset: _describe_dataset(dataset, found) for dataset, found in by_dataset.items()},
    }


def _describe_dataset(dataset: str, results: Sequence[Row]) -> dict[str, Any]:
    classes = {tuple(result["class_names"]) for result in results}
    if len(classes) > 1:
        raise ValueError(f"the runs of {dataset!r} have different classes; pack them as different studies")
    return {
        "class_names": list(classes.pop()),
        "fingerprints": _distinct(result.get("dataset_fingerprint") for result in results),
        "train_images": _distinct(result.get("train_images") for result in results),
        "test_images": _distinct(result.get("test_images") for result in results),
    }


def _distinct(values: Iterable[Any]) -> list[Any]:
    return sorted({value for value in values if value is not None})


def _require_replaceable(folder: Path, run_ids: Collection[str], overwrite: bool) -> None:
    if not folder.exists():
        return
    ours = {"study.json", DECLARED, *(f"{table}.csv.gz" for table in TABLES)}
    if not folder.is_dir() or (others := sorted(path.name for path in folder.iterdir() if path.name not in ours)):
        what = f"holds {others[0]!r}" if folder.is_dir() else "is a file"
        raise ValueError(f"{str(folder)!r} {what}, so it is no packed study; choose another folder")
    if overwrite or not (folder / "study.json").exists():
        return
    if lost := sorted({row["run_id"] for row in read_study(folder, ["runs"])[0]["runs"]} - set(run_ids)):
        raise ValueError(
            f"{str(folder)!r} holds {len(lost)} runs that would be lost, such as {lost[0]!r}; "
            "choose another folder or pass overwrite=True"
        )


def _swap(fresh: Path, folder: Path, old: Path) -> None:
    """Put `fresh` in the place of `folder`, which is put back if that fails."""
    if folder.exists():
        folder.rename(old)
    try:
        fresh.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
