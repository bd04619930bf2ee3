"""The report's tables: for the page, as CSV with full precision, and as Markdown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lossbench import stats
from lossbench.files import write_text
from lossbench.report.evidence import Evidence
from lossbench.report.panels import VERDICTS

GROUP = "probability function"  # a first column of this name heads its block of rows
WORDS = ("loss", "probability", "status", "reading")  # columns of text, set at the left


@dataclass(frozen=True)
class Table:
    """A table twice: `values` with plain numbers for files, `shown` as text for readers."""

    name: str
    title: str
    values: pd.DataFrame
    shown: pd.DataFrame


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
            GROUP: _once(values["probability"]),
            "loss": values["label"],
            "mean": [_number(scale * x, digits) for x in values["mean"]],
            "95 % interval": _intervals(values, scale, digits),
            "sd": [_number(scale * x, digits) for x in values["sd"]],
            "n": [_of(*counts) for counts in zip(values["n"], values["runs"], strict=True)],
        }
    )
    if (values["n"] < values["runs"]).any():
        title += "; n of the runs made, the others diverged or hold no score"
    return Table(f"{evidence.slug}-{name}", title, values, shown)


def differences(evidence: Evidence) -> Table:
    """Each configuration against cross-entropy, beside the noise floor."""
    values = stats.compare(evidence.runs, floor=evidence.floor)
    shown = pd.DataFrame(
        {
            GROUP: _once(values["probability"]),
            "loss": values["label"],
            "difference": [_number(100 * x, 2, sign=True) for x in values["mean"]],
            "95 % interval": _intervals(values, 100, 2, sign=True),
            "floor": [_plus_minus(100 * x) for x in values["floor"]],
            "floor, all": [_plus_minus(100 * x) for x in values["family_floor"]],
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
        shown[name] = [_number(100 * x, 2) for x in values[name].astype(float)]
    for name in ("best_epoch", "epochs_to_95", "seconds"):
        shown[name] = [_number(x, int(name == "seconds")) for x in values[name].astype(float)]
    shown = shown.drop(columns="run_id").rename(columns=lambda name: name.replace("_", " "))
    return Table(f"{evidence.slug}-runs", "Every run; accuracies in percent", values, shown.astype(str))


def save(table: Table, folder: Path) -> list[Path]:
    """Write `<name>.csv` with full precision and `<name>.md` as shown."""
    csv = write_text(folder / f"{table.name}.csv", table.values.to_csv(index=False))
    heads = [str(name) for name in table.shown.columns]
    lines = [heads, ["---"] * len(heads), *table.shown.astype(str).to_numpy().tolist()]
    rows = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return [csv, write_text(folder / f"{table.name}.md", f"{table.title}.\n\n{rows}\n")]


def _once(names: pd.Series) -> list[str]:
    """A name only in the first row of its block."""
    return ["" if i and names.iloc[i - 1] == name else name for i, name in enumerate(names)]


def _number(value: float, digits: int, sign: bool = False) -> str:
    if not math.isfinite(value):
        return "–"
    if sign and value == 0:
        return "0"  # exactly, which only the twins reach
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    return text.replace("-", "−")


def _of(n: int, runs: int) -> str:
    return str(n) if n == runs else f"{n} of {runs}"


def _plus_minus(value: float) -> str:
    return f"±{value:.2f}" if math.isfinite(value) else "–"


def _intervals(values: pd.DataFrame, scale: float, digits: int, sign: bool = False) -> list[str]:
    return [
        f"{_number(scale * low, digits, sign)} to {_number(scale * high, digits, sign)}" if math.isfinite(low) else "–"
        for low, high in zip(values["low"], values["high"], strict=True)
    ]
