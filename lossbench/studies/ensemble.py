"""Runs that differ in their loss trained together, as one batched program: made for a GPU, where it saves most.

Records and checkpoints have the form of single runs, and the numbers are theirs but for rounding. A run's `seconds`
are its share of the time, and `peak_memory_mb` is that of all.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lossbench.config import RunConfig
from lossbench.data import Dataset
from lossbench.files import remove_temporaries
from lossbench.records.lease import Held, Lease, hold
from lossbench.records.record import Record
from lossbench.studies.execute import HELD_SECONDS, Job
from lossbench.studies.worker import perform
from lossbench.training.checkpoint import describe_origin, undisturbed
from lossbench.training.ensemble import shared_settings, shared_state, train_together
from lossbench.training.loop import Diverged, Training
from lossbench.training.machine import keep_freed_memory
from lossbench.training.run import Progress, Splits, finish, load_images, prepare, restore, save, start
from lossbench.training.tensorboard import event_writer


def execute(job: Job) -> None:
    """Train the runs of equal data set, model, seed and so on together, at most `job.workers` of them at once.

    Runs that cannot be trained together, for lack of memory or because a model or loss does not allow it, are tried
    in halves, and in the end alone.
    """
    keep_freed_memory()
    if job.device == "cpu":
        job.board.say("engine ensemble is made for a GPU; on a CPU, engine process is as fast or faster")
    held = [config for group in plan(job.todo, job.workers) for config in _run_group(job, group)]
    while held and not job.board.stopping.wait(HELD_SECONDS):
        held = [config for other in held for config in _run_group(job, [other])]


def plan(configs: Iterable[RunConfig], limit: int | None) -> list[list[RunConfig]]:
    """The configs in groups that can be trained together, of `limit` at most, in the order of their first ones."""
    alike: dict[tuple[object, ...], list[RunConfig]] = {}
    for config in configs:
        alike.setdefault(shared_settings(config), []).append(config)
    groups = []
    for group in alike.values():
        size = limit or len(group)
        groups += [group[i : i + size] for i in range(0, len(group), size)]
    return groups


def _run_group(job: Job, configs: Sequence[RunConfig]) -> list[RunConfig]:
    """Run the configs, together if that is possible. Returns those that another process works on."""
    if job.board.stopping.is_set():
        return []
    if len(configs) == 1:
        return _run_alone(job, configs[0])
    try:
        return _run_together(job, configs)
    except (Exception, SystemExit) as error:  # a run alone will meet it too if it is not about being together
        why = f"{type(error).__name__}: {error}"
    # Outside the handler, whose traceback would keep the memory that the halves need.
    rest = [config for config in configs if not Record.of(config, job.output).has(config, job.data)]
    job.board.say(f"{len(configs)} runs cannot be trained together ({why}); trying halves")
    half = (len(rest) + 1) // 2
    return [config for part in (rest[:half], rest[half:]) if part for config in _run_group(job, part)]


def _run_alone(job: Job, config: RunConfig) -> list[RunConfig]:
    answer = perform(
        {**job.task(config), "resume": "anyway"},
        lambda epoch: job.board.epoch(config, epoch),
        job.board.stopping.is_set,
    )
    if answer["event"] == "done":
        job.board.done(config, answer)
    elif answer["event"] == "failed":
        job.board.failed(config, answer["error"], disk_full=answer["disk_full"])
    return [config] if answer["event"] == "held" else []


def _run_together(job: Job, configs: Sequence[RunConfig]) -> list[RunConfig]:
    leases, held = {}, []
    with ExitStack() as stack:
        for config in configs:
            try:
                leases[config] = stack.enter_context(hold(Record.of(config, job.output).path))
            except Held:
                held.append(config)
        todo = [config for config in leases if not Record.of(config, job.output).has(config, job.data)]
        held += [config for config in leases if config not in todo]  # by another process, a moment ago
        if todo:
            dataset = load_images(todo[0], job.data)
            with undisturbed():
                splits = prepare(todo[0], dataset, torch.device(job.device), job.data)
                members = [_Member.open(job, config, leases[config], dataset, splits) for config in todo]
                for alike in _alike(members):
                    held += _train(job, alike, dataset, splits)
    return held


@dataclass
class _Member:
    """A run that is under way."""

    config: RunConfig
    record: Record
    lease: Lease
    training: Training
    origin: dict[str, Any]
    epoch_seconds: list[float]
    callbacks: list[Progress]
    stream: Tensor  # the state of the device's global random stream, which dropout draws from

    @classmethod
    def open(cls, job: Job, config: RunConfig, lease: Lease, dataset: Dataset, splits: Splits) -> _Member:
        """Begin the run, or go on from its checkpoint, whichever engine wrote that."""
        record, device = Record.of(config, job.output), torch.device(job.device)
        remove_temporaries(record.path, everyones=True)
        record.write_config(config)
        training = start(config, dataset, splits.train, device)
        origin = describe_origin(config, device, dataset.fingerprint)
        # A run alone would round otherwise, and does not go on from here unless it is told to.
        origin["device"] += ", ensemble"
        seconds = restore(record, training, origin, "anyway")
        callbacks: list[Progress] = [event_writer(record.path)] if job.tensorboard else []
        return cls(config, record, lease, training, origin, seconds, callbacks, _stream_of(device).get_state())


def _stream_of(device: torch.device) -> torch.Generator:
    return torch.cuda.default_generators[device.index or 0] if device.type == "cuda" else torch.default_generator


def _alike(members: Iterable[_Member]) -> list[list[_Member]]:
    """The members by where they stand and what their models look like: a tree's may have more outputs."""
    alike: dict[tuple[object, ...], list[_Member]] = {}
    for member in members:
        alike.setdefault(shared_state(member.training), []).append(member)
    return list(alike.values())


def _train(job: Job, members: list[_Member], dataset: Dataset, splits: Splits) -> list[RunConfig]:
    """Train members of equal `shared_state` to their ends, or until asked to stop. Returns those that others took."""
    taken = []
    _stream_of(torch.device(job.device)).set_state(members[0].stream)
    while members and not job.board.stopping.is_set():
        began = time.perf_counter()
        trainings = [member.training for member in members]
        answers = train_together(trainings, splits.train, splits.scored, splits.prefix)
        share = round((time.perf_counter() - began) / len(members), 4)
        going = []
        for member, answer in zip(members, answers, strict=True):
            if member.lease.lost:
                taken.append(member.config)
            elif _end_epoch(job, member, answer, share):
                _finish(job, member, answer, dataset, splits)
            else:
                going.append(member)
        members = going
    return taken


def _end_epoch(job: Job, member: _Member, answer: dict[str, float] | Diverged, share: float) -> bool:
    """Keep and show what the epoch gave. Returns whether it was the member's last."""
    if isinstance(answer, Diverged):
        job.board.say(f"{member.config.run_id}: {answer}")
        return True
    member.epoch_seconds.append(share)
    if not member.training.ended:
        save(member.record, member.training, member.origin, member.epoch_seconds)
    for callback in member.callbacks:
        callback(answer)
    job.board.epoch(member.config, member.training.epoch)
    return member.training.ended


def _finish(job: Job, member: _Member, answer: dict[str, float] | Diverged, dataset: Dataset, splits: Splits) -> None:
    known: dict[str, Any] = {"status": "finished", "epoch_seconds": member.epoch_seconds, "engine": "ensemble"}
    if isinstance(answer, Diverged):
        known |= {"status": "diverged", "diverged": answer}
    finish(member.record, member.training, splits, dataset, known, job.keep)
    job.board.done(member.config, member.record.outcome)
