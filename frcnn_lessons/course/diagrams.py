"""The diagrams of the course, and the figure that puts the detectors side by side.

Each is drawn whole, from nothing but what stands here; `plots` has the pieces that lessons draw with.
"""

import itertools
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.ticker import NullFormatter

from frcnn_lessons.course.results import Result
from frcnn_lessons.plots import BLUE, GREEN, GREY, ORANGE, RED, SKY


def course_map() -> Figure:
    """The lessons as a map: which idea leads to which, and where the four detectors stand."""
    stops = [  # number, name, what happens there, column, row
        ("01", "Boxes and IoU", "how much do two boxes agree?", 0, 0),
        ("02", "Images, annotations", "what does a detector learn from?", 1, 0),
        ("03", "Selective search", "where could objects be?", 2, 0),
        ("04", "Measuring a detector", "precision, recall, AP", 3, 0),
        ("05", "R-CNN", "2014: a CNN on every region", 3, 1),
        ("06", "SPPNet, RoI pooling", "2014: the CNN once per image", 2, 1),
        ("07", "Fast R-CNN", "2015: one network, one loss", 1, 1),
        ("08", "Anchors", "which boxes to ask about?", 0, 1),
        ("09", "The RPN", "regions from the network itself", 0, 2),
        ("10", "Faster R-CNN", "2015: the whole detector", 1, 2),
        ("11", "Four-step training", "as the paper trained it", 2, 2),
        ("12", "Real photographs", "torchvision beside ours", 3, 2),
        ("13", "A tagging service", "put it to use", 3, 3),
    ]
    detectors = {"05", "06", "07", "10"}
    across, down, width, height = 2.75, 1.35, 2.35, 0.92
    figure, ax = plt.subplots(figsize=(10.4, 5.3))
    ax.set(xlim=(-0.1, 3 * across + width + 0.1), ylim=(3 * down + height + 0.15, -0.15))
    ax.axis("off")
    for number, name, question, column, row in stops:
        x, y = column * across, row * down
        fill, ink = (BLUE, "white") if number in detectors else ("#ECEFF1", "black")
        ax.add_patch(
            FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0.02,rounding_size=0.1", facecolor=fill, lw=0)
        )
        ax.text(x + 0.12, y + 0.21, number, color=ink, fontsize=8.5, va="center")
        ax.text(x + 0.12, y + 0.47, name, color=ink, fontsize=11, va="center", weight="bold")
        ax.text(x + 0.12, y + 0.74, question, color=ink, fontsize=8.5, va="center")
    for (*_, c1, r1), (*_, c2, r2) in itertools.pairwise(stops):
        start, end = _sides(c1 * across, r1 * down, c2 * across, r2 * down, width, height)
        ax.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=13, color=GREY, lw=1.4))
    ax.add_patch(Rectangle((0, 3 * down + height - 0.2), 0.16, 0.14, facecolor=BLUE))
    ax.text(0.26, 3 * down + height - 0.12, "a detector that you build, train and measure", fontsize=9, va="center")
    return figure


