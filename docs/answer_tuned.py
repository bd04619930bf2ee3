"""What the tuned studies of outputs/tuned say, as the blocks of docs/answer.md and sentences of the front page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lossbench import stats
from lossbench.claims.wording import number
from lossbench.plots.style import title_of
from lossbench.records import archive
from lossbench.records.declaration import declared_tuned
from lossbench.records.packed import packed_folders
from lossbench.report.matrix import (
    CALIBRATION,
    CLEAN,
    TunedSetting,
    cells,
    fates,
    name_condition,
    reference_level,
    settings_of,
)

TUNED = Path(__file__).resolve().parents[1] / "outputs" / "tuned"
DIFFERS = tuple(word for word in stats.VERDICTS if word not in ("equivalent", "undecided"))
COUNTED = (*stats.VERDICTS, stats.NOT_LEARNED)


def read_tuned(folder: Path = TUNED) -> tuple[TunedSetting, ...]:
    """Every declared study whose finals are all there, by setting; of any number of packed folders."""
    folders = packed_folders(folder)
    if not folders:
        return ()
    tables = [archive.load_tables(each) for each in folders]
    runs, history = (pd.concat([getattr(t, name) for t in tables], ignore_index=True) for name in ("runs", "history"))
    return settings_of([plan for each in folders for plan in declared_tuned(each)], runs, history)


def listing(items: Sequence[str]) -> str:
    """`a, b and c`.

    >>> listing(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]])) or "none"


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def losses_of(settings: Iterable[TunedSetting]) -> set[str]:
    """The losses that were tuned somewhere."""
    return {str(loss) for setting in settings for loss in setting.finals["loss"]}


def clean_comparisons(settings: Sequence[TunedSetting]) -> pd.DataFrame:
    """Every loss against cross-entropy on clean, balanced images, each tuned with the same budget."""
    judged = pd.concat([setting.judged() for setting in settings if setting.tail == 1], ignore_index=True)
    return judged[judged["question"] == CLEAN]


def answer_tuned(settings: Sequence[TunedSetting]) -> str:
    """What tuning with equal budgets left of the differences, over all settings: clean data, then what else differs."""
    if not settings:
        return f"{_HEAD} no study is whole yet."
    judged = pd.concat([setting.judged().assign(place=place(setting)) for setting in settings], ignore_index=True)
    clean = judged[judged["question"] == CLEAN]
    trials = listing(sorted({str(setting.plans[0].trials) for setting in settings}, key=int))
    others = [question for question in dict.fromkeys(judged["question"]) if question not in (CLEAN, CALIBRATION)]
    places, parts = clean["place"].nunique(), []
    for question in others:
        rows = judged[(judged["question"] == question) & judged["verdict"].isin(DIFFERS)]
        told = [f"{_named(part)} ({where})" for where, part in rows.groupby("place", sort=False)]
        levels = filter(None, (compare_levels(setting, settings) for setting in settings if setting.base == question))
        parts.append(f"; {question}: {'; '.join(told) or 'nothing decided'}" + "".join(f" ({text})" for text in levels))
    return (
        f"{_HEAD} with {trials} trials a loss, of {len(clean)} comparisons on clean data in {places} settings "
        f"{tally(clean['verdict'])}{''.join(parts)}."
    )


_HEAD = "**Every loss tuned alike:**"


def compare_levels(setting: TunedSetting, settings: Iterable[TunedSetting]) -> str:
    """`cross-entropy 82.7 %, tuned on clean images 77.8 %`: of changed training images; nothing without a rival."""
    for other in settings:
        changes, finals = other.conditions.get(name_condition(setting.changed), ({}, None))
        alike = ("model", "pretrained", "trainable", "optimizer")
        same = other.images == setting.images and all(other.fields[name] == setting.fields[name] for name in alike)
        if finals is not None and same and changes == setting.changed:
            here, there = map(reference_level, (setting.finals, finals))
            return f"cross-entropy {here} %, tuned on clean images {there} %"
    return ""


def _named(rows: pd.DataFrame) -> str:
    """Each row's loss with its word and difference, the largest first."""
    order = rows.reindex(rows["mean"].abs().sort_values(ascending=False).index).to_dict("records")
    return listing([f"{title_of(row['loss'], row['loss'])} {_difference(row)}" for row in order])


def _difference(row: Mapping[Any, Any]) -> str:
    """`better +3.59 [+1.25, +5.93]`, in points."""
    mean, low, high = (number(100 * row[name], 2, sign=True) for name in ("mean", "low", "high"))
    return f"{row['verdict']} {mean} [{low},\u00a0{high}]"


