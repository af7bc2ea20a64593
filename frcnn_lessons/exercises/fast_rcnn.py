"""The exercises of lesson 07, Fast R-CNN.

Shapes: N images, R regions, K objects, C classes without background, D detections.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn, tensor

from frcnn_lessons import boxes
from frcnn_lessons.exercises.boxes_and_iou import some_boxes
from frcnn_lessons.exercises.description import Case, Exercise, Impostor, Variant, at_random, edge, on_paper, parts

# --- 07.1 ------------------------------------------------------------------------------------------------------


def _verdict_cases(verdicts: str, objects: tuple[str, ...], by_rpn: str) -> tuple[Case, ...]:
    """A case for each letter and each object."""
    return (
        on_paper("verdicts: how many", gives=len(verdicts), experiment=lambda value: len(value()["verdicts"])),
        *(
            on_paper(
                f"verdicts: region {i}",
                gives=letter,
                experiment=lambda value, i=i: value()["verdicts"][i].upper(),
            )
            for i, letter in enumerate(verdicts)
        ),
        on_paper("objects: how many", gives=len(objects), experiment=lambda value: len(value()["objects"])),
        *(
            on_paper(
                f"objects: foreground region number {i + 1}",
                gives=name,
                experiment=lambda value, i=i: value()["objects"][i].lower(),
            )
            for i, name in enumerate(objects)
        ),
        on_paper("by_rpn: how many", gives=len(by_rpn), experiment=lambda value: len(value()["by_rpn"])),
        *(
            on_paper(f"by_rpn: region {i}", gives=letter, experiment=lambda value, i=i: value()["by_rpn"][i].upper())
            for i, letter in enumerate(by_rpn)
        ),
    )


_VERDICT_TEXT = """\
Six regions and their IoU with a bus and with a car:

| region | bus | car |
|---|---|---|
{rows}

Set three things:

- `verdicts`: six letters by Fast R-CNN's rule, `F` for foreground from 0.5 on, `B` for background in [0.1, 0.5), `I`
  for ignored, such as `"BBBBBB"`;
- `objects`: for each foreground region, in order, the object whose class it takes, `"bus"` or `"car"`;
- `by_rpn`: six letters by another rule, that of lesson 09: `F` from 0.7 on, `B` below 0.3, `I` between; *and* `F`, with
  `keep_best`, for the region that overlaps the bus most, and for the one that overlaps the car most."""

WHAT_IS_EACH_REGION = Exercise(
    kind="predict",
    name="what_is_each_region",
    number="07.1",
    title="What is each region?",
    minutes=8,
    points=1,
    goals=(1,),
    core=True,
    text=_VERDICT_TEXT.format(
        rows="| 0 | 0.49 | 0.10 |\n| 1 | 0.50 | 0.60 |\n| 2 | 0.10 | 0 |\n| 3 | 0.09 | 0.05 |\n| 4 | 0.30 | 0.70 |\n"
        "| 5 | 0 | 0 |"
    ),
    answer={"verdicts": "BFBIFI", "objects": ("car", "car"), "by_rpn": "IFBBFB"},
    stub='{"verdicts": ..., "objects": ..., "by_rpn": ...}',
    cases=_verdict_cases("BFBIFI", ("car", "car"), "IFBBFB"),
    impostors=(
        Impostor(
            "at_least_forgotten",
            "The limits count: a best IoU of exactly 0.10 is background already.",
            answer={"verdicts": "BFIIFI", "objects": ("car", "car"), "by_rpn": "IFBBFB"},
        ),
        Impostor(
            "first_object",
            "A region takes the class of the *better* of its two objects.",
            answer={"verdicts": "BFBIFI", "objects": ("bus", "car"), "by_rpn": "IFBBFB"},
        ),
        Impostor(
            "nothing_ignored",
            "Below 0.1 a region is nothing at all by the paper's rule: it is left out.",
            answer={"verdicts": "BFBBFB", "objects": ("car", "car"), "by_rpn": "IFBBFB"},
        ),
        Impostor(
            "best_not_kept",
            "No other region is better for the bus than region 1: `keep_best` makes it foreground.",
            answer={"verdicts": "BFBIFI", "objects": ("car", "car"), "by_rpn": "IIBBFB"},
        ),
        Impostor(
            "best_is_region_0",
            "Which region overlaps the bus most? Look down the column.",
            answer={"verdicts": "BFBIFI", "objects": ("car", "car"), "by_rpn": "FIBBFB"},
        ),
        Impostor(
            "nearly_is_enough",
            "0.49 is below 0.5: background, that teaches 'nearly is not enough'.",
            answer={"verdicts": "FFBIFI", "objects": ("car", "car"), "by_rpn": "IFBBFB"},
        ),
    ),
    hints=(
        "Write down the best IoU of each row first, and which object it belongs to.",
        "By the first rule: at least 0.5, at least 0.1, below it. 0.10 is at least 0.1.",
        "For `by_rpn` look down each column as well: its largest number makes its region foreground.",
    ),
    variants=(
        Variant(
            "b",
            _VERDICT_TEXT.format(
                rows="| 0 | 0.50 | 0 |\n| 1 | 0.05 | 0.08 |\n| 2 | 0.20 | 0.45 |\n| 3 | 0.65 | 0.70 |\n"
                "| 4 | 0.10 | 0.10 |\n| 5 | 0 | 0.55 |"
            ),
            answer={"verdicts": "FIBFBF", "objects": ("bus", "car", "car"), "by_rpn": "IBIFBI"},
            cases=_verdict_cases("FIBFBF", ("bus", "car", "car"), "IBIFBI"),
            without=(
                "at_least_forgotten",
                "first_object",
                "nothing_ignored",
                "best_not_kept",
                "best_is_region_0",
                "nearly_is_enough",
            ),
            impostors=(
                Impostor(
                    "first_object",
                    "A region takes the class of the *better* of its two objects.",
                    answer={"verdicts": "FIBFBF", "objects": ("bus", "bus", "car"), "by_rpn": "IBIFBI"},
                ),
                Impostor(
                    "at_least_forgotten",
                    "The limits count: 0.50 is foreground and 0.10 background.",
                    answer={"verdicts": "BIBFIF", "objects": ("car", "car"), "by_rpn": "IBIFBI"},
                ),
            ),
        ),
        Variant(
            "c",
            _VERDICT_TEXT.format(
                rows="| 0 | 0.30 | 0.20 |\n| 1 | 0 | 0.10 |\n| 2 | 0.75 | 0.20 |\n| 3 | 0.49 | 0.50 |\n"
                "| 4 | 0.02 | 0 |\n| 5 | 0.40 | 0.30 |"
            ),
            answer={"verdicts": "BBFFIB", "objects": ("bus", "car"), "by_rpn": "IBFFBI"},
            cases=_verdict_cases("BBFFIB", ("bus", "car"), "IBFFBI"),
            without=(
                "at_least_forgotten",
                "first_object",
                "nothing_ignored",
                "best_not_kept",
                "best_is_region_0",
                "nearly_is_enough",
            ),
            impostors=(
                Impostor(
                    "best_not_kept",
                    "No other region is better for the car than region 3: `keep_best` makes it foreground.",
                    answer={"verdicts": "BBFFIB", "objects": ("bus", "car"), "by_rpn": "IBFIBI"},
                ),
                Impostor(
                    "below_includes",
                    "0.30 is not *below* 0.3: between the two limits a region is ignored.",
                    answer={"verdicts": "BBFFIB", "objects": ("bus", "car"), "by_rpn": "BBFFBI"},
                ),
            ),
        ),
    ),
)

# --- 07.2 ------------------------------------------------------------------------------------------------------


def smooth_l1(d, beta=1.0):
    """Smooth L1 of differences d of any shape: a parabola below beta, a line beyond; |d| where beta is 0."""
    size = d.abs()
    if beta == 0:
        return size
    return torch.where(size < beta, size**2 / (2 * beta), size - beta / 2)


SMOOTH_L1 = Exercise(
    kind="implement",
    reference=smooth_l1,
    number="07.2",
    title="Smooth L1",
    minutes=8,
    points=2,
    goals=(2,),
    core=True,
    text=r"""
`smooth_l1(d, beta=1.0)`: for differences `d`, a tensor of any shape, return the loss of each, in the same shape:
$d^2 / (2 \beta)$ where $|d| < \beta$, and $|d| - \beta / 2$ beyond. With `beta=0` it is $|d|$. `d` may be empty. Do it
without `torch.nn`.""".strip(),
    cases=(
        on_paper("beta = 1", tensor([0.0, 0.4, -0.4, 1, -3]), gives=[0, 0.08, 0.08, 0.5, 2.5]),
        on_paper("beta = 2", tensor([2.0, -2, 1, 4]), 2.0, gives=[1, 1, 0.25, 3]),
        on_paper("beta = 1/2", tensor([0.25, 1, -1]), 0.5, gives=[0.0625, 0.75, 0.75]),
        on_paper("beta = 0", tensor([0.0, 0.3, -2]), 0.0, gives=[0, 0.3, 2]),
        on_paper("two rows", tensor([[0.2, 3], [-0.2, -3]]), gives=[[0.02, 2.5], [0.02, 2.5]]),
        edge("nothing", torch.zeros(0), gives=[]),
        edge("no rows", torch.zeros(0, 4), gives=torch.zeros(0, 4)),
        *at_random(lambda n, draw: (2 * torch.randn(n, 4, generator=draw), (1.0, 1 / 9, 0.0, 2.5)[n % 4])),
    ),
    impostors=(
        Impostor(
            "for_beta_1",
            "That is right for beta = 1 only: look where the parabola ends and how steep it is.",
            change={"size**2 / (2 * beta)": "size**2 / 2", "size - beta / 2": "size - 0.5"},
        ),
        Impostor(
            "parabola_for_beta_1",
            "It jumps at beta: half a square meets |d| - beta / 2 only for beta = 1.",
            change={"size**2 / (2 * beta)": "size**2 / 2"},
        ),
        Impostor(
            "line_for_beta_1",
            "It jumps at beta: the line is |d| - beta / 2.",
            change={"size - beta / 2": "size - 0.5"},
        ),
        Impostor("no_offset", "It jumps at beta: there the line has to begin at beta / 2.", change={" - beta / 2": ""}),
        Impostor(
            "whole_beta_off", "It jumps at beta: half of beta comes off, not all.", change={" - beta / 2": " - beta"}
        ),
        Impostor("no_half", "The parabola is half a square over beta.", change={"(2 * beta)": "max(beta, 1e-9)"}),
        Impostor(
            "sign_in_the_line",
            "Look at a large negative difference: its loss is as large as that of a positive one.",
            change={"size - beta / 2": "d - beta / 2"},
        ),
        Impostor(
            "sign_in_the_condition",
            "Which differences are small? Those near 0, not the negative ones: ask |d|.",
            change={"size < beta": "d < beta"},
        ),
        Impostor(
            "huber",
            "That is Huber's loss, beta times as large.",
            change={"size**2 / (2 * beta)": "size**2 / 2", "size - beta / 2": "beta * (size - beta / 2)"},
        ),
        Impostor(
            "square_only",
            "Beyond beta it is a line.",
            change={
                "return torch.where(size < beta, size**2 / (2 * beta), size - beta / 2)": "return size**2 / (2 * beta)"
            },
        ),
        Impostor(
            "line_only",
            "Near 0 it is a parabola.",
            change={"torch.where(size < beta, size**2 / (2 * beta), size - beta / 2)": "size - beta / 2"},
        ),
        Impostor(
            "summed",
            "",
            change={
                "return torch.where(size < beta, size**2 / (2 * beta), size - beta / 2)": (
                    "return torch.where(size < beta, size**2 / (2 * beta), size - beta / 2).sum()"
                )
            },
        ),
        Impostor(
            "the_other_way_round",
            "Near 0 it is a parabola, and a line far off: the two are exchanged.",
            change={"size < beta": "size >= beta"},
        ),
    ),
    hints=(
        "Two formulas and a condition; which function takes them all at once?",
        "Work with |d| throughout: `size = d.abs()`.",
        "`torch.where(size < beta, size**2 / (2 * beta), size - beta / 2)`, and beta = 0 on its own.",
    ),
    forbidden=("torch.nn",),
    variants=(
        Variant(
            "huber",
            r"""
