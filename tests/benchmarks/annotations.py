"""What annotation files of a million boxes cost. Run: python tests/benchmarks/annotations.py [rows].

An Open Images table beside the plainest way to hold its rows, a dict each from `csv.DictReader`, and a COCO file beside
pycocotools. Each is read in a process of its own, whose memory at its highest is compared with what it had before. The
images are few: their headers cost the same in any format, and are no part of what is promised here.
"""

import csv
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

IMAGES = 1000
MOST_BYTES = 300.0  # a row of a table


def make(folder: Path, rows: int) -> None:
    """A table and a COCO file with the same boxes, and their images."""
    from frcnn_lessons.datasets import OPEN_IMAGES_COLUMNS

    draw = random.Random(0)
    (folder / "images").mkdir()
    for k in range(IMAGES):
        Image.new("RGB", (64, 48)).save(folder / "images" / f"{k:016x}.jpg")
    annotations = []
    with (folder / "df.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(OPEN_IMAGES_COLUMNS)
        for row in range(rows):
            x, y = draw.uniform(0, 0.5), draw.uniform(0, 0.5)
            width, height, image, label = draw.uniform(0.05, 0.5), draw.uniform(0.05, 0.5), row % IMAGES, row % 600
            clicks = [f"{draw.random():.6f}" for _ in range(8)]
            sides = [f"{side:.6f}" for side in (x, x + width, y, y + height)]
            writer.writerow([f"{image:016x}", "xclick", f"/m/{label:05x}", 1, *sides, 0, 1, 0, 0, 0, *clicks])
            box = [round(side, 2) for side in (64 * x, 48 * y, 64 * width - 0.02, 48 * height - 0.02)]
            area = round(box[2] * box[3], 4)
            annotations.append(
                {"id": row, "image_id": image, "category_id": label, "bbox": box, "area": area, "iscrowd": 0}
            )
    images = [{"id": k, "file_name": f"{k:016x}.jpg", "width": 64, "height": 48} for k in range(IMAGES)]
    categories = [{"id": k, "name": f"class {k}"} for k in range(600)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "boxes.json").write_text(json.dumps(content))


def read(what: str, folder: Path) -> None:
    """Read one file and print seconds and bytes: what the process of this call is for."""
    from frcnn_lessons.datasets import COCODataset, OpenImagesDataset

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    if what == "table":
        kept = OpenImagesDataset(folder / "df.csv", folder / "images")
    elif what == "dicts":
        with (folder / "df.csv").open(newline="") as file:
            kept = list(csv.DictReader(file))
    elif what == "coco":
        kept = COCODataset(folder / "boxes.json", folder / "images")
    else:
        from pycocotools.coco import COCO

        kept = COCO(folder / "boxes.json")
    seconds = time.perf_counter() - start
    # Kilobytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    used = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit
    print(json.dumps([seconds, used, bool(kept)]), flush=True)


def measured(what: str, folder: Path) -> tuple[float, float]:
    """Seconds and bytes of one reader, in a new process."""
    command = [sys.executable, __file__, what, str(folder)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    seconds, used, _ = json.loads(output.splitlines()[-1])
    return seconds, used


def main(rows: int = 1_000_000) -> int:
    """Measure, print, and return 1 if a limit is passed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # A process inherits the highest memory of the one that started it, so this one must stay small.
        subprocess.run([sys.executable, __file__, f"make {rows}", str(folder)], check=True)
        figures = {what: measured(what, folder) for what in ("table", "dicts", "coco", "pycocotools")}
    print(f"{rows:,} rows{'':16}{'seconds':>10}{'bytes a row':>14}")
    for what, (seconds, used) in figures.items():
        print(f"{what:24}{seconds:10.2f}{used / rows:14.0f}")
    held = [
        ("time of a table over csv.DictReader", figures["table"][0] / figures["dicts"][0], 5.0),
        ("bytes a row of a table", figures["table"][1] / rows, MOST_BYTES),
        ("time of a COCO file over pycocotools", figures["coco"][0] / figures["pycocotools"][0], 2.0),
        ("memory of a COCO file over pycocotools", figures["coco"][1] / figures["pycocotools"][1], 1.0),
    ]
    for what, value, limit in held:
        print(f"{what:44}{value:8.2f} of {limit:g}{'' if value <= limit else '  TOO MUCH'}")
    return int(any(value > limit for _, value, limit in held))


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1].startswith("make "):
        make(Path(sys.argv[2]), int(sys.argv[1].removeprefix("make ")))
    elif len(sys.argv) == 3:
        read(sys.argv[1], Path(sys.argv[2]))
    else:
        sys.exit(main(*map(int, sys.argv[1:])))
