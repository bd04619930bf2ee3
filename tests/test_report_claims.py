"""The claims on the page: verdicts in words, signs and colours; one line where nothing is decided."""

import numpy as np
import pandas as pd
import pytest

from lossbench import claims
from lossbench.claims.wording import SIGNS
from lossbench.report.claims import FIGURES, LOSSES, claims_section, claims_table, link_figures
from lossbench.report.evidence import gather


def row(claim, verdict, paper="000", kind="runs", **values):
    facts = {
        "claim": claim, "paper": paper, "place": "Table 4.1", "says": f"It says {claim}.", "test": "a test",
        "verdict": verdict, "estimate": 1.234, "low": 0.5, "high": 1.9, "unit": "points", "n": 15, "detectable": 0.8,
        "needed": np.nan, "notebook": "08_thesis_analysis", "figure": "thesis-accuracy", "kind": kind,
        "against": "focal minus cross_entropy", "why": "because", "limits": "", "reconstruction": "",
    }  # fmt: skip
    return {**dict.fromkeys(claims.COLUMNS, ""), **facts, **values}


TABLE = pd.DataFrame(
    [
        row("a", "supported"),
        row("b", "undecided", "001", needed=212.0),
        row("c", "contradicted", "001"),
        row("d", "not tested", "002", estimate=np.nan, low=np.nan, high=np.nan, n=0, detectable=np.nan),
    ]
)


def test_every_verdict_and_figure_of_the_claims_is_known_here():
    assert set(SIGNS) == set(claims.VERDICTS)
    assert set(FIGURES) <= set(claims.FIGURES)
    assert set(LOSSES) == set(claims.PAPERS)


def test_claims_are_grouped_by_paper_and_counted():
    section = claims_section(TABLE)
    text, *papers = section.blocks
    assert "4 claims of the five papers: 1 supported ✓, 1 contradicted ✗, 1 undecided ?, 1 not tested –" in text.text
    assert [(block.paper, len(block.rows)) for block in papers] == [("Paper 000: thesis", 1), ("Paper 001: Adma", 2)]
    (untested,) = section.more
    assert [one["id"] for one in untested.rows] == ["claim-d"]
    assert section.fold == "1 claim not tested by these runs"


def test_a_claim_shows_estimate_interval_n_and_what_would_decide_it():
    shown = claims_section(TABLE).blocks[2].rows[0]
    assert (shown["verdict"], shown["sign"]) == ("undecided", "?")
    assert dict(shown["facts"]) == {
        "focal minus cross-entropy": "1.23 points (95 %: 0.50 to 1.90)",
        "n": "15",
        "smallest difference found 4 times in 5": "0.800 points",
        "pairs that would decide": "212",
    }


def test_a_claim_that_was_not_tested_shows_no_numbers():
    (untested,) = claims_section(TABLE).more
    assert untested.rows[0]["facts"] == []


@pytest.mark.parametrize("verdict", ["undecided", "not tested"])
def test_runs_that_decide_nothing_get_one_line(verdict):
    table = pd.DataFrame([row("a", verdict), row("b", "supported", kind="mathematics")])
    section = claims_section(table)
    assert len(section.blocks) == 1
    assert "decide none of the 2 claims" in section.blocks[0].text
    assert sum(len(block.rows) for block in section.more) == 2


def test_claims_have_a_table_for_files():
    table = claims_table(TABLE)
    assert table.shown["verdict"].tolist() == ["✓ supported", "? undecided", "✗ contradicted", "– not tested"]
    assert table.shown["estimate"].tolist()[-1] == "–"
    assert len(table.values) == 4


def test_a_figure_is_linked_to_the_study_that_has_the_papers_losses(study_folder):
    studies = gather(
        study_folder(losses=(("cross_entropy", {}), ("focal", {})), probabilities=("softmax",), seeds=(0,))
    )
    names = ["setting-1-differences", "published-000"]
    assert link_figures(TABLE, studies, names)["figure"].tolist()[0] == "setting-1-differences"
    assert link_figures(TABLE.assign(figure="thesis-tables"), studies, names)["figure"].tolist()[0] == "published-000"
    assert link_figures(TABLE, studies, [])["figure"].tolist()[0] == ""
    assert link_figures(TABLE.assign(figure="adma-curves"), studies, names)["figure"].tolist()[0] == ""
