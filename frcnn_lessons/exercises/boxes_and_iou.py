"""The exercises of lesson 01, boxes and IoU.

Shapes: N boxes, C classes, M kept.
"""

import math
from typing import Any

import torch
import torchvision
from torch import Tensor, tensor

from frcnn_lessons import boxes, plots
from frcnn_lessons.exercises.description import (
    Case,
    Exercise,
    Impostor,
    Variant,
    at_random,
    edge,
    edited,
    faulty,
    on_paper,
    parts,
    right,
)


def some_boxes(count: int, draw: torch.Generator) -> Tensor:
    """Boxes with an area that often overlap, xyxy, (count, 4)."""
    corner, size = 20 * torch.rand(count, 2, generator=draw), 1 + 20 * torch.rand(count, 2, generator=draw)
    return torch.cat([corner, corner + size], dim=1)


def draw_two(first: Tensor, others: Tensor, expected: Any, got: Any, title: str) -> None:
    """Draw a box and the first few others, xyxy, on squared paper as large as they need."""
    every = torch.cat([first[None], others[:4]])
    low, high = every[:, :2].amin(0).floor(), every[:, 2:].amax(0).ceil()
    width, height = (high - low.clamp(max=0)).int().tolist()
    ax = plots.squared_paper(width, height, title=title, square=min(0.42, 6 / max(width, height)))
    ax.set(xlim=(min(0, low[0].item()), high[0].item()), ylim=(high[1].item(), min(0, low[1].item())))
    plots.draw_box(ax, first, plots.BLUE, "box", fill=0.12)
    for number, other in enumerate(others[:4]):
        plots.draw_box(ax, other, plots.ORANGE, f"{number}", line="--", fill=0.12)
    ax.set_title(f"{title}\nexpected {expected}, got {got}", fontsize=9)


# --- 01.1 ------------------------------------------------------------------------------------------------------


def draw_reading(_inputs: tuple[Any, ...], _expected: Any, _got: Any) -> None:
    """The photograph with the box that all four rows are about."""
    ax = plots.squared_paper(200, 100, title="The sign, in a photograph 200 wide and 100 high", square=0.03)
    ax.set_xticks(range(0, 201, 20))
    ax.set_yticks(range(0, 101, 20))
    plots.draw_box(ax, [150, 60, 190, 95], plots.GREEN, "the sign", fill=0.15)


READ_THE_FORMAT = Exercise(
    kind="predict",
    name="read_the_format",
    number="01.1",
    title="Read the format",
    minutes=5,
    points=1,
    goals=(1,),
    core=True,
    text="""\
Four rows from four files, all about the *same* sign in a photograph 200 wide and 100 high:

| row | numbers |
|---|---|
| 1 | `[150, 60, 190, 95]` |
| 2 | `[150, 60, 40, 35]` |
| 3 | `[170, 77.5, 40, 35]` |
| 4 | `[60, 150, 95, 190]` |

Set `read_the_format` to four of `"xyxy"`, `"xywh"`, `"cxcywh"`, `"yxyx"`, in order of the rows.""",
    answer=("xyxy", "xywh", "cxcywh", "yxyx"),
    stub="(..., ..., ..., ...)",
    cases=parts("row 1", "row 2", "row 3", "row 4"),
    impostors=(
        Impostor(
            "swapped",
            "Row 2 read as a centre would start at x = 130: draw it beside row 1.",
            answer=("xyxy", "cxcywh", "xywh", "yxyx"),
        ),
        Impostor(
            "all_xyxy",
            "Row 2 would end left of its own start (40 < 150).",
            answer=("xyxy", "xyxy", "xyxy", "xyxy"),
        ),
        Impostor(
            "row_4_xyxy",
            "In row 4, y would run to 190 in a picture that is 100 high.",
            answer=("xyxy", "xywh", "cxcywh", "xyxy"),
        ),
    ),
    hints=(
        "Which rows can hold two corners at all? The second corner lies right of and below the first.",
        "The sign is 40 wide and 35 high: where do you see these numbers?",
        "Two rows end with 40, 35. One starts at the sign's corner, (150, 60), the other at its middle, (170, 77.5).",
    ),
    variants=(
        Variant(
            "truck",
            """\
Four rows from four files, all about the *same* truck in a photograph 300 wide and 200 high:
`[40, 220, 180, 280]`, `[250, 110, 60, 140]`, `[220, 40, 280, 180]`, `[220, 40, 60, 140]`.

Set `read_the_format` to four of `"xyxy"`, `"xywh"`, `"cxcywh"`, `"yxyx"`, in order of the rows.""",
            answer=("yxyx", "cxcywh", "xyxy", "xywh"),
            without=("swapped", "all_xyxy", "row_4_xyxy"),
            impostors=(
                Impostor(
                    "swapped",
                    "Row 2 read from its corner would end at x = 310, outside the picture.",
                    answer=("yxyx", "xywh", "xyxy", "cxcywh"),
                ),
                Impostor(
                    "row_1_xyxy",
                    "In row 1, y would run to 280 in a picture that is 200 high.",
                    answer=("xyxy", "cxcywh", "xyxy", "xywh"),
                ),
            ),
        ),
        Variant(
            "bicycle",
            """\
Four rows from four files, all about the *same* bicycle in a photograph 100 wide and 160 high:
`[20, 100, 60, 50]`, `[50, 125, 60, 50]`, `[100, 20, 150, 80]`, `[20, 100, 80, 150]`.

Set `read_the_format` to four of `"xyxy"`, `"xywh"`, `"cxcywh"`, `"yxyx"`, in order of the rows.""",
            answer=("xywh", "cxcywh", "yxyx", "xyxy"),
            without=("swapped", "all_xyxy", "row_4_xyxy"),
            impostors=(
                Impostor(
                    "swapped",
                    "Row 1 read as a centre would start at x = -10, outside the picture.",
                    answer=("cxcywh", "xywh", "yxyx", "xyxy"),
                ),
                Impostor(
                    "corners_exchanged",
                    "In row 3, x would run to 150 in a picture that is 100 wide.",
                    answer=("xywh", "cxcywh", "xyxy", "yxyx"),
                ),
            ),
        ),
    ),
    draw=draw_reading,
)

# --- 01.2 ------------------------------------------------------------------------------------------------------


def iou_one_cxcywh(box, others):
    """IoU (N,) of one box (4,) with N others (N, 4), all as (centre x, centre y, width, height)."""
    near, far = box[:2] - box[2:] / 2, box[:2] + box[2:] / 2  # (2,), (2,)
    starts, ends = others[:, :2] - others[:, 2:] / 2, others[:, :2] + others[:, 2:] / 2  # (N, 2), (N, 2)
    sides = torch.minimum(far, ends) - torch.maximum(near, starts)  # (N, 2)
    shared = sides[:, 0].clamp(min=0) * sides[:, 1].clamp(min=0)  # (N,)
    areas = (far - near).prod() + (ends - starts).prod(dim=1)  # (N,)
    return shared / (areas - shared)


def draw_iou(inputs: tuple[Any, ...], expected: Any, got: Any) -> None:
    """The box and its others."""
    box, others = inputs
    first = boxes.cxcywh_to_xyxy(box[None])[0]
    draw_two(first, boxes.cxcywh_to_xyxy(others), _few(expected), _few(got), "Which squares do both cover?")


def _few(numbers: Any) -> str:
    return ", ".join(f"{float(number):.3g}" for number in list(numbers)[:4])


