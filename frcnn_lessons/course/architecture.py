"""One diagram for each detector, all in one layout, so that one sees what each paper changed.

    image -> (cut out) -> backbone -> feature map -> pooling -> head -> outputs -> losses       above
    where the regions come from:  selective search, or the RPN with its losses -> proposals     below

The same thing has the same place in every diagram. Shapes are read from the network that is handed in, by sending an
image of zeros through its backbone. What is new against the detector before is tinted and has a thick frame.

Letters: an image of H x W pixels, R regions of it (or as many as the settings say).
"""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from torch import nn

from frcnn_lessons.backbones import Backbone
from frcnn_lessons.fast_rcnn import FastRCNN, RoIHead
from frcnn_lessons.faster_rcnn import FasterRCNN
from frcnn_lessons.plots import GREY, RED
from frcnn_lessons.rcnn import RegionNetwork
from frcnn_lessons.rpn import RPN
from frcnn_lessons.sppnet import PyramidNetwork

Size = tuple[int, int]

# Left and top edge of each place; a column is 1 wide, the rows are 0 to 1 and 1.4 to 2.4.
PLACES = {
    "image": (0, 0),
    "cut out": (1, 0),
    "backbone": (2, 0),
    "map": (3, 0),
    "pooling": (4, 0),
    "head": (5, 0),
    "classes": (6, 0),
    "boxes": (6, 0.53),
    "class loss": (7, 0),
    "box loss": (7, 0.53),
    "search": (0, 1.4),
    "cut proposals": (1, 1.4),
    "object loss": (2, 1.4),
    "anchor loss": (2, 1.93),
    "rpn": (3, 1.4),
    "proposals": (4, 1.4),
}
HALF = {"classes", "boxes", "class loss", "box loss", "object loss", "anchor loss"}  # two of them in the height of one
WIDTH = 0.87

Part = tuple[str, str]  # a title and the lines below it


def rcnn(network: RegionNetwork, image_size: Size, ax: Axes | None = None) -> Figure:
    """R-CNN: every region is cut out of the image and goes through the backbone by itself.

    Args:
        network: see `rcnn.RegionNetwork`; the SVMs and the regression of boxes follow from its layers.
        image_size: (height, width) of the image.
        ax: where to draw; a figure of its own if not given. As in all functions here.
    """
    S, classes = network.size, _outputs(network.classifier) - 1
    window = _map(network.backbone, (S, S))
    cells = network.pool(torch.zeros(window)).numel() // window[1]
    parts = {
        "image": _image(image_size),
        "search": ("selective search", "looks at colours,\nlearns nothing"),
        "cut proposals": ("proposals", "R x 4"),
        "cut out": ("crop and warp", f"each to {S} x {S}\nR x 3 x {S} x {S}"),
        "backbone": _backbone(network.backbone, "once a region"),
        "map": ("feature maps", f"one a region\nR x {_times(window[1:])}"),
        "pooling": ("average pool", f"{_side(cells)} a map\nR x {_times([window[1] * cells])}"),
        "head": _hidden(network.hidden),
        "classes": ("classes", f"{classes} SVMs: R x {classes}"),
        "boxes": ("boxes", f"ridge: R x {classes} x 4"),
        "class loss": ("hinge loss", "after fine-tuning"),
        "box loss": ("squared loss", "fitted last"),
    }
    arrows = [("image", "search"), ("search", "cut proposals"), ("cut proposals", "cut out"), ("image", "cut out")]
    arrows += [("cut out", "backbone"), ("pooling", "boxes")]
    new = {"search", "cut proposals", "cut out", "classes", "boxes", "class loss", "box loss"}
    return _draw("R-CNN", "a classifier of whole images", parts, arrows, new, ax)