def _sides(
    x1: float, y1: float, x2: float, y2: float, width: float, height: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where an arrow leaves one stop of the map and enters the next."""
    if y1 != y2:
        return (x1 + width / 2, y1 + height + 0.03), (x2 + width / 2, y2 - 0.03)
    if x2 > x1:
        return (x1 + width + 0.03, y1 + height / 2), (x2 - 0.03, y2 + height / 2)
    return (x1 - 0.03, y1 + height / 2), (x2 + width + 0.03, y2 + height / 2)


def rpn_window() -> Figure:
    """One 3 x 3 window of the map, its 512 numbers, and which of the 9 + 36 answers belongs to which anchor."""
    figure, ax = plt.subplots(figsize=(10.4, 4.5))
    ax.set(xlim=(0, 20.6), ylim=(10.3, -0.75), aspect="equal")
    ax.axis("off")

    for row, column in itertools.product(range(7), repeat=2):
        in_window = 2 <= row <= 4 and 2 <= column <= 4
        fill = BLUE if row == column == 3 else SKY if in_window else "#ECEFF1"
        ax.add_patch(Rectangle((0.2 + 0.62 * column, 2.83 + 0.62 * row), 0.58, 0.58, facecolor=fill))
    ax.text(2.35, 2.2, "feature map", ha="center", weight="bold")
    ax.text(2.35, 7.5, "one cell and its\neight neighbours", ha="center", va="top", fontsize=9.5)

    ax.add_patch(Rectangle((7.0, 0.55), 0.55, 8.7, facecolor=GREY))
    ax.text(7.27, -0.1, "512 numbers", ha="center", weight="bold")
    _arrow(ax, (4.7, 5.0), (6.8, 5.0), "3 x 3\nconvolution")

    ax.text(8.75, 1.15, "1 x 1\nconvolutions", ha="center", va="bottom", fontsize=9.5)
    colours = (BLUE, ORANGE, GREEN)
    for a in range(9):
        y = 0.55 + 0.99 * a  # top of the row
        ratio, size = (0.5, 1.0, 2.0)[a // 3], (0.3, 0.46, 0.66)[a % 3]
        width, height = size / ratio**0.5, size * ratio**0.5
        colour = colours[a // 3]
        _arrow(ax, (7.7, 5.0), (10.3, y + 0.38))
        shape = Rectangle((11.3 - width / 2, y + 0.38 - height / 2), width, height, fill=False, ec=colour, lw=2)
        ax.add_patch(shape)
        ax.text(12.35, y + 0.38, f"a = {a}", va="center", fontsize=9.5)
        for x, number in ((14.1, a), *((16.1 + 1.05 * d, 4 * a + d) for d in range(4))):
            ax.add_patch(Rectangle((x, y), 0.95, 0.8, facecolor=colour, alpha=0.28))
            ax.text(x + 0.47, y + 0.4, str(number), ha="center", va="center", fontsize=9.5)
    ax.text(11.8, -0.1, "anchor", ha="center", weight="bold")
    ax.text(14.57, -0.1, "object?", ha="center", weight="bold")
    for d, name in enumerate(("dx", "dy", "dw", "dh")):
        ax.text(16.57 + 1.05 * d, -0.1, name, ha="center", weight="bold")
    ax.text(14.57, 9.55, "channels\n0 to 8", ha="center", va="top", fontsize=9.5)
    ax.text(18.15, 9.55, "channels\n0 to 35", ha="center", va="top", fontsize=9.5)
    return figure


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], caption: str = "") -> None:
    """An arrow with words above its middle."""
    ax.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=10, color=GREY, lw=1.1))
    if caption:
        ax.text((start[0] + end[0]) / 2, min(start[1], end[1]) - 0.3, caption, ha="center", va="bottom", fontsize=9.5)


def two_users_of_one_map() -> Figure:
    """Faster R-CNN: the feature map is computed once; the RPN and the head both read it, and both teach it."""
    figure, ax = plt.subplots(figsize=(10.4, 3.4))
    ax.set(xlim=(0, 20.8), ylim=(6.8, 0), aspect="equal")
    ax.axis("off")
    stops = [  # name, what it is, x, y, fill
        ("image", "pixels", 0.1, 2.5, "#ECEFF1"),
        ("backbone", "convolutions", 4.3, 2.5, BLUE),
        ("feature map", "computed once", 8.5, 2.5, SKY),
        ("RPN", "where?", 12.9, 0.5, ORANGE),
        ("proposals", "boxes, no gradient", 17.3, 0.5, "#ECEFF1"),
        ("head", "what, and where exactly?", 12.9, 4.5, GREEN),
        ("detections", "classes, boxes", 17.3, 4.5, "#ECEFF1"),
    ]
    for name, what, x, y, fill in stops:
        shape = "round,pad=0.02,rounding_size=0.15"
        ink = "white" if fill in (BLUE, GREEN) else "black"
        ax.add_patch(FancyBboxPatch((x, y), 3.3, 1.6, boxstyle=shape, facecolor=fill, lw=0))
        ax.text(x + 1.65, y + 0.6, name, ha="center", va="center", color=ink, weight="bold")
        ax.text(x + 1.65, y + 1.15, what, ha="center", va="center", color=ink, fontsize=8.5)
    _arrow(ax, (3.5, 3.3), (4.2, 3.3))
    _arrow(ax, (7.7, 3.3), (8.4, 3.3))
    _arrow(ax, (11.85, 2.9), (12.85, 1.5))  # the first user of the map
    _arrow(ax, (11.85, 3.7), (12.85, 5.1))  # the second
    _arrow(ax, (16.3, 1.3), (17.2, 1.3))
    _arrow(ax, (16.3, 5.3), (17.2, 5.3))
    cut = FancyArrowPatch((17.9, 2.2), (15.4, 4.4), arrowstyle="-|>", mutation_scale=10, color=RED, lw=1.6, ls="--")
    ax.add_patch(cut)
    ax.text(17.2, 3.55, "the gradient stops here", color=RED, fontsize=9.5, va="center")
    return figure


def four_steps() -> Figure:
    """Four-step training: which part learns in each step (solid), which is fixed (hatched), and what is handed on."""
    figure, ax = plt.subplots(figsize=(11, 4.3))
    ax.set(xlim=(-0.2, 20.3), ylim=(8.6, -0.95))
    ax.axis("off")
    parts = [  # step, part, left, top, width, whether it learns
        (1, "RPN", 0.0, 3, 1.7, True),
        (1, "backbone 1", 0.0, 6, 1.7, True),
        (2, "head", 7.6, 0, 1.7, True),
        (2, "RPN", 5.4, 3, 1.7, False),
        (2, "backbone 1", 5.4, 6, 1.7, False),
        (2, "backbone 2", 7.6, 6, 1.7, True),
        (3, "RPN", 10.8, 3, 1.7, True),
        (3, "backbone 2", 10.8, 6, 3.9, False),
        (4, "head", 18.4, 0, 1.7, True),
        (4, "RPN", 16.2, 3, 1.7, False),
        (4, "backbone 2", 16.2, 6, 3.9, False),
    ]
    colours = {"backbone 1": SKY, "backbone 2": BLUE, "RPN": GREEN, "head": RED}
    for step, name, left, top, width, learns in parts:
        _solid_or_hatched(ax, (left, top), (width, 1.3), colours[name], learns).set_gid(f"{step} {name}")
        ink = "white" if learns and name != "backbone 1" else "black"
        words = ax.text(
            left + width / 2, top + 0.65, name.replace(" ", "\n" if width < 2 else " "), color=ink, fontsize=9.5
        )
        words.set(ha="center", va="center")
        if not learns:
            words.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.5})

    for step, x in enumerate((0.0, 5.4, 10.8, 16.2), start=1):  # what flows within a step
        ax.text(x, -0.55, f"Step {step}: the {'RPN' if step % 2 else 'head'}", weight="bold", fontsize=12)
        _arrow(ax, (x + 0.85, 5.95), (x + 0.85, 4.35))
        if step % 2 == 0:
            _arrow(ax, (x + 3.05, 5.95), (x + 3.05, 1.35))
            ax.plot([x + 0.85, x + 0.85], [2.95, 0.95], color=GREY, lw=1.1)
            _arrow(ax, (x + 0.85, 0.95), (x + 2.15, 0.95))
            ax.text(x + 1.0, 1.75, "proposals", fontsize=8.5, va="center")
    handed_on = [(1.7, 5.4, 3.65), (7.1, 10.8, 3.65), (12.5, 16.2, 3.65)]  # the RPN: from x, to x, y
    handed_on += [(1.7, 5.4, 6.65), (9.3, 10.8, 6.65), (14.7, 16.2, 6.65), (9.3, 18.4, 0.3)]  # backbones, head
    for start, end, y in handed_on:
        _handed_on(ax, (start, y), (end, y)).set_gid("handed on")

    _solid_or_hatched(ax, (0, 7.95), (0.7, 0.45), GREY, True)
    _solid_or_hatched(ax, (3.2, 7.95), (0.7, 0.45), GREY, False)
    _handed_on(ax, (6.2, 8.17), (7.2, 8.17))
    _arrow(ax, (12.5, 8.17), (13.5, 8.17))
    for x, name in ((0.9, "learns"), (4.1, "fixed"), (7.4, "handed on to a later step"), (13.7, "map, proposals")):
        ax.text(x, 8.17, name, va="center", fontsize=9.5)
    return figure


def _solid_or_hatched(
    ax: Axes, place: tuple[float, float], size: tuple[float, float], colour: str, solid: bool
) -> Rectangle:
    box = Rectangle(place, *size, facecolor=colour)
    if not solid:
        box.set(facecolor="white", edgecolor=colour, hatch="////", linewidth=1.5)
    ax.add_patch(box)
    return box


def _handed_on(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> FancyArrowPatch:
    arrow = FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=12, color=ORANGE, lw=2, linestyle="--")
    arrow.shrinkA = arrow.shrinkB = 1
    ax.add_patch(arrow)
    return arrow


# --- the table of the course -------------------------------------------------------------------------------------


# As published, with VGG16 on a graphics card. mAP on VOC 2007, hours of training and seconds an image without
# proposals: Fast R-CNN, table 4; selective search takes about 2 s more. Faster R-CNN: tables 3 and 5 (198 ms an
# image, 10 ms of them for proposals), trained in four steps; it gives no hours.
PUBLISHED = {  # mAP in %, hours, seconds an image in all, without proposals
    "R-CNN": (66.0, 84.0, 49.0, 47.0),
    "SPPNet": (63.1, 25.0, 4.3, 2.3),
    "Fast R-CNN": (66.9, 9.5, 2.3, 0.3),
    "Faster R-CNN": (69.9, None, 0.2, 0.19),
}


def course_summary(measured: Mapping[str, Result], lessons: Mapping[str, str]) -> Figure:
    """Score, training time and time per image of every detector: measured here above, as published below.

    Args:
        measured: by name of the detector, as `results.read` gives it; those not measured yet may be missing.
        lessons: the lesson of each detector (`results.DETECTORS`), in the order of the bars.
    """
    figure, axes = plt.subplots(2, 3, figsize=(10.4, 4.6), gridspec_kw={"width_ratios": (1, 1, 1.25)})
    ours = {
        name: (
            row.ap50,
            row.training_seconds,
            1000 * row.image_seconds,
            1000 * (row.image_seconds - row.proposal_seconds),
        )
        for name, row in measured.items()
    }
    labels = {name: f"run lesson {lesson}" for name, lesson in lessons.items()}
    for ax, column, title, unit, form in (
        (axes[0, 0], 0, "Here: AP50", "street scenes", "{:.2f}"),
        (axes[0, 1], 1, "Here: training", "seconds", "{:.0f} s"),
        (axes[0, 2], 2, "Here: an image", "milliseconds (log scale)", "{:.0f} ms"),
    ):
        _bars(ax, [ours.get(name) for name in lessons], column, form, list(labels.values()))
        ax.set(title=title, xlabel=unit)
    for ax, column, title, unit, form in (
        (axes[1, 0], 0, "Papers: mAP", "%, VOC 2007", "{:.1f}"),
        (axes[1, 1], 1, "Papers: training", "hours", "{:.1f} h"),
        (axes[1, 2], 2, "Papers: an image", "seconds (log scale)", "{:.2g} s"),
    ):
        _bars(ax, [PUBLISHED.get(name) for name in lessons], column, form, ["not published"] * len(lessons))
        ax.set(title=title, xlabel=unit)
    for ax in axes[:, 0]:
        ax.set_yticks(range(len(lessons)), list(lessons))
    axes[0, 0].set_xlim(0, 1.2)
    axes[1, 0].set_xlim(0, 100)
    axes[0, 2].legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8.5)
    return figure


def _bars(
    ax: Axes, rows: Sequence[tuple[float | None, ...] | None], column: int, form: str, missing: Sequence[str]
) -> None:
    """A bar for each row, top to bottom, with its number; two bars, in all and without proposals, in column 2."""
    pair = column == 2
    bars = [(2, -0.2, BLUE, "", "in all"), (3, 0.2, SKY, "//", "without proposals")]
    for place, shift, colour, hatch, name in bars if pair else [(column, 0.0, BLUE, "", "")]:
        values = [None if row is None else row[place] for row in rows]
        there = [(k, value) for k, value in enumerate(values) if value is not None]
        places, lengths = [k + shift for k, _ in there], [value for _, value in there]
        ax.barh(places, lengths, 0.36 if pair else 0.6, color=colour, hatch=hatch, edgecolor="white", label=name)
        for k, value in there:
            ax.annotate(
                form.format(value), (value, k + shift), (3, 0), textcoords="offset points", va="center", fontsize=8.5
            )
    if pair:
        ax.set_xscale("log")
        ax.xaxis.set_minor_formatter(NullFormatter())  # or "2 x 10^2" crowds the axis when the bars are alike
    ax.set_yticks(range(len(rows)), [""] * len(rows))
    ax.set_ylim(len(rows) - 0.5, -0.5)
    low, high = ax.get_xlim()
    ax.set_xlim(*((low / 2, 6 * high) if pair else (low, 1.3 * high)))
    for k, row in enumerate(rows):
        if row is None or row[column] is None:
            ax.text(0.02, k, missing[k], transform=ax.get_yaxis_transform(), color=GREY, va="center", fontsize=8.5)
