"""Figures that take longer than a lesson has: made by `tests/benchmarks/voc.py`, shown in lesson 12.

`notebooks/voc.json` holds one object:

    command     the command line that measures it again
    date        of the measurement, as in 2026-11-27
    rows        what the command wrote, a row a training: `job`, `seed`, `machine`, `AP50`, ...

Lesson 12.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from frcnn_lessons.files import CHECKOUT

VOC = CHECKOUT / "notebooks" / "voc.json"
COMMAND = "python tests/benchmarks/voc.py FOLDER ours torchvision plain augment deeper weights stride8 long best"

# Title, and the jobs of the command that belong under it.
GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Ours beside torchvision's, alike in all that both have; short side 288", ("ours", "torchvision")),
    (
        "What each changes, judged on a fifth of trainval with short side 288; the two last, on test, with 400",
        ("plain", "augment", "deeper", "weights", "stride8", "long", "best"),
    ),
    (
        "Detectors on the same photographs; short side 288, at most 500 proposals",
        ("rcnn", "sppnet", "fast", "faster"),
    ),
)
NEEDED = ("job", "seed", "machine", "by class", "training images", "training seconds", "images", "seconds an image")
SCORES = {"AP50": "AP50", "AP50 11 points": "at 11 points", "COCO AP": "AP .50:.95"}


def read(path: Path = VOC) -> dict[str, Any]:
    """What was stored; no rows before the first measurement.

    Raises:
        ValueError: the file is not of the form above; it is named.
    """
    if not path.exists():
        return {"command": COMMAND, "date": "", "rows": []}
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for row in content["rows"]:
            for name in (*NEEDED, *SCORES):
                row[name]
        return {name: content[name] for name in ("command", "date", "rows")}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged or of another form ({error}); make it anew: {COMMAND}") from error


def tables(path: Path = VOC) -> str:
    """All rows in Markdown, a table a group, below the command and the date."""
    content = read(path)
    if not content["rows"]:
        return f"*No figures are stored here yet; `{content['command']}` measures them.*"
    lines = [f"Measured on {content['date']} by `{content['command']}`"]
    for title, jobs in GROUPS:
        rows = [row for job in jobs for row in content["rows"] if row["job"] == job]
        if rows:
            lines += ["", f"**{title}**", "", *_table(rows)]
    for row in content["rows"]:
        if "recall" in row:
            lines += ["", "**Objects that the best proposals cover, IoU 0.5 / IoU 0.7**", "", *_recall(row["recall"])]
    return "\n".join(lines)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    classes = list(rows[0]["by class"])
    head = ["", "seed", *SCORES.values(), *classes, "learned from", "passes", "scored on", "training", "an image", "on"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in _with_averaged(rows):
        values = [row["job"], row["seed"], *(f"{row[score]:.3f}" for score in SCORES)]
        values += [f"{row['by class'][name]:.3f}" for name in classes]
        values += [row["training images"], row.get("epochs", "–"), row["images"], f"{row['training seconds']:.0f} s"]
        values += [f"{1000 * row['seconds an image']:.0f} ms", row["machine"]]
        lines.append("| " + " | ".join(map(str, values)) + " |")
    return lines


def _with_averaged(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows, and after each that was scored with averaged weights, too, one for these."""
    for row in rows:
        yield row
        if "averaged" in row:
            yield row | row["averaged"] | {"job": f"{row['job']}, averaged"}


def _recall(recall: dict[str, Any]) -> list[str]:
    counts = recall["counts"]
    lines = ["| | " + " | ".join(f"{count} proposals" for count in counts) + " |", "|---|" + "---|" * len(counts)]
    for name, shares in recall.items():
        if name != "counts":
            pairs = zip(shares["at 0.5"], shares["at 0.7"], strict=True)
            lines.append(f"| {name} | " + " | ".join(f"{low:.2f} / {high:.2f}" for low, high in pairs) + " |")
    return lines


def curves(path: Path = VOC) -> Figure | None:
    """The loss of each training whose row holds it, over the share of its steps; None where none is stored."""
    trainings = [row for row in read(path)["rows"] if "loss" in row]
    if not trainings:
        return None
    figure, ax = plt.subplots(figsize=(8.6, 3.6))
    for number, row in enumerate(trainings):
        share = [(part + 1) / len(row["loss"]) for part in range(len(row["loss"]))]
        ax.plot(share, row["loss"], ("-", "--", "-.", ":")[number % 4], lw=2, label=f"{row['job']}, seed {row['seed']}")
    ax.set(title="Learning on real photographs", xlabel="share of the training", ylabel="loss", ylim=(0, None))
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure
