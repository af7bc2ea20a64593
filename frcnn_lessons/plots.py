"""The pictures of the course: boxes on squared paper, boxes on images, and pictures that follow a slider.

Every function draws with matplotlib and takes or gives an `Axes`, so that a lesson can add to the picture. Colours are
those of Okabe and Ito (2008), which readers with any kind of colour vision can tell apart; boxes differ in line style
or caption as well.
"""

import io
import itertools
from collections.abc import Callable, Sequence

import ipywidgets
import matplotlib.pyplot as plt
import torch
from IPython.display import Image
from jaxtyping import Float
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from torch import Tensor

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, GREY = "#CC79A7", "#56B4E9", "#F0E442", "#6E6E6E"

# The colour of class 1, 2, 3, ...; with more classes they come round again.
CLASS_COLOURS = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY, YELLOW)


def use_course_style() -> None:
    """Set matplotlib's defaults for a notebook: light, legible, and small enough to store."""
    plt.rcParams.update(
        {
            "figure.dpi": 84,
            "savefig.dpi": 84,
            "figure.constrained_layout.use": True,
            "font.size": 10.5,
            "axes.titlesize": 12,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#E3E3E3",
            "legend.frameon": False,
            "axes.prop_cycle": plt.cycler(color=[BLUE, ORANGE, GREEN, RED, PURPLE, SKY]),
        }
    )


# --- boxes -----------------------------------------------------------------------------------------------------


def squared_paper(width: int, height: int, ax: Axes | None = None, title: str = "", square: float = 0.42) -> Axes:
    """A sheet of unit squares with x to the right and y *down*, as in an image.

    Args:
        width, height: size of the sheet in squares.
        square: side of a square in inches.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(width * square + 0.9, height * square + 0.9))
    ax.set(xlim=(0, width), ylim=(height, 0), aspect="equal", xlabel="x", ylabel="y")
    ax.set_title(title)
    ax.set_xticks(range(width + 1))
    ax.set_yticks(range(height + 1))
    ax.tick_params(length=0, labelsize=8)
    for spine in ax.spines.values():
        spine.set(visible=True, color="#CFCFCF")
    return ax


def draw_box(
    ax: Axes,
    box: Sequence[float] | Float[Tensor, " 4"],
    colour: str = BLUE,
    caption: str = "",
    *,
    line: str = "-",
    width: float = 2.2,
    fill: float = 0.0,
    hatch: str = "",
    inside: bool = False,
) -> None:
    """Draw one xyxy box with a white seam, so that it shows on any photograph.

    Args:
        caption: written on a tag above the top left corner, or below the top edge if `inside`.
        line: matplotlib's line style.
        fill: opacity of the inside, 0 (empty) to 1.
        hatch: matplotlib's hatch pattern for the inside.
    """
    x1, y1, x2, y2 = (float(value) for value in box)
    place, size = (x1, y1), (x2 - x1, y2 - y1)
    if fill or hatch:
        ax.add_patch(Rectangle(place, *size, facecolor=colour, alpha=fill or None, linewidth=0, fill=fill > 0))
    if hatch:
        ax.add_patch(Rectangle(place, *size, fill=False, hatch=hatch, edgecolor=colour, linewidth=0))
    seam = [patheffects.Stroke(linewidth=width + 1.6, foreground="white", alpha=0.85), patheffects.Normal()]
    ax.add_patch(
        Rectangle(place, *size, fill=False, edgecolor=colour, linewidth=width, linestyle=line, path_effects=seam)
    )
    if caption:
        ax.annotate(
            caption,
            place,
            xytext=(2, -3 if inside else 3),
            textcoords="offset points",
            va="top" if inside else "bottom",
            color="black" if colour in (YELLOW, SKY, ORANGE) else "white",
            fontsize=9,
            bbox={"boxstyle": "square,pad=0.18", "facecolor": colour, "edgecolor": "none", "alpha": 0.92},
            annotation_clip=True,
        )


def show_overlap(
    first: Float[Tensor, "1 4"],
    second: Float[Tensor, "1 4"],
    size: tuple[int, int] = (8, 12),
    names: tuple[str, str] = ("predicted", "truth"),
    ax: Axes | None = None,
    title: str = "",
) -> Axes:
    """Two boxes on squared paper, what they share hatched.

    Args:
        size: (height, width) of the paper in squares.
    """
    ax = squared_paper(size[1], size[0], ax, title)
    low = torch.maximum(first[0, :2], second[0, :2])
    high = torch.minimum(first[0, 2:], second[0, 2:])
    if (high > low).all():
        x, y = low.tolist()
        ax.add_patch(Rectangle((x, y), *(high - low).tolist(), fill=False, hatch="///", edgecolor=GREY, lw=0))
    draw_box(ax, first[0], BLUE, names[0], fill=0.12)
    draw_box(ax, second[0], ORANGE, names[1], line="--", fill=0.12)
    return ax


def draw_image(ax: Axes, image: Float[Tensor, "3 H W"], title: str = "") -> Axes:
    """Put an image (RGB, 0..1) on the axes with pixel *edges* at whole numbers, so that xyxy boxes fit exactly."""
    height, width = image.shape[-2:]
    ax.imshow(
        image.detach().cpu().permute(1, 2, 0).clamp(0, 1).numpy(),
        extent=(0, width, height, 0),
        interpolation="antialiased",
    )
    ax.set_title(title)
    ax.grid(False)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def draw_objects(
    ax: Axes,
    boxes: Float[Tensor, "K 4"],
    labels: Sequence[int] | Tensor,
    classes: Sequence[str],
    scores: Sequence[float] | Tensor | None = None,
    difficult: Sequence[bool] | Tensor | None = None,
) -> None:
    """Draw labelled boxes in the colours of their classes.

    Args:
        labels: 1..C, the place of the class in `classes` counted from 1.
        scores: written behind the class name when given.
        difficult: drawn dotted, and so marked in the caption, where True.
    """
    bottom, top = ax.get_ylim()
    for k, (box, label) in enumerate(zip(boxes, (int(label) for label in labels), strict=True)):
        caption = classes[label - 1]
        if scores is not None:
            caption += f" {float(scores[k]):.2f}"
        hard = difficult is not None and bool(difficult[k])
        colour = CLASS_COLOURS[(label - 1) % len(CLASS_COLOURS)]
        # A tag above a box at the top of the image would be cut off.
        inside = bool(float(box[1]) < 0.09 * abs(bottom - top))
        draw_box(ax, box, colour, caption + " (difficult)" * hard, line=":" if hard else "-", inside=inside)


def image_grid(count: int, columns: int, cell: tuple[float, float] = (3.0, 2.5)) -> tuple[Figure, list[Axes]]:
    """Axes for `count` images in rows of `columns`; what is left over in the last row is hidden.

    Args:
        cell: (width, height) of one image in inches.
    """
    rows = -(-count // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(columns * cell[0], rows * cell[1]), squeeze=False)
    for ax in axes.flat[count:]:
        ax.set_visible(False)
    return figure, list(axes.flat[:count])


# --- what is shown ---------------------------------------------------------------------------------------------


def as_jpeg(figure: Figure, quality: int = 85) -> Image:
    """The figure as a JPEG to be shown as a cell's result; photographs are ten times smaller so than as PNG."""
    data = io.BytesIO()
    figure.savefig(data, format="jpeg", pil_kwargs={"quality": quality})
    plt.close(figure)  # or the notebook shows it a second time, as PNG
    return Image(data.getvalue(), format="jpeg")


