"""The report: right numbers, whole page, and a named limitation for everything that is missing."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from html_page import Page
from sklearn.metrics import accuracy_score, confusion_matrix

from conftest import write_run
from lossbench import RunConfig, claims, records, report, stats
from lossbench.report import panels
from lossbench.report.evidence import gather

CE, KL, FOCAL = ("cross_entropy", {}), ("kl_divergence", {}), ("focal", {"gamma": 2.0})


def read(folder):
    text = report.build(folder).read_text(encoding="utf-8")
    return text, Page(text)


@pytest.fixture
def quick(monkeypatch):
    """No figures and no claims, which take most of the time; their own tests are elsewhere."""
    monkeypatch.setattr(report.page.figures, "draw", lambda figure, folder: [f"<b>{figure.panels[0].alt}</b>"])
    nothing = dict.fromkeys(claims.COLUMNS, "") | {"paper": "000", "verdict": "not tested", "group": "runs"}
    table = pd.DataFrame([nothing | dict.fromkeys(("estimate", "low", "high", "n", "needed"), np.nan)])
    monkeypatch.setattr(report, "decide", lambda tables: table)


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
    path.write_text(json.dumps({**json.loads(path.read_text()), "val_accuracy": 0.99}))
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
        path.write_text(json.dumps({**json.loads(path.read_text()), "test_accuracy": None}))
    text, _ = read(folder)
    assert "none of the 6 runs holds a finite test accuracy" in text
    assert "<dt>Runs without a score</dt><dd>6 finished runs" in text


def test_differences_that_are_all_equal_have_an_interval_as_wide_as_one_image(study_folder, quick):
    folder = study_folder(losses=(CE, FOCAL), probabilities=("softmax",))
    for path in folder.glob("runs/*/result.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "test_accuracy": 0.8}))
    text, _ = read(folder)
    row = pd.read_csv(folder / "tables" / "comparisons.csv").iloc[0]
    half = scipy.stats.t.ppf(0.975, 2) / (3 * 500)  # standard error: one of 500 images in one of three runs
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((0, -half, half))
    assert "0, 3 equal" in text


def test_runs_at_chance_are_counted_and_named(study_folder, quick):
    folder = study_folder(losses=(CE, FOCAL), probabilities=("softmax",))
    for path in folder.glob("runs/*focal*/result.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "test_accuracy": 0.1}))
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
    path.write_text(path.read_text().replace("T-shirt/top", '<img src=x>\\"'))
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
