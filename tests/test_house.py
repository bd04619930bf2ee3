"""The layout of the package: its doors, which room may ask which, and how long a file and a function may be."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lossbench"

HALL = {"__init__", "__main__", "config", "doors", "exercises", "files", "registry"}
BELOW_CONFIG = {"registry", "files", "doors", "data", "losses", "models", "published"}
BELOW_TRAINING = {*BELOW_CONFIG, "config", "stats", "records"}
BELOW_CLAIMS = {*BELOW_TRAINING, "plots", "training"}
MAY_ASK = {  # room -> the rooms and files of the hall that its files import, anywhere in them; nothing looks up
    "registry": set(),
    "files": set(),
    "doors": set(),
    "exercises": set(),
    "published": {"registry", "files"},
    "data": {"registry", "files", "doors"},
    "losses": {"registry", "files", "data"},
    "models": {"registry", "files", "data"},
    "config": {*BELOW_CONFIG},
    "stats": {*BELOW_CONFIG, "config"},
    "records": {*BELOW_CONFIG, "config", "stats"},
    "plots": {*BELOW_CONFIG, "config", "stats"},
    "training": BELOW_TRAINING,
    "claims": BELOW_CLAIMS,
    "studies": {*BELOW_CLAIMS, "claims"},
    "report": {*BELOW_CLAIMS, "claims"},
    "explorer": {*BELOW_CLAIMS, "claims"},
    "cli": {*BELOW_CLAIMS, "claims", "studies", "report", "explorer"},
    "__main__": {"cli"},
}
ROOMS = set(MAY_ASK) - HALL


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def parsed(name: str) -> ast.Module:
    return ast.parse(FILES[name].read_text(encoding="utf-8"))


@cache
def imports(name: str) -> frozenset[str]:
    """The files of the package that a file imports: at its top, inside functions, and for types only."""
    asked: set[str] = set()
    for node in ast.walk(parsed(name)):
        if isinstance(node, ast.Import):
            asked |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: imports are written out"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            asked |= {file if file in FILES else str(node.module) for file in whole}
    return frozenset(file for file in asked if file in FILES and file != name)


def room_of(name: str) -> str:
    return name.split(".")[1] if "." in name else "__init__"


def test_the_doors_are_these_and_no_more() -> None:
    found = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or any(p.glob("*.py"))}
    assert found == HALL | ROOMS


@pytest.mark.parametrize("room", sorted(MAY_ASK))
def test_a_room_asks_only_the_rooms_below(room: str) -> None:
    allowed = MAY_ASK[room] | {room, "__init__"}  # the package's own door holds its version
    up = {
        f"{name} -> {other}"
        for name in FILES
        if room_of(name) == room
        for other in imports(name)
        if room_of(other) not in allowed
    }
    assert not up


def test_the_table_of_rooms_has_no_way_back() -> None:
    below: set[str] = set()
    left = dict(MAY_ASK)
    while left:
        ready = {room for room, asked in left.items() if asked <= below}
        assert ready, f"a circle among {sorted(left)}"
        below |= ready
        left = {room: asked for room, asked in left.items() if room not in ready}


def test_no_file_is_asked_by_what_it_asks() -> None:
    """The package's own door loads on first use, so what it names is no import."""
    left = {name: set(imports(name)) - {"lossbench"} for name in FILES if name != "lossbench"}
    while ready := {name for name, asked in left.items() if not asked & set(left)}:
        left = {name: asked for name, asked in left.items() if name not in ready}
    assert not left, f"in a circle, or above one: {sorted(left)}"


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> int:
    """Lines of a function's body without docstring, blank lines and comments; its signature is a list."""
    first = node.body[0].end_lineno if ast.get_docstring(node) is not None else node.body[0].lineno - 1
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in lines[first : node.end_lineno])


@pytest.mark.parametrize("name", sorted(FILES))
def test_what_is_read_at_once_can_be_read_at_once(name: str) -> None:
    lines = FILES[name].read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 800
    assert FILES[name].stem not in {"utils", "util", "misc", "helpers", "common"}
    for node in ast.walk(parsed(name)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert code_lines(node, lines) <= 60, f"{name}.{node.name}"


def test_a_short_helper_stays_in_the_file_of_its_only_user() -> None:
    """Files that are run as programs are subjects of their own."""
    lonely = []
    for name, path in FILES.items():
        users = [other for other in FILES if name in imports(other)]
        text = path.read_text(encoding="utf-8")
        short = len(text.splitlines()) < 60 and 'if __name__ == "__main__":' not in text
        if short and path.name != "__init__.py" and len(users) == 1:
            lonely.append(f"{name}, used by {users[0]}")
    assert not lonely
