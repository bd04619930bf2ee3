"""The sections of one setting. To add one: write a function below and name it in `SECTIONS`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from lossbench.report import findings, panels, predictions, tables
from lossbench.report.blocks import Block, Facts, Part, Points, Section, Text
from lossbench.report.evidence import Evidence
from lossbench.report.facts import facts
from lossbench.report.heat import by_loss_and_probability
from lossbench.report.limits import limitations

Blocks = Iterator[Block | None]


def says(evidence: Evidence) -> Blocks:
    """What the runs say."""
    lines = [*findings.say(evidence)]
    yield Points(lines) if lines else Text("One loss was run; there is nothing to compare yet.")


def silent(evidence: Evidence) -> Blocks:
    """What they cannot say."""
    yield Points([*findings.do_not_say(evidence)])


def limits(evidence: Evidence) -> Blocks:
    """What is missing."""
    found = [*limitations(evidence)]
    yield Facts(found) if found else None


def run(evidence: Evidence) -> Blocks:
    """What was run, on what, how long."""
    yield Facts(facts(evidence), narrow=True)


def scores(evidence: Evidence) -> Blocks:
    """Test accuracy and the other scores."""
    yield panels.accuracy(evidence)
    yield tables.accuracy(evidence)
    yield tables.scores(evidence)


def against(evidence: Evidence) -> Blocks:
    """Differences to cross-entropy."""
    if evidence.compared:
        yield panels.differences(evidence)
        yield tables.differences(evidence)
        yield by_loss_and_probability(evidence)


def learning(evidence: Evidence) -> Blocks:
    """Curves over the epochs."""
    if evidence.history["curve"].notna().any():
        yield panels.curves(evidence)
        yield panels.epochs(evidence)
        yield tables.epochs(evidence)


def calibration(evidence: Evidence) -> Blocks:
    """Whether the models are as sure as they are right."""
    yield from predictions.reliability(evidence)


def mistakes(evidence: Evidence) -> Blocks:
    """Which classes are confused, and how badly."""
    yield from predictions.confusion(evidence)
    yield from predictions.false_positives(evidence) or ()
    yield from predictions.severity(evidence)


def every_run(evidence: Evidence) -> Blocks:
    """A row a run."""
    yield tables.every_run(evidence)


# Anchor, heading, content; in the order of the page. A section without content is left out.
SECTIONS: Sequence[tuple[str, str, Callable[[Evidence], Blocks]]] = (
    ("says", "What this says", says),
    ("silent", "What it does not say", silent),
    ("limits", "Limitations", limits),
    ("run", "What was run", run),
    ("scores", "Accuracy", scores),
    ("against", "Against cross-entropy", against),
    ("learning", "Learning", learning),
    ("calibration", "Calibration", calibration),
    ("mistakes", "Mistakes", mistakes),
    ("all", "Every run", every_run),
)
FOLDED = {"all": "Show all runs"}
SHORT = ("says", "limits", "run", "short")


def short(evidence: Evidence) -> Blocks:
    """The numbers of a setting whose figures would make the page too long."""
    yield tables.accuracy(evidence)
    if evidence.compared:
        yield tables.differences(evidence)
    yield by_loss_and_probability(evidence)


def setting_part(evidence: Evidence, *, alone: bool, brief: bool) -> Part:
    """One setting: all its sections, or, `brief`, its findings and numbers folded away."""
    wanted = SECTIONS
    if brief:
        wanted = [row for row in SECTIONS if row[0] in SHORT] + [("scores", "Numbers", short)]
    sections = []
    for anchor, title, content in wanted:
        blocks = [block for block in content(evidence) if block is not None]
        if blocks:
            shown, folded = ([], blocks) if anchor in FOLDED else (blocks, [])
            sections.append(Section(f"{evidence.slug}-{anchor}", title, shown, folded, FOLDED.get(anchor, "")))
    return Part(evidence.slug, "" if alone else evidence.setting.name, sections=sections, folded=brief)
