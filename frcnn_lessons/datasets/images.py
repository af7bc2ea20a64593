"""Read a photograph as the course wants it, or say why not.

What goes in is an upright 8-bit RGB image in a JPEG or PNG file; what comes out is float32, (3, H, W), RGB, 0..1.
Everything else is refused instead of converted, because each silent conversion hides a mistake: a grayscale image
among colour ones is usually a wrong file, a palette loses colours, and with a rotated image nobody can tell whether
its boxes were drawn before or after the turn.

Shapes: an image of H x W pixels.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError
from torchvision import tv_tensors

from frcnn_lessons.datasets.sample import DataError

MAX_PIXELS = 50_000_000
"""A decoded image of this many pixels takes 600 MB as float32. A file of a few kB can claim any size."""

_MODES = {
    "1": "black and white",
    "L": "grayscale",
    "LA": "grayscale with transparency",
    "P": "a palette image",
    "RGBA": "RGB with transparency (RGBA)",
    "CMYK": "CMYK, made for printing",
}


def check_image(path: Path | str, max_pixels: int = MAX_PIXELS, decode: bool = False) -> tuple[int, int]:
    """Check what the header of an image file tells, which takes a fraction of a millisecond.

    Args:
        path: a JPEG or PNG file.
        max_pixels: the largest height times width to accept.
        decode: decode the pixels too, for the damage that the header does not show.

    Returns:
        (height, width).

    Raises:
        DataError: the file is missing, is no JPEG or PNG, is not 8-bit RGB (grayscale, CMYK, palette, transparency,
            16 bits), has a size of zero or above `max_pixels`, its EXIF says that it is to be turned, or, with
            `decode`, it is truncated or damaged.
    """
    path = Path(path)
    with _opened(path, max_pixels) as image:
        if decode:
            _decode(path, image)
        return image.height, image.width


def read_image(path: Path | str, max_pixels: int = MAX_PIXELS) -> tv_tensors.Image:
    """Decode an image file.

    Args:
        path: a JPEG or PNG file.
        max_pixels: the largest height times width to accept, checked before anything is decoded.

    Returns:
        (3, H, W), float32, RGB, 0..1.

    Raises:
        DataError: as `check_image` with `decode`.
    """
    path = Path(path)
    with _opened(path, max_pixels) as image:
        _decode(path, image)
        pixels = np.array(image)  # (H, W, 3), uint8
    return tv_tensors.Image(torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float().div_(255))


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    """Open an image and check its header; whatever Pillow raises until the block ends becomes a DataError."""
    try:
        # Pillow warns of large images and of odd EXIF; both are checked here, as far as it matters.
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=("JPEG", "PNG")) as image:
            _check_header(path, image, max_pixels)
            yield image
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: the image is missing; add it, or remove what refers to it") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: this is not a readable JPEG or PNG image; save it as one of the two") from None
    except Image.DecompressionBombError:
        raise DataError(f"{path}: the image has more pixels than Pillow agrees to decode; make it smaller") from None
    except Exception as error:  # the decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error, ...
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: the image cannot be read ({reason}); replace the file with a whole one") from error


def _check_header(path: Path, image: ImageFile.ImageFile, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise DataError(
            f"{path}: {width} x {height} is {width * height:,} pixels, over the limit of {max_pixels:,}; "
            "make the image smaller, or pass a larger max_pixels"
        )
    # Pillow opens a 16-bit colour PNG as "RGB" and drops half of each number; only the raw mode tells.
    if image.mode.startswith("I") or "16" in str(image.tile[0][3]):
        raise DataError(f"{path}: the image has 16 bits a channel; save it as 8-bit RGB")
    if image.mode != "RGB":
        kind = _MODES.get(image.mode, f"in Pillow's mode {image.mode}")
        raise DataError(f"{path}: the image is {kind}; save it as 8-bit RGB")
    if "transparency" in image.info:
        raise DataError(f"{path}: the image names a transparent colour; save it as 8-bit RGB without transparency")
    if image.format != "PNG" or "exif" in image.info:  # else Pillow would decode a PNG to look behind its pixels
        _check_upright(path, image)


def _decode(path: Path, image: ImageFile.ImageFile) -> None:
    image.load()
    _check_upright(path, image)


def _check_upright(path: Path, image: Image.Image) -> None:
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    if orientation not in (0, 1):  # 0 is what some cameras write for "not known"; every viewer shows it as it is
        raise DataError(
            f"{path}: EXIF orientation {orientation} says that the image is to be turned, so nobody can tell where its "
            "boxes belong; turn the pixels (PIL.ImageOps.exif_transpose), save it, and look at its boxes"
        )
