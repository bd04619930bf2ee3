"""A claim on a run's folder, so that no two processes, on one machine or several, work on one run.

The claim is a file that only one process can create (mode `x`, which is O_CREAT|O_EXCL) and that its owner touches
every heartbeat. It is stale, and may be taken over, when its owner is a process of this machine that has ended, or
when it was not touched for three heartbeats. That age is a difference of two times which the file system itself wrote,
the lease's and that of a file written beside it now, so the machines' clocks need not agree; the lease is opened before
its age is read, which is when NFS asks the server instead of its cache.

To take over, a process first claims the right to remove this very lease, again by a file that only one can create, and
removes it only if it still says what was judged; then it creates its lease like everybody else. So a lease that
appeared in between is never touched. An owner that was taken over while it was silent, such as a laptop that slept,
learns so at its next heartbeat (`Lease.lost`) and stops; both would have written the same bytes, each file whole.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from lossbench.files import Owner, naming_full_disk

HEARTBEAT_SECONDS = 10.0
STALE_AFTER = 3  # heartbeats

LEASE = "lease.json"


class Held(RuntimeError):
    """Another process works on this run. `mine` says that it is this very process, so that waiting would not end."""

    def __init__(self, message: str, *, mine: bool = False) -> None:
        super().__init__(message)
        self.mine = mine


@contextmanager
def hold(folder: Path) -> Iterator[Lease]:
    """Claim `folder` (created where it is missing) for this process until the block ends.

    Raises: Held when a live process has it, PermissionError or OSError when the lease cannot be written.
    """
    lease = Lease(folder / LEASE)
    lease.take()
    stop = threading.Event()
    heart = threading.Thread(target=lease.beat_until, args=(stop,), daemon=True, name=f"lease {folder.name}")
    heart.start()
    try:
        yield lease
    finally:
        stop.set()
        heart.join()
        lease.release()
        with suppress(OSError):  # unless something was written there
            folder.rmdir()


def is_held(folder: Path) -> bool:
    """Whether a live process works on `folder`; True also where its lease cannot be looked at."""
    if not (folder / LEASE).exists():
        return False
    try:
        found = _look(folder / LEASE)
    except OSError:
        return True
    return found is not None and _alive(*found)


class Lease:
    """One process's claim; use `hold`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.owner = Owner.me()
        self.text = json.dumps({**self.owner.to_dict(), "token": uuid4().hex})
        self.lost = False

    def take(self) -> None:
        """Create the lease file, if need be in place of a stale one. Raises Held."""
        while True:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # its last owner has just left it, and the folder was empty
                if self._create():
                    return
            found = _look(self.path)
            if found is None:
                continue
            text, age = found
            owner = _owner(text)
            if _alive(text, age):
                who = f"process {owner.pid} on {owner.host}" if owner else "another process"
                message = (
                    f"{self.path.parent} is being worked on by {who}, last heard of {max(age, 0):.0f} s ago; "
                    f"it is taken over after {STALE_AFTER * HEARTBEAT_SECONDS:.0f} s of silence"
                )
                raise Held(message, mine=owner == self.owner)
            self._remove_stale(text)

    def beat_until(self, stop: threading.Event) -> None:
        """Touch the lease every heartbeat, until told to stop or until somebody else has it."""
        while not stop.wait(HEARTBEAT_SECONDS) and not self.lost:
            self.beat()

    def beat(self) -> None:
        """Show once that this process is alive."""
        try:
            if self.path.read_text(encoding="utf-8") == self.text:
                os.utime(self.path)
            else:
                self.lost = True
        except FileNotFoundError:  # it was deleted
            with suppress(OSError):
                self._create()
        except OSError:  # a server that does not answer now may answer at the next heartbeat
            pass

    def check(self) -> None:
        """Raise Held when somebody else has taken the run over."""
        if self.lost:
            raise Held(f"{self.path.parent} was taken over by another process while this one was silent")

    def release(self) -> None:
        """Remove the lease, unless it has become somebody else's."""
        with suppress(OSError):
            if self.path.read_text(encoding="utf-8") == self.text:
                self.path.unlink()

    def _create(self) -> bool:
        with naming_full_disk(self.path):
            try:
                file = self.path.open("x", encoding="utf-8")
            except FileExistsError:
                return False
            try:
                with file:
                    file.write(self.text)
            except OSError:
                self.path.unlink()
                raise
        return True

    def _remove_stale(self, text: str) -> None:
        """Remove the lease that says `text`. Raises Held while another process is doing so."""
        claim = self.path.with_name(f".{LEASE}.{sha256(text.encode()).hexdigest()[:16]}")
        try:
            claim.open("x").close()
        except FileExistsError:
            found = _look(claim)
            if found and found[1] > STALE_AFTER * HEARTBEAT_SECONDS:  # it was killed while taking over
                claim.unlink(missing_ok=True)
            raise Held(f"{self.path.parent} is being taken over by another process") from None
        try:
            if self.path.read_text(encoding="utf-8") == text:
                self.path.unlink()
        except FileNotFoundError:  # its owner had only been silent, and has left it
            pass
        finally:
            claim.unlink(missing_ok=True)


def _look(path: Path) -> tuple[str, float] | None:
    """What the lease says and its age by the file system's clock; None when there is none."""
    try:
        with (
            naming_full_disk(path),
            path.open(encoding="utf-8") as file,
            tempfile.TemporaryFile(dir=path.parent) as probe,
        ):
            probe.write(b".")
            probe.flush()
            os.fsync(probe.fileno())
            return file.read(), os.fstat(probe.fileno()).st_mtime - os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return None


def _alive(text: str, age: float) -> bool:
    owner = _owner(text)
    return not (owner and owner.dead) and age <= STALE_AFTER * HEARTBEAT_SECONDS


def _owner(text: str) -> Owner | None:
    try:
        return Owner.from_dict(json.loads(text))
    except (ValueError, KeyError, TypeError):  # empty for the moment between its creation and its writing
        return None
