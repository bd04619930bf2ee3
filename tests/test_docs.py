"""The site: its link check finds what is broken, and notebooks become pages."""

from __future__ import annotations

import ast
import base64
import importlib.util
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from zipfile import ZipFile

import nbformat
import pytest
import torch
import torch.nn.functional as F
import typer.main
from IPython.core.inputtransformer2 import TransformerManager
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from scipy.stats import ttest_rel
from statsmodels.stats.multitest import multipletests
from test_house import MAY_ASK

from conftest import parse_command
from docs import answer, answer_picture, cards, handouts, slides
from lossbench import LOSSES, Criterion, archive, stats
from lossbench.cli import app
from lossbench.records.lease import HEARTBEAT_SECONDS, STALE_AFTER
from lossbench.registry import extend
from lossbench.report.evidence import gather
from lossbench.report.tables import comparisons
from lossbench.studies.execute import ENGINES, take_shard
from lossbench.studies.plans import plan_study

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def load_script(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


check_links, build = load_script("check_links"), load_script("build")


def site(folder, body, **files):
    (folder / "index.html").write_text(f'<html><body><h1 id="top">x</h1>{body}</body></html>', encoding="utf-8")
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return check_links.check(folder)


@pytest.mark.parametrize(
    "body",
    [
        '<a href="#top">up</a>',
        '<a href="other.html">page</a>',
        '<a href="other.html#place">place</a>',
        '<a href="https://arxiv.org/abs/1708.02002">paper</a>',
        '<img src="other.html">',
        '<img src="data:image/png;base64,AA==">',
        '<a href="mailto:somebody@example.org">write</a>',
    ],
)
def test_a_sound_link_is_not_reported(tmp_path, body):
    assert site(tmp_path, body, other_html='<p id="place">') == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ('<a href="#nowhere">x</a>', "no such anchor"),
        ('<a href="other.html#nowhere">x</a>', "no such anchor"),
        ('<a href="missing.html">x</a>', "missing.html is not there"),
        ('<a href="../outside.html">x</a>', "leads out of the site"),
        ('<img src="missing.png">', "missing.png is not there"),
        ('<script src="https://cdn.example.org/x.js"></script>', "fetches https://cdn.example.org/x.js"),
        ('<link rel="stylesheet" href="//cdn.example.org/x.css">', "fetches //cdn.example.org/x.css"),
        ('<iframe src="http://example.org"></iframe>', "fetches http://example.org"),
    ],
)
def test_what_is_broken_or_fetched_elsewhere_is_reported(tmp_path, body, why):
    (problem,) = site(tmp_path, body, other_html='<p id="place">')
    assert problem.startswith("index.html: ")
    assert why in problem


def test_a_style_that_fetches_a_font_is_reported(tmp_path):
    (problem,) = site(tmp_path, "", style_css="@font-face { src: url('https://fonts.example.org/x.woff2') }")
    assert problem == "style.css: fetches https://fonts.example.org/x.woff2"


def test_a_folder_without_pages_is_reported(tmp_path):
    assert check_links.check(tmp_path) == [f"{tmp_path} holds no page"]


def test_a_notebook_becomes_a_page():
    badge = "[![Open in Colab](https://host/badge.svg)](https://colab/x.ipynb)"
    text = f"# Title\n\n{badge} and the [glossary](../docs/glossary.md), [more](../CONTRIBUTING.md)"
    text += '\n\n<a href="11_how_to_compare.ipynb">11</a>'
    solution = new_code_cell("1", metadata={"tags": ["solution", "hide-input"]})
    noisy = new_code_cell("2", outputs=[new_output("stream", name="stderr", text="bar")])
    cells = [new_markdown_cell(text), new_code_cell("3", metadata={"tags": ["colab"]}), solution, noisy]
    page = build.adapt(new_notebook(cells=cells), "04")
    title, colab, solution, noisy = page.cells
    assert title.source == (
        "# 04 · Title\n\n[Open in Colab](https://colab/x.ipynb) and the [glossary](../glossary.md), "
        '[more](../contributing.md)\n\n<a href="11_how_to_compare.html">11</a>'
    )
    assert "remove-cell" in colab.metadata["tags"]
    assert solution.metadata["tags"] == ["solution", "hide-cell"]
    assert noisy.metadata["tags"] == ["remove-stderr"]
    nbformat.validate(page)


