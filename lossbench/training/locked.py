"""A loss that nobody trusts, in a process of its own: it sees logits, targets and the epoch, and can open nothing.

The process that trains never runs the code. It talks through a pipe to a nursery, which has loaded torch and what the
code imports, and forks a child for each run. The child lowers the number of files that it may open to none,
which holds for Python, C++ and Rust alike and cannot be taken back, watches what Python is asked for, and only then
executes the code. What comes back are bytes and JSON, never pickles.

So the code holds no images, no test targets, no weights, no seed of the run, and no memory of an earlier run.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import json
import os
import select
import signal
import struct
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, NoReturn

import torch
from torch import Tensor

from lossbench.losses import LOSSES, Criterion, register, search
from lossbench.losses.catalogue import Context, LossState
from lossbench.losses.criterion import BadLoss
from lossbench.registry import Extension, imported_names

STEP_SECONDS = 10.0  # that one call may take
START_SECONDS = 300.0  # for torch and the code's imports
MOST_BYTES = 100_000  # of code: room for any formula, and none for the test images
ALLOWED = ("torch", "numpy", "scipy", "lossbench", *sys.stdlib_module_names)
OF_CHECKS = ("lossbench.training.checking", "torch.fx.experimental.symbolic_shapes")  # gradcheck imports it late
MOST_GRAPHS = 4
LENGTHS = struct.Struct("<II")
WATCHED = (
    *("open", "os.", "subprocess.", "socket.", "ctypes.", "shutil.", "glob.", "resource.", "mmap.", "sqlite3."),
    *("fcntl.", "pty.", "tempfile.", "urllib.", "http.client.", "webbrowser.", "object.__setattr__"),
)


class Refused(BadLoss):
    """A loss asked for something that no loss needs: a file, another process, the network."""


# The side of the study.


class Nursery:
    """The process that executes the code of one folder, a child a run."""

    def __init__(self, folder: Path, digest: str, *modules: str) -> None:
        self.arguments = [str(folder), digest, *modules]
        self.process: subprocess.Popen[bytes] | None = None
        self.session: Session | None = None

    def begin(self, **task: Any) -> Session:
        """A fresh child for a run; the one before it ends."""
        if self.session is not None:
            self.session = None
            try:
                self.ask({"do": "end"})
            except BadLoss:
                self.kill()
        if self.process is None or self.process.poll() is not None:
            self.process = _start(self.arguments)
            self.ask({}, seconds=START_SECONDS)  # ready
        self.session = Session(self)
        self.ask({"do": "begin", **task}, seconds=START_SECONDS)
        return self.session

    def ask(self, head: Mapping[str, Any], blob: bytes = b"", seconds: float = STEP_SECONDS) -> tuple[Any, bytes]:
        """Send a message and wait for its answer. Refused or BadLoss with what the child says, or for its silence."""
        assert self.process is not None
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            if head:
                _send(self.process.stdin.fileno(), head, blob)
            answer, content = _receive(self.process.stdout.fileno(), time.monotonic() + seconds)
        except TimeoutError:
            self.kill()
            raise Refused(f"one call took longer than {seconds:g} s and was ended") from None
        except (OSError, EOFError, ValueError, RecursionError) as error:
            self.kill()
            raise BadLoss(f"the loss's process has ended or answers with nonsense ({error})") from None
        status = answer.get("status") if isinstance(answer, dict) else None
        if status == "ok":
            return answer, content
        text = str(answer.get("text") if isinstance(answer, dict) else answer)[:500]
        raise (Refused if status == "refused" else BadLoss)(text)

    def kill(self) -> None:
        """End the nursery and its child at once."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = self.session = None


class Session:
    """One run's child."""

    def __init__(self, nursery: Nursery) -> None:
        self.nursery, self.turn = nursery, 0

    def forward(self, logits: Tensor, target: Tensor, epoch: int, epochs: int) -> Tensor:
        """The loss (batch,) of logits (batch, classes)."""
        self._require_alive()
        self.turn += 1
        inputs, indices = logits.detach().cpu().contiguous(), target.cpu().long().contiguous()
        head = {"do": "forward", "turn": self.turn, "epoch": epoch, "epochs": epochs}
        head |= {"shape": list(inputs.shape), "dtype": str(inputs.dtype).removeprefix("torch.")}
        _, content = self.nursery.ask(head, inputs.numpy().tobytes() + indices.numpy().tobytes())
        return _tensor(content, inputs.dtype, (len(inputs),)).to(logits)

    def backward(self, turn: int, slope: Tensor, shape: torch.Size) -> Tensor:
        """The gradient (batch, classes) for that of each sample's loss (batch,)."""
        self._require_alive()
        given = slope.detach().cpu().contiguous()
        _, content = self.nursery.ask({"do": "backward", "turn": turn}, given.numpy().tobytes())
        return _tensor(content, given.dtype, tuple(shape)).to(slope)

    def _require_alive(self) -> None:
        if self.nursery.session is not self:
            raise BadLoss("this run's process has been ended, because another run has begun")


