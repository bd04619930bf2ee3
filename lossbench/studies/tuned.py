"""A study in which every loss is tuned with the same budget: trials, the choice among them, and finals on fresh seeds.

Trials and finals are configs like any others, so that run ids, engines and going on after an end are theirs. What is
run next is a function of the records alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from lossbench.config import RunConfig
from lossbench.records.declaration import TunedDeclaration, declare_tuned, declared_tuned, finals_table, setting_of
from lossbench.records.record import Record, output_folder
from lossbench.records.tables import load_runs
from lossbench.stats.tuning import RULE, choose, judge_finals
from lossbench.studies.execute import Summary, require_fitting_data, run_configs
from lossbench.studies.plans import table
from lossbench.studies.space import (
    FINALS,
    STUDIES,
    TRIALS,
    TUNED_FIELDS,
    TUNED_LOSSES,
    LossSpec,
    describe,
    outer_ends,
    require_tunable,
    tuned,
)

OUTCOMES = ("test_accuracy", "test_macro_f1", "test_nll", "test_ece", "test_brier")
# What a condition may change: the training images, and which other images the features are judged on.
CONDITIONS = ("label_noise", "noise_kind", "imbalance", "train_size", "augmentation", "transfer")
FINAL_SEEDS = 1000  # the finals of study k have the seeds 1000 (k + 1), 1000 (k + 1) + 1, ...


@dataclass(frozen=True)
class TunedPlan:
    """A tuned study of one data set.

    Args:
        base: everything that is not tuned.
        losses: the first is what the others are compared with.
        trials, studies, finals: points a loss and study, independent studies, final runs of each study's winner.
        widen: extend a range once, for all losses, where a winner lies in its outer tenth.
        margin: smallest difference of accuracy that matters, as a fraction.
        conditions: fields of RunConfig under which the winners run again after the finals, such as
            `{"label_noise": 0.4}`; nothing is tuned anew. Of `CONDITIONS` only.
    """

    base: RunConfig
    losses: tuple[LossSpec, ...] = TUNED_LOSSES
    trials: int = TRIALS
    studies: int = STUDIES
    finals: int = FINALS
    widen: bool = True
    margin: float = 0.005
    conditions: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        least = {"trials": 2, "studies": 1, "finals": 1}
        for name, number in least.items():
            if getattr(self, name) < number:
                raise ValueError(f"{name} must be at least {number}, got {getattr(self, name)!r}")
        names = [name for name, _ in self.losses]
        if len(set(names)) < len(names):
            raise ValueError(f"each loss is tuned once, got {', '.join(names)}")
        for changes in self.conditions:
            self._require_condition(changes)

    def _require_condition(self, changes: Mapping[str, Any]) -> None:
        if strangers := [name for name in changes if name not in CONDITIONS]:
            raise ValueError(f"a condition is another value of one of {', '.join(CONDITIONS)}, got {strangers[0]}")
        if not changes or setting_of(replace(self.base, **changes)) == setting_of(self.base):
            told = ", ".join(f"{name}={value}" for name, value in changes.items()) or "nothing"
            raise ValueError(
                f"the condition {told} changes nothing beside the study's own setting; give another value, or with "
                "noise_kind a label_noise too: label_noise=0.4,noise_kind=asymmetric"
            )

    def points(self, beyond: str = "") -> dict[RunConfig, dict[str, Any]]:
        """Every trial, study by study, with its place in the plan; with `beyond` those of an extended range."""
        count = max(1, self.trials // 4) if beyond else self.trials
        places: dict[RunConfig, dict[str, Any]] = {}
        for study in range(self.studies):
            for i, config in enumerate(tuned(replace(self.base, seed=study), self.losses, count, beyond=beyond)):
                place: dict[str, Any] = {"run_id": config.run_id, "study": study, "loss": config.loss}
                places.setdefault(config, place | ({"end": beyond} if beyond else {"point": i % count}))
        return places

    def finals_of(self, config: RunConfig, study: int) -> list[RunConfig]:
        """The finals of a study's winner."""
        return [replace(config, seed=FINAL_SEEDS * (study + 1) + i) for i in range(self.finals)]

    def declaration(self) -> TunedDeclaration:
        """What is written down before the first run."""
        return TunedDeclaration(
            setting={key: value for key, value in setting_of(self.base).items() if key not in TUNED_FIELDS},
            time=_now(),
            losses=[{"loss": name, "loss_params": dict(params)} for name, params in self.losses],
            space=describe(self.base, self.losses),
            trials=self.trials,
            studies=self.studies,
            finals=self.finals,
            widen=self.widen,
            margin=self.margin,
            outcomes=list(OUTCOMES),
            rule=RULE,
            runs=list(self.points().values()),
        )