def test_answers_that_follow_each_other_share_one_fold_and_nothing_else_is_folded():
    def cell(source, *tags):
        return new_markdown_cell(source, metadata={"tags": list(tags)})

    answers = [cell("b", "answer"), new_code_cell("c", metadata={"tags": ["answer"]})]
    cells = [cell("# a"), *answers, cell("d"), cell("e", "answer")]
    page = build.adapt(new_notebook(cells=cells), "04")
    opening = "<details class=answer><summary>Show the answer</summary>"
    sources = [cell.source for cell in page.cells]
    assert sources == ["# 04 · a", opening, "b", "c", "</details>", "d", opening, "e", "</details>"]
    nbformat.validate(page)


@pytest.mark.parametrize("folder", ["", "site", "test"])
def test_an_executed_copy_is_taken_only_while_it_is_of_the_present_source(folder, tmp_path, monkeypatch):
    source, kept = tmp_path / "01_x.ipynb", tmp_path / "out" / folder / "notebooks" / "01_x.ipynb"
    kept.parent.mkdir(parents=True)
    code, link = new_code_cell("1 + 1"), "[glossary](../docs/glossary.md)"
    nbformat.write(new_notebook(cells=[code, new_markdown_cell(link)]), source)
    moved = new_markdown_cell(link.replace("../", "../../../"))  # as an execution into another folder leaves it
    nbformat.write(new_notebook(cells=[new_code_cell("1 + 1", execution_count=7), moved]), kept)
    made = []
    monkeypatch.setattr("lossbench.studies.notebooks.execute", lambda *given: made.append(given) or source)
    copy = build.executed(source, tmp_path / "out")
    assert (copy.cells[0].execution_count, copy.cells[1].source) == (7, link)
    nbformat.write(new_notebook(cells=[new_code_cell("1 + 2")]), source)
    build.executed(source, tmp_path / "out")
    assert made == [(str(source), {}, tmp_path / "out" / "site")]


def test_nbval_keeps_a_notebook_that_passes_for_the_site_and_none_that_fails(tmp_path):
    for name, last in (("passes", "1 + 1"), ("fails", "1 / 0")):
        cells = [new_markdown_cell("# x"), new_code_cell("print('seen')"), new_code_cell(last)]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        nbformat.write(new_notebook(cells=cells, metadata=kernel), tmp_path / f"{name}.ipynb")
    shutil.copy(DOCS.parent / "conftest.py", tmp_path)
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"LOSSBENCH_OUTPUT": str(tmp_path)}, check=False)
    assert done.returncode == 1
    (copy,) = (tmp_path / "notebooks").glob("*.ipynb")
    executed = nbformat.read(copy, as_version=4)
    nbformat.validate(executed)
    assert copy.name == "passes.ipynb"
    assert executed.cells[1].outputs[0].text == "seen\n"
    assert executed.cells[2].outputs[0].data["text/plain"] == "2"
    assert build._code(executed) == build._code(nbformat.read(tmp_path / "passes.ipynb", as_version=4))


@pytest.fixture(scope="module")
def cards_page() -> str:
    return cards.cards_page()


def card(page: str, name: str) -> str:
    return page.partition(f'<span id="card-{name}"></span>')[2].partition('<span id="card-')[0]


def test_a_result_that_a_semicolon_asks_to_leave_out_is_not_on_the_page():
    results = [nbformat.v4.new_output("execute_result", {"text/plain": "<Axes>"})]
    picture = [nbformat.v4.new_output("display_data", {"image/png": ""})]
    cells = [new_code_cell(code, outputs=[*picture, *results]) for code in ("draw();", "draw()")]
    page = build.adapt(new_notebook(cells=[new_markdown_cell("# Title"), *cells]), "01")
    assert [[output.output_type for output in cell.outputs] for cell in page.cells[1:]] == [
        ["display_data"],
        ["display_data", "execute_result"],
    ]


def test_the_cards_page_has_every_loss_and_probability_function_under_its_title_with_its_code(cards_page):
    from lossbench import PROBABILITIES

    for entry in (*LOSSES.values(), *PROBABILITIES.values()):
        text = card(cards_page, entry.name)
        assert f"### {entry.title}\n\n`{entry.name}`" in text
        assert "return " in text.partition("```python")[2]
        assert '"""' not in text
    assert cards_page.count('href="#card-') > 2 * len(LOSSES)


