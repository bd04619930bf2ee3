"""Fifteen losses trained together, one after the other, and by the loop of a tutorial: images a second, side by side.

Run `python -m benchmarks.gpu`; it writes `benchmarks/gpu-<device>.csv`. All ways take turns within each round on the
same images, network and batch; a round of a way is a number of whole training steps, between two waits for the device.
Images are those of fashion-mini, enlarged to 32 x 32 in three colours unless told otherwise: their values do not
matter here, and no data set has to be there. `--paper-000 FOLDER` trains paper 000's grid for real instead.
"""

from __future__ import annotations

import argparse
import itertools
import math
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks.gpu_ways import LOSSES, SHAPES, Setting, Way, ensemble, make_images, one_after_the_other, plain_loop
from lossbench.config import RunConfig
from lossbench.models import MODELS
from lossbench.studies import plan_study, run_configs
from lossbench.training.machine import find_device, keep_freed_memory, usable_cores

COMPILE_MODES = ("off", "default", "reduce-overhead")
PAPER_IMAGES = 60_000 + 60_000 + 50_000  # Fashion-MNIST, KMNIST, CIFAR-10
PAPER_EPOCHS = 75  # the latest best epoch in its Table 4.1; the number of epochs is not stated


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and save."""
    chosen = read_arguments(arguments)
    device = find_device(chosen.device)
    keep_freed_memory()
    if device.type == "cpu":
        torch.set_num_threads(chosen.threads or usable_cores())
    torch.backends.cudnn.benchmark = chosen.autotune
    if chosen.paper_000 is not None:
        return run_paper_000(chosen, device)
    print(describe_here(chosen, device), flush=True)
    dataset, path = make_images(chosen.images), chosen.output / f"gpu-{device.type}.csv"
    tables: list[pd.DataFrame] = []
    for model, batch, precision in itertools.product(chosen.models, chosen.batches, chosen.precisions):
        config = RunConfig(
            dataset="fashion-mini", model=model, batch_size=batch, precision=precision, augmentation=chosen.augmentation
        )
        setting = Setting(config, dataset, device, chosen.steps, chosen.loader_workers)
        tables.append(compare(setting, chosen.compile, chosen.rounds))
        print(f"\n{model}, batch {batch}, {precision}\n{show(tables[-1])}", flush=True)
        pd.concat(tables, ignore_index=True).to_csv(path, index=False)  # each time, should the rest be cut off
    print(f"\n{path}")
    return None


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", help="such as cuda or cpu (default: a GPU if there is one)")
    parser.add_argument("--models", nargs="+", default=["small_cnn", "convnet", "resnet18"], choices=list(MODELS))
    parser.add_argument("--batches", nargs="+", type=int, default=[32, 512])
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument("--compile", nargs="+", default=["off"], choices=COMPILE_MODES, help="modes of torch.compile")
    parser.add_argument("--images", default="colour", choices=list(SHAPES))
    parser.add_argument("--augmentation", default="thesis", choices=["none", "thesis"])
    parser.add_argument("--steps", type=int, default=30, help="training steps of each run in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--loader-workers", type=int, default=min(8, usable_cores()), help="of the plain loop")
    parser.add_argument("--threads", type=int, help="on a CPU (default: one a core)")
    parser.add_argument("--autotune", action="store_true", help="let cuDNN time its algorithms first")
    parser.add_argument("--output", type=Path, default=Path("benchmarks"))
    parser.add_argument("--paper-000", type=Path, metavar="FOLDER", help="train paper 000's grid into this folder")
    parser.add_argument("--datasets", nargs="+", default=[], help="of --paper-000 (default: the paper's three)")
    parser.add_argument("--epochs", type=int, default=PAPER_EPOCHS, help="of --paper-000")
    parser.add_argument("--train-size", type=int, help="of --paper-000 (default: all images)")
    parser.add_argument("--data", type=Path, help="folder of the data sets of --paper-000")
    return parser.parse_args(arguments)


def compare(setting: Setting, modes: Sequence[str], rounds: int) -> pd.DataFrame:
    """A row for each way: its images a second, and ratios to runs one after the other and to the plain loop."""
    ways: dict[tuple[str, str], Callable[[], Way]] = {("plain loop", "off"): lambda: plain_loop(setting)}
    for mode in modes:
        ways["one after the other", mode] = lambda mode=mode: one_after_the_other(setting, mode)
        ways["ensemble", mode] = lambda mode=mode: ensemble(setting, mode)
    ready, failures = warm_up(ways)
    rates = take_turns(ready, rounds, setting.device)
    rows = [describe_way(setting, key, rates) for key in rates]
    rows += [{**label(setting, key), "failed": why} for key, why in failures.items()]
    if setting.device.type == "cuda":
        torch.cuda.empty_cache()
    return pd.DataFrame(rows)


def warm_up(ways: dict[tuple[str, str], Callable[[], Way]]) -> tuple[dict[tuple[str, str], Way], dict[Any, str]]:
    """Build each way and let it train once, which compiles it. Returns those that work, and why others do not."""
    ready, failures = {}, {}
    for key, build in ways.items():
        try:
            way = build()
            way()
            ready[key] = way
        except Exception as error:  # out of memory, or something that cannot be compiled: a finding too
            failures[key] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return ready, failures


def take_turns(
    ways: dict[tuple[str, str], Way], rounds: int, device: torch.device
) -> dict[tuple[str, str], list[float]]:
    """Images a second of each way in each round."""
    rates: dict[tuple[str, str], list[float]] = {key: [] for key in ways}
    for _ in range(rounds):
        for key, way in ways.items():
            wait_for(device)
            began = time.perf_counter()
            images = way()
            wait_for(device)
            rates[key].append(images / (time.perf_counter() - began))
    return rates


def wait_for(device: torch.device) -> None:
    """Let the device end what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def label(setting: Setting, key: tuple[str, str]) -> dict[str, Any]:
    """What a row is about."""
    way, mode = key
    config = setting.config
    return {
        "device": device_name(setting.device), "torch": torch.__version__, "model": config.model,
        "batch_size": config.batch_size, "precision": config.precision, "augmentation": config.augmentation,
        "images": "x".join(map(str, setting.dataset.image_shape)), "way": way, "compile": mode,
    }  # fmt: skip


