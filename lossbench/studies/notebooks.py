"""Find, describe and execute notebooks. Papermill does the work; this module makes it strict.

Papermill runs a misspelt parameter silently, takes names as code, writes over the output while it works and leaves it
empty on a full disk. Here parameters are checked before a kernel starts, and the output appears only when it is whole.
"""

from __future__ import annotations

import ast
import errno
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from functools import cache
from logging import getLogger
from pathlib import Path
from typing import Any

from lossbench.files import SHIPPED, require_writable, write_text
from lossbench.records.record import output_folder
from lossbench.registry import unknown

TAG = "parameters"


def parameters_source(notebook: Any, name: str) -> str:
    """The text of the one cell tagged `parameters`; ValueError when there is none, or more than one."""
    cells = [cell for cell in notebook.cells if TAG in cell.metadata.get("tags", [])]
    if len(cells) != 1 or cells[0].cell_type != "code":
        raise ValueError(
            f"notebook {name!r} has {len(cells)} cells tagged {TAG!r} and needs exactly one, a code cell: without it "
            "parameters would be ignored silently; tag the cell that holds its settings"
        )
    return str(cells[0].source)


def read_parameters(notebook: Any, name: str) -> dict[str, Any]:
    """Names and defaults from the `parameters` cell, which holds `name = value` lines and nothing else.

    The cell is parsed, never run. ValueError when there is no such cell or it holds anything else: a value derived
    there would keep its old value when the parameter it comes from is changed.
    """
    source = parameters_source(notebook, name)
    try:
        lines = ast.parse(source).body
        return dict(_assignment(line) for line in lines)
    except (SyntaxError, ValueError) as error:
        raise ValueError(
            f"the cell tagged {TAG!r} of notebook {name!r} must hold plain lines such as `epochs = 3`: {error}"
        ) from error


def _assignment(line: ast.stmt) -> tuple[str, Any]:
    target = line.targets[0] if isinstance(line, ast.Assign) and len(line.targets) == 1 else None
    if not isinstance(line, ast.Assign) or not isinstance(target, ast.Name):
        raise ValueError(f"line {line.lineno} is no `name = value`")
    try:
        return target.id, ast.literal_eval(line.value)
    except ValueError:
        raise ValueError(f"the value of {target.id} in line {line.lineno} is computed") from None


def check_parameters(given: Mapping[str, Any], defaults: Mapping[str, Any], notebook: str) -> None:
    """Refuse a parameter that the notebook does not have, or a value that is not of its default's kind.

    A default of None admits anything. Parameters named like fields of `RunConfig` must make a valid `RunConfig`.

    Raises: TypeError for an unknown name or a wrong type; ValueError for a value that `RunConfig` refuses.
    """
    for name, value in given.items():
        if name not in defaults:
            raise TypeError(unknown(f"parameter of notebook {notebook!r}", name, defaults))
        if not _fits(value, defaults[name]):
            kind = _kind(defaults[name])
            raise TypeError(f"parameter {name} of notebook {notebook!r} must be {kind}, got {value!r}")
    if given:
        _check_run(given, defaults)


def _fits(value: Any, default: Any) -> bool:
    if default is None:
        return True
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    if isinstance(default, list | tuple):
        same = len({type(item) for item in default}) == 1
        return isinstance(value, list | tuple) and (not same or all(_fits(item, default[0]) for item in value))
    return isinstance(value, type(default))


def _kind(default: Any) -> str:
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: 'text (such as "a")'}
    kinds |= {list: "a list", tuple: "a list", dict: 'a mapping such as {"gamma": 2.0}'}
    return f"{kinds.get(type(default), type(default).__name__)} like its default {default!r}"


