"""Read what was run: studies, their settings, and everything that was measured in them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from lossbench import archive, metrics, stats
from lossbench.losses import LOSSES
from lossbench.packed import packed_folders
from lossbench.plots import in_order
from lossbench.record import Record

FRACTION = 0.95


@dataclass(frozen=True)
class Evidence:
    """One setting: its runs with the epochs each one needed, their learning curves and their predictions in counts.

    Args:
        slug: a short name for files and links, such as `setting-1`.
        setting: name, shared fields, runs.
        history: a row an epoch of those runs, with `curve`, the accuracy that the epoch was chosen by.
        confusion: columns `run_id true predicted count`.
        reliability: columns `run_id bin low high count confidence accuracy`.
        class_names: in target order; empty where they are not known.
        damaged: run -> what is wrong with its record, for the whole folder.
        versions: of the libraries that the runs were made with, as text.
    """

    slug: str
    setting: stats.Setting
    history: pd.DataFrame
    confusion: pd.DataFrame
    reliability: pd.DataFrame
    class_names: list[str] = field(default_factory=list)
    damaged: Mapping[str, str] = field(default_factory=dict)
    versions: str = ""

    @property
    def runs(self) -> pd.DataFrame:
        """The table of runs."""
        return self.setting.runs

    @cached_property
    def floor(self) -> float:
        """The noise floor of the test accuracy."""
        return 0.0

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """Each configuration against cross-entropy, as `stats.compare` gives it."""
        return stats.compare(self.runs)

    @property
    def compared(self) -> bool:
        """Whether there is anything to compare with cross-entropy."""
        losses = set(self.runs["loss"])
        return "cross_entropy" in losses and len(losses) > 1

    @property
    def judged_on(self) -> str:
        """Which images the learning curves and the choice of the epoch are about."""
        return "test" if self.setting.fields.get("selection") == "best_test" else "validation"

    def by_probability(self) -> list[tuple[str, pd.DataFrame]]:
        """The runs of each probability function with its label, in the order they are taught."""
        labels = stats.probability_labels(self.runs)
        return [(name, self.runs[labels == name]) for name in dict.fromkeys(labels)]


@dataclass(frozen=True)
class Study:
    """Settings that were run for one purpose; a folder of runs is one study without a name."""

    slug: str
    name: str
    note: str
    settings: list[Evidence]

    @cached_property
    def runs(self) -> pd.DataFrame:
        """All runs; `setting` names the setting of each."""
        return pd.concat([one.runs.assign(setting=one.setting.name) for one in self.settings], ignore_index=True)


def read(output: Path) -> archive.AllTables:
    """Read everything in a folder; damaged records are left out, and named in the page.

    Raises:
        ValueError: there is no finished run.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        tables = archive.load_tables(output, damaged="skip")
    if tables.runs.empty:
        damaged = tables.damaged
        lost = f" ({len(damaged)} damaged: {', '.join(damaged)})" if damaged else ""
        raise ValueError(
            f"no finished runs under {str(output / 'runs')!r}{lost}; make some with `lossbench study thesis "
            f"--dataset fashion-mini --seeds 3 --output {output}` or `lossbench run --output {output}`"
        )
    return tables


def gather(output: Path, tables: archive.AllTables | None = None) -> list[Study]:
    """Sort what was `read` from `output` into studies and their settings; settings with more runs come first."""
    tables = read(output) if tables is None else tables
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        names = archive.load_class_names(output)
    studies, place = [], 1
    for folder, mine in _split(tables, output):
        study = _study(folder, output, mine, names, tables.damaged, place)
        studies.append(study)
        place += len(study.settings)
    return studies


def _split(tables: archive.AllTables, output: Path) -> list[tuple[Path | None, archive.AllTables]]:
    """The tables of each packed study with its folder; runs on disk are one study without a folder."""
    folders = packed_folders(output)
    if "study" not in tables.runs:
        return [(folders[0] if folders else None, tables)]
    parts: list[tuple[Path | None, archive.AllTables]] = []
    for folder in folders:
        mine = {
            name: table[table["study"] == folder.name].drop(columns="study") if "study" in table else table
            for name, table in vars(tables).items()
        }
        parts += [(folder, archive.AllTables(**mine))] if len(mine["runs"]) else []
    return parts


def _study(
    folder: Path | None,
    output: Path,
    tables: archive.AllTables,
    class_names: Mapping[str, list[str]],
    damaged: Mapping[str, str],
    place: int,
) -> Study:
    runs, history = in_order(stats.merge_idle(tables.runs)), tables.history
    history = history.assign(curve=stats.judged_accuracy(history))
    runs["label"] = [spell(label) for label in runs["label"]]
    runs["epochs_to_95"] = (
        runs["run_id"]
        .map(
            {
                run_id: metrics.epochs_to_reach(curve, FRACTION)
                for run_id, curve in history.groupby("run_id")["curve"]
                if len(curve)
            }
        )
        .astype(float)
    )
    description = archive.read_description(folder) if folder is not None else {}
    known = description.get("versions") or _versions_on_disk(output, runs)
    versions = ", ".join(f"{name} {' and '.join(values)}" for name, values in known.items())
    found = []
    for number, setting in enumerate(stats.settings(runs), start=place):
        # The table of runs knows the parameters of the probability function and how labels are written.
        names = setting.runs[["run_id", "probability_params", "label"]]
        ids = set(names["run_id"])
        confusion, reliability = (table[table["run_id"].isin(ids)] for table in (tables.confusion, tables.reliability))
        curves = history.drop(columns="label").merge(names, on="run_id")
        classes = class_names.get(str(setting.fields["dataset"]), [])
        evidence = Evidence(f"setting-{number}", setting, curves, confusion, reliability, classes, damaged, versions)
        found.append(evidence)
    name = str(description.get("name", ""))
    return Study(f"across-{folder.name}" if folder else "across", name, str(description.get("note", "")), found)


def _versions_on_disk(output: Path, runs: pd.DataFrame) -> dict[str, list[str]]:
    """As a packed study describes them, from the first record."""
    result = Record(output / "runs" / runs["run_id"].iloc[0]).result
    return {name: [version] for name, version in (result.get("versions") or {}).items()}


def spell(label: str) -> str:
    """The label of a loss as prose writes it."""
    name, *rest = label.split(" ")
    title = LOSSES[name].title if name in LOSSES else name.replace("_", " ")
    return " ".join([title, *rest])
