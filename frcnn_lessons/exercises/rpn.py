"""The exercises of lesson 09, the region proposal network.

Letters: A anchors a cell, T anchors of an image, F of them foreground, P proposals, a map of h x w cells.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, tensor

from frcnn_lessons import boxes, plots
from frcnn_lessons.exercises.description import (
    Case,
    Exercise,
    Impostor,
    Variant,
    at_random,
    edge,
    faulty,
    on_paper,
    parts,
    right,
)

LN2 = math.log(2)

# --- 09.1 ------------------------------------------------------------------------------------------------------


def rpn_loss_paper(pairs, deltas, labels, goals, cells, box_weight=10.0):
    """Class loss and box loss of T anchors: pairs (T, 2), deltas and goals (T, 4), labels (T,) of 1, 0 and -1."""
    drawn = labels >= 0
    class_loss = F.cross_entropy(pairs[drawn], labels[drawn]) if drawn.any() else torch.tensor(0.0)
    off = (deltas - goals)[labels == 1].abs()  # (F, 4)
    box_loss = torch.where(off < 1 / 9, 4.5 * off**2, off - 1 / 18).sum()
    return class_loss, box_weight * box_loss / cells


def log_loss(logit: float) -> float:
    """What an answer costs whose logit is so far on the right side: log(1 + exp(-logit))."""
    return math.log(1 + math.exp(-logit))


def _row(*numbers: float) -> Tensor:
    return tensor([numbers]).float()


NOTHING = torch.zeros(1, 4)
FIVE_PAIRS = tensor([[0.0, 2], [1, 1], [0, -1], [2, -1], [5, 1]])
FIVE_GOALS = tensor([[0.2, 0, 0, 0], [0, 0.05, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
FIVE_DELTAS = tensor([[0.0, 0, 0, 0], [0, 0, 0, 0], [0.5, 0, 0, 0], [0, 1, 0, 0], [0, 0, 3, 0]])
FIVE_LABELS = tensor([1, 1, 0, 0, -1])
OF_FIVE = (log_loss(2) + LN2 + log_loss(1) + log_loss(3)) / 4
BOX_OF_FIVE = 0.2 - 1 / 18 + 4.5 * 0.05**2


def _some_answers(count: int, draw: torch.Generator) -> tuple[Any, ...]:
    labels = torch.randint(-1, 2, (count,), generator=draw)
    numbers = [torch.randn(count, width, generator=draw) for width in (2, 4, 4)]
    return numbers[0], 0.3 * numbers[1], labels, 0.3 * numbers[2], 10 + count


RPN_LOSS_PAPER = Exercise(
    kind="implement",
    reference=rpn_loss_paper,
    number="09.1",
    title="The loss, in the paper's way",
    stars=2,
    minutes=15,
    points=3,
    goals=(1,),
    core=True,
    text="""\
`rpn_loss_paper(pairs, deltas, labels, goals, cells, box_weight=10.0)`: the loss of equation 1, for `T` anchors, as the
paper has it. Return two numbers, class loss and box loss.

- `pairs`, shape `(T, 2)`: two logits an anchor, **background first**, for a softmax;
- `labels`, shape `(T,)`: 1 for object, 0 for background, -1 for an anchor that was not drawn and counts nowhere;
- the class loss is the mean of the log losses over the anchors drawn; 0 if there are none;
- the box loss is smooth L1 of `deltas - goals`, both `(T, 4)`, added up over all four numbers of the **objects** only,
  divided by the number of `cells` of the map, times `box_weight`. Smooth L1 is $\\frac92 x^2$ below 1/9 and
  $|x| - \\frac1{18}$ from there on.

Do it without `frcnn_lessons.rpn`.""",
    cases=(
        on_paper("an object, and no opinion", _row(0, 0), NOTHING, tensor([1]), NOTHING, 4, gives=[LN2, 0]),
        on_paper("a sure object", _row(1, 3), NOTHING, tensor([1]), NOTHING, 4, gives=[log_loss(2), 0]),
        on_paper(
            "a box 0.2 too far left",
            _row(1, 3),
            NOTHING,
            tensor([1]),
            _row(0.2, 0, 0, 0),
            4,
            gives=[log_loss(2), 10 * (0.2 - 1 / 18) / 4],
        ),
        on_paper(
            "background with wild deltas", _row(3, 1), _row(2, 1, 0, 3), tensor([0]), NOTHING, 4, gives=[log_loss(2), 0]
        ),
        on_paper(
            "two small errors",
            _row(0, 0),
            _row(0.05, 0, 0, -0.1),
            tensor([1]),
            NOTHING,
            5,
            gives=[LN2, 10 * 4.5 * (0.05**2 + 0.1**2) / 5],
        ),
        on_paper(
            "an object, and one not drawn",
            tensor([[0.0, 0], [4, 0]]),
            tensor([[0.0, 0, 0, 0], [1, 1, 1, 1]]),
            tensor([1, -1]),
            torch.zeros(2, 4),
            4,
            gives=[LN2, 0],
        ),
        on_paper(
            "a large error, box_weight 1",
            _row(0, 0),
            _row(0, 0, 2, 0),
            tensor([1]),
            NOTHING,
            2,
            1.0,
            gives=[LN2, (2 - 1 / 18) / 2],
        ),
        on_paper(
            "the lesson's four, and one not drawn",
            FIVE_PAIRS,
            FIVE_DELTAS,
            FIVE_LABELS,
            FIVE_GOALS,
            6,
            gives=[OF_FIVE, 10 * BOX_OF_FIVE / 6],
        ),
        edge("nothing was drawn", FIVE_PAIRS, FIVE_DELTAS, torch.full((5,), -1), FIVE_GOALS, 6, gives=[0, 0]),
        *at_random(_some_answers),
    ),
    impostors=(
        Impostor(
            "ignored_as_background",
            "An anchor with -1 was not drawn: it counts in neither part, and is no background.",
            change={
                "drawn = labels >= 0": "drawn = labels >= -1",
                "labels[drawn])": "labels[drawn].clamp(min=0))",
            },
        ),
        Impostor(
            "object_first",
            "Column 0 is background, column 1 is object.",
            change={"pairs[drawn], ": "pairs[drawn].flip(1), "},
        ),
        Impostor(
            "divided_twice",
            "A mean was divided by the number of anchors once more.",
            change={"return class_loss,": "return class_loss / max(int(drawn.sum()), 1),"},
        ),
        Impostor(
            "class_summed",
            "The class loss is the mean over the anchors drawn, not the sum.",
            change={"labels[drawn])": 'labels[drawn], reduction="sum")'},
        ),
        Impostor(
            "class_over_all",
            "The class loss is divided by the anchors *drawn*, not by all.",
            change={"return class_loss,": "return class_loss * drawn.sum() / max(len(labels), 1),"},
        ),
        Impostor(
            "by_drawn",
            "The box loss was divided by the anchors drawn: that is the usual way; the paper divides by cells.",
            change={"box_loss / cells": "box_loss / max(int(drawn.sum()), 1)"},
        ),
        Impostor(
            "by_objects",
            "The box loss was divided by the number of objects; the paper divides by cells.",
            change={"box_loss / cells": "box_loss / max(int((labels == 1).sum()), 1)"},
        ),
        Impostor(
            "beta_1",
            "The square ends at 1/9 here, not at 1.",
            change={"off < 1 / 9, 4.5 * off**2, off - 1 / 18": "off < 1, 0.5 * off**2, off - 0.5"},
        ),
        Impostor(
            "plain_l1",
            "Below 1/9 it is a square, and 1/18 comes off the rest: plain distances were added.",
            change={"torch.where(off < 1 / 9, 4.5 * off**2, off - 1 / 18)": "off"},
        ),
        Impostor(
            "all_drawn_boxes",
            "Background has no box to learn: the box loss is for labels of 1 only.",
            change={"[labels == 1].abs()": "[drawn].abs()"},
        ),
        Impostor(
            "not_background",
            "An anchor with -1 has no box to learn, either: the box loss is for labels of 1 only.",
            change={"[labels == 1].abs()": "[labels != 0].abs()"},
        ),
        Impostor(
            "mean_of_boxes",
            "The four numbers of all objects are added up; here their mean was taken.",
            change={"off - 1 / 18).sum()": "off - 1 / 18).sum() / max(off.numel(), 1)"},
        ),
        Impostor("no_weight", "box_weight is missing: 10 times as much.", change={"box_weight * box_loss": "box_loss"}),
        Impostor(
            "both_logits",
            "Two logits and a *softmax* are one question, not two with a sigmoid each.",
            change={
                "F.cross_entropy(pairs[drawn], labels[drawn])": (
                    "2 * F.binary_cross_entropy_with_logits(pairs[drawn], F.one_hot(labels[drawn], 2).float())"
                )
            },
        ),
    ),
    hints=(
        "Two masks do it: which anchors count in the class loss, and which in the box loss?",
        "`F.cross_entropy` takes logits and whole numbers and gives the mean. Of nothing it gives nan.",
        "`off = (deltas - goals)[labels == 1].abs()`; `torch.where(off < 1 / 9, 4.5 * off**2, off - 1 / 18).sum()`.",
    ),
    forbidden=("frcnn_lessons.rpn",),
    variants=(
        Variant(
            "usual",
            """\