def _check_run(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Validate what will reach `RunConfig` before a kernel starts."""
    from lossbench.config import RunConfig

    names = {field.name for field in fields(RunConfig)}
    if names.isdisjoint(given):
        return
    standard = {name: value for name, value in defaults.items() if name in names}
    try:
        RunConfig.from_dict(standard)
    except (TypeError, ValueError):  # a notebook of the user's own, which means something else by these names
        return
    RunConfig.from_dict(standard | {name: value for name, value in given.items() if name in names})


@dataclass(frozen=True)
class Kernel:
    """How to start a kernel.

    Args:
        environment: variables beyond those of this process.
        log: file to append to what the kernel's process says outside of cells; None leaves it on this one's streams.
        started: called when the kernel runs, with a function that ends it at once, from any thread.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    log: Path | None = None
    started: Callable[[Callable[[], None]], object] = lambda end: None

    def manager(self, environment: Mapping[str, str]) -> type:
        """A class of kernel managers for nbclient, with more variables.

        It starts the Python that runs here: a `python3` kernel that the user registered may be another one.
        """
        import zmq
        from ipykernel.kernelspec import get_kernel_dict
        from jupyter_client.kernelspec import KernelSpec
        from jupyter_client.manager import AsyncKernelManager

        log, started = self.log, self.started
        # Jupyter fills in $names, so dollars are doubled.
        variables = {name: value.replace("$", "$$") for name, value in {**self.environment, **environment}.items()}

        class KernelHere(AsyncKernelManager):
            def __init__(self, **options: Any) -> None:
                super().__init__(**options)
                # On a shared machine others could listen in; jupyter_client before 8.9 cannot encrypt.
                if self.has_trait("transport_encryption") and zmq.has("curve"):
                    self.transport_encryption = "auto"

            @property
            def kernel_spec(self) -> Any:
                return KernelSpec(**get_kernel_dict(), env=variables)

            async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
                with log.open("ab") if log else nullcontext() as file:
                    streams = {"stdout": file, "stderr": file} if file else {}
                    await super().start_kernel(**options, **streams)
                started(self.end)

            def end(self) -> None:
                process = getattr(self.provisioner, "process", None)
                if process is not None:
                    process.kill()

        return KernelHere


CELL_BYTES = 1 << 20  # of the output of one cell
START_SECONDS = 300  # until a kernel must have answered; a busy machine takes long to start one

_NOT_WRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG, errno.EIO)
_LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(?=[)#])")  # relative, without its anchor
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")


class NotebookFailed(RuntimeError):
    """A notebook stopped early.

    `path` is the copy that was kept, None if it could not be written. `error` is the name of the exception that a cell
    raised, None when the kernel died.
    """

    def __init__(self, message: str, path: Path | None, error: str | None) -> None:
        super().__init__(message)
        self.path, self.error = path, error


def execute(
    name: str,
    parameters: Mapping[str, Any],
    output: str | os.PathLike[str] | None = None,
    *,
    name_as: str | None = None,
    keep_others: bool = False,
    leave_out: str = "skip-execution",
    kernel: Kernel | None = None,
) -> Path:
    """Execute a notebook with other parameters and keep the executed copy in `<output>/notebooks/`.

    The notebook runs in this Python and this folder; what it records goes to `output` too. The source is never
    written to, and an executed copy from before stays until the new one is whole.

    Args:
        name: a notebook's name, an unambiguous part of it, or a path.
        parameters: JSON values for names in its `parameters` cell.
        output: folder for results; None takes LOSSBENCH_OUTPUT, else `outputs`.
        name_as: name of the executed copy, without `.ipynb`; None takes the notebook's.
        keep_others: refuse to replace an executed copy of other parameters.
        leave_out: a tag; cells that have it are kept as they are and not executed.
        kernel: how to start the kernel; None starts it for somebody who waits, with a progress bar.

    Returns: the path of the executed copy.

    Raises:
        ValueError, TypeError, FileNotFoundError: before anything runs, when the notebook, a parameter or its value
            is not what it should be.
        OSError: the output cannot be written; no damaged file is left.
        NotebookFailed: a cell raised an error or the kernel died; `<name>.failed.ipynb` shows how far it came.
    """
    source = find_notebook(name)
    check_parameters(parameters, read_parameters(_read(source), source.stem), source.stem)
    stem = source.stem if name_as is None else _file_name(name_as)
    folder = require_writable((output_folder(output) / "notebooks").resolve())
    finished, failed, part = (folder / f"{stem}{end}.ipynb" for end in ("", ".failed", ".part"))
    if source.resolve() in (finished, failed, part):
        raise ValueError(f"{source} would be overwritten by its own result; choose another --output")
    if keep_others and (before := _executed_with(finished)) not in (None, dict(parameters)):
        raise ValueError(
            f"{finished} was executed with other parameters, {before}; give this one a name with --to NAME"
        )
    try:
        _run(
            source,
            part,
            parameters,
            kernel_manager_class=(kernel or Kernel()).manager({"LOSSBENCH_OUTPUT": str(folder.parent)}),
            skip_cells_with_tag=leave_out,
            progress_bar=kernel is None and sys.stderr.isatty(),
        )
        _move(part, finished, source.parent)
        failed.unlink(missing_ok=True)
        return finished
    except _Stopped as stop:
        copy = _try_move(part, failed, source.parent)
        where = f"; the notebook up to there is {copy}" if copy else "; the disk had no room to keep the notebook"
        raise NotebookFailed(f"notebook {source.stem!r} stopped {stop}{where}", copy, stop.error) from stop.__cause__
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise
        raise OSError(_explain(error, part)) from error
    finally:
        part.unlink(missing_ok=True)


PACKAGED = (SHIPPED / "notebooks", Path(__file__).resolve().parents[2] / "notebooks")


def find_notebook(name: str, paths: Mapping[str, Path] | None = None) -> Path:
    """The notebook of this name, or the only one whose name holds it, or the file at this path.

    Without `paths` looks in `./notebooks`, then beside the package. ValueError with the nearest names, or all that
    match, when that does not lead to one; FileNotFoundError for a path where nothing is.
    """
    paths = notebooks() if paths is None else paths
    stem = name.removesuffix(".ipynb")
    if stem in paths:
        return paths[stem]
    if name.endswith(".ipynb") or len(Path(name).parts) > 1:
        if not Path(name).is_file():
            raise FileNotFoundError(f"no notebook at {name!r}; known by name are {', '.join(paths) or '(none)'}")
        return Path(name)
    matches = [key for key in paths if name and name in key]
    if len(matches) > 1:
        raise ValueError(f"notebook {name!r} could be {' or '.join(matches)}; give more of the name")
    if not matches:
        raise ValueError(unknown("notebook", name, paths))
    return paths[matches[0]]


def notebooks() -> dict[str, Path]:
    """Every notebook that has a name, in order: those in `./notebooks`, then those that came with the package."""
    return _notebooks_in(*PACKAGED, Path("notebooks"))


def _notebooks_in(*folders: Path) -> dict[str, Path]:
    return dict(sorted({path.stem: path for folder in folders for path in folder.glob("*.ipynb")}.items()))


def copy_notebooks(names: Sequence[str], folder: Path) -> list[Path]:
    """Copy notebooks, or all of them, into `folder` to work on; one that is there and differs is never overwritten.

    Raises: ValueError, FileNotFoundError as `find_notebook` does, and ValueError before anything is copied.
    """
    paths = _notebooks_in(*PACKAGED)
    sources = [find_notebook(name, paths) for name in names] if names else list(paths.values())
    goals = [folder / source.name for source in sources]
    for source, goal in zip(sources, goals, strict=True):
        if goal.exists() and goal.read_bytes() != source.read_bytes():
            raise ValueError(f"{str(goal)!r} is there already and differs; move it away or choose another --to")
    require_writable(folder)
    for source, goal in zip(sources, goals, strict=True):
        if not goal.exists():
            write_text(goal, source.read_text(encoding="utf-8"))
    return goals


def describe_notebooks() -> str:
    """Name, title and parameters of every notebook, with defaults and comments, as text."""
    blocks = []
    for name, path in notebooks().items():
        notebook = _read(path)
        headings = (line for cell in notebook.cells for line in cell.source.splitlines() if line.startswith("# "))
        lines = parameters_source(notebook, name).splitlines()
        blocks.append("\n".join([f"{name}: {next(headings, '')[2:]}", *(f"    {line}" for line in lines)]))
    return "\n\n".join(blocks) or "no notebooks here: run this in a clone of the repository, or install the wheel"


class _Stopped(Exception):
    """Where and why a notebook stopped; the text goes on after "stopped"."""

    def __init__(self, why: str, error: str | None) -> None:
        super().__init__(why)
        self.error = error


def _run(source: Path, part: Path, parameters: Mapping[str, Any], **options: Any) -> None:
    """Execute into `part`, which papermill rewrites after every cell."""
    from papermill.engines import papermill_engines
    from papermill.exceptions import PapermillExecutionError
    from papermill.execute import execute_notebook

    papermill_engines.register("bounded", _bounded_engine())
    try:
        execute_notebook(
            _literal(source),
            _literal(part),
            dict(parameters),
            engine_name="bounded",
            kernel_name="python3",
            language="python",
            startup_timeout=START_SECONDS,
            **options,
        )
    except PapermillExecutionError as error:
        raise _Stopped(f"in cell [{error.exec_count}]: {error.ename}: {error.evalue}", error.ename) from error
    except RuntimeError as error:  # nbclient's DeadKernelError, and what jupyter_client says of a kernel's first words
        raise _Stopped(f"because its kernel was ended: interrupted, or out of memory ({error})", None) from error


@cache
def _bounded_engine() -> type:
    """A papermill engine that keeps `CELL_BYTES` of what a cell prints and displays; a loss may print at each step."""
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import Engine

    class BoundedClient(PapermillNotebookClient):  # type: ignore[misc]
        def output(self, outs: list[Any], message: dict[str, Any], display_id: str | None, cell_index: int) -> Any:
            rooms: dict[int, int] = self.__dict__.setdefault("rooms", {})
            room, content = rooms.get(cell_index, CELL_BYTES), message["content"]
            text = content.get("text")
            rooms[cell_index] = room - len(json.dumps(content.get("data", "")) if text is None else text)
            if message["msg_type"] == "error" or rooms[cell_index] >= 0:
                return super().output(outs, message, display_id, cell_index)
            if room < 0:
                return None
            if text is not None:
                content["text"] = f"{text[:room]}\n(what this cell prints beyond that is left out)\n"
            return super().output(outs, message, display_id, cell_index)

    class BoundedEngine(Engine):  # type: ignore[misc]
        @classmethod
        def execute_managed_notebook(cls, manager: Any, kernel_name: str, **options: Any) -> None:
            own = ("kernel_manager_class", "skip_cells_with_tag", "startup_timeout")
            own_options = {name: options[name] for name in own}
            BoundedClient(manager, kernel_name=kernel_name, log=getLogger("papermill"), **own_options).execute()

    return BoundedEngine


def _literal(path: Path) -> str:
    """Papermill fills in {names} in paths with parameters, so braces are doubled."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _read(path: Path) -> Any:
    import nbformat
    from nbformat.reader import NotJSONError

    try:
        return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    except (NotJSONError, nbformat.ValidationError, AttributeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a notebook: {str(error).splitlines()[0]}") from error


def _executed_with(path: Path) -> dict[str, Any] | None:
    """The parameters that papermill noted in an executed copy; None where there is no such copy."""
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))["metadata"]["papermill"]["parameters"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dict(noted)


def _file_name(name: str) -> str:
    if not _FILE_NAME.fullmatch(name):
        raise ValueError(
            f"name_as={name!r} must be at most 120 letters, digits, '.', '_' and '-', a letter or digit first"
        )
    return name


def _move(part: Path, target: Path, source: Path) -> Path:
    """Write the notebook whole under its final name, flushed to disk."""
    return write_text(target, _relinked(part.read_text(encoding="utf-8"), source, target.parent))


def _try_move(part: Path, target: Path, source: Path) -> Path | None:
    try:
        return _move(part, target, source) if part.stat().st_size else None
    except OSError:
        return None


def _relinked(text: str, source: Path, folder: Path) -> str:
    """A notebook's text, its prose's links to files made to lead from `folder` where they led from `source`."""

    def lead(link: re.Match[str]) -> str:
        target = (source / link[0]).resolve()
        return Path(os.path.relpath(target, folder)).as_posix() if target.exists() else link[0]

    notebook = json.loads(text)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = _LINK.sub(lead, "".join(cell["source"])).splitlines(keepends=True)
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _explain(error: OSError, part: Path) -> str:
    free = shutil.disk_usage(part.parent).free
    return (
        f"cannot write {error.filename or part} ({error.strerror}; {free} bytes free); "
        "free some space or choose another --output"
    )
