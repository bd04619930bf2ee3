"""The report: right numbers, whole page, and a named limitation for everything that is missing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from browsing import Page
from sklearn.metrics import accuracy_score, confusion_matrix

from conftest import change_result, write_run
from lossbench import RunConfig, archive, claims, metrics, published, report, stats
from lossbench.claims.wording import SIGNS
from lossbench.cli import app
from lossbench.records import tables as records
from lossbench.records.declaration import declare
from lossbench.report import drawing, panels, predictions, study
from lossbench.report.claims import (
    LOSSES,
    SOURCES,
    claims_table,
    compare,
    link_figures,
    page_of,
    shared_cells,
)
from lossbench.report.drawing import Figure, Panel
from lossbench.report.evidence import gather
from lossbench.report.setting import gaps
from lossbench.report.setting import page_of as setting_page_of
from lossbench.report.tables import Table, comparisons, latex, save
from lossbench.report.text import say

CE, KL, FOCAL = ("cross_entropy", {}), ("kl_divergence", {}), ("focal", {"gamma": 2.0})


def read(folder):
    text = report.build(folder).read_text(encoding="utf-8")
    return text, Page(text)


@pytest.fixture
def quick(monkeypatch):
    """No figures and no claims, which take most of the time; their own tests are elsewhere."""
    monkeypatch.setattr(report.page.drawing, "draw", lambda figure, folder, kinds: [f"<b>{figure.panels[0].alt}</b>"])
    nothing = dict.fromkeys(claims.COLUMNS, "") | {"paper": "000", "verdict": "not tested", "group": "runs"}
    table = pd.DataFrame([nothing | dict.fromkeys(("estimate", "low", "high", "n", "needed"), np.nan)])
    monkeypatch.setattr(report, "decide", lambda tables, plans: table)


@pytest.fixture
def text_of(study_folder, quick):
    return lambda **study: read(study_folder(**{"probabilities": ("softmax",), **study}))[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The path of a page with everything in it."""
    folder = tmp_path_factory.mktemp("whole")
    for loss, params in (CE, KL, FOCAL):
        for probability in ("softmax", "taylor_softmax"):
            for seed in (0, 1, 2):
                config = RunConfig(loss=loss, loss_params=params, probability=probability, seed=seed, epochs=4)
                write_run(folder, config)
    return report.build(folder)


def test_page_is_whole_and_needs_nothing_else(whole):
    text = whole.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert page.outside == []
    assert len(page.ids) == len(set(page.ids))
    assert set(page.links) <= set(page.ids)
    assert re.findall(r"@import|url\((?!#)|<script", text) == []
    assert len(page.svgs) > 12
    assert len(page.captions) == sum(name.startswith("figure-") for name in page.ids)
    for caption in page.captions:
        assert re.search(r"\binterval|over \d+ blocks", caption), caption
    steps = [below - above for above, below in zip(page.headings, page.headings[1:], strict=False)]
    assert page.headings[0] == 1
    assert max(steps) == 1  # no level of heading is left out
    for svg in page.svgs:
        assert svg["role"] == "img"
        assert len(svg["aria-label"]) > 60


def test_building_twice_writes_the_same_bytes(study_folder, quick):
    folder = study_folder(losses=(CE, FOCAL), seeds=(0, 1))
    names = ("report.html", "tables/setting-1-accuracy.csv", "tables/setting-1-accuracy.tex")
    report.build(folder)
    first = [(folder / name).read_bytes() for name in names]
    report.build(folder)
    assert first == [(folder / name).read_bytes() for name in names]


def test_accuracy_table_is_recomputed_from_the_predictions(study_folder, quick):
    folder = study_folder(losses=(CE, FOCAL))
    text, _ = read(folder)
    table = pd.read_csv(folder / "tables" / "setting-1-accuracy.csv")
    runs = records.load_runs(folder)
    for row in table.to_dict("records"):
        short = "taylor_softmax" if "Taylor" in row["probability"] else "softmax"
        chosen = runs[(runs["loss"] == row["loss"]) & (runs["probability"] == short)]["run_id"]
        scores = [accuracy_score(t, p.argmax(1)) for t, p in (records.load_predictions(i, folder) for i in chosen)]
        assert row["mean"] == pytest.approx(np.mean(scores))
        assert row["sd"] == pytest.approx(np.std(scores, ddof=1))
        assert f">{100 * np.mean(scores):.2f}<" in text
    assert (folder / "tables" / "setting-1-accuracy.md").read_text().count("\n|") == 2 + len(table)


def test_confusion_matrix_shows_the_run_chosen_on_validation_images(study_folder, quick):
    folder = study_folder(losses=(CE, FOCAL))
    runs = records.load_runs(folder)
    best = runs.loc[runs["test_accuracy"].idxmin()]
    path = folder / "runs" / best["run_id"] / "result.json"
    change_result(path, val_accuracy=0.99)
    target, log_probs = records.load_predictions(best["run_id"], folder)
    matrix = confusion_matrix(target, log_probs.argmax(1), normalize="true")
    worst = (matrix - np.diag(np.diag(matrix))).max()
    text, _ = read(folder)
    assert f"most frequent mistake: {100 * worst:.0f} %" in text
    assert f"test accuracy {100 * best['test_accuracy']:.1f} %" in text


