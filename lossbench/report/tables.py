"""The report's tables: for the page, as CSV with full precision, as Markdown and as LaTeX."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd

from lossbench import stats
from lossbench.claims.wording import number
from lossbench.files import write_text
from lossbench.report.evidence import Evidence
from lossbench.report.latex import latex
from lossbench.report.panels import VERDICTS

GROUP = "probability function"  # a first column of this name heads its block of rows
# Columns of text, set at the left.
WORDS = frozenset(
    (
        "loss",
        "probability",
        "status",
        "reading",
        "setting",
        "data",
        "their table",
        "their model",
        "claim",
        "paper",
        "place",
        "verdict",
        "class",
    )
)


@dataclass(frozen=True)
class Table:
    """A table twice: `values` with plain numbers for files, `shown` as text for readers."""

    name: str
    title: str
    values: pd.DataFrame
    shown: pd.DataFrame
    kind: ClassVar[str] = "table"


def accuracy(evidence: Evidence) -> Table:
    """Mean test accuracy of every configuration with its interval over seeds."""
    title = "Test accuracy in percent; 95 % intervals (Student's t) over seeds"
    return _summary(evidence, "accuracy", title, "test_accuracy", 100, 2)


def epochs(evidence: Evidence) -> Table:
    """Epochs to 95 % of the final accuracy."""
    title = "Epochs to 95 % of the final accuracy; 95 % intervals (Student's t) over seeds"
    return _summary(evidence, "epochs", title, "epochs_to_95", 1, 1)


def _summary(evidence: Evidence, name: str, title: str, metric: str, scale: float, digits: int) -> Table:
    values = stats.summarise(evidence.runs, metric)
    shown = pd.DataFrame(
        {
            GROUP: once(values["probability"]),
            "loss": values["label"],
            "mean": [number(scale * x, digits) for x in values["mean"]],
            "95 % interval": intervals(values, scale, digits),
            "sd": [number(scale * x, digits) for x in values["sd"]],
            "n": [_of(*counts) for counts in zip(values["n"], values["runs"], strict=True)],
        }
    )
    if (values["n"] < values["runs"]).any():
        title += "; n of the runs made, the others diverged or hold no score"
    return Table(f"{evidence.slug}-{name}", title, values, shown)


def differences(evidence: Evidence) -> Table:
    """Each configuration against cross-entropy, beside the noise floor."""
    values = evidence.comparison
    shown = pd.DataFrame(
        {
            GROUP: once(values["probability"]),
            "loss": values["label"],
            "difference": [number(100 * x, 2, sign=True) for x in values["mean"]],
            "95 % interval": intervals(values, 100, 2, sign=True),
            "floor": [plus_minus(100 * x) for x in values["floor"]],
            "floor, all": [plus_minus(100 * x) for x in values["family_floor"]],
            "pairs": values["n"].astype(str),
            "reading": values["verdict"].map(VERDICTS),
        }
    )
    title = "Test accuracy minus cross-entropy's, percentage points, paired by seed"
    return Table(f"{evidence.slug}-differences", title, values, shown)


def every_run(evidence: Evidence) -> Table:
    """One row a run."""
    names = [
        "run_id",
        "label",
        "probability",
        "seed",
        "status",
        "best_epoch",
        "val_accuracy",
        "test_accuracy",
    ]
    names += ["epochs_to_95", "seconds"]
    values = evidence.runs
    shown = values[names].rename(columns={"label": "loss"}).astype(object)
    shown["probability"] = stats.probability_labels(values)
    for name in ("val_accuracy", "test_accuracy"):
        shown[name] = [number(100 * x, 2) for x in values[name].astype(float)]
    for name in ("best_epoch", "epochs_to_95", "seconds"):
        shown[name] = [number(x, int(name == "seconds")) for x in values[name].astype(float)]
    shown = shown.drop(columns="run_id").rename(columns=lambda name: name.replace("_", " "))
    return Table(f"{evidence.slug}-runs", "Every run; accuracies in percent", values, shown.astype(str))


def scores(evidence: Evidence) -> Table | None:
    """Everything else that was measured on the test images, a column a score; None if nothing was."""
    columns = [column for column in SCORES if column in evidence.runs and evidence.runs[column].notna().any()]
    if not columns:
        return None
    parts = {column: stats.summarise(evidence.runs, column) for column in columns}
    first = parts[columns[0]]
    shown = pd.DataFrame({GROUP: once(first["probability"]), "loss": first["label"]})
    for column, part in parts.items():
        title, scale, digits = SCORES[column]
        half = (part["high"] - part["low"]) / 2
        shown[title] = [
            number(scale * mean, digits) + (f" {plus_minus(scale * h, digits)}" if math.isfinite(h) else "")
            for mean, h in zip(part["mean"], half, strict=True)
        ]
    shown["n"] = [_of(*counts) for counts in zip(first["n"], first["runs"], strict=True)]
    values = pd.concat([part.assign(score=column) for column, part in parts.items()], ignore_index=True)
    title = "Other scores on the test images: mean ± half of the 95 % interval (Student's t) over seeds; % where marked"
    return Table(f"{evidence.slug}-scores", title, values, shown)


SCORES = {  # column: (title, scale, digits)
    "test_macro_f1": ("macro F1 %", 100, 2),
    "test_nll": ("NLL, nats", 1, 3),
    "test_brier": ("Brier", 1, 3),
    "test_ece": ("ECE %", 100, 2),
    "test_nmi": ("NMI", 1, 3),
    "test_recall_at_1": ("recall@1 %", 100, 2),
    "test_recall_at_8": ("recall@8 %", 100, 2),
    "test_tree_distance": ("tree distance", 1, 3),
    "test_mistake_distance": ("of mistakes", 1, 3),
    "test_critical_error": ("critical %", 100, 2),
}


def save(table: Table, folder: Path) -> list[Path]:
    """Write `<name>.csv` with full precision, `<name>.md` and `<name>.tex` as shown."""
    csv = write_text(folder / f"{table.name}.csv", table.values.to_csv(index=False))
    heads = [str(name) for name in table.shown.columns]
    lines = [heads, ["---"] * len(heads), *table.shown.astype(str).to_numpy().tolist()]
    rows = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    tex = latex(table.shown, table.title, table.name, {GROUP, *WORDS})
    return [
        csv,
        write_text(folder / f"{table.name}.md", f"{table.title}.\n\n{rows}\n"),
        write_text(folder / f"{table.name}.tex", tex),
    ]


def once(names: pd.Series) -> list[str]:
    """A name only in the first row of its block."""
    return ["" if i and names.iloc[i - 1] == name else name for i, name in enumerate(names)]


def _of(n: int, runs: int) -> str:
    return str(n) if n == runs else f"{n} of {runs}"


def plus_minus(value: float, digits: int = 2) -> str:
    """Half the width of an interval."""
    return f"±{value:.{digits}f}" if math.isfinite(value) else "–"


def intervals(values: pd.DataFrame, scale: float, digits: int, sign: bool = False) -> list[str]:
    """The columns `low` and `high` as text."""
    return [
        f"{number(scale * low, digits, sign=sign)} to {number(scale * high, digits, sign=sign)}"
        if math.isfinite(low)
        else "–"
        for low, high in zip(values["low"], values["high"], strict=True)
    ]