`rpn_loss_paper(pairs, deltas, labels, goals, cells, box_weight=1.0)`, in spite of its name: the loss of equation 1, for
`T` anchors, in the **usual** way of later code. Return two numbers, class loss and box loss.

- `pairs`, shape `(T, 2)`: two logits an anchor, **background first**, for a softmax;
- `labels`, shape `(T,)`: 1 for object, 0 for background, -1 for an anchor that was not drawn and counts nowhere;
- the class loss is the mean of the log losses over the anchors drawn; 0 if there are none;
- the box loss is smooth L1 of `deltas - goals`, both `(T, 4)`, added up over all four numbers of the **objects** only,
  divided by the number of **anchors drawn** (0 if there are none), times `box_weight`; `cells` is of no use. Smooth L1
  is $\\frac92 x^2$ below 1/9 and $|x| - \\frac1{18}$ from there on.

Do it without `frcnn_lessons.rpn`.""",
            change={
                "box_weight=10.0": "box_weight=1.0",
                "box_loss / cells": "box_loss / max(int(drawn.sum()), 1)",
            },
            gives={
                "the lesson's four, and one not drawn": [OF_FIVE, BOX_OF_FIVE / 4],
                "a box 0.2 too far left": [log_loss(2), 0.2 - 1 / 18],
            },
            without=("by_drawn", "by_objects", "no_weight", "ignored_as_background"),
            impostors=(
                Impostor(
                    "by_cells",
                    "The box loss was divided by the cells: that is the paper's way; here it is by anchors drawn.",
                    change={"box_loss / max(int(drawn.sum()), 1)": "box_loss / cells"},
                ),
            ),
        ),
        Variant(
            "one_logit",
            """\
`rpn_loss_paper(logits, deltas, labels, goals, cells, box_weight=10.0)`: the loss of equation 1, for `T` anchors, with
the paper's division but **one logit an anchor**. Return two numbers, class loss and box loss.

- `logits`, shape `(T,)`: above 0 for "object", for a sigmoid;
- `labels`, shape `(T,)`: 1 for object, 0 for background, -1 for an anchor that was not drawn and counts nowhere;
- the class loss is the mean of the log losses over the anchors drawn; 0 if there are none;
- the box loss is smooth L1 of `deltas - goals`, both `(T, 4)`, added up over all four numbers of the **objects** only,
  divided by the number of `cells` of the map, times `box_weight`. Smooth L1 is $\\frac92 x^2$ below 1/9 and
  $|x| - \\frac1{18}$ from there on.

Do it without `frcnn_lessons.rpn`.""",
            change={
                "F.cross_entropy(pairs[drawn], labels[drawn])": (
                    "F.binary_cross_entropy_with_logits(logits[drawn], labels[drawn].float())"
                ),
                "pairs (T, 2)": "logits (T,)",
                "(pairs, ": "(logits, ",
            },
            inputs=lambda pairs, *others: (pairs[:, 1] - pairs[:, 0], *others),
            gives={"the lesson's four, and one not drawn": [OF_FIVE, 10 * BOX_OF_FIVE / 6]},
            without=("ignored_as_background", "object_first", "class_summed", "both_logits"),
            impostors=(
                Impostor(
                    "object_below_0",
                    "A logit above 0 speaks for an object: the sign is turned round.",
                    change={"(logits[drawn], ": "(-logits[drawn], "},
                ),
            ),
        ),
    ),
)

# --- 09.2 ------------------------------------------------------------------------------------------------------


def propose(objectness, deltas, anchors, size, before=6000, after=300, nms_iou=0.7, min_side=4.0):
    """Proposals (P, 4), best first, from objectness (T,), deltas (T, 4) and anchors (T, 4) of an image."""
    best = objectness.argsort(descending=True)[:before]
    moved, scores = boxes.clip(boxes.decode(deltas[best], anchors[best]), size), objectness[best]
    large = (moved[:, 2:] - moved[:, :2] >= min_side).all(dim=1)
    moved, scores = moved[large], scores[large]
    kept = boxes.nms(moved, scores, nms_iou)[:after]
    return moved[kept]


DECODED = "boxes.decode(deltas[best], anchors[best])"
CLIPPED = f"boxes.clip({DECODED}, size)"
THE_MOVE = f"    moved, scores = {CLIPPED}, objectness[best]\n"
SUPPRESSED_FIRST = "best = best[boxes.nms(anchors[best], objectness[best], nms_iou)]\n"
MOVE_THEN_SUPPRESS = (
    "Two anchors may find the same box: move first, then suppress; and clip before you look for slivers."
)

ROW = tensor([[0.0, 0, 8, 8], [8, 0, 16, 8], [24, 0, 32, 8]])
NEIGHBOURS = tensor([[0.0, 0, 10, 10], [1, 0, 11, 10]])  # IoU 90 / 110
STAY = torch.zeros(3, 4)
ONE_LEFT = tensor([[0.0, 0, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 0]])  # the second moves onto the first
SHEET = (16, 40)


def _some_proposals(count: int, draw: torch.Generator) -> tuple[Any, ...]:
    corner = 60 * torch.rand(count, 2, generator=draw) - 5
    anchors = torch.cat([corner, corner + 6 + 20 * torch.rand(count, 2, generator=draw)], dim=1)
    deltas = 0.3 * torch.randn(count, 4, generator=draw)
    before, after = (6000, 5)[count % 2], (300, 6)[count % 3 == 1]
    return torch.randn(count, generator=draw), deltas, anchors, (50, 60), before, after


def draw_proposals(inputs: tuple[Any, ...], expected: Any, got: Any) -> None:
    """Anchors in grey, what should come out in blue, what came out in orange."""
    _, _, anchors, (height, width), *_ = inputs
    if len(anchors) > 8:
        return
    ax = plots.squared_paper(width, height, title="Anchors (grey), expected (blue), yours (orange)", square=0.2)
    for anchor in anchors:
        plots.draw_box(ax, anchor, plots.GREY, line=":")
    for number, box in enumerate(torch.as_tensor(expected).reshape(-1, 4)):
        plots.draw_box(ax, box, plots.BLUE, f"{number}", fill=0.1)
    for number, box in enumerate(torch.as_tensor(got).reshape(-1, 4)):
        plots.draw_box(ax, box, plots.ORANGE, f"{number}", line="--", inside=True)


PROPOSE = Exercise(
    kind="find the bug",
    reference=propose,
    given="as_given",
    number="09.2",
    title="Ten proposals, seven of one car",
    stars=2,
    minutes=15,
    points=3,
    goals=(2, 3),
    core=True,
    text="""\