def sppnet(network: PyramidNetwork, image_size: Size, ax: Axes | None = None) -> Figure:
    """SPPNet: the backbone runs once an image, and regions are cut out of its map."""
    larger = (int(image_size[0] * network.enlarged), int(image_size[1] * network.enlarged))
    features, classes = _map(network.backbone, larger), _outputs(network.classifier) - 1
    bins = sum(n * n for n in network.levels)
    parts = {
        "image": ("image", f"{network.enlarged:g} times as large\n3 x {_times(larger)}"),
        "search": ("selective search", "as in R-CNN"),
        "proposals": ("proposals", "R x 4"),
        "backbone": ("backbone", f"once an image\nstride {network.backbone.stride}\nnot trained"),
        "map": ("feature map", f"one an image\n{_times(features[1:])}"),
        "pooling": (
            "pyramid pool",
            ", ".join(f"{n} x {n}" for n in network.levels) + f"\nR x {_times([features[1], bins])}",
        ),
        "head": _hidden(network.hidden),
        "classes": ("classes", f"{classes} SVMs: R x {classes}"),
        "boxes": ("boxes", f"ridge: R x {classes} x 4"),
        "class loss": ("hinge loss", "after fine-tuning"),
        "box loss": ("squared loss", "fitted last"),
    }
    arrows = [*FROM_OUTSIDE, ("pooling", "boxes")]
    return _draw("SPPNet", "R-CNN", parts, arrows, {"backbone", "map", "pooling"}, ax)


def fast_rcnn(model: FastRCNN, image_size: Size, ax: Axes | None = None) -> Figure:
    """Fast R-CNN: one network with two losses, trained in one go, the backbone too."""
    parts = {
        "image": _image(image_size),
        "search": ("selective search", "as in R-CNN"),
        "proposals": ("proposals", "R x 4"),
        "backbone": _backbone(model.backbone, "once an image"),
        "map": ("feature map", f"one an image\n{_times(_map(model.backbone, image_size)[1:])}"),
        **_head(model.head, model.backbone.channels, "R"),
    }
    new = {"backbone", "pooling", "head", "classes", "boxes", "class loss", "box loss"}
    return _draw("Fast R-CNN", "SPPNet", parts, FROM_OUTSIDE, new, ax)


def rpn(backbone: Backbone, network: RPN, image_size: Size, ax: Axes | None = None) -> Figure:
    """The region proposal network: it takes the place of selective search; what follows it is drawn as empty."""
    features = _map(backbone, image_size)
    parts = {
        "image": _image(image_size),
        "backbone": _backbone(backbone, "once an image"),
        "map": ("feature map", f"one an image\n{_times(features[1:])}"),
        **_rpn(network, features),
    }
    later = ["pooling", "head", "classes", "boxes"]
    return _draw("RPN", "selective search", parts, FROM_THE_MAP, set(_rpn(network, features)), ax, later)


def faster_rcnn(model: FasterRCNN, image_size: Size, ax: Axes | None = None) -> Figure:
    """Faster R-CNN: the RPN and the head read one map; their four losses are added up."""
    parts = _faster(model, image_size)
    new = {"object loss", "anchor loss", "rpn", "proposals"}
    remark = "all four losses are added up, and all teach the backbone"
    return _draw("Faster R-CNN", "Fast R-CNN", parts, FROM_THE_MAP, new, ax, remark=remark)


def four_step(model: FasterRCNN, image_size: Size, ax: Axes | None = None) -> Figure:
    """Four-step training: the same detector, its parts in turn. Written on each is in which steps it learns."""
    learns = {
        "backbone": "a first one in step 1,\na second one in 2,\nfixed in 3 and 4",
        "rpn": "learns in steps 1, 3",
        "head": "learns in steps 2, 4",
        "proposals": "made after 1 and 3",
    }
    parts = _faster(model, image_size)
    for place, words in learns.items():
        title, lines = parts[place]
        parts[place] = title, words if place == "backbone" else f"{lines.splitlines()[0]}\n{words}"
    for place in ("object loss", "anchor loss", "class loss", "box loss"):
        parts[place] = parts[place][0], "in steps 2, 4" if place in ("class loss", "box loss") else "in steps 1, 3"
    remark = "never all four losses at once"
    new = {*learns, "object loss", "anchor loss", "class loss", "box loss"}
    return _draw("Four-step training", "Faster R-CNN", parts, FROM_THE_MAP, new, ax, remark=remark)


