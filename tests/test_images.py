"""What the image reader promises: an upright 8-bit RGB photograph or one sentence that says why not."""

import io
import re
import struct
import warnings
import zlib
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from PIL import Image
from torchvision import tv_tensors

from frcnn_lessons.datasets.images import check_image, read_image
from frcnn_lessons.datasets.sample import DataError


def noise(height, width, channels=3):
    """Pixels that no codec makes small."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return pixels[:, :, 0] if channels == 1 else pixels


def encoded(image, kind="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def png(width, height, bit_depth, colour_type, rows):
    """A PNG file byte by byte, for the kinds that Pillow reads but does not write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bit_depth, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def exif_behind_pixels(orientation):
    """A PNG whose EXIF follows its pixels, as the standard allows."""
    plain = encoded(Image.fromarray(noise(8, 6)), "PNG")
    tags = exif(orientation).tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(tags)) + b"eXIf" + tags + struct.pack(">I", zlib.crc32(b"eXIf" + tags))
    return plain[:-12] + chunk + plain[-12:]  # the last 12 bytes are IEND


def with_height(jpeg, height):
    """The same JPEG, claiming another height in its frame header (marker C0, length, precision, height, width)."""
    place = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:place] + struct.pack(">H", height) + jpeg[place + 2 :]


RGB = Image.fromarray(noise(8, 6))
GOOD_JPEG, GOOD_PNG = encoded(RGB, quality=90), encoded(RGB, "PNG")
LARGE_JPEG = encoded(Image.fromarray(noise(48, 64)))  # most of its bytes are pixels, not headers
SIXTEEN_BIT_GRAY = Image.fromarray(noise(8, 6, 1).astype(np.uint16) * 257)
BAD = {
    # name: (bytes of the file, what the message must hold, whether the header is enough to see it)
    "empty file": (b"", "JPEG or PNG", True),
    "text": (b"<html>404 Not Found</html>", "JPEG or PNG", True),
    "a GIF": (encoded(RGB, "GIF"), "JPEG or PNG", True),
    "grayscale": (encoded(RGB.convert("L")), "grayscale", True),
    "grayscale with transparency": (encoded(RGB.convert("LA"), "PNG"), "grayscale with transparency", True),
    "black and white": (encoded(RGB.convert("1"), "PNG"), "black and white", True),
    "CMYK": (encoded(RGB.convert("CMYK")), "CMYK", True),
    "RGBA": (encoded(RGB.convert("RGBA"), "PNG"), "RGBA", True),
    "palette": (encoded(RGB.convert("P"), "PNG"), "palette", True),
    "a transparent colour": (encoded(RGB, "PNG", transparency=(0, 0, 0)), "transparent", True),
    "16-bit grayscale": (encoded(SIXTEEN_BIT_GRAY, "PNG"), "16 bits", True),
    "16-bit colour": (png(6, 8, 16, 2, (b"\0" + bytes(36)) * 8), "16 bits", True),
    "no width": (png(0, 8, 8, 2, b"\0" * 8), "JPEG or PNG", True),
    "no height": (with_height(GOOD_JPEG, 0), "JPEG or PNG", True),
    "EXIF in JPEG": (encoded(RGB, exif=exif(6)), "orientation 6", True),
    "EXIF in PNG": (encoded(RGB, "PNG", exif=exif(3)), "orientation 3", True),
    "EXIF behind the pixels of a PNG": (exif_behind_pixels(8), "orientation 8", False),
    "half a JPEG": (LARGE_JPEG[: len(LARGE_JPEG) // 2], "cannot be read", False),
    "a JPEG that lacks its last bytes": (LARGE_JPEG[:-20], "cannot be read", False),
    "half a PNG": (GOOD_PNG[: len(GOOD_PNG) // 2], "cannot be read", False),
    "a damaged PNG": (GOOD_PNG[:60] + b"\xff\0\xff\0" + GOOD_PNG[64:], "cannot be read", False),
    "over the limit": (encoded(Image.new("RGB", (101, 100))), "over the limit of 10,000", True),
    "Pillow would warn": (png(10_000, 10_000, 8, 2, b""), "over the limit", True),
    "Pillow would refuse": (png(60_000, 60_000, 8, 2, b""), "more pixels than", True),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_is_refused_with_one_sentence(name, tmp_path):
    # Half of these load without a word elsewhere and teach a detector something wrong.
    content, words, header_tells = BAD[name]
    path = tmp_path / "a photograph.jpg"  # the ending does not matter, the content does
    path.write_bytes(content)
    with warnings.catch_warnings(action="error"):  # nor may Pillow's warnings reach the user
        with pytest.raises(DataError, match=re.escape(words)) as refusal:
            read_image(path, max_pixels=10_000)
        if header_tells:
            with pytest.raises(DataError, match=re.escape(words)):
                check_image(path, max_pixels=10_000)
        else:
            check_image(path)
            with pytest.raises(DataError, match=re.escape(words)):
                check_image(path, decode=True)
    message = str(refusal.value)
    assert message.startswith(f"{path}: ")
    assert "; " in message, "the message says no remedy"
    assert len(message.splitlines()) == 1


def test_a_missing_image_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.jpg: the image is missing; add it"):
        read_image(tmp_path / "nowhere.jpg")
    with pytest.raises(DataError, match="cannot be read"):
        read_image(tmp_path)  # a folder


@pytest.mark.parametrize("orientation", [None, 0, 1])
def test_an_upright_image_is_read(orientation, tmp_path):
    (tmp_path / "a.png").write_bytes(
        encoded(RGB, "PNG", **({} if orientation is None else {"exif": exif(orientation)}))
    )
    image = read_image(tmp_path / "a.png")
    assert isinstance(image, tv_tensors.Image)
    assert image.dtype == torch.float32
    assert image.shape == (3, 8, 6)
    assert image.is_contiguous()
    # PNG keeps every pixel, so the numbers are exact: channel first, divided by 255.
    assert torch.equal((image * 255).round().byte().permute(1, 2, 0), torch.from_numpy(noise(8, 6)))
    assert image.min() >= 0
    assert image.max() <= 1


def test_a_photograph_agrees_with_another_decoder(shared_folder):
    # OpenCV decodes JPEG on its own; rounding may differ by a few steps, swapped channels or axes by far more.
    import cv2

    path = shared_folder / "data" / "VOCdevkit-2012-100" / "JPEGImages" / "2007_000027.jpg"
    theirs = torch.from_numpy(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)).permute(2, 0, 1) / 255
    assert (read_image(path) - theirs).abs().max() < 6 / 255


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(
    good=st.sampled_from([GOOD_JPEG, GOOD_PNG]),
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 10_000),
)
def test_no_damage_raises_anything_but_a_data_error(good, changes, cut, tmp_path):
    # Pillow's decoders raise a dozen kinds of exception; a reader that lets one out breaks on_error="skip".
    content = bytearray(good)
    for place, value in changes:
        content[place % len(content)] = value
    path = Path(tmp_path) / "a.jpg"
    path.write_bytes(content[: cut % (len(content) + 1)] if cut % 3 == 0 else content)
    try:
        assert read_image(path, max_pixels=100_000).shape[0] == 3
    except DataError as error:
        message = str(error)
        assert message.startswith(f"{path}: ")
        assert len(message.splitlines()) == 1
