"""What has a name: registries of entries, checks of values, and files of the user's that add to registries.

The environment's LOSSBENCH_EXTENSIONS names those files. Worker processes and the kernels of notebooks inherit it, so
they know what the process that starts them knows.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import json
import linecache
import math
import os
import re
import sys
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from numbers import Integral, Real
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, ParamSpec, TypeVar

VARIABLE = "LOSSBENCH_EXTENSIONS"
OWN = __name__.partition(".")[0]
LARGEST = 2**63 - 1  # what every integer of torch, numpy and a file holds

Entry = TypeVar("Entry")
Given = ParamSpec("Given")
Returned = TypeVar("Returned")
Check = Callable[[str, object], Any]
LossSpec = tuple[str, dict[str, Any]]


def unknown(kind: str, name: object, allowed: Iterable[str]) -> str:
    """Say which `kind` of name was not found, the nearest one, and all that are allowed.

    >>> unknown("loss", "focl", ["cross_entropy", "focal"])
    "unknown loss 'focl'; did you mean 'focal'? choose from cross_entropy, focal"
    """
    names = list(allowed)
    near = get_close_matches(str(name), names, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {kind} {name!r}; {hint}choose from {', '.join(names) or '(none)'}"


class Registry(dict[str, Entry]):
    """Entries by name, in the order they are taught; `[name]` of an unknown one is a ValueError that helps.

    Args:
        kind: what an entry is called in messages.
        entries: lossbench's own; a registry that starts empty is filled by decorated functions of lossbench's.
        function: what an entry computes with, whose source tells one version of a user's entry from another.
    """

    def __init__(
        self,
        kind: str,
        entries: Mapping[str, Entry] | None = None,
        function: Callable[[Entry], Any] = lambda entry: entry,
    ) -> None:
        super().__init__(entries or {})
        self.kind = kind
        self.function = function
        self.given = dict(entries or {})
        self.extended: dict[str, tuple[Entry, Extension]] = {}
        _registries.append(weakref.ref(self))

    def __setitem__(self, name: str, entry: Entry) -> None:
        super().__setitem__(name, entry)
        _forget()

    def __missing__(self, name: str) -> Entry:
        raise ValueError(unknown(self.kind, name, self))

    def is_own(self, name: str) -> bool:
        """Whether the entry came with lossbench."""
        entry = self[name]
        if self.given:
            return self.given.get(name) is entry
        return str(getattr(self.function(entry), "__module__", "")).partition(".")[0] == OWN

    def own(self) -> dict[str, Entry]:
        """The entries that came with lossbench."""
        return {name: entry for name, entry in self.items() if self.is_own(name)}

    def extension(self, name: str) -> Extension | None:
        """The user's file that made this entry, if one did."""
        entry, extension = self.extended.get(name, (None, None))
        return extension if entry is self[name] else None

    def version(self, name: str) -> str | None:
        """What tells one version of a user's entry from another; None for lossbench's own.

        It becomes part of the run id, so that the record of an old formula is never taken for one of the new.
        """
        if (extension := self.extension(name)) is not None:
            return extension.digest
        if self.is_own(name):
            return None
        entry = self[name]
        described = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(entry))
        return hashlib.sha256(f"{digest(self.function(entry))} {described}".encode()).hexdigest()

    def require_in_file(self, name: str) -> None:
        """Refuse an entry that other processes could not find, such as a function of a notebook's cell."""
        if self.extension(name) is None and not self.is_own(name):
            raise ValueError(
                f"{self.kind} {name!r} is known to this process only (it is defined in "
                f"{self.function(self[name]).__module__!r}), and this engine trains in others; put it into a file of "
                "its own and load that with lossbench.extend('FILE.py'), or call lossbench.run for each config"
            )


_registries: list[weakref.ref[Registry[Any]]] = []
_remembering: list[Callable[[], None]] = []


def remember(most: int) -> Callable[[Callable[Given, Returned]], Callable[Given, Returned]]:
    """`lru_cache` for what is computed with functions known by name: forgotten as soon as a name gets another one."""

    def decorate(function: Callable[Given, Returned]) -> Callable[Given, Returned]:
        remembered = functools.lru_cache(maxsize=most)(function)
        _remembering.append(remembered.cache_clear)
        return remembered  # type: ignore[return-value]  # typeshed gives up the types of arguments

    return decorate