def test_a_card_says_when_to_use_a_loss_and_what_the_committed_studies_found(cards_page, judged):
    for name in LOSSES:
        text = card(cards_page, name)
        assert "*Use when*" in text
        assert "*Avoid when*" in text
        own = judged[(judged["loss"] == name) & (judged["n"] > 0) & (judged["verdict"] != "same function")]
        for (dataset, verdict), part in own.groupby(["dataset", "verdict"]):
            told = [line for line in text.splitlines() if line.startswith(f"| {dataset} |")]
            assert sum(int(n) for line in told for n in re.findall(rf"(\d+) {verdict}(?=[,| ])", line)) == len(part)
        assert len(own) or "What we found" in text


def test_the_weight_curve_of_a_card_is_the_pull_compared_with_cross_entropy():
    import numpy as np

    focal, flat = (cards.weight_curve(LOSSES[name]) for name in ("focal", "cross_entropy"))
    assert "1 at p = 0.1, 1 at p = 0.5, 1 at p = 0.9" in flat
    p = cards.GRID
    weight = (1 - p) ** 2 - 2 * p * (1 - p) * np.log(p)
    expected = ", ".join(f"{weight[abs(p - at).argmin()]:.2g} at p = {at}" for at in (0.1, 0.5, 0.9))
    assert expected in focal
    assert cards.weight_curve(LOSSES["triplet"]) == ""


def test_the_glossary_is_in_the_order_of_the_alphabet():
    lines = (DOCS / "glossary.md").read_text(encoding="utf-8").splitlines()
    terms = [line[3:] for line in lines if line.startswith("## ")]
    assert len(terms) > 40
    assert terms == sorted(terms, key=str.lower)


def test_a_notebook_that_names_a_glossary_term_names_one_that_is_there():
    text = (DOCS / "glossary.md").read_text(encoding="utf-8")
    headings = [re.sub(r"[^\w -]", "", line[3:]) for line in text.splitlines() if line.startswith("## ")]
    anchors = {heading.replace(" ", "-").lower() for heading in headings}
    named = {
        (path.name, anchor)
        for path in (DOCS.parent / "notebooks").glob("*.ipynb")
        for anchor in re.findall(r"docs/glossary\.md#([\w-]+)", path.read_text(encoding="utf-8"))
    }
    assert named
    assert {(name, anchor) for name, anchor in named if anchor not in anchors} == set()


# The answer is what the committed studies say, and every page that gives it uses one word for each comparison.

NOTEBOOK = answer.ROOT / "notebooks" / "13_your_own_loss.ipynb"


@pytest.fixture(scope="module")
def evidence():
    return cards.evidence()


@pytest.fixture(scope="module")
def blocks(evidence):
    return answer.make_blocks(evidence)


@pytest.fixture(scope="module")
def judged(evidence):
    """Every comparison of the committed studies by the engine alone."""
    return stats.compare(evidence.runs)


def block(text, name="answer"):
    return re.search(rf"<!-- begin: {name} -->\n(.*?)<!-- end -->", text, re.DOTALL)[1]


@pytest.mark.parametrize("page", answer.PAGES, ids=lambda path: path.name)
def test_the_page_says_what_the_committed_studies_say(page, blocks):
    text = page.read_text(encoding="utf-8")
    assert answer.BLOCK.search(text)
    assert text == answer.fill(text, blocks), "run python -m docs.answer"


def test_readme_answer_and_front_page_give_one_answer(blocks):
    readme, page, front = (answer.ROOT / name for name in ("README.md", "docs/answer.md", "docs/index.md"))
    include = re.search(
        r'```\{include\} (\S+)\n:start-after: "(.+)"\n:end-before: "(.+)"\n```', front.read_text(encoding="utf-8")
    )
    included = (front.parent / include[1]).read_text(encoding="utf-8").partition(include[2])[2]
    answers = [block(path.read_text(encoding="utf-8")) for path in (readme, page)]
    assert {*answers, included.partition(include[3])[0].removeprefix("\n")} == {blocks["answer"]}


