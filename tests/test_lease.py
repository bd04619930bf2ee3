"""One owner for a run: leases that are taken, kept alive, given up, and taken over from the dead."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from killing import fork, wait_for

from lossbench import lease as leases
from lossbench.lease import Held, Lease, hold
from lossbench.owner import Owner


def lease_of(folder: Path, owner: Owner, age: float = 0.0) -> Path:
    """A lease that `owner` touched `age` seconds ago."""
    folder.mkdir(exist_ok=True)
    path = folder / "lease.json"
    path.write_text(json.dumps({**owner.to_dict(), "token": "t"}))
    os.utime(path, (time.time() - age,) * 2)
    return path


@pytest.fixture
def ended() -> Owner:
    """A process of this machine that has ended."""
    child = fork(lambda: None)
    child.wait()
    return replace(Owner.me(), pid=child.pid, started=1)


def test_a_run_has_one_owner_until_the_block_ends(tmp_path: Path) -> None:
    with hold(tmp_path / "run") as lease:
        assert json.loads(lease.path.read_text())["pid"] == os.getpid()
        with (
            pytest.raises(Held, match=rf"is being worked on by process {os.getpid()} on") as caught,
            hold(lease.path.parent),
        ):
            pass
        assert caught.value.mine, "waiting for oneself would not end"
    assert not (tmp_path / "run").exists(), "nothing was written there"
    with hold(tmp_path / "run") as lease:
        (tmp_path / "run" / "result.json").touch()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["result.json"]


def test_an_error_in_the_block_gives_the_lease_back(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), hold(tmp_path / "run"):
        raise KeyboardInterrupt
    with hold(tmp_path / "run"):
        pass


def test_the_lease_of_a_killed_process_is_taken_at_once(tmp_path: Path) -> None:
    def keep() -> None:
        with hold(tmp_path):
            time.sleep(60)

    child = fork(keep)
    wait_for(lambda: (tmp_path / "lease.json").exists() and (tmp_path / "lease.json").read_text())
    with pytest.raises(Held) as caught, hold(tmp_path):
        pass
    assert not caught.value.mine
    child.send(signal.SIGKILL)
    wait_for(lambda: Path(f"/proc/{child.pid}/stat").read_text().rpartition(") ")[2][0] == "Z")
    with hold(tmp_path):  # the child is a zombie: nobody has asked for its exit code
        pass
    assert child.wait() == -signal.SIGKILL


def test_a_process_elsewhere_is_given_three_heartbeats(tmp_path: Path, ended: Owner) -> None:
    for elsewhere in (replace(ended, host="other"), replace(ended, space="another container")):
        lease_of(tmp_path, elsewhere, age=25)
        with (
            pytest.raises(Held, match=r"last heard of 2\d s ago; it is taken over after 30 s of silence"),
            hold(tmp_path),
        ):
            pass
        lease_of(tmp_path, elsewhere, age=31)
        with hold(tmp_path):
            pass


def test_a_dead_process_here_is_given_no_time(tmp_path: Path, ended: Owner) -> None:
    lease_of(tmp_path, ended)
    with hold(tmp_path):
        pass


def test_a_process_that_got_a_dead_one_s_number_is_not_taken_for_it(tmp_path: Path) -> None:
    lease_of(tmp_path, replace(Owner.me(), started=1))
    with hold(tmp_path):
        pass


def test_the_owner_s_clock_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lease_of(tmp_path, replace(Owner.me(), host="other"))
    for wrong in (0.0, time.time() + 10**6):
        monkeypatch.setattr(time, "time", lambda wrong=wrong: wrong)
        with pytest.raises(Held), hold(tmp_path):
            pass


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}'])
def test_a_lease_that_cannot_be_read_counts_by_its_age(tmp_path: Path, content: str) -> None:
    path = tmp_path / "lease.json"
    path.write_text(content)
    with pytest.raises(Held, match="worked on by another process"), hold(tmp_path):
        pass
    os.utime(path, (time.time() - 31,) * 2)
    with hold(tmp_path):
        pass


def test_of_eight_takers_of_a_stale_lease_one_gets_it(tmp_path: Path, ended: Owner) -> None:
    def take(folder: Path) -> None:
        wait_for((tmp_path / f"{folder.name}.go").exists)
        try:
            with hold(folder):
                wait_for((tmp_path / f"{folder.name}.end").exists)
        except Held:
            raise SystemExit(3) from None

    for turn in range(5):
        folder = tmp_path / str(turn)
        folder.mkdir()
        lease_of(folder, ended)
        children = [fork(lambda folder=folder: take(folder)) for _ in range(8)]
        (tmp_path / f"{turn}.go").touch()
        wait_for(lambda children=children: sum(child.poll() is not None for child in children) == 7)
        (tmp_path / f"{turn}.end").touch()
        assert Counter(child.wait() for child in children) == {0: 1, 3: 7}


def test_the_heart_beats_while_the_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.02)
    with hold(tmp_path) as lease:
        os.utime(lease.path, (0, 0))
        wait_for(lambda: lease.path.stat().st_mtime > 0)
        lease.check()


def test_an_owner_that_was_taken_over_learns_so_and_leaves_the_lease_alone(tmp_path: Path) -> None:
    with hold(tmp_path) as lease:
        lease_of(tmp_path, replace(Owner.me(), host="other"))
        lease.beat()
        with pytest.raises(Held, match="taken over by another process"):
            lease.check()
    assert json.loads((tmp_path / "lease.json").read_text())["host"] == "other"


def test_a_fresh_lease_is_never_removed_as_the_stale_one_it_followed_and_comes_back_when_deleted(
    tmp_path: Path,
) -> None:
    with hold(tmp_path) as lease:
        Lease(lease.path)._remove_stale("what it had judged to be stale")
        assert lease.path.read_text() == lease.text
        lease.path.unlink()
        lease.beat()
        assert lease.path.read_text() == lease.text
        assert not lease.lost


def test_a_takeover_waits_for_another_one_and_outlives_it(tmp_path: Path, ended: Owner) -> None:
    lease_of(tmp_path, ended)
    stale = (tmp_path / "lease.json").read_text()
    claim = tmp_path / f".lease.json.{sha256(stale.encode()).hexdigest()[:16]}"
    claim.touch()
    with pytest.raises(Held, match="being taken over by another process"), hold(tmp_path):
        pass
    os.utime(claim, (time.time() - 31,) * 2)
    with pytest.raises(Held), hold(tmp_path):  # removes what the killed taker left
        pass
    with hold(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == ["lease.json"]
