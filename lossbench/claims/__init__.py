"""What five papers and the field claim, and what a table of runs says about it.

>>> from lossbench import claims, load_history, load_runs
>>> table = claims.evaluate(load_runs("outputs/reference"), history=load_history("outputs/reference"))  # doctest: +SKIP
>>> claims.count_verdicts(table)  # doctest: +SKIP

The rule for verdicts stands in `lossbench.claims.verdicts`. A claim is one entry in the module of its paper. Claims are
decided by runs, by mathematics or by the paper's own tables; these groups are never added to each other.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import pandas as pd

from lossbench.claims.adma import CLAIMS as ADMA
from lossbench.claims.contrasts import prepare
from lossbench.claims.false_positive import CLAIMS as FALSE_POSITIVE
from lossbench.claims.field import CLAIMS as FIELD
from lossbench.claims.layers import CLAIMS as LAYERS
from lossbench.claims.sampling_free import CLAIMS as SAMPLING_FREE
from lossbench.claims.thesis import CLAIMS as THESIS
from lossbench.claims.verdicts import (
    COLUMNS,
    FIGURES,
    FIVE,
    GROUPS,
    MARGIN,
    NOTEBOOKS,
    PAPERS,
    REGIMES,
    VERDICTS,
    Claim,
    Paper,
    break_down,
    count_verdicts,
    judge_claims,
    judged_twice,
    still_open,
)
from lossbench.claims.wording import as_markdown
from lossbench.records import archive
from lossbench.records.declaration import TunedDeclaration, declared_tuned
from lossbench.registry import unknown

__all__ = ["CLAIMS", "COLUMNS", "FIGURES", "FIVE", "GROUPS", "MARGIN", "NOTEBOOKS", "PAPERS", "REGIMES", "VERDICTS"]
__all__ += ["Claim", "Paper", "as_markdown", "count_verdicts", "decide", "detail", "evaluate", "judged_twice"]
__all__ += ["find_claim", "still_open"]

CLAIMS: tuple[Claim, ...] = (*THESIS, *ADMA, *SAMPLING_FREE, *FALSE_POSITIVE, *LAYERS, *FIELD)


def find_claim(key: str) -> Claim:
    """Look a claim up; ValueError with the nearest key if there is none."""
    if key not in (by_key := {claim.key: claim for claim in CLAIMS}):
        raise ValueError(unknown("claim", key, by_key))
    return by_key[key]


def evaluate(
    runs: pd.DataFrame,
    *,
    confusion: pd.DataFrame | None = None,
    folds: pd.DataFrame | None = None,
    history: pd.DataFrame | None = None,
    plans: Sequence[TunedDeclaration] = (),
    margin: float = MARGIN,
) -> pd.DataFrame:
    """Decide every claim from the runs given, and from mathematics and printed tables where no run can.

    Args:
        runs: what `load_runs` gives, of one or many studies; measured runs only, never published values.
        confusion, folds, history: the tables of these runs that `archive.load_tables` gives; a claim that needs a table
            which is not given is not tested.
        plans: what `declared_tuned` gives for the folder of these runs: their finals are then judged as tuned losses.
        margin: the smallest difference that matters, in percentage points; also the margin of "no difference".

    Returns: a row a claim, and another of those that tuned runs test too, columns `COLUMNS`: `kind` is `runs`,
        `mathematics` or `printed table`, `group` one of `GROUPS`, which sets slips in print apart; `regime` says which
        runs, one of `REGIMES`, and is empty where none decide; `verdict` is one of `VERDICTS`; `estimate` with `low`
        and `high` (95 %) in `unit` belongs to the contrast named in `against`, the one that the verdict hangs on; `n`
        counts pairs (seeds, summed over data sets), or what was checked where `kind` is not `runs`; `needed` is the
        number of pairs that would decide an undecided claim if the truth were as seen; `here` says in which setting it
        was decided and `limits` what that leaves open.

    Raises:
        ValueError: `runs` lacks columns, or `margin` is not above 0.
    """
    return judge_claims(CLAIMS, prepare(runs, confusion, folds, history, plans), margin)


def decide(
    source: str | os.PathLike[str] | archive.AllTables,
    *,
    notebook: str | None = None,
    plans: Sequence[TunedDeclaration] | None = None,
    margin: float = MARGIN,
) -> pd.DataFrame:
    """Decide claims from everything in a folder of runs or packed studies; see `evaluate`.

    Args:
        source: a folder, or what `archive.load_tables` read from it.
        notebook: one of `NOTEBOOKS`: only the claims whose figure stands there; None takes all.
        plans: as in `evaluate`; None takes what is declared in a folder.
        margin: as in `evaluate`.
    """
    if notebook is not None and notebook not in NOTEBOOKS:
        raise ValueError(unknown("notebook with claims", notebook, NOTEBOOKS))
    tables = source if isinstance(source, archive.AllTables) else archive.load_tables(source)
    if plans is None:
        plans = () if isinstance(source, archive.AllTables) else declared_tuned(source)
    prepared = prepare(tables.runs, tables.confusion, tables.folds, tables.history, plans)
    # A verdict is held to 0.05 for a paper as a whole, so the other claims of the paper have to be looked at too.
    papers = {claim.paper for claim in CLAIMS if notebook in (None, claim.notebook)}
    table = judge_claims([claim for claim in CLAIMS if claim.paper in papers], prepared, margin)
    return table if notebook is None else table[table["notebook"] == notebook].reset_index(drop=True)


def detail(
    claim: str,
    runs: pd.DataFrame,
    *,
    confusion: pd.DataFrame | None = None,
    folds: pd.DataFrame | None = None,
    history: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Break a claim down: a row for each of its contrasts and each data set and model; arguments as in `evaluate`.

    Returns: columns `against dataset model n ahead estimate low high margin verdict unit unfinished runs limits
        setting`; `verdict` is the engine's word (`stats.VERDICTS`) on this data set alone, `unfinished` how many of the
        `runs` had their best epoch last. Empty for a claim that no comparison of runs decides.
    """
    return break_down(find_claim(claim), prepare(runs, confusion, folds, history))
