"""The package as a whole: how fast it starts, what it is installed with, what its code may not do."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import lossbench

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "lossbench").rglob("*.py"))


def modules_after(code: str) -> set[str]:
    """The modules that a fresh interpreter holds after running `code`."""
    command = [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = {"torch", "torchvision", "pandas", "matplotlib", "matplotlib.pyplot", "seaborn", "scipy", "sklearn"}
    assert not heavy & modules_after("import lossbench")


def test_a_loss_needs_torch_and_nothing_else_that_is_heavy() -> None:
    loaded = modules_after("import lossbench; lossbench.Criterion('focal'); lossbench.RunConfig()")
    assert "torch" in loaded
    assert not {"torchvision", "pandas", "matplotlib.pyplot", "seaborn", "scipy", "sklearn"} & loaded


def test_a_run_does_not_load_the_compiler(tmp_path: Path) -> None:
    config = "lossbench.RunConfig(dataset='shapes', epochs=1, train_size=40)"
    loaded = modules_after(f"import lossbench; lossbench.run({config}, {str(tmp_path)!r})")
    assert "torch.optim.adam" in loaded
    assert not {"torch._dynamo", "sympy", "torchvision", "matplotlib", "seaborn"} & loaded


def test_help_does_not_wait_for_torch() -> None:
    loaded = modules_after(
        "import sys; sys.argv = ['lossbench', '--help']\n"
        "from lossbench.cli import main\n"
        "try: main()\nexcept SystemExit: pass"
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


@pytest.mark.parametrize("name", lossbench.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(lossbench, name) is not None
    assert name in dir(lossbench)


def test_run_stays_a_function_after_everything_is_loaded() -> None:
    import lossbench.runner

    assert callable(lossbench.run)
    assert lossbench.run is lossbench.runner.run


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'los'"):
        _ = lossbench.los


BANNED_CALLS = {"eval", "exec", "compile", "__import__"}
BANNED_MODULES = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml"}
MAY_UNPICKLE = {"lossbench/data/cifar.py"}  # CIFAR comes as pickles; read there with a strict allow-list


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


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_short_enough_to_read(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 800
    assert path.stem not in {"utils", "util", "misc", "helpers", "common"}


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


def test_a_wheel_would_hold_every_file_of_the_package() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["lossbench"]
    shipped = {path for pattern in patterns for path in (ROOT / "lossbench").glob(pattern)}
    listed = subprocess.run(["git", "ls-files", "lossbench"], capture_output=True, text=True, check=False, cwd=ROOT)
    if listed.returncode or not listed.stdout:
        pytest.skip("not a git checkout, so other files may lie about")
    kept = {ROOT / name for name in listed.stdout.splitlines() if not name.endswith(".py")}
    assert kept <= shipped
