"""What a tuned study says: which trial won, how the best score grows with trials, and what the finals differ by.

Every loss has the same points in the same studies, so losses are compared trial by trial and final by final. Finals of
one study share the luck of one tuning, so they are averaged within their study, and the means of the studies are what
a t test sees: with three studies it has two degrees of freedom, whatever the number of finals. By simulation
(`benchmarks/calibration.csv`) its error stays at 0.05 however much the studies differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lossbench.stats.learned import NOT_LEARNED, why_runs_not_learned
from lossbench.stats.paired import EQUIVALENT, OUTCOMES, VERDICTS, judge
from lossbench.stats.runs import REFERENCE

if TYPE_CHECKING:
    import pandas as pd

RESAMPLES = 2000
BAND = 0.95
DIFFERENT = tuple(word for word in VERDICTS if word.endswith(("better", "worse")))
RULE = "paired differences of finals, averaged within each study; t test over the studies; Holm over the losses"

Curve = NDArray[np.float64]


def choose(trials: pd.DataFrame) -> pd.DataFrame:
    """The winner of each loss and study: highest validation accuracy; of equal ones the earliest point.

    Args:
        trials: rows in the order of the plan, columns `loss study val_accuracy status`.

    Returns: one row of `trials` a loss and study. A loss whose trials of a study all diverged has none.
    """
    usable = trials[(trials["status"] == "finished") & trials["val_accuracy"].notna()]
    best = usable.groupby(["loss", "study"], sort=False)["val_accuracy"].idxmax()
    return trials.loc[best]


def trial_scores(trials: pd.DataFrame) -> dict[str, Curve]:
    """Validation accuracy (studies, trials) of each loss, the default first; a diverged trial scores 0."""
    scores = trials.assign(score=trials["val_accuracy"].astype(float).where(trials["status"] == "finished").fillna(0))
    return {
        str(loss): rows.pivot(index="study", columns="point", values="score").to_numpy()
        for loss, rows in scores.groupby("loss", sort=False)
    }


def best_of(scores: Curve) -> Curve:
    """Expected best score of n = 1, 2, ... trials: the default, and n - 1 of the others drawn at random.

    Args:
        scores: (studies, trials), the default first.

    Returns: (trials,), the mean over the studies.
    """
    default, others = scores[:, :1], np.sort(np.maximum(scores[:, 1:], scores[:, :1]), axis=1)
    chances = _chances(others.shape[1])
    return np.concatenate([default.mean(0), (others @ chances.T).mean(0)])


def _chances(count: int) -> Curve:
    """Row m - 1: the chance that the i-th smallest of `count` values is the largest of m drawn without replacement."""
    from scipy.special import comb

    rank = np.arange(1, count + 1)
    return np.array([comb(rank - 1, m - 1) / comb(count, m) for m in range(1, count + 1)])


def best_of_band(scores: Curve, seed: int = 0) -> tuple[Curve, Curve]:
    """A 95 % bootstrap band of `best_of`: studies and, within each, its trials are drawn again."""
    draws = np.random.default_rng(seed)
    studies, count = scores.shape
    curves = []
    for _ in range(RESAMPLES):
        sample = scores[draws.integers(studies, size=studies)]
        drawn = draws.integers(1, count, size=(studies, count - 1))
        others = np.take_along_axis(sample, drawn, axis=1)
        curves.append(best_of(np.concatenate([sample[:, :1], others], axis=1)))
    low, high = np.quantile(curves, [(1 - BAND) / 2, (1 + BAND) / 2], axis=0)
    return low, high


def trials_to_pass(scores: Mapping[str, Curve], reference: str = REFERENCE) -> dict[str, int | None]:
    """Trials from which on each loss's expected best score exceeds that of the reference with as many; None for never.

    Other losses than the reference only.
    """
    bar = best_of(scores[reference])
    needed: dict[str, int | None] = {}
    for loss, values in scores.items():
        if loss != reference:
            below = np.flatnonzero(best_of(values) <= bar)
            first = 1 if not len(below) else int(below[-1]) + 2
            needed[loss] = first if first <= len(bar) else None
    return needed


def final_differences(finals: pd.DataFrame, metric: str = "test_accuracy", reference: str = REFERENCE) -> pd.DataFrame:
    """Each loss's finals minus the reference's of the same study and seed.

    Args:
        finals: columns `loss study seed status` and the metric.

    Returns: columns `loss study seed difference`, a row a pair of finished runs.
    """
    usable = finals[(finals["status"] == "finished") & finals[metric].notna()]
    others = usable[usable["loss"] == reference][["study", "seed", metric]]
    pairs = usable[usable["loss"] != reference].merge(others, on=["study", "seed"], suffixes=("", "_reference"))
    pairs = pairs.assign(difference=pairs[metric] - pairs[f"{metric}_reference"])
    return pairs[["loss", "study", "seed", "difference"]]


def judge_finals(
    finals: pd.DataFrame,
    metric: str = "test_accuracy",
    *,
    margin: float | None = None,
    reference: str = REFERENCE,
) -> pd.DataFrame:
    """Each tuned loss against the tuned reference, by the rule at the top of this module.

    Args:
        finals: as for `final_differences`, with `test_images`.
        margin: smallest difference that matters; None takes that of `OUTCOMES`.

    Returns: a row a loss: `loss n draws mean low high p p_holm p_equivalence margin verdict diverged limits`; `n`
        counts pairs, `draws` the studies whose means were tested; `limits` says why a network has not learned.
    """
    import pandas as pd

    outcome = OUTCOMES[metric]
    margin = outcome.margin if margin is None else margin
    pairs = final_differences(finals, metric, reference)
    losses = [str(loss) for loss in dict.fromkeys(finals["loss"]) if loss != reference]
    own = {loss: pairs[pairs["loss"] == loss] for loss in losses}
    means = [own[loss].groupby("study")["difference"].mean().to_numpy() for loss in losses]
    a_draw = max(1, min((len(rows) // max(1, rows["study"].nunique()) for rows in own.values()), default=1))
    resolution = 1 / (float(finals["test_images"].min()) * a_draw) if outcome.counts_images else 0.0
    judged = judge(means, margin=margin, resolution=resolution, higher_is_better=outcome.higher_is_better)
    rows: list[dict[str, Any]] = []
    for loss, row in zip(losses, judged, strict=True):
        numbers = {name: getattr(row, name) for name in ("mean", "low", "high", "p", "p_holm", "p_equivalence")}
        diverged = int(((finals["loss"] == loss) & (finals["status"] != "finished")).sum())
        counts = {"loss": loss, "n": len(own[loss]), "draws": row.n}
        word = "undecided" if diverged else row.verdict
        unlearned = why_runs_not_learned(finals[finals["loss"] == loss], finals[finals["loss"] == reference])
        word = NOT_LEARNED if unlearned else word
        rows.append({**counts, **numbers, "margin": margin, "verdict": word, "diverged": diverged, "limits": unlearned})
    return pd.DataFrame(rows)


HELD, TURNED, GONE = "held up", "turned round", "gone once tuned"
SHOWN, OPEN, LEVEL = "shown only once tuned", "open", "level"
FATES = (HELD, TURNED, GONE, SHOWN, OPEN, LEVEL)


def before_and_after(trials: pd.DataFrame, finals: pd.DataFrame, *, margin: float | None = None) -> pd.DataFrame:
    """What tuning left of each loss's difference to the reference: its defaults against the defaults, then the finals.

    The defaults ran once in each study, so before tuning there is one pair a study.

    Args:
        trials: with `study point` and the columns of `judge_finals`; point 0 is the default.
        finals: as for `judge_finals`.

    Returns: a row a loss: `loss`, `before before_low before_high before_n before_word`, the same with `after`, and
        `fate`: a difference that was shown before tuning has `held up`, `turned round`, or is `gone once tuned` (it is
        equivalent now, or the interval now leaves out what was seen before), else `open`; one that was not shown before
        is `shown only once tuned`, `level` (equivalent now), or `open`.
    """
    sides = {"before": trials[trials["point"] == 0], "after": finals}
    judged = {side: judge_finals(runs, margin=margin).set_index("loss") for side, runs in sides.items()}
    names = {"mean": "", "low": "_low", "high": "_high", "n": "_n", "verdict": "_word"}
    parts = [
        table[list(names)].rename(columns={name: f"{side}{end}" for name, end in names.items()})
        for side, table in judged.items()
    ]
    table = parts[0].join(parts[1], how="inner").reset_index()
    return table.assign(fate=[_fate(row) for row in table.to_dict("records")])


def _fate(row: Mapping[Any, Any]) -> str:
    before, after = (row[f"{side}_word"] in DIFFERENT for side in ("before", "after"))
    if before and after:
        return HELD if row["before"] * row["after"] > 0 else TURNED
    if before:
        gone = row["after_word"] == EQUIVALENT or not row["after_low"] <= row["before"] <= row["after_high"]
        return GONE if gone and row["after_word"] != NOT_LEARNED else OPEN
    return SHOWN if after else LEVEL if row["after_word"] == EQUIVALENT else OPEN


def ranks(scores: Mapping[str, float]) -> dict[str, float]:
    """Rank 1 for the highest score; equal scores share the mean of their ranks."""
    from scipy.stats import rankdata

    names: Sequence[str] = list(scores)
    return dict(zip(names, (float(rank) for rank in rankdata([-scores[name] for name in names])), strict=True))


def tuning_table(trials: pd.DataFrame, finals: pd.DataFrame) -> pd.DataFrame:
    """What tuning has done for each loss.

    Returns: a row a loss: `loss default tuned gain` (validation accuracy of the default, of the winner, and their
        difference, means over the studies; the winner's is the best of many and so flatters it), `passes` (trials to
        pass cross-entropy, missing where it never does), `before` (test accuracy of the default in the studies),
        `after` (of the finals), `rank_before`, `rank_after`.
    """
    import pandas as pd

    scores = trial_scores(trials)
    done = trials[(trials["status"] == "finished") & (trials["point"] == 0)]
    before = done.groupby("loss")["test_accuracy"].mean().to_dict()
    after = finals[finals["status"] == "finished"].groupby("loss")["test_accuracy"].mean().to_dict()
    passes = trials_to_pass(scores) if REFERENCE in scores else {}
    rank_before, rank_after = (ranks({name: part[name] for name in scores if name in part}) for part in (before, after))
    rows = []
    for loss, values in scores.items():
        default, best = float(values[:, 0].mean()), float(values.max(1).mean())
        rows.append(
            {
                "loss": loss,
                "default": default,
                "tuned": best,
                "gain": best - default,
                "passes": passes.get(loss),
                "before": before.get(loss),
                "after": after.get(loss),
                "rank_before": rank_before.get(loss),
                "rank_after": rank_after.get(loss),
            }
        )
    return pd.DataFrame(rows).astype({"passes": "Int64"})