def describe_way(setting: Setting, key: tuple[str, str], rates: dict[tuple[str, str], list[float]]) -> dict[str, Any]:
    """The median rate and its range, ratios within rounds, and what the rate means for fifteen losses and the paper."""
    rate = statistics.median(rates[key])
    row = {**label(setting, key), "rounds": len(rates[key]), "images_per_second": rate}
    row |= {"lowest": min(rates[key]), "highest": max(rates[key])}
    for name in ("one after the other", "plain loop"):
        others = rates.get((name, "off"), [math.nan] * len(rates[key]))
        row[f"to {name}"] = statistics.median(ours / theirs for ours, theirs in zip(rates[key], others, strict=True))
    row["seconds_15_losses_epoch"] = LOSSES * 60_000 / rate
    row["hours_paper_000"] = LOSSES * PAPER_IMAGES * PAPER_EPOCHS / rate / 3600
    return row | {"failed": ""}


def show(table: pd.DataFrame) -> str:
    """The table as it is printed."""
    columns = ["way", "compile", "images_per_second", "lowest", "highest", "to one after the other", "to plain loop"]
    columns += ["seconds_15_losses_epoch", "hours_paper_000", "failed"]
    shown = table.reindex(columns=columns).rename(
        columns={"seconds_15_losses_epoch": "s an epoch of 60,000 x 15", "hours_paper_000": "h for paper 000"}
    )
    return shown.to_string(index=False, float_format=lambda value: f"{value:,.2f}" if value < 100 else f"{value:,.0f}")


def describe_here(chosen: argparse.Namespace, device: torch.device) -> str:
    """What is measured, how often, and on what."""
    threads = f", {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    return (
        f"{device_name(device)}{threads}, torch {torch.__version__}, Python {platform.python_version()}; "
        f"{'x'.join(map(str, SHAPES[chosen.images]))} images, augmentation {chosen.augmentation}; n = {chosen.rounds} "
        f"rounds of {chosen.steps} steps a run, medians of images a second and of ratios within rounds. The time for "
        "paper 000 (45 configurations, 75 epochs, 170,000 images a seed) is extrapolated from training steps alone, as "
        "if all its images had this shape."
    )


def device_name(device: torch.device) -> str:
    """What is measured on, in words."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU {platform.machine()}"


def run_paper_000(chosen: argparse.Namespace, device: torch.device) -> None:
    """Train the 45 configurations for real, in ensembles of 15, and say how long it took."""
    settings = {
        "model": chosen.models[0],
        "pretrained": False,
        "batch_size": chosen.batches[0],
        "epochs": chosen.epochs,
    }
    settings |= {"precision": chosen.precisions[0], "train_size": chosen.train_size, "lr": 1e-3}
    configs = plan_study("thesis", chosen.datasets, seeds=1, settings=settings, scale="paper")
    summary = run_configs(configs, chosen.paper_000, engine="ensemble", device=str(device), data=chosen.data)
    print(f"{len(configs)} runs, {settings}, {device_name(device)}, torch {torch.__version__}: {summary}")


if __name__ == "__main__":
    main()