def test_twins_are_called_one_function_and_a_worse_loss_is_named_first(text_of):
    text = text_of(seeds=(0, 1, 2, 3, 4))
    assert "Under the same seed 5 of 5 pairs of runs have exactly the same test accuracy" in text
    header = text[text.index("<header>") : text.index("</header>")]
    header = header.replace("&nbsp;", " ")
    assert "Here it matters:" in header
    assert re.search(r"worse <span>1</span></dt>\s*<dd><span[^>]*>JS divergence −\d\.\d\d \[", header)
    assert "1 comparison of KL divergence, the same function" in header


def test_the_front_agrees_with_the_table_of_comparisons_and_with_the_engine(study_folder, quick):
    folder = study_folder(seeds=(0, 1, 2, 3))
    text, _ = read(folder)
    header = text[text.index("<header>") : text.index("</header>")]
    written = pd.read_csv(folder / "tables" / "comparisons.csv", keep_default_na=False)
    engine = stats.compare(records.load_runs(folder)).set_index(["probability", "label"])
    assert len(written) == len(engine)
    for row in written.to_dict("records"):
        judged = engine.loc[(row["probability"], row["label"])]
        assert row["verdict"] == judged["verdict"]
        assert float(row["mean"]) == judged["mean"]
        assert float(row["p_holm"] or "nan") == pytest.approx(judged["p_holm"], nan_ok=True)
    counts = written["verdict"].value_counts()
    shown = dict(re.findall(r"<dt class=\"[a-z-]+\">([a-z ]+) <span>(\d+)</span>", header))
    assert shown == {word: str(n) for word, n in counts.items() if word != "same function"}


def test_a_claim_of_a_paper_stands_behind_the_readers_own_runs(whole):
    text = whole.read_text(encoding="utf-8")
    places = [text.index(f'id="{name}"') for name in ("setting-1-against", "setting-1-scores", "published", "claims")]
    assert places == sorted(places)
    assert text.index("comparisons with cross-entropy") < places[0]
    folded = text[text.index("not tested by these runs") :]
    assert "claim-" in folded  # they can be opened


NOTHING = {  # what was run -> what the first paragraph says
    "there is one run, cross-entropy on fashion-mini": {"losses": (CE,), "seeds": (0,)},
    "only one loss was run, focal γ=2": {"losses": (FOCAL,), "seeds": (0, 1)},
    "cross-entropy, to which every loss is compared, was not run": {"losses": (FOCAL, ("mse", {}))},
    "only cross-entropy was run, under two names": {"losses": (CE, KL)},
    "there is 1. Add seeds": {"losses": (CE, FOCAL), "seeds": (0,)},
    "there are 2. Add seeds": {"losses": (CE, FOCAL), "seeds": (0, 1)},
    "all 4 runs diverged (2 × cross-entropy with softmax and 2 × focal γ=2 with softmax)": {
        "losses": (CE, FOCAL),
        "seeds": (0, 1),
        "diverged": {(loss, "softmax", seed) for loss in ("cross_entropy", "focal") for seed in (0, 1)},
    },
}


@pytest.mark.parametrize("sentence", NOTHING)
def test_a_report_with_nothing_in_it_says_why(text_of, sentence):
    text = text_of(**NOTHING[sentence])
    header = " ".join(text[text.index("<header>") : text.index("</header>")].split())
    assert sentence in header
    assert "Here it matters" not in header


def test_seeds_that_no_other_loss_has_leave_nothing_to_compare(study_folder, quick):
    study_folder(losses=(CE,), probabilities=("softmax",), seeds=(0, 1, 2))
    text, _ = read(study_folder(losses=(FOCAL,), probabilities=("softmax",), seeds=(3, 4, 5)))
    assert "no loss has a finished run with the same seed and setting" in text
    assert "0 pairs, a word takes 3" in text


def test_scores_that_are_no_numbers_are_said_to_be_none(study_folder, quick):
    folder = study_folder(losses=(CE, FOCAL), probabilities=("softmax",))
    for path in folder.glob("runs/*/result.json"):
        change_result(path, test_accuracy=None)
    text, _ = read(folder)
    assert "none of the 6 runs holds a finite test accuracy" in text
    assert "<dt>Runs without a score</dt><dd>6 finished runs" in text


