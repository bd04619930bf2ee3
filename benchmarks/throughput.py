"""Images a second of the plain tutorial loop and of lossbench on the same work, side by side.

Run `python -m benchmarks.throughput`. Every way trains the same network on the same images for the same epochs and
seeds, chooses the epoch on held-out images and scores the test images. Images a second count training images over the
whole time of a way, scoring included. Starting Python and loading libraries is left out for all but the study, whose
workers' start counts. bfloat16 is timed where the processor has instructions for it. The limit is the model's forward
and backward pass alone, measured around the single runs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from benchmarks.plain_loop import make_loaders, train_plain
from lossbench.config import RunConfig
from lossbench.data import Dataset, load
from lossbench.records import Record
from lossbench.studies import run_configs
from lossbench.training import prepare, start
from lossbench.training.machine import computes_bfloat16, keep_freed_memory, usable_cores
from lossbench.training.run import run

LIMIT_STEPS = 150


@dataclass(frozen=True)
class Timing:
    """One way of training the runs of all seeds."""

    name: str
    images: int
    seconds: float
    accuracy: list[float]

    @property
    def rate(self) -> float:
        """Training images a second."""
        return self.images / self.seconds


def measure_limit(config: RunConfig, dataset: Dataset, repeats: int = 5) -> float:
    """Images a second of the model's forward and backward pass alone, one batch in memory, one thread: the median."""
    torch.set_num_threads(1)
    keep_freed_memory()
    split = prepare(config, dataset, torch.device("cpu")).train
    training = start(config, dataset, split, torch.device("cpu"))
    images = training.normalise(split.images[: config.batch_size])
    target = split.target[: config.batch_size]
    rates = []
    for _ in range(repeats):
        began = time.perf_counter()
        for _ in range(LIMIT_STEPS):
            loss = nn.functional.cross_entropy(training.model(images).logits, target)
            training.model.zero_grad(set_to_none=True)
            loss.backward()
        rates.append(LIMIT_STEPS * config.batch_size / (time.perf_counter() - began))
    return statistics.median(rates)


def measure_plain(
    name: str, configs: Sequence[RunConfig], dataset: Dataset, *, tensors: bool, loader_workers: int, threads: int
) -> Timing:
    """The tutorial loop, one seed after the other; making the loaders is not timed."""
    torch.set_num_threads(threads)
    seconds, accuracy = 0.0, []
    for config in configs:
        loaders = make_loaders(config, dataset, tensors=tensors, loader_workers=loader_workers)
        began = time.perf_counter()
        accuracy.append(train_plain(config, dataset, loaders, "cpu"))
        seconds += time.perf_counter() - began
    return Timing(name, count_images(configs, dataset), seconds, accuracy)


def measure_single(name: str, configs: Sequence[RunConfig], dataset: Dataset, folder: Path) -> Timing:
    """`lossbench.run`, one seed after the other on one thread; scores and record included."""
    run(replace(configs[0], epochs=1, train_size=100), folder, device="cpu", threads=1)  # loads what a run needs
    began = time.perf_counter()
    records = [run(config, folder, device="cpu", threads=1) for config in configs]
    seconds = time.perf_counter() - began
    return Timing(name, count_images(configs, dataset), seconds, [record.result["test_accuracy"] for record in records])


def measure_study(name: str, configs: Sequence[RunConfig], dataset: Dataset, folder: Path, workers: int) -> Timing:
    """The same runs as a study in worker processes, their start included."""
    began = time.perf_counter()
    run_configs(configs, folder, workers=workers, device="cpu", show_progress=False)
    seconds = time.perf_counter() - began
    scores = [Record.of(config, folder).result["test_accuracy"] for config in configs]
    return Timing(name, count_images(configs, dataset), seconds, scores)


def count_images(configs: Sequence[RunConfig], dataset: Dataset) -> int:
    """Training images that pass through the network in all epochs of all runs."""
    return sum(len(prepare(config, dataset, torch.device("cpu")).train) * config.epochs for config in configs)


def describe(timings: Sequence[Timing], limit: float) -> str:
    """The table that the benchmark prints."""
    lines = [f"{'':46}{'images/s':>9}{'ratio':>7}{'of limit':>9}{'accuracy':>20}"]
    first = timings[0].rate
    for timing in timings:
        spread = statistics.stdev(timing.accuracy) if len(timing.accuracy) > 1 else float("nan")
        score = f"{100 * statistics.mean(timing.accuracy):.2f} ± {100 * spread:.2f} %"
        lines.append(
            f"{timing.name:46}{timing.rate:9,.0f}{timing.rate / first:7.2f}{timing.rate / limit:9.2f}{score:>20}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="fashion-mini")
    parser.add_argument("--model", default="small_cnn")
    parser.add_argument("--augmentation", default="none")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--train-size", type=int)
    parser.add_argument("--workers", type=int, default=2, help="worker processes of the study")
    chosen = parser.parse_args()
    base = RunConfig(
        dataset=chosen.dataset,
        model=chosen.model,
        augmentation=chosen.augmentation,
        epochs=chosen.epochs,
        train_size=chosen.train_size,
        embedding_scores=False,  # the plain loop does not compute them
    )
    configs = [replace(base, seed=seed) for seed in range(chosen.seeds)]
    halved = [replace(config, precision="bfloat16") for config in configs]
    dataset, cores = load(base.dataset), usable_cores()
    limits: list[float] = []

    def single() -> Timing:
        limits.append(measure_limit(base, dataset))
        timing = measure_single("(c) lossbench run, one thread", configs, dataset, Path(folder) / "single")
        limits.append(measure_limit(base, dataset))
        return timing

    with tempfile.TemporaryDirectory() as folder:
        ways: list[Callable[[], Timing]] = [
            lambda: measure_plain(
                f"(a) plain loop, PIL, {cores} threads",
                configs, dataset, tensors=False, loader_workers=0, threads=cores,
            ),
            lambda: measure_plain(
                "(a) plain loop, PIL, 2 loader workers",
                configs, dataset, tensors=False, loader_workers=2, threads=cores,
            ),
            lambda: measure_plain(
                f"(b) plain loop, tensors, {cores} threads",
                configs, dataset, tensors=True, loader_workers=0, threads=cores,
            ),
            single,
            lambda: measure_study(
                f"(d) lossbench study, {chosen.workers} workers",
                configs, dataset, Path(folder) / "study", chosen.workers,
            ),
        ]  # fmt: skip
        if computes_bfloat16(torch.device("cpu")):
            ways.append(
                lambda: measure_study(
                    f"(e) the same in bfloat16, {chosen.workers} workers",
                    halved, dataset, Path(folder) / "halved", chosen.workers,
                )
            )  # fmt: skip
        timings = []
        for way in ways:
            timings.append(way())
            print(f"{timings[-1].name}: {timings[-1].seconds:.1f} s", file=sys.stderr, flush=True)
    print(
        f"{base.dataset}, {base.model}, batch {base.batch_size}, {base.augmentation} augmentation, "
        f"{base.epochs} epochs, {chosen.seeds} seeds; torch {torch.__version__}, {cores} cores\n"
        f"limit (forward and backward alone, one thread): {limits[0]:,.0f} and {limits[1]:,.0f} images/s\n"
        + describe(timings, statistics.mean(limits))
    )


if __name__ == "__main__":
    main()
