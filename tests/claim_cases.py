"""Invented tables of runs in which a claim is true, false or open by construction."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lossbench.claims import CLAIMS, PAPERS
from lossbench.claims.rules import Compared
from lossbench.config import RunConfig

COMPARED = [claim for claim in CLAIMS if isinstance(claim.rule, Compared)]
BETTER = [claim for claim in COMPARED if np.isinf(claim.rule.high) and np.isfinite(claim.rule.low)]
EQUAL = [claim for claim in COMPARED if claim not in BETTER]
WHOLE = 10_000
DATASETS = ("fashion-mnist", "kmnist-10k", "cifar-10-jpeg")


def invent(claim, effect=0.0, seeds=6, noise=0.1, together=0.3, rng=None):
    """Runs in which every contrast of a claim is `effect` in the unit of its score, but for noise.

    Each run has noise of its own, and one that all runs of a seed on a data set have `together`.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    rows = {}
    for contrast in claim.rule.contrasts:
        for dataset in contrast.datasets or PAPERS[claim.paper].datasets[:2]:
            for seed in range(seeds):
                for term in contrast.terms:
                    where = {**contrast.where, **term.where}
                    row = rows.setdefault((dataset, seed, str(where)), config(dataset, seed, where, epochs=100))
                    paired = np.random.default_rng(seed + 99 * len(dataset)).normal(0, together)
                    value = paired + rng.normal(0, noise)
                    if len(contrast.terms) == 1:
                        value = (value + effect + contrast.null) * term.weight
                    else:
                        value += 90 + effect / 2 * np.sign(weight_of(term, claim))
                    row.setdefault(contrast.metric, value / contrast.score.scale)
    table = pd.DataFrame(list(rows.values()))
    parts = [table, *([whole_sets(table)] if table["train_size"].notna().any() else [])]
    table = pd.concat(parts, ignore_index=True)
    return table.assign(run_id=[f"run-{i}" for i in range(len(table))])


def weight_of(term, claim):
    """What a side weighs over all contrasts of a claim: above 0 if it ought to be high."""
    return sum(t.weight for c in claim.rule.contrasts for t in c.terms if t.where == term.where)


def config(dataset, seed=0, where=None, **values):
    """A row of `load_runs` without scores; `where` as claims select runs."""
    where = dict(where or {})
    params = where.pop("params", {})
    if "train_part" in where:
        where["train_size"] = int(WHOLE * where.pop("train_part"))
    row = {**RunConfig.defaults(), "dataset": dataset, "seed": seed, "status": "finished", **where, **values}
    row["loss_params"] = ";".join(f"{key}={value}" for key, value in params.items())
    row["probability_params"] = ""
    row["label"] = f"{row['loss']} {row['loss_params']}".strip()
    return row


def whole_sets(table):
    """Runs of another loss on all images, so that the others are known to be on a part."""
    return table.assign(train_size=WHOLE, loss="n_pair", label="n_pair")


def grid(seeds=5, noise=0.5, together=0.5, rng=None, datasets=DATASETS, **shift):
    """A thesis grid whose accuracies differ by noise alone, in points; `shift` moves a loss by its name."""
    rng = np.random.default_rng(0) if rng is None else rng
    losses = [("cross_entropy", {}), ("js_divergence", {}), ("focal", {"gamma": 0.5}), ("focal", {"gamma": 2.0})]
    rows = []
    for dataset in datasets:
        for seed in range(seeds):
            shared = rng.normal(80, together)
            for loss, params in losses:
                for probability in ("softmax", "soft_margin_softmax", "taylor_softmax"):
                    row = config(dataset, seed, {"loss": loss, "params": params, "probability": probability})
                    row["test_accuracy"] = (shared + rng.normal(0, noise) + shift.get(loss, 0.0)) / 100
                    row["best_epoch"] = int(rng.integers(3, 9))
                    rows.append(row)
    table = pd.DataFrame(rows)
    return table.assign(run_id=[f"run-{i}" for i in range(len(table))], train_images=WHOLE, epochs=20)
