"""The package as a whole: how fast it starts, what it is installed with, what its code may not do."""

from __future__ import annotations

import ast
import math
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import lossbench
from benchmarks import gpu, gpu_ways, verdict_cost

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "lossbench").rglob("*.py"))


def modules_after(*pieces: str) -> list[set[str]]:
    """The modules that a fresh interpreter holds after each of these pieces of code in turn."""
    code = "import sys\n" + "".join(f"{piece}\nprint('holds', *sys.modules)\n" for piece in pieces)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [set(line.split()) for line in done.stdout.splitlines() if line.startswith("holds ")]


HEAVY = {"torch", "torchvision", "pandas", "matplotlib", "matplotlib.pyplot", "seaborn", "scipy", "sklearn"}
RUN = "lossbench.run(lossbench.RunConfig(dataset='shapes', model='convnet', epochs=1, train_size=40), FOLDER)"
LOADS = [  # code -> what it loads, what it does not
    ("import lossbench", "lossbench", HEAVY),
    ("lossbench.DATASETS", "lossbench.data", {"torch"}),
    ("lossbench.Criterion('focal'); lossbench.RunConfig()", "torch", HEAVY - {"torch", "matplotlib"}),
    ("import lossbench.explorer", "torch", {"ipywidgets", "anywidget", "matplotlib", "pandas", "torchvision"}),
    (RUN, "torch.optim.adam", {"torch._dynamo", "sympy", "torchvision", "matplotlib", "seaborn"}),
]


def test_nothing_heavy_is_loaded_before_it_is_needed(tmp_path: Path) -> None:
    pieces = [code.replace("FOLDER", repr(str(tmp_path))) for code, *_ in LOADS]
    for (code, needed, banned), loaded in zip(LOADS, modules_after(*pieces), strict=True):
        assert needed in loaded, code
        assert not banned & loaded, code


def test_help_does_not_wait_for_torch() -> None:
    (loaded,) = modules_after(
        "sys.argv = ['lossbench', '--help']\nfrom lossbench.cli import main\ntry: main()\nexcept SystemExit: pass"
    )
    assert "typer" in loaded
    assert not {"torch", "numpy"} & loaded


def test_help_is_there_in_the_blink_of_an_eye() -> None:
    resource = pytest.importorskip("resource", reason="Windows does not tell a child's processor time")
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "lossbench", "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times) < 0.7, "seconds of the processor: the clock on the wall also counts other programs"


def test_every_public_name_is_there() -> None:
    for name in lossbench.__all__:
        assert getattr(lossbench, name) is not None, name
        assert name in dir(lossbench)


def test_run_stays_a_function_after_everything_is_loaded() -> None:
    import lossbench.training.run

    assert callable(lossbench.run)
    assert lossbench.run is lossbench.training.run.run


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'los'"):
        _ = lossbench.los


BANNED_CALLS = {"eval", "exec", "compile", "__import__"}
BANNED_MODULES = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml"}
MAY_UNPICKLE = {"lossbench/data/readers.py"}  # CIFAR comes as pickles; read there with a strict allow-list


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_runs_what_it_reads(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            assert name in MAY_UNPICKLE or not {m.split(".")[0] for m in modules} & BANNED_MODULES, name
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert called not in BANNED_CALLS, f"{name}:{node.lineno} calls {called}"
            assert options.get("shell") != "True", f"{name}:{node.lineno} starts a shell"
            assert options.get("allow_pickle") != "True", f"{name}:{node.lineno} allows pickles"
            if called in ("torch.load", "torch.hub.load_state_dict_from_url"):
                assert options.get("weights_only") == "True", f"{name}:{node.lineno} loads more than weights"


def requirements(lines: list[str]) -> dict[str, str]:
    """Names and bounds, `torch>=2.11` -> `{"torch": "2.11"}`."""
    return {name.strip(): bound.strip() for name, _, bound in (line.partition(">=") for line in lines)}


CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base", "seaborn": "seaborn-base"}


def test_conda_is_asked_for_what_pip_is_asked_for() -> None:
    rattler = pytest.importorskip("rattler", reason="py-rattler checks conda's syntax")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "environment.yml").read_text().splitlines()
    specs = [line.strip()[2:] for line in lines if line.startswith("  - ") and "::" not in line]
    conda = requirements([spec for spec in specs if ">=" in spec])
    for spec in conda:
        rattler.MatchSpec(f"{spec} >={conda[spec]}")
    wanted = {CONDA_NAMES.get(name, name): bound for name, bound in requirements(project["dependencies"]).items()}
    assert conda == wanted | {"python": project["requires-python"].removeprefix(">=")}