`smooth_l1(d, beta=1.0)`, here as **Huber** wrote it: for differences `d`, a tensor of any shape, return the loss of
each, in the same shape: $d^2 / 2$ where $|d| < \beta$, and $\beta (|d| - \beta / 2)$ beyond. With `beta=0` it is 0. `d`
may be empty. Do it without `torch.nn`.""".strip(),
            change={
                "Smooth L1 of": "Huber's loss of",
                "a line beyond; |d| where beta is 0": "a line beyond",
                "    if beta == 0:\n        return size\n": "",
                "size**2 / (2 * beta)": "size**2 / 2",
                "size - beta / 2": "beta * (size - beta / 2)",
            },
            gives={"beta = 2": [2, 2, 0.5, 6], "beta = 0": [0, 0, 0]},
            without=(
                "for_beta_1",
                "parabola_for_beta_1",
                "line_for_beta_1",
                "no_half",
                "huber",
                "square_only",
                "line_only",
                "summed",
            ),
            impostors=(
                Impostor(
                    "smooth_l1",
                    "That is smooth L1: Huber's is beta times as large.",
                    function=smooth_l1,
                ),
            ),
        ),
        Variant(
            "of_a_box",
            r"""
`smooth_l1(d, beta=1.0)`: for differences `d`, a tensor of shape `(..., 4)`, return the loss of each box, shape
`(...)`: the **sum over the last axis** of $d^2 / (2 \beta)$ where $|d| < \beta$, and $|d| - \beta / 2$ beyond. With
`beta=0` it is $|d|$, summed likewise. Do it without `torch.nn`.""".strip(),
            change={
                "of differences d of any shape": "summed over the last axis of differences d",
                "return size\n": "return size.sum(dim=-1)\n",
                "size - beta / 2)": "size - beta / 2).sum(dim=-1)",
            },
            gives={"beta = 1": 3.16, "two rows": [2.52, 2.52]},
            without=("square_only", "line_only", "summed"),
            impostors=(
                Impostor("not_summed", "", change={".sum(dim=-1)": ""}),
                Impostor(
                    "mean",
                    "The sum of a box's four losses, not their mean.",
                    change={".sum(dim=-1)": ".mean(dim=-1)"},
                ),
            ),
        ),
    ),
)

# --- 07.3 ------------------------------------------------------------------------------------------------------


def two_task_loss(scores, deltas, labels, goals, box_weight=1.0):
    """Class loss and box loss of R regions; scores (R, C + 1) with background last, deltas (R, 4 C)."""
    R, C = len(labels), scores.shape[1] - 1
    class_loss = (-scores.log_softmax(dim=1))[torch.arange(R), labels].sum()
    foreground = torch.nonzero(labels < C).flatten()  # (F,)
    chosen = deltas.reshape(R, C, 4)[foreground, labels[foreground]]  # (F, 4)
    d = (chosen - goals[foreground]).abs()
    box_loss = torch.where(d < 1, d**2 / 2, d - 0.5).sum()
    return class_loss / max(R, 1), box_weight * box_loss / max(R, 1)


def _some_outputs(count: int, draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    classes = (3, 1, 2, 5)[count % 4]
    return (
        2 * torch.randn(count, classes + 1, generator=draw),
        torch.randn(count, 4 * classes, generator=draw),
        torch.randint(classes + 1, (count,), generator=draw),
        torch.randn(count, 4, generator=draw),
        1.5,
    )


# A bus (class 0), a car (class 1) and background (2), with 99s where nobody should look.
THREE_SCORES = tensor([[0.7, 0.1, 0.2], [0.4, 0.5, 0.1], [0.05, 0.05, 0.9]]).log()
THREE_DELTAS = tensor([[0.5, 0, 0, 0, 99, 99, 99, 99], [99, 99, 99, 99, 0, 0, 2, 0], [99] * 8])
THREE_LABELS = tensor([0, 1, 2])
THREE_GOALS = tensor([[0.1, 0, 0, 0], [0, 0, -1, 0], [50, 50, 50, 50]])
THREE_CLASS_LOSS = -(math.log(0.7) + math.log(0.5) + math.log(0.9)) / 3
LN2, LN3 = math.log(2), math.log(3)

TWO_TASK_LOSS = Exercise(
    kind="implement",
    reference=two_task_loss,
    number="07.3",
    title="The loss of two tasks, in another layout",
    stars=3,
    minutes=25,
    points=4,
    goals=(2,),
    core=True,
    text="""\
Another library lays the head's outputs out differently: classes are numbered 0 to C - 1 and **background is the last**,
C; the deltas of a region stand in one row, four numbers a class, none for background.

`two_task_loss(scores, deltas, labels, goals, box_weight=1.0)`: class scores (logits), shape `(R, C + 1)`; deltas, shape
`(R, 4 * C)`; labels, shape `(R,)`, 0 to C; the right deltas, shape `(R, 4)`, which mean nothing for background. Return
two numbers:

1. the class loss: cross-entropy, summed over all regions, divided by `R`;
2. the box loss: smooth L1 (beta = 1), summed over the four deltas *of the true class* of every foreground region, times
   `box_weight`, divided by `R`, all regions.

`R` may be 0: both are 0 then. Do it without `frcnn_lessons.fast_rcnn` and `torchvision`.""",
    cases=(
        on_paper(
            "a bus, a car and background",
            THREE_SCORES,
            THREE_DELTAS,
            THREE_LABELS,
            THREE_GOALS,
            gives=(THREE_CLASS_LOSS, (0.08 + 2.5) / 3),
        ),
        on_paper(
            "the same with a box weight of 10",
            THREE_SCORES,
            THREE_DELTAS,
            THREE_LABELS,
            THREE_GOALS,
            10.0,
            gives=(THREE_CLASS_LOSS, (0.08 + 2.5) / 3 * 10),
        ),
        on_paper(
            "the car alone",
            THREE_SCORES[1:2],
            THREE_DELTAS[1:2],
            THREE_LABELS[1:2],
            THREE_GOALS[1:2],
            gives=(LN2, 2.5),
        ),
        on_paper(
            "a car that is taken for a bus",
            tensor([[0.6, 0.3, 0.1]]).log(),
            THREE_DELTAS[1:2],
            tensor([1]),
            THREE_GOALS[1:2],
            gives=(-math.log(0.3), 2.5),
        ),
        on_paper(
            "background only",
            torch.zeros(2, 3),
            torch.full((2, 8), 99.0),
            tensor([2, 2]),
            torch.full((2, 4), 50.0),
            gives=(LN3, 0),
        ),
        on_paper(
            "one class, all scores alike",
            torch.zeros(2, 2),
            tensor([[0.0, 0, 0, 0.6], [99, 99, 99, 99]]),
            tensor([0, 1]),
            torch.zeros(2, 4),
            gives=(LN2, 0.09),
        ),
        on_paper(
            "a bus whose four deltas are all off",
            tensor([[0.0, -100, -100]]),
            tensor([[0.2, -0.4, 1.5, -2, 99, 99, 99, 99]]),
            tensor([0]),
            torch.zeros(1, 4),
            gives=(0, 0.02 + 0.08 + 1 + 1.5),
        ),
        edge(
            "no regions",
            torch.zeros(0, 3),
            torch.zeros(0, 8),
            torch.zeros(0, dtype=torch.long),
            torch.zeros(0, 4),
            gives=(0, 0),
        ),
        *at_random(_some_outputs),
    ),
    impostors=(
        Impostor(
            "background_first",
            "Class 0 is a bus here, and background is the last one, C.",
            change={"labels < C": "labels > 0", "labels[foreground]]": "labels[foreground] - 1]"},
        ),
        Impostor(
            "all_classes",
            "The deltas of another class were looked at as well: only those of the true class count.",
            change={
                "[foreground, labels[foreground]]": "[foreground]",
                "goals[foreground])": "goals[foreground][:, None])",
            },
        ),
        Impostor(
            "interleaved",
            "The four numbers of *one class* stand together in a row: reshape to (R, C, 4).",
            change={"reshape(R, C, 4)[foreground, labels": "reshape(R, 4, C)[foreground, :, labels"},
        ),
        Impostor(
            "first_class",
            "Every region has the box of its own class.",
            change={"[foreground, labels[foreground]]": "[foreground, 0]"},
        ),
        Impostor(
            "predicted_class",
            "The box of the *true* class counts, whatever class the scores favour.",
            change={"[foreground, labels[foreground]]": "[foreground, scores[foreground, :C].argmax(dim=1)]"},
        ),
        Impostor(
            "by_foreground",
            "Both parts are divided by *all* regions, or lambda means something else in every step.",
            change={"box_loss / max(R, 1)": "box_loss / max(len(foreground), 1)"},
        ),
        Impostor(
            "mean_of_numbers",
            "The four deltas of a box are *summed*, and the sum is divided by all regions.",
            change={"box_loss / max(R, 1)": "box_loss / max(4 * len(foreground), 1)"},
        ),
        Impostor(
            "by_four",
            "The four deltas of a box are *summed*, not averaged.",
            change={"box_loss / max(R, 1)": "box_loss / max(4 * R, 1)"},
        ),
        Impostor(
            "not_divided",
            "Both sums are divided by the number of regions.",
            change={"class_loss / max(R, 1), box_weight * box_loss / max(R, 1)": "class_loss, box_weight * box_loss"},
        ),
        Impostor(
            "background_has_a_box",
            "Background has no object, so no box to compare with: it is left out of the box loss.",
            change={
                "torch.nonzero(labels < C).flatten()": "torch.arange(R)",
                "labels[foreground]]": "labels[foreground].clamp(max=C - 1)]",
            },
        ),
        Impostor(
            "foreground_classes_only",
            "Background teaches the class, too: all regions count in the first loss.",
            change={"[torch.arange(R), labels].sum()": "[torch.arange(R), labels][labels < C].sum()"},
        ),
        Impostor(
            "softmax_twice",
            "Softmax was taken twice: cross-entropy wants the scores as they are.",
            change={"scores.log_softmax(dim=1)": "scores.softmax(dim=1).log_softmax(dim=1)"},
        ),
        Impostor(
            "no_softmax",
            "The scores are logits: the softmax over all of them is missing.",
            change={"scores.log_softmax(dim=1)": "scores"},
        ),
        Impostor(
            "softmax_without_background",
            "Background is one of the answers: it belongs to the softmax.",
            function=lambda scores, deltas, labels, goals, box_weight=1.0: (
                _class_loss_without_background(scores, labels),
                two_task_loss(scores, deltas, labels, goals, box_weight)[1],
            ),
        ),
        Impostor(
            "weight_on_the_class",
            "`box_weight` belongs to the box loss.",
            change={
                "return class_loss / max(R, 1), box_weight * box": "return box_weight * class_loss / max(R, 1), box"
            },
        ),
        Impostor("weight_not_used", "`box_weight` was not used.", change={"box_weight * box_loss": "box_loss"}),
        Impostor("l1", "Near 0 smooth L1 is a parabola.", change={"torch.where(d < 1, d**2 / 2, d - 0.5)": "d"}),
        Impostor(
            "l2", "Beyond beta smooth L1 is a line.", change={"torch.where(d < 1, d**2 / 2, d - 0.5)": "(d**2 / 2)"}
        ),
        Impostor(
            "signs_kept",
            "Take the absolute value of the differences: signs must not cancel.",
            change={".abs()": ""},
        ),
    ),
    hints=(
        "Two losses that have little to do with each other: write them one after the other.",
        "Which rows have a box? Those with a label below C. Reshape the deltas to (R, C, 4) and pick their class.",
        "`deltas.reshape(R, C, 4)[rows, labels[rows]]`; divide both by `max(R, 1)`.",
    ),
    forbidden=("frcnn_lessons.fast_rcnn", "torchvision"),
    variants=(
        Variant(
            "background_first",
            """\
A layout between two libraries: **background is 0** and classes are numbered 1 to C; the deltas of a region stand in one
row, four numbers a class, beginning with class 1, none for background.

