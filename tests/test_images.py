"""What the image reader promises: an upright RGB photograph or one sentence that says why not."""

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
from PIL import Image, ImageOps
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


def without_adobe_mark(jpeg):
    """The same JPEG without the segment APP14 (marker EE) that says that Adobe's conventions hold."""
    place = jpeg.index(b"\xff\xee\x00\x0eAdobe")
    return jpeg[:place] + jpeg[place + 16 :]


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


def bytes_of(content, tmp_path, **options):
    """The pixels as read, (H, W, 3), uint8; the sizes of `check_image` must agree."""
    path = tmp_path / "image"
    path.write_bytes(content)
    image = read_image(path, **options)
    assert check_image(path, **options) == check_image(path, decode=True, **options) == tuple(image.shape[1:])
    assert image.dtype == torch.float32
    return (image * 255).round().byte().permute(1, 2, 0).numpy()


def row(mode, *pixels, **options):
    """A PNG of one row."""
    image = Image.new(mode, (len(pixels), 1))
    image.putdata(pixels)
    return encoded(image, "PNG", **options)


RED, BLUE, BLACK, WHITE, PINK = (255, 0, 0), (0, 0, 255), (0, 0, 0), (255, 255, 255), (255, 127, 127)
COLOURS = Image.new("P", (3, 1))
COLOURS.putpalette([*BLUE, *RED, *BLACK])
COLOURS.putdata([1, 0, 2])
OTHER_MODES = {
    # name: (bytes of the file, its pixels in RGB)
    "grayscale": (row("L", 0, 77, 255), [BLACK, (77, 77, 77), WHITE]),
    "2 bits of gray": (png(4, 1, 2, 0, b"\0\x1b"), [BLACK, (85, 85, 85), (170, 170, 170), WHITE]),
    "black and white": (row("1", 1, 0), [WHITE, BLACK]),
    "palette": (encoded(COLOURS, "PNG"), [RED, BLUE, BLACK]),
    # Over white: colour x alpha + 255 x (1 - alpha).
    "alpha": (row("RGBA", (*RED, 255), (*RED, 128), (*BLUE, 0)), [RED, PINK, WHITE]),
    "gray with alpha": (row("LA", (40, 255), (0, 0), (0, 51)), [(40, 40, 40), WHITE, (204, 204, 204)]),
    "a transparent palette entry": (encoded(COLOURS, "PNG", transparency=2), [RED, BLUE, WHITE]),
    "alpha of a palette": (encoded(COLOURS, "PNG", transparency=bytes([0, 128, 255])), [PINK, WHITE, BLACK]),
    "a transparent colour": (row("RGB", RED, BLUE, transparency=BLUE), [RED, WHITE]),
    "a transparent gray": (row("L", 7, 8, transparency=8), [(7, 7, 7), WHITE]),
}


@pytest.mark.parametrize("name", OTHER_MODES)
def test_an_image_of_another_mode_becomes_rgb(name, tmp_path):
    content, pixels = OTHER_MODES[name]
    assert bytes_of(content, tmp_path)[0].tolist() == [list(pixel) for pixel in pixels]


def test_a_gray_photograph_has_three_equal_channels(tmp_path):
    gray = bytes_of(encoded(RGB.convert("L"), quality=95), tmp_path)
    assert (gray == gray[:, :, :1]).all()
    assert abs(gray[:, :, 0].astype(int) - np.array(RGB.convert("L"))).mean() < 3


@pytest.mark.parametrize(
    ("ink", "colour"),
    [((0, 255, 255, 0), RED), ((255, 255, 0, 0), BLUE), ((0, 0, 0, 255), BLACK), ((0, 0, 0, 0), WHITE),
     ((0, 128, 128, 0), PINK), ((0, 127, 127, 128), (127, 64, 64))],
)  # fmt: skip
def test_ink_becomes_light_whether_adobe_turned_it_round_or_not(ink, colour, tmp_path):
    # Cyan takes away red, magenta green, yellow blue, black all: (1 - C)(1 - K). One plain area survives JPEG.
    adobe = encoded(Image.new("CMYK", (16, 16), ink), quality=100)
    assert abs(bytes_of(adobe, tmp_path).astype(int) - colour).max() <= 2
    # Pillow writes 255 - ink and the mark. So without the mark, and of 255 - ink, the file holds the ink itself.
    turned = Image.new("CMYK", (16, 16), tuple(255 - part for part in ink))
    plain = without_adobe_mark(encoded(turned, quality=100))
    assert abs(bytes_of(plain, tmp_path).astype(int) - colour).max() <= 2


def test_exif_that_says_nothing_counts_as_upright(tmp_path):
    tiff = exif(6).tobytes().removeprefix(b"Exif\0\0")
    # A directory of one entry: orientation, of type 2 (text), "6" and its closing zero.
    text = b"Exif\0\0II*\0" + struct.pack("<IHHHI4sI", 8, 1, 0x0112, 2, 2, b"6\0", 0)
    for odd in (exif(0), exif(9), exif(65535), text, b"Exif\0\0no TIFF at all", b"Exif\0\0" + tiff[:12], Image.Exif()):
        for kind in ("JPEG", "PNG"):
            content = encoded(RGB, kind, exif=odd)
            for choice in ("refuse", "apply", "ignore"):
                assert bytes_of(content, tmp_path, exif=choice).shape == (8, 6, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_is_applied_or_ignored_when_asked(orientation, tmp_path):
    stored = encoded(RGB, "PNG", exif=exif(orientation))
    upright = np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(stored))))
    for content in (stored, exif_behind_pixels(orientation)):
        assert np.array_equal(bytes_of(content, tmp_path, exif="apply"), upright)
        assert np.array_equal(bytes_of(content, tmp_path, exif="ignore"), noise(8, 6))
    jpeg = encoded(RGB, exif=exif(orientation))
    assert bytes_of(jpeg, tmp_path, exif="apply").shape == upright.shape
    assert bytes_of(jpeg, tmp_path, exif="ignore").shape == (8, 6, 3)


def test_the_refusal_of_a_turned_image_names_the_choice(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encoded(RGB, exif=exif(6)))
    with pytest.raises(DataError, match=r"exif='apply' \(--exif apply\) if .* exif='ignore' if "):
        check_image(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="exif must be 'refuse', 'apply' or 'ignore', not 'turn'"):
        read_image(tmp_path / "a.jpg", exif="turn")


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
