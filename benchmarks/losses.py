"""Time and memory of every loss, as a ratio to torch's cross-entropy measured in the same rounds.

Run `python -m benchmarks.losses [--device cpu] [--threads 1] [--rounds 15] [--quick]`; it writes
`benchmarks/losses-<device>.csv`. Time is forward and backward from logits to their gradient, the median over
rounds of the ratio to `F.cross_entropy` in the same round; on the CPU it is processor time of all threads, which
other work on the machine disturbs less. Memory is the peak on top of the logits, the gradient included, in sizes
of the logits; `F.cross_entropy` itself needs 3. Losses on embeddings have a row at (256, 64) and are compared with
cross-entropy on (256, 10) logits: what they cost beside a usual step, not how well they are written.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from lossbench.losses import LOSSES, Criterion

SHAPES = ((4096, 10), (4096, 1000), (256, 100_000))
EMBEDDINGS = (256, 64)
REFERENCE = "F.cross_entropy"
LARGEST_TREE = 10_000  # classes; building the tables of a larger tree takes minutes
LIMIT_TIME, LIMIT_MEMORY = 1.5, 3.0  # at (4096, 1000), for losses in log space

BEYOND = {
    "mse": "not in log space: probabilities of all classes, their gap to the target and its square",
    "squared_hinge": "not in log space: a margin for every class",
    "false_positive": "searches the top wrong class and normalises once more without it, so that 1 - p_F is exact",
    "confidence_penalty": "the entropy needs the probability of every class, forward and backward",
    "label_smoothing": "the mean of all log-probabilities, forward and backward",
    "logit_norm": "brings every row to length 1 first",
    "bi_tempered": "a power of the probability of every class",
    "binary_cross_entropy": "a logarithm of a sigmoid for every class",
    "square_loss": "not in log space: a square for every class",
    "squentropy": "cross-entropy and a square for every class",
    "multi_margin": "a margin for every class",
    "sparsemax_loss": "sorts the classes",
    "asymmetric": "a power of the probability of every class, times its logarithm",
    "two_scale": "searches the top wrong class",
    "logit_adjusted": "normalises a second time, after the probability function",
    "hierarchical_cross_entropy": "log-softmax in every group of siblings, and sums along the paths",
}
Step = Callable[[], None]


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="three rounds, without the largest shape")
    parser.add_argument("--output", type=Path, default=Path("benchmarks"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    rounds, shapes = (3, SHAPES[:2]) if options.quick else (options.rounds, SHAPES)
    parts = [measure(logit_steps(shape, device), shape, rounds, device) for shape in shapes]
    parts.append(measure(embedding_steps(EMBEDDINGS, device), EMBEDDINGS, rounds, device))
    table = pd.concat(parts, ignore_index=True)
    print(f"torch {torch.__version__}, {device_name(device)}, {options.threads} CPU threads, {rounds} rounds")
    print(table.to_string(index=False, float_format="{:.2f}".format))
    print("\n".join(beyond_limits(table)))
    options.output.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.output / f"losses-{device.type}.csv", index=False, float_format="%.4g")


def logit_steps(shape: tuple[int, int], device: torch.device) -> Iterator[tuple[str, Tensor, Step]]:
    """Cross-entropy of torch first, then every loss on logits with its defaults."""
    batch, classes = shape
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(classes, (batch,), generator=generator).to(device)
    for name in (REFERENCE, *(name for name, entry in LOSSES.items() if entry.takes == "logits")):
        if name == "hierarchical_cross_entropy" and classes > LARGEST_TREE:
            continue
        criterion = None if name == REFERENCE else Criterion(name, **task_of(name, classes)).to(device)
        columns = classes if criterion is None else criterion.num_outputs(classes)
        logits = torch.randn(batch, columns, generator=generator).to(device).requires_grad_()
        yield name, logits, bind(criterion or F.cross_entropy, logits, target)


def task_of(name: str, classes: int) -> dict[str, Any]:
    """A balanced tree of two levels for the loss that needs one, and classes of one size for the others."""
    if name != "hierarchical_cross_entropy":
        return {"class_counts": torch.ones(classes)}
    names = [str(index) for index in range(classes)]
    width = max(2, round(classes**0.5))
    parts = [names[start : start + width] for start in range(0, classes, width)]
    if len(parts[-1]) == 1:
        single = parts.pop()
        parts[-1] += single
    groups = {f"group {number}": members for number, members in enumerate(parts)}
    return {"tree": {"root": list(groups), **groups}, "class_names": names}


def embedding_steps(shape: tuple[int, int], device: torch.device) -> Iterator[tuple[str, Tensor, Step]]:
    """Cross-entropy of torch on ten logits first, then every loss on embeddings with its defaults."""
    batch, dim = shape
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(10, (batch,), generator=generator).to(device)
    logits = torch.randn(batch, 10, generator=generator).to(device).requires_grad_()
    yield REFERENCE, logits, bind(F.cross_entropy, logits, target)
    for name in (name for name, entry in LOSSES.items() if entry.takes == "embeddings"):
        criterion = Criterion(name, num_classes=10, embedding_dim=dim, class_counts=[1] * 10).to(device)
        embeddings = torch.randn(batch, dim, generator=generator).to(device).requires_grad_()
        yield name, embeddings, bind(criterion, embeddings, target)


def bind(loss: Callable[[Tensor, Tensor], Tensor], inputs: Tensor, target: Tensor) -> Step:
    """Forward and backward, leaving only the gradient."""

    def step() -> None:
        inputs.grad = None
        loss(inputs, target).backward()

    return step


def measure(
    steps: Iterator[tuple[str, Tensor, Step]], shape: tuple[int, int], rounds: int, device: torch.device
) -> pd.DataFrame:
    """One row a loss: milliseconds, ratio to the first, extra memory."""
    rows: list[dict[str, Any]] = []
    reference: Step | None = None
    for name, inputs, step in steps:
        reference = reference or step
        measured = time_pairs(step, reference, rounds, device)
        memory = peak_memory(step, inputs, device) / inputs.nbytes
        rows.append({"shape": f"{shape[0]} x {shape[1]}", "loss": name, **measured, "extra_memory": memory})
        inputs.grad = None
        gc.collect()
    return pd.DataFrame(rows)


def time_pairs(step: Step, reference: Step, rounds: int, device: torch.device) -> dict[str, float]:
    """Median milliseconds, and median and range of the ratio to the reference timed in the same round."""
    for warm_up in (step, reference, step):
        warm_up()
    pairs = [(time_once(step, device), time_once(reference, device)) for _ in range(rounds)]
    ratios = [ours / theirs for ours, theirs in pairs]
    return {
        "ms": 1000 * statistics.median(ours for ours, _ in pairs),
        "ratio": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
    }


def time_once(step: Step, device: torch.device) -> float:
    """Seconds of one step: of the processor on a CPU, until the device is done elsewhere."""
    if device.type == "cpu":
        start = time.process_time()
        step()
        return time.process_time() - start
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    step()
    torch.cuda.synchronize(device)
    return time.perf_counter() - start


def peak_memory(step: Step, inputs: Tensor, device: torch.device) -> float:
    """Bytes at the peak of one step, beyond what was there before; what a kernel takes inside counts too."""
    inputs.grad = None
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def beyond_limits(table: pd.DataFrame) -> list[str]:
    """What takes more than the limits at (4096, 1000), and why."""
    at_limit = table[(table["shape"] == "4096 x 1000") & (table["loss"] != REFERENCE)]
    over = (at_limit["ratio"] > LIMIT_TIME) | (at_limit["extra_memory"] > LIMIT_MEMORY + 0.01)
    lines = [f"Beyond {LIMIT_TIME} x the time or {LIMIT_MEMORY} x the logits at 4096 x 1000:"]
    for _, row in at_limit[over].iterrows():
        why = BEYOND.get(row["loss"], "NOT EXPECTED")
        lines.append(f"  {row['loss']}: {row['ratio']:.2f} x, {row['extra_memory']:.2f} x; {why}")
    return lines if len(lines) > 1 else ["Nothing is beyond the limits at 4096 x 1000."]


def device_name(device: torch.device) -> str:
    """What was measured on, in words."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


if __name__ == "__main__":
    main()
