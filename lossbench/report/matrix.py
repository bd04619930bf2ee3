"""The tuned studies as one answer: loss by question, in each cell a word with its interval and number of pairs.

Plans of one setting and one budget are put together, and their losses are one family. A question is an outcome of the
finals, or of the finals under a condition that was declared.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lossbench import stats
from lossbench.claims.wording import number
from lossbench.config import RunConfig
from lossbench.data import DATASETS
from lossbench.plots.style import title_of
from lossbench.records.declaration import TunedDeclaration, finals_table, trials_table, widened_table
from lossbench.report.setting import known_beside
from lossbench.stats.runs import REFERENCE

ACCURACY, F1, ECE, TRANSFER = "test_accuracy", "test_macro_f1", "test_ece", "test_transfer_accuracy"
CLEAN, CALIBRATION, TRIALS = "clean", "calibration", "trials to pass"
CHANGES = ("label_noise", "noise_kind", "imbalance")  # of the training images


@dataclass(frozen=True)
class TunedSetting:
    """The tuned studies of one setting and budget.

    Args:
        plans: whose finals are all there.
        trials, widened, finals: their runs, each once; `finals` with the study whose winner they repeat.
        conditions: what was changed -> the finals under it, as far as all are there.
        rising: how many of all these runs were still improving in their last epoch, `last` how many were best in it.
    """

    plans: tuple[TunedDeclaration, ...]
    trials: pd.DataFrame
    widened: pd.DataFrame
    finals: pd.DataFrame
    conditions: Mapping[str, tuple[dict[str, Any], pd.DataFrame]]
    rising: int
    last: int
    count: int

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the config that all runs share."""
        return self.plans[0].setting

    @property
    def name(self) -> str:
        """Data set, network and optimizer, and what of the images and of the network is used if not all."""
        fields = self.fields
        part = f" ({fields['trainable']} only)" if fields["trainable"] != "all" else ""
        tuned_on = f", {self.base}" if self.changed else ""
        return f"{self.images}, {fields['model']}{part}, {fields['optimizer']}{tuned_on}"

    @property
    def images(self) -> str:
        """The data set, and how many of its training images are used if not all."""
        size = self.fields["train_size"]
        return str(self.fields["dataset"]) + ("" if size is None else f" ({size:,} images)")

    @property
    def changed(self) -> dict[str, Any]:
        """What is changed about the training images that the losses were tuned on."""
        usual = RunConfig.defaults()
        return {name: self.fields[name] for name in CHANGES if self.fields[name] != usual[name]}

    @property
    def base(self) -> str:
        """The question that the finals themselves answer."""
        return f"tuned on {name_condition(self.changed)}" if self.changed else CLEAN

    @property
    def tail(self) -> float:
        """How many images the data set's largest class has for one of its smallest."""
        spec = DATASETS.get(self.fields["dataset"])
        return 1.0 if spec is None else spec.tail

    @property
    def budget(self) -> str:
        """Trials, studies and finals as prose."""
        plan = self.plans[0]
        return f"{plan.trials} trials a loss in each of {plan.studies} studies, {plan.finals} finals of each winner"

    def questions(self) -> dict[str, tuple[str, pd.DataFrame]]:
        """Question -> the outcome and the finals that answer it; rare classes are asked for macro F1.

        A data set of classes of very different size is asked for both.
        """
        own = {"transfer": TRANSFER, "imbalance": F1}
        asked: dict[str, tuple[str, pd.DataFrame]] = {}
        for what, (changes, finals) in {self.base: (self.changed, self.finals), **self.conditions}.items():
            asked[what] = (next((outcome for name, outcome in own.items() if name in changes), ACCURACY), finals)
        if self.tail > 1:
            asked[name_condition({"imbalance": self.tail})] = (F1, self.finals)
        return asked if self.changed else asked | {CALIBRATION: (ECE, self.finals)}

    def judged(self) -> pd.DataFrame:
        """Every loss and question: `setting question metric`, then the columns of `stats.judge_finals`."""
        margin = self.plans[0].margin
        parts = [
            stats.judge_finals(finals, metric, margin=margin if metric == ACCURACY else None).assign(
                setting=self.name, question=question, metric=metric
            )
            for question, (metric, finals) in self.questions().items()
            if metric in finals
        ]
        table = pd.concat(parts, ignore_index=True)
        first = ["setting", "question", "metric"]
        return table[[*first, *(name for name in table if name not in first)]]

    def reached(self) -> str:
        """The accuracy of tuned cross-entropy, beside the best that is published for a network of this size."""
        own = self.finals[self.finals["loss"] == REFERENCE]
        return f"{reference_level(self.finals)} % (best known for this size: {known_beside(own)})"


def reference_level(finals: pd.DataFrame) -> str:
    """The accuracy of cross-entropy in percent: `82.7`."""
    return number(100 * float(finals.loc[finals["loss"] == REFERENCE, ACCURACY].astype(float).mean()), 1)


def settings_of(
    plans: Iterable[TunedDeclaration], runs: pd.DataFrame, history: pd.DataFrame
) -> tuple[TunedSetting, ...]:
    """The plans whose finals are all there, by setting and budget; the others wait for their runs."""
    groups: dict[str, list[TunedDeclaration]] = {}
    for plan in plans:
        key = json.dumps([plan.setting, plan.trials, plan.studies, plan.finals, plan.margin], sort_keys=True)
        if is_whole(plan.winners, finals_table(runs, plan)):
            groups.setdefault(key, []).append(plan)
    return tuple(_together(group, runs, history) for group in groups.values())