"Ten proposals, and seven of them are the same car. And some are slivers at the border." Correct the proposal layer;
there is more than one mistake.

`propose(objectness, deltas, anchors, size, before=6000, after=300, nms_iou=0.7, min_side=4.0)` gets logits, shape
`(T,)`, deltas and anchors, shape `(T, 4)`, and the `size` (height, width) of the image. It takes the best `before`
anchors, moves them, clips them to the image, drops what is then narrower or lower than `min_side` pixels, runs
non-maximum suppression and takes the best `after` of what is left: shape `(P, 4)`, best first. `T` may be 0.

`frcnn_lessons.boxes` may be used, `frcnn_lessons.rpn` and `torchvision.ops` not.""",
    cases=(
        on_paper(
            "nothing moves", tensor([1.0, 3, 2]), STAY, ROW, SHEET, gives=[[8, 0, 16, 8], [24, 0, 32, 8], [0, 0, 8, 8]]
        ),
        on_paper(
            "two anchors find the same box",
            tensor([2.0, 1, 0]),
            ONE_LEFT,
            ROW,
            SHEET,
            gives=[[0, 0, 8, 8], [24, 0, 32, 8]],
        ),
        on_paper(
            "two anchors side by side find different boxes",
            tensor([2.0, 1]),
            tensor([[0.0, 0, 0, 0], [1, 0, 0, 0]]),
            NEIGHBOURS,
            SHEET,
            gives=[[0, 0, 10, 10], [11, 0, 21, 10]],
        ),
        on_paper(
            "one that reaches out of the image",
            tensor([2.0]),
            _row(-0.5, 0, 0, 0),
            ROW[:1],
            SHEET,
            gives=[[0, 0, 4, 8]],
        ),
        on_paper(
            "one of which 2 pixels are left in the image",
            tensor([2.0, 1]),
            tensor([[-0.75, 0, 0, 0], [0, 0, 0, 0]]),
            ROW[:2],
            SHEET,
            gives=[[8, 0, 16, 8]],
        ),
        on_paper(
            "one of which 2 pixels are left at the top",
            tensor([1.0, 2]),
            tensor([[0.0, -0.75, 0, 0], [0, 0, 0, 0]]),
            ROW[:2],
            SHEET,
            gives=[[8, 0, 16, 8]],
        ),
        on_paper(
            "the best goes over the border, and two are left",
            tensor([3.0, 1, 2]),
            tensor([[-1.0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]),
            ROW,
            SHEET,
            gives=[[24, 0, 32, 8], [8, 0, 16, 8]],
        ),
        on_paper(
            "after is 2, two find the same",
            tensor([3.0, 2, 1]),
            ONE_LEFT,
            ROW,
            SHEET,
            6000,
            2,
            gives=[[0, 0, 8, 8], [24, 0, 32, 8]],
        ),
        on_paper(
            "after is 1, and the best is a sliver in the image",
            tensor([2.0, 1]),
            tensor([[-0.75, 0, 0, 0], [0, 0, 0, 0]]),
            ROW[:2],
            SHEET,
            6000,
            1,
            gives=[[8, 0, 16, 8]],
        ),
        on_paper(
            "before is 2, two find the same", tensor([3.0, 2, 1]), ONE_LEFT, ROW, SHEET, 2, 300, gives=[[0, 0, 8, 8]]
        ),
        on_paper(
            "after is 2, the first two overlap by 9/11",
            tensor([3.0, 2, 1]),
            STAY,
            torch.cat([NEIGHBOURS, ROW[2:]]),
            SHEET,
            6000,
            2,
            gives=[[0, 0, 10, 10], [24, 0, 32, 8]],
        ),
        on_paper(
            "one of 2 x 2 pixels",
            tensor([2.0, 1]),
            STAY[:2],
            tensor([[0.0, 0, 2, 2], [8, 0, 16, 8]]),
            SHEET,
            gives=[[8, 0, 16, 8]],
        ),
        on_paper(
            "all as wide as min_side is",
            tensor([1.0, 3, 2]),
            STAY,
            ROW,
            SHEET,
            6000,
            300,
            0.7,
            8.0,
            gives=[[8, 0, 16, 8], [24, 0, 32, 8], [0, 0, 8, 8]],
        ),
        on_paper("after is 1", tensor([1.0, 3, 2]), STAY, ROW, SHEET, 6000, 1, gives=[[8, 0, 16, 8]]),
        on_paper(
            "two that overlap by 9/11, NMS at 0.9",
            tensor([1.0, 2]),
            STAY[:2],
            NEIGHBOURS,
            SHEET,
            6000,
            300,
            0.9,
            gives=[[1, 0, 11, 10], [0, 0, 10, 10]],
        ),
        edge("no anchors", torch.zeros(0), torch.zeros(0, 4), torch.zeros(0, 4), SHEET, gives=torch.zeros(0, 4)),
        *at_random(_some_proposals),
    ),
    impostors=(
        Impostor(
            "as_given",
            MOVE_THEN_SUPPRESS,
            change={
                THE_MOVE: (f"    {SUPPRESSED_FIRST}    moved = boxes.decode(deltas[best], anchors[best])\n"),
                "    moved, scores = moved[large], scores[large]\n": "    moved = boxes.clip(moved[large], size)\n",
                "    kept = boxes.nms(moved, scores, nms_iou)[:after]\n": "",
                "return moved[kept]": "return moved[:after]",
            },
        ),
        Impostor(
            "suppressed_before",
            "Two anchors may find the same box: move first, then suppress.",
            change={
                "[:before]\n": f"[:before]\n    {SUPPRESSED_FIRST}",
                "kept = boxes.nms(moved, scores, nms_iou)[:after]": "kept = slice(after)",
            },
        ),
        Impostor(
            "small_before_clip",
            "A box cut down to a sliver at the border stayed: clip first, then drop what is small.",
            change={
                CLIPPED: (DECODED),
                "moved, scores = moved[large], scores[large]": (
                    "moved, scores = boxes.clip(moved[large], size), scores[large]"
                ),
            },
        ),
        Impostor(
            "not_clipped",
            "A box reaches out of the image: it should be clipped.",
            change={CLIPPED: (DECODED)},
        ),
        Impostor(
            "crossing_dropped",
            "What crosses the border is cut off there, not thrown away.",
            change={
                CLIPPED: (DECODED),
                ">= min_side).all(dim=1)": (">= min_side).all(dim=1) & (moved == boxes.clip(moved, size)).all(dim=1)"),
            },
        ),
        Impostor(
            "all_sizes",
            "Boxes narrower or lower than min_side have to go.",
            change={"moved, scores = moved[large], scores[large]": "pass"},
        ),
        Impostor(
            "small_both",
            "A box goes if it is too narrow *or* too low; here only if both.",
            change={">= min_side).all(dim=1)": ">= min_side).any(dim=1)"},
        ),
        Impostor(
            "above_min_side",
            "A box exactly min_side wide stays: only what is narrower goes.",
            change={">= min_side": "> min_side"},
        ),
        Impostor("before_ignored", "`before` was not looked at.", change={"[:before]": ""}),
        Impostor("after_ignored", "`after` was not looked at.", change={"[:after]": ""}),
        Impostor(
            "after_before_nms",
            "Suppress first and take the best `after` of what is left: else repeats take up the places.",
            change={
                "kept = boxes.nms(moved, scores, nms_iou)[:after]": (
                    "kept = boxes.nms(moved[:after], scores[:after], nms_iou)"
                )
            },
        ),
        Impostor(
            "other_scores",
            "The scores are those of other boxes: what is dropped from the boxes must be dropped from them, too.",
            change={"moved[large], scores[large]": "moved[large], objectness[: int(large.sum())]"},
        ),
        Impostor(
            "anchor_order",
            "The right boxes in the order of their anchors: best first.",
            change={
                "[:before]\n": "[:before].sort().values\n",
                "[:after]\n    return moved[kept]": "[:after]\n    return moved[kept.sort().values]",
            },
        ),
        Impostor(
            "worst_first",
            "The worst anchors were taken: sort by falling objectness.",
            change={"descending=True": "descending=False"},
        ),
        Impostor(
            "no_nms",
            "Nothing was suppressed.",
            change={"boxes.nms(moved, scores, nms_iou)": "torch.arange(len(moved))"},
        ),
    ),
    hints=(
        "Draw two anchors whose deltas lead to the same box. Does NMS see that, where it stands?",
        "Order of the lesson: best, move, clip, drop, suppress, best. Which lines stand elsewhere?",
        "Clip right after `decode`; keep boxes *and* scores of what is large; then `boxes.nms(...)[:after]`.",
    ),
    forbidden=("frcnn_lessons.rpn", "torchvision.ops"),
    variants=(
        Variant(
            "with_scores",
            """\
