"""The one table of the course: what each detector scores and costs, written by its lesson, shown in lesson 00.

The reader's own rows lie under `data/`, for times differ from machine to machine. Beside them stand those of reference:
all detectors taught and scored alike, see `reference`.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from frcnn_lessons.files import CHECKOUT, data_folder, explained, user_path, written_whole

REFERENCE = CHECKOUT / "notebooks" / "table.json"  # what `frcnn-lessons table` wrote

# (detector, the lesson that measures it), in the order of the papers.
DETECTORS = {
    "R-CNN": "05",
    "SPPNet": "06",
    "Fast R-CNN": "07",
    "Faster R-CNN": "10",
    "Faster R-CNN, four steps": "11",
}


@dataclass
class Result:
    """What a lesson measured on the 100 test images of the street scenes.

    Attributes:
        detector: one of `DETECTORS`.
        ap50: average precision at IoU 0.5, mean over the classes, 0..1.
        training_seconds: time to train, without the time to find proposals beforehand.
        image_seconds: time per image from pixels to boxes, proposals included.
        proposal_seconds: the part of it that goes into finding proposals.
        images: how many it learned from.
        passes: how often it went through them, "4 x 5" for four trainings of five; "–" where it does not go by passes.
    """

    detector: str
    ap50: float
    training_seconds: float
    image_seconds: float
    proposal_seconds: float
    images: int
    passes: str

    def __post_init__(self) -> None:
        if self.detector not in DETECTORS:
            raise ValueError(f"{self.detector!r} is not in the table; it has {', '.join(DETECTORS)}")
        if not 0 <= self.ap50 <= 1:
            raise ValueError(f"ap50 of {self.detector} must lie in 0..1; got {self.ap50}")
        for name in ("training_seconds", "image_seconds", "proposal_seconds"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name} of {self.detector} must be 0 or more; got {getattr(self, name)}")
        if self.proposal_seconds > self.image_seconds:
            raise ValueError(
                f"proposal_seconds of {self.detector} is part of image_seconds; got {self.proposal_seconds} of "
                f"{self.image_seconds}"
            )


def record(result: Result, path: Path | None = None) -> None:
    """Put a result into the reader's table, in the place of an older one of the same detector."""
    write(read(path) | {result.detector: result}, _place(path))


def write(results: dict[str, Result], path: Path) -> None:
    """Store a table, whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps([asdict(row) for row in results.values()], indent=1) + "\n")


def read(path: Path | None = None) -> dict[str, Result]:
    """The results so far, by detector; empty before the first lesson that trains one.

    Raises:
        ValueError: if the file was damaged; it names the file.
    """
    place = _place(path)
    with explained(place):
        if not place.exists():
            return {}
    try:
        rows = [Result(**row) for row in json.loads(place.read_text())]
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{place} is damaged or of an older version ({error}); delete it and run the lessons 05 to 11 again"
        ) from error
    return {row.detector: row for row in rows}


def table(path: Path | None = None, reference: Path = REFERENCE) -> str:
    """The table in Markdown: of each detector the row of reference and the reader's own, or which lesson makes it."""
    own, alike = read(path), read(reference)
    lines = [
        "| detector | | images | passes | AP50 | training | per image | without proposals |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for detector, lesson in DETECTORS.items():
        name = detector
        if detector in alike:
            lines.append(_line(name, "reference", alike[detector]))
            name = ""
        if detector in own:
            lines.append(_line(name, "yours", own[detector]))
        else:
            lines.append(f"| {name} | *lesson {lesson}* | | | | | | |")
    return "\n".join(lines)


def _line(name: str, whose: str, row: Result) -> str:
    per_image = f"{1000 * row.image_seconds:.0f} ms | {1000 * (row.image_seconds - row.proposal_seconds):.0f} ms"
    learned = f"{row.images} | {row.passes} | {row.ap50:.2f} | {row.training_seconds:.0f} s"
    return f"| {name} | {whose} | {learned} | {per_image} |"


def _place(path: Path | None) -> Path:
    return user_path(path) if path else data_folder() / "results.json"