def _halved(box: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """The same boxes with half their width and height written down."""
    return box * tensor([1, 1, 0.5, 0.5]), others * tensor([1, 1, 0.5, 0.5])


def _to_xywh(box: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """The same boxes as (left, top, width, height)."""
    return (
        torch.cat([box[:2] - box[2:] / 2, box[2:]]),
        torch.cat([others[:, :2] - others[:, 2:] / 2, others[:, 2:]], dim=1),
    )


SQUARE = tensor([4.0, 4, 4, 4])  # from 2 to 6 both ways, as cxcywh

IOU_ONE = Exercise(
    kind="implement",
    reference=iou_one_cxcywh,
    number="01.2",
    title="IoU of one box with many",
    stars=2,
    minutes=15,
    points=3,
    goals=(2,),
    core=True,
    text="""\
`iou_one_cxcywh(box, others)`: the IoU of one box, shape `(4,)`, with each of `N` others, shape `(N, 4)`, all written
as **(centre x, centre y, width, height)**. It returns `N` numbers, shape `(N,)`, and `N` may be 0.

Boxes may be apart, and one of the others may have no area: its IoU is 0. You need no loop. Do it without
`frcnn_lessons.boxes` and `torchvision.ops`.""",
    cases=(
        on_paper("a box with itself", SQUARE, tensor([[4.0, 4, 4, 4]]), gives=[1]),
        on_paper("a box inside", SQUARE, tensor([[4.0, 4, 2, 2]]), gives=[1 / 4]),
        on_paper("two that touch", SQUARE, tensor([[8.0, 4, 4, 4]]), gives=[0]),
        on_paper("apart in x and in y", SQUARE, tensor([[20.0, 20, 2, 2]]), gives=[0]),
        on_paper("apart in x only", SQUARE, tensor([[20.0, 4, 2, 2]]), gives=[0]),
        on_paper("apart in y only", SQUARE, tensor([[4.0, 20, 2, 2]]), gives=[0]),
        on_paper("an odd width", SQUARE, tensor([[4.0, 4, 3, 4]]), gives=[3 / 4]),
        on_paper("shifted by half", SQUARE, tensor([[6.0, 4, 4, 4]]), gives=[1 / 3]),
        on_paper("a cross", SQUARE, tensor([[4.0, 4, 8, 2]]), gives=[8 / 24]),
        on_paper("hanging over", SQUARE, tensor([[6.0, 4, 2, 2]]), gives=[2 / 18]),
        edge("no others", SQUARE, torch.zeros(0, 4), gives=[]),
        edge("one without an area", SQUARE, tensor([[5.0, 5, 0, 0]]), gives=[0]),
        *at_random(
            lambda n, draw: (boxes.xyxy_to_cxcywh(some_boxes(1, draw))[0], boxes.xyxy_to_cxcywh(some_boxes(n, draw)))
        ),
    ),
    impostors=(
        Impostor(
            "no_clamp",
            "Two boxes apart in x *and* in y: two negative sides were multiplied. Clamp each side at 0 first.",
            change={".clamp(min=0)": ""},
        ),
        Impostor(
            "clamp_late",
            "The product of the two sides is clamped, which is too late: two negative sides make a positive area.",
            change={
                "sides[:, 0].clamp(min=0) * sides[:, 1].clamp(min=0)": "(sides[:, 0] * sides[:, 1]).clamp(min=0)",
            },
        ),
        Impostor(
            "as_xyxy",
            "The four numbers were read as two corners; they are centre and size.",
            change={
                "box[:2] - box[2:] / 2, box[:2] + box[2:] / 2": "box[:2], box[2:]",
                "others[:, :2] - others[:, 2:] / 2, others[:, :2] + others[:, 2:] / 2": "others[:, :2], others[:, 2:]",
            },
        ),
        Impostor(
            "as_xywh",
            "The centre was read as the upper left corner.",
            change={
                "box[:2] - box[2:] / 2, box[:2] + box[2:] / 2": "box[:2], box[:2] + box[2:]",
                "others[:, :2] - others[:, 2:] / 2, others[:, :2] + others[:, 2:] / 2": (
                    "others[:, :2], others[:, :2] + others[:, 2:]"
                ),
            },
        ),
        Impostor("whole_size", "Half the width lies on each side of the centre, not all of it.", change={" / 2": ""}),
        Impostor(
            "double_count",
            "What both cover is counted twice: it has to come off the sum of the areas once.",
            change={"(areas - shared)": "areas"},
        ),
        Impostor(
            "min_area",
            "It is divided by the smaller box, not by all that the two cover: so a box inside another gets 1.",
            change={
                "(far - near).prod() + (ends - starts).prod(dim=1)": (
                    "torch.minimum((far - near).prod(), (ends - starts).prod(dim=1))"
                ),
                "(areas - shared)": "areas",
            },
        ),
        Impostor(
            "plus_one",
            "A side is x2 - x1: a stray + 1 makes small boxes agree too well.",
            change={
                "torch.minimum(far, ends) - torch.maximum(near, starts)": (
                    "torch.minimum(far, ends) - torch.maximum(near, starts) + 1"
                ),
                "(far - near).prod() + (ends - starts).prod(dim=1)": (
                    "(far - near + 1).prod() + (ends - starts + 1).prod(dim=1)"
                ),
            },
        ),
        Impostor(
            "column", "", change={"return shared / (areas - shared)": "return (shared / (areas - shared))[:, None]"}
        ),
    ),
    hints=(
        "Draw the first case that fails. From where to where do both boxes reach, in x and in y?",
        "Turn both into near and far corners first. What both cover starts at the *larger* near corner and ends at the "
        "*smaller* far one.",
        "`sides = torch.minimum(far, ends) - torch.maximum(near, starts)`, each clamped at 0; then shared / (sum of "
        "areas - shared).",
    ),
    forbidden=("frcnn_lessons.boxes", "torchvision.ops"),
    variants=(
        Variant(
            "xywh",
            """\
`iou_one_cxcywh(box, others)`, in spite of its name: the IoU of one box, shape `(4,)`, with each of `N` others, shape
`(N, 4)`, all written as **(left, top, width, height)**. It returns `N` numbers, shape `(N,)`, and `N` may be 0.

Boxes may be apart, and one of the others may have no area: its IoU is 0. Do it without `frcnn_lessons.boxes` and
`torchvision.ops`.""",
            change={
                "(centre x, centre y, width, height)": "(left, top, width, height)",
                "box[:2] - box[2:] / 2, box[:2] + box[2:] / 2": "box[:2], box[:2] + box[2:]",
                "others[:, :2] - others[:, 2:] / 2, others[:, :2] + others[:, 2:] / 2": (
                    "others[:, :2], others[:, :2] + others[:, 2:]"
                ),
            },
            inputs=_to_xywh,
            gives={"shifted by half": [1 / 3], "hanging over": [2 / 18]},
            without=("as_xyxy", "as_xywh", "whole_size"),
            impostors=(
                Impostor(
                    "as_xyxy",
                    "The four numbers were read as two corners; they are a corner and a size.",
                    change={
                        "box[:2], box[:2] + box[2:]": "box[:2], box[2:]",
                        "others[:, :2] + others[:, 2:]": "others[:, 2:]",
                    },
                ),
                Impostor(
                    "as_cxcywh",
                    "The upper left corner was read as the centre.",
                    change={
                        "box[:2], box[:2] + box[2:]": "box[:2] - box[2:] / 2, box[:2] + box[2:] / 2",
                        "others[:, :2], others[:, :2] + others[:, 2:]": (
                            "others[:, :2] - others[:, 2:] / 2, others[:, :2] + others[:, 2:] / 2"
                        ),
                    },
                ),
            ),
        ),
        Variant(
            "half_sizes",
            """\
`iou_one_cxcywh(box, others)`: the IoU of one box, shape `(4,)`, with each of `N` others, shape `(N, 4)`, all written
as **(centre x, centre y, half the width, half the height)**. It returns `N` numbers, shape `(N,)`, and `N` may be 0.

Boxes may be apart, and one of the others may have no area: its IoU is 0. Do it without `frcnn_lessons.boxes` and
`torchvision.ops`.""",
            change={"centre y, width, height": "centre y, half the width, half the height", " / 2": ""},
            inputs=_halved,
            gives={"shifted by half": [1 / 3], "a cross": [8 / 24]},
            without=("as_xyxy", "as_xywh", "whole_size"),
            impostors=(
                Impostor(
                    "halved_again",
                    "The sizes are half sizes already: the centre plus the third number is the far side.",
                    change={"box[2:]": "box[2:] / 2", "others[:, 2:]": "others[:, 2:] / 2"},
                ),
            ),
        ),
    ),
    draw=draw_iou,
)

# --- 01.3 ------------------------------------------------------------------------------------------------------


def deltas_to_one(gt, anchors):
    """Deltas (N, 4) that lead from each of N anchors (N, 4) to one object gt (4,), both xyxy."""
    size, gt_size = anchors[:, 2:] - anchors[:, :2], gt[2:] - gt[:2]  # (N, 2), (2,)
    centre, gt_centre = anchors[:, :2] + size / 2, gt[:2] + gt_size / 2  # (N, 2), (2,)
    return torch.cat([(gt_centre - centre) / size, torch.log(gt_size / size)], dim=1)


def draw_deltas(inputs: tuple[Any, ...], expected: Any, got: Any) -> None:
    """The object as "box", the anchors as the others."""
    gt, anchors = inputs
    draw_two(gt, anchors, _few(expected[0]), _few(got[0]), "From each anchor (orange) to the object (blue)")


GOAL = tensor([3.0, 3, 11, 5])
LN2 = math.log(2)

DELTAS_TO_ONE = Exercise(
    kind="implement",
    reference=deltas_to_one,
    number="01.3",
    title="Deltas to one object",
    stars=2,
    minutes=15,
    points=3,
    goals=(3,),
    core=True,
    text="""\
`deltas_to_one(gt, anchors)`: the deltas $(d_x, d_y, d_w, d_h)$ of equation 2 from each of `N` anchors, shape `(N,
4)`, to one object `gt`, shape `(4,)`; all boxes are `xyxy`, the logarithm is the natural one. It returns shape `(N,
4)`, and `N` may be 0.

Do it without `boxes.encode`.""",
    cases=(
        on_paper("the anchor of the lesson", GOAL, tensor([[2.0, 2, 6, 6]]), gives=[[0.75, 0, LN2, -LN2]]),
        on_paper("the anchor is the object", GOAL, tensor([[3.0, 3, 11, 5]]), gives=[[0, 0, 0, 0]]),
        on_paper("an anchor that stands", GOAL, tensor([[6.0, 0, 8, 4]]), gives=[[0, 0.5, 2 * LN2, -LN2]]),
        on_paper("an anchor on the right", GOAL, tensor([[9.0, 3, 17, 5]]), gives=[[-0.75, 0, 0, 0]]),
        edge("no anchors", GOAL, torch.zeros(0, 4), gives=torch.zeros(0, 4)),
        *at_random(lambda n, draw: (some_boxes(1, draw)[0], some_boxes(n, draw))),
    ),
    impostors=(
        Impostor(
            "by_gt_size",
            "The way is measured in widths of the *anchor*; it came out in widths of the object.",
            change={"(gt_centre - centre) / size": "(gt_centre - centre) / gt_size"},
        ),
        Impostor(
            "corner",
            "The way leads from centre to centre, not from corner to corner.",
            change={" + size / 2": "", " + gt_size / 2": ""},
        ),
        Impostor(
            "no_log",
            "Twice as wide must be +0.69 and half as wide -0.69: the logarithm is missing.",
            change={"torch.log(gt_size / size)": "gt_size / size"},
        ),
        Impostor(
            "less_one",
            "Twice as wide must be +0.69 and half as wide -0.69: a ratio less one is no logarithm.",
            change={"torch.log(gt_size / size)": "gt_size / size - 1"},
        ),
        Impostor(
            "log2",
            "That is the logarithm to base 2; the network's exp undoes the natural one.",
            change={"torch.log(": "torch.log2("},
        ),
        Impostor(
            "log10",
            "That is the logarithm to base 10; the network's exp undoes the natural one.",
            change={"torch.log(": "torch.log10("},
        ),
        Impostor(
            "backwards",
            "All signs are turned round: the way leads from the anchor *to* the object.",
            change={"(gt_centre - centre)": "(centre - gt_centre)", "gt_size / size": "size / gt_size"},
        ),
        Impostor(
            "by_width",
            "dy was divided by the anchor's width: seen on an anchor that is not square.",
            change={"(gt_centre - centre) / size": "(gt_centre - centre) / size[:, :1]"},
        ),
        Impostor(
            "pixels",
            "dx is 3 pixels there, and 0.75 in widths of the anchor.",
            change={"(gt_centre - centre) / size": "gt_centre - centre"},
        ),
    ),
    hints=(
        "In words: how many anchor widths to the right, how many times as wide?",
        "Compute centre and size of both first; `anchors[:, 2:] - anchors[:, :2]` is all sizes at once.",
        "`torch.cat([(gt_centre - centre) / size, torch.log(gt_size / size)], dim=1)`",
    ),
    forbidden=("frcnn_lessons.boxes.encode", "frcnn_lessons.boxes.encode_core"),
    variants=(
        Variant(
            "variances",
            """\
`deltas_to_one(gt, anchors)`: the deltas $(d_x, d_y, d_w, d_h)$ of equation 2 from each of `N` anchors, shape `(N,
4)`, to one object `gt`, shape `(4,)`, **divided by the variances (0.1, 0.1, 0.2, 0.2)** as in SSD; all boxes are
`xyxy`, the logarithm is the natural one. It returns shape `(N, 4)`, and `N` may be 0.

Do it without `boxes.encode`.""",
            change={"dim=1)": "dim=1) / torch.tensor([0.1, 0.1, 0.2, 0.2])"},
            gives={"the anchor of the lesson": [[7.5, 0, 5 * LN2, -5 * LN2]]},
            impostors=(
                Impostor(
                    "no_variances",
                    "The variances are missing: dx of 0.75 becomes 7.5.",
                    change={" / torch.tensor([0.1, 0.1, 0.2, 0.2])": ""},
                ),
                Impostor(
                    "times_variances",
                    "Multiplied by the variances; dividing by 0.1 makes ten times as much of it.",
                    change={" / torch.tensor([0.1": " * torch.tensor([0.1"},
                ),
            ),
        ),
        Variant(
            "cxcywh",
            """\
`deltas_to_one(gt, anchors)`: the deltas $(d_x, d_y, d_w, d_h)$ of equation 2 from each of `N` anchors, shape `(N,
4)`, to one object `gt`, shape `(4,)`; all boxes are written as **(centre x, centre y, width, height)**, the logarithm
is the natural one. It returns shape `(N, 4)`, and `N` may be 0.

Do it without `boxes.encode`.""",
            change={
                "both xyxy": "both cxcywh",
                "anchors[:, 2:] - anchors[:, :2], gt[2:] - gt[:2]": "anchors[:, 2:], gt[2:]",
                "anchors[:, :2] + size / 2, gt[:2] + gt_size / 2": "anchors[:, :2], gt[:2]",
            },
            inputs=lambda gt, anchors: (boxes.xyxy_to_cxcywh(gt[None])[0], boxes.xyxy_to_cxcywh(anchors)),
            gives={"the anchor of the lesson": [[0.75, 0, LN2, -LN2]]},
            without=("corner",),
            impostors=(
                Impostor(
                    "half_added",
                    "The first two numbers are the centre already: half the width must not be added again.",
                    change={"anchors[:, :2], gt[:2]": "anchors[:, :2] + size / 2, gt[:2] + gt_size / 2"},
                ),
            ),
        ),
    ),
    draw=draw_deltas,
)

# --- 01.4 ------------------------------------------------------------------------------------------------------


def decode_classes(deltas, anchors, weights=(10, 10, 5, 5)):
    """Boxes (N, C, 4), one a class, from deltas (N, C, 4) and anchors (N, 4), xyxy."""
    size = (anchors[:, 2:] - anchors[:, :2])[:, None]  # (N, 1, 2): the same anchor for every class
    centre = anchors[:, None, :2] + size / 2  # (N, 1, 2)
    deltas = deltas / torch.tensor(weights)
    centre = centre + deltas[..., :2] * size  # (N, C, 2)
    half = deltas[..., 2:].clamp(max=math.log(1000 / 16)).exp() * size / 2  # (N, C, 2)
    return torch.cat([centre - half, centre + half], dim=-1)


ANCHOR = tensor([[2.0, 2, 6, 6]])


def one_delta(*numbers: float) -> Tensor:
    """(1, 1, 4): one anchor, one class."""
    return tensor(numbers).reshape(1, 1, 4).float()


DECODE_CLASSES = Exercise(
    kind="implement",
    reference=decode_classes,
    number="01.4",
    title="One box a class",
    stars=2,
    minutes=20,
    points=3,
    goals=(3,),
    core=False,
    text="""\
`decode_classes(deltas, anchors, weights=(10, 10, 5, 5))`: a detection head says for each of `N` anchors, shape `(N,
4)`, how a box of each of `C` classes would lie: deltas of shape `(N, C, 4)`. Return these boxes, `xyxy`, shape `(N,
C, 4)`.

The deltas are *divided* by the weights. Then $d_w$ and $d_h$ are cut off at $\\log(1000/16)$ above; nothing else is
cut. `N` may be 0. Do it without `boxes.decode`.""",
    cases=(
        on_paper("deltas of 0, two classes", torch.zeros(1, 2, 4), ANCHOR, gives=[[[2, 2, 6, 6], [2, 2, 6, 6]]]),
        on_paper("to the truth of the lesson", one_delta(7.5, 0, 5 * LN2, -5 * LN2), ANCHOR, gives=[[[3, 3, 11, 5]]]),
        on_paper("weights of 1", one_delta(0.75, 0, LN2, -LN2), ANCHOR, (1, 1, 1, 1), gives=[[[3, 3, 11, 5]]]),
        on_paper("dx = 100", one_delta(100, 0, 0, 0), ANCHOR, gives=[[[42, 2, 46, 6]]]),
        on_paper("dw = 250", one_delta(0, 0, 250, 0), ANCHOR, gives=[[[-121, 2, 129, 6]]]),
        on_paper("dw = 15", one_delta(0, 0, 15, 0), ANCHOR, gives=[[[4 - 2 * math.e**3, 2, 4 + 2 * math.e**3, 6]]]),
        on_paper("dh = -30", one_delta(0, 0, 0, -30), ANCHOR, gives=[[[2, 4 - 2 * math.e**-6, 6, 4 + 2 * math.e**-6]]]),
        on_paper(
            "two classes that differ",
            tensor([[[10.0, 0, 0, 0], [0, 10, 0, 0]]]),
            ANCHOR,
            gives=[[[6, 2, 10, 6], [2, 6, 6, 10]]],
        ),
        edge("no anchors", torch.zeros(0, 3, 4), torch.zeros(0, 4), gives=torch.zeros(0, 3, 4)),
        *at_random(lambda n, draw: (40 * torch.randn(n, 3, 4, generator=draw), some_boxes(n, draw))),
    ),
    impostors=(
        Impostor(
            "weights_times",
            "The deltas were multiplied by the weights: encode multiplied, so decode must divide.",
            change={"deltas / torch.tensor(weights)": "deltas * torch.tensor(weights)"},
        ),
        Impostor(
            "weights_forgotten",
            "The weights were not used: a dx of 10 is one width.",
            change={" / torch.tensor(weights)": ""},
        ),
        Impostor(
            "no_clamp",
            "Nothing was cut off: dw = 250 made a box wider than any picture.",
            change={".clamp(max=math.log(1000 / 16))": ""},
        ),
        Impostor(
            "clamp_before_weights",
            "The cut-off comes after the division by the weights.",
            change={
                "deltas / torch.tensor(weights)": (
                    "torch.cat([deltas[..., :2], deltas[..., 2:].clamp(max=math.log(1000 / 16))], -1) "
                    "/ torch.tensor(weights)"
                )
            },
        ),
        Impostor(
            "clamp_both",
            "A very *small* box is legal: only the upper end is cut off.",
            change={"clamp(max=": "clamp(min=-math.log(1000 / 16), max="},
        ),
        Impostor(
            "clamp_dx",
            "dx and dy are no logarithms: they are not cut off.",
            change={"deltas[..., :2] * size": "deltas[..., :2].clamp(max=math.log(1000 / 16)) * size"},
        ),
        Impostor(
            "corner",
            "The way starts at the anchor's centre, not at its corner.",
            change={"anchors[:, None, :2] + size / 2": "anchors[:, None, :2]"},
        ),
        Impostor(
            "added",
            "The deltas were added to the corners: they are shares of the anchor (lesson 01, Break it).",
            function=lambda deltas, anchors, weights=(10, 10, 5, 5): anchors[:, None] + deltas / torch.tensor(weights),
        ),
        Impostor(
            "same_for_all",
            "Every class got the first class's box.",
            change={"deltas = deltas / ": "deltas = deltas[:, :1].expand_as(deltas) / "},
        ),
    ),
    hints=(
        "It is lesson 01's decode, with one axis more. Which shape must the anchors' sizes have, to fit (N, C, 2)?",
        "`size[:, None]` is (N, 1, 2), and broadcasting does the rest. Divide first, cut off then.",
        "`half = deltas[..., 2:].clamp(max=math.log(1000 / 16)).exp() * size / 2`",
    ),
    forbidden=("frcnn_lessons.boxes.decode", "frcnn_lessons.boxes.decode_core"),
)

# --- 01.5 ------------------------------------------------------------------------------------------------------


def nms_with_a_hole(candidates, scores, threshold):
    """Indices (M,) of the boxes that non-maximum suppression keeps of (N, 4), best first."""
    iou = boxes.iou(candidates, candidates)
    order = scores.argsort(descending=True, stable=True).tolist()
    keep = []
    for i in order:
        if all(iou[i, j] <= threshold for j in keep):
            keep.append(i)
    return keep


def draw_nms(inputs: tuple[Any, ...], expected: Any, got: Any) -> None:
    """The candidates, kept ones in colour."""
    candidates, scores, threshold = inputs
    if len(candidates) > 8:
        return
    width, height = (candidates[:, 2:].amax(0).ceil().int() + 1).tolist()
    ax = plots.squared_paper(width, height, title=f"NMS at {threshold:g}: expected {list(expected)}, got {list(got)}")
    for number, (box, score) in enumerate(zip(candidates, scores.tolist(), strict=True)):
        is_kept = number in list(expected)
        plots.draw_box(
            ax, box, plots.BLUE if is_kept else plots.GREY, f"{number}: {score:.2f}", line="-" if is_kept else ":"
        )


CHAIN = tensor([[0.0, 0, 10, 4], [3, 0, 13, 4], [6, 0, 16, 4]])
FIVE = tensor([[1.0, 1, 6, 5], [2, 1, 7, 5], [1, 2, 6, 6], [8, 3, 11, 7], [9, 3, 12, 7]])
FIVE_SCORES = tensor([0.95, 0.90, 0.75, 0.60, 0.55])

HALF = tensor([[0.0, 0, 4, 4], [0, 0, 4, 2], [10, 0, 14, 4]])  # IoU 1/2 for the first two
THREE = tensor([[0.0, 0, 10, 4], [20, 0, 30, 4], [1, 0, 11, 4]])

NMS_WITH_A_HOLE = Exercise(
    kind="find the bug",
    reference=nms_with_a_hole,
    given="as_given",
    number="01.5",
    title="NMS with a hole",
    stars=2,
    minutes=15,
    points=3,
    goals=(4,),
    core=True,
    text="""\
"Three trucks stand in a row, and the third is missing." Find the mistake in this non-maximum suppression and correct
it.

`nms_with_a_hole(candidates, scores, threshold)` gets `N` boxes, shape `(N, 4)`, with their scores and returns the
indices of those that are kept, best first: a box stays unless its IoU with a box that was *kept* before it is above
the threshold. `N` may be 0. `boxes.iou` may be used, `boxes.nms` and `torchvision.ops` not.""",
    cases=(
        on_paper("three in a row", CHAIN, tensor([0.9, 0.8, 0.7]), 0.5, gives=[0, 2]),
        on_paper("three in a row, the last is best", CHAIN, tensor([0.7, 0.8, 0.9]), 0.5, gives=[2, 0]),
        on_paper("three in a row, the middle is best", CHAIN, tensor([0.7, 0.9, 0.8]), 0.5, gives=[1]),
        on_paper("the lesson's five at 0.5", FIVE, FIVE_SCORES, 0.5, gives=[0, 3, 4]),
        on_paper("the lesson's five at 0.49", FIVE, FIVE_SCORES, 0.49, gives=[0, 3]),
        on_paper("the lesson's five at 0.65", FIVE, FIVE_SCORES, 0.65, gives=[0, 2, 3, 4]),
        on_paper("two halves at 0.5", HALF, tensor([0.8, 0.6, 0.5]), 0.5, gives=[0, 1, 2]),
        on_paper("one far off comes between", THREE, tensor([0.9, 0.8, 0.7]), 0.5, gives=[0, 1]),
        edge("no boxes", torch.zeros(0, 4), torch.zeros(0), 0.5, gives=[]),
        *at_random(lambda n, draw: (some_boxes(n, draw), torch.rand(n, generator=draw), 0.3), sizes=(7, 1, 2, 60, 0)),
    ),
    impostors=(
        Impostor(
            "as_given",
            "A box that was itself thrown away still suppresses others: compare with the boxes that were *kept*.",
            change={"for j in keep": "for j in order[: order.index(i)]"},
        ),
        Impostor(
            "at_threshold",
            "An IoU of exactly the threshold stays: suppression is for *above* it.",
            change={"<= threshold": "< threshold"},
        ),
        Impostor(
            "neighbours_only",
            "It compares with the box kept last only: any kept box suppresses.",
            change={"for j in keep)": "for j in keep[-1:])"},
        ),
        Impostor(
            "raised_threshold",
            "The threshold was changed, so that this picture passes: the mistake is another.",
            change={"for j in keep": "for j in order[: order.index(i)]", "<= threshold": "<= threshold + 0.05"},
        ),
        Impostor(
            "ascending", "The worst comes first: sort by falling score.", change={"descending=True": "descending=False"}
        ),
        Impostor("sorted_out", "", change={"return keep": "return sorted(keep)"}),
    ),
    hints=(
        "Do it on paper for three boxes in a row, of which each overlaps its neighbour only.",
        "Box 1 is thrown away because of box 0. May it still throw out box 2?",
        "Look at what `j` runs over: it should be the boxes kept so far.",
    ),
    forbidden=(
        "frcnn_lessons.boxes.nms",
        "frcnn_lessons.boxes.nms_core",
        "frcnn_lessons.boxes.batched_nms",
        "torchvision.ops",
    ),
    variants=(
        Variant(
            "at_the_threshold",
            """\
"Three trucks stand in a row, and the third is missing." Find the mistake in this non-maximum suppression and correct
it; **and let it suppress from the threshold on**, as one library of the field does: a box stays unless its IoU with a
box that was *kept* before it is **at least** the threshold.

`nms_with_a_hole(candidates, scores, threshold)` gets `N` boxes, shape `(N, 4)`, with their scores and returns the
indices of those that are kept, best first. `N` may be 0. `boxes.iou` may be used, `boxes.nms` and `torchvision.ops`
not.""",
            change={"<= threshold": "< threshold"},
            gives={"the lesson's five at 0.5": [0, 3], "three in a row": [0, 2]},
            without=("at_threshold", "raised_threshold"),
            impostors=(
                Impostor(
                    "above_threshold",
                    "An IoU of exactly the threshold goes here: suppress from the threshold on.",
                    change={"< threshold": "<= threshold"},
                ),
            ),
        ),
        Variant(
            "at_most_two",
            """\
"Three trucks stand in a row, and the third is missing." Find the mistake in this non-maximum suppression and correct
it; **and let it keep two boxes at most**, the best two of those that stay.

`nms_with_a_hole(candidates, scores, threshold)` gets `N` boxes, shape `(N, 4)`, with their scores and returns the
indices of those that are kept, best first: a box stays unless its IoU with a box that was *kept* before it is above
the threshold. `N` may be 0. `boxes.iou` may be used, `boxes.nms` and `torchvision.ops` not.""",
            change={"return keep": "return keep[:2]"},
            gives={"the lesson's five at 0.5": [0, 3], "three in a row": [0, 2]},
            without=("at_threshold", "sorted_out", "neighbours_only"),
            impostors=(
                Impostor("no_limit", "More than two were kept.", change={"return keep[:2]": "return keep"}),
                Impostor(
                    "first_two_looked_at",
                    "It looks at the two best candidates only: two of those that *stay* were asked for.",
                    change={"for i in order:": "for i in order[:2]:"},
                ),
            ),
        ),
    ),
    draw=draw_nms,
)

# --- 01.6 ------------------------------------------------------------------------------------------------------

TRUTH = tensor([[2.0, 2, 6, 6]])


def _iou_with_truth(box: Any) -> float:
    return boxes.iou(tensor([box]).float(), TRUTH).item()


def _giou_with_truth(box: Any) -> float:
    return boxes.giou(tensor([box]).float(), TRUTH).item()


def _one_contains_the_other(box: Any) -> bool:
    a, b = tensor(box).float(), TRUTH[0]
    inside = (a[:2] >= b[:2]).all() and (a[2:] <= b[2:]).all()
    around = (a[:2] <= b[:2]).all() and (a[2:] >= b[2:]).all()
    return bool(inside or around)


def _edges_in_common(box: Any) -> int:
    return int((tensor(box).float() == TRUTH[0]).sum())


def draw_three(_inputs: tuple[Any, ...], _expected: Any, _got: Any) -> None:
    """The truth alone: where the three boxes lie is the student's to see on paper."""
    ax = plots.squared_paper(12, 8, title="The truth")
    plots.draw_box(ax, TRUTH[0], plots.ORANGE, "truth", line="--", fill=0.12)


PLACE_THE_BOX = Exercise(
    kind="complete the picture",
    name="place_the_box",
    number="01.6",
    title="Place the box",
    minutes=10,
    points=2,
    goals=(2,),
    core=True,
    text="""\
On squared paper, 12 wide and 8 high, the truth is the box `(2, 2, 6, 6)`. Give three boxes with whole numbers, `xyxy`:

- `a`: its IoU with the truth is exactly 1/2, and neither box contains the other;
- `b`: its IoU is 0 and its GIoU is exactly 0;
- `c`: its IoU is exactly 1/4, and it has no edge in common with the truth (no number is the same in the same place).

There are several right answers.""",
    answer={"a": (3, 2, 8, 6), "b": (6, 2, 9, 6), "c": (3, 3, 5, 5)},
    stub='{"a": ..., "b": ..., "c": ...}',
    cases=(
        on_paper("a: IoU with the truth", gives=0.5, experiment=lambda value: _iou_with_truth(value()["a"])),
        on_paper(
            "a: does one contain the other?",
            gives=False,
            experiment=lambda value: _one_contains_the_other(value()["a"]),
        ),
        on_paper("b: IoU with the truth", gives=0, experiment=lambda value: _iou_with_truth(value()["b"])),
        on_paper("b: GIoU with the truth", gives=0, experiment=lambda value: _giou_with_truth(value()["b"])),
        on_paper("c: IoU with the truth", gives=0.25, experiment=lambda value: _iou_with_truth(value()["c"])),
        on_paper("c: edges in common with the truth", gives=0, experiment=lambda value: _edges_in_common(value()["c"])),
    ),
    impostors=(
        Impostor(
            "a_nested",
            "It is half of the truth, but it lies inside: let it stick out and cover more.",
            answer={"a": (2, 2, 6, 4), "b": (6, 2, 9, 6), "c": (3, 3, 5, 5)},
        ),
        Impostor(
            "b_apart",
            "The frame around both has empty squares. When has it none?",
            answer={"a": (3, 2, 8, 6), "b": (8, 2, 10, 6), "c": (3, 3, 5, 5)},
        ),
        Impostor(
            "c_in_the_corner",
            "Right in size; but it shares the upper left corner: move it inwards.",
            answer={"a": (3, 2, 8, 6), "b": (6, 2, 9, 6), "c": (2, 2, 4, 4)},
        ),
    ),
    hints=(
        "The truth covers 16 squares. For IoU 1/2, what both share must be half of what they cover.",
        "a: try a box as high as the truth, from x = 3 on. b: the frame around both must be covered by the two.",
        "a: share 12 squares of 24. b: a box that touches the truth and is as high. c: 4 squares, all inside.",
    ),
    variants=(
        Variant(
            "upright",
            """\
On squared paper, 12 wide and 8 high, the truth is the box `(2, 2, 6, 6)`. Give three boxes with whole numbers, `xyxy`:

- `a`: its IoU with the truth is exactly 1/3, and neither box contains the other;
- `b`: its IoU is 0 and its GIoU is exactly 0;
- `c`: its IoU is exactly 1/8.

There are several right answers.""",
            answer={"a": (2, 4, 6, 8), "b": (2, 6, 6, 8), "c": (3, 3, 4, 5)},
            cases=(
                on_paper("a: IoU with the truth", gives=1 / 3, experiment=lambda value: _iou_with_truth(value()["a"])),
                on_paper(
                    "a: does one contain the other?",
                    gives=False,
                    experiment=lambda value: _one_contains_the_other(value()["a"]),
                ),
                on_paper("b: IoU with the truth", gives=0, experiment=lambda value: _iou_with_truth(value()["b"])),
                on_paper("b: GIoU with the truth", gives=0, experiment=lambda value: _giou_with_truth(value()["b"])),
                on_paper("c: IoU with the truth", gives=0.125, experiment=lambda value: _iou_with_truth(value()["c"])),
            ),
            without=("a_nested", "b_apart", "c_in_the_corner"),
            impostors=(
                Impostor(
                    "third_of_the_box",
                    "The part that sticks out counts as well: a third of the box is not a third of what both cover.",
                    answer={"a": (2, 4, 6, 10), "b": (2, 6, 6, 8), "c": (3, 3, 4, 5)},
                ),
                Impostor(
                    "b_apart",
                    "The frame around both has empty squares. When has it none?",
                    answer={"a": (2, 4, 6, 8), "b": (2, 7, 6, 8), "c": (3, 3, 4, 5)},
                ),
            ),
        ),
    ),
    draw=draw_three,
)

# --- 01.7 ------------------------------------------------------------------------------------------------------


def soft_nms(candidates, scores, threshold=0.3, min_score=0.05):
    """Indices (M,) in the order taken of boxes (N, 4), and the scores (M,) that they had then."""
    iou = boxes.iou(candidates, candidates)
    scores, left = scores.clone(), list(range(len(scores)))
    taken, taken_scores = [], []
    while left:
        best = max(left, key=lambda i: scores[i])
        if scores[best] < min_score:
            break
        taken.append(best)
        taken_scores.append(scores[best].item())
        left.remove(best)
        for i in left:
            if iou[best, i] > threshold:
                scores[i] = scores[i] * (1 - iou[best, i])
    return torch.tensor(taken, dtype=torch.int64), torch.tensor(taken_scores)


TWINS = tensor([[0.0, 0, 4, 4], [0, 0, 4, 4]])
THIRD = tensor([[0.0, 0, 4, 4], [2, 0, 6, 4]])  # IoU 1/3

SOFT_NMS = Exercise(
    kind="implement",
    reference=soft_nms,
    number="01.7",
    title="Soft NMS",
    stars=3,
    minutes=25,
    points=4,
    goals=(4,),
    core=False,
    text="""\
Bodla et al. (2017) do not throw a box away because it overlaps a better one; they lower its score.
`soft_nms(candidates, scores, threshold=0.3, min_score=0.05)`: take the best box that is left; multiply the score of
every *other one left* whose IoU with it is **above** the threshold by `1 - IoU`; again. Stop when the best one left
is below `min_score`.

Return two tensors: the indices in the order in which they were taken, and the scores that they had *then*. There may
be no boxes. Do it without `boxes.nms`.""",
    cases=(
        on_paper("half covered, and one apart", HALF, tensor([0.8, 0.6, 0.5]), gives=([0, 2, 1], [0.8, 0.5, 0.3])),
        on_paper("two that are the same", TWINS, tensor([0.9, 0.8]), gives=([0], [0.9])),
        on_paper("an IoU of 1/3 at 0.4", THIRD, tensor([0.9, 0.6]), 0.4, gives=([0, 1], [0.9, 0.6])),
        on_paper("an IoU of 1/3 at 0.3", THIRD, tensor([0.6, 0.9]), 0.3, gives=([1, 0], [0.9, 0.4])),
        on_paper("an IoU of 1/2 at 0.5", HALF, tensor([0.8, 0.6, 0.5]), 0.5, gives=([0, 1, 2], [0.8, 0.6, 0.5])),
        on_paper(
            "an IoU of 1/2 at 0.5, the smaller first",
            HALF,
            tensor([0.6, 0.8, 0.1]),
            0.5,
            gives=([1, 0, 2], [0.8, 0.6, 0.1]),
        ),
        on_paper("from 0.5 on", HALF, tensor([0.8, 0.6, 0.5]), 0.3, 0.5, gives=([0, 2], [0.8, 0.5])),
        edge("no boxes", torch.zeros(0, 4), torch.zeros(0), gives=([], [])),
        edge("one box", TWINS[:1], tensor([0.9]), gives=([0], [0.9])),
        *at_random(lambda n, draw: (some_boxes(n, draw), torch.rand(n, generator=draw))),
    ),
    impostors=(
        Impostor(
            "sorted_once",
            "After the decay another box may be the best: look for it anew each time.",
            change={
                "list(range(len(scores)))": "scores.argsort(descending=True).tolist()",
                "max(left, key=lambda i: scores[i])": "left[0]",
                "break": "left.pop(0); continue",
            },
        ),
        Impostor("decays_all", "Only overlaps above the threshold count.", change={"> threshold": "> 0"}),
        Impostor(
            "original_scores",
            "These are the scores of the beginning: return those that the boxes had when they were taken.",
            change={
                "scores, left = scores.clone()": "first, scores, left = scores, scores.clone()",
                "taken_scores.append(scores[best].item())": "taken_scores.append(first[best].item())",
            },
        ),
        Impostor(
            "hard",
            "It throws boxes away: soft NMS only lowers their scores.",
            change={"scores[i] * (1 - iou[best, i])": "0.0"},
        ),
        Impostor(
            "times_iou",
            "More overlap must leave *less* of the score: multiply by 1 - IoU.",
            change={"(1 - iou[best, i])": "iou[best, i]"},
        ),
        Impostor(
            "at_threshold", "An IoU of exactly the threshold changes nothing.", change={"> threshold": ">= threshold"}
        ),
        Impostor("writes_scores", "", change={"scores, left = scores.clone(), ": "left = "}),
    ),
    hints=(
        "Write NMS as a loop first: `while left:`, take the best, then look at all others that are left.",
        "Work on a copy of the scores, and look for the best one left anew in every round.",
        "`for i in left: if iou[best, i] > threshold: scores[i] *= 1 - iou[best, i]`, after `left.remove(best)`.",
    ),
    forbidden=("frcnn_lessons.boxes.nms", "frcnn_lessons.boxes.nms_core", "torchvision.ops.nms"),
)

# --- 01.8 ------------------------------------------------------------------------------------------------------

WHY_THE_LOGARITHM = Exercise(
    kind="explain",
    name="why_the_logarithm",
    number="01.8",
    title="Why the logarithm?",
    minutes=8,
    points=2,
    goals=(3,),
    core=True,
    text="""\
A fellow student drops the logarithm: "I predict $g_w / a_w$ and multiply by a weight of 5, so the scale is right
again." Name two things that go wrong (at most 100 words).""",
    answer="""\
Half and double no longer weigh alike: a box half as wide is off by 0.5, one twice as wide by 1, and a weight
multiplies both, so it cannot repair the asymmetry. And a network may output any number: a negative ratio is no width,
while exp() of any output is positive.""",
    guide="""\
1 point: half and double do not weigh alike, or: a weight cannot repair an asymmetry. 1 point: a negative output is no
width, or: exp is always positive. Half a point for "numerical stability" alone.""",
    hints=(
        "Compare a truth twice as wide as the anchor with one half as wide.",
        "What would an output of -0.3 mean?",
        "Lesson 01, 'Why the logarithm?': look at the two curves at 1/2, at 2 and left of 0.",
    ),
)

# --- 01.9 ------------------------------------------------------------------------------------------------------


def catch_iou(iou):
    """True if `iou(a, b)`, xyxy boxes (N, 4) and (K, 4), is wrong."""
    a = torch.tensor([[2.0, 2, 6, 6], [20, 20, 22, 22], [20, 2, 22, 6]])
    b = torch.tensor([[2.0, 2, 6, 6], [4, 2, 8, 6]])
    before = a.clone()
    answer = torch.as_tensor(iou(a, b))
    expected = torch.tensor([[1, 1 / 3], [0, 0], [0, 0]])
    if answer.shape != (3, 2) or not torch.allclose(answer.float(), expected, atol=1e-5) or not torch.equal(a, before):
        return True
    if tuple(torch.as_tensor(iou(torch.zeros(0, 4), b)).shape) != (0, 2):
        return True
    inside = torch.as_tensor(iou(torch.tensor([[3.0, 3, 5, 5]]), b[:1]))
    return not torch.allclose(inside.float(), torch.tensor([[0.25]]), atol=1e-5)


def iou_in_a_loop(a, b):
    """IoU (N, K), box by box, in double precision."""
    table = torch.zeros(len(a), len(b), dtype=torch.float64)
    for n, (ax1, ay1, ax2, ay2) in enumerate(a.tolist()):
        for k, (bx1, by1, bx2, by2) in enumerate(b.tolist()):
            shared = max(0, min(ax2, bx2) - max(ax1, bx1)) * max(0, min(ay2, by2) - max(ay1, by1))
            table[n, k] = shared / ((ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared)
    return table


def iou_to_spoil(a, b):
    """IoU (N, K); the faulty ones of this exercise are made from it."""
    low, high = torch.maximum(a[:, None, :2], b[:, :2]), torch.minimum(a[:, None, 2:], b[:, 2:])  # (N, K, 2)
    shared = (high - low).clamp(min=0).prod(dim=2)  # (N, K)
    union = (a[:, 2:] - a[:, :2]).prod(dim=1)[:, None] + (b[:, 2:] - b[:, :2]).prod(dim=1) - shared
    return shared / union


def _spoilt(label: str, change: dict[str, str]) -> Case:
    return faulty(label, edited(iou_to_spoil, change, label))


CATCH_IOU = Exercise(
    kind="catch the mistake",
    reference=catch_iou,
    number="01.9",
    title="Catch the mistake: IoU",
    stars=2,
    minutes=20,
    points=3,
    goals=(2,),
    core=False,
    text="""\
Write the *test*. `catch_iou(iou)` gets a function `iou(a, b)` that should return the IoU, shape `(N, K)`, of boxes
`a`, shape `(N, 4)`, with boxes `b`, shape `(K, 4)`, all `xyxy`; `N` may be 0. Return `True` if the function is wrong,
else `False`.

It is tried on three right functions (the course's, torchvision's and a loop in double precision), which it must
accept, and on eight faulty ones.""",
    cases=(
        right("the course's", boxes.iou),
        right("torchvision's", torchvision.ops.box_iou),
        right("a loop in double precision", iou_in_a_loop),
        _spoilt("boxes are apart both ways", {".clamp(min=0)": ""}),
        _spoilt(
            "boxes are apart both ways, and the product is clamped",
            {".clamp(min=0).prod(dim=2)": ".prod(dim=2).clamp(min=0)"},
        ),
        _spoilt("boxes are small", {"(high - low)": "(high - low + 1)"}),
        _spoilt("boxes overlap at all", {" - shared": ""}),
        _spoilt(
            "one box lies inside the other",
            {
                "union = ": "union = torch.minimum(",
                "[:, None] + (b": "[:, None], (b",
                ".prod(dim=1) - shared": ".prod(dim=1))",
            },
        ),
        _spoilt("N and K differ", {"shared / union": "(shared / union).T"}),
        _spoilt("there are no boxes", {"shared / union": "shared / union if len(a) else torch.zeros(0)"}),
        _spoilt("you look at the input afterwards", {"return shared / union": "a += 1\n    return shared / union"}),
    ),
    impostors=(
        Impostor(
            "identical_only",
            "One box against itself shows little: what of boxes that are apart, or several of them?",
            function=lambda iou: not torch.allclose(iou(TRUTH.clone(), TRUTH).float(), torch.ones(1, 1)),
        ),
        Impostor(
            "float_equality",
            "Compare with a tolerance: 1/3 in single and in double precision are not `==`.",
            function=lambda iou: iou(TRUTH.clone(), tensor([[4.0, 2, 8, 6]])).item() != 1 / 3,
        ),
        Impostor("accuses_all", "It calls every function wrong.", function=lambda iou: True),  # noqa: ARG005
        Impostor("accepts_all", "It accepts every function that it is tried on.", function=lambda _: False),
    ),
    hints=(
        "Take the cases to know by heart: which of them would each mistake of the lesson get wrong?",
        "Several boxes against another number of boxes, some apart both ways, one inside another, and none at all.",
        "Compare with numbers worked out by hand, with `torch.allclose`, and look at shape and input as well.",
    ),
)

# --- 01.10 -----------------------------------------------------------------------------------------------------


def ciou_pairs(a, b):
    """CIoU (N,) of boxes a (N, 4) with boxes b (N, 4), row by row, xyxy."""
    size_a, size_b = a[:, 2:] - a[:, :2], b[:, 2:] - b[:, :2]  # (N, 2)
    sides = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0)
    shared = sides.prod(dim=1)  # (N,)
    iou = shared / (size_a.prod(dim=1) + size_b.prod(dim=1) - shared)
    between = (a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) / 2  # (N, 2), from centre to centre
    frame = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])  # (N, 2)
    angle_a, angle_b = torch.atan(size_a[:, 0] / size_a[:, 1]), torch.atan(size_b[:, 0] / size_b[:, 1])
    v = 4 / math.pi**2 * (angle_a - angle_b) ** 2
    alpha = torch.where(v > 0, v / (1 - iou + v), 0)
    return iou - (between**2).sum(dim=1) / (frame**2).sum(dim=1) - alpha * v