class _Remote(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, session: Session, epoch: int, epochs: int) -> Tensor:
        values = session.forward(logits, target, epoch, epochs)
        ctx.session, ctx.turn, ctx.shape = session, session.turn, logits.shape
        return values

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.session.backward(ctx.turn, slope, ctx.shape), None, None, None, None


class _State(LossState):
    """Carries the session to the loss function."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session

    def forward(self) -> dict[str, Any]:
        return {"session": self.session}


nursery = cache(Nursery)  # this process's, of a folder of code


def describe(folder: Path, digest: str) -> dict[str, dict[str, Any]]:
    """What the code registers: by loss what is `searched`, why it is no challenger (`refusal`, or ""), and `wrong`,
    what `lossbench check` finds.

    Raises: BadLoss, or Refused, for code that cannot be loaded or asks for what no loss needs.
    """
    home = Nursery(folder, digest, *OF_CHECKS)
    try:
        home.begin(loss="")
        answer, _ = home.ask({"do": "describe"}, seconds=START_SECONDS)
        return {str(name): dict(facts) for name, facts in answer["losses"].items()}
    finally:
        home.kill()


def seconds_a_step(losses: Mapping[str, tuple[Path, str]], shape: tuple[int, int], steps: int) -> list[list[float]]:
    """Wall seconds of calls forward and backward through the pipe, of losses by name in their folders, in turns.

    In turns, because what else the machine does then slows all of them alike.
    """
    draws = torch.Generator().manual_seed(0)
    names = [str(index) for index in range(shape[1])]
    task = {"params": {}, "num_classes": shape[1], "class_counts": [shape[0]] * shape[1], "class_names": names}
    homes = [Nursery(*place) for place in losses.values()]
    times: list[list[float]] = [[] for _ in homes]
    try:
        sessions = [home.begin(loss=name, **task) for home, name in zip(homes, losses, strict=True)]
        for _ in range(steps):
            logits, target = torch.randn(shape, generator=draws), torch.randint(shape[1], shape[:1], generator=draws)
            for session, own in zip(sessions, times, strict=True):
                began = time.perf_counter()
                session.forward(logits, target, 1, 1)
                session.backward(session.turn, torch.full(shape[:1], 1 / shape[0]), logits.shape)
                own.append(time.perf_counter() - began)
        return times
    finally:
        for home in homes:
            home.kill()


def register_locked(
    folder: Path, digest: str, name: str, searched: Mapping[str, tuple[float, float, float, bool]]
) -> None:
    """Register a loss under its name here, whose code runs behind a lock.

    Args:
        folder: of the code, whose one file that is not imported by the others is `challenger.py`.
        digest: of the code, as `Extension.seal` gives it.
        searched: default, low, high and logarithm of each hyperparameter that is tuned.
    """

    def state(params: Mapping[str, Any], context: Context) -> _State:
        seed = hashlib.sha256(f"{digest} {context.generator.initial_seed()}".encode()).digest()
        counts = None if context.class_counts is None else context.class_counts.tolist()
        task = {"num_classes": context.num_classes, "class_counts": counts, "class_names": context.class_names}
        task_seed = int.from_bytes(seed[:7])
        return _State(nursery(folder, digest).begin(loss=name, params=dict(params), seed=task_seed, **task))

    def locked(logits: Tensor, target: Tensor, session: Any, epoch: Any = None, epochs: Any = None, **_: Any) -> Tensor:
        when = (1, 1) if epoch is None or epochs is None else (int(epoch), int(epochs))
        values: Tensor = _Remote.apply(logits, target, session, *when)
        return values

    empty, keyword = inspect.Parameter.empty, inspect.Parameter.KEYWORD_ONLY
    parameters = [own.replace(annotation=empty) for own in inspect.signature(locked).parameters.values()][:-1]
    for key, (default, low, high, log) in searched.items():
        kind: Any = int if isinstance(default, int) else float
        annotation = Annotated[kind, search(low, high, log=log)]
        parameters.append(inspect.Parameter(key, keyword, default=default, annotation=annotation))
    locked.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    locked.__name__, locked.__module__ = name, "challenger"
    locked.__doc__ = f"The challenger {name}, whose code runs in a process of its own."
    register(state=state, shown=tuple(searched))(locked)


def _start(arguments: list[str]) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOSSBENCH_")}
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    command = [sys.executable, "-m", "lossbench.training.locked", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, start_new_session=True)


def _tensor(content: bytes, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    if len(content) != (expected := torch.Size(shape).numel() * dtype.itemsize):
        raise BadLoss(f"the loss's process answers with {len(content)} bytes, not {expected}")
    return torch.frombuffer(bytearray(content), dtype=dtype).reshape(shape)


def _send(handle: int, head: Mapping[str, Any], blob: bytes = b"") -> None:
    text = json.dumps(head).encode()
    content = memoryview(LENGTHS.pack(len(text), len(blob)) + text + blob)
    while content:
        content = content[os.write(handle, content) :]


def _receive(handle: int, deadline: float | None = None) -> tuple[Any, bytes]:
    """The next message. EOFError at the end, TimeoutError after the deadline."""
    head, blob = LENGTHS.unpack(_read(handle, LENGTHS.size, deadline))
    if head + blob > 1 << 28:
        raise ValueError(f"a message of {head + blob:,} bytes")
    return json.loads(_read(handle, head, deadline)), _read(handle, blob, deadline)


def _read(handle: int, count: int, deadline: float | None) -> bytes:
    parts = b""
    while len(parts) < count:
        if deadline is not None and not select.select([handle], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise TimeoutError
        part = os.read(handle, count - len(parts))
        if not part:
            raise EOFError("the pipe is closed")
        parts += part
    return parts


# The side of the code.


def main() -> None:
    """Serve as a nursery until standard input closes."""
    _die_with_parent()
    extension = Extension(Path(sys.argv[1]) / "challenger.py")
    orders, answers = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what a loss prints is no answer
    extension.read()
    if extension.seal() != sys.argv[2]:
        _send(answers, {"status": "wrong", "text": "the code is not the one that was hashed"})
        return
    for name in sorted({*_modules(extension), *sys.argv[3:]}):
        with contextlib.suppress(ImportError, AttributeError):  # the code will say so itself
            _import(name)
    sys.meta_path.insert(0, extension)
    torch.set_num_threads(1)
    _send(answers, {"status": "ok"})
    with contextlib.suppress(EOFError, BrokenPipeError):  # the study is gone
        while True:
            order, _ = _receive(orders)
            if order.get("do") != "begin":  # for a child that has ended
                _send(answers, {"status": "wrong", "text": "the loss has ended its process"})
                continue
            child = os.fork()
            if not child:
                _child(extension, order, orders, answers)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            _send(answers, {"status": "wrong", "text": f"the loss ended with {code}"} if code else {"status": "ok"})


def _import(name: str) -> None:
    """Import a module, or what a module has, which some load only when they are asked for it."""
    try:
        importlib.import_module(name)
    except ImportError:
        module, _, inside = name.rpartition(".")
        if module:
            getattr(importlib.import_module(module), inside)


def _modules(extension: Extension) -> set[str]:
    """What the code imports from outside; BadLoss for what a challenger may not import."""
    names = {name for file, text in extension.texts.values() for name in imported_names(file, text, "")}
    return {name for name in names if name not in extension.texts and name.partition(".")[0] in ALLOWED}


def _child(extension: Extension, task: dict[str, Any], orders: int, answers: int) -> NoReturn:
    """Lock up, execute the code, and answer until the run ends."""
    code = 1
    try:
        _die_with_parent()
        _warm_up()
        warnings.showwarning = lambda *_, **__: None  # Python's own reads the line that warned from its file
        server = _Server(_lock(), answers)
        torch.manual_seed(task.get("seed", 0))
        server.answer(partial(server.load, extension, task))
        with contextlib.suppress(EOFError):  # the study is gone
            while True:
                order, blob = _receive(orders)
                if order["do"] == "end":
                    break
                server.answer(partial(server.work, order, blob))
        code = 0
    finally:
        os._exit(code)


def _die_with_parent() -> None:
    """A loss that loops for ever ends with the study; only Linux can say so."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _warm_up() -> None:
    """Let torch open now what it opens at first use."""
    for dtype in (torch.float32, torch.float64):
        logits = torch.randn(4, 3, dtype=dtype, requires_grad=True)
        criterion = Criterion("cross_entropy", num_classes=3)
        (criterion(logits, torch.tensor([0, 1, 2, 0])) + (logits @ logits.T).logsumexp(1).mean()).backward()