def test_the_answer_is_seven_sentences_in_order(blocks):
    order = [
        "Clean, balanced data",
        "Wrong targets",
        "Rare classes",
        "Calibration",
        "Step size",
        "Features elsewhere",
        "Every loss tuned alike",
    ]
    for name in ("answer", "details"):
        topics = re.findall(r"^\d\. \*\*(.+?):\*\* (.+)$", blocks[name], re.MULTILINE)
        assert [topic for topic, _ in topics] == order
        assert all(re.search(r"\d", sentence) for _, sentence in topics)
        assert name == "answer" or all("n = " in sentence for _, sentence in topics)
    assert "5 to 10 paired seeds" in blocks["answer"]


@pytest.mark.parametrize(("condition", "metric", "name"), [
    ({"label_noise": 0.4}, "test_accuracy", "Wrong targets"), ({"imbalance": 100.0}, "test_macro_f1", "Rare classes"),
])  # fmt: skip
def test_scipy_and_statsmodels_find_the_losses_that_a_sentence_calls_better_or_worse(
    evidence, blocks, condition, metric, name
):
    fields = {"study": "robustness", "label_noise": 0.0, "imbalance": 1.0, **condition}
    runs = answer.pick(evidence.runs, **fields).pivot(index="seed", columns="label", values=metric)
    losses = runs.drop(columns=["cross_entropy", "kl_divergence"])
    p = [ttest_rel(losses[label], runs["cross_entropy"]).pvalue for label in losses]
    differs = losses.columns[multipletests(p, method="holm")[0]]
    sentence = re.search(rf"\*\*{name}:\*\* (.+)", blocks["details"])[1]
    short = re.search(rf"\*\*{name}:\*\* (.+)", blocks["answer"])[1]
    assert all(LOSSES[label.partition(" ")[0]].title in short for label in differs)
    assert short.count("[") == len(differs)
    for label in differs:
        loss = label.partition(" ")[0]
        word = "better" if losses[label].mean() > runs["cross_entropy"].mean() else "worse"
        clause = next(part for part in re.split("; ", sentence) if re.search(rf"(is|are) {word} ", part))
        assert LOSSES[loss].title in clause
    assert sentence.partition("; ")[0].count("[") == len(differs)


def cells(text, header):
    """The rows of the Markdown tables that have this column, as dictionaries."""
    columns = None
    for line in text.splitlines():
        values = [value.strip() for value in line.strip("|").split("|")] if line.startswith("|") else None
        if values is None:
            columns = None
        elif columns is None:
            columns = values
        elif header in columns and set(line) - set("|- "):
            yield dict(zip(columns, values, strict=True))


def test_every_comparison_stands_on_the_page_with_the_word_of_the_engine(judged):
    page = (answer.ROOT / "docs" / "answer.md").read_text(encoding="utf-8")
    text = block(page, "defined") + block(page, "reconstructions")
    on_page = sorted(
        (row["study"], row["data set"], row["loss"].strip("`"), row["word"]) for row in cells(text, "word")
    )
    rows = judged[(judged["n"] > 0) & (judged["verdict"] != "same function")]
    rows = rows[[LOSSES[name].takes != "embeddings" or LOSSES[name].reconstruction for name in rows["loss"]]]
    expected = [
        (row.study, row.dataset, row.label.removesuffix(" (reconstruction)"), row.verdict) for row in rows.itertuples()
    ]
    matched = [row for row in on_page if row not in expected]
    assert {study for study, *_ in matched} <= {"adma"}  # learning rates of their own: compared with tuned=("lr",)
    assert len(on_page) == len(expected) + 9
    for row in set(expected):
        assert on_page.count(row) >= expected.count(row), row


def test_the_picture_shows_the_words_of_the_engine(evidence, judged):
    key = ["study", "setting", "probability", "label"]
    words = judged.set_index(key)["verdict"]
    panels = [panel for question in answer.questions(evidence) for panel in question.panels]
    assert len(panels) == 11
    for panel in panels:
        assert panel.rows["title"].is_unique
        assert set(panel.rows["verdict"]) <= set(answer_picture.MARKS)
        if panel.metric == "test_accuracy" and panel.rows["lr"].notna().all():
            assert list(words.loc[list(map(tuple, panel.rows[key].to_numpy()))]) == list(panel.rows["verdict"])


