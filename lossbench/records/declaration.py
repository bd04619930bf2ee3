"""What a study declared before its runs: `<output>/study-plan.json`, an entry a setting or a tuned study.

A difference can be trusted as its level says only if losses, seeds, margin and looks were chosen before anybody saw the
scores. So the first start of a study writes them down. Nothing takes an entry back once a run of its setting has
finished; what a later start adds then is kept beside it, as added after looking.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from lossbench.config import RunConfig
from lossbench.files import require_writable, write_text
from lossbench.records.packed import packed_folders
from lossbench.records.record import Record, output_folder
from lossbench.stats.runs import COMPARED, IDLE

NAME = "study-plan.json"

Compared = dict[str, Any]  # loss, loss_params, probability, probability_params (parameters complete), label


@dataclass(frozen=True)
class Addition:
    """What was added to a setting when there were scores of it to look at; None and empty where nothing was."""

    time: str
    losses: list[Compared] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    margin: float | None = None
    looks: list[int] | None = None


@dataclass(frozen=True)
class TunedDeclaration:
    """What was declared for one data set of a tuned study before its runs.

    Args:
        setting: the fields of RunConfig that all its runs share; not those that are tuned.
        time: of the declaration, in UTC.
        losses: with the parameters that were given, in the order of the plan.
        space: the ranges, as `studies.space.describe` gives them.
        trials, studies, finals: points a loss and study, independent studies, final runs of each study's winner.
        widen: whether a range that holds a winner in its outer tenth is extended once, for all losses.
        margin: smallest difference of accuracy that matters, as a fraction.
        outcomes: columns of scores that are judged, the first one first.
        rule: how the finals are judged.
        runs: run id, study, loss and point of each trial; "point 0" is the default.
        finished_before: trials that had finished when it was declared, 0 for an honest declaration.
        widened: run id, study, loss and end of the range of each trial beyond a range, added by the rule above.
        winners: of each winner run id, study, loss, label, lr, weight_decay, the ends of ranges that are near, and the
            run ids of its finals; added when all trials had ended.
        conditions: of each condition under which the winners ran again its time, the changes of RunConfig, and the
            winners with the run ids of these finals; added when it was planned.
    """

    setting: dict[str, Any]
    time: str
    losses: list[dict[str, Any]]
    space: dict[str, Any]
    trials: int
    studies: int
    finals: int
    widen: bool
    margin: float
    outcomes: list[str]
    rule: str
    runs: list[dict[str, Any]]
    finished_before: int = 0
    widened: list[dict[str, Any]] = field(default_factory=list)
    winners: list[dict[str, Any]] = field(default_factory=list)
    conditions: list[dict[str, Any]] = field(default_factory=list)

    @property
    def trial_ids(self) -> set[str]:
        """The run ids of the trials, those beyond a range among them."""
        return {row["run_id"] for row in [*self.runs, *self.widened]}

    @property
    def plan(self) -> str:
        """What was declared, as text; the same when a later version of lossbench has more fields with defaults."""
        defaults, values = RunConfig.defaults(), self._declared
        changed = {name: value for name, value in self.setting.items() if value != defaults.get(name)}
        return _key({**values, "setting": changed})

    @property
    def digest(self) -> str:
        """Of what was declared and when; what the runs have added leaves it alone."""
        return hashlib.sha256(f"{self.time} {_key(self._declared)}".encode()).hexdigest()

    @property
    def _declared(self) -> dict[str, Any]:
        added = ("time", "finished_before", "widened", "winners", "conditions")
        return {name: value for name, value in asdict(self).items() if name not in added}


@dataclass(frozen=True)
class Declaration:
    """What was declared for one setting before its runs.

    Args:
        setting: the fields of RunConfig that all its runs share.
        time: of the declaration, in UTC.
        study: the study's name, None for losses that were compared without one.
        losses: what is compared under each probability function, cross-entropy too.
        seeds: of each; with looks, those of the last look.
        margin: smallest difference of accuracy that matters, as a fraction.
        looks: numbers of pairs after which the study looks and stops what is decided; None for a fixed number of seeds.
        finished_before: runs of the setting that had finished when it was declared, 0 for an honest declaration.
        added_after_looking: what later starts added.
        tuned: fields that are no part of the setting: each loss has its own value, in `losses`.
    """

    setting: dict[str, Any]
    time: str
    study: str | None
    losses: list[Compared]
    seeds: list[int]
    margin: float
    looks: list[int] | None
    finished_before: int = 0
    added_after_looking: list[Addition] = field(default_factory=list)
    tuned: list[str] = field(default_factory=list)

    @property
    def sequential(self) -> bool:
        """Whether the study was to go on until each loss is decided."""
        return self.looks is not None


def declared(output: str | os.PathLike[str] | None = None) -> list[Declaration]:
    """What was declared in an output folder, an entry a setting; empty for a folder without declarations.

    Raises: ValueError for a damaged file.
    """
    return _read(output)[0]


def declared_tuned(output: str | os.PathLike[str] | None = None) -> list[TunedDeclaration]:
    """The tuned studies that were declared in an output folder, or in the packed studies of a folder.

    Raises: ValueError for a damaged file.
    """
    folder = output_folder(output)
    return [plan for place in packed_folders(folder) or [folder] for plan in _read(place)[1]]


def declare_tuned(plan: TunedDeclaration, output: str | os.PathLike[str] | None = None) -> TunedDeclaration:
    """Write down a tuned study before its runs, or what its runs have added; returns it with the time it was declared.

    The same plan declared again keeps its time. Another plan stands beside it.
    """
    folder = require_writable(output_folder(output))
    settings, plans = _read(folder)
    earlier = next((entry for entry in plans if entry.plan == plan.plan), None)
    if earlier is None:
        finished = sum(Record(folder / "runs" / row["run_id"]).finished for row in plan.runs)
        plan = replace(plan, finished_before=finished)
        _write(folder, settings, [*plans, plan])
        return plan
    added = {name: getattr(plan, name) or getattr(earlier, name) for name in ("widened", "winners", "conditions")}
    current = replace(earlier, **added)
    if current != earlier:
        _write(folder, settings, [current if entry is earlier else entry for entry in plans])
    return current


def _read(output: str | os.PathLike[str] | None) -> tuple[list[Declaration], list[TunedDeclaration]]:
    path = output_folder(output) / NAME
    try:
        content = json.loads(path.read_bytes())
        settings = [
            Declaration(**{**entry, "added_after_looking": [Addition(**more) for more in entry["added_after_looking"]]})
            for entry in content["settings"]
        ]
        return settings, [TunedDeclaration(**entry) for entry in content.get("tuned", [])]
    except FileNotFoundError:
        return [], []
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); move it away, then the next start declares the study anew and says how many "
            "runs there were before"
        ) from error


def _write(folder: Path, settings: Sequence[Declaration], tuned: Sequence[TunedDeclaration]) -> None:
    content: dict[str, Any] = {"settings": [asdict(entry) for entry in settings]}
    if tuned:
        content["tuned"] = [asdict(entry) for entry in tuned]
    write_text(folder / NAME, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def declare(
    configs: Iterable[RunConfig],
    output: str | os.PathLike[str] | None = None,
    *,
    margin: float,
    looks: Sequence[int] | None = None,
    study: str | None = None,
    tuned: Sequence[str] = (),
) -> list[Declaration]:
    """Write down what is about to be run, before it is; what was declared for other settings stands.

    Args:
        configs: the whole plan, also of a part or of a study that may stop early.
        output: folder for results; None takes LOSSBENCH_OUTPUT, else `outputs`.
        margin: smallest difference of accuracy that matters, as a fraction.
        looks: of a study that goes on until each loss is decided.
        study: its name.
        tuned: fields that each loss may have its own value of.

    Returns: every declaration of the folder.
    """
    folder = require_writable(output_folder(output))
    before, studies = _read(folder)
    entries = {_key(entry.setting): entry for entry in before}
    plans: dict[str, list[RunConfig]] = {}
    for config in configs:
        plans.setdefault(_key(setting_of(config, tuned)), []).append(config)
    for key, plan in plans.items():
        finished = sum(Record.of(config, folder).finished for config in plan)
        entry = Declaration(
            setting=setting_of(plan[0], tuned),
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            study=study,
            losses=_distinct(_compared(config, tuned) for config in plan),
            seeds=sorted({config.seed for config in plan}),
            margin=margin,
            looks=None if looks is None else list(looks),
            finished_before=finished,
            tuned=sorted(tuned),
        )
        if key in entries and finished:
            entry = _with_additions(entries[key], entry)
        entries[key] = entry
    after = list(entries.values())
    if after != before:
        _write(folder, after, studies)
    return after


def trials_table(runs: pd.DataFrame, declaration: TunedDeclaration) -> pd.DataFrame:
    """The trials of a declared study that have a record, in the order of the plan, with `study` and `point`."""
    return _at_their_places(runs, [{k: row[k] for k in ("run_id", "study", "point")} for row in declaration.runs])


def widened_table(runs: pd.DataFrame, declaration: TunedDeclaration) -> pd.DataFrame:
    """The trials beyond a range that have a record, with `study` and the `end` of the range that they lie beyond."""
    return _at_their_places(runs, [{k: row[k] for k in ("run_id", "study", "end")} for row in declaration.widened])


def finals_table(
    runs: pd.DataFrame, declaration: TunedDeclaration, condition: dict[str, Any] | None = None
) -> pd.DataFrame:
    """The finals of a declared study that have a record, with the `study` whose winner they repeat.

    `condition` is one of the declaration's; its finals are then meant.
    """
    winners = declaration.winners if condition is None else condition["winners"]
    return _at_their_places(
        runs, [{"run_id": final, "study": row["study"]} for row in winners for final in row["finals"]]
    )


def _at_their_places(runs: pd.DataFrame, rows: list[dict[str, Any]]) -> pd.DataFrame:
    places = pd.DataFrame(rows, columns=list(rows[0]) if rows else ["run_id", "study"])
    return places.merge(runs.drop(columns="study", errors="ignore").drop_duplicates("run_id"), on="run_id")


def setting_of(config: RunConfig, tuned: Sequence[str] = ()) -> dict[str, Any]:
    """The fields of a config that all runs of its setting share, the `tuned` not among them; an idle one is default."""
    values, defaults = config.trained(), RunConfig.defaults()
    idle = {name: defaults[name] for name, switch in IDLE.items() if not values[switch]}
    return {name: value for name, value in {**values, **idle}.items() if name not in (*COMPARED, *tuned)}


def _with_additions(first: Declaration, now: Declaration) -> Declaration:
    """The first declaration, and what is in the one of now but neither in it nor among its additions.

    More seeds for the looks that were declared are no addition: the levels of those looks provide for them.
    """
    known: list[Declaration | Addition] = [first, *first.added_after_looking]
    losses, seeds = ([item for entry in known for item in getattr(entry, name)] for name in ("losses", "seeds"))
    provided = now.looks is not None and now.looks in [entry.looks for entry in known]
    addition = Addition(
        now.time,
        [loss for loss in now.losses if loss not in losses],
        [] if provided else [seed for seed in now.seeds if seed not in seeds],
        None if now.margin in [entry.margin for entry in known] else now.margin,
        None if now.looks in [entry.looks for entry in known] else now.looks,
    )
    if addition == Addition(now.time):
        return first
    return replace(first, added_after_looking=[*first.added_after_looking, addition])


def _compared(config: RunConfig, tuned: Sequence[str]) -> Compared:
    own = {"tuned": {name: getattr(config, name) for name in sorted(tuned)}} if tuned else {}
    return {
        "label": config.label,
        "loss": config.loss,
        "loss_params": config.full_loss_params,
        "probability": config.probability,
        "probability_params": config.full_probability_params,
        **own,
    }


def _distinct(losses: Iterable[Compared]) -> list[Compared]:
    return list({_key(loss): loss for loss in losses}.values())


def _key(values: dict[str, Any]) -> str:
    return json.dumps(values, sort_keys=True)
