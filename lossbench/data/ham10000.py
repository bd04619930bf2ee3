"""Read HAM10000: photographs of skin, with the diagnosis of each in a CSV file."""

from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from lossbench.data.archives import IMAGE_SUFFIXES, is_archive, iterate_files
from lossbench.data.dataset import Arrays
from lossbench.data.images import decode
from lossbench.data.integrity import damaged

if TYPE_CHECKING:
    from lossbench.data.dataset import DatasetSpec

METADATA = "HAM10000_metadata"


def read_ham10000(spec: DatasetSpec, path: Path, *, skip_damaged: bool = False) -> Arrays:
    """The images that HAM10000_metadata names, sorted by image id, from a folder, an archive or a folder of zips.

    The same lesion was photographed up to six times, so the split is by lesion: of each diagnosis, lesions in
    the order of the sha256 of their id go to the test images until these have their share.
    Raises ValueError when the CSV names an unknown diagnosis or an image is missing.
    """
    from tqdm import tqdm

    rows = read_metadata(spec, path)
    position = {row["image_id"]: k for k, row in enumerate(rows)}
    images = np.zeros((len(rows), *spec.image_shape), dtype=np.uint8)
    missing = set(position)
    with tqdm(total=len(rows), desc=f"import {spec.name}", unit=" images", mininterval=0.5) as bar:
        for source in _sources(path):
            for name, content in iterate_files(source, IMAGE_SUFFIXES):
                image_id = PurePosixPath(name).stem
                if image_id in missing:
                    where = f"{source}: {name}"
                    images[position[image_id]] = decode(content, spec.image_shape, crop=spec.crop, name=where)
                    missing.discard(image_id)
                    bar.update()
    if missing:
        raise damaged(path, f"{len(missing):,} of {len(rows):,} images are missing, such as {min(missing)}")
    target = np.array([spec.class_names.index(row["dx"]) for row in rows], dtype=np.int64)
    is_test = np.array(split_by_lesion(rows, spec.test_fraction))
    return Arrays(images[~is_test], target[~is_test], images[is_test], target[is_test])


def read_metadata(spec: DatasetSpec, path: Path) -> list[dict[str, str]]:
    """The rows of the CSV, sorted by image_id, with at least image_id, lesion_id and dx."""
    for source in _sources(path):
        for name, content in iterate_files(source, (f"{METADATA}.csv".lower(), METADATA.lower())):
            rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
            where = source / name
            if not rows or not {"image_id", "lesion_id", "dx"} <= set(rows[0]):
                raise damaged(where, "it should be a CSV with the columns lesion_id, image_id and dx")
            if unknown := {row["dx"] for row in rows} - set(spec.class_names):
                raise damaged(where, f"it names the diagnoses {sorted(unknown)}, known are {spec.class_names}")
            return sorted(rows, key=lambda row: row["image_id"])
    raise FileNotFoundError(f"{path} holds no {METADATA}.csv, which names the diagnosis of each image")


def split_by_lesion(rows: list[dict[str, str]], test_fraction: float) -> list[bool]:
    """For each row whether it is a test image; all images of one lesion are on the same side."""
    wanted: dict[str, float] = {}
    for row in rows:
        wanted[row["dx"]] = wanted.get(row["dx"], 0) + test_fraction
    order = sorted(range(len(rows)), key=lambda k: hashlib.sha256(rows[k]["lesion_id"].encode()).digest())
    is_test = [False] * len(rows)
    taken: dict[str, int] = {}
    lesions: set[str] = set()
    for k in order:
        dx, lesion = rows[k]["dx"], rows[k]["lesion_id"]
        if lesion in lesions or taken.get(dx, 0) < round(wanted[dx]):
            is_test[k] = True
            taken[dx] = taken.get(dx, 0) + 1
            lesions.add(lesion)
    return is_test


def _sources(path: Path) -> list[Path]:
    """`path` and, where it is a folder, the archives in it: the publisher gives the images as two zips."""
    if not path.is_dir():
        return [path]
    return [path, *sorted(file for file in path.iterdir() if is_archive(file))]
