"""Read what was run: studies, their settings, and everything that was measured in them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from lossbench import stats
from lossbench.plots import in_order, titles_of
from lossbench.records import archive
from lossbench.records.declaration import Declaration, declared
from lossbench.records.packed import packed_folders
from lossbench.records.record import Record
from lossbench.stats import metrics
from lossbench.stats.paired import LOOK_LEVEL

FRACTION = 0.95


@dataclass(frozen=True)
class Evidence:
    """One setting: its runs with the epochs each one needed, their learning curves and their predictions in counts.

    Args:
        slug: a short name for files and links, such as `setting-1`.
        study: the folder of the packed study; empty for runs on disk.
        setting: name, shared fields, runs.
        history: a row an epoch of those runs, with `curve`, the accuracy that the epoch was chosen by.
        confusion: columns `run_id true predicted count`.
        reliability: columns `run_id bin low high count confidence accuracy`.
        class_names: in target order; empty where they are not known.
        damaged: run -> what is wrong with its record, for the whole folder.
        versions: of the libraries that the runs were made with, as text.
        declaration: what was written down before the runs; None if nothing was.
    """

    slug: str
    study: str
    setting: stats.Setting
    history: pd.DataFrame
    confusion: pd.DataFrame
    reliability: pd.DataFrame
    class_names: list[str] = field(default_factory=list)
    damaged: Mapping[str, str] = field(default_factory=dict)
    versions: str = ""
    declaration: Declaration | None = None

    @property
    def runs(self) -> pd.DataFrame:
        """The table of runs."""
        return self.setting.runs

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """Each configuration against cross-entropy, as `stats.compare` gives it, or `stats.sequential` as declared."""
        margin = self.declaration.margin if self.declaration else None
        if self.declaration and self.declaration.looks:
            table = stats.sequential(self.runs, margin=margin, tuned=self.tuned, looks=self.declaration.looks)
        else:
            table = stats.compare(self.runs, margin=margin, tuned=self.tuned)
        table = table.assign(study=self.study, setting=self.setting.name)
        functions = [name for name, _ in self.by_probability()]
        return table.sort_values("probability", key=lambda names: names.map(functions.index), kind="stable")

    @property
    def tuned(self) -> list[str]:
        """The fields that each loss was declared to have its own value of."""
        return self.declaration.tuned if self.declaration else []

    def text_of(self, name: str) -> str:
        """A field that the runs share, or of a tuned one the value of each loss."""
        if name not in self.tuned:
            return _number(self.setting.fields[name])
        values = self.runs.drop_duplicates("label").set_index("label")[name]
        return ", ".join(f"{_number(value)} for {self.titles[str(label)]}" for label, value in values.items())

    @property
    def coverage(self) -> str:
        """Of the intervals of differences: those of a study that looks more than once are wider."""
        looked = self.declaration is not None and self.declaration.sequential
        return f"{100 * (1 - LOOK_LEVEL):g} %" if looked else "95 %"

    @property
    def judged_on(self) -> str:
        """Which images the learning curves and the choice of the epoch are about."""
        return "test" if self.setting.fields.get("selection") == "best_test" else "validation"

    def by_probability(self) -> list[tuple[str, pd.DataFrame]]:
        """The runs of each probability function with its label, in the order they are taught."""
        labels = stats.probability_labels(self.runs)
        return [(name, self.runs[labels == name]) for name in dict.fromkeys(labels)]

    @cached_property
    def titles(self) -> dict[str, str]:
        """The label of each loss as readers see it."""
        return titles_of(self.runs)


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
    studies: list[Study] = []
    for folder, mine in _split(tables, output):
        first = 1 + sum(len(study.settings) for study in studies)
        studies.append(_study(folder, output, mine, tables.damaged, first))
    return studies


def _split(tables: archive.AllTables, output: Path) -> Iterator[tuple[Path | None, archive.AllTables]]:
    """The tables of each packed study with its folder; runs on disk are one study without a folder."""
    folders = packed_folders(output)
    if "study" not in tables.runs:
        yield (folders[0] if folders else None), tables
        return
    for folder in folders:
        mine = {
            name: table[table["study"] == folder.name].drop(columns="study") if "study" in table else table
            for name, table in vars(tables).items()
        }
        if len(mine["runs"]):
            yield folder, archive.AllTables(**mine)


def _study(
    folder: Path | None, output: Path, tables: archive.AllTables, damaged: Mapping[str, str], first: int
) -> Study:
    runs = in_order(stats.merge_idle(tables.runs))
    history = tables.history.assign(curve=stats.judged_accuracy(tables.history))
    curves = history.groupby("run_id")["curve"]
    needed = {run_id: metrics.epochs_to_reach(curve, FRACTION) for run_id, curve in curves if len(curve)}
    runs["epochs_to_95"] = runs["run_id"].map(needed).astype(float)
    about = archive.read_description(folder) if folder is not None else _describe(output, runs)
    versions = ", ".join(f"{name} {' and '.join(values)}" for name, values in about["versions"].items())
    declarations = declared(folder or output)
    settings = []
    for number, (setting, plan) in enumerate(_grouped(runs, declarations), start=first):
        # The table of runs knows the parameters of the probability function.
        names = setting.runs[["run_id", "probability_params"]]
        ids = set(names["run_id"])
        confusion, reliability = (table[table["run_id"].isin(ids)] for table in (tables.confusion, tables.reliability))
        classes = about["datasets"].get(setting.fields["dataset"], {}).get("class_names", [])
        own = history.merge(names, on="run_id")
        study = folder.name if folder and folder != output else ""
        counted = (own, confusion, reliability, classes, damaged, versions)
        settings.append(Evidence(f"setting-{number}", study, setting, *counted, plan))
    slug = f"across-{folder.name}" if folder else "across"
    return Study(slug, str(about.get("name", "")), str(about.get("note", "")), settings)


def _grouped(
    runs: pd.DataFrame, declarations: Sequence[Declaration]
) -> Iterator[tuple[stats.Setting, Declaration | None]]:
    """The settings with what was declared for them; runs that a plan with tuned fields names are kept together."""
    rows = [{str(name): value for name, value in row.items()} for row in runs.to_dict("records")]
    plain = [entry for entry in declarations if not entry.tuned]
    left = [True] * len(rows)
    for entry in declarations:
        if entry.tuned:
            own = [_names(entry, row) for row in rows]
            left = [other and not mine for other, mine in zip(left, own, strict=True)]
            yield from ((setting, entry) for setting in stats.settings(runs[own], entry.tuned))
    left = [other or any(_names(entry, row) for entry in plain) for other, row in zip(left, rows, strict=True)]
    for setting in stats.settings(runs[left]):
        yield setting, next((entry for entry in plain if _declares(entry, setting)), None)


def _names(declaration: Declaration, row: Mapping[str, Any]) -> bool:
    """Whether a declaration names this run: its setting, its loss, and that loss's own value of what is tuned."""
    shared = all(
        row[name] == value or (value is None and pd.isna(row[name]))
        for name, value in declaration.setting.items()
        if name in row
    )
    return shared and any(
        all(row[name] == value for name, value in {**_plain(loss), **loss.get("tuned", {})}.items())
        for loss in declaration.losses
    )


def _plain(loss: Mapping[str, Any]) -> dict[str, Any]:
    return {name: loss[name] for name in ("label", "probability")}


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _declares(declaration: Declaration, setting: stats.Setting) -> bool:
    """Whether these runs have the fields that were declared; a table has no None."""
    return all(
        value is None if pd.isna(setting.fields[name]) else setting.fields[name] == value
        for name, value in declaration.setting.items()
        if name in setting.fields
    )


def _describe(output: Path, runs: pd.DataFrame) -> dict[str, Any]:
    """What `study.json` says of a packed study: versions and the classes of each data set, from one record each."""
    results = {
        dataset: Record(output / "runs" / run_id).result
        for dataset, run_id in runs.drop_duplicates("dataset")[["dataset", "run_id"]].itertuples(index=False)
    }
    versions = next(iter(results.values())).get("versions") or {}
    return {
        "versions": {name: [version] for name, version in versions.items()},
        "datasets": {name: {"class_names": result.get("class_names", [])} for name, result in results.items()},
    }
