"""Read a photograph as the course wants it, or say why not.

What comes out is float32, (3, H, W), RGB, 0..1. What goes in is a JPEG or PNG file of 8 bits a channel. Gray and
palette images become RGB, CMYK is converted, what is transparent is laid over white. Colour profiles are not applied.

Two kinds are refused, because each silent conversion would hide a mistake: 16 bits a channel, of which half would be
lost, and an image that its EXIF says to turn, because nobody can tell whether its boxes were drawn before or after the
turn. Whoever knows it says so with `exif`:

- "refuse": such an image is an error;
- "apply": the image is turned, so its boxes must belong to the picture as a person sees it in a viewer;
- "ignore": the image is left as it is stored, so its boxes must belong to the pixels in the file.

Shapes: an image of H x W pixels. Lesson 02.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageChops, ImageFile, UnidentifiedImageError
from torchvision import tv_tensors

from frcnn_lessons.datasets.sample import DataError
from frcnn_lessons.files import user_path

MAX_PIXELS = 50_000_000
"""A decoded image of this many pixels takes 600 MB as float32. A file of a few kB can claim any size."""

EXIF_CHOICES = ("refuse", "apply", "ignore")

# What brings the stored pixels upright, by EXIF orientation (Exif 2.32, section 4.6.4, tag Orientation).
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def check_image(
    path: Path | str, max_pixels: int = MAX_PIXELS, decode: bool = False, exif: str = "refuse"
) -> tuple[int, int]:
    """Check what the header of an image file tells, which takes a fraction of a millisecond.

    Args:
        path: a JPEG or PNG file.
        max_pixels: the largest height times width to accept.
        decode: decode the pixels too, for the damage that the header does not show.
        exif: what to do with an image that is to be turned, one of EXIF_CHOICES (see the top of this module). With
            "apply" every PNG is decoded, for its EXIF may stand behind the pixels.

    Returns:
        (height, width), those of the turned image with exif="apply".

    Raises:
        DataError: the file is missing, is no JPEG or PNG, has 16 bits a channel, has a size of zero or above
            `max_pixels`, is to be turned and `exif` is "refuse", or, with `decode`, it is truncated or damaged.
        ValueError: `exif` has a value that it cannot have.
    """
    path = user_path(path)
    with _opened(path, max_pixels, exif) as image:
        if decode or (exif == "apply" and image.format == "PNG"):
            image.load()
            _check_upright(path, image, exif)
        turned_aside = exif == "apply" and _orientation(image) >= 5
        return (image.width, image.height) if turned_aside else (image.height, image.width)


def read_image(path: Path | str, max_pixels: int = MAX_PIXELS, exif: str = "refuse") -> tv_tensors.Image:
    """Decode an image file; arguments and errors as those of `read_pixels`.

    Returns:
        (3, H, W), float32, RGB, 0..1.
    """
    pixels = torch.from_numpy(read_pixels(path, max_pixels, exif))  # (H, W, 3)
    return tv_tensors.Image(pixels.permute(2, 0, 1).contiguous().float().div_(255))


def read_pixels(
    source: Path | str | bytes, max_pixels: int = MAX_PIXELS, exif: str = "refuse"
) -> UInt8[np.ndarray, "H W 3"]:
    """Decode an image to numbers of 8 bits, RGB.

    Args:
        source: a JPEG or PNG file, or the content of one.
        max_pixels: the largest height times width to accept, checked before anything is decoded.
        exif: what to do with an image that is to be turned, as for `check_image`.

    Raises:
        DataError, ValueError: as `check_image` with `decode`. A message names the file, or "the image" for a content.
    """
    data = io.BytesIO(source) if isinstance(source, bytes) else None
    name = Path("the image") if isinstance(source, bytes) else user_path(source)
    with _opened(name, max_pixels, exif, data) as image:
        image.load()
        _check_upright(name, image, exif)
        upright = _rgb(image)
        if exif == "apply" and (turn := _TURNS.get(_orientation(image))) is not None:
            upright = upright.transpose(turn)
        return np.array(upright)


@contextmanager
def _opened(path: Path, max_pixels: int, exif: str, data: io.BytesIO | None = None) -> Iterator[ImageFile.ImageFile]:
    """Open an image and check its header; whatever Pillow raises until the block ends becomes a DataError.

    `data` is the file's content if it lies in memory; `path` is only its name then.
    """
    if exif not in EXIF_CHOICES:
        raise ValueError(f"exif must be 'refuse', 'apply' or 'ignore', not {exif!r}")
    try:
        # Pillow warns of large images and of odd EXIF; both are checked here, as far as it matters.
        with warnings.catch_warnings(action="ignore"), Image.open(data or path, formats=("JPEG", "PNG")) as image:
            _check_header(path, image, max_pixels, exif)
            yield image
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(
            f"{path}: the image is missing; add it, or remove what refers to it",
            "image missing",
        ) from None
    except UnidentifiedImageError:
        raise DataError(
            f"{path}: this is not a readable JPEG or PNG image; save it as one of the two", "image cannot be read"
        ) from None
    except Image.DecompressionBombError:
        raise DataError(
            f"{path}: the image has more pixels than Pillow agrees to decode; make it smaller", "image too large"
        ) from None
    except Exception as error:  # the decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error, ...
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{path}: the image cannot be read ({reason}); replace the file with a whole one", "image cannot be read"
        ) from error


def _check_header(path: Path, image: ImageFile.ImageFile, max_pixels: int, exif: str) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise DataError(
            f"{path}: {width} x {height} is {width * height:,} pixels, over the limit of {max_pixels:,}; "
            "make the image smaller",
            "image too large",
        )
    # Pillow opens a 16-bit colour PNG as "RGB" and drops half of each number; only the raw mode tells.
    if image.mode.startswith("I") or "16" in str(image.tile[0][3]):
        raise DataError(f"{path}: the image has 16 bits a channel; save it as 8-bit RGB", "16 bits a channel")
    if image.format != "PNG" or "exif" in image.info:  # else Pillow would decode a PNG to look behind its pixels
        _check_upright(path, image, exif)


def _check_upright(path: Path, image: Image.Image, exif: str) -> None:
    if exif == "refuse" and (orientation := _orientation(image)) != 1:
        raise DataError(
            f"{path}: EXIF orientation {orientation} says that the image is to be turned, so nobody can tell where its "
            "boxes belong; turn the pixels (PIL.ImageOps.exif_transpose), save it, and look at its boxes, or pass "
            "exif='apply' (--exif apply) if they were drawn on the turned picture, exif='ignore' if on the pixels as "
            "they are stored",
            "EXIF says to turn it",
        )


def _orientation(image: Image.Image) -> int:
    """How the image is stored, 1..8. Whatever says nothing that a viewer understands counts as 1, upright."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged EXIF raises SyntaxError, struct.error, ...; it says nothing about the pixels
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def _rgb(image: Image.Image) -> Image.Image:
    """The decoded image in RGB."""
    if image.mode == "CMYK" and "adobe" not in image.info:
        # Adobe's programs store 255 - ink and mark the file. Pillow takes each file for one of theirs.
        image = ImageChops.invert(image)
    if "A" in image.mode or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")
