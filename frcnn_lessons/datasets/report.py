"""Look at a data set before it is trained on: what it is, how much of what, and all that is wrong with it.

Shapes: N boxes of all images together. Lesson 12.
"""

import base64
import html
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import ImageDraw, ImageOps
from torchvision.transforms.v2.functional import to_pil_image

from frcnn_lessons.datasets.images import read_image
from frcnn_lessons.datasets.own_data import OwnData, open_data
from frcnn_lessons.datasets.sample import Box, DataError, Defect
from frcnn_lessons.files import user_path

PICTURES = 24
"""So many defects and so many odd boxes are shown; a picture takes some 20 kB."""

FRAME = 24
"""Pixels of gray around a picture, in which a box beyond the border shows."""


class Odd(NamedTuple):
    """A box that is worth a look, though nothing is wrong with it."""

    why: str
    path: Path
    box: Box
    name: str


@dataclass
class Report:
    """What `check_data` found.

    Attributes:
        path: what was looked at.
        data: what can be used, if anything can.
        defects: all that cannot.
        exif: how images were read.
    """

    path: Path
    data: OwnData | None
    defects: list[Defect]
    exif: str

    def __str__(self) -> str:
        """The report as text."""
        kinds = Counter(defect.kind for defect in self.defects)
        lines = [*_numbers(self.data)] if self.data else ["no image can be used"]
        lines += ["", f"defects: {len(self.defects)}"]
        for kind, count in kinds.most_common():
            lines += [f"{kind}: {count}"]
            lines += [f"  {defect.message}" for defect in self.defects if defect.kind == kind]
        return f"{self.path}: {self.data.kind if self.data else 'data'}\n" + "\n".join(lines)

    def as_html(self) -> str:
        """The report as a page of its own, with pictures of boxes that are wrong or odd."""
        wrong = [(defect.message, defect.path, defect.box) for defect in self.defects if defect.path and defect.box]
        odd = [(f"{one.why}: {one.name} in {one.path.name}", one.path, one.box) for one in odd_boxes(self.data)]
        parts = [f"<h1>{html.escape(str(self.path))}</h1>", f"<pre>{html.escape(str(self))}</pre>"]
        for title, shown in (("Boxes that are wrong", wrong), ("The oddest of the others", odd)):
            pictures = [_figure(*one, self.exif) for one in shown[:PICTURES]]
            if pictures:
                counted = f"{title} ({len(pictures)} of {len(shown)})" if len(shown) > len(pictures) else title
                parts += [f"<h2>{counted}</h2>", *pictures]
        return _PAGE.format(title=html.escape(self.path.name), body="\n".join(parts))


def check_data(path: Path | str, **options: Any) -> Report:
    """Read a data set as `open_data` does, which also describes the options, and go on after every defect."""
    exif = options.get("exif", "refuse")
    try:
        data = open_data(path, skip_bad=True, **options)
    except DataError as error:
        return Report(user_path(path), None, list(error.defects), exif)
    return Report(user_path(path), data, data.defects, exif)


def odd_boxes(data: OwnData | None, each: int = 4) -> list[Odd]:
    """The smallest boxes, the largest, the narrowest and the flattest: where a slip of the hand shows."""
    if data is None:
        return []
    rows: list[tuple[Path, Box, str, tuple[int, int]]] = []
    for dataset in data.splits.values():
        for i in range(len(dataset)):
            known, path = dataset.annotation(i), dataset.image_path(i)
            names = [dataset.classes[label - 1] for label in known["labels"].tolist()]
            boxes = map(tuple, known["boxes"].tolist())
            rows += [(path, box, name, known["size"]) for box, name in zip(boxes, names, strict=True)]
    rows = list(dict.fromkeys(rows))  # a single image is train and val
    if not rows:
        return []
    x1, y1, x2, y2 = np.array([box for _, box, _, _ in rows]).T
    width, height = x2 - x1, y2 - y1
    share = width * height / np.prod([size for *_, size in rows], axis=1)
    odd: dict[int, str] = {}
    measures = (("small", share), ("narrow", width / height), ("flat", height / width), ("large", -share))
    for why, measure in measures:
        for place in np.argsort(measure, kind="stable")[:each].tolist():
            odd.setdefault(place, why)
    return [Odd(why, rows[place][0], rows[place][1], rows[place][2]) for place, why in odd.items()]


