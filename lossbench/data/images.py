"""From the bytes of one image file to a uint8 array of the wanted shape."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")  # eight bits a channel


def decode(content: bytes, image_shape: tuple[int, int, int], *, crop: bool, name: str) -> Pixels:
    """Decode `content` and bring it to `image_shape` (C, H, W).

    Args:
        crop: keep the proportions and cut the middle out, instead of stretching.
        name: of the file, for errors.
    Returns: (C, H, W) uint8, grey for one channel, RGB for three.
    Raises ValueError naming the file when it is no image, is cut short or has more than 8 bits a channel.
    """
    from PIL import Image, ImageOps

    channels, height, width = image_shape
    try:
        with Image.open(io.BytesIO(content)) as opened:
            if opened.mode not in _MODES:
                raise ValueError(f"its mode is {opened.mode}, only 8 bits a channel can be read")
            image = ImageOps.exif_transpose(opened).convert("L" if channels == 1 else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name}: not a readable image ({error}); remove it or use --skip-damaged") from error
    if image.size != (width, height):
        bilinear = Image.Resampling.BILINEAR
        fit = ImageOps.fit(image, (width, height), bilinear) if crop else image.resize((width, height), bilinear)
        image = fit
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def image_size(content: bytes, name: str) -> tuple[int, int]:
    """(height, width) of an image, from its header alone where the format has one."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.height, image.width
    except OSError as error:
        raise ValueError(f"{name}: not a readable image ({error})") from error