@dataclass(frozen=True)
class Tuned:
    """What a tuned study has come to: a line for each winner near the end of a range, and a judgement a loss."""

    summary: Summary
    notes: tuple[str, ...] = ()
    table: pd.DataFrame | None = None

    def __str__(self) -> str:
        if self.table is None or self.table.empty:
            return "\n".join([*self.notes, "the finals have not all run, so nothing is judged yet"])
        rows: list[tuple[str, ...]] = [
            (
                str(row["loss"]),
                f"{row['n']} in {row['draws']} studies",
                "{:+.2f} [{:+.2f}, {:+.2f}]".format(*(100 * row[name] for name in ("mean", "low", "high"))),
                str(row["verdict"]),
            )
            for row in self.table.to_dict("records")
        ]
        return "\n".join([*self.notes, table(("loss", "pairs", "points [95 %]", "word"), rows)])


def plan_tuned(
    losses: Sequence[LossSpec] = (),
    datasets: Sequence[str] = (),
    settings: dict[str, Any] | None = None,
    **budget: Any,
) -> list[TunedPlan]:
    """A plan for each data set; cross-entropy is added where it is not among the losses.

    Args:
        losses: none takes `TUNED_LOSSES`.
        datasets: names; none takes the default one.
        settings: fields of RunConfig that all runs share; not those that are tuned.
        budget: what else `TunedPlan` takes.
    """
    chosen = tuple(losses) or TUNED_LOSSES
    if "cross_entropy" not in dict(chosen):
        chosen = (("cross_entropy", {}), *chosen)
    base = RunConfig.from_dict(settings or {})
    bases = [replace(base, dataset=name) for name in datasets or (base.dataset,)]
    for each in bases:
        require_tunable(each, chosen)
    return [TunedPlan(each, chosen, **budget) for each in bases]