def _numbers(data: OwnData) -> list[str]:
    """Counts and sizes, as lines of text."""
    lines = [f"note: {note}" for note in data.notes]
    counts: dict[str, Counter[str]] = {}
    once: dict[Path, dict[str, Any]] = {}  # an image may be in two splits; a single one is train and val
    lines.append(f"{'':10}{'images':>10}{'without':>10}{'objects':>10}{'difficult':>10}")
    for split, dataset in data.splits.items():
        known = [dataset.annotation(i) for i in range(len(dataset))]
        counts[split] = Counter(dataset.classes[label - 1] for one in known for label in one["labels"].tolist())
        empty = sum(not len(one["labels"]) for one in known)
        difficult = sum(int(one["difficult"].sum()) for one in known)
        lines.append(f"{split:10}{len(known):10,}{empty:10,}{sum(counts[split].values()):10,}{difficult:10,}")
        once |= {dataset.image_path(i): one for i, one in enumerate(known)}
    boxes = np.concatenate([one["boxes"].numpy() for one in once.values()])  # (N, 4)
    lines += ["", f"{'class':24}" + "".join(f"{split:>10}" for split in counts)]
    for name in data.classes:
        lines.append(f"{name:24}" + "".join(f"{of_split[name]:10,}" for of_split in counts.values()))
    lines.append("")
    height, width = np.array([one["size"] for one in once.values()]).T
    lines.append(f"images: {_spread(width)} wide, {_spread(height)} high")
    if len(boxes):
        width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
        area = width * height
        small, large = int((area < 32**2).sum()), int((area > 96**2).sum())
        lines.append(f"boxes: {_spread(width)} wide, {_spread(height)} high")
        lines.append(f"width over height: {_spread(width / height)}")
        lines.append(
            f"by COCO's measure: {small:,} small (below 32 x 32), {len(area) - small - large:,} medium, "
            f"{large:,} large (above 96 x 96)"
        )
    return lines


def _spread(values: np.ndarray) -> str:
    """Smallest, middle and largest value."""
    low, middle, high = np.quantile(values, (0, 0.5, 1))
    return f"{low:.4g} to {high:.4g} (half below {middle:.4g})"


def _figure(text: str, path: Path, box: Sequence[float], exif: str) -> str:
    """A picture of a box with its sentence; of an image that cannot be decoded the sentence alone."""
    caption = f"<figcaption>{html.escape(text)}</figcaption>"
    try:
        image = to_pil_image(read_image(path, exif=exif))
    except DataError:
        return f"<figure>{caption}</figure>"
    width = image.width
    image.thumbnail((320, 320))
    scale = image.width / width
    framed = ImageOps.expand(image, FRAME, "#bbb")
    limits = (framed.width - 1, framed.height - 1) * 2
    x1, y1, x2, y2 = (min(max(scale * side + FRAME, 0), limit) for side, limit in zip(box, limits, strict=True))
    corners = (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
    draw = ImageDraw.Draw(framed)
    draw.rectangle(corners, outline="black", width=4)
    draw.rectangle(corners, outline="#ffd400", width=2)
    buffer = io.BytesIO()
    framed.save(buffer, "JPEG", quality=80)
    data = base64.b64encode(buffer.getvalue()).decode()
    alternative = html.escape(f"{path.name} with the box in yellow")
    return f'<figure><img src="data:image/jpeg;base64,{data}" alt="{alternative}">{caption}</figure>'


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font-family: sans-serif; margin: 2em; }}
pre {{ white-space: pre-wrap; }}
figure {{ display: inline-block; vertical-align: top; width: 370px; margin: 0.5em; overflow-wrap: anywhere; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""