def test_differences_that_are_all_equal_have_an_interval_as_wide_as_one_image(study_folder, quick):
    folder = study_folder(losses=(CE, FOCAL), probabilities=("softmax",))
    for path in folder.glob("runs/*/result.json"):
        change_result(path, test_accuracy=0.8)
    text, _ = read(folder)
    row = pd.read_csv(folder / "tables" / "comparisons.csv").iloc[0]
    half = scipy.stats.t.ppf(0.975, 2) / (3 * 500)  # standard error: one of 500 images in one of three runs
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((0, -half, half))
    assert "0, 3 equal" in text


def test_runs_at_chance_are_counted_and_named(study_folder, quick):
    folder = study_folder(losses=(CE, FOCAL), probabilities=("softmax",))
    for path in folder.glob("runs/*focal*/result.json"):
        change_result(path, test_accuracy=0.1)
    text, _ = read(folder)
    assert "No better than guessing: 3 × focal γ=2 with softmax" in text
    assert "<dt>Runs at chance</dt>" in text


AWKWARD = {
    "One seed": {"seeds": (0,)},
    "Few seeds": {"seeds": (0, 1)},
    "Only one loss": {"losses": (CE,), "probabilities": ("softmax",), "seeds": (0,)},
    "No cross-entropy": {"losses": (KL, FOCAL)},
    "Diverged runs": {"losses": (CE, FOCAL), "diverged": {("focal", "softmax", 1)}},
    "Chosen on the test images": {"losses": (CE, FOCAL), "selection": "best_test"},
}


@pytest.mark.parametrize("name", AWKWARD)
def test_an_awkward_study_gets_a_named_limitation(text_of, name):
    assert f"<dt>{name}</dt>" in text_of(**AWKWARD[name])


def test_missing_cells_and_unequal_seeds_are_named(study_folder, quick):
    study_folder(losses=(CE,), seeds=(0, 1, 2))
    folder = study_folder(losses=(FOCAL,), probabilities=("softmax",), seeds=(1, 2))
    text, _ = read(folder)
    assert "<dt>Missing cells</dt><dd>3 of 4 combinations" in text
    assert "<dt>Unequal seeds</dt><dd>combinations have between 2 and 3 seeds" in text
    differences = pd.read_csv(folder / "tables" / "setting-1-differences.csv")
    assert differences["n"].tolist() == [2]


def test_a_diverged_loss_gets_no_verdict(study_folder, quick):
    folder = study_folder(losses=(CE, KL, FOCAL), diverged={("focal", "softmax", 1)}, seeds=(0, 1, 2, 3))
    text, _ = read(folder)
    table = pd.read_csv(folder / "tables" / "comparisons.csv")
    row = table[(table["label"] == "focal γ=2") & (table["probability"] == "softmax")].iloc[0]
    assert row["verdict"] == "undecided"
    assert "1 of 4 runs of focal γ=2 diverged" in text
    assert "Diverged: 1 × focal γ=2 with softmax" in text[: text.index("</header>")]


def test_settings_are_analysed_apart(study_folder, quick):
    study_folder(losses=(CE, FOCAL), seeds=(0, 1), epochs=8)
    folder = study_folder(losses=(CE, FOCAL), seeds=(0, 1, 2), epochs=3)
    text, page = read(folder)
    assert "fashion-mini, small_cnn, epochs 3" in text
    assert len(page.ids) == len(set(page.ids))
    assert pd.read_csv(folder / "tables" / "setting-1-accuracy.csv")["n"].tolist() == [3] * 4
    assert pd.read_csv(folder / "tables" / "setting-2-accuracy.csv")["n"].tolist() == [2] * 4


def test_files_of_an_earlier_and_larger_report_are_gone(study_folder, quick):
    study_folder(losses=(CE,), seeds=(0, 1), train_size=500)
    folder = study_folder(losses=(CE,), seeds=(0, 1))
    (folder / "tables").mkdir()
    mine = folder / "tables" / "my-own.csv"
    mine.write_text("kept")
    report.build(folder)
    assert list((folder / "tables").glob("setting-2-*"))
    for record in list((folder / "runs").iterdir()):
        if "500" in (record / "config.json").read_text():
            shutil.rmtree(record)
    report.build(folder)
    assert not [*(folder / "tables").glob("setting-2-*"), *(folder / "figures").glob("setting-2-*")]
    assert mine.read_text() == "kept"


def test_lost_predictions_are_a_limitation(study_folder, quick):
    folder = study_folder(losses=(CE,), seeds=(0, 1))
    for path in folder.glob("runs/*/predictions.npz"):
        path.unlink()
    assert "<dt>No predictions</dt>" in read(folder)[0]


def test_a_damaged_record_is_named_and_left_out(study_folder, quick):
    folder = study_folder(losses=(CE, FOCAL), probabilities=("softmax",), seeds=(0, 1, 2))
    path = sorted(folder.glob("runs/*focal*/result.json"))[1]
    path.write_text(path.read_text()[:100])
    text, _ = read(folder)
    assert "<dt>Damaged records</dt><dd>1 record of this folder cannot be read" in text
    assert path.parent.name in text
    assert pd.read_csv(folder / "tables" / "setting-1-differences.csv")["n"].tolist() == [2]