def run_tuned(
    plan: TunedPlan,
    output: str | os.PathLike[str] | None = None,
    *,
    say: Callable[[str], object] = lambda text: None,
    **how: Any,
) -> Tuned:
    """Declare the study, run its trials, extend ranges where the plan says so, run the finals, and judge them.

    Args:
        plan: the study.
        output: folder for results; None takes LOSSBENCH_OUTPUT, else `outputs`.
        say: called with a line after each phase.
        how: engine, workers, device and so on, as `run_configs` takes them.

    Returns: what there is to judge; with a shard, or after an end before the last run, the same call goes on.
    """
    folder = output_folder(output)
    require_fitting_data([replace(plan.base, **changes) for changes in ({}, *plan.conditions)], how.get("data"))
    declaration = declare_tuned(plan.declaration(), folder)
    say(f"declared {declaration.time}, plan {declaration.digest[:12]}")
    places = plan.points()
    summary = run_configs(list(places), output, **how)
    if not _all_ended(summary, places, folder):
        return Tuned(summary)
    ends = _ends(plan, places, folder) if plan.widen else []
    for end in ends:
        more = plan.points(end)
        if end not in {row["end"] for row in declaration.widened}:
            declaration = declare_tuned(replace(declaration, widened=[*declaration.widened, *more.values()]), folder)
        say(f"{end}: a winner lies in the outer tenth, so the range is extended for all losses by {len(more)} trials")
        summary += run_configs(list(more), output, **how)
        if not _all_ended(summary, more, folder):
            return Tuned(summary)
        places |= more
    winners = _winners(places, folder)
    finals = {config: plan.finals_of(config, study) for config, (study, _) in winners.items()}
    rows = [_row(config, *place, finals[config]) for config, place in winners.items()]
    declaration = declare_tuned(replace(declaration, winners=rows), folder)
    notes = tuple(_notes(winners))
    for line in notes:
        say(line)
    summary += run_configs([config for group in finals.values() for config in group], output, **how)
    if not summary.complete:
        return Tuned(summary, notes)
    for changes in plan.conditions:
        changed = {config: [replace(final, **changes) for final in group] for config, group in finals.items()}
        rows = [_row(config, *place, changed[config]) for config, place in winners.items()]
        planned = {"time": _now(), "changes": dict(changes), "winners": rows}
        if dict(changes) not in [entry["changes"] for entry in declaration.conditions]:
            declaration = declare_tuned(replace(declaration, conditions=[*declaration.conditions, planned]), folder)
        say(f"the winners under {changes}")
        summary += run_configs([config for group in changed.values() for config in group], output, **how)
    return Tuned(summary, notes, judge_tuned(folder, declaration.digest))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _row(config: RunConfig, study: int, loss: str, finals: Sequence[RunConfig]) -> dict[str, Any]:
    """A winner as it is declared."""
    facts = {"run_id": config.run_id, "study": study, "loss": loss, "label": config.label, "lr": config.lr}
    ends = list(outer_ends(config))
    return facts | {"weight_decay": config.weight_decay, "ends": ends, "finals": [final.run_id for final in finals]}


def judge_tuned(folder: str | os.PathLike[str], digest: str) -> pd.DataFrame:
    """The finals of a declared study, judged by `stats.tuning.judge_finals` at the margin that was declared."""
    declaration = next(entry for entry in declared_tuned(folder) if entry.digest == digest)
    finals = finals_table(load_runs(folder, damaged="skip"), declaration)
    return judge_finals(finals, margin=declaration.margin)


def _all_ended(summary: Summary, places: dict[RunConfig, dict[str, Any]], folder: os.PathLike[str]) -> bool:
    """Whether every trial has a record; a failed one, or one of another shard, has none."""
    return not summary.interrupted and all(Record.of(config, folder).finished for config in places)


def _winners(places: dict[RunConfig, dict[str, Any]], folder: os.PathLike[str]) -> dict[RunConfig, tuple[int, str]]:
    """The winning config of each loss and study."""
    results = [Record.of(config, folder).result for config in places]
    scores = [{"status": result["status"], "val_accuracy": result["val_accuracy"]} for result in results]
    table = pd.DataFrame([{**place, **score} for place, score in zip(places.values(), scores, strict=True)])
    configs = list(places)
    best = choose(table)
    return {
        configs[int(i)]: (int(study), str(loss))
        for i, study, loss in zip(best.index, best["study"], best["loss"], strict=True)
    }


def _ends(plan: TunedPlan, places: dict[RunConfig, dict[str, Any]], folder: os.PathLike[str]) -> list[str]:
    """The ends of shared ranges near which a winner lies; a loss's own range is fixed where the loss is defined."""
    near = {end for config in _winners(places, folder) for end in outer_ends(config)}
    ends = [f"{name} {end}" for name in TUNED_FIELDS for end in ("low", "high")]
    return [end for end in ends if end in near]


def _notes(winners: dict[RunConfig, tuple[int, str]]) -> list[str]:
    return [
        f"{config.label}, study {study}: the winner (lr {config.lr:g}, weight decay {config.weight_decay:g}) lies in "
        f"the outer tenth of {', '.join(ends)}"
        for config, (study, _) in winners.items()
        if (ends := list(outer_ends(config)))
    ]
