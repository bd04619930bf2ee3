"""Write what the committed studies say into README.md and docs/answer.md: `python -m benchmarks.answer`.

The text between `<!-- begin: NAME -->` and `<!-- end -->` is made here, from outputs/reference alone, and so is the
picture docs/images/answer.png. Everything else in those files is written by hand.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lossbench import archive, claims
from lossbench.claims.wording import SIGNS
from lossbench.config import RunConfig

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "answer.md")
PICTURE = ROOT / "docs" / "images" / "answer.png"
BLOCK = re.compile(r"<!-- begin: (\w+) -->\n.*?<!-- end -->", re.DOTALL)
PLAIN = ("optimizer", "lr", "weight_decay", "label_noise", "imbalance")
DRAWN = {  # losses in the picture and how it calls them; those far below stand in the table only
    "confidence_penalty λ=0.1": "confidence penalty", "false_positive α=none": "False Positive Loss",
    "focal γ=0.5": "focal γ=0.5", "focal γ=2": "focal γ=2", "mse": "MSE", "adma a=0.2622": "Adma a=0.26",
    "js_divergence": "JS divergence", "squared_hinge": "squared hinge", "proxy_nca": "ProxyNCA",
    "hierarchical_cross_entropy mode=flat_nodes": "hierarchical *", "sampling_free β=4 γ=5": "sampling-free *",
}  # fmt: skip


def compare_with_cross_entropy(runs: pd.DataFrame, optimizer: str = "adam") -> pd.DataFrame:
    """The differences in the plainest setting of each data set and model: what `against_cross_entropy` gives.

    Args:
        runs: the table of all committed runs.
        optimizer: `adam` with the default learning rate, or `sgd`.
    """
    plain = runs["optimizer"] == optimizer
    for name in PLAIN[2:] if optimizer != "adam" else PLAIN:
        plain &= runs[name] == getattr(RunConfig(), name)
    table = claims.against_cross_entropy(runs[plain])
    table["loss"] = table["loss"].str.removesuffix(" (reconstruction)").str.removesuffix(" node_weight=path")
    clipped = table["protocol"].str.contains("clip norm")  # as the study of paper 002 had to be
    table = table.assign(clipped=clipped).sort_values(["n", "clipped"], ascending=[False, True], kind="stable")
    return table.drop_duplicates(["loss", "dataset", "model"])


def compare_with_matched_steps(runs: pd.DataFrame) -> pd.DataFrame:
    """Losses under SGD with a first step as long as that of cross-entropy, against cross-entropy: see `papers.adma`."""
    usual = 10 * RunConfig().lr
    plain = (runs["optimizer"] == "sgd") & (runs["weight_decay"] == 0)
    ours = (runs["lr"] != usual) | (runs["loss"] == "cross_entropy")
    return claims.against_cross_entropy(runs[plain & ours].assign(lr=usual))


def write_answer(table: pd.DataFrame, sgd: pd.DataFrame, matched: pd.DataFrame) -> str:
    """The answer in a few sentences."""
    places = table.groupby("loss")["verdict"].agg(set)
    worse = table[table["verdict"] == "below"].sort_values("estimate")
    better = table[table["verdict"] == "above"]
    first, last = worse.iloc[-1], worse.iloc[0]
    lost = sum("below" in found for found in places)
    unclear = sum(not found & {"below", "above"} for found in places)
    near = [call for loss, call in DRAWN.items() if not places[loss] & {"below", "above"}]
    gains = ", ".join(said(row) for row in better.to_dict("records")) or "none"
    matched = matched.sort_values("estimate")
    ahead = [said(row) for row in matched[matched["verdict"] == "above"].to_dict("records")]
    surprise = f"; ahead by more than the noise floor is {', '.join(ahead)}" if ahead else ""
    adma, mse = (sgd[sgd["loss"] == name].sort_values("estimate").iloc[0] for name in ("adma a=0.2622", "mse"))
    return (
        f"**Yes, but hardly ever for the better.** With a small network, Adam and {table['n'].min()} to "
        f"{table['n'].max()} paired seeds a data set, test accuracy against cross-entropy:\n\n"
        f"- **better** by more than the noise: {gains};\n"
        f"- **worse** by more than the noise on some data set: {lost} of {len(places)} losses and settings of their "
        f"parameters, from {said(first)} to {said(last)};\n"
        f"- **not to be told apart** with so many seeds: the other {unclear}, among them {', '.join(near[:-1])} "
        f"and {near[-1]}.\n\n"
        "A loss also sets the size of the step. Under SGD with one learning rate for all, the difference of Adma is "
        f"{said(adma, named=False)} and that of MSE {said(mse, named=False)}. With learning rates that make the first "
        f"steps equally long, the differences run from {said(matched.iloc[0])} to {said(matched.iloc[-1])}{surprise}. "
        "Much of what such a comparison measures is the learning rate.\n"
    )


def write_studies(folder: Path, runs: pd.DataFrame) -> str:
    """What was run, from each study's own description; runs that two studies share count once in the sum."""
    lines = [
        "| study | runs | seeds | data sets (training images) | hours of training |",
        "| --- | --- | --- | --- | --- |",
    ]
    for path in sorted(folder.glob("*/study.json")):
        about = archive.read_description(path.parent)
        sets = ", ".join(
            f"{name} ({', '.join(f'{n:,}' for n in facts['train_images'])})"
            for name, facts in about["datasets"].items()
        )
        lines.append(f"| {about['name']} | {about['runs']} | {len(about['seeds'])} | {sets} | {about['hours']:.1f} |")
    once = runs.drop_duplicates("run_id")
    hours = once["seconds"].sum() / 3600
    return "\n".join([*lines, f"| **together, each run once** | **{len(once):,}** | | | **{hours:.1f}** |"]) + "\n"