`two_task_loss(scores, deltas, labels, goals, box_weight=1.0)`: class scores (logits), shape `(R, C + 1)`; deltas, shape
`(R, 4 * C)`; labels, shape `(R,)`, 0 to C; the right deltas, shape `(R, 4)`, which mean nothing for background. Return
two numbers:

1. the class loss: cross-entropy, summed over all regions, divided by `R`;
2. the box loss: smooth L1 (beta = 1), summed over the four deltas *of the true class* of every foreground region, times
   `box_weight`, divided by `R`, all regions.

`R` may be 0: both are 0 then. Do it without `frcnn_lessons.fast_rcnn` and `torchvision`.""",
            change={
                "labels < C": "labels > 0",
                "labels[foreground]]": "labels[foreground] - 1]",
                "last, deltas": "first, deltas",
            },
            inputs=lambda scores, deltas, labels, goals, *weight: (
                scores.roll(1, dims=1),
                deltas,
                (labels + 1) % scores.shape[1],
                goals,
                *weight,
            ),
            gives={"the car alone": (LN2, 2.5), "one class, all scores alike": (LN2, 0.09)},
            without=(
                "background_first",
                "predicted_class",
                "all_classes",
                "interleaved",
                "first_class",
                "background_has_a_box",
                "foreground_classes_only",
                "softmax_without_background",
            ),
            impostors=(
                Impostor(
                    "background_last",
                    "Background is 0 here, and C is a class as any other.",
                    change={"labels > 0": "labels < C", "labels[foreground] - 1": "labels[foreground]"},
                ),
                Impostor(
                    "interleaved",
                    "The four numbers of *one class* stand together in a row: reshape to (R, C, 4).",
                    change={"reshape(R, C, 4)[foreground, labels": "reshape(R, 4, C)[foreground, :, labels"},
                ),
                Impostor(
                    "one_class_off",
                    "The deltas begin with class 1, for background has none: class 1 is in column 0.",
                    change={"labels[foreground] - 1]": "labels[foreground].clamp(max=C - 1)]"},
                ),
            ),
        ),
        Variant(
            "one_box",
            """\
A head with **one box for all classes**: classes are numbered 0 to C - 1 and background is the last, C; a region has
four deltas.

`two_task_loss(scores, deltas, labels, goals, box_weight=1.0)`: class scores (logits), shape `(R, C + 1)`; deltas, shape
`(R, 4)`; labels, shape `(R,)`, 0 to C; the right deltas, shape `(R, 4)`, which mean nothing for background. Return two
numbers:

1. the class loss: cross-entropy, summed over all regions, divided by `R`;
2. the box loss: smooth L1 (beta = 1), summed over the four deltas of every foreground region, times `box_weight`,
   divided by `R`, all regions.

`R` may be 0: both are 0 then. Do it without `frcnn_lessons.fast_rcnn` and `torchvision`.""",
            change={
                "deltas.reshape(R, C, 4)[foreground, labels[foreground]]": "deltas[foreground]",
                "(R, 4 C)": "(R, 4)",
            },
            inputs=lambda scores, deltas, labels, goals, *weight: (
                scores,
                deltas.reshape(len(labels), scores.shape[1] - 1, 4)[
                    torch.arange(len(labels)), labels.clamp(max=scores.shape[1] - 2)
                ],
                labels,
                goals,
                *weight,
            ),
            gives={"the car alone": (LN2, 2.5), "one class, all scores alike": (LN2, 0.09)},
            without=(
                "background_first",
                "predicted_class",
                "all_classes",
                "interleaved",
                "first_class",
                "background_has_a_box",
                "softmax_without_background",
            ),
            impostors=(
                Impostor(
                    "background_has_a_box",
                    "Background has no object, so no box to compare with: it is left out of the box loss.",
                    change={"torch.nonzero(labels < C).flatten()": "torch.arange(R)"},
                ),
                Impostor(
                    "background_first",
                    "Class 0 is a bus here, and background is the last one, C.",
                    change={"torch.nonzero(labels < C)": "torch.nonzero(labels > 0)"},
                ),
            ),
        ),
    ),
)


def _class_loss_without_background(scores: Tensor, labels: Tensor) -> Tensor:
    classes = scores.shape[1] - 1
    of_objects = labels < classes
    logs = scores[of_objects][:, :classes].log_softmax(dim=1)
    return -logs[torch.arange(len(logs)), labels[of_objects]].sum() / max(len(labels), 1)


# --- 07.4 ------------------------------------------------------------------------------------------------------


def shared_quota(verdicts, per_image, quota, generator):
    """For each image the rows of foreground and of background that are drawn; foreground places are handed over."""

    def draw(rows, count):
        return rows[torch.randperm(len(rows), generator=generator)[:count]]

    foreground = [torch.nonzero(verdict == 1).flatten() for verdict in verdicts]
    background = [torch.nonzero(verdict == 0).flatten() for verdict in verdicts]
    counts = [min(len(rows), quota) for rows in foreground]
    left = quota * len(verdicts) - sum(counts)
    for i, rows in enumerate(foreground):
        more = min(min(len(rows), per_image) - counts[i], left)
        counts[i], left = counts[i] + more, left - more
    return [
        (draw(fg, count), draw(bg, per_image - count))
        for fg, bg, count in zip(foreground, background, counts, strict=True)
    ]


def _images(*counts: tuple[int, int]) -> list[Tensor]:
    """For each image a verdict (R,) with so many foreground and background regions, mixed, and two ignored ones."""
    verdicts = []
    for foreground, background in counts:
        verdict = tensor([1] * foreground + [0] * background + [-1, -1])
        verdicts.append(verdict[torch.randperm(len(verdict), generator=torch.Generator().manual_seed(len(verdict)))])
    return verdicts


def _taken(function: Callable[..., Any], *inputs: Any, seed: int = 0) -> Any:
    answer = function(*inputs, torch.Generator().manual_seed(seed))
    return [[[int(row) for row in torch.as_tensor(rows).flatten()] for rows in image] for image in answer]


def _counts(function: Callable[..., Any], *inputs: Any) -> list[list[int]]:
    return [[len(rows) for rows in image] for image in _taken(function, *inputs)]


def _kinds(function: Callable[..., Any], verdicts: list[Tensor], *inputs: Any) -> bool:
    """Whether every row drawn is of its kind."""
    taken = _taken(function, verdicts, *inputs)
    return all(
        0 <= row < len(verdict) and verdict[row] == kind
        for image, verdict in zip(taken, verdicts, strict=True)
        for rows, kind in zip(image, (1, 0), strict=True)
        for row in rows
    )


def _repeated(function: Callable[..., Any], *inputs: Any) -> bool:
    return any(len(set(rows)) < len(rows) for image in _taken(function, *inputs) for rows in image)


def _all_come_up(function: Callable[..., Any], verdicts: list[Tensor], *inputs: Any) -> list[list[int]]:
    """How many different rows of each kind come up in 200 draws."""
    draws = [_taken(function, verdicts, *inputs, seed=seed) for seed in range(200)]
    return [[len({row for one in draws for row in one[i][kind]}) for kind in (0, 1)] for i in range(len(verdicts))]


def _same_seed(function: Callable[..., Any], *inputs: Any) -> bool:
    return bool(_taken(function, *inputs, seed=3) == _taken(function, *inputs, seed=3))


def _counts_and_kinds(function: Callable[..., Any], *inputs: Any) -> list[Any]:
    return [_counts(function, *inputs), _kinds(function, *inputs), _repeated(function, *inputs)]


def _some_images(count: int, draw: torch.Generator) -> tuple[list[Tensor], int, int]:
    sizes = torch.randint(12, (1 + count % 3, 2), generator=draw).tolist()
    return _images(*((foreground, background) for foreground, background in sizes)), 8, 2


SHARED_QUOTA = Exercise(
    kind="implement",
    reference=shared_quota,
    number="07.4",
    title="A quota that is handed over",
    stars=3,
    minutes=25,
    points=4,
    goals=(1,),
    core=False,
    text="""\
In the lesson, an image without objects gives no foreground, and its places for it are lost. Let other images use them.

`shared_quota(verdicts, per_image, quota, generator)`: `verdicts` is a list of `N` tensors, one an image, shape `(R,)`,
with 1 for foreground, 0 for background and -1 for ignored regions. Draw for each image:

1. up to `quota` foreground regions. What images leave of their quota is handed over, in the order of the images: the
   first that has more foreground takes as many as it has (but never more than `per_image` in all), then the next, until
   nothing is left;
2. background, until the image has `per_image` regions, or fewer where there are not enough.

Return a list with a pair for each image: the rows of foreground, the rows of background. Draw without replacement, at
random, with `generator`. Ignored regions are never drawn.""",
    cases=(
        on_paper(
            "how many; 9 and 1 foreground, 8 an image, quota 2",
            _images((9, 20), (1, 20)),
            8,
            2,
            gives=[[3, 5], [1, 7]],
            experiment=_counts,
        ),
        on_paper(
            "how many; the second image has more",
            _images((0, 20), (9, 20)),
            8,
            2,
            gives=[[0, 8], [4, 4]],
            experiment=_counts,
        ),
        on_paper(
            "how many; two images have more",
            _images((9, 20), (0, 20), (9, 20)),
            8,
            2,
            gives=[[4, 4], [0, 8], [2, 6]],
            experiment=_counts,
        ),
        on_paper(
            "how many; never more than 8 of an image",
            _images((20, 20), (0, 20)),
            8,
            6,
            gives=[[8, 0], [0, 8]],
            experiment=_counts,
        ),
        on_paper(
            "how many; what the first cannot take goes to the next",
            _images((3, 20), (9, 20), (0, 20)),
            8,
            2,
            gives=[[3, 5], [3, 5], [0, 8]],
            experiment=_counts,
        ),
        on_paper(
            "how many; never more than 4 of an image",
            _images((20, 20), (0, 3)),
            4,
            3,
            gives=[[4, 0], [0, 3]],
            experiment=_counts,
        ),
        on_paper(
            "how many; little background", _images((1, 3), (9, 2)), 8, 2, gives=[[1, 3], [3, 2]], experiment=_counts
        ),
        on_paper("is each of its kind", _images((9, 9), (1, 9)), 8, 2, gives=True, experiment=_kinds),
        on_paper("is a row drawn twice", _images((3, 5), (1, 7)), 8, 2, gives=False, experiment=_repeated),
        on_paper(
            "how many different rows come up in 200 draws",
            _images((6, 9), (1, 9)),
            4,
            1,
            gives=[[6, 9], [1, 9]],
            experiment=_all_come_up,
        ),
        on_paper(
            "how many different rows come up in 200 other draws",
            _images((5, 8), (6, 7)),
            4,
            1,
            gives=[[5, 8], [6, 7]],
            experiment=_all_come_up,
        ),
        on_paper("the same seed, the same draw", _images((9, 9), (1, 9)), 8, 2, gives=True, experiment=_same_seed),
        edge(
            "how many; no regions at all", [torch.zeros(0, dtype=torch.long)], 8, 2, gives=[[0, 0]], experiment=_counts
        ),
        *at_random(_some_images, experiment=_counts_and_kinds),
    ),
    impostors=(
        Impostor(
            "not_handed_over",
            "What one image leaves of its quota, another with more foreground may use.",
            change={"counts[i] + more, left - more": "counts[i], left"},
        ),
        Impostor(
            "first_takes_all",
            "First *every* image gets its own quota; only what is left then is handed over.",
            change={"counts = [min(len(rows), quota) for rows in foreground]": "counts = [0] * len(foreground)"},
        ),
        Impostor(
            "handed_over_twice",
            "What has been handed over to one image is no longer there for the next.",
            change={", left - more": ", left"},
        ),
        Impostor(
            "more_than_per_image",
            "An image has never more than `per_image` regions, foreground and background together.",
            change={
                "min(len(rows), per_image) - counts[i]": "len(rows) - counts[i]",
                "draw(bg, per_image - count)": "draw(bg, max(per_image - count, 0))",
            },
        ),
        Impostor(
            "background_capped",
            "Background fills the image up to `per_image`, also where foreground is missing.",
            change={"draw(bg, per_image - count)": "draw(bg, per_image - max(quota, count))"},
        ),
        Impostor(
            "ignored_drawn",
            "Ignored regions, -1, are never drawn: background is 0.",
            change={"verdict == 0": "verdict != 1"},
        ),
        Impostor(
            "with_replacement",
            "A row is drawn more than once: draw without replacement.",
            change={
                "torch.randperm(len(rows), generator=generator)[:count]": (
                    "torch.randint(max(len(rows), 1), (min(count, len(rows)),), generator=generator)"
                )
            },
        ),
        Impostor(
            "first_rows",
            "Every seed draws the same rows: shuffle them, with the generator that was handed in.",
            change={"torch.randperm(len(rows), generator=generator)": "torch.arange(len(rows))"},
        ),
        Impostor("global_random", "", change={", generator=generator": ""}),
        Impostor(
            "places",
            "These are places within a kind, not rows: look the drawn places up in the rows.",
            change={
                "return rows[torch.randperm(len(rows), generator=generator)[:count]]": (
                    "return torch.randperm(len(rows), generator=generator)[:count]"
                )
            },
        ),
    ),
    hints=(
        "Count first, draw afterwards: how many foreground regions does each image give?",
        "`counts = [min(len(rows), quota) ...]`; what is left of `quota * N` is handed over in a second loop.",
        "In the second loop an image takes `min(min(len(rows), per_image) - counts[i], left)` more.",
    ),
)

# --- 07.5 ------------------------------------------------------------------------------------------------------


def answer_image(scores, deltas, regions, size, score_threshold=0.05, nms_iou=0.3, most=100):
    """Boxes (D, 4), labels (D,) and scores (D,) from a head's output for R regions of an image of `size`."""
    R, C = len(regions), scores.shape[1] - 1
    probability = scores.softmax(dim=1)[:, :C].flatten()  # (R * C,), without background, which is the last
    found = boxes.decode(deltas.reshape(R, C, 4), regions, (10, 10, 5, 5)).reshape(-1, 4)  # (R * C, 4)
    found = boxes.clip(found, size)
    labels = torch.arange(C).repeat(R)  # (R * C,)
    kept = torch.nonzero(probability >= score_threshold).flatten()
    kept = kept[boxes.remove_small(found[kept], 0.01)]
    kept = kept[boxes.batched_nms(found[kept], probability[kept], labels[kept], nms_iou)][:most]
    return found[kept], labels[kept], probability[kept]