def _lock() -> list[str]:
    """From here on no file can be opened; returns the list of what was asked for."""
    import resource

    asked: list[str] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if not event.startswith(WATCHED):
            return
        what = str(arguments[0])[:200] if arguments else ""
        if event == "object.__setattr__" and not (len(arguments) > 1 and arguments[1] == "__code__"):
            return
        if event == "open" and what.endswith((".py", ".pyc", ".so")):
            raise OSError(f"a loss can open no file: import {what} at the top of the file")
        asked.append(f"{event} {what}".strip())
        raise PermissionError(f"a loss sees logits and targets only, and asked for: {event} {what}")

    sys.addaudithook(watch)
    return asked


class _Server:
    """What the child keeps of its run."""

    def __init__(self, asked: list[str], answers: int) -> None:
        self.asked, self.answers = asked, answers
        self.names: list[str] = []
        self.criterion: Criterion | None = None
        self.graphs: dict[int, tuple[Tensor, Tensor]] = {}

    def answer(self, work: Callable[[], tuple[dict[str, Any], bytes]]) -> None:
        """Do the work and say what came of it; what the code was refused is said first, also where it went on."""
        try:
            head, blob = work()
            head = {"status": "ok", **head}
        except BaseException as error:  # whatever the code raises
            head, blob = {"status": "wrong", "text": f"{type(error).__name__}: {error}"[:500]}, b""
        if self.asked:
            asked = "; ".join(list(dict.fromkeys(self.asked))[:3])
            head, blob = {"status": "refused", "text": f"asked for: {asked}"}, b""
        _send(self.answers, head, blob)

    def load(self, extension: Extension, task: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Execute the code, and make the loss that the task names."""
        before = set(LOSSES)
        importlib.import_module(extension.module)
        self.names = [name for name in LOSSES if name not in before]
        if task["loss"]:
            given = {key: task[key] for key in ("num_classes", "class_counts", "class_names")}
            self.criterion = Criterion(task["loss"], reduction="none", **given, **task["params"])
        return {}, b""

    def work(self, order: dict[str, Any], blob: bytes) -> tuple[dict[str, Any], bytes]:
        """Do what an order says: describe, forward or backward."""
        if order["do"] == "describe":
            return {"losses": {name: _facts(name) for name in self.names}}, b""
        if order["do"] == "backward":
            logits, loss = self.graphs[order["turn"]]
            slope = torch.frombuffer(bytearray(blob), dtype=logits.dtype)
            (gradient,) = torch.autograd.grad((loss * slope).sum(), logits, retain_graph=True)  # a scalar opens no file
            return {}, gradient.contiguous().numpy().tobytes()
        assert self.criterion is not None
        dtype, size = getattr(torch, order["dtype"]), len(blob) - 8 * order["shape"][0]
        logits = torch.frombuffer(bytearray(blob[:size]), dtype=dtype).reshape(order["shape"]).requires_grad_()
        target = torch.frombuffer(bytearray(blob[size:]), dtype=torch.int64)
        self.criterion.set_epoch(order["epoch"], order["epochs"])
        loss = self.criterion(logits, target)
        self.graphs[order["turn"]] = logits, loss
        self.graphs.pop(order["turn"] - MOST_GRAPHS, None)
        return {}, loss.detach().to(dtype).contiguous().numpy().tobytes()


def _facts(name: str) -> dict[str, Any]:
    """A loss as its registration declares it, in plain values."""
    from lossbench.training.checking import check_loss  # loaded before the lock, where it is needed

    entry = LOSSES[name]
    refusal = ""
    if entry.takes != "logits":
        refusal = "works on embeddings, whose accuracy is that of class means; a challenger takes logits or log_probs"
    elif entry.state is not None:
        refusal = "has a state of its own; a challenger is a function of logits, target and the epoch"
    searched = {
        parameter.name: [parameter.default, parameter.search.low, parameter.search.high, parameter.search.log]
        for parameter in entry.parameters.values()
        if parameter.search is not None and isinstance(parameter.default, int | float)
    }
    wrong = [] if refusal else [finding.text for finding in check_loss(name) if finding.wrong]
    return {"searched": searched, "refusal": refusal, "wrong": wrong}


if __name__ == "__main__":
    main()