"Ten proposals, and seven of them are the same car. And some are slivers at the border." Correct the proposal layer;
there is more than one mistake. **And let it return two things: the boxes, and their probabilities**, shape `(P,)`, the
sigmoid of the logits.

`propose(objectness, deltas, anchors, size, before=6000, after=300, nms_iou=0.7, min_side=4.0)` gets logits, shape
`(T,)`, deltas and anchors, shape `(T, 4)`, and the `size` (height, width) of the image. It takes the best `before`
anchors, moves them, clips them to the image, drops what is then narrower or lower than `min_side` pixels, runs
non-maximum suppression and takes the best `after` of what is left: boxes of shape `(P, 4)`, best first. `T` may be 0.

`frcnn_lessons.boxes` may be used, `frcnn_lessons.rpn` and `torchvision.ops` not.""",
            change={"return moved[kept]": "return moved[kept], scores[kept].sigmoid()"},
            gives={"after is 1": ([[8, 0, 16, 8]], [1 / (1 + math.exp(-3))])},
            without=("as_given", "anchor_order", "after_before_nms", "suppressed_before", "other_scores"),
            impostors=(
                Impostor(
                    "as_given",
                    MOVE_THEN_SUPPRESS,
                    change={
                        THE_MOVE: (f"    {SUPPRESSED_FIRST}    moved = boxes.decode(deltas[best], anchors[best])\n"),
                        "    moved, scores = moved[large], scores[large]\n": (
                            "    moved = boxes.clip(moved[large], size)\n"
                        ),
                        "    kept = boxes.nms(moved, scores, nms_iou)[:after]\n": "",
                        "return moved[kept], scores[kept].sigmoid()": "return moved[:after]",
                    },
                ),
                Impostor(
                    "logits",
                    "These are logits: the sigmoid makes probabilities of them.",
                    change={"scores[kept].sigmoid()": "scores[kept]"},
                ),
                Impostor(
                    "first_scores",
                    "These are the best scores of all, not those of the boxes that were kept.",
                    change={"scores[kept].sigmoid()": "objectness.sort(descending=True).values[: len(kept)].sigmoid()"},
                ),
            ),
        ),
        Variant(
            "drop_crossing",
            """\
"Ten proposals, and seven of them are the same car. And some are slivers at the border." Correct the proposal layer;
there is more than one mistake. **And let it drop, rather than clip, what reaches out of the image.**

`propose(objectness, deltas, anchors, size, before=6000, after=300, nms_iou=0.7, min_side=4.0)` gets logits, shape
`(T,)`, deltas and anchors, shape `(T, 4)`, and the `size` (height, width) of the image. It takes the best `before`
anchors, moves them, drops what then reaches out of the image (its border is allowed) and what is narrower or lower than
`min_side` pixels, runs non-maximum suppression and takes the best `after` of what is left: shape `(P, 4)`, best first.
`T` may be 0.

`frcnn_lessons.boxes` may be used, `frcnn_lessons.rpn` and `torchvision.ops` not.""",
            change={
                CLIPPED: (DECODED),
                ">= min_side).all(dim=1)": (">= min_side).all(dim=1) & (moved == boxes.clip(moved, size)).all(dim=1)"),
            },
            gives={
                "one that reaches out of the image": torch.zeros(0, 4),
                "two anchors find the same box": [[0, 0, 8, 8], [24, 0, 32, 8]],
            },
            without=(
                "as_given",
                "small_before_clip",
                "not_clipped",
                "crossing_dropped",
                "all_sizes",
                "small_both",
                "above_min_side",
                "worst_first",
            ),
            impostors=(
                Impostor(
                    "as_given",
                    "Two anchors may find the same box: move first, then suppress.",
                    change={
                        "[:before]\n": f"[:before]\n    {SUPPRESSED_FIRST}",
                        " & (moved == boxes.clip(moved, size)).all(dim=1)": "",
                        "    moved, scores = moved[large], scores[large]\n": (
                            "    moved = boxes.clip(moved[large], size)\n"
                        ),
                        "    kept = boxes.nms(moved, scores, nms_iou)[:after]\n": "",
                        "return moved[kept]": "return moved[:after]",
                    },
                ),
                Impostor(
                    "still_clipped",
                    "What reaches out of the image is to be dropped here, not clipped.",
                    change={DECODED: (CLIPPED)},
                ),
            ),
        ),
    ),
    draw=draw_proposals,
)

# --- 09.3 ------------------------------------------------------------------------------------------------------


def rpn_answers(features, window, score, box):
    """Objectness (T,) and deltas (T, 4) of a map (K, h, w); weights (D, K, 3, 3), (A, D) and (4A, D), no biases."""
    hidden = F.relu(F.conv2d(features[None], window, padding=1))[0]  # (D, h, w)
    cells = hidden.flatten(1).T  # (h * w, D), cell by cell
    return (cells @ score.T).flatten(), (cells @ box.T).reshape(-1, 4)


def middle(*weights: float) -> Tensor:
    """A window (D, 1, 3, 3) that looks at its middle cell only, with a weight for each hidden number."""
    window = torch.zeros(len(weights), 1, 3, 3)
    window[:, 0, 1, 1] = tensor(weights)
    return window


BENT = "F.relu(F.conv2d(features[None], window, padding=1))"
COLUMN = tensor([[1.0], [0], [0], [2]])  # dx and dh of one anchor, from one hidden number


def _some_weights(count: int, draw: torch.Generator) -> tuple[Tensor, ...]:
    shapes = (3, 1 + count % 4, 2 + count % 3), (5, 3, 3, 3), (2, 5), (8, 5)
    return tuple(torch.randn(shape, generator=draw) for shape in shapes)


RPN_ANSWERS = Exercise(
    kind="find the bug",
    reference=rpn_answers,
    given="as_given",
    number="09.3",
    title="Two layers that are one",
    stars=2,
    minutes=12,
    points=3,
    goals=(2, 5),
    core=True,
    text="""\
"My region proposal network trains, but never gets better than a single layer would. And when I multiply the map by -1,
all its answers are multiplied by -1 as well." A published walk-through has this very mistake. Find and correct it.

