"""Read what was run: studies, their settings, and everything that was measured in them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from lossbench import archive, metrics, stats
from lossbench.config import RunConfig
from lossbench.packed import packed_folders
from lossbench.plots import in_order
from lossbench.record import Record

FRACTION = 0.95
SPELLING = {
    "cross_entropy": "cross-entropy",
    "kl_divergence": "KL divergence",
    "js_divergence": "JS divergence",
    "mse": "MSE",
    "adma": "Adma",
}


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
    def floor(self) -> stats.NoiseFloor:
        """The noise floor of the test accuracy."""
        return stats.noise_floor(self.runs)

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """Each configuration against cross-entropy, as `stats.compare` gives it."""
        return stats.compare(self.runs, floor=self.floor)

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


def gather(output: Path) -> list[Study]:
    """Read all finished runs, study by study; settings with more runs come first.

    Raises:
        ValueError: there are none.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # damaged records are named in the page
        tables = {
            name: load(output, damaged="skip")
            for name, load in (
                ("runs", archive.load_runs),
                ("history", archive.load_history),
                ("confusion", archive.load_confusion),
                ("reliability", archive.load_reliability),
            )
        }
        names = archive.load_class_names(output)
    damaged = {key: said for table in tables.values() for key, said in table.attrs.get("damaged", {}).items()}
    if tables["runs"].empty:
        lost = f" ({len(damaged)} damaged: {', '.join(damaged)})" if damaged else ""
        raise ValueError(
            f"no finished runs under {str(output / 'runs')!r}{lost}; make some with `lossbench study thesis "
            f"--dataset fashion-mini --seeds 3 --output {output}` or `lossbench run --output {output}`"
        )
    studies, place = [], 1
    for folder, mine in _split(tables, output):
        study = _study(folder, output, mine, names, damaged, place)
        studies.append(study)
        place += len(study.settings)
    return studies


def _split(tables: Mapping[str, pd.DataFrame], output: Path) -> list[tuple[Path | None, dict[str, pd.DataFrame]]]:
    """The tables of each packed study with its folder; runs on disk are one study without a folder."""
    folders = packed_folders(output)
    if "study" not in tables["runs"]:
        return [(folders[0] if folders else None, dict(tables))]
    parts: list[tuple[Path | None, dict[str, pd.DataFrame]]] = []
    for folder in folders:
        mine = {
            name: table[table["study"] == folder.name].drop(columns="study") if "study" in table else table
            for name, table in tables.items()
        }
        parts += [(folder, mine)] if len(mine["runs"]) else []
    return parts


def _study(
    folder: Path | None,
    output: Path,
    tables: Mapping[str, pd.DataFrame],
    class_names: Mapping[str, list[str]],
    damaged: Mapping[str, str],
    place: int,
) -> Study:
    runs, history = in_order(_without_idle_fields(tables["runs"])), _with_curve(tables["history"])
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
        setting = replace(setting, name=re.sub(r", \w+ not set", "", setting.name))
        # The table of runs knows the parameters of the probability function and how labels are written.
        names = setting.runs[["run_id", "probability_params", "label"]]
        ids = set(names["run_id"])
        confusion, reliability = (
            tables[name][tables[name]["run_id"].isin(ids)] for name in ("confusion", "reliability")
        )
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


def _without_idle_fields(runs: pd.DataFrame) -> pd.DataFrame:
    """Let runs that differ only in a field without effect meet in one setting; of two such runs the first is kept."""
    idle = {"weight_decay_on": runs["weight_decay"] == 0, "noise_kind": runs["label_noise"] == 0}
    table = runs.assign(
        **{name: runs[name].mask(off, RunConfig.__dataclass_fields__[name].default) for name, off in idle.items()}
    )
    kept = ~table.astype(str).duplicated(list(RunConfig.__dataclass_fields__))
    return table[kept]


def spell(label: str) -> str:
    """The label of a loss as prose writes it."""
    name, *rest = label.split(" ")
    return " ".join([SPELLING.get(name, name.replace("_", " ")), *rest])


def _with_curve(history: pd.DataFrame) -> pd.DataFrame:
    """Add `curve`: validation accuracy, or test accuracy where the epoch was chosen on the test images."""
    columns = [name for name in ("val_accuracy", "test_accuracy") if name in history]
    if not columns:
        return history.assign(curve=float("nan"))
    return history.assign(curve=history[columns].astype(float).bfill(axis=1).iloc[:, 0])
