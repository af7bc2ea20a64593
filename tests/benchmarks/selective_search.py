"""Selective search against the package `selectivesearch` 0.4 and OpenCV's: time and recall (IoU >= 0.5).

Run: python tests/benchmarks/selective_search.py [--images 200] [--quality] [--opencv]

Time is measured on scikit-image's 512 x 512 astronaut. Recall is measured on the first `--images` test images (drawn
with seed 0) of the street scenes and, where ../shared is, of the VOC 2007 subset; difficult objects do not count.

The exit code is 1 if our SINGLE preset takes more than a tenth of the package's time, or finds fewer objects with as
many boxes an image as the package has. The package's boxes have no order. Shown for it is the one that serves it
best: what it made last, the largest regions, first. Repeated boxes are dropped.
"""

import argparse
import hashlib
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import skimage.data
import torch
from selectivesearch import selective_search as package
from timing import ratio, report
from torch import Tensor
from tqdm.auto import tqdm

from frcnn_lessons.datasets import streets
from frcnn_lessons.datasets.sample import collate
from frcnn_lessons.datasets.voc import VOCDataset
from frcnn_lessons.files import written_whole
from frcnn_lessons.metrics import proposal_recall
from frcnn_lessons.selective_search import FAST, QUALITY, SINGLE, SearchSettings, proposals

ROOT = Path(__file__).resolve().parents[2]
VOC = ROOT.parent / "shared" / "data" / "VOCdevkit-2007-subset"
CACHE = ROOT / "build" / "selective-search"
COUNTS = (50, 100, 200, 500, 1000, 2000)
EVERY = 1_000_000


def as_bytes(image: Tensor) -> np.ndarray:
    """What the other two take: (H, W, 3) uint8."""
    return (image * 255).round().byte().permute(1, 2, 0).numpy()


def by_package(pixels: np.ndarray) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of scikit-image's, about how the package calls it
        _, regions = package(pixels, scale=500, sigma=0.9, min_size=10)
    xywh = np.array([region["rect"] for region in reversed(regions)], dtype=np.float32)
    _, first = np.unique(xywh, axis=0, return_index=True)
    xywh = xywh[np.sort(first)]
    return torch.from_numpy(np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1))


def by_opencv(images: Sequence[Tensor], mode: str) -> list[Tensor]:
    """Computed once for a set of images and kept: it takes 2 to 15 seconds an image, and its order varies."""
    pixels = {str(n): as_bytes(image) for n, image in enumerate(images)}
    digest = hashlib.sha256(repr([array.shape for array in pixels.values()]).encode())
    for array in pixels.values():
        digest.update(array.tobytes())
    kept = CACHE / f"opencv-{mode}-{digest.hexdigest()[:16]}.npz"
    if not kept.exists():
        script = Path(__file__).with_name("opencv_selective_search.py")
        environment = ["uv", "run", "--no-project", "--with", "opencv-contrib-python-headless", "--with", "numpy"]
        with written_whole(CACHE / "images.npz") as given, written_whole(kept) as boxes:
            np.savez(given, **pixels)
            print(f"OpenCV, {mode}: {len(images)} images, some seconds each ...", file=sys.stderr)
            subprocess.run([*environment, "python", script, given, boxes, mode], check=True)
        (CACHE / "images.npz").unlink()
    with np.load(kept, allow_pickle=False) as boxes_of:
        return [torch.from_numpy(boxes_of[name]) for name in pixels]


def drawn(dataset: VOCDataset, count: int) -> tuple[list[Tensor], list[dict]]:
    chosen = np.random.default_rng(0).permutation(len(dataset))[:count]
    return collate([dataset[int(n)] for n in tqdm(sorted(chosen), desc="reading", leave=False)])


def compare(
    name: str, images: list[Tensor], targets: list[dict], presets: dict[str, SearchSettings], opencv: bool
) -> bool:
    """Print the recall of everyone on one data set; say whether SINGLE is at least as good as the package."""

    def each(function: Callable[[Tensor], Tensor], label: str) -> list[Tensor]:
        return [function(image) for image in tqdm(images, desc=label, leave=False)]

    rows = {
        f"ours, {label}": each(lambda image, s=settings: proposals(image, s), label)
        for label, settings in presets.items()
    }
    theirs = rows["selectivesearch 0.4"] = each(lambda image: by_package(as_bytes(image)), "package")
    for label in presets if opencv else ():
        if label != "single":
            rows[f"OpenCV, {label}"] = by_opencv(images, label)

    objects = sum(int((~target["difficult"]).sum()) for target in targets)
    print(f"\n{name}: {len(images)} images, {objects} objects; recall with the first n boxes of each image")
    print(f"{'':24} {'boxes':>6}" + "".join(f"{n:7}" for n in COUNTS) + f"{'all':>7}{'as many as the package':>25}")
    as_many = {}
    for label, boxes in rows.items():
        recalls = proposal_recall(boxes, targets, (*COUNTS, EVERY))
        cut = [mine[: len(package_boxes)] for mine, package_boxes in zip(boxes, theirs, strict=True)]
        as_many[label] = proposal_recall(cut, targets, (EVERY,))[0]
        mean = np.mean([len(one) for one in boxes])
        print(f"{label:24} {mean:6.0f}" + "".join(f"{value:7.3f}" for value in recalls) + f"{as_many[label]:25.3f}")
    return as_many["ours, single"] >= as_many["selectivesearch 0.4"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200, help="at most, of each data set")
    parser.add_argument("--quality", action="store_true", help="the QUALITY preset as well: seconds an image")
    parser.add_argument("--opencv", action="store_true", help="OpenCV as well: needs uv, and minutes the first time")
    arguments = parser.parse_args()

    pixels = skimage.data.astronaut()
    image = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255

    def against_package(settings: SearchSettings) -> float:
        return ratio(lambda: proposals(image, settings), lambda: by_package(pixels), repeats=6)

    too_slow = report(
        [
            ("selective search, SINGLE, 512 x 512", "selectivesearch 0.4", partial(against_package, SINGLE), 0.1),
            ("selective search, FAST, 512 x 512", "selectivesearch 0.4", partial(against_package, FAST), 0.5),
        ]
    )

    presets = {"single": SINGLE, "fast": FAST} | ({"quality": QUALITY} if arguments.quality else {})
    sets = {"street scenes": VOCDataset(streets.prepare(), "test", streets.CLASSES)}
    if VOC.is_dir():
        sets["VOC 2007 subset"] = VOCDataset(VOC, "test")
    good = [compare(name, *drawn(data, arguments.images), presets, arguments.opencv) for name, data in sets.items()]
    if not all(good):
        print("\nLOWER RECALL than the package with as many boxes")
    return int(bool(too_slow) or not all(good))


if __name__ == "__main__":
    sys.exit(main())
