"""The sections of one study, over all its settings. To add one: write a function and name it in `SECTIONS`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any

import pandas as pd

from lossbench import plots, stats
from lossbench.plots.style import fold
from lossbench.report import heat
from lossbench.report.blocks import Block, Part, Section
from lossbench.report.evidence import Evidence, Study
from lossbench.report.facts import settings_table
from lossbench.report.figures import PANEL_WIDTH, Figure, Panel
from lossbench.report.panels import between, legend_room
from lossbench.report.setting import setting_part

Blocks = Iterator[Block | None]
FEW = 6  # settings that a page shows with all their figures


def overview(study: Study) -> Blocks:
    """What was run, and every difference on one map."""
    if len(study.settings) > 1:
        yield settings_table(study)
        yield heat.differences(study)


def ranking(study: Study) -> Blocks:
    """The critical-difference diagram over data sets and seeds."""
    found = comparable(study)
    if found is None:
        return
    ranks = stats.rank_losses(found)
    places = found["dataset"].nunique()
    blocks = f"{ranks.blocks} blocks ({places} setting{'' if places == 1 else 's'}, each probability function and seed)"
    listed = ", ".join(f"{label} {rank:.2f}" for label, rank in ranks.ranks.sort_values().items())
    caption = (
        f"Mean rank of each loss by test accuracy over {blocks}; 1 is best, equal scores share a rank. A bar joins "
        "losses whose mean ranks differ by less than the critical difference of Nemenyi's test "
        f"({ranks.critical_difference:.2f} at 0.05); Friedman's p = {ranks.p:.2g}. Blocks that share a setting are not "
        "independent, so this says more about these data sets than about data sets in general."
        + (f" {ranks.incomplete} incomplete blocks are left out." if ranks.incomplete else "")
    )
    alt = f"Critical-difference diagram over {ranks.blocks} blocks. Mean ranks: {listed}."
    lines = max(fold(label, 30).count("\n") + 1 for label in ranks.ranks.index)
    height = 1.1 + (0.05 + 0.12 * lines) * len(ranks.ranks)
    panel = Panel(partial(_ranks, found), alt)
    yield Figure(f"{study.slug}-ranks", "Mean ranks", caption, [panel], height, 7.2)


def comparable(study: Study) -> pd.DataFrame | None:
    """Runs whose losses can be ranked: those losses that most settings share, in the settings that have them all.

    Each setting counts as a data set of its own. None if that leaves fewer than three losses or two blocks.
    """
    losses = [set(one.runs["label"]) for one in study.settings if one.runs["label"].nunique() > 2]
    shared = {label for label in set().union(*losses) if sum(label in some for some in losses) > len(losses) / 2}
    kept = [one for one in study.settings if shared <= set(one.runs["label"])]
    if len(shared) < 3 or not kept:
        return None
    parts = [one.runs[one.runs["label"].isin(shared)].assign(dataset=one.setting.name) for one in kept]
    runs = pd.concat(parts, ignore_index=True)
    try:
        stats.rank_losses(runs)
    except ValueError:
        return None
    return runs


def _ranks(runs: pd.DataFrame, ax: Any) -> Any:
    return plots.critical_difference(runs, ax)


def noise(study: Study) -> Blocks:
    """Accuracy against the share of wrong training targets."""
    yield from _robustness(study, "label_noise", "Wrong targets")


def imbalance(study: Study) -> Blocks:
    """Accuracy against the imbalance of the classes."""
    yield from _robustness(study, "imbalance", "Rare classes")


def _robustness(study: Study, field: str, title: str) -> Blocks:
    for place, runs in enumerate(_varying(study, field), start=1):
        first = runs.iloc[0]
        name = f"{first['dataset']}, {first['model']}, {stats.probability_labels(runs).iloc[0]}"
        panels = []
        for reference, what in ((None, "Accuracy"), ("cross_entropy", "Minus cross-entropy")):
            table = plots.robustness_table(runs, field, reference=reference)
            if table.empty:
                continue
            said = "; ".join(
                f"{label} " + ", ".join(f"{100 * row['mean']:.1f} at {row[field]:g}" for _, row in part.iterrows())
                for label, part in table.groupby("label", sort=False)
            )
            draw = partial(_curve, runs, field, reference, what)
            panels.append(Panel(draw, f"{what} against {field.replace('_', ' ')}, {name}: {said}."))
        n = runs[runs["status"] == "finished"].groupby(["label", field])["seed"].nunique()
        caption = (
            f"{title}: {name}. Test accuracy (left) and its difference to cross-entropy paired by seed (right): mean "
            f"over {between(n)} seeds and its 95 % interval (Student's t). Test targets are always right and "
            "test classes as balanced as the data set's. Marks are set side by side so that intervals do not hide each "
            "other."
        )
        height = 3.2 + legend_room(runs)
        yield Figure(
            f"{study.slug}-{field.replace('_', '-')}-{place}", title, caption, panels, height, PANEL_WIDTH + 0.6
        )


def _varying(study: Study, field: str) -> Iterator[pd.DataFrame]:
    """Runs of settings that differ in nothing but `field`, one probability function at a time."""
    groups: dict[tuple[str, ...], list[Evidence]] = {}
    for one in study.settings:
        key = tuple(str(value) for name, value in one.setting.fields.items() if name != field)
        groups.setdefault(key, []).append(one)
    for group in groups.values():
        runs = pd.concat([one.runs for one in group], ignore_index=True)
        if runs[field].nunique() < 2:
            continue
        labels = stats.probability_labels(runs)
        for name in dict.fromkeys(labels):
            part = runs[labels == name]
            if part[field].nunique() > 1:
                yield part


def _curve(runs: pd.DataFrame, field: str, reference: str | None, title: str, ax: Any) -> Any:
    return plots.robustness(runs, field, ax, reference=reference, title=title)


# Anchor, heading, content; in the order of the page. A section without content is left out.
SECTIONS: Sequence[tuple[str, str, Callable[[Study], Blocks]]] = (
    ("overview", "Overview", overview),
    ("ranks", "Ranks", ranking),
    ("noise", "Wrong targets", noise),
    ("imbalance", "Rare classes", imbalance),
)


def study_part(study: Study, full: Collection[str]) -> Part:
    """One study: what its settings say together, then each of them, those not in `full` by their numbers."""
    sections = []
    for anchor, title, content in SECTIONS:
        blocks = [block for block in content(study) if block is not None]
        if blocks:
            sections.append(Section(f"{study.slug}-{anchor}", title, blocks))
    alone = len(study.settings) == 1 and not study.name
    parts = [setting_part(one, alone=alone, brief=one.slug not in full) for one in study.settings]
    return Part(study.slug, study.name, study.note, sections, parts)


def shown_in_full(studies: Sequence[Study]) -> set[str]:
    """The settings with all their figures: all, or, where they are many, the first of each study or data set."""
    if sum(len(study.settings) for study in studies) <= FEW:
        return {one.slug for study in studies for one in study.settings}
    firsts: dict[object, str] = {}
    for study in studies:
        for one in study.settings:
            firsts.setdefault(study.slug if len(studies) > 1 else one.setting.fields["dataset"], one.slug)
    return set(firsts.values())
