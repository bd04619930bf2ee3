"""Files that are either whole or not there: written beside their name, flushed, then moved into place."""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from glob import escape
from hashlib import sha256
from pathlib import Path
from typing import Any

SHIPPED = Path(__file__).with_name("shipped")  # in an installed package: the notebooks and the committed studies

# Which process wrote something, and whether that process is known to be dead.


@dataclass(frozen=True)
class Owner:
    """A process, so described that another one on the same machine can tell whether it still runs.

    `space` distinguishes containers that share a host name but do not see each other's processes. `started` (clock
    ticks since the machine started, 0 where the system does not tell) distinguishes a process from a later one that
    was given the same number.
    """

    host: str
    space: str
    pid: int
    started: int

    @classmethod
    def me(cls) -> Owner:
        """This process."""
        return cls(platform.node(), _space(), os.getpid(), _status(os.getpid())[1])

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Owner:
        """Read `to_dict()` back. KeyError, ValueError or TypeError where it is something else."""
        host, space, pid, started = (values[name] for name in ("host", "space", "pid", "started"))
        return cls(str(host), str(space), int(pid), int(started))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @property
    def place(self) -> str:
        """Eight hexadecimal digits for where the process runs, short enough for a file's name."""
        return sha256(f"{self.host} {self.space}".encode()).hexdigest()[:8]

    @property
    def dead(self) -> bool:
        """Whether the process has certainly ended: False also where that cannot be known from here."""
        if os.name == "nt" or (self.host, self.space) != (platform.node(), _space()):  # on Windows kill(pid, 0) kills
            return False
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):
            return True
        except PermissionError:  # somebody else's, so it lives
            pass
        state, started = _status(self.pid)
        return state in ("Z", "X") or (0 not in (started, self.started) and started != self.started)


def _space() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _status(pid: int) -> tuple[str, int]:
    """State and start time of a process, as Linux tells them; blanks elsewhere."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return fields[0], int(fields[19])
    except (OSError, IndexError, ValueError):
        return "", 0


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TEMPORARY = re.compile(r"\..+\.(?P<place>[0-9a-f]{8})-(?P<pid>[0-9]{1,9})\.[^.]+\.tmp")


class DiskFull(OSError):
    """A file found no room; the message names it and says how many bytes are free."""


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Raise DiskFull in place of the system's error when the block finds no room for what it writes to `path`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        free = shutil.disk_usage(_existing(path)).free
        raise DiskFull(
            f"cannot write {path}: {os.strerror(error.errno).lower()}, {free} bytes free; what was there before is "
            "untouched; make room and give the same command again"
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; after the block its file takes the place of `path`.

    If the block raises, the temporary file is removed and whatever was at `path` is untouched. If the process is
    killed, the next write to `path` on this machine removes what it left.

    Raises: DiskFull where there is no room for the file.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "scores.txt"
    >>> with replacing(target) as temporary:
    ...     _ = temporary.write_text("0.9")
    >>> target.read_text()
    '0.9'
    """
    with naming_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_temporaries(path.parent, f".{escape(path.name)}.*.tmp")
        me = Owner.me()
        prefix = f".{path.name}.{me.place}-{me.pid}."
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write `text` as UTF-8, all of it or nothing."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def remove_temporaries(folder: Path, pattern: str = ".*.tmp", *, everyones: bool = False) -> None:
    """Remove temporary files and folders that writers on this machine left when they were killed.

    Args:
        folder: where to look; not below it.
        pattern: of the files' names.
        everyones: remove them whoever wrote them, for a folder that nobody else may write to now.
    """
    me = Owner.me()
    for path in folder.glob(pattern):
        match = _TEMPORARY.fullmatch(path.name)
        dead = match is not None and match["place"] == me.place and replace(me, pid=int(match["pid"]), started=0).dead
        if everyones or dead:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


@contextmanager
def temporary_folder(parent: Path, name: str) -> Iterator[Path]:
    """Give an empty folder in `parent` that is removed after the block; what a killed process left goes first."""
    remove_temporaries(parent, f".{escape(name)}.*.tmp")
    me = Owner.me()
    with naming_full_disk(parent):
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=f".{name}.{me.place}-{me.pid}.", suffix=".tmp"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def require_writable(folder: Path) -> Path:
    """Create `folder` and prove that a file can be written there, before any work starts.

    Raises: PermissionError, NotADirectoryError or DiskFull that names the folder and says what to do.
    """
    refuse_unwritable(folder)
    try:
        with naming_full_disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(b".")
    except DiskFull:
        raise
    except OSError as error:
        raise _not_writable(folder, error.strerror or str(error)) from error
    return folder


def refuse_unwritable(folder: Path) -> None:
    """Say at once, and without creating anything, that `folder` cannot be made or written to.

    Raises: PermissionError or NotADirectoryError that names the folder and says what to do.
    """
    above = _existing(folder)
    if not above.is_dir():
        raise NotADirectoryError(f"output {str(folder)!r} is not a folder; choose another with --output")
    if not os.access(above, os.W_OK | os.X_OK):
        raise _not_writable(folder, f"no permission to write to {str(above)!r}")


def _not_writable(folder: Path, reason: str) -> PermissionError:
    return PermissionError(
        f"cannot write to output {str(folder)!r} ({reason}); make it writable or choose another with --output"
    )


def _existing(path: Path) -> Path:
    """The path itself if something is there, else the nearest folder above it."""
    return next(part for part in (path, *path.absolute().parents) if os.access(part, os.F_OK))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync(path: Path) -> None:
    """Have the system write a file or folder to the disk now."""
    if os.name == "nt" and path.is_dir():  # Windows cannot open a folder, and moves are journaled there
        return
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
