"""Files beside the page: exports, LaTeX, packed studies, and where they go."""

import re
import subprocess

import pandas as pd
import pytest
from test_report import CE, FOCAL, quick, read  # noqa: F401  a fixture

from lossbench import archive, report
from lossbench.cli import app
from lossbench.report import figures
from lossbench.report.figures import Figure, Panel
from lossbench.report.tables import Table, latex, save


def test_figures_are_written_as_png_svg_and_pdf_without_a_date(tmp_path):
    figure = Figure("line", "caption", [Panel(lambda ax: ax.plot([0, 1]), "a line")])
    first, again = (figures.draw(figure, tmp_path / name) for name in ("a", "b"))
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


def test_every_table_of_a_page_has_sound_latex(study_folder, quick):  # noqa: F811
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


def test_packed_studies_give_the_numbers_of_the_runs_they_were_packed_from(packed, study_folder, tmp_path, quick):  # noqa: F811
    live, page = tmp_path, tmp_path / "page"
    report.build(live)
    text = report.build(packed, page).read_text()
    for name in ("accuracy", "differences", "classes"):
        expected = (live / "tables" / f"setting-1-{name}.csv").read_text()
        for setting in ("setting-1", "setting-2"):  # each study by itself, though they hold the same runs
            assert (page / "tables" / f"{setting}-{name}.csv").read_text() == expected
    assert "6 runs of image classifiers" in text  # each counted once
    assert "Note on one." in text


def test_the_page_about_packed_studies_is_not_written_among_them(packed, monkeypatch, quick):  # noqa: F811
    before = sorted(packed.rglob("*"))
    monkeypatch.chdir(packed.parent)
    monkeypatch.delenv("LOSSBENCH_OUTPUT", raising=False)
    path = report.build(packed)
    assert path.resolve() == packed.parent / "outputs" / "reports" / "reference" / "report.html"
    assert sorted(packed.rglob("*")) == before


def test_git_ignores_the_default_place_of_such_a_page():
    root = report.Path(__file__).parents[1]
    found = subprocess.run(
        ["git", "check-ignore", "outputs/reports/reference/report.html"], cwd=root, capture_output=True, text=True
    )
    if found.returncode == 128:
        pytest.skip("not a git working tree")
    assert found.returncode == 0


def test_report_command_takes_a_folder_for_the_page(study_folder, tmp_path, quick):  # noqa: F811
    from typer.testing import CliRunner

    folder = study_folder(losses=(CE, FOCAL), probabilities=("softmax",), seeds=(0, 1))
    found = CliRunner().invoke(app, ["report", "--output", str(folder), "--to", str(tmp_path / "else")])
    assert found.exit_code == 0, found.output
    assert (tmp_path / "else" / "report.html").exists()
    assert not (folder / "report.html").exists()