def test_nothing_but_damaged_records_is_an_error_that_names_them(study_folder):
    folder = study_folder(losses=(CE,), probabilities=("softmax",), seeds=(0,))
    (path,) = folder.glob("runs/*/result.json")
    path.write_text("{")
    with pytest.raises(ValueError, match=rf"no finished runs .*1 damaged: {path.parent.name}"):
        report.build(folder)


def test_no_runs_says_how_to_make_some(tmp_path):
    with pytest.raises(ValueError, match=r"no finished runs under .*lossbench study thesis"):
        report.build(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_names_from_disk_cannot_write_html(study_folder, quick):
    folder = study_folder(losses=(CE,), probabilities=("softmax",), seeds=(0,))
    (path,) = folder.glob("runs/*/result.json")
    names = json.loads(path.read_text())["class_names"]
    change_result(path, class_names=['<img src=x>"', *names[1:]])
    _, page = read(folder)
    assert page.outside == []


def test_epochs_to_95_are_those_of_the_history(study_folder):
    folder = study_folder(losses=(CE,), probabilities=("softmax",), seeds=(0, 1))
    (evidence,) = gather(folder)[0].settings
    for row in evidence.runs.to_dict("records"):
        curve = records.Record(folder / "runs" / row["run_id"]).history["val_accuracy"]
        assert row["epochs_to_95"] == 1 + next(i for i, x in enumerate(curve) if x >= 0.95 * curve.iloc[-1])
    assert panels.epochs(evidence).name == "setting-1-epochs"


@pytest.mark.browser
def test_page_fits_phone_and_desk_by_day_and_night(whole):
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as play:
        try:
            browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        except sync_api.Error as error:
            pytest.skip(f"no Chromium here: {error.message.splitlines()[0]}")
        page = browser.new_page()
        requests = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(whole.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        for width in (360, 390, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
            for place in (".panel svg", "p", ".verdict", "figcaption", "a"):
                ink = page.evaluate(f"getComputedStyle(document.querySelector('{place}')).color")
                assert contrast(ink, paper) > 4.5, (scheme, place)
        assert requests == [whole.as_uri()]
        browser.close()


def contrast(first, second):
    """The ratio of the Web Content Accessibility Guidelines 2.1, of two colours as CSS gives them."""
    lights = []
    for colour in (first, second):
        parts = [int(x) / 255 for x in re.findall(r"\d+", colour)[:3]]
        linear = [x / 12.92 if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


# The claims on the page: verdicts in words, signs and colours; one line where nothing is decided.


def row(claim, verdict, paper="000", group="runs", **values):
    facts = {
        "claim": claim, "paper": paper, "place": "Table 4.1", "says": f"It says {claim}.", "test": "a test",
        "verdict": verdict, "estimate": 1.234, "low": 0.5, "high": 1.9, "unit": "points", "n": 15,
        "needed": np.nan, "notebook": "14_thesis", "figure": "thesis-accuracy", "group": group,
        "against": "focal minus cross_entropy", "why": "because", "limits": "", "reconstruction": "",
    }  # fmt: skip
    return {**dict.fromkeys(claims.COLUMNS, ""), **facts, **values}


TABLE = pd.DataFrame(
    [
        row("a", "supported"),
        row("b", "undecided", "001", needed=212.0),
        row("c", "contradicted", "001"),
        row("d", "not tested", "002", estimate=np.nan, low=np.nan, high=np.nan, n=0),
    ]
)


def test_every_verdict_and_paper_of_the_claims_is_known_here():
    assert set(SIGNS) == set(claims.VERDICTS)
    assert set(LOSSES) == set(claims.FIVE)


def ids(group):
    return [(paper, [one["id"] for one in rows]) for paper, rows in group["papers"]]


def test_claims_of_runs_are_grouped_by_paper_and_counted_those_not_tested_apart():
    shown = page_of(TABLE)
    assert ids(shown["tested"]) == [("Paper 000: thesis", ["claim-a"]), ("Paper 001: Adma", ["claim-b", "claim-c"])]
    assert shown["tested"]["verdicts"] == [(1, "supported", "✓"), (1, "contradicted", "✗"), (1, "undecided", "?")]
    assert ids(shown["untested"]) == [("Paper 002: sampling-free loss", ["claim-d"])]


def test_what_mathematics_or_print_decides_is_never_added_to_what_runs_decide():
    others = [row("e", "contradicted", group=group) for group in claims.GROUPS if group != "runs"]
    shown = page_of(pd.concat([TABLE, pd.DataFrame(others)], ignore_index=True))
    assert shown["tested"] == page_of(TABLE)["tested"]
    assert {group: one["count"] for group, one in shown["others"].items()} == dict.fromkeys(claims.GROUPS[1:], 1)


def test_a_claim_shows_estimate_interval_n_and_what_would_decide_it():
    shown = page_of(TABLE)["tested"]["papers"][1][1][0]
    assert (shown["verdict"], shown["sign"]) == ("undecided", "?")
    assert shown["facts"] == {
        "against": "focal minus cross-entropy",
        "estimate": "1.23 points (95 %: 0.50 to 1.90)",
        "n": "15",
        "needed": "212",
    }


def test_a_claim_that_was_not_tested_shows_no_numbers():
    (paper,) = page_of(TABLE)["untested"]["papers"]
    assert not set(paper[1][0]["facts"]) & {"estimate", "n", "needed"}


@pytest.mark.parametrize("verdict", ["undecided", "not tested"])
def test_runs_that_decide_nothing_are_said_to_decide_nothing(verdict):
    table = pd.DataFrame([row("a", verdict), row("b", "supported", group="mathematics")])
    assert not page_of(table)["decided"]


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


# Files beside the page: exports, LaTeX, packed studies, and where they go.


def test_figures_are_written_as_png_svg_and_pdf_without_a_date(tmp_path):
    figure = Figure("line", "caption", [Panel(lambda ax: ax.plot([0, 1]), "a line")])
    first, again = (drawing.draw(figure, tmp_path / name) for name in ("a", "b"))
    assert first == again
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["line.pdf", "line.png", "line.svg"]
    for path in (tmp_path / "a").iterdir():
        content = path.read_bytes()
        assert content == (tmp_path / "b" / path.name).read_bytes()
        assert b"CreationDate" not in content
        assert b"dc:date" not in content
    assert (tmp_path / "a" / "line.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert (tmp_path / "a" / "line.pdf").read_bytes()[:5] == b"%PDF-"
    assert b"/FontFile2" in (tmp_path / "a" / "line.pdf").read_bytes()  # TrueType, which publishers ask for


def test_latex_is_a_balanced_booktabs_table_in_which_nothing_is_a_command():
    shown = pd.DataFrame({"loss": ["focal γ=2", "a_b & #1 {x} ~^\\"], "mean": ["−1.5 ±0.1", "2 %"], "n": ["3", "–"]})
    text = latex(Table("setting-1-accuracy", "Accuracy, % of a_b", shown, shown))
    assert text.isascii()
    assert re.findall(r"\\(begin|end)\{(\w+)\}", text) == [
        ("begin", "table"), ("begin", "tabular"), ("end", "tabular"), ("end", "table")
    ]  # fmt: skip
    assert r"\begin{tabular}{lrr}" in text
    assert r"\caption{Accuracy, \% of a\_b.}" in text
    assert r"focal $\gamma$=2 & $-$1.5 $\pm$0.1 & 3 \\" in text
    assert r"a\_b \& \#1 \{x\} \textasciitilde \textasciicircum \textbackslash  & 2 \% & -- \\" in text
    assert [text.index(rf"\{rule}") for rule in ("toprule", "midrule", "bottomrule")] == sorted(
        text.index(rf"\{rule}") for rule in ("toprule", "midrule", "bottomrule")
    )
    assert re.findall(r"(?<!\\)%", text) == ["%"]  # the comment that names the packages


def test_a_table_is_written_as_csv_markdown_and_latex(tmp_path):
    values = pd.DataFrame({"loss": ["a|b"], "mean": [0.123456789012345]})
    paths = save(Table("t", "A table", values, values.round(2).astype(str)), tmp_path)
    assert [path.name for path in paths] == ["t.csv", "t.md", "t.tex"]
    assert paths[0].read_text().splitlines() == ["loss,mean", "a|b,0.123456789012345"]
    assert "| a\\|b | 0.12 |" in paths[1].read_text()


def test_every_table_of_a_page_has_sound_latex(study_folder, quick):
    folder = study_folder(losses=(CE, FOCAL))
    read(folder)
    for path in (folder / "tables").glob("*.tex"):
        text = path.read_text()
        assert text.isascii() or path.name == "claims.tex", path
        columns = len(re.search(r"\{tabular\}\{(\w+)\}", text)[1])
        rows = [line for line in text.splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {columns - 1}, path


@pytest.fixture
def packed(study_folder, tmp_path):
    """A folder of two packed studies that share their runs."""
    live = study_folder(losses=(CE, FOCAL), probabilities=("softmax",))
    for name in ("one", "two"):
        archive.pack(live, tmp_path / "reference" / name, name=name, note=f"Note on {name}.")
    return tmp_path / "reference"


def test_packed_studies_give_the_numbers_of_the_runs_they_were_packed_from(packed, study_folder, tmp_path, quick):
    live, page = tmp_path, tmp_path / "page"
    report.build(live)
    text = report.build(packed, page).read_text()
    for name in ("accuracy", "differences", "classes"):
        expected = (live / "tables" / f"setting-1-{name}.csv").read_text()
        for setting in ("setting-1", "setting-2"):  # each study by itself, though they hold the same runs
            assert (page / "tables" / f"{setting}-{name}.csv").read_text() == expected
    assert "6 runs of image classifiers" in text  # each counted once
    assert "Note on one." in text


def test_the_page_about_packed_studies_is_not_written_among_them(packed, monkeypatch, quick):
    before = sorted(packed.rglob("*"))
    monkeypatch.chdir(packed.parent)
    monkeypatch.delenv("LOSSBENCH_OUTPUT", raising=False)
    path = report.build(packed)
    assert path.resolve() == packed.parent / "outputs" / "reports" / "reference" / "report.html"
    assert sorted(packed.rglob("*")) == before


def test_git_ignores_the_default_place_of_such_a_page():
    root = Path(__file__).parents[1]
    found = subprocess.run(
        ["git", "check-ignore", "outputs/reports/reference/report.html"], cwd=root, capture_output=True, text=True
    )
    if found.returncode == 128:
        pytest.skip("not a git working tree")
    assert found.returncode == 0


def test_report_command_takes_a_folder_for_the_page(study_folder, tmp_path, quick):
    from typer.testing import CliRunner

    folder = study_folder(losses=(CE, FOCAL), probabilities=("softmax",), seeds=(0, 1))
    found = CliRunner().invoke(app, ["report", "--output", str(folder), "--to", str(tmp_path / "else")])
    assert found.exit_code == 0, found.output
    assert (tmp_path / "else" / "report.html").exists()
    assert not (folder / "report.html").exists()


# Sections of the report against numbers worked out elsewhere.

JS = ("js_divergence", {})


def write(folder, losses=(CE, JS), seeds=(0, 1, 2), **fields):
    for loss, params in losses:
        for seed in seeds:
            write_run(folder, RunConfig(loss=loss, loss_params=params, seed=seed, **{"epochs": 3, **fields}))
    return folder


def one(folder):
    (found,) = gather(folder)
    return found


def test_published_numbers_are_those_of_the_paper_and_measured_ones_those_of_the_runs(tmp_path):
    found = one(write(tmp_path))
    cells = shared_cells(found, SOURCES[0]).set_index("loss")
    runs = records.load_runs(tmp_path).set_index("loss")["test_accuracy"]
    printed = published.load("thesis_table_4_1")
    printed = printed[(printed["dataset"] == "Fashion-MNIST") & (printed["prob_fn"] == "softmax")]
    printed = printed[printed["metric"] == "best_test_accuracy"].set_index("loss")["value"].astype(float)
    row = cells.loc["JS divergence"]
    assert row["published"] == printed["JS"]
    assert row["published_difference"] == pytest.approx(printed["JS"] - printed["CCE"])
    assert row["measured"] == pytest.approx(runs["js_divergence"].mean())
    assert row["difference"] == pytest.approx(runs["js_divergence"].mean() - runs["cross_entropy"].mean())
    assert row["their table"] == "paper 000, Table 4.1"
    assert (row["their data"], row["data"]) == ("fashion-mnist", "fashion-mini")


def test_adma_meets_the_table_of_its_own_optimizer_and_penalty(tmp_path):
    losses = (CE, ("adma", {}))
    write(tmp_path, losses, optimizer="sgd", weight_decay=1e-4)
    cells = shared_cells(one(write(tmp_path, losses)), SOURCES[1])
    adma = cells[cells["loss"].str.startswith("Adma")]
    printed = published.load("adma_tables_1_4")
    printed = printed[(printed["dataset"] == "FASHION-MNIST") & (printed["loss"] == "Adma")].set_index("source_table")
    expected = {f"paper 001, {name}": float(printed["value"][name]) / 100 for name in ("Table 2", "Table 3")}
    assert dict(zip(adma["their table"], adma["published"], strict=True)) == pytest.approx(expected)
    assert len(adma) == 2


def test_noisy_targets_are_never_set_beside_published_numbers(tmp_path):
    assert shared_cells(one(write(tmp_path, label_noise=0.2)), SOURCES[0]).empty


def test_of_several_training_sizes_the_largest_is_set_beside_published_numbers(tmp_path):
    for size in (500, 1000):
        write(tmp_path, train_size=size)
    write(tmp_path, (JS,))  # all images, but nothing to compare with
    cells = shared_cells(one(tmp_path), SOURCES[0])
    assert set(cells["setting"]) == {"fashion-mini, small_cnn, train_size 1000"}
    assert len(cells) == 2


def test_published_and_measured_stand_in_different_columns(tmp_path):
    ((figure, table),) = compare(gather(write(tmp_path)))
    assert {"published %", "measured %", "their difference", "our difference"} <= set(table.shown.columns)
    assert "Open diamonds: paper 000" in figure.caption
    assert re.search(r"published [+−]\d\.\d\d, measured −\d", figure.panels[0].alt)


def test_false_positives_of_a_class_are_counted_from_the_predictions(tmp_path):
    found = one(write(tmp_path)).settings[0]
    table = predictions.false_positive_table(found, found.runs).set_index(["label", "class"])
    counts = []
    for run_id in found.runs[found.runs["loss"] == "js_divergence"]["run_id"]:
        target, log_probs = records.load_predictions(run_id, tmp_path)
        matrix = confusion_matrix(target, log_probs.argmax(1))
        counts.append(matrix.sum(axis=0) - np.diag(matrix))
    row = table.loc[("js_divergence", "Dress")]
    assert row["mean"] == pytest.approx(np.mean(counts, axis=0)[3])
    assert row["n"] == 3


def test_pooled_reliability_is_that_of_all_images_together(tmp_path):
    found = one(write(tmp_path, losses=(CE,))).settings[0]
    pooled = predictions.pool_reliability(found.reliability, found.runs)
    parts = [records.load_predictions(run_id, tmp_path) for run_id in found.runs["run_id"]]
    table = metrics.reliability_table(np.concatenate([p for _, p in parts]), np.concatenate([t for t, _ in parts]))
    expected = table[table["count"] > 0]
    assert pooled["count"].tolist() == expected["count"].tolist()
    np.testing.assert_allclose(pooled["accuracy"], expected["accuracy"])
    np.testing.assert_allclose(pooled["confidence"], expected["confidence"])


def test_heat_map_of_a_setting_is_paired_with_cross_entropy_under_softmax(study_folder):
    found = one(study_folder(losses=(CE, JS))).settings[0]
    figure = panels.by_loss_and_probability(found)
    runs = found.runs.set_index(["loss", "probability", "seed"])["test_accuracy"].sort_index()
    apart = 100 * (runs["js_divergence", "taylor_softmax"] - runs["cross_entropy", "softmax"]).mean()
    assert f"Taylor softmax order=2 {apart:+.2f}".replace("-", "−") in figure.panels[1].alt
    assert "at least 3 pairs a cell" in figure.caption


def test_ranks_use_the_losses_that_the_settings_share(tmp_path):
    write(tmp_path, (CE, JS, FOCAL, ("mse", {})), epochs=3)
    found = one(write(tmp_path, (CE, JS, FOCAL), epochs=4))
    runs = study.comparable(found)
    assert set(runs["loss"]) == {"cross_entropy", "js_divergence", "focal"}
    figure = study.ranking(found)
    assert "6 blocks (2 settings" in figure.caption


def test_a_field_without_effect_makes_no_setting_of_its_own(tmp_path):
    write(tmp_path, (CE, JS))
    write(tmp_path, (JS, FOCAL), weight_decay_on="convolutions")
    (setting,) = one(tmp_path).settings
    assert setting.comparison.set_index("label")["n"].to_dict() == {"js_divergence": 3, "focal γ=2": 3}
    write(tmp_path, (FOCAL,), weight_decay_on="convolutions", weight_decay=0.1)
    assert len(one(tmp_path).settings) == 2


def test_two_losses_have_no_ranks(tmp_path):
    write(tmp_path, epochs=4)
    assert study.ranking(one(write(tmp_path))) is None


def test_noise_curves_join_settings_that_differ_in_nothing_else(tmp_path):
    write(tmp_path, label_noise=0.0)
    write(tmp_path, label_noise=0.4, lr=0.01)
    found = one(write(tmp_path, label_noise=0.2))
    (figure,) = study.robustness(found, "label_noise")
    runs = records.load_runs(tmp_path)
    chosen = runs[(runs["label_noise"] == 0.2) & (runs["loss"] == "js_divergence")]["test_accuracy"]
    assert f"{100 * chosen.mean():.1f} at 0.2" in figure.panels[0].alt
    assert "at 0.4" not in figure.panels[0].alt
    assert [*study.robustness(found, "imbalance")] == []


def test_overview_marks_what_differs_from_cross_entropy(tmp_path):
    write(tmp_path, (CE, KL, JS), epochs=3, seeds=range(5))
    found = one(write(tmp_path, (CE, KL, JS), epochs=4, seeds=range(5)))
    assert [s.comparison.set_index("label").loc["js_divergence", "verdict"] for s in found.settings] == ["worse"] * 2
    assert "2 cells differ" in study.differences(found).panels[0].alt


def test_the_front_counts_comparisons_of_all_settings(tmp_path):
    write(tmp_path, (CE, KL, JS), seeds=range(5), epochs=3)
    studies = gather(write(tmp_path, (CE, KL, JS), seeds=range(5), epochs=4))
    front = study.front(studies, comparisons(studies))
    text = say("answer", f=front)
    assert (
        "in 2 settings, 5 pairs of runs a comparison, 2 of 2 comparisons with cross-entropy find a difference" in text
    )
    assert [(group["word"], group["count"]) for group in front["words"]] == [("worse", 2)]
    assert front["picture"].panels[0].alt.endswith("js_divergence: 2 worse.")


def test_beyond_a_few_settings_the_others_are_folded(tmp_path):
    for epochs in range(2, 10):
        write(tmp_path, (CE,), (0,), epochs=epochs)
    studies = gather(tmp_path)
    shown = study.page_of_study(studies[0], study.shown_in_full(studies))["settings"]
    assert [setting["brief"] for setting in shown] == [False] + [True] * 7
    assert [("curves" in setting) for setting in shown] == [True] + [False] * 7
    few = study.shown_in_full([type(studies[0])("across", "", "", studies[0].settings[:6])])
    assert few == {f"setting-{number}" for number in range(1, 7)}


def test_a_run_without_any_extra_score_has_a_page(tmp_path):
    """Records of the first version hold fewer scores."""
    found = one(write(tmp_path, (CE, ("mse", {})), (0,))).settings[0]
    lean = found.setting.runs.drop(columns=["num_parameters", "train_images", "threads", "commit"])
    bare = type(found)(found.slug, "", type(found.setting)("x", found.setting.fields, lean), found.history,
                       found.confusion.iloc[:0], found.reliability.iloc[:0])  # fmt: skip
    shown = setting_page_of(bare, brief=False)
    assert shown["accuracy"].panels
    assert (shown["reliability"], shown["confusion"], shown["classes"]) == (None, None, None)
    assert gaps(bare)["unpredicted"] == 2


def test_one_epoch_has_no_learning_curves(tmp_path):
    assert setting_page_of(one(write(tmp_path, epochs=1)).settings[0], brief=False)["curves"] is None


def test_severity_needs_a_class_tree(tmp_path):
    found = one(write(tmp_path)).settings[0]
    assert predictions.severity(found) is None
    runs = found.runs.assign(test_tree_distance=0.5, test_critical_error=[0.1] * 3 + [0.2] * 3)
    known = type(found)(found.slug, "", type(found.setting)("x", found.setting.fields, runs), found.history,
                        found.confusion, found.reliability)  # fmt: skip
    figure = predictions.severity(known)
    assert "cross-entropy 10.00 (n=3), JS divergence 20.00 (n=3)" in figure.panels[1].alt
    assert "reconstructions" in figure.caption


def test_facts_are_read_from_the_runs(tmp_path):
    found = one(write(tmp_path)).settings[0]
    facts = setting_page_of(found, brief=True)["facts"]
    assert (facts["model"], facts["parameters"]) == ("small_cnn", "20,000")
    assert (facts["dataset"], facts["train_images"], facts["test_images"]) == ("fashion-mini", "4,500", "500")


def test_a_study_until_decided_says_at_which_look_each_loss_was_decided_and_what_was_added_later(tmp_path, quick):
    configs = [
        RunConfig(loss=loss, loss_params=params, seed=seed, epochs=3)
        for loss, params in (CE, JS, FOCAL)
        for seed in range(5)
    ]
    declare(configs[:10], tmp_path, margin=0.01, looks=[5, 10])
    for config in configs:
        write_run(tmp_path, config)
    for place, path in enumerate(tmp_path.glob("runs/*js_divergence*/result.json")):
        change_result(path, test_accuracy=0.3 + 0.002 * place)
    declare(configs, tmp_path, margin=0.01, looks=[5, 10])
    text, _ = read(tmp_path)
    words = stats.sequential(records.load_runs(tmp_path), margin=0.01, looks=[5, 10]).set_index("label")
    assert words.loc["js_divergence", "look"] == 5
    header = " ".join(text[: text.index("</header>")].split())
    assert "Looks after 5 and 10 pairs. Decided after 5: JS divergence" in header
    assert "Added after looking:</b> focal γ=2." in header
    assert "<dt>Added after looking</dt><dd>focal γ=2: chosen when" in text
    assert "98.5 % interval" in text
    written = pd.read_csv(tmp_path / "tables" / "comparisons.csv").set_index("label")
    assert written["verdict"].to_dict() == words["verdict"].to_dict()
    assert re.search(r"<dt>Declared</dt><dd>\s*\d{4}-\d\d-\d\d, before the first run: 2 combinations", text)


def test_a_long_name_at_the_end_of_a_line_leaves_room_for_the_line(tmp_path):
    long = ("hierarchical_cross_entropy", {"mode": "conditional", "node_weight": "path"})
    (setting,) = one(write(tmp_path, (CE, long))).settings
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing.draw(panels.curves(setting), tmp_path / "figures", ["svg"])


@pytest.mark.parametrize(("most", "pdf", "kinds"), [(30, None, 3), (0, None, 2), (0, True, 3), (30, False, 2)])
def test_pdfs_are_written_unless_they_are_many_or_not_wanted(tmp_path, monkeypatch, quick, most, pdf, kinds):
    asked = []
    monkeypatch.setattr(drawing, "draw", lambda figure, folder, names: asked.append(tuple(names)) or [])
    monkeypatch.setattr(report, "MOST_PDFS", most)
    report.build(write(tmp_path), pdf=pdf)
    assert {len(names) for names in asked} == {kinds}
