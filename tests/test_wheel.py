"""The wheel: built once, it holds the package whole, and works where there is no clone."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path, PurePath

import pytest

ROOT = Path(__file__).resolve().parents[1]
LARGEST = 15_000_000  # bytes


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="hatchling builds the wheel")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("lossbench-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel unpacked, as an installer leaves it."""
    folder = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def python(installed: Path, folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run code with the unpacked wheel, in a folder where nothing else of lossbench is."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    environment.pop("LOSSBENCH_OUTPUT", None)
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def command(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.argv = ['lossbench', *{list(words)!r}]; from lossbench.cli import main; main()"
    return python(installed, folder, code)


def test_it_is_small_and_holds_every_file_of_the_package(wheel: Path) -> None:
    assert wheel.stat().st_size < LARGEST
    names = set(zipfile.ZipFile(wheel).namelist())
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=False, cwd=ROOT)
    if listed.returncode or not listed.stdout:
        pytest.skip("not a git checkout, so other files may lie about")
    shipped = {"notebooks/": "lossbench/shipped/notebooks/"}
    shipped |= {f"outputs/{name}/": f"lossbench/shipped/{name}/" for name in ("reference", "tuned")}
    files = [name for name in listed.stdout.splitlines() if (ROOT / name).exists()]
    wanted = {name for name in files if name.startswith("lossbench/")}
    for source, goal in shipped.items():
        wanted |= {goal + name.removeprefix(source) for name in files if name.startswith(source)}
    assert len(wanted) > 150
    assert wanted <= names
    strange = {name for name in names - wanted if ".dist-info/" not in name and "__pycache__" not in name}
    assert not {name for name in strange if (ROOT / name).exists()}, "what git does not know is not shipped"
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_an_image_is_built_with_every_folder_that_an_installation_takes() -> None:
    """Else pip fails in the container: it looks for what `.dockerignore` has left outside."""
    taken = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for source in taken["force-include"]:
        assert not any(PurePath(source).match(pattern) for pattern in ignored) or f"!{source}" in ignored


def test_the_command_and_the_notebooks_are_there(installed: Path, tmp_path: Path) -> None:
    assert "notebook" in command(installed, tmp_path, "--help").stdout
    listed = command(installed, tmp_path, "notebook", "list").stdout
    assert "01_quickstart:" in listed
    copied = command(installed, tmp_path, "notebook", "copy", "quickstart")
    assert copied.stdout.strip() == str(Path("notebooks") / "01_quickstart.ipynb")
    source = (ROOT / "notebooks" / "01_quickstart.ipynb").read_bytes()
    assert (tmp_path / "notebooks" / "01_quickstart.ipynb").read_bytes() == source
    assert command(installed, tmp_path, "notebook", "copy", "quickstart").returncode == 0, "the same once more"
    (tmp_path / "notebooks" / "01_quickstart.ipynb").write_text("{}")
    refused = command(installed, tmp_path, "notebook", "copy")
    assert refused.returncode == 2
    assert "is there already and differs; move it away or choose another --to" in refused.stderr
    assert len(list((tmp_path / "notebooks").iterdir())) == 1, "refused before anything was copied"


def test_the_committed_studies_are_there(installed: Path, tmp_path: Path) -> None:
    code = "import lossbench; print(lossbench.__file__); print(len(lossbench.reference()))"
    file, rows = python(installed, tmp_path, code).stdout.splitlines()
    assert Path(file).is_relative_to(installed)
    assert int(rows) > 1000


def test_a_run_trains_without_a_clone(installed: Path, tmp_path: Path) -> None:
    done = command(installed, tmp_path, "run", "--epochs", "1", "--set", "train_size=100")
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("outputs/runs/*/result.json"))) == 1
