"""A user's own data in small: photographs of 64 to 96 pixels with red and blue rectangles, in VOC's folders."""

from pathlib import Path

import numpy as np
from PIL import Image

from frcnn_lessons.datasets import AnnotatedObject
from frcnn_lessons.datasets.voc import write_annotation

COLOURS = {"red": (200, 30, 40), "blue": (30, 60, 200)}


def photograph(number: int) -> tuple[np.ndarray, list[AnnotatedObject]]:
    """Grey noise with a red and a blue rectangle; wide or upright, the same for the same number."""
    draw = np.random.default_rng(number)
    height, width = [(64, 96), (96, 64), (72, 80)][number % 3]
    pixels = draw.integers(110, 150, (height, width, 3), dtype=np.uint8)
    objects = []
    for name, left in (("red", 2), ("blue", width // 2 + 2)):
        w, h = draw.integers(16, width // 2 - 4), draw.integers(16, height - 8)
        x, y = left, draw.integers(2, height - h - 2)
        pixels[y : y + h, x : x + w] = COLOURS[name]
        objects.append(AnnotatedObject(name, (float(x), float(y), float(x + w), float(y + h))))
    return pixels, objects


def write_voc(folder: Path, train: int = 6, val: int = 2) -> Path:
    """Write so many photographs of each part; give the folder."""
    for part in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / part).mkdir(parents=True)
    names = [f"{i:03d}" for i in range(train + val)]
    for i, name in enumerate(names):
        pixels, objects = photograph(i)
        Image.fromarray(pixels).save(folder / "JPEGImages" / f"{name}.jpg", quality=95)
        write_annotation(folder / "Annotations" / f"{name}.xml", f"{name}.jpg", pixels.shape[:2], objects)
    for part, of_part in (("train", names[:train]), ("val", names[train:])):
        (folder / "ImageSets" / "Main" / f"{part}.txt").write_text("\n".join(of_part) + "\n")
    return folder
