"""The report's tables: for the page, as CSV with full precision, as Markdown and as LaTeX."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lossbench import stats
from lossbench.claims.wording import number
from lossbench.files import write_text
from lossbench.report.evidence import Evidence, Study
from lossbench.report.text import say

GROUP = "probability function"  # a first column of this name heads its block of rows
# Columns of text, set at the left.
WORDS = frozenset(("loss", "probability", "status", "word", "setting", "data", "source", "claim", "paper", "place"))
WORDS |= {"verdict", "class", "limits", "condition", "outcome", "parameters"}
COMPARISONS: tuple[str, ...] = (
    "study",
    "setting",
    "dataset",
    "model",
    "probability",
    "label",
    "n",
    "ahead",
    "mean",
    "low",
    "high",
)
COMPARISONS += ("p_holm", "verdict", "needed", "limits")
# What pdflatex does not know as a letter.
TEX: dict[str, str | int | None] = {
    "−": "$-$",
    "±": r"$\pm$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "…": r"\ldots{}",
}
TEX |= {"✓": r"$\checkmark$", "✗": r"$\times$", "√": r"$\surd$", "≠": r"$\neq$", "°": r"$^\circ$", "π": r"$\pi$"}
TEX |= {"–": "--", "’": "'", "“": "``", "”": "''"}
TEX |= {"α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$", "κ": r"$\kappa$", "λ": r"$\lambda$", "ν": r"$\nu$"}
TEX |= {"σ": r"$\sigma$", "τ": r"$\tau$"}


@dataclass(frozen=True)
class Table:
    """A table twice: `values` with plain numbers for files, `shown` as text for readers."""

    name: str
    title: str
    values: pd.DataFrame
    shown: pd.DataFrame
    text: tuple[str, ...] = ()  # columns of text beside `WORDS`


def comparisons(studies: list[Study]) -> pd.DataFrame:
    """Every row of `stats.compare` of these studies, setting by setting."""
    tables = [setting.comparison for study in studies for setting in study.settings if len(setting.comparison)]
    return pd.concat(tables, ignore_index=True) if tables else studies[0].settings[0].comparison


def accuracy(evidence: Evidence) -> Table:
    """Mean test accuracy of every configuration with its interval over seeds."""
    return _summary(evidence, "accuracy", "test_accuracy", 100, 2)


def epochs(evidence: Evidence) -> Table:
    """Epochs to 95 % of the final accuracy."""
    return _summary(evidence, "epochs", "epochs_to_95", 1, 1)


def _summary(evidence: Evidence, name: str, metric: str, scale: float, digits: int) -> Table:
    values = stats.summarise(evidence.runs, metric)
    shown = pd.DataFrame(
        {
            GROUP: once(values["probability"]),
            "loss": values["label"].map(evidence.titles),
            "mean": [number(scale * x, digits) for x in values["mean"]],
            "95 % interval": intervals(values.assign(low=values["low"].clip(lower=0)), scale, digits),
            "sd": [number(scale * x, digits) for x in values["sd"]],
            "n": [_of(*counts) for counts in zip(values["n"], values["runs"], strict=True)],
        }
    )
    title = say(f"table_{name}", lost=bool((values["n"] < values["runs"]).any()))
    return Table(f"{evidence.slug}-{name}", title, values, shown)


def differences(evidence: Evidence) -> Table:
    """Each configuration against cross-entropy, with the word."""
    values = evidence.comparison
    shown = pd.DataFrame(
        {
            GROUP: once(values["probability"]),
            "loss": values["label"].map(evidence.titles),
            "difference": [number(100 * x, 2, sign=True) for x in values["mean"]],
            f"{evidence.coverage} interval": intervals(values, 100, 2, sign=True),
            "pairs": values["n"].astype(str),
            "ahead": [
                f"{a}" + (f", {t} equal" if t else "") for a, t in zip(values["ahead"], values["ties"], strict=True)
            ],
            "p": [number(x, 3) for x in values["p_holm"]],
            "word": values["verdict"],
            "pairs that decide": [f"{int(x):,}" if x > 0 else "" for x in values["needed"]],
        }
    )
    return Table(f"{evidence.slug}-differences", say("table_differences"), values.drop(columns="study"), shown)


def every_run(evidence: Evidence) -> Table:
    """One row a run."""
    names = ["label", "probability", "seed", "status", "best_epoch", "val_accuracy", "test_accuracy", "epochs_to_95"]
    values = evidence.runs
    shown = values[[*names, "seconds"]].rename(columns={"label": "loss"}).astype(object)
    shown["probability"] = stats.probability_labels(values)
    shown["loss"] = values["label"].map(evidence.titles)
    for name in ("val_accuracy", "test_accuracy"):
        shown[name] = [number(100 * x, 2) for x in values[name].astype(float)]
    for name in ("best_epoch", "epochs_to_95", "seconds"):
        shown[name] = [number(x, int(name == "seconds")) for x in values[name].astype(float)]
    shown = shown.rename(columns=lambda name: name.replace("_", " "))
    return Table(f"{evidence.slug}-runs", say("table_runs"), values, shown.astype(str))


def scores(evidence: Evidence) -> Table | None:
    """Everything else that was measured on the test images, a column a score; None if nothing was."""
    columns = [column for column in SCORES if column in evidence.runs and evidence.runs[column].notna().any()]
    if not columns:
        return None
    parts = {column: stats.summarise(evidence.runs, column) for column in columns}
    first = parts[columns[0]]
    shown = pd.DataFrame({GROUP: once(first["probability"]), "loss": first["label"].map(evidence.titles)})
    for column, part in parts.items():
        title, scale, digits = SCORES[column]
        half = (part["high"] - part["low"]) / 2
        shown[title] = [
            number(scale * mean, digits) + (f" ±{scale * h:.{digits}f}" if math.isfinite(h) else "")
            for mean, h in zip(part["mean"], half, strict=True)
        ]
    shown["n"] = [_of(*counts) for counts in zip(first["n"], first["runs"], strict=True)]
    values = pd.concat([part.assign(score=column) for column, part in parts.items()], ignore_index=True)
    return Table(f"{evidence.slug}-scores", say("table_scores"), values, shown)


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


def settings(study: Study) -> Table:
    """A row a setting: what was run and how long it took."""
    rows = [
        {
            "setting": one.setting.name,
            "runs": len(one.runs),
            "diverged": int((one.runs["status"] != "finished").sum()),
            "losses": one.runs["label"].nunique(),
            "functions": len(one.by_probability()),
            "seeds": one.runs["seed"].nunique(),
            "epochs": int(one.setting.fields["epochs"]),
            "minutes": round(float(one.runs["seconds"].astype(float).sum()) / 60, 1),
        }
        for one in study.settings
    ]
    values = pd.DataFrame(rows)
    return Table(f"{study.slug}-settings", say("table_settings"), values, values.astype(str))


def save(table: Table, folder: Path) -> list[Path]:
    """Write `<name>.csv` with full precision, `<name>.md` and `<name>.tex` as shown."""
    csv = write_text(folder / f"{table.name}.csv", table.values.to_csv(index=False))
    heads = [str(name) for name in table.shown.columns]
    lines = [heads, ["---"] * len(heads), *table.shown.astype(str).to_numpy().tolist()]
    rows = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return [
        csv,
        write_text(folder / f"{table.name}.md", f"{table.title}.\n\n{rows}\n"),
        write_text(folder / f"{table.name}.tex", latex(table)),
    ]


def latex(table: Table) -> str:
    """A `table` environment for pdflatex that needs the packages booktabs and amssymb."""
    shown = table.shown.astype(str)
    style = shown.style.format(escape="latex").format_index(escape="latex", axis="columns").hide(axis="index")
    places = "".join("l" if name in {GROUP, *WORDS} else "r" for name in shown.columns)
    caption = re.sub(r"([%_&#$])", r"\\\1", f"{table.title}.")
    text: str = style.to_latex(
        hrules=True, column_format=places, position_float="centering", caption=caption, label=f"tab:{table.name}"
    )
    return "% needs \\usepackage{booktabs,amssymb}\n" + text.translate(str.maketrans(TEX))


def once(names: pd.Series) -> list[str]:
    """A name only in the first row of its block."""
    return ["" if i and names.iloc[i - 1] == name else name for i, name in enumerate(names)]


def _of(n: int, runs: int) -> str:
    return str(n) if n == runs else f"{n} of {runs}"


def intervals(values: pd.DataFrame, scale: float, digits: int, sign: bool = False) -> list[str]:
    """The columns `low` and `high` as text."""
    return [
        f"{number(scale * low, digits, sign=sign)} to {number(scale * high, digits, sign=sign)}"
        if math.isfinite(low)
        else "–"
        for low, high in zip(values["low"], values["high"], strict=True)
    ]
