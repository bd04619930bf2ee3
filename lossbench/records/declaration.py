"""What a study declared before its runs: `<output>/study-plan.json`, an entry a setting.

A difference can be trusted as its level says only if losses, seeds, margin and looks were chosen before anybody saw the
scores. So the first start of a study writes them down. Nothing takes an entry back once a run of its setting has
finished; what a later start adds then is kept beside it, as added after looking.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from lossbench.config import RunConfig
from lossbench.files import require_writable, write_text
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
    path = output_folder(output) / NAME
    try:
        entries = json.loads(path.read_bytes())["settings"]
        return [
            Declaration(**{**entry, "added_after_looking": [Addition(**more) for more in entry["added_after_looking"]]})
            for entry in entries
        ]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); move it away, then the next start declares the study anew and says how many "
            "runs there were before"
        ) from error


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
    before = declared(folder)
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
        text = json.dumps({"settings": [asdict(entry) for entry in after]}, indent=1, ensure_ascii=False)
        write_text(folder / NAME, text + "\n")
    return after


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