`rpn_answers(features, window, score, box)` gets a map, shape `(K, h, w)`, and the weights of the three layers, without
biases: the 3 x 3 window, shape `(D, K, 3, 3)`, the objectness, shape `(A, D)`, and the boxes, shape `(4A, D)`. It
returns the logits, shape `(T,)`, and the deltas, shape `(T, 4)`, in the order of the lesson. Do it without
`frcnn_lessons.rpn`.""",
    cases=(
        on_paper("one cell with 2", tensor([[[2.0]]]), middle(1), tensor([[3.0]]), COLUMN, gives=([6], [[2, 0, 0, 4]])),
        on_paper(
            "one cell with -2", tensor([[[-2.0]]]), middle(1), tensor([[3.0]]), COLUMN, gives=([0], [[0, 0, 0, 0]])
        ),
        on_paper(
            "one cell with -2, weight -1",
            tensor([[[-2.0]]]),
            middle(-1),
            tensor([[3.0]]),
            COLUMN,
            gives=([6], [[2, 0, 0, 4]]),
        ),
        on_paper(
            "two cells, 3 and -1",
            tensor([[[3.0, -1]]]),
            middle(1),
            tensor([[1.0]]),
            COLUMN,
            gives=([3, 0], [[3, 0, 0, 6], [0, 0, 0, 0]]),
        ),
        on_paper(
            "logits may be below 0",
            tensor([[[2.0]]]),
            middle(1),
            tensor([[-1.0]]),
            -COLUMN,
            gives=([-2], [[-2, 0, 0, -4]]),
        ),
        on_paper(
            "|x| from two hidden numbers",
            tensor([[[2.0, -5]]]),
            middle(1, -1),
            tensor([[1.0, 1]]),
            torch.zeros(4, 2),
            gives=([2, 5], torch.zeros(2, 4)),
        ),
        on_paper(
            "a window that adds up nine cells",
            tensor([[[3.0, -1]]]),
            torch.ones(1, 1, 3, 3),
            tensor([[1.0], [-2]]),
            torch.cat([COLUMN, COLUMN]),
            gives=([2, -4, 2, -4], [[2, 0, 0, 4]] * 4),
        ),
        *at_random(_some_weights),
    ),
    impostors=(
        Impostor(
            "as_given",
            "Nothing stands between the two layers, so they are one: negative hidden numbers must become 0.",
            change={BENT: "F.conv2d(features[None], window, padding=1)"},
        ),
        Impostor(
            "on_the_map",
            "The ReLU stands in front of the window: it belongs behind it.",
            change={BENT: "F.conv2d(F.relu(features[None]), window, padding=1)"},
        ),
        Impostor(
            "at_the_end",
            "The ReLU stands at the end: logits and deltas must be free to be negative.",
            change={
                BENT: "F.conv2d(features[None], window, padding=1)",
                "(cells @ score.T)": "F.relu(cells @ score.T)",
                "(cells @ box.T)": "F.relu(cells @ box.T)",
            },
        ),
        Impostor(
            "also_at_the_end",
            "The first ReLU is right; behind the last layers there is none: logits and deltas may be negative.",
            change={"(cells @ score.T)": "F.relu(cells @ score.T)", "(cells @ box.T)": "F.relu(cells @ box.T)"},
        ),
        Impostor(
            "sigmoid_inside",
            "Something bends the hidden numbers now, but it is a sigmoid: the paper has a ReLU.",
            change={"F.relu(": "torch.sigmoid("},
        ),
        Impostor(
            "probabilities",
            "Logits were asked for; these are probabilities.",
            change={"(cells @ score.T)": "torch.sigmoid(cells @ score.T)"},
        ),
        Impostor(
            "leaky", "A leaky ReLU lets a little of what is negative through.", change={"F.relu(": "F.leaky_relu("}
        ),
        Impostor("absolute", "What is negative becomes 0, not positive.", change={"F.relu(": "torch.abs("}),
        Impostor(
            "boxes_only",
            "Both layers read the *same* hidden numbers, the scores as well as the boxes.",
            change={
                BENT: "F.conv2d(features[None], window, padding=1)",
                "(cells @ box.T)": "(F.relu(cells) @ box.T)",
            },
        ),
    ),
    hints=(
        "Two matrices one after the other are one matrix. What stands between layers?",
        "Compare with the picture at the top of the module `frcnn_lessons.rpn`: 3x3 conv -> ... -> 1x1 conv.",
        "`F.relu(...)` around the result of the 3 x 3 convolution.",
    ),
    forbidden=("frcnn_lessons.rpn",),
)

# --- 09.4 ------------------------------------------------------------------------------------------------------


def rpn_box_loss(outputs, anchors, gt):
    """Smooth L1 (a square below 1/9) of the network's outputs for F anchors (F, 4) and their objects gt (F, 4)."""
    size, centre = anchors[:, 2:] - anchors[:, :2], (anchors[:, :2] + anchors[:, 2:]) / 2

    def seen_from_anchors(found):
        its_size, its_centre = found[:, 2:] - found[:, :2], (found[:, :2] + found[:, 2:]) / 2
        return torch.cat([(its_centre - centre) / size, torch.log(its_size / size)], dim=1)

    off = (outputs - seen_from_anchors(gt)).abs()
    loss = torch.where(off < 1 / 9, 4.5 * off**2, off - 1 / 18).sum()
    return loss / max(len(anchors), 1)


ANCHOR = tensor([[2.0, 2, 6, 6]])
WIDE = tensor([[3.0, 3, 11, 5]])
FLAT = 1 / 18


def _some_objects(count: int, draw: torch.Generator) -> tuple[Tensor, ...]:
    corner, size = 20 * torch.rand(2, count, 2, generator=draw), 2 + 20 * torch.rand(2, count, 2, generator=draw)
    anchors, gt = torch.cat([corner, corner + size], dim=2)
    return torch.randn(count, 4, generator=draw), anchors, gt


RPN_BOX_LOSS = Exercise(
    kind="find the bug",
    reference=rpn_box_loss,
    given="as_given",
    number="09.4",
    title="A logarithm of nothing",
    stars=2,
    minutes=12,
    points=3,
    goals=(1,),
    core=True,
    text="""\
"From the first step on, the box loss is inf or nan." Somebody put a lower bound under the logarithm, and now the loss
is a number, but no box ever fits. Find the mistake and correct it; it is in what the outputs *are*.

`rpn_box_loss(outputs, anchors, gt)`: what the network's box layer says for `F` foreground anchors, shape `(F, 4)`,
against what it should say: the deltas of equation 2 from each anchor to its object, all boxes `xyxy`, shape `(F, 4)`.
Return smooth L1 ($\\frac92 x^2$ below 1/9, $|x| - \\frac1{18}$ from there on), added up and divided by `F`; 0 if `F` is
0. Do it without `frcnn_lessons.rpn`.""",
    cases=(
        on_paper("outputs of 0, the object is the anchor", NOTHING, ANCHOR, ANCHOR, gives=0),
        on_paper("outputs of 0, another object", NOTHING, ANCHOR, WIDE, gives=0.75 + 2 * LN2 - 3 * FLAT),
        on_paper("the right answer", _row(0.75, 0, LN2, -LN2), ANCHOR, WIDE, gives=0),
        on_paper("dx of 1/4", _row(0.25, 0, 0, 0), ANCHOR, ANCHOR, gives=1 / 4 - FLAT),
        on_paper("dy of -0.1", _row(0, -0.1, 0, 0), ANCHOR, ANCHOR, gives=0.045),
        on_paper("2, 2, 6, 6 as deltas", _row(2, 2, 6, 6), ANCHOR, ANCHOR, gives=16 - 4 * FLAT),
        on_paper("1, 1, 2, 2 as deltas", _row(1, 1, 2, 2), ANCHOR, ANCHOR, gives=6 - 4 * FLAT),
        on_paper(
            "two anchors, one of them right",
            tensor([[0.0, 0, 0, 0], [0.75, 0, 0, 0]]),
            ANCHOR.repeat(2, 1),
            ANCHOR.repeat(2, 1),
            gives=(0.75 - FLAT) / 2,
        ),
        edge("no anchors", torch.zeros(0, 4), torch.zeros(0, 4), torch.zeros(0, 4), gives=0),
        *at_random(_some_objects),
    ),
    impostors=(
        Impostor(
            "as_given",
            "The outputs are deltas already, and were taken for boxes: only the objects are to be encoded.",
            change={"(outputs - seen": "(seen_from_anchors(outputs) - seen"},
        ),
        Impostor(
            "bounded",
            "The logarithm is saved, but the outputs are still taken for boxes: they are deltas already.",
            change={
                "(outputs - seen": "(seen_from_anchors(outputs) - seen",
                "torch.log(its_size / size)": "torch.log((its_size / size).clamp(min=1e-6))",
            },
        ),
        Impostor(
            "nothing_encoded",
            "The outputs are deltas and the objects are boxes now: the objects have to be encoded.",
            change={"seen_from_anchors(gt)": "gt"},
        ),
        Impostor(
            "in_pixels",
            "That compares boxes in pixels; the network is taught in deltas.",
            change={
                "(outputs - seen_from_anchors(gt))": "(boxes.decode(outputs, anchors) - gt)",
            },
        ),
        Impostor(
            "backwards",
            "The deltas lead from the anchor to the object: their signs are turned round.",
            change={"(outputs - seen_from_anchors(gt))": "(outputs + seen_from_anchors(gt))"},
        ),
        Impostor(
            "mean_of_four",
            "The four numbers of an anchor are added up; it is divided by the anchors only.",
            change={"max(len(anchors), 1)": "max(4 * len(anchors), 1)"},
        ),
        Impostor(
            "summed", "It is to be divided by the number of anchors.", change={"loss / max(len(anchors), 1)": "loss"}
        ),
        Impostor(
            "plain_l1",
            "Smooth L1 was right as it was given: plain distances are another loss.",
            change={"torch.where(off < 1 / 9, 4.5 * off**2, off - 1 / 18)": "off"},
        ),
    ),
    hints=(
        "An untrained network says about 0, 0, 0, 0. How wide is a box from (0, 0) to (0, 0)?",
        "What the box layer says is dx, dy, dw, dh. Does that have to be encoded?",
        "Encode the objects only: `outputs - seen_from_anchors(gt)`.",
    ),
    forbidden=("frcnn_lessons.rpn",),
)