def _log(*rows: tuple[float, ...]) -> Tensor:
    """Class scores whose softmax is this."""
    return tensor(rows).log()


def _some_answers(count: int, draw: torch.Generator) -> tuple[Any, ...]:
    return (
        3 * torch.randn(count, 4, generator=draw),
        2 * torch.randn(count, 12, generator=draw),
        some_boxes(count, draw),
        (30, 36),
        0.1,
        0.3,
        20,
    )


STREET = tensor([[0.0, 0, 40, 20], [5, 2, 35, 20]])  # a bus, and a car in front of it; their IoU is 0.675

ANSWER_IMAGE = Exercise(
    kind="implement",
    reference=answer_image,
    number="07.5",
    title="From the head's output to detections",
    stars=3,
    minutes=25,
    points=4,
    goals=(4,),
    core=False,
    text="""\
`answer_image(scores, deltas, regions, size, score_threshold=0.05, nms_iou=0.3, most=100)`: the detections of one image
of `size` (height, width). The layout is that of 07.3: scores (logits), shape `(R, C + 1)`, with **background last**;
deltas, shape `(R, 4 * C)`, four numbers a class; labels run from 0 to C - 1.

1. Softmax over all scores. **Every class of every region** is a candidate of its own, background is none.
2. A candidate's box is decoded from its region, with the weights (10, 10, 5, 5), and clipped to the image.
3. Candidates with a score below `score_threshold` go, and those narrower or lower than 0.01.
4. Non-maximum suppression within each class; then the `most` surest of all.

Return boxes, shape `(D, 4)`, labels, shape `(D,)`, and scores, shape `(D,)`, the surest first. `R` may be 0.
`boxes.decode`, `clip`, `remove_small` and `batched_nms` are allowed.""",
    cases=(
        on_paper(
            "a car in front of a bus",
            _log((0.9, 0.04, 0.06), (0.03, 0.8, 0.17)),
            torch.zeros(2, 8),
            STREET,
            (30, 50),
            gives=([[0, 0, 40, 20], [5, 2, 35, 20]], [0, 1], [0.9, 0.8]),
        ),
        on_paper(
            "one region, a bus or a car",
            _log((0.43, 0.47, 0.10)),
            torch.zeros(1, 8),
            STREET[:1],
            (30, 50),
            gives=([[0, 0, 40, 20], [0, 0, 40, 20]], [1, 0], [0.47, 0.43]),
        ),
        on_paper(
            "most likely background, and yet a bus above 0.05",
            _log((0.2, 0.01, 0.79)),
            torch.zeros(1, 8),
            STREET[:1],
            (30, 50),
            gives=([[0, 0, 40, 20]], [0], [0.2]),
        ),
        on_paper(
            "each class moves the box in its own way",
            _log((0.5, 0.3, 0.2)),
            tensor([[0.0, 0, 0, 0, 2.5, 0, 0, 0]]),
            tensor([[0.0, 0, 20, 20]]),
            (30, 50),
            gives=([[0, 0, 20, 20], [5, 0, 25, 20]], [0, 1], [0.5, 0.3]),
        ),
        on_paper(
            "each of two regions and two classes",
            _log((0.5, 0.3, 0.2), (0.1, 0.6, 0.3)),
            tensor([[0.0, 0, 0, 0, 2.5, 0, 0, 0], [0, 5, 0, 0, 0, 0, 0, 0]]),
            tensor([[0.0, 0, 20, 20], [60, 0, 80, 20]]),
            (40, 100),
            gives=(
                [[60, 0, 80, 20], [0, 0, 20, 20], [5, 0, 25, 20], [60, 10, 80, 30]],
                [1, 0, 1, 0],
                [0.6, 0.5, 0.3, 0.1],
            ),
        ),
        on_paper(
            "over the border",
            _log((0.9, 0.02, 0.08)),
            torch.zeros(1, 8),
            tensor([[-10.0, -5, 60, 20]]),
            (15, 50),
            gives=([[0, 0, 50, 15]], [0], [0.9]),
        ),
        on_paper(
            "outside altogether",
            _log((0.9, 0.02, 0.08)),
            torch.zeros(1, 8),
            tensor([[60.0, 0, 80, 10]]),
            (15, 50),
            gives=(torch.zeros(0, 4), [], []),
        ),
        on_paper(
            "above the image",
            _log((0.9, 0.02, 0.08), (0.7, 0.02, 0.28)),
            torch.zeros(2, 8),
            tensor([[0.0, -20, 20, -5], [0, 0, 20, 10]]),
            (15, 50),
            gives=([[0, 0, 20, 10]], [0], [0.7]),
        ),
        on_paper(
            "the two surest of three",
            _log((0.9, 0.02, 0.08), (0.7, 0.02, 0.28), (0.8, 0.02, 0.18)),
            torch.zeros(3, 8),
            tensor([[0.0, 0, 10, 20], [15, 0, 25, 20], [30, 0, 40, 20]]),
            (30, 50),
            0.05,
            0.3,
            2,
            gives=([[0, 0, 10, 20], [30, 0, 40, 20]], [0, 0], [0.9, 0.8]),
        ),
        on_paper(
            "the two surest of three, two of which are the same bus",
            _log((0.9, 0.02, 0.08), (0.8, 0.02, 0.18), (0.5, 0.02, 0.48)),
            torch.zeros(3, 8),
            tensor([[0.0, 0, 20, 20], [0, 0, 20, 19], [25, 0, 45, 20]]),
            (30, 50),
            0.05,
            0.3,
            2,
            gives=([[0, 0, 20, 20], [25, 0, 45, 20]], [0, 0], [0.9, 0.5]),
        ),
        edge(
            "no regions",
            torch.zeros(0, 3),
            torch.zeros(0, 8),
            torch.zeros(0, 4),
            (30, 50),
            gives=(torch.zeros(0, 4), [], []),
        ),
        *at_random(_some_answers),
    ),
    impostors=(
        Impostor(
            "best_class_only",
            "A region may be a bus *and* a car: every class above the threshold is a candidate.",
            change={
                "kept = torch.nonzero(probability >= score_threshold)": (
                    "best = scores.softmax(1)[:, :C].amax(1, keepdim=True).expand(-1, C).flatten()\n"
                    "    kept = torch.nonzero((probability >= score_threshold) & (probability == best))"
                )
            },
        ),
        Impostor(
            "background_wins",
            "Background is no candidate, and wins nothing: the bus is above the threshold as well.",
            change={
                "kept = torch.nonzero(probability >= score_threshold)": (
                    "is_background = (scores.argmax(1) == C)[:, None].expand(-1, C).flatten()\n"
                    "    kept = torch.nonzero((probability >= score_threshold) & ~is_background)"
                )
            },
        ),
        Impostor(
            "one_nms_for_all",
            "A bus must not suppress the car in front of it: NMS within each class.",
            change={"labels[kept], nms_iou": "torch.zeros_like(kept), nms_iou"},
        ),
        Impostor(
            "softmax_without_background",
            "Background belongs to the softmax, or every region must be a vehicle.",
            change={"scores.softmax(dim=1)[:, :C]": "scores[:, :C].softmax(dim=1)"},
        ),
        Impostor(
            "background_first",
            "Background is the *last* score here.",
            change={"[:, :C].flatten()": "[:, 1:].flatten()"},
        ),
        Impostor(
            "logits",
            "The scores are no probabilities before the softmax.",
            change={"scores.softmax(dim=1)[:, :C]": "scores[:, :C]"},
        ),
        Impostor(
            "most_before_nms",
            "First NMS, then the surest: else boxes that suppress each other take up places.",
            change={
                "    kept = kept[boxes.remove_small": (
                    "    kept = kept[probability[kept].argsort(descending=True)[:most]]\n"
                    "    kept = kept[boxes.remove_small"
                )
            },
        ),
        Impostor("most_not_used", "At most `most` are wanted.", change={"[:most]": ""}),
        Impostor("no_weights", "The deltas are times (10, 10, 5, 5).", change={", (10, 10, 5, 5)": ""}),
        Impostor(
            "not_clipped",
            "Boxes end at the image's border.",
            change={"found = boxes.clip(found, size)": "found = found"},
        ),
        Impostor(
            "width_first",
            "`size` is (height, width).",
            change={"boxes.clip(found, size)": "boxes.clip(found, size[::-1])"},
        ),
        Impostor(
            "empty_boxes_kept",
            "A box of which nothing is left in the image is no detection.",
            change={"    kept = kept[boxes.remove_small(found[kept], 0.01)]\n": ""},
        ),
        Impostor(
            "labels_in_another_order",
            "The labels belong to other boxes: region by region, each has the classes 0, 1, ...",
            change={"torch.arange(C).repeat(R)": "torch.arange(C).repeat_interleave(R)"},
        ),
        Impostor(
            "labels_from_1",
            "Labels run from 0 here.",
            change={"return found[kept], labels[kept],": "return found[kept], labels[kept] + 1,"},
        ),
        Impostor(
            "regions_returned",
            "That are the regions: their boxes have to be corrected by the deltas of the class.",
            change={
                "boxes.decode(deltas.reshape(R, C, 4), regions, (10, 10, 5, 5)).reshape(-1, 4)": (
                    "regions.repeat_interleave(C, dim=0)"
                )
            },
        ),
        Impostor(
            "interleaved",
            "The four numbers of *one class* stand together in a row.",
            change={"deltas.reshape(R, C, 4)": "deltas.reshape(R, 4, C).transpose(1, 2)"},
        ),
    ),
    hints=(
        "Make one long list of R * C candidates first: box, label and score of each.",
        "`flatten()` of (R, C) goes region by region, so the labels are 0, 1, ..., C - 1, again and again.",
        "Keep row numbers: by score, by size, by `boxes.batched_nms`, then `[:most]`.",
    ),
    forbidden=("frcnn_lessons.fast_rcnn", "frcnn_lessons.rcnn", "torchvision"),
)