def test_ci_pins_every_package_that_is_asked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / ".ci" / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    extras = project["optional-dependencies"]
    asked = project["dependencies"] + [line for name in CI_INSTALLS for line in extras[name]]
    for line in map(Requirement, asked):
        assert line.specifier.contains(pins[canonicalize_name(line.name)]), line


def test_the_workflow_audits_these_versions_and_one_that_cannot_be_looked_up_fails() -> None:
    recipe = (ROOT / "Makefile").read_text().partition("\naudit:")[2].partition("\n\n")[0]
    assert {"--strict", "--requirement", ".ci/constraints.txt"} <= set(recipe.split())
    assert "- run: make audit\n" in (ROOT / ".github" / "workflows" / "ci.yml").read_text()


CI_INSTALLS = ("test", "pretrained", "ray", "tensorboard", "site")  # as the Makefile says


# The GPU benchmark runs in one call, on a CPU too, and its figures fit together.

QUICK = ["--device", "cpu", "--threads", "1", "--models", "small_cnn", "--batches", "8"]


def test_it_compares_the_three_ways_and_writes_their_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_ways, "LOSSES", 3)
    sizes = ["--precisions", "float32", "--steps", "1", "--rounds", "2", "--images", "grey", "--loader-workers", "0"]
    gpu.main([*QUICK, *sizes, "--output", str(tmp_path)])
    table = pd.read_csv(tmp_path / "gpu-cpu.csv").set_index("way")
    assert list(table.index) == ["plain loop", "one after the other", "ensemble"]
    assert table["failed"].isna().all()
    assert (table["lowest"] <= table["images_per_second"]).all()
    assert (table["images_per_second"] <= table["highest"]).all()
    assert table.loc["one after the other", "to one after the other"] == 1
    hours = 15 * 170_000 * 75 / table["images_per_second"] / 3600
    assert table["hours_paper_000"].to_list() == pytest.approx(hours.to_list())
    said = capsys.readouterr().out
    assert "n = 2 rounds of 1 steps" in said
    assert "CPU" in said


def test_what_cannot_run_is_a_finding_and_the_others_go_on() -> None:
    def breaks() -> gpu_ways.Way:
        raise RuntimeError("no room\nfor it")

    ready, failures = gpu.warm_up({("ensemble", "off"): breaks, ("plain loop", "off"): lambda: lambda: 7})
    assert list(ready) == [("plain loop", "off")]
    assert failures == {("ensemble", "off"): "RuntimeError: no room"}


def test_enlarged_images_have_three_equal_colours() -> None:
    dataset = gpu_ways.make_images("colour")
    assert dataset.image_shape == (3, 32, 32)
    assert (len(dataset.mean), len(dataset.std)) == (3, 3)
    assert (dataset.train.images[:, 0] == dataset.train.images[:, 2]).all()


def test_the_paper_is_trained_for_real_when_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "paper"
    options = ["--paper-000", str(folder), "--datasets", "shapes", "--epochs", "1", "--train-size", "16"]
    gpu.main([*QUICK, *options, "--precisions", "float32"])
    runs = lossbench.load_runs(folder)
    assert len(runs) == 15
    assert set(runs["selection"]) == {"best_test"}
    assert "15 of 15 runs finished" in capsys.readouterr().out


def test_the_pairs_of_the_earlier_rule_follow_from_two_quantiles_of_students_t() -> None:
    scores = pd.Series([0.80, 0.81, 0.82, 0.83, 0.84])  # variance 0.00025; t tables, 4 degrees: 2.776 and 0.941
    expected = (2.776 + 0.941) ** 2 * 2 * 0.00025 / 0.005**2
    assert verdict_cost.pairs_before(scores, 1, 0.005) == pytest.approx(expected, rel=1e-3)
    assert math.isnan(verdict_cost.pairs_before(scores[:1], 1, 0.005))