@pytest.mark.parametrize("layout", answer_picture.LAYOUTS)
def test_no_two_texts_of_the_picture_touch_and_none_is_cut(evidence, layout):
    import matplotlib.pyplot as plt
    from matplotlib.text import Text

    figure = answer_picture.draw_layout(answer.questions(evidence), answer_picture.LAYOUTS[layout])
    figure.canvas.draw()
    texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    width, height = figure.get_size_inches() * figure.dpi
    plt.close(figure)
    cut = [text for text, box in boxes if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height]
    touching = [
        (a, b)
        for i, (a, first) in enumerate(boxes)
        for b, second in boxes[:i]
        if min(first.x1, second.x1) - max(first.x0, second.x0) > 0.5
        and min(first.y1, second.y1) - max(first.y0, second.y0) > 2  # rows are closer than the boxes of their fonts
    ]
    assert (cut, touching) == ([], [])


def test_the_report_has_the_same_word_for_every_comparison(evidence, judged):
    table = comparisons(gather(archive.reference_folder(), evidence.tables))
    key = ["study", "probability", "label", "n", "mean"]

    def words(rows):
        paired = rows[rows["n"] > 0]
        means = paired.assign(mean=paired["mean"].round(9) + 0.0)
        return sorted(map(tuple, means[[*key, "verdict"]].to_numpy().tolist()))

    assert words(table) == words(judged)