# --- 07.6 ------------------------------------------------------------------------------------------------------


def rank_for_energy(weight, share):
    """The smallest t for which the t largest singular values of (u, v) hold a share of the sum of their squares."""
    squares = torch.linalg.svdvals(weight) ** 2  # from large to small
    held = squares.cumsum(dim=0) / squares.sum()
    return int((held < share).sum()) + 1


def _diagonal(*values: float, columns: int = 0) -> Tensor:
    return torch.cat([torch.diag(tensor(values)), torch.zeros(len(values), columns)], dim=1)


RANK_FOR_ENERGY = Exercise(
    kind="implement",
    reference=rank_for_energy,
    number="07.6",
    title="How thin may a layer be?",
    stars=2,
    minutes=12,
    points=3,
    goals=(3,),
    core=False,
    text="""\
To [the notebook on the truncated SVD](../extras/07_truncated_svd.ipynb). A layer's weights, shape `(u, v)`, are to be
replaced by their `t` largest singular values.

`rank_for_energy(weight, share)`: the smallest `t`, a whole number, at least 1, for which the `t` largest singular
values hold at least `share` (0 to 1, and below 1) of the sum of the **squares** of all singular values. `u` and `v` may
differ.""",
    cases=(
        on_paper("3, 2, 1 on the diagonal, 0.6", _diagonal(3.0, 2, 1), 0.6, gives=1),
        on_paper("3, 2, 1 on the diagonal, 0.9", _diagonal(3.0, 2, 1), 0.9, gives=2),
        on_paper("3, 2, 1 on the diagonal, 0.95", _diagonal(3.0, 2, 1), 0.95, gives=3),
        on_paper("5, 1, 1, 1, 1 on the diagonal, 0.5", _diagonal(5.0, 1, 1, 1, 1), 0.5, gives=1),
        on_paper("1, 2, 3 on the diagonal, two columns of 0", _diagonal(1.0, 2, 3, columns=2), 0.9, gives=2),
        on_paper("exactly three quarters", _diagonal(2.0, 2, 2, 2), 0.75, gives=3),
        on_paper("exactly a half", _diagonal(1.0, 1), 0.5, gives=1),
        on_paper("all rows alike", torch.ones(4, 3), 0.99, gives=1),
        on_paper("nothing asked for", _diagonal(3.0, 2, 1), 0.0, gives=1),
        on_paper("nothing asked for, other numbers", _diagonal(5.0, 1, 1), 0.0, gives=1),
        *at_random(
            lambda n, draw: (torch.randn(n, 12, generator=draw) * torch.arange(1, 13), 0.8), sizes=(7, 2, 20, 40)
        ),
    ),
    impostors=(
        Impostor(
            "not_squared",
            "The sum of *squares*: 3, 2, 1 have 9/14 in their first, not 3/6.",
            change={"torch.linalg.svdvals(weight) ** 2": "torch.linalg.svdvals(weight)"},
        ),
        Impostor(
            "root_of_the_sum",
            "The squares are compared, not the roots of their sums.",
            change={"squares.cumsum(dim=0) / squares.sum()": "(squares.cumsum(dim=0) / squares.sum()).sqrt()"},
        ),
        Impostor(
            "counted_from_0",
            "The first place has number 0, but t = 1 of them are kept then.",
            change={"int((held < share).sum()) + 1": "int((held < share).sum())"},
        ),
        Impostor(
            "above",
            "*At least* the share: exactly three quarters are enough.",
            change={"held < share": "held <= share"},
        ),
        Impostor(
            "smallest_first",
            "The *largest* singular values are kept.",
            change={"squares.cumsum": "squares.flip(0).cumsum"},
        ),
        Impostor(
            "share_of_the_count",
            "A share of the sum of squares, not of the number of singular values.",
            change={"int((held < share).sum()) + 1": "max(math.ceil(share * len(held)), 1)"},
        ),
        Impostor(
            "each_alone",
            "The share of all t together, not of each alone.",
            change={"squares.cumsum(dim=0)": "squares"},
        ),
        Impostor(
            "one_too_many",
            "One fewer holds the share already.",
            change={"(held < share).sum()) + 1": "(held < share).sum()) + 2"},
        ),
    ),
    hints=(
        "`torch.linalg.svdvals` gives the singular values from large to small.",
        "Square, sum up one after the other (`cumsum`), divide by the whole sum.",
        "Count how many of these sums are below `share`; one more is enough.",
    ),
)

# --- 07.7 ------------------------------------------------------------------------------------------------------


def cut_off(backbone, head, image, goal, learning_rate=0.1):
    """One training step on one region, the whole image; returns the loss before it, a number."""
    learning = [p for p in [*backbone.parameters(), *head.parameters()] if p.requires_grad]
    optimiser = torch.optim.SGD(learning, learning_rate)
    features = backbone(image)  # (1, C, h, w)
    pooled = features.amax(dim=(2, 3))  # (1, C)
    loss = F.smooth_l1_loss(head(pooled), goal, reduction="sum")
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()


def _tiny_detector() -> tuple[nn.Conv2d, nn.BatchNorm2d, nn.Conv2d, nn.Linear]:
    """Two layers of one weight 1 each, the first fixed, a fixed batch norm between; and a head of one weight, 2."""
    first, norm = nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1, eps=0.0, affine=False).eval()
    second, head = nn.Conv2d(1, 1, 1, bias=False), nn.Linear(1, 1, bias=False)
    for layer, weight in ((first, 1.0), (second, 1.0), (head, 2.0)):
        nn.init.constant_(layer.weight, weight)
    first.weight.requires_grad_(False)
    return first, norm, second, head


def _after(steps: int, what: str) -> Callable[..., Any]:
    def measure(step: Callable[..., Any], image: Tensor, goal: Tensor) -> Any:
        first, norm, second, head = _tiny_detector()
        backbone = nn.Sequential(first, norm, second)
        running_mean = norm.running_mean
        assert running_mean is not None
        arrived: list[bool] = []
        second.weight.register_hook(lambda _: arrived.append(True))
        losses = [float(step(backbone, head, image, goal)) for _ in range(steps)]
        return {
            "loss": losses[-1],
            "head": head.weight.item(),
            "layer": second.weight.item(),
            "arrived": len(arrived) > 0,
            "fixed": first.weight.item(),
            "has a gradient": first.weight.grad is not None,
            "mean": running_mean.item(),
            "in training": norm.training,
        }[what]

    return measure


LIGHT = tensor([[[[1.0, 0.5]]]])
ZERO = tensor([[0.0]])

CUT_OFF = Exercise(
    kind="find the bug",
    reference=cut_off,
    given="as_given",
    number="07.7",
    title="Cut off from the backbone",
    stars=2,
    minutes=12,
    points=3,
    goals=(6,),
    core=True,
    may_change=True,
    may_draw=True,
    text="""\
"The loss falls, AP is decent, and it never gets better." The backbone does not learn. Correct this training step; there
are **two** mistakes.

`cut_off(backbone, head, image, goal, learning_rate=0.1)` makes one step of gradient descent on the box of one region,
which is the whole image, and returns the loss before the step, a number. All parameters of backbone and head learn
**that have `requires_grad`**; the first stage of the backbone is fixed and stays so, and its batch normalisation is in
evaluation and stays so.

The cases use a backbone of two layers with one weight each, 1, of which the first is fixed, and a head with one weight,
2. On an image with the pixels 1 and 0.5 the pooled feature is 1, the head says 2; for the goal 0 the loss is 1.5 and
its slope 1.""",
    cases=(
        on_paper("the loss of the first step", LIGHT, ZERO, gives=1.5, experiment=_after(1, "loss")),
        on_paper("the head's weight after a step", LIGHT, ZERO, gives=1.9, experiment=_after(1, "head")),
        on_paper("does a gradient reach the second layer", LIGHT, ZERO, gives=True, experiment=_after(1, "arrived")),
        on_paper("the second layer's weight after a step", LIGHT, ZERO, gives=0.8, experiment=_after(1, "layer")),
        on_paper("the fixed layer's weight after a step", LIGHT, ZERO, gives=1, experiment=_after(1, "fixed")),
        on_paper("has the fixed layer a gradient", LIGHT, ZERO, gives=False, experiment=_after(1, "has a gradient")),
        on_paper("the running mean after a step", LIGHT, ZERO, gives=0, experiment=_after(1, "mean")),
        on_paper("is the batch norm in training", LIGHT, ZERO, gives=False, experiment=_after(1, "in training")),
        on_paper("the loss of the second step", LIGHT, ZERO, gives=0.8 * 1.9 - 0.5, experiment=_after(2, "loss")),
        on_paper("the second layer's weight after 2 steps", LIGHT, ZERO, gives=0.61, experiment=_after(2, "layer")),
        on_paper("the head's weight after 2 steps", LIGHT, ZERO, gives=1.82, experiment=_after(2, "head")),
        on_paper(
            "the second layer's weight, twice the pixels", 2 * LIGHT, ZERO, gives=0.6, experiment=_after(1, "layer")
        ),
        on_paper("the fixed layer's weight, twice the pixels", 2 * LIGHT, ZERO, gives=1, experiment=_after(1, "fixed")),
        on_paper("the running mean, twice the pixels", 2 * LIGHT, ZERO, gives=0, experiment=_after(2, "mean")),
    ),
    impostors=(
        Impostor(
            "optimiser_forgets",
            "A gradient arrives in the backbone now, but the optimiser does not know its parameters.",
            change={"[*backbone.parameters(), *head.parameters()]": "head.parameters()"},
        ),
        Impostor(
            "as_given",
            "No gradient arrives in the backbone: `.data` cuts the graph, as `.detach()` does.",
            change={
                "    learning = [p for p in [*backbone.parameters(), *head.parameters()] if p.requires_grad]\n": "",
                "torch.optim.SGD(learning, learning_rate)": "torch.optim.SGD(head.parameters(), learning_rate)",
                "features.amax": "features.data.amax",
            },
        ),
        Impostor(
            "unfroze_all",
            "The first stage was to stay fixed: `requires_grad` says who learns.",
            change={"    learning = [p": "    backbone.requires_grad_(True)\n    learning = [p"},
        ),
        Impostor(
            "train_mode",
            "`train()` moves the statistics of the batch normalisation, which was to stay as it is.",
            change={"    features = backbone(image)": "    backbone.train()\n    features = backbone(image)"},
        ),
        Impostor(
            "head_forgotten",
            "The head has to learn as well.",
            change={"[*backbone.parameters(), *head.parameters()]": "backbone.parameters()"},
        ),
        Impostor(
            "gradient_cleared",
            "`zero_grad` between `backward` and `step` throws away what was computed.",
            change={
                "    optimiser.zero_grad()\n    loss.backward()\n": "    loss.backward()\n    optimiser.zero_grad()\n"
            },
        ),
        Impostor(
            "ascent",
            "It climbs: the step goes against the gradient.",
            change={"loss.backward()": "(-loss).backward()"},
        ),
        Impostor(
            "mean_of_the_map",
            "No number of the forward pass was to change: the region's largest value is pooled.",
            change={"features.amax(dim=(2, 3))": "features.mean(dim=(2, 3))"},
        ),
        Impostor(
            "loss_afterwards",
            "The loss *before* the step is returned.",
            change={
                "return loss.item()": (
                    "return F.smooth_l1_loss(head(backbone(image).amax(dim=(2, 3))), goal, reduction='sum').item()"
                )
            },
        ),
    ),
    hints=(
        "Two questions for every parameter that should learn: does a gradient arrive, and does the optimiser know it?",
        "What does `.data` do to the graph? It cuts it, as `.detach()` does.",
        "Give the optimiser the parameters of both that have `requires_grad`, and pool from `features` itself.",
    ),
    variants=(
        Variant(
            "half_the_rate",
            """\
"The loss falls, AP is decent, and it never gets better." The backbone does not learn. Correct this training step; there
are **two** mistakes. **And let the backbone learn at half the learning rate**, as is often done with pretrained
weights.

`cut_off(backbone, head, image, goal, learning_rate=0.1)` makes one step of gradient descent on the box of one region,
which is the whole image, and returns the loss before the step, a number. All parameters of backbone and head learn
**that have `requires_grad`**; the first stage of the backbone is fixed and stays so, and its batch normalisation is in
evaluation and stays so.

The cases use a backbone of two layers with one weight each, 1, of which the first is fixed, and a head with one weight,
2. On an image with the pixels 1 and 0.5 the pooled feature is 1, the head says 2; for the goal 0 the loss is 1.5 and
its slope 1.""",
            change={
                "    learning = [p for p in [*backbone.parameters(), *head.parameters()] if p.requires_grad]\n": (
                    "    of_backbone = [p for p in backbone.parameters() if p.requires_grad]\n"
                ),
                "torch.optim.SGD(learning, learning_rate)": (
                    'torch.optim.SGD(\n        [{"params": of_backbone, "lr": learning_rate / 2}, '
                    '{"params": head.parameters()}], learning_rate\n    )'
                ),
            },
            cases=(
                on_paper("the loss of the first step", LIGHT, ZERO, gives=1.5, experiment=_after(1, "loss")),
                on_paper("the head's weight after a step", LIGHT, ZERO, gives=1.9, experiment=_after(1, "head")),
                on_paper(
                    "the second layer's weight after a step", LIGHT, ZERO, gives=0.9, experiment=_after(1, "layer")
                ),
                on_paper("the fixed layer's weight after a step", LIGHT, ZERO, gives=1, experiment=_after(1, "fixed")),
                on_paper("the running mean after a step", LIGHT, ZERO, gives=0, experiment=_after(1, "mean")),
                on_paper(
                    "is the batch norm in training", LIGHT, ZERO, gives=False, experiment=_after(1, "in training")
                ),
                on_paper(
                    "the second layer's weight, twice the pixels",
                    2 * LIGHT,
                    ZERO,
                    gives=0.8,
                    experiment=_after(1, "layer"),
                ),
                on_paper("the head's weight after 2 steps", LIGHT, ZERO, gives=1.81, experiment=_after(2, "head")),
            ),
            without=(
                "as_given",
                "optimiser_forgets",
                "unfroze_all",
                "head_forgotten",
                "mean_of_the_map",
                "loss_afterwards",
                "ascent",
            ),
            impostors=(
                Impostor(
                    "as_given",
                    "No gradient arrives in the backbone: `.data` cuts the graph, as `.detach()` does.",
                    change={
                        "    of_backbone = [p for p in backbone.parameters() if p.requires_grad]\n": "",
                        'torch.optim.SGD(\n        [{"params": of_backbone, "lr": learning_rate / 2}, '
                        '{"params": head.parameters()}], learning_rate\n    )': (
                            "torch.optim.SGD(head.parameters(), learning_rate)"
                        ),
                        "features.amax": "features.data.amax",
                    },
                ),
                Impostor(
                    "same_rate",
                    "The backbone learns at *half* the rate here.",
                    change={"learning_rate / 2": "learning_rate"},
                ),
            ),
        ),
    ),
)

