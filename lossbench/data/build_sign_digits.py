"""Rebuild the colour images inside the package from the Sign Language Digits.

Run `python -m lossbench.data.build_sign_digits sign-digits-64px.tar`. The photographs are numbered as they were taken:
a person shows 0 to 9, then the next one. Kept are the uninterrupted runs of ten, made 32 x 32; those whose first
photograph has the smallest sha256 are the test images, so that no run is on both sides. Each side is one picture
without loss: ten rows, one a digit, and one column a run.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from lossbench.data.dataset import Bytes
from lossbench.data.readers import collect, decode

SIZE, TEST_RUNS = 32, 40
EMBEDDED = Path(__file__).parent / "sign_digits_mini"


def complete_runs(photographs: dict[int, int]) -> list[list[int]]:
    """The numbers of each ten successive photographs that show 0 to 9 in this order.

    Args:
        photographs: number -> digit.
    """
    numbers = sorted(photographs)
    tens = (numbers[k : k + 10] for k in range(len(numbers)))
    return [ten for ten in tens if [photographs[number] for number in ten] == list(range(10))]


def build(source: Path, folder: Path) -> None:
    """Write the pictures of both sides into `folder` from the archive `source` of the folders 0 to 9."""
    with tempfile.TemporaryDirectory() as scratch:
        contents, digits = {}, {}
        for name, path in collect(source, Path(scratch)).paths.items():
            digit, number = map(int, re.findall(r"(\d)/IMG_(\d+)\.", name)[0])
            contents[number], digits[number] = path.read_bytes(), digit
    runs = sorted(complete_runs(digits), key=lambda run: hashlib.sha256(contents[run[0]]).digest())
    for side, chosen in (("test", runs[:TEST_RUNS]), ("train", runs[TEST_RUNS:])):
        images = [
            [decode(contents[n], (3, SIZE, SIZE), crop=False, name=str(n)) for n in run] for run in sorted(chosen)
        ]
        write_sheet(folder / f"sign-digits-{side}.webp", np.array(images))


def write_sheet(path: Path, images: Bytes) -> None:
    """Write (columns, classes, 3, height, width) as one picture without loss; `read_sheets` takes it apart."""
    columns, classes, channels, height, width = images.shape
    sheet = images.transpose(1, 3, 0, 4, 2).reshape(classes * height, columns * width, channels)
    Image.fromarray(sheet).save(path, lossless=True, quality=60, method=4, exact=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", type=Path, help="archive with the folders 0 to 9 of photographs")
    parser.add_argument("--output", type=Path, default=EMBEDDED, help="where to write the two pictures")
    args = parser.parse_args()
    build(args.source, args.output)


if __name__ == "__main__":
    main()