def all_in_a_row(
    region_network: RegionNetwork, pyramid_network: PyramidNetwork, fast: FastRCNN, faster: FasterRCNN, image_size: Size
) -> Figure:
    """All six diagrams below each other: look down a column to see how a part changed from paper to paper."""
    figure, axes = plt.subplots(6, 1, figsize=(11.4, 18.6))
    rcnn(region_network, image_size, axes[0])
    sppnet(pyramid_network, image_size, axes[1])
    fast_rcnn(fast, image_size, axes[2])
    rpn(faster.backbone, faster.rpn, image_size, axes[3])
    faster_rcnn(faster, image_size, axes[4])
    four_step(faster, image_size, axes[5])
    return figure


# --- what the parts say --------------------------------------------------------------------------------------------


FROM_OUTSIDE = [("image", "backbone"), ("image", "search"), ("search", "proposals"), ("proposals", "pooling")]
FROM_THE_MAP = [("image", "backbone"), ("map", "rpn"), ("rpn", "object loss"), ("rpn", "proposals")]
FROM_THE_MAP += [("rpn", "anchor loss"), ("proposals", "pooling")]


def _image(size: Size) -> Part:
    return "image", f"RGB, 0 to 1\n3 x {_times(size)}"


def _backbone(backbone: Backbone, how_often: str) -> Part:
    stages = list(backbone.stages)
    fixed = sum(not any(p.requires_grad for p in stage.parameters()) for stage in stages)
    learning = f"\n{fixed} of {len(stages)} stages fixed" if fixed else ""
    return "backbone", f"{how_often}\nstride {backbone.stride}{learning}"


def _hidden(layers: nn.Sequential) -> Part:
    return "hidden layer", f"one, with ReLU\nR x {_times([_outputs(layers)])}"


def _head(head: RoIHead, channels: int, R: str) -> dict[str, Part]:
    """What follows the map in Fast and Faster R-CNN."""
    rows, columns = head.settings.pool_size
    boxes = _outputs(head.regressor) // 4
    return {
        "pooling": ("RoI align" if head.settings.align else "RoI pooling", f"{R} x {channels}\nx {rows} x {columns}"),
        "head": ("head", f"two hidden layers\n{R} x {_times([head.settings.hidden])}"),
        "classes": ("classes", f"softmax: {R} x {_outputs(head.classifier)}"),
        "boxes": ("boxes", f"deltas: {R} x {boxes} x 4"),
        "class loss": ("class loss", "log loss"),
        "box loss": ("box loss", "smooth L1"),
    }


def _rpn(network: RPN, features: Sequence[int]) -> dict[str, Part]:
    A, (_, _, h, w) = len(network.base), features
    return {
        "rpn": ("RPN", f"{A} anchors a cell\n{h} x {w} x {A} = {h * w * A:,}\na score and 4 deltas"),
        "object loss": ("object loss", f"{network.settings.regions} an image"),
        "anchor loss": ("box loss", "smooth L1"),
        "proposals": ("proposals", f"the best {network.settings.after_nms[1]:,}\nafter NMS\n(no gradient)"),
    }


def _faster(model: FasterRCNN, image_size: Size) -> dict[str, Part]:
    features = _map(model.backbone, image_size)
    return {
        "image": _image(image_size),
        "backbone": _backbone(model.backbone, "once an image"),
        "map": ("feature map", f"one an image\n{_times(features[1:])}"),
        **_rpn(model.rpn, features),
        **_head(model.head, model.backbone.channels, f"{model.rpn.settings.after_nms[1]:,}"),
    }


@torch.no_grad()
def _map(backbone: Backbone, size: Size) -> tuple[int, ...]:
    """The shape (1, K, h, w) of the map of an image; the backbone stays as it is."""
    training = backbone.training
    zeros = backbone.normalise.mean.new_zeros(1, 3, *size)
    shape = backbone.eval().features(zeros).shape
    backbone.train(training)
    return tuple(shape)


def _outputs(layer: Any) -> int:
    """The numbers that a layer gives; of a few in a row, the last one with weights."""
    return [module for module in layer.modules() if isinstance(module, nn.Linear)][-1].out_features


def _times(sides: Sequence[int]) -> str:
    return " x ".join(f"{side:,}" for side in sides)


def _side(cells: int) -> str:
    return _times([round(cells**0.5)] * 2)


# --- how they are drawn --------------------------------------------------------------------------------------------