def is_whole(winners: list[dict[str, Any]], finals: pd.DataFrame) -> bool:
    """Whether every final of these winners is there."""
    planned = sum(len(row["finals"]) for row in winners)
    return planned > 0 and len(finals) == planned


def name_condition(changes: Mapping[str, Any]) -> str:
    """`40 % wrong targets, asymmetric`."""
    parts = []
    for name, value in changes.items():
        if name == "label_noise":
            parts.append(f"{100 * value:g} % wrong targets")
        elif name == "imbalance":
            parts.append(f"tail {value:g}:1")
        elif name == "transfer":
            parts.append(f"features on {value}")
        elif name == "train_size":
            parts.append("all images" if value is None else f"{value:,} images")
        else:
            parts.append(str(value) if name == "noise_kind" else f"{name.replace('_', ' ')} {value}")
    return ", ".join(parts)


def _together(plans: list[TunedDeclaration], runs: pd.DataFrame, history: pd.DataFrame) -> TunedSetting:
    def once(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
        return pd.concat(list(tables), ignore_index=True).drop_duplicates(["run_id", "study"])

    trials = once(trials_table(runs, plan) for plan in plans)
    widened = once(widened_table(runs, plan) for plan in plans)
    finals = once(finals_table(runs, plan) for plan in plans)
    met: dict[str, tuple[dict[str, Any], list[pd.DataFrame]]] = {}
    for plan in plans:
        for condition in plan.conditions:
            table = finals_table(runs, plan, condition)
            if is_whole(condition["winners"], table):
                met.setdefault(name_condition(condition["changes"]), (condition["changes"], []))[1].append(table)
    conditions = {what: (changes, once(tables)) for what, (changes, tables) in met.items()}
    every = [trials, widened, finals, *(table for _, table in conditions.values())]
    whole = pd.concat(every, ignore_index=True).drop_duplicates("run_id")
    whole = whole[whole["status"] == "finished"]
    own = history[history["run_id"].isin(whole["run_id"])]
    rising, last = (int(mark.sum()) for mark in (stats.still_rising(whole, own), stats.is_last_best(whole)))
    return TunedSetting(tuple(plans), trials, widened, finals, conditions, rising, last, len(whole))


def cells(setting: TunedSetting) -> pd.DataFrame:
    """The answer as text: a row a loss, a column a question, and the trials that it needs to pass cross-entropy.

    Rows are sorted by the difference on the images that the losses were tuned for, the largest first.
    """
    judged = setting.judged()
    order = judged[judged["question"] == setting.base].sort_values("mean", ascending=False)["loss"]
    text = judged.assign(text=[_cell(row) for row in judged.to_dict("records")])
    table = text.pivot_table(index="loss", columns="question", values="text", aggfunc="first").reindex(order)
    table = table[[question for question in setting.questions() if question in table]]
    passes = stats.trials_to_pass(stats.trial_scores(setting.trials))
    table[TRIALS] = [_passes(passes.get(str(loss))) for loss in table.index]
    table.index = pd.Index([title_of(str(loss), str(loss)) for loss in table.index], name="loss")
    return table.fillna("–").reset_index()


def _passes(count: int | None) -> str:
    return "never" if count is None else str(count)


def _cell(row: Mapping[Any, Any]) -> str:
    """`better +0.16 [−0.60, +0.92], n = 15`."""
    outcome = stats.OUTCOMES[row["metric"]]
    mean, low, high = (number(outcome.scale * row[name], 2, sign=True) for name in ("mean", "low", "high"))
    return f"{row['verdict']} {mean} [{low},\u00a0{high}], n\u00a0=\u00a0{row['n']}"


def fates(setting: TunedSetting) -> pd.DataFrame:
    """What tuning left of each difference as text: its fate, before and after, and the gain by tuning."""
    table = stats.before_and_after(setting.trials, setting.finals, margin=setting.plans[0].margin)
    gains = {row["loss"]: row for row in stats.tuning_table(setting.trials, setting.finals).to_dict("records")}
    rows = []
    for row in table.to_dict("records"):
        gain = gains[row["loss"]]
        sides = {
            f"{side} tuning": _cell(
                {"metric": ACCURACY, "verdict": row[f"{side}_word"], "mean": row[side], "n": row[f"{side}_n"]}
                | {end: row[f"{side}_{end}"] for end in ("low", "high")}
            )
            for side in ("before", "after")
        }
        won = number(100 * (float(gain["after"]) - float(gain["before"])), 2, sign=True)
        rows.append({"loss": title_of(row["loss"], row["loss"]), "fate": row["fate"], **sides, "gain by tuning": won})
    usual = gains[REFERENCE]
    own = number(100 * (float(usual["after"]) - float(usual["before"])), 2, sign=True)
    rows.append({"loss": "cross-entropy", "fate": "", "before tuning": "", "after tuning": "", "gain by tuning": own})
    order = {fate: i for i, fate in enumerate(stats.FATES)}
    rows.sort(key=lambda row: order.get(row["fate"], len(order)))
    return pd.DataFrame(rows)