# --- 07.8 ------------------------------------------------------------------------------------------------------


def targets_in_order(regions, fg, bg, matched, gt, gt_labels):
    """Regions (S, 4) that were drawn, their labels (S,) and deltas (S, 4), foreground first."""
    labels = torch.cat([gt_labels[matched[fg]], torch.zeros_like(bg)])
    deltas = torch.zeros(len(labels), 4)
    deltas[: len(fg)] = boxes.encode(gt[matched[fg]], regions[fg])
    regions = torch.cat([regions[fg], regions[bg]])
    return regions, labels, deltas


# Regions 0 and 3 lie 10 pixels left of objects 0 and 1; the others are background.
FIVE_REGIONS = tensor([[0.0, 0, 40, 20], [100, 0, 140, 20], [200, 0, 240, 20], [50, 40, 90, 60], [300, 0, 340, 20]])
TWO_OBJECTS = tensor([[10.0, 0, 50, 20], [60, 40, 100, 60]])
MATCHED = tensor([0, 0, 0, 1, 0])
RIGHT_BY_10 = [0.25, 0, 0, 0]  # of a region 40 wide
NONE = torch.zeros(0, dtype=torch.long)


def _some_rows(count: int, draw: torch.Generator) -> tuple[Tensor, ...]:
    order = torch.randperm(count, generator=draw)
    split = count // 3
    gt = some_boxes(4, draw)
    return (
        some_boxes(count, draw),
        order[:split],
        order[split:],
        torch.randint(4, (count,), generator=draw),
        gt,
        (1 + torch.randint(3, (4,), generator=draw)),
    )


TARGETS_IN_ORDER = Exercise(
    kind="find the bug",
    reference=targets_in_order,
    given="as_given",
    number="07.8",
    title="Two tables in two orders",
    stars=2,
    minutes=12,
    points=3,
    goals=(6,),
    core=False,
    text="""\
"The loss falls, and AP is 0.000." There are **two** mistakes in these targets; correct them.

`targets_in_order(regions, fg, bg, matched, gt, gt_labels)`: of `R` regions, shape `(R, 4)`, those with the rows `fg`
were drawn as foreground and those with the rows `bg` as background. `matched`, shape `(R,)`, names the object of each
region, a row of `gt`, shape `(K, 4)`, and `gt_labels`, shape `(K,)`. Return three tables in which row i is about the
same region, foreground first, each kind in the order drawn: the regions, shape `(S, 4)`; their labels, shape `(S,)`, 0
for background; their deltas, shape `(S, 4)`, 0 for background.""",
    cases=(
        on_paper(
            "rows 3 and 0 on objects, rows 1 and 4 not",
            FIVE_REGIONS,
            tensor([3, 0]),
            tensor([1, 4]),
            MATCHED,
            TWO_OBJECTS,
            tensor([1, 2]),
            gives=(
                [[50, 40, 90, 60], [0, 0, 40, 20], [100, 0, 140, 20], [300, 0, 340, 20]],
                [2, 1, 0, 0],
                [RIGHT_BY_10, RIGHT_BY_10, [0] * 4, [0] * 4],
            ),
        ),
        on_paper(
            "row 3 on an object, rows 1, 2 and 4 not",
            FIVE_REGIONS,
            tensor([3]),
            tensor([1, 2, 4]),
            MATCHED,
            TWO_OBJECTS,
            tensor([1, 2]),
            gives=(
                [[50, 40, 90, 60], [100, 0, 140, 20], [200, 0, 240, 20], [300, 0, 340, 20]],
                [2, 0, 0, 0],
                [RIGHT_BY_10, [0] * 4, [0] * 4, [0] * 4],
            ),
        ),
        on_paper(
            "row 0 on an object, all others not",
            FIVE_REGIONS,
            tensor([0]),
            tensor([4, 1]),
            MATCHED,
            TWO_OBJECTS,
            tensor([3, 2]),
            gives=([[0, 0, 40, 20], [300, 0, 340, 20], [100, 0, 140, 20]], [3, 0, 0], [RIGHT_BY_10, [0] * 4, [0] * 4]),
        ),
        edge(
            "no foreground",
            FIVE_REGIONS,
            NONE,
            tensor([1]),
            MATCHED,
            TWO_OBJECTS,
            tensor([1, 2]),
            gives=([[100, 0, 140, 20]], [0], [[0] * 4]),
        ),
        edge(
            "no background",
            FIVE_REGIONS,
            tensor([3]),
            NONE,
            MATCHED,
            TWO_OBJECTS,
            tensor([1, 2]),
            gives=([[50, 40, 90, 60]], [2], [RIGHT_BY_10]),
        ),
        *at_random(_some_rows),
    ),
    impostors=(
        Impostor(
            "as_given",
            "Labels have background first, regions foreground; and `fg` names rows of the regions as they *were*.",
            change={
                "[gt_labels[matched[fg]], torch.zeros_like(bg)]": "[torch.zeros_like(bg), gt_labels[matched[fg]]]",
                "    regions = torch.cat([regions[fg], regions[bg]])\n": "",
                "    deltas = torch.zeros": (
                    "    regions = torch.cat([regions[fg], regions[bg]])\n    deltas = torch.zeros"
                ),
            },
        ),
        Impostor(
            "labels_only",
            "The labels are right now; the deltas are made from `regions[fg]` *after* these got a new order.",
            change={
                "    regions = torch.cat([regions[fg], regions[bg]])\n": "",
                "    deltas = torch.zeros": (
                    "    regions = torch.cat([regions[fg], regions[bg]])\n    deltas = torch.zeros"
                ),
            },
        ),
        Impostor(
            "deltas_only",
            "The deltas are right now; the labels have background first still.",
            change={"[gt_labels[matched[fg]], torch.zeros_like(bg)]": "[torch.zeros_like(bg), gt_labels[matched[fg]]]"},
        ),
        Impostor(
            "labels_flipped",
            "Turned round, the labels of foreground are first, but in reverse order.",
            change={
                "[gt_labels[matched[fg]], torch.zeros_like(bg)]": (
                    "[gt_labels[matched[fg]].flip(0), torch.zeros_like(bg)]"
                )
            },
        ),
        Impostor(
            "background_first_everywhere",
            "Row i of all three is about the same region; but foreground comes first.",
            change={
                "[gt_labels[matched[fg]], torch.zeros_like(bg)]": "[torch.zeros_like(bg), gt_labels[matched[fg]]]",
                "deltas[: len(fg)]": "deltas[len(bg) :]",
                "[regions[fg], regions[bg]]": "[regions[bg], regions[fg]]",
            },
        ),
        Impostor(
            "rows_sorted",
            "Each kind stays in the order in which it was drawn.",
            change={"    labels = torch.cat": "    fg = fg.sort().values\n    labels = torch.cat"},
        ),
        Impostor(
            "first_objects",
            "`matched` has a row for each of the R regions: pick those of `fg`.",
            change={"matched[fg]": "matched[: len(fg)]"},
        ),
        Impostor(
            "from_the_object",
            "The deltas lead from the region to the object.",
            change={"boxes.encode(gt[matched[fg]], regions[fg])": "boxes.encode(regions[fg], gt[matched[fg]])"},
        ),
    ),
    hints=(
        "Write down the three tables for the first case, row by row, as the given code makes them.",
        "Which comes first in the regions, and which in the labels?",
        "`fg` names rows of the regions as they were handed in: compute the deltas before they are put in a new order.",
    ),
)

# --- 07.9 ------------------------------------------------------------------------------------------------------

LOSS_BY_HAND = Exercise(
    kind="predict",
    name="loss_by_hand",
    number="07.9",
    title="The loss by hand",
    stars=2,
    minutes=10,
    points=2,
    goals=(2,),
    core=False,
    text="""\
Four regions, two classes, background 0. The probability that the head gives to the **true** class: 0.5 for a bus, 0.8
for a car, 0.8 and 0.5 for two pieces of background. The deltas of the bus are right but for `dx`, which is off by 0.6;
those of the car but for `dh`, off by 1.5; all outputs of the background are 5.

Set `loss_by_hand` to two numbers: the class loss and the box loss, with lambda = 1 and smooth L1 with beta = 1, each
divided by all four regions. Two decimals are enough ($\\ln 0.5 = -0.693$, $\\ln 0.8 = -0.223$).""",
    answer=(0.458, 0.295),
    stub="(..., ...)",
    cases=parts("class loss", "box loss"),
    tolerance=0.01,
    impostors=(
        Impostor(
            "by_foreground", "Both are divided by *all* regions, not by the two with a box.", answer=(0.458, 0.59)
        ),
        Impostor("background_boxes", "Background has no box: its 5s do not count.", answer=(0.458, 9.295)),
        Impostor("square_far_off", "Beyond beta it is a line: 1.5 - 0.5.", answer=(0.458, 0.32625)),
        Impostor("lines_only", "Below beta it is half a square: 0.6 * 0.6 / 2.", answer=(0.458, 0.525)),
        Impostor("no_half", "*Half* the square: 0.6 * 0.6 / 2.", answer=(0.458, 0.34)),
        Impostor("not_divided", "Divide both by the four regions.", answer=(1.833, 1.18)),
        Impostor("foreground_classes", "Background teaches the class, too.", answer=(0.229, 0.295)),
        Impostor(
            "minus_forgotten", "A logarithm of a probability is negative, the loss positive.", answer=(-0.458, 0.295)
        ),
    ),
    hints=(
        "Class: minus the logarithm of the true class's probability, for all four.",
        "Box: 0.6 is below beta, half a square; 1.5 is beyond, a line.",
        "(0.693 + 0.223 + 0.223 + 0.693) / 4, and (0.18 + 1.0) / 4.",
    ),
)

