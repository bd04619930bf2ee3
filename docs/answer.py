"""Write what the committed studies say into README.md and the pages of docs/: `python -m docs.answer`.

The text between `<!-- begin: NAME -->` and `<!-- end -->` is made here, from outputs/reference and outputs/tuned alone,
and so are the pictures docs/images/answer.png and answer-narrow.png. All else in those files is written by hand. Every
word for a difference comes from `stats.compare`, or for tuned losses from `stats.tuning`; rows are chosen by the fields
of their setting.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from docs import answer_claims, answer_picture
from docs.answer_picture import Panel, Question
from docs.answer_tuned import (
    TUNED,
    answer_tuned,
    clean_comparisons,
    listing,
    losses_of,
    markdown,
    read_tuned,
    say_tuned,
    write_tuned,
)
from lossbench import LOSSES, archive, claims, stats
from lossbench.config import RunConfig
from lossbench.data.yardsticks import best_known
from lossbench.report.matrix import TunedSetting
from lossbench.stats.paired import SAME_FUNCTION
from lossbench.stats.runs import REFERENCE
from lossbench.studies.plans import STUDIES

ROOT = Path(__file__).resolve().parents[1]
_DOCS = ("answer.md", "changed-words.md", "left-out.md", "paper/paper.md")
PAGES = (ROOT / "README.md", *(ROOT / "docs" / name for name in _DOCS))
CALIBRATION = ROOT / "benchmarks" / "calibration.csv"
WORDS_BEFORE = ROOT / "docs" / "words_before.csv"  # by the engine of commit 9947598, see docs/changed-words.md
BLOCK = re.compile(r"<!-- begin: (\w+) -->\n.*?<!-- end -->", re.DOTALL)

CORE = "robustness"  # the one study in which the same losses meet every condition
MOST_DATA = "thesis"
FOCAL = LOSSES["focal"].label({"gamma": 2.0})
PRIMARY, BALANCED_SCORE, CALIBRATION_ERROR = "test_accuracy", "test_macro_f1", "test_ece"
CLASS_MEAN, TRANSFER = "test_class_mean_accuracy", "test_transfer_accuracy"
SECONDARY = (BALANCED_SCORE, "test_nll", CALIBRATION_ERROR, "test_brier")
CLEAN = {"label_noise": 0.0, "imbalance": 1.0}
WRONG, RARE = {"label_noise": 0.4}, {"imbalance": 100.0}
AHEAD, BEHIND = ("better", "slightly better"), ("slightly worse", "worse")
DECIDED = (*AHEAD, *BEHIND)
RARELY = 0.05  # as often as one test in twenty errs
IN_USE = {  # losses that people use; those without a run are named as missing
    "focal": "focal", "mse": "MSE", "squared_hinge": "squared hinge", "confidence_penalty": "confidence penalty",
    "label_smoothing": "label smoothing", "binary_cross_entropy": "binary cross-entropy",
    "generalized_cross_entropy": "generalised cross-entropy", "symmetric_cross_entropy": "symmetric cross-entropy",
    "logit_adjusted": "logit adjustment", "poly1": "Poly-1", "angular_margin": "ArcFace and CosFace",
    "supervised_contrastive": "supervised contrastive",
}  # fmt: skip


@dataclass(frozen=True)
class Evidence:
    """The committed runs, and every comparison with cross-entropy that they allow."""

    tables: archive.AllTables
    tuned: tuple[TunedSetting, ...] = ()
    tuned_tables: archive.AllTables | None = None

    @property
    def runs(self) -> pd.DataFrame:
        return self.tables.runs

    @cached_property
    def decided(self) -> pd.DataFrame:
        """The claims, by the runs with one learning rate for all losses and by tuned ones."""
        tables = self.tables if self.tuned_tables is None else self.tables.joined(self.tuned_tables)
        return claims.decide(tables, plans=[plan for setting in self.tuned for plan in setting.plans])

    @cached_property
    def accuracy(self) -> pd.DataFrame:
        return self.compare(PRIMARY)

    @cached_property
    def secondary(self) -> dict[str, pd.DataFrame]:
        return {metric: self.compare(metric) for metric in SECONDARY}

    @cached_property
    def elsewhere(self) -> pd.DataFrame:
        """Features on other images; of runs that were not judged there, n is 0."""
        return self.compare(TRANSFER)

    @cached_property
    def matched(self) -> pd.DataFrame:
        """Under SGD, with learning rates that make each loss's first step as long as that of cross-entropy."""
        sgd = self.runs[(self.runs["optimizer"] == "sgd") & (self.runs["weight_decay"] == 0)]
        usual = float(sgd.loc[sgd["loss"] == REFERENCE, "lr"].iloc[0])
        own = sgd[(sgd["lr"] != usual) | (sgd["loss"] == REFERENCE)]
        return self._with_facts(stats.compare(own, tuned=("lr",)))

    @cached_property
    def single_rate(self) -> pd.DataFrame:
        """Under SGD, with the learning rate of cross-entropy for all."""
        rows = self.accuracy[self.accuracy["n"] > 0]
        return pick(rows, optimizer="sgd", weight_decay=0.0)

    @cached_property
    def rising(self) -> pd.Series:
        """Of each run whether it was still improving when it ended."""
        return stats.still_rising(self.runs, self.tables.history)

    def budget(self, rows: pd.DataFrame) -> str:
        """How many of the runs in the settings of these comparisons were still improving."""
        place = ["study", "dataset", "model", "optimizer", "weight_decay", "label_noise", "imbalance", "probability"]
        runs = self.runs.assign(rising=self.rising, probability=stats.probability_labels(self.runs))
        mine = runs.merge(rows[place].drop_duplicates(), on=place).drop_duplicates("run_id")
        return f"at this budget {int(mine['rising'].sum()):,} of {len(mine):,} runs were still improving"

    def compare(self, metric: str) -> pd.DataFrame:
        return self._with_facts(stats.compare(self.runs, metric))

    def _with_facts(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Add the number of training images, and what a reader calls each loss."""
        place = ["study", "dataset", "model", "train_size", "imbalance"]
        images = self.runs.groupby(place, dropna=False)["train_images"].max().reset_index()
        rows = rows.merge(images, on=place, how="left", validate="many_to_one")
        return rows.assign(title=[title(row) for row in records(rows)])


def pick(rows: pd.DataFrame, **fields: Any) -> pd.DataFrame:
    """The rows whose fields have these values."""
    chosen = pd.Series(True, index=rows.index)
    for name, value in fields.items():
        chosen &= rows[name] == value
    return rows[chosen]


def records(rows: pd.DataFrame) -> list[dict[Any, Any]]:
    return rows.to_dict("records")


def core(rows: pd.DataFrame, **fields: Any) -> pd.DataFrame:
    """The rows of the study in which every loss meets every condition, without those that equal the reference."""
    return short_titles(pick(rows[rows["verdict"] != SAME_FUNCTION], study=CORE, **{**CLEAN, **fields}))


def short_titles(rows: pd.DataFrame) -> pd.DataFrame:
    """Leave the parameters out of the title of a loss that is there with one set of them only."""
    variants = rows.groupby("loss")["label"].transform("nunique")
    return rows.assign(title=rows["title"].where(variants > 1, [LOSSES[name].title for name in rows["loss"]]))


def kind_of_loss(name: str) -> str:
    """`embeddings`, `reconstruction` or `defined`: in which of the three tables a loss stands."""
    if LOSSES[name].takes == "embeddings" and not LOSSES[name].reconstruction:
        return "embeddings"
    return "reconstruction" if LOSSES[name].reconstruction else "defined"


def title(row: Mapping[Any, Any]) -> str:
    """A loss and its parameters as prose writes them."""
    parameters = str(row["label"]).removeprefix(str(row["loss"])).removesuffix(" (reconstruction)")
    return LOSSES[str(row["loss"])].title + parameters


def number(value: float, outcome: stats.Outcome) -> str:
    """A difference in the unit in which it is shown."""
    shown = value * outcome.scale
    digits = 3 if outcome.scale == 1 else 2 if abs(shown) < 10 else 1
    return f"{shown:+.{digits}f}".replace("-", "−")


def interval(row: Mapping[Any, Any], metric: str = PRIMARY) -> str:
    """Mean and 95 % interval, never broken into two lines."""
    outcome = stats.OUTCOMES[metric]
    mean, low, high = (number(row[name], outcome) for name in ("mean", "low", "high"))
    return f"{mean} [{low},\u00a0{high}]"


def named(rows: pd.DataFrame, metric: str = PRIMARY, key: str = "title") -> str:
    """Each row's loss (or another field) with its difference, the largest first."""
    order = rows.reindex(rows["mean"].abs().sort_values(ascending=False).index)
    return listing([f"{row[key]} {interval(row, metric)}" for row in records(order)])


def span(values: Iterable[float], unit: str = "") -> str:
    """`5` or `5 to 10`."""
    low, high = min(values := list(values)), max(values)
    return f"{low:,g}{unit}" if low == high else f"{low:,g} to {high:,g}{unit}"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def number_sentences(evidence: Evidence, *sentences: Callable[[Evidence], str]) -> str:
    """A numbered list, and below it the last sentence as what stands behind the list."""
    *listed, behind = (sentence(evidence) for sentence in sentences)
    return "".join(f"{i}. {sentence}\n" for i, sentence in enumerate(listed, 1)) + f"\n{behind}\n"


def answer_short(evidence: Evidence) -> str:
    """The question answered in three sentences."""
    clean = clean_comparisons(evidence.tuned)
    ahead = int(clean["verdict"].isin(AHEAD).sum())
    wrong, rare = core(evidence.accuracy, **WRONG), core(evidence.secondary[BALANCED_SCORE], **RARE)
    differ = pd.concat([rows[rows["verdict"].isin(DECIDED)] for rows in (wrong, rare, features(evidence)[0])])
    gains, loses = (
        set(rows.loc[rows["verdict"].isin(words), "title"]) for rows, words in ((wrong, AHEAD), (rare, BEHIND))
    )
    both = sorted(gains & loses)
    turn = f"; better with wrong targets and worse on rare classes are {listing(both)}"
    return (
        f"**In short: on clean, balanced images {'hardly' if ahead <= RARELY * len(clean) else 'yes'}, "
        f"elsewhere {'yes' if len(differ) else 'not shown'}.** With every loss tuned alike, {ahead} of {len(clean)} "
        "comparisons on such images are better than cross-entropy. With wrong targets, with rare classes and for "
        f"features that serve other images, losses differ by up to {100 * differ['mean'].abs().max():.0f} points"
        f"{turn if both else ''}.{_tuned_on_wrong(evidence)}"
    )


def _tuned_on_wrong(evidence: Evidence) -> str:
    settings = [setting for setting in evidence.tuned if "label_noise" in setting.changed]
    if not settings:
        return ""
    words = pd.concat([setting.judged() for setting in settings])["verdict"]
    return f" Once all are tuned on the wrong targets themselves, {words.isin(AHEAD).sum()} of {len(words)} are better."


def answer_clean(evidence: Evidence) -> str:
    rows = clean_rows(evidence)
    counts = Counter(rows["verdict"])
    found = records(short_titles(rows)[rows["verdict"] == "better"])
    start = "better is " + listing([f"{row['title']} {interval(row)} on {row['dataset']}" for row in found])
    if not found:
        start = f"no loss was better by more than {margin(PRIMARY)}"
    return (
        f"**Clean, balanced data:** {start}; of {len(rows)} comparisons of test accuracy {counts['better']} better, "
        f"{counts['slightly better']} slightly better, {counts['equivalent']} equivalent within "
        f"±{margin(PRIMARY)}, {counts['undecided']} undecided and {counts['worse'] + counts['slightly worse']} worse."
    )


def answer_wrong(evidence: Evidence) -> str:
    rows = core(evidence.accuracy, **WRONG)
    share = percent(rows["label_noise"].iloc[0])
    better = rows[rows["verdict"].isin(AHEAD)]
    gain = f"{named(better)} points" if len(better) else "no loss"
    return f"**Wrong targets:** with {share} of the training targets wrong, test accuracy is better with {gain}."


def answer_rare(evidence: Evidence) -> str:
    rows = core(evidence.secondary[BALANCED_SCORE], **RARE)
    worse = rows[rows["verdict"].isin(BEHIND)]
    return (
        f"**Rare classes:** with a tail of {rows['imbalance'].iloc[0]:.0f}:1 the same losses lose macro F1: "
        f"{named(worse, BALANCED_SCORE)} points."
    )


def answer_calibration(evidence: Evidence) -> str:
    rows = core(evidence.secondary[CALIBRATION_ERROR], **WRONG)
    levels = pick(evidence.runs, study=CORE, **{**CLEAN, **WRONG}).groupby("label")[CALIBRATION_ERROR].mean() * 100
    better = rows[rows["verdict"] == "better"].sort_values("mean").head(3)
    shown = listing([f"{levels[row['label']]:.1f} % with {row['title']}" for row in records(better)])
    usual = rows[rows["label"] == FOCAL].iloc[0]
    return (
        f"**Calibration:** with wrong targets the calibration error falls from {levels[REFERENCE]:.1f} % "
        f"with cross-entropy to {shown}; {usual['title']} is {usual['verdict']}, {levels[usual['label']]:.1f} %."
    )


def answer_steps(evidence: Evidence) -> str:
    single, matched = (pick(rows, loss="mse") for rows in (evidence.single_rate, evidence.matched))
    worst, gains = single.sort_values("mean").iloc[0], matched.sort_values("mean")
    low, high = (number(row["mean"], stats.OUTCOMES[PRIMARY]) for row in (gains.iloc[0], gains.iloc[-1]))
    return (
        f"**Step size:** under SGD with one learning rate for all, {worst['title']} is off by up to {interval(worst)} "
        f"points; with first steps of equal length it is {listing(sorted(set(gains['verdict'])))} on "
        f"{len(gains)} data sets, {low} to {high}. Much of what such a comparison measures is the learning rate."
    )


def answer_limits(evidence: Evidence) -> str:
    """How the runs were made, which losses that people use they hold, and which not."""
    ran = set(evidence.runs["loss"])
    row = core(evidence.accuracy).iloc[0]
    missing = [call for name, call in IN_USE.items() if name not in ran | losses_of(evidence.tuned)]
    lacking = f" Nothing is said yet about {listing(missing)}." if missing else ""
    return (
        f"Differences to cross-entropy [95 % interval], {span(evidence.accuracy['n'][evidence.accuracy['n'] > 0])} "
        f"paired seeds in 1 to 5: one small network, few epochs, one learning rate for all losses "
        f"({evidence.budget(evidence.accuracy)}); 2 to 4 on {row['dataset']}, {row['train_images']:,.0f} training "
        f"images.{lacking}"
    )


def features(evidence: Evidence) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Who is how good on other images by a linear head, on the images trained on, and the runs, of the same study."""
    rows = short_titles(evidence.elsewhere)
    rows = rows[rows["n"] > 0].sort_values("mean", ascending=False)
    own = evidence.accuracy.set_index(["study", "label"]).loc[list(zip(rows["study"], rows["label"], strict=True))]
    return rows, short_titles(own.reset_index()), evidence.runs[evidence.runs["study"].isin(rows["study"])]


def answer_features(evidence: Evidence) -> str:
    rows, own, runs = features(evidence)
    level = 100 * runs.loc[runs["loss"] == REFERENCE, TRANSFER].mean()
    worse, better = rows[rows["verdict"].isin(BEHIND)], own[own["verdict"].isin(AHEAD)]
    gains = f"; on the images trained on, better is {named(better)}" if len(better) else ""
    first, other = runs[["dataset", "transfer"]].iloc[0]
    return (
        f"**Features elsewhere:** trained on {first} with cross-entropy, a network's frozen features serve a linear "
        f"head on {other} with {level:.1f} %; worse are {named(worse, TRANSFER)} points{gains}."
    )


def say_features(evidence: Evidence) -> str:
    rows, own, _ = features(evidence)
    return (
        f"**Features elsewhere:** by a linear head on frozen features, {words(rows, TRANSFER)}; on the images trained "
        f"on, {words(own, PRIMARY)} ({place(rows)})."
    )


def answer_alike(evidence: Evidence) -> str:
    return answer_tuned(evidence.tuned)


def say_alike(evidence: Evidence) -> str:
    return say_tuned(evidence.tuned)


def clean_rows(evidence: Evidence) -> pd.DataFrame:
    """Clean and balanced, Adam, softmax, the usual network, losses as their papers define them."""
    rows = evidence.accuracy[evidence.accuracy["verdict"] != SAME_FUNCTION]
    rows = pick(rows, optimizer="adam", probability="softmax", model=RunConfig().model, **CLEAN)
    return rows[rows["loss"].map(kind_of_loss) == "defined"]


def say_clean(evidence: Evidence) -> str:
    rows = clean_rows(evidence)
    counts = Counter(rows["verdict"])
    steps = span(steps_of(evidence.runs[evidence.runs["study"].isin(rows["study"])]))
    better, slight = (rows[rows["verdict"] == word] for word in AHEAD)
    firsts, slightly = (
        listing([f"{row['title']} on {row['dataset']}, {interval(row)}" for row in records(part)])
        for part in (better, slight)
    )
    start = f"better is {firsts}" if len(better) else "no loss was shown to be better than cross-entropy"
    by_name = short_titles(rows[rows["label"].isin(core(evidence.accuracy)["label"])]).groupby("title")["verdict"]
    level = [str(name) for name, part in by_name if "equivalent" in set(part) and not set(part) & set(BEHIND)]
    return (
        f"**Clean, balanced data:** at this budget ({steps} steps, untuned learning rate) {start}: of {len(rows)} "
        f"comparisons of test accuracy on {rows['dataset'].nunique()} data sets (Adam, n = {span(rows['n'])}) "
        f"{counts['better']} are better, {counts['slightly better']} slightly better ({slightly} points), "
        f"{counts['equivalent']} equivalent within ±{margin(PRIMARY)} ({listing(level)} on some data set), "
        f"{counts['undecided']} undecided, {counts['slightly worse']} slightly worse and {counts['worse']} worse, and "
        f"{evidence.budget(rows)}; {focal(evidence)}."
    )


def focal(evidence: Evidence) -> str:
    """How often the usual focal loss is behind in the study with most data sets, and where it is decided."""
    mine = evidence.accuracy[evidence.accuracy["label"] == FOCAL]
    mine = pick(mine, optimizer="adam", probability="softmax", **CLEAN)
    pairs = pick(mine, study=MOST_DATA)
    behind = int((pairs["n"] - pairs["ahead"] - pairs["ties"]).sum())
    decided, rest = mine[mine["verdict"].isin(DECIDED)].sort_values("mean"), mine[~mine["verdict"].isin(DECIDED)]
    where = [f"{row['verdict']} on {row['dataset']} ({interval(row)})" for row in records(decided)]
    return (
        f"{mine['title'].iloc[0]} is behind in {behind} of {pairs['n'].sum()} pairs of the study with {len(pairs)} "
        f"data sets; in its {len(mine)} settings it is {', '.join(where)}, elsewhere {tally(rest)}"
    )


def say_wrong(evidence: Evidence) -> str:
    rows = core(evidence.accuracy, **WRONG)
    share = percent(rows["label_noise"].iloc[0])
    return f"**Wrong targets:** with {share} of the training targets wrong, {words(rows, PRIMARY)} ({place(rows)})."


def say_rare(evidence: Evidence) -> str:
    rows = core(evidence.secondary[BALANCED_SCORE], **RARE)
    usual = rows[rows["loss"] == "focal"].sort_values("mean").iloc[-1]
    return (
        f"**Rare classes:** with a tail of {rows['imbalance'].iloc[0]:.0f}:1, {words(rows, BALANCED_SCORE)}; "
        f"{usual['title']}, made for rare classes, is {usual['verdict']}, {interval(usual, BALANCED_SCORE)} "
        f"({place(rows)})."
    )


def words(rows: pd.DataFrame, metric: str) -> str:
    """Who is better, who is worse, and who is undecided although its own interval leaves out 0."""
    outcome = stats.OUTCOMES[metric]
    near = rows[(rows["verdict"] == "undecided") & (rows["low"] * rows["high"] > 0)]
    parts = []
    for word in (*DECIDED, "undecided"):
        part = near if word == "undecided" else rows[rows["verdict"] == word]
        what = f" after the correction for {len(rows)} losses" if word == "undecided" else ""
        what += f" in {outcome.title} ({outcome.unit})" if not parts else ""
        parts += [f"{named(part, metric)} {'is' if len(part) == 1 else 'are'} {word}{what}"] if len(part) else []
    return "; ".join(parts) or f"no difference in {outcome.title} is shown"


def say_calibration(evidence: Evidence) -> str:
    table = evidence.secondary[CALIBRATION_ERROR]
    noisy, clean = core(table, **WRONG), core(table)
    levels = pick(evidence.runs, study=CORE, **{**CLEAN, **WRONG}).groupby("label")[CALIBRATION_ERROR].mean() * 100
    better = noisy[noisy["verdict"] == "better"].sort_values("mean")
    shown = listing([f"{row['title']} {levels[row['label']]:.1f} %" for row in records(better)])
    behind = clean[clean["label"].isin(better["label"]) & (clean["verdict"] == "worse")].sort_values("mean")
    usual = [rows[rows["label"] == FOCAL].iloc[0] for rows in (noisy, clean)]
    with_, without = (f"{row['verdict']}, {interval(row, CALIBRATION_ERROR)}" for row in usual)
    return (
        f"**Calibration:** with the same wrong targets the calibration error (ECE) is {levels[REFERENCE]:.1f} % for "
        f"cross-entropy and lower for {shown} (all better); on clean data {len(behind)} of "
        f"these {len(better)} are worse: {named(behind, CALIBRATION_ERROR)} points; "
        f"{usual[0]['title']} is {with_} with the wrong targets and {without} on clean data ({place(noisy)})."
    )


def say_steps(evidence: Evidence) -> str:
    single, matched = (pick(rows, loss="mse") for rows in (evidence.single_rate, evidence.matched))
    worst = single.sort_values("mean").iloc[0]
    parts = [f"{row['verdict']} on {row['dataset']}, {interval(row)}" for row in records(matched)]
    return (
        f"**Step size:** under SGD with one learning rate for all, {worst['title']} is {worst['verdict']}, by as much "
        f"as {interval(worst)} points of test accuracy on {worst['dataset']}; with learning rates that make the first "
        f"steps equally long it is {listing(parts)} ({span(matched['train_images'])} training images, "
        f"n = {span(matched['n'])})."
    )


def say_losses(evidence: Evidence) -> str:
    """Which losses the answer rests on, which that people use it lacks, and how the runs were made."""
    ran = set(evidence.runs["loss"])
    used = set(core(evidence.accuracy)["loss"])
    common = [LOSSES[name].title for name in IN_USE if name in ran]
    papers = sorted((LOSSES[name].title for name in used if name not in IN_USE), key=str.lower)
    missing = [call for name, call in IN_USE.items() if name not in ran | losses_of(evidence.tuned)]
    lacking = f" In no run, so nothing is said about them: {listing(missing)}." if missing else ""
    row = core(evidence.accuracy).iloc[0]
    return (
        f"Numbers are differences to cross-entropy with 95 % intervals over n paired seeds. Sentences 2 to 4: "
        f"{row['dataset']}, {row['train_images']:,.0f} training images, {row['epochs']} epochs, "
        f"{str(row['optimizer']).title()}. One small network (`{row['model']}`, 0.1 million weights), few epochs, no "
        f"learning rate tuned: {evidence.budget(evidence.accuracy)}. "
        f"Behind this are, of the losses that people use, cross-entropy, {listing(common)}; of the papers, "
        f"{listing(papers)}.{lacking}"
    )


def place(rows: pd.DataFrame) -> str:
    """Data set and number of pairs."""
    return f"{listing(sorted(rows['dataset'].unique()))}, n = {span(rows['n'])}"


def margin(metric: str) -> str:
    outcome = stats.OUTCOMES[metric]
    return f"{(outcome.margin or 0) * outcome.scale:g} {outcome.unit}".strip()


def steps_of(runs: pd.DataFrame) -> list[int]:
    """Steps of each run: full and partial batches of all epochs."""
    per_epoch = -(-runs["train_images"].astype(int) // runs["batch_size"].astype(int))
    return [int(value) for value in per_epoch * runs["epochs"].astype(int)]


def write_studies(evidence: Evidence) -> str:
    """What was run; runs that two studies share count once in the sum."""
    runs = evidence.runs.assign(steps=steps_of(evidence.runs), last=stats.is_last_best(evidence.runs))
    runs["rising"] = evidence.rising
    rows = []
    for (study, dataset), part in runs.groupby(["study", "dataset"], sort=True):
        plain = part[(part["loss"] == REFERENCE) & (part["probability"] == "softmax") & (part["label_noise"] == 0)]
        plain = plain[(plain["imbalance"] == 1) & (plain["optimizer"] == "adam") & (plain["weight_decay"] == 0)]
        scores = plain[plain["train_images"] == plain["train_images"].max()][PRIMARY] * 100
        images = ", ".join(f"{count:,}" for count in sorted(part["train_images"].unique()))
        rows.append([
            study, f"{dataset} ({images})", ", ".join(sorted(part["model"].unique())), span(part["epochs"]),
            span(part["steps"]), len(part), part["seed"].nunique(), f"{scores.mean():.1f} ± {scores.std():.1f}",
            known_beside(dataset, part["num_parameters"].max()), percent(part["last"].mean()),
            percent(part["rising"].mean()),
        ])  # fmt: skip
    once = runs.drop_duplicates("run_id")
    rows.append(["**together, each run once**", "", "", "", "", f"**{len(once):,}**", "", "", "", "", ""])
    header = ["study", "data set (training images)", "network", "epochs", "steps", "runs", "seeds"]
    hours = once["seconds"].sum() / 3600
    header += ["accuracy of cross-entropy, %", "best known for this size, all images, %", "best epoch is the last"]
    table = markdown([*header, "and still improving"], rows)
    return f"{table}\n{hours:.1f} hours of training in all.\n"


def known_beside(dataset: str, parameters: float) -> str:
    """The best published accuracy of a network of this size, in percent."""
    known = best_known(dataset, parameters)
    return "not known" if known is None else f"{100 * known.accuracy:.1f}"


def condition(row: Mapping[Any, Any]) -> str:
    """What is done to the training images and targets."""
    wrong = f"{percent(row['label_noise'])} wrong targets" if row["label_noise"] else ""
    tail = f"tail {row['imbalance']:.0f}:1" if row["imbalance"] != 1 else ""
    return ", ".join(filter(None, [wrong, tail])) or "clean, balanced"


def regime(row: Mapping[Any, Any]) -> str:
    """The condition, the optimizer, and the probability function if it is not softmax: the heading of a table."""
    adam = row["optimizer"] == RunConfig().optimizer
    steps = "" if adam else ", first steps equally long" if pd.isna(row["lr"]) else ", one learning rate for all"
    probability = "" if row["probability"] == RunConfig().probability else f", {row['probability']}"
    return f"{condition(row)}, {'Adam' if adam else 'SGD'}{steps}{probability}"


def rule(row: Mapping[Any, Any]) -> str:
    """What else is unusual about a setting."""
    parts = [str(row["model"])] if row["model"] != RunConfig().model else []
    parts += [f"weight decay {row['weight_decay']:g}"] if row["weight_decay"] else []
    parts += [f"gradients clipped at {row['clip_norm']:g}"] if pd.notna(row["clip_norm"]) else []
    return ", ".join(parts) or "–"


def write_comparisons(evidence: Evidence, rows: pd.DataFrame) -> str:
    """Every comparison of test accuracy, a folded table a condition, data sets together, the best loss first."""
    rows = rows[(rows["verdict"] != SAME_FUNCTION) & (rows["n"] > 0)]
    rows = rows.assign(regime=[regime(row) for row in records(rows)])
    rows = rows.sort_values(["optimizer", "label_noise", "imbalance", "dataset", "study", "train_images", "mean"],
                            ascending=[True, True, True, True, True, True, False])  # fmt: skip
    header = ["loss", "study", "data set", "images", "besides", "n", "difference, points", "word"]
    parts = []
    for name, part in rows.groupby("regime", sort=False):
        lines = [
            [f"`{row['label']}`".replace(" (reconstruction)", ""), row["study"], row["dataset"],
             f"{row['train_images']:,.0f}", rule(row), row["n"], interval(row), row["verdict"]]
            for row in records(part)
        ]  # fmt: skip
        parts.append(fold(f"{name}: {tally(part)}; {evidence.budget(part)}", markdown(header, lines)))
    return "\n".join(parts)


def tally(rows: pd.DataFrame) -> str:
    """The counts of the words."""
    counts = rows["verdict"].value_counts()
    return ", ".join(f"{counts[word]} {word}" for word in (*stats.VERDICTS, stats.NOT_LEARNED) if word in counts)


def fold(summary: str, body: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{body}\n</details>\n"


def write_secondary(evidence: Evidence) -> str:
    """The secondary outcomes of the study in which every loss meets every condition, clean settings first."""
    key = ["label", "label_noise", "imbalance"]
    rows = pick(evidence.secondary[BALANCED_SCORE], study=CORE)
    rows = rows[rows["verdict"] != SAME_FUNCTION].sort_values(["imbalance", "label_noise"], kind="stable")
    texts = pd.DataFrame({
        metric: [f"{interval(row, metric)} {row['verdict']}" for row in records(table)]
        for metric, table in ((metric, align(rows, table, key)) for metric, table in evidence.secondary.items())
    }, rows.index)  # fmt: skip
    outcomes = [stats.OUTCOMES[metric] for metric in texts]
    header = ["loss", *(f"{outcome.title} ({outcome.unit})".replace(" ()", "") for outcome in outcomes)]
    parts = []
    for name, part in rows.groupby([condition(row) for row in records(rows)], sort=False):
        order = part.sort_values("mean", ascending=False)
        lines = [[f"`{label}`", *texts.loc[i]] for i, label in order["label"].items()]
        parts.append(fold(str(name), markdown(header, lines)))
    return "\n".join(parts)


def align(rows: pd.DataFrame, table: pd.DataFrame, key: Sequence[str]) -> pd.DataFrame:
    """The rows of the core study in `table` with the same `key`, in the same order."""
    return rows[list(key)].merge(pick(table, study=CORE), on=list(key), how="left", validate="one_to_one")


def write_embeddings(evidence: Evidence) -> str:
    """Losses on embeddings by one judge on both sides, and against cross-entropy's trained layer; chance is named."""
    rows = evidence.compare(CLASS_MEAN)
    rows = rows[rows["loss"].map(kind_of_loss) == "embeddings"].sort_values(
        ["dataset", "mean"], ascending=[True, False]
    )
    key = ["study", "setting", "label"]
    trained = evidence.accuracy.set_index(key)
    lines = []
    for row in records(rows):
        other = trained.loc[tuple(row[name] for name in key)]
        images = f"{row['train_images']:,.0f}"
        judged = [interval(row, CLASS_MEAN), row["verdict"], interval(other), other["verdict"]]
        lines.append([f"`{row['label']}`", row["dataset"], images, row["n"], *judged, row["at_chance"] or "–"])
    header = ["loss", "data set", "images", "n", "both by nearest class mean, points", "word"]
    return markdown([*header, "against the trained layer of cross-entropy", "word", "runs at chance"], lines)


def write_transfer(evidence: Evidence) -> str:
    """The same networks judged where they were trained, and by a linear head on other images."""
    rows, own, runs = features(evidence)
    usual = 100 * runs[runs["loss"] == REFERENCE][[PRIMARY, TRANSFER]].mean()
    (trained,), (other,) = runs["dataset"].unique(), runs["transfer"].unique()
    lines = [
        [f"`{row['label']}`", row["n"], interval(there), there["verdict"], interval(row, TRANSFER), row["verdict"]]
        for row, there in zip(records(rows), records(own), strict=True)
    ]
    header = ["loss", "n", f"{trained}, points", "word", f"linear head on {other}, points", "word"]
    return (
        f"Cross-entropy: {usual[PRIMARY]:.1f} % of the test images of {trained}, {usual[TRANSFER]:.1f} % of those of "
        f"{other}; {evidence.budget(rows)}.\n\n{markdown(header, lines)}"
    )


def write_single_runs(evidence: Evidence) -> str:
    """What a paper with one run a loss would have seen, beside what pairs see."""
    rows = pick(evidence.accuracy, optimizer="adam", probability="softmax", weight_decay=0.0, **CLEAN)
    rows = rows[
        ~rows["verdict"].isin([SAME_FUNCTION, stats.NOT_LEARNED]) & (rows["loss"].map(kind_of_loss) == "defined")
    ]
    lines = []
    for (dataset, study, images), part in rows.groupby(["dataset", "study", "train_images"], sort=True):
        single = float(part["single_run_sd"].iloc[0]) * 100
        half = ((part["high"] - part["low"]) / 2).median() * 100
        lines.append([dataset, study, f"{images:,.0f}", f"{single:.2f}", span(part["n"]), f"±{half:.2f}"])
    header = ["data set", "study", "images", "sd of the difference of two single runs, points", "pairs"]
    return markdown([*header, "half width of a paired 95 % interval (median), points"], lines)


def write_calibration() -> str:
    """How often the words are wrong, and how often a difference is found, from the committed simulation."""
    table = pd.read_csv(CALIBRATION)
    cases = [name for name in ("distribution", "losses", "pairs") if name in table]
    share = table["measure"] == "share decided"
    lines = []
    for (measure, method), part in table[~share].groupby(["measure", "rule"], sort=False):
        ends = [part.loc[part["rate"].idxmin()], part.loc[part["rate"].idxmax()]]
        rates = [f"{row['rate']:.3f} ± {row['standard_error']:.3f}" for row in ends]
        lines.append([measure, method, len(part), f"{part['rate'].mean():.3f}", *rates, ends[1]["distribution"]])
    header = ["measure", "rule", "cases", "mean rate", "lowest ± standard error", "highest ± standard error"]
    errors = markdown([*header, "highest with"], lines)
    decided = table[share].pivot_table(index=[*cases[:1], "rule"], columns="pairs", values="rate", sort=False)
    powers = markdown(
        ["truth", "rule", *(f"{pairs} pairs" for pairs in decided.columns)],
        [
            [*map(str, key), *(f"{value:.2f}" for value in values)]
            for key, values in zip(decided.index, decided.to_numpy(), strict=True)
        ],
    )
    return f"{errors}\nShare of comparisons that were decided:\n\n{powers}"


def compare_words(evidence: Evidence) -> pd.DataFrame:
    """Each comparison's word under the rule of commit 9947598 beside its word now, of the studies that were there."""
    key = ["study", "setting", "probability", "label"]
    before = pd.read_csv(WORDS_BEFORE, keep_default_na=False)
    now = [evidence.accuracy.assign(matched=False), evidence.matched.assign(matched=True)]
    table = pd.concat(now)[lambda rows: (rows["n"] > 0) & rows["study"].isin(before["study"])]
    return table.merge(
        before[[*key, "matched", "compare", "page"]], on=[*key, "matched"], how="left", validate="one_to_one"
    )


def write_protocols() -> str:
    """Where a named study at the papers' scale is not what its paper did."""
    rows = [(f"`{name}`", line) for name, study in STUDIES.items() for line in study.paper.differs]
    return markdown(("study", "not as in its paper"), rows)


SAME_MEANING = {"above": "better", "below": "worse", "same function": "same function"}


def write_changed(evidence: Evidence) -> str:
    """Counts of old words against new ones, then each comparison whose word changed."""
    table = compare_words(evidence)
    counts = pd.crosstab(table["compare"], table["verdict"])
    order = [word for word in (*stats.VERDICTS, stats.NOT_LEARNED, SAME_FUNCTION) if word in counts]
    grid = markdown(
        ["before", *order], [[word, *(counts.loc[word, name] or "" for name in order)] for word in counts.index]
    )
    sorted_words = [*DECIDED, "equivalent", "undecided", stats.NOT_LEARNED, SAME_FUNCTION]
    table = table.assign(order=table["verdict"].map(sorted_words.index))
    changed = table[table["compare"].map(SAME_MEANING) != table["verdict"]]
    lines = [
        [f"`{row['label']}`", row["study"], row["dataset"], f"{row['train_images']:,.0f}", regime(row), rule(row),
         interval(row), row["compare"], row["page"] or "–", row["verdict"]]
        for row in records(changed.sort_values("order", kind="stable"))
    ]  # fmt: skip
    header = ["loss", "study", "data set", "images", "condition", "besides", "points"]
    header += ["`stats.compare` before", "front page before", "now"]
    decided = changed[changed["verdict"].isin(DECIDED)]
    words_now = ("equivalent", "undecided", stats.NOT_LEARNED)
    level, undecided, silent = (int((changed["verdict"] == word).sum()) for word in words_now)
    return (
        f"Of {len(table)} comparisons {len(changed)} have another word than before. {len(decided)} that were said to "
        f"lie within the noise, or to be unclear, now differ ({tally(decided)}); {level} are now shown to be "
        f"equivalent; {undecided} are said to be undecided; {silent} have no word, because their networks have "
        f"not learned.\n\n{grid}\n{markdown(header, lines)}"
    )


def fill(text: str, blocks: Mapping[str, str]) -> str:
    """Put the blocks into a page; KeyError for a marker whose block nobody makes."""
    return BLOCK.sub(lambda match: f"<!-- begin: {match[1]} -->\n{blocks[match[1]]}<!-- end -->", text)


DATA_SETS = {"fashion-mnist": "Fashion", "cifar-10-jpeg": "CIFAR-10", "kmnist-10k": "KMNIST", "mnist": "MNIST"}


def questions(evidence: Evidence) -> list[Question]:
    """What the picture shows: one question a group of panels, the losses that met every condition."""
    accuracy, f1, ece = (
        evidence.accuracy, evidence.secondary[BALANCED_SCORE], evidence.secondary[CALIBRATION_ERROR]
    )  # fmt: skip
    labels = core(accuracy)["label"]
    plain = clean_rows(evidence)
    plain = plain[plain["label"].isin(labels) & plain["clip_norm"].isna() & (plain["weight_decay"] == 0)]
    others = plain[plain["dataset"].isin(DATA_SETS)]
    others = others[others["dataset"].isin(["kmnist-10k", "mnist"]) | others["train_size"].isna()]
    fashion = "Fashion-MNIST"
    return [
        Question("1  Clean, balanced: accuracy", [
            Panel(fashion, core(accuracy)), Panel("CIFAR-10", short_titles(pick(plain, dataset="cifar-10-jpeg")))]),
        Question("1  The same on more data", [Panel("Fashion: here 54,000 images", by_place(others))]),
        Question(f"2  Wrong targets: accuracy ({fashion})", [
            Panel("20 % wrong", core(accuracy, label_noise=0.2)),
            Panel("40 % wrong", core(accuracy, label_noise=0.4))]),
        Question(f"3  Rare classes: macro F1 ({fashion})", [
            Panel("tail 10:1", core(f1, imbalance=10.0), BALANCED_SCORE),
            Panel("tail 100:1", core(f1, imbalance=100.0), BALANCED_SCORE)]),
        Question(f"4  Calibration: ECE, axis reversed ({fashion})", [
            Panel("clean", core(ece), CALIBRATION_ERROR),
            Panel("40 % wrong", core(ece, **WRONG), CALIBRATION_ERROR)]),
        Question("5  Step size: accuracy under SGD", [
            Panel("one learning rate", by_place(evidence.single_rate)),
            Panel("first steps equal", by_place(evidence.matched))]),
    ]  # fmt: skip


def by_place(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows named by their loss and data set."""
    return rows.assign(title=[f"{row['title']}, {DATA_SETS[row['dataset']]}" for row in records(short_titles(rows))])


def gather() -> Evidence:
    return Evidence(archive.load_tables(archive.reference_folder()), read_tuned(), archive.load_tables(TUNED))


def make_blocks(evidence: Evidence) -> dict[str, str]:
    """Everything that is written, by marker."""
    kinds = evidence.accuracy["loss"].map(kind_of_loss)
    defined = evidence.accuracy[kinds == "defined"]
    return {
        # In short; then seven sentences; then the same ones with every number.
        "answer": f"{answer_short(evidence)}\n\n"
        + number_sentences(
            evidence,
            *(answer_clean, answer_wrong, answer_rare, answer_calibration, answer_steps, answer_features),
            *(answer_alike, answer_limits),
        ),
        "details": number_sentences(
            evidence,
            *(say_clean, say_wrong, say_rare, say_calibration, say_steps, say_features, say_alike, say_losses),
        ),
        "studies": write_studies(evidence),
        "defined": write_comparisons(evidence, pd.concat([defined, evidence.matched[evidence.matched["n"] > 0]])),
        "secondary": write_secondary(evidence),
        "reconstructions": write_comparisons(evidence, evidence.accuracy[kinds == "reconstruction"]),
        "embeddings": write_embeddings(evidence),
        "transfer": write_transfer(evidence),
        "single_runs": write_single_runs(evidence),
        **answer_claims.make_blocks(evidence.decided),
        "tuned": write_tuned(evidence.tuned),
        "calibration": write_calibration(),
        "changed": write_changed(evidence),
        "protocols": write_protocols(),
    }


def main() -> None:
    evidence = gather()
    blocks = make_blocks(evidence)
    answer_picture.draw(questions(evidence))
    for page in PAGES:
        page.write_text(fill(page.read_text(encoding="utf-8"), blocks), encoding="utf-8")


if __name__ == "__main__":
    main()