def follow_sliders(draw: Callable[..., Figure], **sliders: ipywidgets.Widget) -> ipywidgets.VBox:
    """A picture that is drawn anew whenever a slider moves.

    Args:
        draw: called with the value of every slider by name; gives the figure.
        sliders: `name=ipywidgets.IntSlider(...)` and so on.

    Returns:
        The sliders with the picture under them, to be shown as a cell's result. Without a running kernel nothing of it
        can be seen, so a lesson puts a static picture beside it.
    """
    picture = ipywidgets.Image(format="png")

    def redraw(_change: object = None) -> None:
        figure = draw(**{name: slider.value for name, slider in sliders.items()})
        data = io.BytesIO()
        figure.savefig(data, format="png")
        plt.close(figure)
        picture.value = data.getvalue()

    for slider in sliders.values():
        slider.observe(redraw, names="value")
    redraw()
    return ipywidgets.VBox([*sliders.values(), picture])


# --- diagrams --------------------------------------------------------------------------------------------------


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
        ("08", "Anchors and the RPN", "regions from the network itself", 0, 1),
        ("09", "Faster R-CNN", "2015: the whole detector", 0, 2),
        ("10", "Four-step training", "as the paper trained it", 1, 2),
        ("11", "Real photographs", "torchvision beside ours", 2, 2),
        ("12", "A tagging service", "put it to use", 3, 2),
    ]
    detectors = {"05", "06", "07", "09"}
    across, down, width, height = 2.75, 1.35, 2.35, 0.92
    figure, ax = plt.subplots(figsize=(10.4, 4.1))
    ax.set(xlim=(-0.1, 3 * across + width + 0.1), ylim=(2 * down + height + 0.45, -0.15))
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
    ax.add_patch(Rectangle((0, 2 * down + height + 0.2), 0.16, 0.14, facecolor=BLUE))
    ax.text(0.26, 2 * down + height + 0.28, "a detector that you build, train and measure", fontsize=9, va="center")
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