# --- 07.10 -----------------------------------------------------------------------------------------------------

TWO_IMAGES = Exercise(
    kind="explain",
    name="two_images",
    number="07.10",
    title="Two images a step",
    stars=2,
    minutes=10,
    points=2,
    goals=(3,),
    core=True,
    text="""\
"128 regions from 128 images give a better gradient than 64 from each of 2." Why does Fast R-CNN take 2 all the same,
and how could you show on your data that this is right? (At most 120 words.)""",
    answer="""\
The regions of an image share its feature map: with 2 images the backbone runs twice a step, forward and back, with 128
images 128 times, and the maps of all are kept in memory. So a step costs about a 64th, and in the same time one makes
dozens of steps. The price: regions of one image are alike, so a single step learns less. To show it, train both for the
same *time*, not for the same number of steps, and compare AP on images not trained on; or compare the gradients of both
kinds of batch, and of the mean of as many small ones as fit into the same time, with the gradient of all data.""",
    guide="""\
1 point: the feature map is shared, so a step costs about 1/64 (time or memory), and there are many more steps in the
same time. Half a point: regions of an image are correlated (it names the price). Half a point for an experiment at
equal time (or the cosine with the gradient of all data); nothing for one at an equal number of steps.""",
    hints=(
        "How often does the backbone run in a step, and what has to be kept for the way back?",
        "What is the price? And what should be equal in a fair comparison: steps, or time?",
        "Lesson 07, 'What 2 x 64 saves'.",
    ),
)

# --- 07.11 -----------------------------------------------------------------------------------------------------


def rows_to_targets(rows, sizes, names):
    """For each image of `sizes` its boxes (K, 4) in pixels and labels (K,) from rows of an Open Images table."""
    targets = {}
    for image_id, (height, width) in sizes.items():
        own = [row for row in rows if row["ImageID"] == image_id and row["LabelName"] in names]
        shares = [[float(row[key]) for key in ("XMin", "YMin", "XMax", "YMax")] for row in own]
        targets[image_id] = {
            "boxes": torch.tensor(shares).reshape(-1, 4) * torch.tensor([width, height, width, height]),
            "labels": torch.tensor([names.index(row["LabelName"]) + 1 for row in own], dtype=torch.int64),
        }
    return targets


def _row(image_id: str, name: str, x1: float, x2: float, y1: float, y2: float) -> dict[str, str]:
    """A row as Open Images writes it: XMin, XMax, YMin, YMax."""
    corners = zip(("XMin", "XMax", "YMin", "YMax"), map(str, (x1, x2, y1, y2)), strict=True)
    return {"ImageID": image_id, "LabelName": name, **dict(corners)}


BUS_ROW = _row("a", "Bus", 0.1, 0.5, 0.25, 0.75)  # in an image 100 high and 200 wide: (20, 25, 100, 75)
TRUCK_ROW = _row("b", "Truck", 0.0, 0.5, 0.5, 1.0)  # 40 high, 80 wide: (0, 20, 40, 40)
SECOND_ROW = _row("a", "Truck", 0.5, 1.0, 0.0, 0.5)  # (100, 0, 200, 50)
CAR_ROW = _row("a", "Car", 0.2, 0.3, 0.2, 0.3)
SIZES = {"a": (100, 200), "b": (40, 80)}
NAMES = ["Bus", "Truck"]
NO_BOXES = {"boxes": torch.zeros(0, 4), "labels": []}


def _some_table(
    count: int, draw: torch.Generator
) -> tuple[list[dict[str, str]], dict[str, tuple[int, int]], list[str]]:
    rows = []
    for _ in range(count):
        image, name = (int(torch.randint(4, (1,), generator=draw)) for _ in range(2))
        x, y = (torch.rand(2, generator=draw).sort().values.tolist() for _ in range(2))
        rows.append(_row("abcd"[image], ("Bus", "Truck", "Car", "Van")[name], *x, *y))
    return rows, {"a": (100, 200), "c": (60, 50), "b": (40, 80)}, ["Truck", "Van", "Bus"]


ROWS_TO_TARGETS = Exercise(
    kind="implement",
    reference=rows_to_targets,
    number="07.11",
    title="From rows to targets",
    stars=2,
    minutes=15,
    points=3,
    goals=(5,),
    core=True,
    text="""\
`rows_to_targets(rows, sizes, names)`: `rows` is a list of dictionaries, one a box, as `csv.DictReader` reads them from
an Open Images table: `ImageID`, `LabelName`, and `XMin`, `XMax`, `YMin`, `YMax`, **strings**, in shares of the image.
`sizes` maps the image's id to its `(height, width)`; `names` lists the classes.

Return a dictionary with an entry for **every** image of `sizes`: a dictionary with `"boxes"`, a tensor `(K, 4)`, `xyxy`
in pixels, and `"labels"`, a tensor of whole numbers `(K,)`, counted from 1 in the order of `names`, in the order of the
rows. Rows of several images may stand in any order. Rows of other classes or of images that are not in `sizes` are left
out. Where nothing is left, the boxes have shape `(0, 4)`.""",
    cases=(
        on_paper(
            "one image, one bus",
            [BUS_ROW],
            {"a": (100, 200)},
            NAMES,
            gives={"a": {"boxes": [[20, 25, 100, 75]], "labels": [1]}},
        ),
        on_paper(
            "two images, rows in turn",
            [BUS_ROW, TRUCK_ROW, SECOND_ROW],
            SIZES,
            NAMES,
            gives={
                "a": {"boxes": [[20, 25, 100, 75], [100, 0, 200, 50]], "labels": [1, 2]},
                "b": {"boxes": [[0, 20, 40, 40]], "labels": [2]},
            },
        ),
        on_paper(
            "a car, which is no class here",
            [CAR_ROW, BUS_ROW],
            {"a": (100, 200)},
            NAMES,
            gives={"a": {"boxes": [[20, 25, 100, 75]], "labels": [1]}},
        ),
        on_paper(
            "an image without rows",
            [BUS_ROW],
            SIZES,
            NAMES,
            gives={"a": {"boxes": [[20, 25, 100, 75]], "labels": [1]}, "b": NO_BOXES},
        ),
        on_paper("an image with a car only", [CAR_ROW], {"a": (100, 200)}, NAMES, gives={"a": NO_BOXES}),
        on_paper(
            "a row of an image that is not asked for",
            [TRUCK_ROW, BUS_ROW],
            {"a": (100, 200)},
            NAMES,
            gives={"a": {"boxes": [[20, 25, 100, 75]], "labels": [1]}},
        ),
        on_paper(
            "names in another order",
            [BUS_ROW, SECOND_ROW],
            {"a": (100, 200)},
            ["Truck", "Bus"],
            gives={"a": {"boxes": [[20, 25, 100, 75], [100, 0, 200, 50]], "labels": [2, 1]}},
        ),
        edge("no rows", [], {"a": (100, 200)}, NAMES, gives={"a": NO_BOXES}),
        edge("no images", [BUS_ROW], {}, NAMES, gives={}),
        *at_random(_some_table),
    ),
    impostors=(
        Impostor(
            "only_with_rows",
            "An empty street teaches what not to find: it has no row, and must be there all the same.",
            change={
                "    return targets": '    return {key: one for key, one in targets.items() if len(one["labels"])}'
            },
        ),
        Impostor("labels_from_0", "0 is background: labels begin with 1.", change={" + 1 for row": " for row"}),
        Impostor(
            "in_order_of_the_columns",
            "The columns are XMin, XMax, YMin, YMax; a box is (x1, y1, x2, y2).",
            change={'"XMin", "YMin", "XMax", "YMax"': '"XMin", "XMax", "YMin", "YMax"'},
        ),
        Impostor(
            "exchanged",
            "x is a share of the *width*, y of the height; sizes are (height, width).",
            change={"[width, height, width, height]": "[height, width, height, width]"},
        ),
        Impostor(
            "shares",
            "These are shares still: multiply by the size of the image.",
            change={" * torch.tensor([width, height, width, height])": ""},
        ),
        Impostor(
            "one_size_for_all",
            "Every image has a size of its own.",
            change={"        own = ": "        height, width = next(iter(sizes.values()))\n        own = "},
        ),
        Impostor(
            "one_box_an_image",
            "One row is one *box*: an image may have several.",
            change={'row["LabelName"] in names]': 'row["LabelName"] in names][-1:]'},
        ),
        Impostor(
            "unknown_as_background",
            "A class that is not asked for is left out, not taught as background.",
            change={
                ' and row["LabelName"] in names]': "]",
                'names.index(row["LabelName"]) + 1': (
                    '(names.index(row["LabelName"]) + 1 if row["LabelName"] in names else 0)'
                ),
            },
        ),
        Impostor(
            "order_of_appearance",
            "Labels are counted in the order of `names`, not in that of their first row.",
            change={
                "    targets = {}\n": (
                    "    targets = {}\n"
                    '    names = list(dict.fromkeys(row["LabelName"] for row in rows if row["LabelName"] in names))\n'
                )
            },
        ),
        Impostor(
            "alphabetical",
            "Labels are counted in the order of `names` as they are given.",
            change={"    targets = {}\n": "    targets = {}\n    names = sorted(names)\n"},
        ),
        Impostor(
            "xywh",
            "Two corners are asked for, not a corner and a size.",
            change={
                "    return targets": (
                    "    for one in targets.values():\n"
                    '        one["boxes"][:, 2:] -= one["boxes"][:, :2]\n'
                    "    return targets"
                )
            },
        ),
        Impostor(
            "no_second_axis",
            "",
            change={
                ".reshape(-1, 4)": "",
                "torch.tensor(shares)": ("(torch.tensor(shares) if shares else torch.zeros(0, 1))"),
                "* torch.tensor([width, height, width, height])": (
                    "* torch.tensor([width, height, width, height])[: 4 if shares else 1]"
                ),
            },
        ),
    ),
    hints=(
        "Begin with an empty entry for every image of `sizes`; then the rows.",
        "`float(row['XMin']) * width`, and so on, in the order x1, y1, x2, y2; the label is `names.index(...) + 1`.",
        "`torch.tensor(list_of_boxes).reshape(-1, 4)` has shape (0, 4) for an empty list.",
    ),
    variants=(
        Variant(
            "background_last",
            """\
`rows_to_targets(rows, sizes, names)`: `rows` is a list of dictionaries, one a box, as `csv.DictReader` reads them from
an Open Images table: `ImageID`, `LabelName`, and `XMin`, `XMax`, `YMin`, `YMax`, **strings**, in shares of the image.
`sizes` maps the image's id to its `(height, width)`; `names` lists the classes.

Return a dictionary with an entry for **every** image of `sizes`: a dictionary with `"boxes"`, a tensor `(K, 4)`, `xyxy`
in pixels, and `"labels"`, a tensor of whole numbers `(K,)`, counted **from 0** in the order of `names` (for a library
whose background is the last class), in the order of the rows. Rows of several images may stand in any order. Rows of
other classes or of images that are not in `sizes` are left out. Where nothing is left, the boxes have shape `(0,
4)`.""",
            change={" + 1 for row": " for row"},
            gives={"one image, one bus": {"a": {"boxes": [[20, 25, 100, 75]], "labels": [0]}}},
            without=("labels_from_0", "unknown_as_background"),
            impostors=(
                Impostor(
                    "labels_from_1",
                    "Labels begin with 0 here.",
                    change={'["LabelName"]) for': '["LabelName"]) + 1 for'},
                ),
            ),
        ),
        Variant(
            "xywh",
            """\
`rows_to_targets(rows, sizes, names)`: `rows` is a list of dictionaries, one a box, as `csv.DictReader` reads them from
an Open Images table: `ImageID`, `LabelName`, and `XMin`, `XMax`, `YMin`, `YMax`, **strings**, in shares of the image.
`sizes` maps the image's id to its `(height, width)`; `names` lists the classes.

Return a dictionary with an entry for **every** image of `sizes`: a dictionary with `"boxes"`, a tensor `(K, 4)`, as
**(left, top, width, height)** in pixels, and `"labels"`, a tensor of whole numbers `(K,)`, counted from 1 in the order
of `names`, in the order of the rows. Rows of several images may stand in any order. Rows of other classes or of images
that are not in `sizes` are left out. Where nothing is left, the boxes have shape `(0, 4)`.""",
            change={
                "    return targets": (
                    "    for one in targets.values():\n"
                    '        one["boxes"][:, 2:] -= one["boxes"][:, :2]\n'
                    "    return targets"
                ),
                "its boxes (K, 4)": "its boxes (K, 4), xywh,",
            },
            gives={"one image, one bus": {"a": {"boxes": [[20, 25, 80, 50]], "labels": [1]}}},
            without=("only_with_rows", "xywh", "no_second_axis"),
            impostors=(
                Impostor(
                    "corners",
                    "Width and height are asked for, not the second corner.",
                    change={'        one["boxes"][:, 2:] -= one["boxes"][:, :2]\n': "        pass\n"},
                ),
            ),
        ),
    ),
)

