"""The pictures of the course: boxes on squared paper, boxes on images, and pictures that follow a slider.

Every function draws with matplotlib and takes or gives an `Axes`, so that a lesson can add to the picture. Colours are
those of Okabe and Ito (2008) and a dark grey; boxes differ in line style or caption as well, since not every two of
them look different to everybody. Lesson 01.
"""

import functools
import io
import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Image
from jaxtyping import Float, Int, UInt8
from matplotlib import font_manager, patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Circle, Rectangle
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox
from torch import Tensor

from frcnn_lessons.batch import check_image, wanted_labels
from frcnn_lessons.sampling import BACKGROUND, FOREGROUND, IGNORED

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, GREY = "#CC79A7", "#56B4E9", "#F0E442", "#4D4D4D"

# One man in twelve sees little or nothing of the difference between red and green. Three pairs of these colours are
# then hard to tell apart: orange and red, orange and yellow, green and purple. Let nothing depend on them. Any two of
# the first five classes, and any two of blue, orange, green, sky and grey, are easy.

# The colour of class 1, 2, 3, ...; with more classes they come round again.
CLASS_COLOURS = (BLUE, RED, GREEN, SKY, YELLOW, PURPLE, ORANGE)

# How to draw objects, and anchors or regions by their verdict: draw_box(ax, box, **VERDICTS[verdict]) (lessons 07-09).
OBJECT = {"colour": ORANGE, "line": "--", "width": 3.0}
VERDICTS = {
    FOREGROUND: {"colour": BLUE, "line": "-"},
    BACKGROUND: {"colour": GREY, "line": "-"},
    IGNORED: {"colour": SKY, "line": ":"},
}


# Fonts with Chinese, Japanese, Korean and other letters, and with pictograms, as systems bring them. Matplotlib's own
# has none of these. (Fonts in colour cannot be drawn.)
OTHER_FONTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei"),
    *("WenQuanYi Zen Hei", "Droid Sans Fallback", "Microsoft YaHei", "SimHei", "PingFang SC", "Hiragino Sans GB"),
    *("Heiti TC", "Noto Sans CJK KR", "Noto Sans KR", "Malgun Gothic", "Apple SD Gothic Neo", "NanumGothic"),
    *("Noto Sans JP", "Yu Gothic", "Meiryo", "Hiragino Sans", "IPAexGothic", "Noto Sans Devanagari", "Nirmala UI"),
    *("Noto Sans Thai", "Leelawadee UI", "Arial Unicode MS", "Unifont"),
    *("Noto Emoji", "Segoe UI Emoji", "Segoe UI Symbol", "Noto Sans Symbols 2", "Symbola"),
)
NO_FONT = "Last Resort High-Efficiency"  # comes with matplotlib; has a box for every character there is


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
            "axes.prop_cycle": plt.cycler(color=[BLUE, ORANGE, GREEN, SKY, RED, PURPLE]),
        }
    )


# --- words -----------------------------------------------------------------------------------------------------


def as_written(text: Text) -> None:
    """Draw the words of others as they wrote them: "$" is a dollar, and any script is drawn in a font that has it.

    Where this machine has no such font, a warning says once what to do, and boxes stand for the characters.
    """
    text.set_parse_math(False)
    words = text.get_text()
    if words.isascii():
        return
    installed = {font.name for font in font_manager.fontManager.ttflist}
    families = list(text.get_fontfamily())
    missing = set(words).difference("\n", *(_characters(_font_file(name)) for name in families))
    for name in OTHER_FONTS:
        if missing and name in installed and missing & _characters(_font_file(name)):
            families.append(name)
            missing -= _characters(_font_file(name))
    if missing:
        _say_that_fonts_are_missing()
        families += [NO_FONT] * (NO_FONT in installed)
    text.set_fontfamily(families)


def _font_file(family: str) -> str:
    return font_manager.findfont(FontProperties(family=[family]))


@functools.cache
def _characters(font_file: str) -> frozenset[str]:
    """What a font can draw."""
    return frozenset(map(chr, font_manager.get_font(font_file).get_charmap()))