def _draw(
    name: str,
    before: str,
    parts: dict[str, Part],
    arrows: Sequence[Part],
    new: set[str],
    ax: Axes | None,
    later: Sequence[str] = (),
    remark: str = "",
) -> Figure:
    """Draw parts in their places, the arrows that all detectors share and those given."""
    if ax is None:
        _, ax = plt.subplots(figsize=(11.4, 3.3))
    ax.set(xlim=(-0.03, 7.91), ylim=(2.55, -0.42))
    ax.axis("off")
    for place, (title, lines) in parts.items():
        _part(ax, place, title, lines, place in new)
    for place in later:
        _empty(ax, place)
    along = [("backbone", "map"), ("map", "pooling"), ("pooling", "head"), ("head", "classes"), ("head", "boxes")]
    along += [("classes", "class loss"), ("boxes", "box loss")]
    drawn = {*parts, *later}
    for start, end in [*along, *arrows]:
        if not {start, end} <= drawn or ((start, end) == ("head", "boxes") and ("pooling", "boxes") in arrows):
            continue
        _join(ax, start, end)
    ax.text(0, -0.2, name, fontsize=13, weight="bold", va="center")
    ax.add_patch(Rectangle((5.0, 1.72), 0.22, 0.16, **NEW))
    ax.text(5.3, 1.8, f"new against {before}", fontsize=9.5, va="center")
    if remark:
        ax.text(5.0, 2.1, remark, fontsize=9.5, va="center")
    figure = ax.figure
    assert isinstance(figure, Figure)
    return figure


NEW: dict[str, Any] = {"facecolor": "#FFE8D6", "edgecolor": RED, "linewidth": 2.6}
ARROW: dict[str, Any] = {
    "arrowstyle": "-|>",
    "mutation_scale": 11,
    "color": GREY,
    "linewidth": 1.3,
    "shrinkA": 1,
    "shrinkB": 1,
}
OLD: dict[str, Any] = {"facecolor": "#ECEFF1", "edgecolor": GREY, "linewidth": 0.8}


def _part(ax: Axes, place: str, title: str, lines: str, new: bool) -> None:
    (x, y), height = PLACES[place], _height(place)
    ax.add_patch(Rectangle((x, y), WIDTH, height, **(NEW if new else OLD), gid=place))
    words = lines.splitlines()
    step = 0.2
    top = y + height / 2 - step * len(words) / 2
    ax.text(x + WIDTH / 2, top, title, fontsize=8.5, weight="bold", ha="center", va="center", gid=place)
    for k, line in enumerate(words, start=1):
        ax.text(x + WIDTH / 2, top + k * step, line, fontsize=8, ha="center", va="center", gid=place)


def _empty(ax: Axes, place: str) -> None:
    (x, y), height = PLACES[place], _height(place)
    ax.add_patch(Rectangle((x, y), WIDTH, height, facecolor="none", edgecolor=GREY, linestyle=":", linewidth=1))
    ax.text(x + WIDTH / 2, y + height / 2, place, fontsize=9, color=GREY, ha="center", va="center")


def _height(place: str) -> float:
    return 0.47 if place in HALF else 1.0


def _join(ax: Axes, start: str, end: str) -> None:
    """An arrow from the edge of one part to that of another: straight across, up or down; or, past the head, below."""
    (x1, y1), (x2, y2) = PLACES[start], PLACES[end]
    if (start, end) == ("pooling", "boxes"):
        left, right, below = x1 + 0.8 * WIDTH, x2 + WIDTH / 2, 1.18
        ax.plot([left, left, right], [1, below, below], color=GREY, lw=1.3)
        ax.add_patch(FancyArrowPatch((right, below), (right, 1), **ARROW))
        return
    low, high = max(y1, y2), min(y1 + _height(start), y2 + _height(end))
    if x1 == x2:
        across = x1 + WIDTH / 2
        ends = ((across, y1 + 1), (across, y2)) if y1 < y2 else ((across, y1), (across, y2 + 1))
    else:
        y = (low + high) / 2
        ends = ((x1 + WIDTH, y), (x2, y)) if x1 < x2 else ((x1, y), (x2 + WIDTH, y))
    ax.add_patch(FancyArrowPatch(*ends, **ARROW))