def say_tuned(settings: Sequence[TunedSetting]) -> str:
    """What tuning with equal budgets left of the differences, a clause a setting: clean data, and what else differs."""
    if not settings:
        return f"{_HEAD} no study is whole yet."
    parts = []
    for setting in settings:
        judged = setting.judged()
        base = judged[judged["question"] == setting.base]
        parts.append(
            f"{place(setting)}, {setting.plans[0].trials} trials {setting.plans[0].studies} times, "
            f"n = {base['n'].max()}: of {len(base)} losses {tally(base['verdict'])}"
            + "".join(f", with {clause}" for clause in _say_decided(judged))
        )
    return f"{_HEAD} {'; '.join(parts)}."


def _say_decided(judged: pd.DataFrame) -> Iterator[str]:
    """`40 % wrong targets JS divergence better +3.59 [+1.25, +5.93]`: what differs under a condition."""
    asked = judged[~judged["question"].isin((CLEAN, CALIBRATION)) & judged["verdict"].isin(DIFFERS)]
    for row in asked.to_dict("records"):
        yield f"{row['question']} {title_of(row['loss'], row['loss'])} {_difference(row)}"


def place(setting: TunedSetting) -> str:
    """Data set and network as the front page names them."""
    fields = setting.fields
    frozen = fields["pretrained"] and fields["trainable"] == "head"
    network = f"the frozen features of {fields['model']}" if frozen else fields["model"]
    optimizer = "" if fields["optimizer"] == "adam" else f" under {fields['optimizer'].partition('_')[0].upper()}"
    tuned_on = f", {setting.base}" if setting.changed else ""
    return f"{setting.images} with {network}{optimizer}{tuned_on}"


def tally(words: Iterable[str]) -> str:
    """`0 better and 12 undecided`; how many are better is always said."""
    counts = Counter(words)
    return listing([f"{counts[word]} {word}" for word in COUNTED if counts[word] or word == "better"])


def write_tuned(settings: Sequence[TunedSetting]) -> str:
    """How often each word was said, then of each setting what was run, loss by question, and what tuning left."""
    if not settings:
        return "No tuned study is whole yet.\n"
    overview = write_overview(settings) if len(settings) > 1 else ""
    return "\n".join([*filter(None, [overview]), *map(write_setting, settings)])


def write_overview(settings: Sequence[TunedSetting]) -> str:
    """Loss by question, over all settings: how often each word was said."""
    judged = pd.concat([setting.judged() for setting in settings], ignore_index=True)
    questions = sorted(dict.fromkeys(judged["question"]), key=lambda question: question == CALIBRATION)
    rows = []
    for loss in dict.fromkeys(judged["loss"]):
        own = judged[judged["loss"] == loss]
        words = [own.loc[own["question"] == question, "verdict"] for question in questions]
        rows.append([title_of(loss, loss), *(_counts(part) or "–" for part in words)])
    return (
        f"Over {len(settings)} settings, how often each word was said:\n\n{markdown(['loss', *questions], rows)}\n"
        "Counts are not averages: settings differ, and a loss that is better on one and worse on another has both.\n"
    )


def _counts(words: Iterable[str]) -> str:
    counts = Counter(words)
    return ", ".join(f"{counts[word]} {word}" for word in COUNTED if counts[word])


def write_setting(setting: TunedSetting) -> str:
    """The tables of one setting and what stands behind them."""
    plans = listing([
        f"`{plan.digest[:12]}` of {plan.time[:10]} with {plan.finished_before} of its trials finished before"
        for plan in setting.plans
    ])  # fmt: skip
    size = setting.fields["train_size"]
    images = "all training images" if size is None else f"{size:,} training images"
    left = fates(setting)
    counts = Counter(left["fate"])
    told = listing([f"{counts[fate]} {fate}" for fate in stats.FATES if counts[fate]])
    return (
        f"### {setting.name}\n\n"
        f"{images[0].upper()}{images[1:]}, {setting.fields['epochs']} epochs; {setting.budget}. Tuned cross-entropy "
        f"reaches {setting.reached()}. {setting.rising} of {setting.count} runs were still improving in their last "
        f"epoch, {setting.last} were best in it. Declared in {plans}.\n\n"
        f"{_text(cells(setting))}\nBefore tuning, each loss at its defaults, one pair a study: {told}.\n\n"
        f"<details><summary>Before and after tuning</summary>\n\n{_text(left)}\n</details>\n"
    )


def _text(table: pd.DataFrame) -> str:
    return markdown(list(table), table.astype(str).to_numpy().tolist())