# --- 09.5 ------------------------------------------------------------------------------------------------------


def flatten_outputs(raw, per_cell):
    """Numbers (N, h * w * A, K) of all anchors, from the channels (N, A * K, h, w) of a layer."""
    N, channels, _, _ = raw.shape
    return raw.permute(0, 2, 3, 1).reshape(N, -1, channels // per_cell)


def _numbered(*shape: int) -> Tensor:
    return torch.arange(math.prod(shape)).reshape(shape).float()


def _a_layer(count: int, draw: torch.Generator) -> tuple[Tensor, int]:
    per_cell = 2 + count % 3
    return torch.randn(1 + count % 2, per_cell * (1, 4, 2)[count % 3], 2 + count % 4, 3, generator=draw), per_cell


TWO_CELLS = tensor([[[[0.0, 10]], [[1, 11]], [[2, 12]], [[3, 13]]]])  # channel c of cell i is 10 i + c

FLATTEN_OUTPUTS = Exercise(
    kind="implement",
    reference=flatten_outputs,
    number="09.5",
    title="Whose number is it?",
    stars=2,
    minutes=12,
    points=3,
    goals=(5,),
    core=True,
    text="""\
`flatten_outputs(raw, per_cell)`: what a 1 x 1 layer of a region proposal network says, shape `(N, A * K, h, w)`, for
`per_cell` = `A` anchors and `K` numbers an anchor (1 for objectness, 4 for deltas). **Channel a * K + k of a cell is
number k of anchor a.** Return shape `(N, h * w * A, K)`: row by row, in a row cell by cell, in a cell anchor by anchor.

The tensor may be a view of another one. Do it without `frcnn_lessons.rpn`.""",
    cases=(
        on_paper("one cell, two anchors, two numbers", _numbered(1, 4, 1, 1), 2, gives=[[[0, 1], [2, 3]]]),
        on_paper(
            "two cells in a row, one anchor, four numbers", TWO_CELLS, 1, gives=[[[0, 1, 2, 3], [10, 11, 12, 13]]]
        ),
        on_paper("two cells in a row, two anchors", TWO_CELLS, 2, gives=[[[0, 1], [2, 3], [10, 11], [12, 13]]]),
        on_paper(
            "objectness: four anchors, one number", TWO_CELLS, 4, gives=[[[0], [1], [2], [3], [10], [11], [12], [13]]]
        ),
        on_paper("2 x 2 cells, one anchor, one number", _numbered(1, 1, 2, 2), 1, gives=[[[0], [1], [2], [3]]]),
        on_paper(
            "2 x 2 cells, two anchors, one number",
            _numbered(1, 2, 2, 2),
            2,
            gives=[[[0], [4], [1], [5], [2], [6], [3], [7]]],
        ),
        on_paper("two images of one cell", _numbered(2, 2, 1, 1), 1, gives=[[[0, 1]], [[2, 3]]]),
        on_paper(
            "two images of two cells, two anchors",
            torch.cat([TWO_CELLS, TWO_CELLS + 100]),
            2,
            gives=[[[0, 1], [2, 3], [10, 11], [12, 13]], [[100, 101], [102, 103], [110, 111], [112, 113]]],
        ),
        edge("a view, turned by transpose", _numbered(1, 4, 3, 2).transpose(2, 3), 2),
        *at_random(_a_layer),
    ),
    impostors=(
        Impostor(
            "reshape_only",
            "Numbers of *different cells* came together: the channels have to stand last before you reshape.",
            change={".permute(0, 2, 3, 1)": ""},
        ),
        Impostor(
            "numbers_outside",
            "Channels go anchor by anchor, dx dy dw dh dx dy ...; here they were read as all dx, then all dy.",
            change={
                "raw.permute(0, 2, 3, 1)": ("raw.unflatten(1, (channels // per_cell, per_cell)).permute(0, 3, 4, 2, 1)")
            },
        ),
        Impostor(
            "columns_first",
            "The second cell is the one *below*: go row by row.",
            change={"permute(0, 2, 3, 1)": "permute(0, 3, 2, 1)"},
        ),
        Impostor(
            "anchors_outside",
            "Anchor 0 of all cells came first, then anchor 1: all anchors of a cell stand together.",
            change={
                "raw.permute(0, 2, 3, 1)": ("raw.unflatten(1, (per_cell, channels // per_cell)).permute(0, 1, 3, 4, 2)")
            },
        ),
        Impostor(
            "images_mixed",
            "Numbers of different images came together: the first axis stays the first.",
            change={"permute(0, 2, 3, 1)": "permute(2, 3, 0, 1)"},
        ),
        Impostor(
            "as_many_numbers_as_anchors",
            "`per_cell` is the number of anchors; the last axis holds the numbers of *one* anchor.",
            change={"channels // per_cell": "per_cell"},
        ),
        Impostor("images_joined", "", change={"reshape(N, -1,": "reshape(-1,"}),
    ),
    hints=(
        "Write down the eight numbers of two cells with four channels each, and which stand beside each other.",
        "What `reshape` keeps together must be neighbours before: bring the channels to the end first.",
        "`raw.permute(0, 2, 3, 1).reshape(N, -1, K)`, with K = channels // per_cell.",
    ),
    forbidden=("frcnn_lessons.rpn",),
    variants=(
        Variant(
            "numbers_outside",
            """\
`flatten_outputs(raw, per_cell)`: what a 1 x 1 layer of a region proposal network says, shape `(N, K * A, h, w)`, for
`per_cell` = `A` anchors and `K` numbers an anchor. As in the authors' code, **channel k * A + a of a cell is number k
of anchor a**: all backgrounds, then all objects. Return shape `(N, h * w * A, K)`: row by row, in a row cell by cell,
in a cell anchor by anchor.

The tensor may be a view of another one. Do it without `frcnn_lessons.rpn`.""",
            change={
                "raw.permute(0, 2, 3, 1)": (
                    "raw.unflatten(1, (channels // per_cell, per_cell)).permute(0, 3, 4, 2, 1)"
                ),
                "(N, A * K, h, w)": "(N, K * A, h, w)",
            },
            gives={"one cell, two anchors, two numbers": [[[0, 2], [1, 3]]]},
            without=(
                "reshape_only",
                "numbers_outside",
                "columns_first",
                "anchors_outside",
                "images_mixed",
                "as_many_numbers_as_anchors",
            ),
            impostors=(
                Impostor(
                    "anchor_by_anchor",
                    "Here the *anchors* run fastest in the channels: the numbers were read anchor by anchor.",
                    change={
                        "raw.unflatten(1, (channels // per_cell, per_cell)).permute(0, 3, 4, 2, 1)": (
                            "raw.permute(0, 2, 3, 1)"
                        )
                    },
                ),
                Impostor(
                    "columns_first",
                    "The second cell is the one *below*: go row by row.",
                    change={"permute(0, 3, 4, 2, 1)": "permute(0, 4, 3, 2, 1)"},
                ),
            ),
        ),
        Variant(
            "column_by_column",
            """\
`flatten_outputs(raw, per_cell)`: what a 1 x 1 layer of a region proposal network says, shape `(N, A * K, h, w)`, for
`per_cell` = `A` anchors and `K` numbers an anchor. **Channel a * K + k of a cell is number k of anchor a.** The anchors
of this program are listed **column by column**, so return shape `(N, w * h * A, K)` in this order: column by column, in
a column cell by cell, in a cell anchor by anchor.

The tensor may be a view of another one. Do it without `frcnn_lessons.rpn`.""",
            change={"permute(0, 2, 3, 1)": "permute(0, 3, 2, 1)"},
            gives={"2 x 2 cells, one anchor, one number": [[[0], [2], [1], [3]]]},
            without=("columns_first", "numbers_outside", "anchors_outside", "images_mixed", "reshape_only"),
            impostors=(
                Impostor(
                    "rows_first",
                    "The second cell should be the one *below*: go column by column.",
                    change={"permute(0, 3, 2, 1)": "permute(0, 2, 3, 1)"},
                ),
                Impostor(
                    "reshape_only",
                    "Numbers of *different cells* came together: the channels have to stand last before you reshape.",
                    change={".permute(0, 3, 2, 1)": ""},
                ),
            ),
        ),
    ),
)

# --- 09.6 ------------------------------------------------------------------------------------------------------

OF_THE_PAPER = (
    "the map",
    "the number of anchors",
    "the channels of the objectness layer",
    "the channels of the box layer",
    "object and background anchors drawn",
    "proposals at most, in testing",
    "what RoI pooling gives",
    "the class scores",
)
PAPER_TEXT = """\
A photograph {height} high and {width} wide goes through VGG16 (stride 16, 512 channels) and a region proposal network
with the paper's settings{anchors}: one logit for each anchor, 256 anchors drawn, up to half of them objects. In this
picture {objects} anchors are objects and thousands are background. Then, in testing, come proposals, RoI pooling
to 7 x 7 (for as many proposals as there may be) and the head, for {classes} classes.

Set `numbers_of_the_paper` to eight answers, in this order; shapes as tuples:

1. the map, (channels, rows, columns);
2. how many anchors;
3. channels of the objectness layer;
4. channels of the box layer;
5. how many objects and how many background anchors are drawn, (objects, background);
6. how many proposals at most, in *testing*;
7. the shape of what RoI pooling gives;
8. the shape of the class scores."""

NUMBERS_OF_THE_PAPER = Exercise(
    kind="predict",
    name="numbers_of_the_paper",
    number="09.6",
    title="One photograph, eight numbers",
    minutes=10,
    points=2,
    goals=(4,),
    core=True,
    text=PAPER_TEXT.format(height=640, width=960, anchors=" (nine anchors a cell)", objects=20, classes="VOC's 20"),
    answer=((512, 40, 60), 21600, 9, 36, (20, 236), 300, (300, 512, 7, 7), (300, 21)),
    stub="(..., ..., ..., ..., ..., ..., ..., ...)",
    cases=parts(*OF_THE_PAPER),
    impostors=(
        Impostor(
            "stride_32",
            "The map is cut off before VGG16's last pool: 16 pixels a cell.",
            answer=((512, 20, 30), 21600, 9, 36, (20, 236), 300, (300, 512, 7, 7), (300, 21)),
        ),
        Impostor(
            "columns_before_rows",
            "Rows come before columns: the height is the smaller one here.",
            answer=((512, 60, 40), 21600, 9, 36, (20, 236), 300, (300, 512, 7, 7), (300, 21)),
        ),
        Impostor(
            "one_anchor_a_cell",
            "That is the number of cells; each has nine anchors.",
            answer=((512, 40, 60), 2400, 9, 36, (20, 236), 300, (300, 512, 7, 7), (300, 21)),
        ),
        Impostor(
            "two_classes",
            "18 would be for two classes an anchor; here it is one logit.",
            answer=((512, 40, 60), 21600, 18, 36, (20, 236), 300, (300, 512, 7, 7), (300, 21)),
        ),
        Impostor(
            "one_box_a_cell",
            "Four numbers for *each anchor* of a cell.",
            answer=((512, 40, 60), 21600, 9, 4, (20, 236), 300, (300, 512, 7, 7), (300, 21)),
        ),
        Impostor(
            "half_and_half",
            "Up to half: there are not 128 objects to draw, and nothing is drawn twice.",
            answer=((512, 40, 60), 21600, 9, 36, (128, 128), 300, (300, 512, 7, 7), (300, 21)),
        ),
        Impostor(
            "not_filled_up",
            "Background fills up the rest of the 256.",
            answer=((512, 40, 60), 21600, 9, 36, (20, 128), 300, (300, 512, 7, 7), (300, 21)),
        ),
        Impostor(
            "equal_numbers",
            "Not as many background anchors as objects: background fills up the rest of the 256.",
            answer=((512, 40, 60), 21600, 9, 36, (20, 20), 300, (300, 512, 7, 7), (300, 21)),
        ),
        Impostor(
            "in_training",
            "2,000 are kept in training.",
            answer=((512, 40, 60), 21600, 9, 36, (20, 236), 2000, (300, 512, 7, 7), (300, 21)),
        ),
        Impostor(
            "pooled_flat",
            "Flattening comes after it: RoI pooling keeps channels, rows and columns.",
            answer=((512, 40, 60), 21600, 9, 36, (20, 236), 300, (300, 25088), (300, 21)),
        ),
        Impostor(
            "no_background",
            "Background is a class as well.",
            answer=((512, 40, 60), 21600, 9, 36, (20, 236), 300, (300, 512, 7, 7), (300, 20)),
        ),
    ),
    hints=(
        "Divide both sides by the stride; then count cells, then anchors.",
        "What is drawn is 256 in all. What comes after the proposals has one row for each of them.",
        "2,400 cells of nine anchors; 20 objects and 256 - 20; 300 regions of 512 x 7 x 7; 20 classes and background.",
    ),
    variants=(
        Variant(
            "many_shapes",
            PAPER_TEXT.format(
                height=480, width=800, anchors=", but four shapes in three sizes", objects=30, classes="COCO's 80"
            ),
            answer=((512, 30, 50), 18000, 12, 48, (30, 226), 300, (300, 512, 7, 7), (300, 81)),
            without=(
                *("stride_32", "columns_before_rows", "one_anchor_a_cell", "two_classes", "one_box_a_cell"),
                *("half_and_half", "not_filled_up", "equal_numbers", "in_training", "pooled_flat", "no_background"),
            ),
            impostors=(
                Impostor(
                    "nine",
                    "Four shapes in three sizes are twelve anchors a cell, not nine.",
                    answer=((512, 30, 50), 13500, 9, 36, (30, 226), 300, (300, 512, 7, 7), (300, 81)),
                ),
                Impostor(
                    "no_background",
                    "Background is a class as well.",
                    answer=((512, 30, 50), 18000, 12, 48, (30, 226), 300, (300, 512, 7, 7), (300, 80)),
                ),
            ),
        ),
        Variant(
            "upright",
            PAPER_TEXT.format(
                height=1024, width=768, anchors=" (nine anchors a cell)", objects=150, classes="the course's 3"
            ),
            answer=((512, 64, 48), 27648, 9, 36, (128, 128), 300, (300, 512, 7, 7), (300, 4)),
            without=(
                *("stride_32", "columns_before_rows", "one_anchor_a_cell", "two_classes", "one_box_a_cell"),
                *("half_and_half", "not_filled_up", "equal_numbers", "in_training", "pooled_flat", "no_background"),
            ),
            impostors=(
                Impostor(
                    "more_than_half",
                    "Up to *half* of the 256 are objects, however many there are.",
                    answer=((512, 64, 48), 27648, 9, 36, (150, 106), 300, (300, 512, 7, 7), (300, 4)),
                ),
                Impostor(
                    "no_background",
                    "Background is a class as well.",
                    answer=((512, 64, 48), 27648, 9, 36, (128, 128), 300, (300, 512, 7, 7), (300, 3)),
                ),
            ),
        ),
    ),
)

# --- 09.7 ------------------------------------------------------------------------------------------------------


def catch_the_proposer(propose):
    """True if `propose(objectness, deltas, anchors, size, before, after)`, a proposal layer, is wrong."""
    row = [[0, 0, 8, 8], [8, 0, 16, 8], [24, 0, 32, 8]]
    neighbours, stay = [[0, 0, 10, 10], [1, 0, 11, 10]], [0, 0, 0, 0]  # IoU 90 / 110
    scenes = [  # objectness, deltas, anchors, before, after, what should come out
        # best first
        ([1, 3, 2], [stay] * 3, row, 6000, 300, [row[1], row[2], row[0]]),
        # two anchors find the same box; two that overlap find different ones
        ([3, 2, 1], [stay, [-1, 0, 0, 0], stay], row, 6000, 300, [row[0], row[2]]),
        ([2, 1], [stay, [1, 0, 0, 0]], neighbours, 6000, 300, [[0, 0, 10, 10], [11, 0, 21, 10]]),
        # over the border, once with 4 pixels left and once with 2
        ([2], [[-0.5, 0, 0, 0]], row[:1], 6000, 300, [[0, 0, 4, 8]]),
        ([2, 1], [[-0.75, 0, 0, 0], stay], row[:2], 6000, 300, [row[1]]),
        # too narrow, and high enough
        ([2, 1], [stay, stay], [[0, 0, 2, 8], [8, 0, 16, 8]], 6000, 300, [[8, 0, 16, 8]]),
        # the best `after` of what is left; the best `before` of all
        ([3, 2, 1], [stay, [-1, 0, 0, 0], stay], row, 6000, 2, [row[0], row[2]]),
        ([1, 3, 2], [stay] * 3, row, 6000, 2, [row[1], row[2]]),
        ([3, 2, 1], [stay, [-1, 0, 0, 0], stay], row, 2, 300, [row[0]]),
    ]
    for objectness, deltas, anchors, before, after, expected in scenes:
        numbers = [torch.tensor(table, dtype=torch.float32) for table in (objectness, deltas, anchors)]
        got = propose(*numbers, (16, 40), before, after)
        if got.shape != (len(expected), 4) or not torch.allclose(got, torch.tensor(expected).float(), atol=1e-3):
            return True
    return False


def propose_slowly(objectness, deltas, anchors, size, before=6000, after=300, nms_iou=0.7, min_side=4.0):
    """The same layer anchor by anchor, in double precision."""
    height, width = size
    kept = []
    for i in sorted(range(len(objectness)), key=lambda i: -objectness[i].item())[:before]:
        x1, y1, x2, y2 = anchors[i].tolist()
        dx, dy, dw, dh = deltas[i].tolist()
        x, y = (x1 + x2) / 2 + dx * (x2 - x1), (y1 + y2) / 2 + dy * (y2 - y1)
        w, h = (x2 - x1) * math.exp(dw), (y2 - y1) * math.exp(dh)
        left, right_end = (min(max(end, 0.0), width) for end in (x - w / 2, x + w / 2))
        top, bottom = (min(max(end, 0.0), height) for end in (y - h / 2, y + h / 2))
        if right_end - left < min_side or bottom - top < min_side:
            continue
        box = tensor([[left, top, right_end, bottom]]).float()
        if all(boxes.iou(box, other).item() <= nms_iou for other in kept):
            kept.append(box)
    return torch.cat(kept[:after]) if kept else torch.zeros(0, 4)


def _spoilt(label: str, name: str) -> Case:
    """The proposal layer with one of the mistakes of exercise 09.2."""
    found = next(impostor for impostor in PROPOSE.impostors if impostor.name == name)
    return faulty(label, PROPOSE.function_of(found))


def in_order_only(propose):
    """A weak test: nothing moves, and only the order is looked at."""
    got = propose(tensor([1.0, 3, 2]), STAY, ROW, SHEET, 6000, 300)
    return not torch.equal(got, ROW[[1, 2, 0]])


def to_the_last_digit(propose):
    """A test that is too strict: it compares with the very bits."""
    anchors, deltas = ROW + 0.1, 0.1 * torch.arange(12.0).reshape(3, 4) / 3
    objectness = tensor([1.0, 3, 2])
    before = PROPOSE.right_function(objectness, deltas, anchors, SHEET)
    return not torch.equal(propose(objectness, deltas, anchors, SHEET, 6000, 300), before)


CATCH_THE_PROPOSER = Exercise(
    kind="catch the mistake",
    reference=catch_the_proposer,
    number="09.7",
    title="Catch the mistake: the proposals",
    stars=3,
    minutes=25,
    points=3,
    goals=(3, 5),
    core=False,
    text="""\
Write the *test*. `catch_the_proposer(propose)` gets a function `propose(objectness, deltas, anchors, size, before,
after)` that should be the proposal layer of exercise 09.2: from logits `(T,)`, deltas and anchors `(T, 4)` and the
`size` (height, width) of the image it takes the best `before` anchors, moves them, clips them to the image, drops what
is then narrower or lower than 4 pixels, suppresses what overlaps a better one by more than 0.7, and returns the best
`after` of what is left, shape `(P, 4)`, best first. Return `True` if the function is wrong, else `False`.

It is tried on two right functions, the course's and a slow one whose last digits differ, which it must accept, and on
eight faulty ones.""",
    cases=(
        right("the course's", propose),
        right("a slow one", propose_slowly),
        _spoilt("two anchors find the same box", "suppressed_before"),
        _spoilt("a box reaches out of the image", "not_clipped"),
        _spoilt("little of a box is left in the image", "small_before_clip"),
        _spoilt("a box is narrow and high", "small_both"),
        _spoilt("the best boxes do not stand first", "anchor_order"),
        _spoilt("`after` is smaller than the number of boxes, and two of them are nearly the same", "after_before_nms"),
        _spoilt("there are more boxes than `after`", "after_ignored"),
        _spoilt("there are more anchors than `before`", "before_ignored"),
    ),
    impostors=(
        Impostor(
            "order_only",
            "Anchors that stay where they are show little: let them move, over the border and onto each other.",
            function=in_order_only,
        ),
        Impostor(
            "too_strict",
            "Compare with a tolerance: the last digits of two right functions differ.",
            function=to_the_last_digit,
        ),
        Impostor("accuses_all", "It calls every function wrong.", function=lambda propose: propose is not None),
        Impostor("accepts_all", "It accepts every function that it is tried on.", function=lambda _: False),
    ),
    hints=(
        "Six steps: best, move, clip, drop, suppress, best. For each, what comes out when it is left out or misplaced?",
        "Small scenes of two or three anchors: two whose deltas lead to the same box, one that leaves the image, one "
        "of which 2 pixels are left, one of 2 x 8 pixels, `after` of 2, `before` of 2.",
        "Work out on paper what should come out of each scene; compare shapes first, then `torch.allclose(got, "
        "expected, atol=1e-3)`.",
    ),
)

EXERCISES: tuple[Exercise, ...] = (
    RPN_LOSS_PAPER,
    PROPOSE,
    RPN_ANSWERS,
    RPN_BOX_LOSS,
    FLATTEN_OUTPUTS,
    NUMBERS_OF_THE_PAPER,
    CATCH_THE_PROPOSER,
)