def test_the_notebook_on_a_loss_of_ones_own_judges_by_the_engine_and_gives_its_words(evidence, judged):
    code = [cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    source = "\n".join(map(TransformerManager().transform_cell, code))
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    engine = [call for call in calls if ast.unparse(call.func) in ("stats.compare", "stats.judge", "stats.sequential")]
    assert any(ast.unparse(call.func) == "stats.compare" for call in engine)
    for call in engine:
        if ast.unparse(call.func) == "stats.compare":
            options = {option.arg: ast.literal_eval(option.value) for option in call.keywords}
            words = stats.compare(evidence.runs, *map(ast.literal_eval, call.args[1:]), **options)["verdict"]
            assert list(words) == list(judged["verdict"])
    assert not re.search(r"noise.floor|\b(above|below|within|unclear)\b\"", source)


def test_every_comparison_has_a_word_of_the_rule_before(evidence):
    table = answer.compare_words(evidence)
    assert table[["compare", "page"]].notna().all().all()
    assert set(table["compare"]) <= {"above", "unclear", "within", "below", "same function"}


def test_a_marker_that_nobody_fills_is_an_error():
    with pytest.raises(KeyError, match="nothing"):
        answer.fill("<!-- begin: nothing -->\n<!-- end -->", {})


# docs/architecture.md: its table of rooms is the one that the imports are held to, and what it names is there.

ARCHITECTURE = (DOCS / "architecture.md").read_text(encoding="utf-8")


def test_the_table_of_rooms_is_the_one_that_every_import_is_held_to():
    allowed: dict[str, set[str]] = {}
    for row in cells(ARCHITECTURE, "may import"):
        room, (inherited, named) = row["room or file"].strip("`"), ([], row["may import"])
        if above := re.match(r"what `(\w+)` may, ", named):
            inherited, named = allowed[above[1]], named[above.end() :]
        assert room not in allowed
        assert row["purpose"].endswith(".")
        allowed[room] = {*inherited, *re.findall(r"`(\w+)`", named)}
        assert allowed[room] or named == "nothing"
    assert allowed == MAY_ASK


def test_every_file_and_name_that_the_page_sends_a_reader_to_is_there():
    folder = DOCS.parent
    for path in re.findall(r"`((?:lossbench|tests)/[\w/]*(?:\.py)?)`", ARCHITECTURE):
        assert (folder / path).exists(), path
    for row in cells(ARCHITECTURE, "the one place"):
        for cell in (row["the one place"], row["the row in a test"]):
            sources = [folder / path for path in re.findall(r"`((?:lossbench|tests)/[\w/]+\.py)`", cell)]
            sources += [
                path for place in re.findall(r"`(lossbench/\w+/)`", cell) for path in (folder / place).glob("*.py")
            ]
            text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
            for name in re.findall(r"`@?([A-Z_]{4,}|register\w*|test_\w+)`", cell):
                assert re.search(rf"\b{name}\b", text), (row["what"], name)


# CONTRIBUTING.md shows how a loss is added; what it shows works as it stands.

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
EXAMPLE, ROW, OWN = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def anti_focal(tmp_path):
    """The example's loss, registered for one test."""
    source = tmp_path / "example.py"
    source.write_text(EXAMPLE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("example", source)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module.anti_focal
    del LOSSES["anti_focal"]


@pytest.fixture
def logits():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(16, 5, dtype=torch.float64, generator=generator, requires_grad=True)


def test_the_example_has_the_value_of_its_row_and_a_card_with_every_fact(anti_focal):
    name, params, value = ast.literal_eval(ROW.strip().rstrip(",").replace("1.5 * math.log(2)", "1.0397207708399179"))
    log_probs = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64).log()
    assert Criterion(name, **params)(log_probs, torch.tensor([0])).item() == pytest.approx(value, abs=1e-12)
    card = LOSSES[name].card
    assert all((card.range, card.gradient, card.near_zero, card.near_one, card.equals, card.source))


@pytest.mark.parametrize("params", [{"alpha": 0.0}, {"gamma": 0.0}])
def test_the_example_without_its_weight_is_cross_entropy(anti_focal, logits, params):
    target = torch.arange(16) % 5
    torch.testing.assert_close(Criterion("anti_focal", **params)(logits, target), F.cross_entropy(logits, target))


def test_the_example_states_its_gradient_correctly(anti_focal, logits):
    target = torch.arange(16) % 5
    loss = Criterion("anti_focal", alpha=0.5, gamma=2.0, reduction="sum")(logits, target)
    (gradient,) = torch.autograd.grad(loss, logits)
    p = logits.detach().softmax(1)
    p_t = p.gather(1, target[:, None])
    size = (1 + 0.5 * p_t) * (1 + 0.5 * p_t + 0.5 * 2 * p_t * p_t.log())
    torch.testing.assert_close(gradient, -size * (F.one_hot(target, 5) - p))


def test_the_example_is_finite_at_extreme_logits(anti_focal):
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], requires_grad=True)
    loss = Criterion("anti_focal")(logits, torch.tensor([0, 0]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_the_short_example_is_a_loss_that_a_file_of_ones_own_can_add(tmp_path, leave_no_trace):
    source = tmp_path / "my_loss.py"
    source.write_text(OWN, encoding="utf-8")
    extend(source)
    loss = Criterion("mine", strength=2.0)(torch.zeros(3, 4), torch.arange(3))
    assert loss.item() == pytest.approx(2 * math.log(4))


@pytest.mark.parametrize("line", re.findall(r"^    (lossbench .+)$", TEXT, re.MULTILINE))
def test_every_command_of_the_guide_is_one_that_the_command_line_takes(line):
    assert parse_command(shlex.split(line))["command"] in ("run", "study")


def test_every_path_that_it_names_is_there():
    for link in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (DOCS.parent / link).exists(), link


# docs/cluster.md shows commands and a Slurm script; they are what the command line takes and do what the page says.

CLUSTER_PAGE = (Path(__file__).parents[1] / "docs" / "cluster.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", CLUSTER_PAGE, re.DOTALL)
(SCRIPT,) = [block for block in BLOCKS if block.startswith("#!")]


# Every command that a page prints is one that works, and its Python runs. Recipes and your_own have tests of their own.

SHOWN = re.compile(r"^(?:    |)(?:\S*/|)(lossbench [a-z].*?)(?:\s{2,}#.*|\s*)$", re.MULTILINE)
CODE = re.compile(r"```(?:bash|text|sh)\n(.*?)```|((?:^    [^\n]*\n)+)", re.DOTALL | re.MULTILINE)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = {
    f"{path.name}: {line}": line
    for path in PAGES
    for code in CODE.finditer(path.read_text(encoding="utf-8"))
    for shown in SHOWN.findall(re.sub(r"\\\n\s*", "", code[0]))
    for line in re.split(r"; | && ", re.sub(r"\s+#.*", "", shown))
}


@pytest.mark.parametrize("line", COMMANDS.values(), ids=COMMANDS)
def test_every_command_that_a_page_shows_is_one_that_the_command_line_takes(line: str) -> None:
    values = parse_command(shlex.split(line.partition(" >")[0]))
    assert values.get("engine", "process") in ENGINES


def test_commands_are_found_on_the_pages_that_show_some() -> None:
    assert len(COMMANDS) > 40
    assert {name.partition(":")[0] for name in COMMANDS} >= {
        "README.md",
        "CONTRIBUTING.md",
        "cluster.md",
        "your_own.md",
    }


@pytest.mark.parametrize("page", [*PAGES, *sorted((ROOT / "docs" / "paper").glob("*.md"))], ids=lambda path: path.name)
def test_every_link_to_a_file_leads_to_one_that_is_there(page: Path) -> None:
    links = re.findall(
        r"\]\((?!\w+:)([^)#\s]+)", re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    )
    made = {"index.md": links, "teaching.md": ["downloads/", "slides/"]}.get(page.name, [])  # by the site, which looks
    made = [*made, "two_losses.md", "losses.md", "report.md", "reference.md"]
    assert [link for link in links if not (page.parent / link).exists() and not link.startswith(tuple(made))] == []


@pytest.mark.parametrize("page", ["README.md", "outputs/reference/README.md"])
def test_the_python_of_a_page_runs_as_printed(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        exec(compile(block, page, "exec"), names)


def test_every_option_and_engine_that_the_text_names_is_there() -> None:
    options = {option for name in ("study", "run") for option in click_options(name)}
    named = set(re.findall(r"`(--[a-z-]+)", CLUSTER_PAGE)) - {"--signal", "--array"}
    assert named <= options
    assert set(re.findall(r"--engine (\w+)", CLUSTER_PAGE)) <= set(ENGINES)


def click_options(name: str) -> list[str]:
    return [option for parameter in typer.main.get_command(app).commands[name].params for option in parameter.opts]


def run_task(tmp_path: Path, task: int) -> list[str]:
    """The words that one task of the array gives to lossbench."""
    home, shims = tmp_path / "home", tmp_path / "shims"
    (home / "lossbench" / ".venv" / "bin").mkdir(parents=True)
    (home / "lossbench" / ".venv" / "bin" / "activate").touch()
    shims.mkdir()
    for name, text in (("srun", 'exec "$@"'), ("lossbench", 'printf "%s\\n" lossbench "$@"')):
        (shims / name).write_text(f"#!/bin/bash\n{text}\n")
        (shims / name).chmod(0o755)
    count = re.findall(r"#SBATCH --array=1-(\d+)", SCRIPT)[0]
    cores = re.findall(r"#SBATCH --cpus-per-task=(\d+)", SCRIPT)[0]
    slurm = {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_TASK_COUNT": count, "SLURM_CPUS_PER_TASK": cores}
    environment = {"HOME": str(home), "PATH": f"{shims}:{os.environ['PATH']}", **slurm}
    done = subprocess.run(["bash", "-eu"], input=SCRIPT, capture_output=True, text=True, check=True, env=environment)
    return done.stdout.splitlines()


def test_the_tasks_of_the_slurm_array_do_the_whole_study_between_them(tmp_path: Path) -> None:
    plan = plan_study("thesis", ["fashion-mnist"], 8)
    done: list[str] = []
    for task in range(1, 9):
        (tmp_path / str(task)).mkdir()
        values = parse_command(run_task(tmp_path / str(task), task))
        assert (values["command"], values["name"], values["dataset"]) == ("study", "thesis", ["fashion-mnist"])
        assert (values["seeds"], values["workers"]) == (8, 16)
        part = take_shard(plan, str(values["shard"]))
        assert len({config.seed for config in part}) == 1, "whole sets of paired runs, as the page says"
        done += [config.run_id for config in part]
    assert Counter(done) == Counter(config.run_id for config in plan)


def test_the_script_is_complete_and_its_lines_for_slurm_come_first() -> None:
    lines = SCRIPT.splitlines()
    directives = [line for line in lines if line.startswith("#SBATCH")]
    assert lines[1 : 1 + len(directives)] == directives, "Slurm reads them up to the first command"
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+=\S+", line) for line in directives)


def test_the_times_in_the_text_are_those_of_the_leases() -> None:
    assert "touches it every ten seconds" in CLUSTER_PAGE
    assert "silent for thirty seconds" in CLUSTER_PAGE
    assert (HEARTBEAT_SECONDS, STALE_AFTER) == (10, 3)


def test_a_handout_has_exercises_and_checks_but_no_solution_and_no_result(tmp_path: Path) -> None:
    written = {
        path.name: nbformat.read(path, as_version=4) for path in sorted((DOCS.parent / "notebooks").glob("0*.ipynb"))
    }
    name = next(iter(written))
    picture = {"image/png": base64.b64encode(b"a picture").decode()}
    drawn = new_code_cell("draw()", metadata={"mystnb": {"image": {"alt": "two\ncurves"}}})
    drawn.outputs = [new_output("display_data", picture)]
    handouts.write_handouts(written, {name: new_notebook(cells=[drawn])}, tmp_path)
    with ZipFile(tmp_path / "students.zip") as archive:
        for file, original in written.items():
            handout = nbformat.reads(archive.read(f"notebooks/{file}").decode(), as_version=4)
            tags = [tag for cell in handout.cells for tag in cell.metadata.get("tags", [])]
            assert "solution" not in tags
            assert tags.count("check") == sum("check" in cell.metadata.get("tags", []) for cell in original.cells) > 0
    with ZipFile(tmp_path / "figures.zip") as archive:
        assert archive.read(f"figures/{Path(name).stem}-01.png") == b"a picture"
        assert "two curves" in archive.read("figures/index.md").decode()


def test_slides_have_formulas_predictions_results_and_quiz_and_fetch_nothing(tmp_path, monkeypatch):
    figure = new_output("display_data", {"image/png": base64.b64encode(b"a picture").decode()})
    axes = new_output("execute_result", {"text/plain": "<Axes>"}, execution_count=1)
    answered = {"tags": ["answer"], "mystnb": {"image": {"alt": "two curves"}}}
    cells = [
        new_markdown_cell("# Title\n\nA question?\n\n**Notation:** no slide"),
        new_code_cell("import torch"),
        new_markdown_cell("## One\n\nLong prose.\n\n$$ L = p $$\n\n**Predict** the [height](../docs/glossary.md)."),
        new_code_cell("draw()", outputs=[figure, axes], metadata=answered),
        new_markdown_cell("It is 2.\n\nMore prose.", metadata=answered),
        new_code_cell("def loss(p):\n    return ..."),
        new_code_cell("def loss(p):\n    return -p.log()", metadata={"tags": ["solution"]}),
        new_code_cell("def known(p):\n    return 1 - p"),
        new_markdown_cell(
            "## Quiz\n\n<details><summary>1. Why?</summary>\n\nSo <a href='11_x.ipynb'>11</a>.\n\n</details>"
        ),
        new_markdown_cell("## Exercises\n\n**1.** Write it. **Predict** it."),
    ]
    written = new_notebook(cells=cells)
    shown = slides.deck(written, "07").cells
    assert [(cell.source.split("\n")[0], cell.metadata.slideshow.slide_type) for cell in shown] == [
        ("# 07 · Title", "slide"), ("## One", "slide"), ("$$ L = p $$", "-"), ("**Predict** the height.", "subslide"),
        ("draw()", "subslide"), ("> It is 2.", "fragment"), ("def known(p):", "subslide"),
        ("## Quiz", "slide"), ("<details><summary>1. Why?</summary>", "-"),
    ]  # fmt: skip
    assert shown[-1].source.endswith("So 11.\n\n</details>")
    assert shown[4].outputs == [figure | {"metadata": {"alt": "two curves"}}]
    (tmp_path / "site" / "_static" / "mathjax").mkdir(parents=True)
    for file in ("reveal.js", "reveal.css", "site/_static/mathjax/tex-svg-full.js"):
        (tmp_path / file).touch()
    monkeypatch.setattr(slides, "find_reveal", lambda: tmp_path)
    slides.write_slides({"07_x.ipynb": written}, tmp_path / "site" / "slides")
    assert check_links.check(tmp_path / "site") == []
    page = (tmp_path / "site" / "slides" / "07_x.html").read_text(encoding="utf-8")
    assert 'alt="two curves"' in page
    assert "draw()" not in page


def test_the_page_for_lecturers_links_the_slides_of_every_notebook_with_a_quiz():
    linked = re.findall(r"slides/(\w+)\.html", (DOCS / "teaching.md").read_text(encoding="utf-8"))
    notebooks = (DOCS.parent / "notebooks").glob("*.ipynb")
    assert sorted(linked) == sorted(path.stem for path in notebooks if "## Quiz" in path.read_text(encoding="utf-8"))