ONE = tensor([[0.0, 0, 4, 4]])
SHAPE = 4 / math.pi**2 * (math.pi / 4 - math.atan(2)) ** 2  # v of a square and a box half as high


def _peak_of(function, count):
    """Whether a table of count x count numbers fits what a function needs; seen by its shape only."""
    draw = torch.Generator().manual_seed(0)
    return tuple(torch.as_tensor(function(some_boxes(count, draw), some_boxes(count, draw))).shape)


CIOU_PAIRS = Exercise(
    kind="implement",
    reference=ciou_pairs,
    number="01.10",
    title="Complete IoU, row by row",
    stars=3,
    minutes=25,
    points=4,
    goals=(2,),
    core=False,
    text="""\
Zheng et al. (2020) made a loss of IoU that also feels distance and shape. `ciou_pairs(a, b)` for two sets of `N`
boxes, shape `(N, 4)`, **row by row**, returns shape `(N,)`:

$$\\mathrm{CIoU} = \\mathrm{IoU} - \\frac{d^2}{c^2} - \\alpha v \\qquad
v = \\frac{4}{\\pi^2}\\Big(\\arctan\\frac{w_a}{h_a} - \\arctan\\frac{w_b}{h_b}\\Big)^2 \\qquad
\\alpha = \\frac{v}{1 - \\mathrm{IoU} + v}$$

$d$ is the distance of the two centres, $c$ the diagonal of the smallest frame around both boxes; $\\alpha v$ is 0
where $v$ is 0. `N` may be 0, or 3,000. Do it without `torchvision.ops`.""",
    cases=(
        on_paper("the same box", ONE, ONE, gives=[1]),
        on_paper("same centre, same shape", ONE, tensor([[1.0, 1, 3, 3]]), gives=[1 / 4]),
        on_paper(
            "same centre, half as high", ONE, tensor([[0.0, 1, 4, 3]]), gives=[1 / 2 - SHAPE**2 / (1 / 2 + SHAPE)]
        ),
        on_paper("beside, touching", ONE, tensor([[4.0, 0, 8, 4]]), gives=[-16 / 80]),
        on_paper("far apart", ONE, tensor([[16.0, 0, 20, 4]]), gives=[-256 / 416]),
        on_paper("two pairs", ONE.repeat(2, 1), tensor([[1.0, 1, 3, 3], [4, 0, 8, 4]]), gives=[1 / 4, -16 / 80]),
        edge("no boxes", torch.zeros(0, 4), torch.zeros(0, 4), gives=[]),
        edge("3,000 pairs, the shape of the answer", gives=(3000,), experiment=lambda f: _peak_of(f, 3000)),
        *at_random(lambda n, draw: (some_boxes(n, draw), some_boxes(n, draw))),
    ),
    impostors=(
        Impostor("table", "", function=lambda a, b: boxes.giou(a, b)),
        Impostor(
            "d_not_squared",
            "Distance and diagonal are squared in the formula.",
            change={
                "(between**2).sum(dim=1) / (frame**2).sum(dim=1)": (
                    "(between**2).sum(dim=1).sqrt() / (frame**2).sum(dim=1).sqrt()"
                )
            },
        ),
        Impostor(
            "c_of_overlap",
            "c is the diagonal of the frame *around* both, not of what they share.",
            change={"(frame**2)": "((sides + 1e-7)**2)"},
        ),
        Impostor("v_without_pi", "The factor 4 / pi² is missing in v.", change={"4 / math.pi**2 * ": ""}),
        Impostor("alpha_one", "v counts with the weight alpha = v / (1 - IoU + v).", change={" - alpha * v": " - v"}),
        Impostor(
            "alpha_plus_iou",
            "alpha is v / (1 - IoU + v): the sign of IoU is wrong.",
            change={"(1 - iou + v)": "(1 + iou + v)"},
        ),
        Impostor(
            "clamped_at_0",
            "It must fall below 0 for boxes that are apart: that is what it is for.",
            change={"- alpha * v": "- alpha * v).clamp(min=0)", "return iou": "return (iou"},
        ),
        Impostor(
            "minus_frame",
            "That is GIoU, which subtracts the empty share of the frame.",
            function=lambda a, b: boxes.giou(a, b).diagonal(),
        ),
    ),
    hints=(
        "Row by row means no `[:, None]`: everything has N rows.",
        "Five small pieces: IoU, the way between the centres, the frame's sides, the two angles, alpha.",
        "`iou - (between**2).sum(dim=1) / (frame**2).sum(dim=1) - alpha * v`, with `torch.where(v > 0, ..., 0)`.",
    ),
    forbidden=("torchvision.ops",),
)

EXERCISES: tuple[Exercise, ...] = (
    READ_THE_FORMAT,
    IOU_ONE,
    DELTAS_TO_ONE,
    DECODE_CLASSES,
    NMS_WITH_A_HOLE,
    PLACE_THE_BOX,
    SOFT_NMS,
    WHY_THE_LOGARITHM,
    CATCH_IOU,
    CIOU_PAIRS,
)