# --- 07.12 -----------------------------------------------------------------------------------------------------


def validation_loss(model, batches):
    """The mean cross-entropy of all regions of all batches (inputs, labels); the model is left as it was."""
    was_training = model.training
    model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for inputs, labels in batches:
            total += F.cross_entropy(model(inputs), labels, reduction="sum").item()
            count += len(labels)
    model.train(was_training)
    return total / count


def _with_dropout() -> nn.Sequential:
    """Scores are the inputs as they are; in training, all of them are dropped."""
    return nn.Sequential(nn.Dropout(1.0), nn.Identity())


def _loss_of(training: bool) -> Callable[..., Any]:
    return lambda function, batches: float(function(_with_dropout().train(training), batches))


def _mode_after(training: bool) -> Callable[..., Any]:
    def measure(function: Callable[..., Any], batches: Any) -> bool:
        model = _with_dropout().train(training)
        function(model, batches)
        return model.training

    return measure


def _running_mean(function: Callable[..., Any], batches: Any) -> list[float]:
    """What the statistics of a batch normalisation are after a look at the validation images."""
    norm = nn.BatchNorm1d(2)
    function(nn.Sequential(norm).train(), batches)
    running_mean = norm.running_mean
    assert running_mean is not None
    return [float(number) for number in running_mean]


SURE = (tensor([[0.0, LN3]]), tensor([1]))  # probabilities 1/4 and 3/4
WRONG = (tensor([[LN3, 0.0], [LN3, 0.0]]), tensor([1, 1]))
THREE_ROWS = (2 * math.log(4) - math.log(0.75)) / 3

VALIDATION_LOSS = Exercise(
    kind="find the bug",
    reference=validation_loss,
    given="as_given",
    number="07.12",
    title="A validation that trembles",
    stars=2,
    minutes=12,
    points=3,
    goals=(4,),
    core=False,
    may_change=True,
    may_draw=True,
    text="""\
"The validation loss is higher than the training loss from the first epoch on, and different each time I run the cell."
The lines stand in a published walk-through; its head has dropout. Find the mistake and correct it.

`validation_loss(model, batches)`: `batches` is a list of pairs, the inputs and labels of some regions, as many as come.
Return the mean cross-entropy of **all regions**, a number. Afterwards the model is as it was: in training if it was in
training, in evaluation if it was in evaluation, and its batch normalisation has learned nothing.

(The cases use a model that returns its inputs, and in training drops them all.)""",
    cases=(
        on_paper("probability 3/4, the model is in training", [SURE], gives=-math.log(0.75), experiment=_loss_of(True)),
        on_paper(
            "probability 3/4, the model is in evaluation", [SURE], gives=-math.log(0.75), experiment=_loss_of(False)
        ),
        on_paper("batches of one and of two regions", [SURE, WRONG], gives=THREE_ROWS, experiment=_loss_of(True)),
        on_paper(
            "batches of two and of one, in evaluation", [WRONG, SURE], gives=THREE_ROWS, experiment=_loss_of(False)
        ),
        on_paper("in training before, in training after?", [SURE], gives=True, experiment=_mode_after(True)),
        on_paper("in training before, after two batches?", [SURE, WRONG], gives=True, experiment=_mode_after(True)),
        on_paper("in evaluation before, in training after?", [SURE], gives=False, experiment=_mode_after(False)),
        on_paper("in evaluation before, after two batches?", [WRONG, SURE], gives=False, experiment=_mode_after(False)),
        on_paper("the running mean of a batch norm after it", [WRONG], gives=[0, 0], experiment=_running_mean),
        on_paper("the running mean after two batches", [WRONG, WRONG], gives=[0, 0], experiment=_running_mean),
    ),
    impostors=(
        Impostor(
            "as_given",
            "The model is in training while it is validated, so dropout stays on: `model.eval()` is missing.",
            change={"    was_training = model.training\n    model.eval()\n": "", "    model.train(was_training)\n": ""},
        ),
        Impostor(
            "never_back",
            "The model stays in evaluation: the next epoch would train without dropout.",
            change={"    model.train(was_training)\n": ""},
        ),
        Impostor(
            "always_training",
            "It was in evaluation and is in training afterwards: put it back to what it was.",
            change={"model.train(was_training)": "model.train()"},
        ),
        Impostor(
            "mean_of_means",
            "Batches differ in size: the mean of all *regions*, not the mean of the batches' means.",
            change={'reduction="sum"': 'reduction="mean"', "count += len(labels)": "count += 1"},
        ),
        Impostor("sum", "The mean, not the sum.", change={"return total / count": "return total"}),
        Impostor(
            "last_batch",
            "All batches count, not only the last one.",
            change={"total += F": "total = F", "count += len": "count = len"},
        ),
        Impostor(
            "training_on_purpose",
            "Validation is done in evaluation: with `model.train()` dropout is on.",
            change={"model.eval()": "model.train()"},
        ),
    ),
    hints=(
        "What is different in the model while it trains and while it is used?",
        "Dropout and batch normalisation ask `model.training`.",
        "`model.eval()` before, and afterwards back to what it was: `model.train(was_training)`.",
    ),
)

# --- 07.13 -----------------------------------------------------------------------------------------------------


def corrected_corners(regions, offsets, size):
    """Boxes (R, 4) from regions (R, 4) in pixels and offsets (R, 4) of their corners, in shares of the image."""
    height, width = size
    return regions + offsets * torch.tensor([width, height, width, height])


A_REGION = tensor([[20.0, 10, 60, 30]])

CORRECTED_CORNERS = Exercise(
    kind="find the bug",
    reference=corrected_corners,
    given="as_given",
    number="07.13",
    title="A correction that does nothing",
    minutes=8,
    points=2,
    goals=(5, 6),
    core=False,
    text="""\
"With box regression and without it, AP is the same to three digits." In the walk-through that trains from an Open
Images table, the head does not learn the deltas of the papers but **how far each corner is off, as a share of the
image's width and height**: the targets are the differences of the corners, x divided by the width of the image, y by
its height. Find the mistake in what is done with its output, and correct it.

`corrected_corners(regions, offsets, size)`: regions, shape `(R, 4)`, `xyxy` in pixels; the head's offsets for `(x1, y1,
x2, y2)`, shape `(R, 4)`; `size` is `(height, width)`. Return the corrected boxes in pixels, shape `(R, 4)`; they may
reach outside the image. `R` may be 0.""",
    cases=(
        on_paper(
            "x2 a tenth of 200 pixels to the right",
            A_REGION,
            tensor([[0.0, 0, 0.1, 0]]),
            (100, 200),
            gives=[[20, 10, 80, 30]],
        ),
        on_paper(
            "y1 a tenth of 100 pixels up", A_REGION, tensor([[0.0, -0.1, 0, 0]]), (100, 200), gives=[[20, 0, 60, 30]]
        ),
        on_paper("no correction", A_REGION, torch.zeros(1, 4), (100, 200), gives=[[20, 10, 60, 30]]),
        on_paper(
            "all four corners of two regions",
            torch.cat([A_REGION, A_REGION]),
            tensor([[-0.1, 0.05, 0.05, 0.1], [-0.2, 0, 0, 0]]),
            (100, 200),
            gives=[[0, 15, 70, 40], [-20, 10, 60, 30]],
        ),
        on_paper(
            "two and a half pixels to the right",
            A_REGION,
            tensor([[0.0125, 0, 0.0125, 0]]),
            (100, 200),
            gives=[[22.5, 10, 62.5, 30]],
        ),
        edge("no regions", torch.zeros(0, 4), torch.zeros(0, 4), (100, 200), gives=torch.zeros(0, 4)),
        *at_random(lambda n, draw: (some_boxes(n, draw), 0.1 * torch.randn(n, 4, generator=draw), (90, 160))),
    ),
    impostors=(
        Impostor(
            "as_given",
            "A tenth of the image moved the corner by a tenth of a *pixel*: shares have to be scaled before they are "
            "added to pixels.",
            change={
                "    height, width = size\n": "",
                "offsets * torch.tensor([width, height, width, height])": "offsets",
            },
        ),
        Impostor(
            "exchanged",
            "x is a share of the width, y of the height, and `size` is (height, width).",
            change={"height, width = size": "width, height = size"},
        ),
        Impostor(
            "by_the_region",
            "The shares are of the *image*; here they were taken of the region's own size.",
            change={"torch.tensor([width, height, width, height])": "(regions[:, 2:] - regions[:, :2]).repeat(1, 2)"},
        ),
        Impostor(
            "as_deltas",
            "These are no deltas of centre and size: each number moves one corner.",
            change={
                "regions + offsets * torch.tensor([width, height, width, height])": "boxes.decode(offsets, regions)"
            },
        ),
        Impostor(
            "subtracted",
            "The offsets lead from the region to the object: they are added.",
            change={"regions + ": "regions - "},
        ),
        Impostor(
            "in_shares",
            "The boxes are asked for in pixels; that are shares of the image.",
            change={
                "regions + offsets * torch.tensor([width, height, width, height])": (
                    "regions / torch.tensor([width, height, width, height]) + offsets"
                )
            },
        ),
        Impostor(
            "width_only",
            "y is a share of the *height*.",
            change={"[width, height, width, height]": "[width, width, width, width]"},
        ),
        Impostor(
            "cut_at_0",
            "Boxes may reach outside the image: nothing was to be cut off.",
            change={
                "return regions + offsets * torch.tensor([width, height, width, height])": (
                    "return (regions + offsets * torch.tensor([width, height, width, height])).clamp(min=0)"
                )
            },
        ),
        Impostor(
            "whole_numbers",
            "Keep the fractions of pixels.",
            change={
                "return regions + offsets * torch.tensor([width, height, width, height])": (
                    "return (regions + offsets * torch.tensor([width, height, width, height])).trunc()"
                )
            },
        ),
    ),
    hints=(
        "What is the unit of the regions, and what is the unit of the offsets?",
        "An offset of 0.1 in x means a tenth of the image's width.",
        "`offsets * torch.tensor([width, height, width, height])` is in pixels.",
    ),
)

EXERCISES: tuple[Exercise, ...] = (
    WHAT_IS_EACH_REGION,
    SMOOTH_L1,
    TWO_TASK_LOSS,
    SHARED_QUOTA,
    ANSWER_IMAGE,
    RANK_FOR_ENERGY,
    CUT_OFF,
    TARGETS_IN_ORDER,
    LOSS_BY_HAND,
    TWO_IMAGES,
    ROWS_TO_TARGETS,
    VALIDATION_LOSS,
    CORRECTED_CORNERS,
)