def _forget() -> None:
    for clear in _remembering:
        clear()


def _all_registries() -> list[Registry[Any]]:
    return [registry for reference in _registries if (registry := reference()) is not None]


# Checks of hyperparameters and settings: each takes the argument's name and value, and returns the value to use. A
# wrong type is a TypeError, a wrong value a ValueError; both name the argument and quote what came. They are plain
# objects, so that whatever holds them can be pickled, and make no tensors, so a config touches no device.


def _quote(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:60]}... ({len(text):,} characters)"


def _as_float(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {_quote(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {_quote(value)}")
    return number


@dataclass(frozen=True)
class Number:
    """A finite number from `low` to `up_to`, as a float; `low` itself is refused where it is `excluded`."""

    low: float = -math.inf
    up_to: float = math.inf
    excluded: bool = False

    def __call__(self, name: str, value: object) -> float:
        number = _as_float(name, value)
        if number < self.low or number > self.up_to or (self.excluded and number == self.low):
            lowest = f"{'above' if self.excluded else 'at least'} {self.low:g}"
            limit = "" if self.up_to == math.inf else f" and at most {self.up_to:g}"
            raise ValueError(f"{name} must be {lowest}{limit}, got {_quote(value)}")
        return number

    def __str__(self) -> str:
        return _range_text("a number", self.low, self.up_to, ">" if self.excluded else ">=")


@dataclass(frozen=True)
class Whole:
    """A whole number from `low` to `up_to`, as an int; 3.0 counts as 3."""

    low: int = -LARGEST
    up_to: int = LARGEST

    def __call__(self, name: str, value: object) -> int:
        as_float = _as_float(name, value)
        if not isinstance(value, Integral) and not as_float.is_integer():
            raise ValueError(f"{name} must be a whole number, got {_quote(value)}")
        number = int(value) if isinstance(value, Integral) else int(as_float)
        if number < self.low:
            raise ValueError(f"{name} must be at least {self.low}, got {_quote(value)}")
        if number > self.up_to:
            raise ValueError(f"{name} must be at most {self.up_to}, got {_quote(value)}")
        return number

    def __str__(self) -> str:
        return _range_text("a whole number", self.low, self.up_to, ">=")


def _range_text(kind: str, low: float, up_to: float, sign: str) -> str:
    limits = [f"{sign} {low:g}"] * (low > -LARGEST) + [f"<= {up_to:g}"] * (up_to < LARGEST - 1)
    return " ".join([kind, " and ".join(limits)]).strip()


@dataclass(frozen=True)
class Boolean:
    """True or False and nothing that merely looks like it."""

    def __str__(self) -> str:
        return "true or false"

    def __call__(self, name: str, value: object) -> bool:
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be True or False, got {_quote(value)}")
        return value


@dataclass(frozen=True)
class OneOf:
    """One of the words in `allowed`."""

    allowed: tuple[str, ...]

    def __call__(self, name: str, value: object) -> str:
        if not isinstance(value, str):
            raise TypeError(f"{name} must be one of {', '.join(self.allowed)}, got {_quote(value)}")
        if value not in self.allowed:
            raise ValueError(unknown(name, value, self.allowed))
        return value


@dataclass(frozen=True)
class Anything:
    """Any value, or of text any text: what is asked where neither an annotation nor a default says more."""

    text: bool = False

    def __call__(self, name: str, value: object) -> Any:
        if self.text and not isinstance(value, str):
            raise TypeError(f"{name} must be text, got {_quote(value)}")
        return value


def any_number() -> Number:
    """Any finite number, as a float."""
    return Number()


def at_least(low: float, *, up_to: float = math.inf) -> Number:
    """A finite number with `low` <= value <= `up_to`, as a float."""
    return Number(low, up_to)


def above(low: float, *, up_to: float = math.inf) -> Number:
    """A finite number with `low` < value <= `up_to`, as a float."""
    return Number(low, up_to, excluded=True)


def whole(low: int, *, up_to: int = LARGEST) -> Whole:
    """A whole number >= `low`, as an int."""
    return Whole(low, up_to)


def boolean() -> Boolean:
    """True or False."""
    return Boolean()


def one_of(*allowed: str) -> OneOf:
    """One of the given words."""
    return OneOf(allowed)


def check_all(owner: str, checks: Mapping[str, Check], given: Mapping[str, object]) -> dict[str, Any]:
    """Check and coerce the `given` parameters of `owner`, and only those.

    Raises:
        TypeError: a parameter that `owner` does not have, or one of the wrong type.
        ValueError: a value outside its range.
    """
    for name in given:
        if not checks:
            raise TypeError(f"{owner} takes no parameters, got {name}={_quote(given[name])}")
        if name not in checks:
            raise TypeError(unknown(f"parameter of {owner}", name, checks))
    return {name: checks[name](f"{owner}: {name}", value) for name, value in given.items()}


def parse_pairs(pairs: Sequence[str] | None, option: str) -> dict[str, Any]:
    """Turn `["gamma=2", "on=logits"]` into a dict; values are JSON where they can be, else text."""
    values: dict[str, Any] = {}
    for pair in pairs or []:
        key, sign, text = pair.partition("=")
        if not sign or not key.isidentifier():
            raise ValueError(f"{option} takes name=value, such as gamma=2, got {_quote(pair)}")
        if key in values:
            raise ValueError(f"{option} {key} was given twice: {values[key]!r} and {text!r}")
        values[key] = parse_value(text)
    return values


def parse_value(text: str) -> Any:
    """Read `2`, `0.5`, `true`, `null`, `{"a": 1}`, also `True` and `None`; anything else stays text."""
    try:
        return json.loads({"True": "true", "False": "false", "None": "null"}.get(text, text))
    except json.JSONDecodeError:
        return text
    except RecursionError:
        raise ValueError(f"a value is nested too deeply: {_quote(text)}") from None


def parse_own_settings(text: str, option: str = "a loss") -> tuple[str, dict[str, Any]]:
    """Part `"focal:gamma=2@lr=0.003"` into the loss and the settings that are its own."""
    loss, sign, settings = text.partition("@")
    return loss, parse_pairs(settings.split(","), f"{option} {loss}@") if sign else {}


def parse_loss(text: str, option: str = "a loss") -> LossSpec:
    """Turn `"focal:gamma=2"` into a name and parameters; several parameters are parted by commas."""
    name, _, parameters = text.partition(":")
    return name, parse_pairs(parameters.split(",") if parameters else None, f"{option} {name}")


@dataclass(eq=False)
class Extension(importlib.abc.MetaPathFinder):
    """A file of the user's with the modules that it imports from beside it, each compiled from the text hashed here.

    Python's own loader would take byte code from `__pycache__`, which it believes to be new when an edit has left the
    second and the size of a file as they were.
    """

    path: Path
    texts: dict[str, tuple[Path, bytes]] = field(default_factory=dict)  # module -> its file and what stands in it
    digest: str = ""

    @property
    def module(self) -> str:
        return f"{OWN}_extension_{self.path.stem}_{hashlib.sha256(str(self.path).encode()).hexdigest()[:6]}"

    def read(self) -> None:
        """Read the file and, as its import statements say, what it and they import from its folder."""
        self.texts = {self.module: (self.path, self.path.read_bytes())}
        waiting = [(self.module, "")]
        while waiting:
            module, package = waiting.pop()
            for name in imported_names(*self.texts[module], package):
                waiting += [(part, _package_of(part, self.texts[part][0])) for part in self._read_module(name)]

    def _read_module(self, name: str) -> list[str]:
        """Read module `name` and the packages around it if they lie beside the file; returns what was new."""
        parts = name.split(".")
        if parts[0] in sys.stdlib_module_names or parts[0] == OWN:
            return []
        fresh = []
        for end in range(1, len(parts) + 1):
            base, prefix = self.path.parent.joinpath(*parts[:end]), ".".join(parts[:end])
            file = next((file for file in (base / "__init__.py", base.with_suffix(".py")) if file.is_file()), None)
            if file is not None and prefix not in self.texts:
                self.texts[prefix] = (file, file.read_bytes())
                fresh.append(prefix)
        return fresh

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """How Python asks for a module."""
        if fullname not in self.texts:
            inner = [file for name, (file, _) in self.texts.items() if name.startswith(f"{fullname}.")]
            if not inner:
                return None
            spec = importlib.machinery.ModuleSpec(fullname, None, is_package=True)  # a folder without __init__.py
            spec.submodule_search_locations = [str(self.path.parent.joinpath(*fullname.split(".")))]
            return spec
        file, text = self.texts[fullname]
        lines = importlib.util.decode_source(text).splitlines(keepends=True)
        linecache.cache[str(file)] = (len(text), None, lines, str(file))  # tracebacks show what runs
        package = file.name == "__init__.py"
        loader = _TextLoader(file, text, package)
        spec = importlib.machinery.ModuleSpec(fullname, loader, origin=str(file), is_package=package)
        spec.has_location = True
        if package:
            spec.submodule_search_locations = [str(file.parent)]
        return spec

    def seal(self) -> str:
        """The digest of all that was read, the same wherever the folder lies."""
        folder = self.path.parent
        hashed = hashlib.sha256()
        for file, text in sorted({(file.relative_to(folder).as_posix(), text) for file, text in self.texts.values()}):
            hashed.update(f"{file} {len(text)} ".encode() + text)
        self.digest = hashed.hexdigest()
        return self.digest

    def where(self, error: BaseException) -> str:
        """`FILE:LINE` of the last line of these files that an error has passed, or of a mistake in their syntax."""
        if isinstance(error, SyntaxError) and error.filename:
            return f"{error.filename}:{error.lineno or 1}"
        files = {str(file) for file, _ in self.texts.values()}
        lines = [f"{f.filename}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__) if f.filename in files]
        return lines[-1] if lines else str(self.path)


class _TextLoader(importlib.abc.InspectLoader):
    def __init__(self, file: Path, text: bytes, package: bool) -> None:
        self.file, self.text, self.package = file, text, package

    def is_package(self, fullname: str) -> bool:
        return self.package

    def get_source(self, fullname: str) -> str:
        return importlib.util.decode_source(self.text)

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.text, str(self.file))


def _package_of(module: str, file: Path) -> str:
    return module if file.name == "__init__.py" else module.rpartition(".")[0]


def imported_names(file: Path, text: bytes, package: str) -> Iterator[str]:
    """Every module that a text may import, also inside functions: `from a import b` may mean a.b."""
    for node in ast.walk(ast.parse(text, str(file))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("import_module", "importlib.import_module"):
            yield from (str(value.value) for value in node.args[:1] if isinstance(value, ast.Constant))
        elif isinstance(node, ast.ImportFrom):
            around = package.split(".") if package else []
            base = ".".join([*around[: len(around) - node.level + 1], node.module or ""]) if node.level else node.module
            base = (base or "").strip(".")
            if base:
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")


_loaded: dict[Path, Extension] = {}
_loading: list[Path] = []  # the file that is being loaded may be the first to import what loads inherited ones


def extend(*files: str | os.PathLike[str]) -> None:
    """Load Python files that register losses, probability functions, networks and so on, here and in every process
    started from here. Modules that lie beside a file can be imported by it.

    A file that was loaded before is loaded anew with them, so that a notebook sees what has been changed.

    Raises:
        FileNotFoundError, ValueError: a file that is not there or is no Python file; nothing is loaded then.
        ValueError: what went wrong in a file, and in which line; what was registered is then as it was before.
    """
    paths = [_check_path(file) for file in files]
    for path in paths:
        _load(path)


def extend_once(files: Iterable[str]) -> None:
    """Load those of the files that this process has not loaded."""
    extend(*[file for file in files if _check_path(file) not in (*_loaded, *_loading)])


def extend_inherited() -> None:
    """Load the files that this process was told of when it was started.

    Raises: what `extend` does.
    """
    try:
        extend_once(_inherited(os.environ.get(VARIABLE, "")))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; the environment's {VARIABLE} asks for it") from None


def _inherited(text: str) -> list[str]:
    """The files in the environment: a list in JSON, or typed by hand as in PATH."""
    if text.startswith("["):
        try:
            return [str(file) for file in json.loads(text)]
        except json.JSONDecodeError:
            pass
    return [text] if Path(text).is_file() else [file for file in text.split(os.pathsep) if file]


def loaded() -> list[str]:
    """The files that this process has loaded, as absolute paths."""
    return [str(path) for path in _loaded]


def registered_by(file: str | os.PathLike[str]) -> list[tuple[str, str]]:
    """The kind and name of everything that a loaded file has registered."""
    extension = _loaded[_check_path(file)]
    return [(table.kind, name) for table in _all_registries() for name in table if table.extension(name) is extension]


@functools.cache
def digest(function: Callable[..., Any]) -> str:
    """The sha256 of a function's source, or of its byte code where it was typed into a plain interpreter."""
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        constants = [value for value in getattr(code, "co_consts", ()) if not isinstance(value, CodeType)]
        source = repr((getattr(code, "co_code", b""), constants, getattr(code, "co_names", ())))
    return hashlib.sha256(source.encode()).hexdigest()


def _check_path(file: str | os.PathLike[str]) -> Path:
    path = Path(file).resolve()
    if path.suffix != ".py":
        raise ValueError(
            f"an extension is a Python file that registers losses, such as my_losses.py, got {str(file)!r}"
        )
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(file)!r} to load losses from (looked for {str(path)!r})")
    return path


def _load(path: Path) -> None:
    extension, former = Extension(path), _loaded.get(path)
    before = [(registry, dict(registry), dict(registry.extended)) for registry in _all_registries()]
    modules, finders = dict(sys.modules), list(sys.meta_path)
    _loading.append(path)
    try:
        try:
            extension.read()
            _make_room(extension, former)
            rest = {id(registry): dict(registry) for registry in _all_registries()}
            spec = extension.find_spec(extension.module)
            assert spec is not None
            assert spec.loader is not None
            module = sys.modules[extension.module] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            raise ValueError(f"{extension.where(error)}: {_describe(error)}") from error
    except BaseException:
        _undo(before, modules, finders, extension)
        raise
    finally:
        _loading.remove(path)
    extension.seal()
    for registry in _all_registries():
        others = rest[id(registry)] if id(registry) in rest else registry.own()
        for name, entry in registry.items():
            if others.get(name) is not entry and registry.extension(name) is None:
                registry.extended[name] = (entry, extension)
    _loaded[path] = extension
    if not registered_by(path):
        warnings.warn(
            f"{path} was read and registers nothing: put @register over a loss, @register_model over a network, ...",
            stacklevel=3,
        )
    os.environ[VARIABLE] = json.dumps(loaded())


def _make_room(extension: Extension, former: Extension | None) -> None:
    """Take back what the file did when it was loaded before, and let Python ask here for the modules beside it."""
    for registry in _all_registries():
        for name in [name for name in registry if former and registry.extension(name) is former]:
            if name in registry.given:
                registry[name] = registry.given[name]
            else:
                del registry[name]
    for name in former.texts if former else ():
        sys.modules.pop(name, None)
    others = [other for other in _loaded.values() if other is not former]
    for name, (file, text) in extension.texts.items():
        there = sys.modules.get(name)
        if there is None or any(other.texts.get(name) == (file, text) for other in others):
            continue
        if Path(getattr(there, "__file__", None) or "").resolve() != file.resolve():
            raise ValueError(f"the module {file} has the name of another that is imported already ({there}); rename it")
        del sys.modules[name]
    sys.meta_path[:] = [extension, *(finder for finder in sys.meta_path if finder is not former)]


def _undo(
    before: Sequence[tuple[Registry[Any], dict[str, Any], dict[str, Any]]],
    modules: Mapping[str, ModuleType],
    finders: Sequence[Any],
    extension: Extension,
) -> None:
    """Everything as it was before a file that failed."""
    known = {id(registry) for registry, _, _ in before}
    fresh = [registry for registry in _all_registries() if id(registry) not in known]
    first: list[Any] = [(registry, registry.given or registry.own(), {}) for registry in fresh]
    for registry, entries, extended in (*before, *first):
        dict.clear(registry)
        registry.update(entries)
        registry.extended = extended
    _forget()
    for name in extension.texts:
        sys.modules.pop(name, None)
    for name, module in modules.items():
        sys.modules.setdefault(name, module)
    sys.meta_path[:] = finders


def _describe(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"sys.exit({error.code!r}) while lossbench loads the file; take it out"
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg}"
    said = next(iter(str(error).splitlines()), "")
    return said if isinstance(error, ValueError | TypeError) else f"{type(error).__name__}: {said}"