@functools.cache
def _say_that_fonts_are_missing() -> None:
    warnings.warn(
        "no font of this machine has all characters of the names in this picture, so boxes stand for some; install "
        "one that has, for example Noto Sans CJK or Noto Emoji (not the one in colour), delete the folder that "
        "matplotlib.get_cachedir() names and restart the kernel",
        stacklevel=2,
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
    as_written(ax.set_title(title))
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
        caption: written on a tag above the top left corner, or below the top edge if `inside`; where the picture ends
            there, or another tag stands, at another corner.
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
        tag = _Tag(
            caption,
            (x1, y1, x2, y2),
            inside,
            color="black" if colour in (YELLOW, SKY, ORANGE) else "white",
            fontsize=9,
            bbox={"boxstyle": "square,pad=0.18", "facecolor": colour, "edgecolor": "none", "alpha": 0.92},
            annotation_clip=True,
        )
        ax.add_artist(tag)
        as_written(tag)


class _Tag(Annotation):
    """A caption at a corner of its box, or of the part that the picture shows: at the first of eight places where it
    lies within the picture and on no other tag. Where nothing is free, it stays at the first.
    """

    def __init__(self, caption: str, box: tuple[float, float, float, float], inside: bool, **style: Any) -> None:
        super().__init__(caption, box[:2], xytext=(0, 0), textcoords="offset points", **style)
        x1, y1, x2, y2 = self.box = box
        outer = [((x1, y1), "left", "bottom"), ((x2, y1), "right", "bottom"), ((x1, y2), "left", "top")]
        inner = [((x1, y1), "left", "top"), ((x2, y1), "right", "top"), ((x1, y2), "left", "bottom")]
        last = [((x2, y2), "right", "top"), ((x2, y2), "right", "bottom")]
        self.places = [*inner, *outer, *last] if inside else [*outer[:2], *inner[:2], outer[2], inner[2], *last]
        self.taken = Bbox.null()

    def draw(self, renderer: Any) -> None:
        """Find a place, which matplotlib knows only now that everything has its size, and draw."""
        assert self.axes is not None
        tags = [artist for artist in self.axes.get_children() if isinstance(artist, _Tag)]
        others = [tag.taken for tag in tags[: tags.index(self)]]
        picture = self.axes.bbox.padded(1)
        (left, right), (top, bottom) = sorted(self.axes.get_xlim()), sorted(self.axes.get_ylim())
        x1, y1, x2, y2 = self.box
        shown = x1 < right and x2 > left and y1 < bottom and y2 > top
        for (x, y), horizontal, vertical in [*self.places, self.places[0]]:
            self.xy = (min(max(x, left), right), min(max(y, top), bottom)) if shown else (x, y)
            self.set(ha=horizontal, va=vertical)
            self.xyann = (2 if horizontal == "left" else -2, 3 if vertical == "bottom" else -3)
            self.taken = self.get_window_extent(renderer).padded(1.5)
            (x0, y0), (x1, y1) = self.taken.get_points()
            free = picture.contains(x0, y0) and picture.contains(x1, y1)
            if free and not any(self.taken.overlaps(other) for other in others):
                break
        super().draw(renderer)


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


def draw_image(ax: Axes, image: Float[Tensor, "C H W"] | UInt8[Tensor, "C H W"], title: str = "") -> Axes:
    """Put an image on the axes with pixel *edges* at whole numbers, so that xyxy boxes fit exactly.

    Args:
        image: RGB (3, H, W), or one channel (1, H, W), which is drawn grey; floats in 0..1, or bytes (uint8).

    Raises:
        ValueError: for another shape or range, which would be drawn white or in false colours.
    """
    image = as_rgb(image)
    height, width = image.shape[-2:]
    ax.imshow(
        image.detach().cpu().permute(1, 2, 0).clamp(0, 1).numpy(),
        extent=(0, width, height, 0),
        interpolation="antialiased",
    )
    as_written(ax.set_title(title))
    ax.grid(False)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def as_rgb(image: Float[Tensor, "C H W"] | UInt8[Tensor, "C H W"]) -> Float[Tensor, "3 H W"]:
    """An image as the course has it, from RGB or one channel, floats in 0..1 or bytes.

    Raises:
        ValueError: what is neither; says what it may have been meant to be.
    """
    rgb = image
    if isinstance(image, Tensor) and image.ndim == 3 and image.shape[0] in (1, 3) and image.numel() > 0:
        rgb = image / 255 if image.dtype == torch.uint8 else image.float() if image.is_floating_point() else image
        rgb = rgb.expand(3, -1, -1)
    check_image(rgb)
    if rgb.isnan().any():
        raise ValueError("image must hold floats in 0..1; some are NaN, look for what made them")
    return rgb


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

    Raises:
        ValueError: if a label is no class, or something is longer or shorter than `boxes`.
    """
    numbers = torch.as_tensor(labels).tolist()
    if not all(label in range(1, len(classes) + 1) for label in numbers):
        raise ValueError(f"{wanted_labels(len(classes))}; got {numbers}")
    for name, values in (("scores", scores), ("difficult", difficult)):
        if values is not None and len(values) != len(boxes):
            raise ValueError(f"{name} must have one value for each of the {len(boxes)} boxes; got {len(values)}")
    for k, (box, label) in enumerate(zip(boxes, map(int, numbers), strict=True)):
        caption = classes[label - 1]
        if scores is not None:
            caption += f" {float(scores[k]):.2f}"
        hard = difficult is not None and bool(difficult[k])
        colour = CLASS_COLOURS[(label - 1) % len(CLASS_COLOURS)]
        draw_box(ax, box, colour, caption + " (difficult)" * hard, line=":" if hard else "-")


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
    # "tight", or a title of the top row loses its highest pixels: images keep their proportions, so it does not fit.
    figure.savefig(data, format="jpeg", bbox_inches="tight", pad_inches=0.05, pil_kwargs={"quality": quality})
    plt.close(figure)  # or the notebook shows it a second time, as PNG
    return Image(data.getvalue(), format="jpeg")


# What is stored of a widget is its `repr`, all that a reader without a kernel sees of it.
class _Sliders(ipywidgets.VBox):
    def __repr__(self) -> str:
        return "(sliders and a picture that follows them: run this cell to see them)"


class _LivePicture(ipywidgets.Image):
    def __repr__(self) -> str:
        return "(a picture that changes: run this cell to see it)"


def _empty_picture() -> ipywidgets.Image:
    """A picture for `_show`, which keeps its size: a widget would be stretched over the page, and blurred."""
    return _LivePicture(format="png", layout=ipywidgets.Layout(max_width="100%", align_self="flex-start"))


def _show(figure: Figure, picture: ipywidgets.Image) -> None:
    """Put a figure into a picture, sharp: with two pixels for each one of the page."""
    data = io.BytesIO()
    picture.width, picture.height = (f"{side:.0f}" for side in figure.get_size_inches() * figure.dpi)
    figure.savefig(data, format="png", dpi=2 * figure.dpi)
    plt.close(figure)
    picture.value = data.getvalue()


def follow_sliders(draw: Callable[..., Figure], **sliders: ipywidgets.Widget) -> ipywidgets.VBox:
    """A picture that is drawn anew whenever a slider moves.

    Args:
        draw: called with the value of every slider by name; gives the figure.
        sliders: `name=ipywidgets.IntSlider(...)` and so on.

    Returns:
        The sliders with the picture under them, to be shown as a cell's result. Without a running kernel a sentence
        stands there that says so, and a lesson puts a static picture beside it.
    """
    picture = _empty_picture()

    def redraw(_change: object = None) -> None:
        _show(draw(**{name: slider.value for name, slider in sliders.items()}), picture)

    for slider in sliders.values():
        slider.observe(redraw, names="value")
    redraw()
    return _Sliders([*sliders.values(), picture])


# --- feature maps ------------------------------------------------------------------------------------------------


def draw_cells(ax: Axes, cells: Float[Tensor, "H W"], title: str = "", numbers: bool = True) -> Axes:
    """One channel of a feature map as shaded squares. Cell (row 0, column 0) lies from edge 0 to edge 1 both ways.

    Args:
        numbers: write each cell's value into it.
    """
    height, width = cells.shape
    low, high = cells.min().item(), cells.max().item()
    # Twice the range that is there, so that only the pale half of the colours is used and ink shows on all of it.
    ax.imshow(cells.detach().cpu().numpy(), extent=(0, width, height, 0), cmap="Blues", vmin=low, vmax=2 * high - low)
    if numbers:
        for row, column in itertools.product(range(height), range(width)):
            ax.text(column + 0.5, row + 0.5, f"{cells[row, column]:g}", ha="center", va="center", fontsize=11)
    as_written(ax.set_title(title))
    ax.grid(False)
    ax.hlines(range(height + 1), 0, width, color="white", lw=1.2)
    ax.vlines(range(width + 1), 0, height, color="white", lw=1.2)
    # The numbers of rows and columns stand at the middles of the cells: a cell is a thing, not a line.
    ax.set_xticks([column + 0.5 for column in range(width)], [str(column) for column in range(width)])
    ax.set_yticks([row + 0.5 for row in range(height)], [str(row) for row in range(height)])
    ax.tick_params(length=0, labelsize=8)
    ax.set(xlabel="column", ylabel="row", xlim=(0, width), ylim=(height, 0))
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def draw_bins(ax: Axes, cells: Float[Tensor, "H W"], bins: Int[Tensor, "B 4"]) -> None:
    """Frame the bins of a region on a map drawn by `draw_cells`, and circle the largest cell of each in its colour.

    Bins may share cells, so neighbours are drawn at different distances from the cells' edges.

    Args:
        bins: xyxy in cells, the far edges not included; one without a cell is not drawn.
    """
    for k, (x1, y1, x2, y2) in enumerate(bins.tolist()):
        if x2 <= x1 or y2 <= y1:
            continue
        colour, inset = (BLUE, ORANGE, GREEN, GREY)[k % 4], 0.05 + 0.06 * (k % 3)
        size = (x2 - x1 - 2 * inset, y2 - y1 - 2 * inset)
        ax.add_patch(Rectangle((x1 + inset, y1 + inset), *size, fill=False, edgecolor=colour, linewidth=1.8))
        row, column = divmod(int(cells[y1:y2, x1:x2].argmax()), x2 - x1)
        middle = (x1 + column + 0.5, y1 + row + 0.5)
        ax.add_patch(Circle(middle, 0.37 - 0.06 * (k % 3), fill=False, edgecolor=colour, linewidth=1.8))


# --- training --------------------------------------------------------------------------------------------------


RPN_LOSSES = ("loss_objectness", "loss_rpn_box_reg")


def loss_curves(steps: Mapping[str, Sequence[float]], smooth: int = 20) -> Figure:
    """The losses of a training, one line each, in panels of one size that can be read.

    The losses of an RPN are far smaller than those of a head, so they get a panel of their own where both are there; so
    does the accuracy if it was reported.

    Args:
        steps: a value a step for "total" and each loss by its name, as in `training.History.steps`.
        smooth: a bold line shows the mean of so many steps up to this one; the values themselves are faint.
    """
    losses = [name for name in steps if name == "total" or name.startswith("loss")]
    rpn = [name for name in losses if name in RPN_LOSSES]
    rest = [name for name in losses if name not in RPN_LOSSES]
    both = rpn and rest != ["total"]
    panels = {"Loss": rest, "Loss of the RPN": rpn} if both else {"Loss": losses}
    panels |= {"Accuracy": ["accuracy"]} if "accuracy" in steps else {}
    size = (8.2, 3.3) if len(panels) == 1 else (5.6 * min(len(panels), 2), 3.3 * -(-len(panels) // 2))
    figure, axes = plt.subplots(-(-len(panels) // 2), min(len(panels), 2), figsize=size, squeeze=False)
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    for ax, (title, names) in zip(axes.flat, panels.items(), strict=False):
        for name, line in zip(names, itertools.cycle(("-", "--", "-.", ":")), strict=False):
            values = np.asarray(steps[name])
            sums = np.concatenate([[0.0], values.cumsum()])
            last = np.arange(1, len(values) + 1)
            first = np.maximum(last - smooth, 0)
            (faint,) = ax.plot(last, values, lw=0.6, alpha=0.35)
            mean = (sums[last] - sums[first]) / (last - first)
            ax.plot(last, mean, line, lw=2, color=faint.get_color(), label=name.removeprefix("loss_"))
        up_is_good = title == "Accuracy"
        ax.set(title=title, xlabel="step", ylabel=title.lower().split()[0])
        ax.set_ylim(*((None, 1.01) if up_is_good else (0, None)))
        ax.legend()
    return figure


def follow_training(every: int = 25) -> tuple[ipywidgets.Image, Callable[[Any], None]]:
    """Loss curves that grow while a detector trains.

    Args:
        every: steps between two drawings, which take about a tenth of a second.

    Returns:
        A picture to `display` before the training, and what to pass to `training.train` as `on_step`. Without a
        running kernel the picture cannot be seen: draw `loss_curves(history.steps)` after the training too.
    """
    picture = _empty_picture()

    def redraw(history: Any) -> None:
        if len(history.steps["total"]) % every == 0:
            _show(loss_curves(history.steps), picture)

    return picture, redraw