def write_differences(table: pd.DataFrame) -> str:
    """Every loss on every data set, the one with most losses first, a cell with interval and verdict."""
    places = [name for name, _ in Counter(map(place, table.to_dict("records"))).most_common()]
    lines = [f"| loss | {' | '.join(places)} |", "| --- " * (len(places) + 1) + "|"]
    best = table.groupby("loss")["estimate"].mean().sort_values(ascending=False)
    for loss in best.index:
        cells = {place(row): cell(row) for row in table[table["loss"] == loss].to_dict("records")}
        lines.append(f"| `{loss}` | {' | '.join(cells.get(name, '') for name in places)} |")
    return "\n".join(lines) + "\n"


def write_verdicts(decided: pd.DataFrame) -> str:
    """The counts of the verdicts by paper."""
    lines = [
        f"| paper | claims | {' | '.join(f'{word} {sign}' for word, sign in SIGNS.items())} |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for number, paper in claims.PAPERS.items():
        counts = decided[decided["paper"] == number]["verdict"].value_counts()
        cells = " | ".join(str(counts.get(word, 0)) for word in SIGNS)
        lines.append(f"| {paper.name} ({number}) | {int(counts.sum())} | {cells} |")
    counts = decided["verdict"].value_counts()
    cells = " | ".join(f"**{counts.get(word, 0)}**" for word in SIGNS)
    return "\n".join([*lines, f"| **together** | **{len(decided)}** | {cells} |"]) + "\n"


def write_refuted(decided: pd.DataFrame) -> str:
    """The claims that do not survive, in our words, with the contrast that decides."""
    return claims.as_markdown(decided[decided["verdict"] == "contradicted"], links=False) + "\n"


def said(row: Mapping[str, Any], *, named: bool = True) -> str:
    """A difference with its interval, n and place, and whose it is if `named`."""
    value, interval = numbers(row)
    if named:
        return f"{value} points {interval} ({row['loss']} on {place(row)}, n = {row['n']})"
    return f"{value} points {interval} on {place(row)} (n = {row['n']})"


def cell(row: Mapping[str, Any]) -> str:
    """A difference with its interval and a sign for what leaves the noise floor."""
    sign = {"below": " ▼", "above": " ▲"}.get(row["verdict"], "")
    return " ".join(numbers(row)) + sign


def numbers(row: Mapping[str, Any]) -> tuple[str, str]:
    """The estimate and its interval as text."""
    value, low, high = (f"{row[key]:+.2f}".replace("-", "−") for key in ("estimate", "low", "high"))
    return value, f"[{low},\u00a0{high}]"  # never broken into two lines


def place(row: Mapping[str, Any]) -> str:
    """Data set, and the model where it is not the usual one."""
    model = "" if row["model"] == RunConfig().model else f", {row['model']}"
    return f"{row['dataset']}{model}"


def draw(table: pd.DataFrame) -> None:
    """The picture of the README."""
    import matplotlib.pyplot as plt

    from lossbench import plots

    plots.use_style()
    shown = table[table["loss"].isin(DRAWN) & (table["model"] == RunConfig().model)]
    order = shown["loss"].map(list(DRAWN).index)
    shown = shown.assign(against=shown["loss"].map(DRAWN), unit="points", order=order).sort_values(["order", "dataset"])
    ax = plots.contrasts(shown, plt.figure(figsize=(8, 5.6), layout="constrained").gca())
    for text in list(ax.texts):  # n stands below the picture
        text.remove()
    ax.get_legend().remove()
    ax.legend(loc="upper left", title="95 % interval; band: noise floor")
    ax.set_xlabel("test accuracy minus that of cross-entropy, percentage points")
    ax.figure.savefig(PICTURE, dpi=130)
    plt.close(ax.figure)


def fill(text: str, blocks: dict[str, str]) -> str:
    """Put the blocks into a page; KeyError for a marker whose block nobody makes."""
    return BLOCK.sub(lambda found: f"<!-- begin: {found[1]} -->\n{blocks[found[1]]}<!-- end -->", text)


def make_blocks() -> tuple[dict[str, str], pd.DataFrame]:
    """Everything that is written, by marker, and the table that is drawn."""
    folder = archive.reference_folder()
    tables = archive.load_tables(folder)
    table, sgd = (compare_with_cross_entropy(tables.runs, name) for name in ("adam", "sgd"))
    decided = claims.decide(tables)
    return {
        "answer": write_answer(table, sgd, compare_with_matched_steps(tables.runs)),
        "studies": write_studies(folder, tables.runs),
        "differences": write_differences(table),
        "verdicts": write_verdicts(decided),
        "refuted": write_refuted(decided),
    }, table


def main() -> None:
    blocks, table = make_blocks()
    draw(table)
    for page in PAGES:
        page.write_text(fill(page.read_text(encoding="utf-8"), blocks), encoding="utf-8")


if __name__ == "__main__":
    main()
