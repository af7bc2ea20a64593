"""The exercises of lesson 05, R-CNN.

Shapes: R regions, K objects, M negatives, E examples with P features each.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, tensor

from frcnn_lessons import boxes
from frcnn_lessons.exercises.boxes_and_iou import draw_two, some_boxes
from frcnn_lessons.exercises.description import Exercise, Impostor, Variant, at_random, edge, on_paper, parts

# --- 05.1 ------------------------------------------------------------------------------------------------------

WINDOW_SHOWS = Exercise(
    kind="predict",
    name="window_shows",
    number="05.1",
    title="What a window shows",
    minutes=6,
    points=1,
    goals=(1,),
    core=True,
    text="""\
A region is 80 pixels wide and 40 high. Windows have 96 x 96 pixels, of which 8 on each side are context: the region
itself fills the rest.

Set `window_shows` to four numbers: how many pixels of the image the window shows across, and how many down; and how
many times as wide, and how many times as high as in the image, a lamp post in the region appears in the window.""",
    answer=(96, 48, 1.0, 2.0),
    stub="(..., ..., ..., ...)",
    cases=parts("pixels across", "pixels down", "times as wide", "times as high"),
    impostors=(
        Impostor(
            "no_context",
            "That is a window without context: here the region fills only the middle of it.",
            answer=(80, 40, 1.2, 2.4),
        ),
        Impostor(
            "no_context_shown",
            "The window shows more than the region: 8 of its pixels on each side are context.",
            answer=(80, 40, 1.0, 2.0),
        ),
        Impostor(
            "image_pixels",
            "The 8 pixels are pixels of the *window*; down, one of them is only half a pixel of the image.",
            answer=(96, 56, 1.0, 2.0),
        ),
        Impostor(
            "one_side",
            "There is context on both sides.",
            answer=(88, 44, 1.0, 2.0),
        ),
        Impostor(
            "upside_down",
            "40 pixels of the image become 80 of the window: things grow, they do not shrink.",
            answer=(96, 48, 1.0, 0.5),
        ),
        Impostor(
            "exchanged",
            "Across and down are exchanged: it is the height that has to grow.",
            answer=(96, 48, 2.0, 1.0),
        ),
    ),
    hints=(
        "How many pixels of the window does the region fill? That many across, and as many down.",
        "80 pixels of region over 80 of window across; 40 over 80 down. That gives the last two numbers.",
        "The whole window has 96 pixels: divide that by how many times things grow, across and down.",
    ),
    variants=(
        Variant(
            "standing",
            """\
A region is 40 pixels wide and 100 high. Windows have 64 x 64 pixels, of which 7 on each side are context: the region
itself fills the rest.

Set `window_shows` to four numbers: how many pixels of the image the window shows across, and how many down; and how
many times as wide, and how many times as high as in the image, a lamp post in the region appears in the window.""",
            answer=(51.2, 128, 1.25, 0.5),
            without=("no_context", "no_context_shown", "image_pixels", "one_side", "upside_down", "exchanged"),
            impostors=(
                Impostor(
                    "no_context",
                    "That is a window without context: here the region fills only the middle of it.",
                    answer=(40, 100, 1.6, 0.64),
                ),
                Impostor(
                    "image_pixels",
                    "The 7 pixels are pixels of the *window*; down, one of them is two pixels of the image.",
                    answer=(54, 114, 1.25, 0.5),
                ),
                Impostor(
                    "upside_down",
                    "40 pixels of the image become 50 of the window, and 100 become 50.",
                    answer=(51.2, 128, 0.8, 2.0),
                ),
            ),
        ),
        Variant(
            "lying",
            """\
A region is 160 pixels wide and 20 high. Windows have 100 x 100 pixels, of which 10 on each side are context: the
region itself fills the rest.

Set `window_shows` to four numbers: how many pixels of the image the window shows across, and how many down; and how
many times as wide, and how many times as high as in the image, a lamp post in the region appears in the window.""",
            answer=(200, 25, 0.5, 4.0),
            without=("no_context", "no_context_shown", "image_pixels", "one_side", "upside_down", "exchanged"),
            impostors=(
                Impostor(
                    "no_context",
                    "That is a window without context: here the region fills only the middle of it.",
                    answer=(160, 20, 0.625, 5.0),
                ),
                Impostor(
                    "image_pixels",
                    "The 10 pixels are pixels of the *window*; across, one of them is two pixels of the image.",
                    answer=(180, 40, 0.5, 4.0),
                ),
                Impostor(
                    "upside_down",
                    "160 pixels of the image become 80 of the window, and 20 become 80.",
                    answer=(200, 25, 2.0, 0.25),
                ),
            ),
        ),
    ),
)

# --- 05.2 ------------------------------------------------------------------------------------------------------


def context_box(regions, size, padding, square=False):
    """What each window shows of the image, xyxy (R, 4), for regions (R, 4) that fill it up to the padding."""
    centre = (regions[:, :2] + regions[:, 2:]) / 2  # (R, 2)
    sides = regions[:, 2:] - regions[:, :2]  # (R, 2)
    if square:
        sides = sides.amax(dim=1, keepdim=True).expand(-1, 2)
    sides = sides * size / (size - 2 * padding)
    return torch.cat([centre - sides / 2, centre + sides / 2], dim=1)


def draw_context(inputs: tuple[Any, ...], expected: Any, got: Any) -> None:
    """The first region, and what its window shows."""
    right, answer = torch.as_tensor(expected).float(), torch.as_tensor(got).float()
    draw_two(inputs[0][0], right[:1], _rounded(right), _rounded(answer), "Region (blue), and what its window shows")


def _rounded(of_regions: Tensor) -> list[float]:
    return [round(number, 1) for number in of_regions[0].tolist()]


LYING = tensor([[10.0, 20, 90, 60]])  # 80 x 40
STANDING = tensor([[0.0, 0, 40, 80]])  # 40 x 80

CONTEXT_BOX = Exercise(
    kind="implement",
    reference=context_box,
    number="05.2",
    title="The box that a window shows",
    stars=2,
    minutes=15,
    points=3,
    goals=(1,),
    core=True,
    text="""\
`context_box(regions, size, padding, square=False)`: for each of `R` regions, shape `(R, 4)`, `xyxy`, the box of the
image that its window shows, shape `(R, 4)`, `xyxy`. A window has `size` x `size` pixels; the region fills it up to
`padding` pixels of the **window** on each side. The box has the region's centre and may reach outside the image.

With `square=True` the region is first made the smallest square around itself with the same centre. `R` may be 0.""",
    cases=(
        on_paper("80 x 40 in a window of 96 with 8", LYING, 96, 8, gives=[[2, 16, 98, 64]]),
        on_paper("40 x 80 in a window of 96 with 8", STANDING, 96, 8, gives=[[-4, -8, 44, 88]]),
        on_paper("no padding", LYING, 96, 0, gives=[[10, 20, 90, 60]]),
        on_paper("half of the window is context", tensor([[10.0, 10, 30, 20]]), 64, 16, gives=[[0, 5, 40, 25]]),
        on_paper("80 x 40, square", LYING, 96, 8, True, gives=[[2, -8, 98, 88]]),
        on_paper("40 x 80, square, no padding", STANDING, 96, 0, True, gives=[[-20, 0, 60, 80]]),
        on_paper(
            "two regions, square",
            torch.cat([LYING, STANDING]),
            96,
            8,
            True,
            gives=[[2, -8, 98, 88], [-28, -8, 68, 88]],
        ),
        edge("no regions", torch.zeros(0, 4), 64, 4.5, gives=torch.zeros(0, 4)),
        edge("no regions, square", torch.zeros(0, 4), 64, 4.5, True, gives=torch.zeros(0, 4)),
        *at_random(lambda n, draw: (some_boxes(n, draw), 64, 4.5, n % 2 == 0)),
    ),
    impostors=(
        Impostor(
            "image_pixels",
            "The padding is counted in pixels of the *window*: on the image it depends on the region's size.",
            change={"sides * size / (size - 2 * padding)": "sides + 2 * padding"},
        ),
        Impostor(
            "one_side",
            "There is padding on both sides: the region fills size - 2 * padding pixels.",
            change={"2 * padding": "padding"},
        ),
        Impostor(
            "inverse",
            "Then the window would show less than the region: it must show more.",
            change={"sides * size / (size - 2 * padding)": "sides * (size - 2 * padding) / size"},
        ),
        Impostor(
            "share_of_the_window",
            "The region does not fill the window but size - 2 * padding of its pixels: set these in proportion to its "
            "sides.",
            change={"sides * size / (size - 2 * padding)": "sides * (size + 2 * padding) / size"},
        ),
        Impostor(
            "from_the_corner",
            "The box grows to all sides, around the region's centre; here its corner stays where it is.",
            change={"[centre - sides / 2, centre + sides / 2]": "[regions[:, :2], regions[:, :2] + sides]"},
        ),
        Impostor(
            "whole_sides",
            "Half of a side lies on each side of the centre, not all of it.",
            change={"centre - sides / 2, centre + sides / 2": "centre - sides, centre + sides"},
        ),
        Impostor(
            "square_min",
            "A square *around* the region has its longer side.",
            change={".amax(": ".amin("},
        ),
        Impostor("never_square", "`square` was not looked at.", change={"if square:": "if False:"}),
        Impostor(
            "always_square", "Without `square` the box keeps the region's shape.", change={"if square:": "if True:"}
        ),
        Impostor(
            "square_of_the_area",
            "The smallest square around the region has its longer side, not its area.",
            change={
                "sides.amax(dim=1, keepdim=True).expand(-1, 2)": "sides.prod(1, keepdim=True).sqrt().expand(-1, 2)"
            },
        ),
        Impostor(
            "clipped",
            "The box may begin left of the image or above it: nothing is cut off.",
            change={"+ sides / 2], dim=1)": "+ sides / 2], dim=1).clamp(min=0)"},
        ),
        Impostor(
            "centre_and_size",
            "That is centre and size; two corners are asked for.",
            change={"[centre - sides / 2, centre + sides / 2]": "[centre, sides]"},
        ),
    ),
    hints=(
        "How many pixels of the window does the region fill? How many has the whole window?",
        "Take centre and sides; make the sides larger; go back to corners.",
        "`sides * size / (size - 2 * padding)`, then `centre - sides / 2` and `centre + sides / 2`.",
    ),
    variants=(
        Variant(
            "share",
            """\
`context_box(regions, share, square=False)`: for each of `R` regions, shape `(R, 4)`, `xyxy`, the box of the image that
its window shows, shape `(R, 4)`, `xyxy`. On each side, `share` of the **window** is context (0.1 is a tenth of its
width); the region fills the rest. The box has the region's centre and may reach outside the image.

With `square=True` the region is first made the smallest square around itself with the same centre. `R` may be 0.""",
            change={"size, padding, square": "share, square", "* size / (size - 2 * padding)": "/ (1 - 2 * share)"},
            inputs=lambda regions, size, padding, square=False: (regions, padding / size, square),
            gives={"80 x 40 in a window of 96 with 8": [[2, 16, 98, 64]], "80 x 40, square": [[2, -8, 98, 88]]},
            without=("image_pixels", "one_side", "inverse", "share_of_the_window"),
            impostors=(
                Impostor(
                    "share_of_the_region",
                    "It is a share of the *window*: the region fills 1 - 2 * share of it.",
                    change={"/ (1 - 2 * share)": "* (1 + 2 * share)"},
                ),
                Impostor("one_side", "There is context on both sides.", change={"/ (1 - 2 * share)": "/ (1 - share)"}),
            ),
        ),
        Variant(
            "xywh",
            """\
`context_box(regions, size, padding, square=False)`: for each of `R` regions, shape `(R, 4)`, as **(left, top, width,
height)**, the box of the image that its window shows, shape `(R, 4)`, as (left, top, width, height) as well. A window
has `size` x `size` pixels; the region fills it up to `padding` pixels of the **window** on each side. The box has the
region's centre and may reach outside the image.

With `square=True` the region is first made the smallest square around itself with the same centre. `R` may be 0.""",
            change={
                "xyxy (R, 4)": "xywh (R, 4)",
                "(regions[:, :2] + regions[:, 2:]) / 2": "regions[:, :2] + regions[:, 2:] / 2",
                "regions[:, 2:] - regions[:, :2]": "regions[:, 2:]",
                "[centre - sides / 2, centre + sides / 2]": "[centre - sides / 2, sides]",
            },
            inputs=lambda regions, *more: (boxes.xyxy_to_xywh(regions), *more),
            gives={"80 x 40 in a window of 96 with 8": [[2, 16, 96, 48]], "80 x 40, square": [[2, -8, 96, 96]]},
            without=("from_the_corner", "whole_sides", "clipped", "centre_and_size"),
            impostors=(
                Impostor(
                    "corners_returned",
                    "Two corners came back: left, top, width and height are asked for.",
                    change={"[centre - sides / 2, sides]": "[centre - sides / 2, centre + sides / 2]"},
                ),
                Impostor(
                    "corner_stays",
                    "The box grows to all sides: its corner moves as well.",
                    change={"[centre - sides / 2, sides]": "[regions[:, :2], sides]"},
                ),
            ),
        ),
    ),
    draw=draw_context,
)

# --- 05.3 ------------------------------------------------------------------------------------------------------


def svm_targets(overlap, is_object):
    """What each of R regions is to the SVM of one class (R,): 1, -1, or 0 if it is left out."""
    return torch.where(is_object, 1.0, torch.where(overlap < 0.3, -1.0, 0.0))


def _overlaps(count: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    overlap = torch.rand(count, generator=draw)
    is_object = torch.rand(count, generator=draw) < 0.2
    return torch.where(is_object, 1.0, overlap), is_object


SVM_TARGETS = Exercise(
    kind="implement",
    reference=svm_targets,
    number="05.3",
    title="What an SVM learns from",
    minutes=8,
    points=2,
    goals=(3,),
    core=False,
    text="""\
`svm_targets(overlap, is_object)`: for the SVM of *one* class, what is each of `R` regions? `overlap`, shape `(R,)`, is
its IoU with the object of this class that it overlaps best; `is_object`, shape `(R,)`, says whether it *is* the box of
such an object.

Return shape `(R,)`: 1 for the objects themselves, -1 for regions with IoU below 0.3, and 0 for all others, which are
left out. `R` may be 0.""",
    cases=(
        on_paper(
            "the object and five proposals",
            tensor([1.0, 0.8, 0.5, 0.29, 0.0, 0.6]),
            tensor([True, False, False, False, False, False]),
            gives=[1, 0, 0, -1, -1, 0],
        ),
        on_paper("exactly 0.3", tensor([0.3, 0.25]), tensor([False, False]), gives=[0, -1]),
        on_paper("a proposal that equals the object", tensor([1.0, 1.0]), tensor([False, True]), gives=[0, 1]),
        on_paper("two of them", tensor([1.0, 1.0, 1.0]), tensor([False, True, False]), gives=[0, 1, 0]),
        on_paper("exactly 0.3, and between", tensor([0.4, 0.3]), tensor([False, False]), gives=[0, 0]),
        on_paper("far from everything", tensor([0.0, 0.1]), tensor([False, False]), gives=[-1, -1]),
        edge("no regions", torch.zeros(0), torch.zeros(0, dtype=torch.bool), gives=[]),
        *at_random(_overlaps),
    ),
    impostors=(
        Impostor(
            "fine_tuning",
            "That is stage 1: for the SVM only the object itself is positive, and what lies between is left out.",
            function=lambda overlap, is_object: torch.where(is_object | (overlap >= 0.5), 1.0, -1.0),
        ),
        Impostor(
            "half_is_positive",
            "For the SVM only the object itself is positive; an IoU of 0.5 makes a positive in stage 1 only.",
            change={"where(is_object, ": "where(is_object | (overlap >= 0.5), "},
        ),
        Impostor("at_most", "An IoU of exactly 0.3 is not *below* 0.3.", change={"< 0.3": "<= 0.3"}),
        Impostor(
            "all_else_negative",
            "What lies from 0.3 upwards teaches nothing: it is left out, 0.",
            change={"torch.where(overlap < 0.3, -1.0, 0.0)": "-1.0"},
        ),
        Impostor(
            "by_iou_one",
            "A proposal that happens to lie exactly on the object is a proposal: ask `is_object`.",
            change={"where(is_object, ": "where(overlap == 1, "},
        ),
        Impostor(
            "zero_for_negatives",
            "Negatives are -1; 0 says that a region is left out.",
            change={"-1.0, 0.0": "0.0, -1.0"},
        ),
        Impostor(
            "half_for_negatives",
            "For the SVM a region is negative below 0.3; 0.5 is stage 1.",
            change={"< 0.3": "< 0.5"},
        ),
    ),
    hints=(
        "Three kinds: the object itself, hardly any overlap, and all that lies between.",
        "Only `is_object` makes a region positive, whatever its IoU.",
        "`torch.where(is_object, 1, torch.where(overlap < 0.3, -1, 0))`",
    ),
)

# --- 05.4 ------------------------------------------------------------------------------------------------------


def mine(margins, taken, add_above=-1.0, drop_below=-1.2):
    """Which of M negatives the SVM is fitted with next (M,), and how many of them are new."""
    hard, easy = margins > add_above, margins < drop_below
    return (taken & ~easy) | hard, int((hard & ~taken).sum())


FIVE_MARGINS = tensor([-2.0, -1.1, -1.0, -0.5, 1.5])
FOUR_TAKEN = tensor([True, True, True, False, True])
NONE_TAKEN = tensor([False, False, False])

MINE = Exercise(
    kind="implement",
    reference=mine,
    number="05.4",
    title="A round of hard-negative mining",
    stars=2,
    minutes=12,
    points=3,
    goals=(3,),
    core=True,
    text="""\
`mine(margins, taken, add_above=-1.0, drop_below=-1.2)`: one round over the `M` negatives of an SVM. `margins`, shape
`(M,)`, is what the SVM says of each; `taken`, shape `(M,)`, which of them it was fitted with.

- Hard ones, with a margin **above** `add_above`, are in from now on.
- Those that were taken and have a margin **below** `drop_below` go out.
- All others stay as they were, in or out.

Return two things: who is in now, shape `(M,)`, True or False; and how many of them are *new*, a number. `M` may be
0.""",
    cases=(
        on_paper("five negatives", FIVE_MARGINS, FOUR_TAKEN, gives=([False, True, True, True, True], 1)),
        on_paper("none taken yet", tensor([-2.0, -0.5, 1.5]), NONE_TAKEN, gives=([False, True, True], 2)),
        on_paper("none taken, and none hard", tensor([-2.0, -1.1, -1.0]), NONE_TAKEN, gives=([False] * 3, 0)),
        on_paper("all easy", tensor([-2.0, -3.0]), tensor([True, True]), gives=([False, False], 0)),
        on_paper("all hard, and in already", tensor([2.0, -0.5]), tensor([True, True]), gives=([True, True], 0)),
        on_paper(
            "exactly on -1 and -1.25",
            tensor([-1.0, -1.25, -1.0, -1.25]),
            tensor([False, True, True, False]),
            -1.0,
            -1.25,
            gives=([False, True, True, False], 0),
        ),
        on_paper("exactly on -1.5", tensor([-1.5, -3.0]), tensor([True, True]), -1.0, -1.5, gives=([True, False], 0)),
        on_paper(
            "other limits", tensor([0.25, -0.75, -2.0]), tensor([False, True, True]), 0.0, -3.0, gives=([True] * 3, 1)
        ),
        edge("no negatives", torch.zeros(0), torch.zeros(0, dtype=torch.bool), gives=([], 0)),
        *at_random(
            lambda n, draw: (2 * torch.randn(n, generator=draw) - 1, torch.rand(n, generator=draw) < 0.5),
        ),
    ),
    impostors=(
        Impostor(
            "abs_margin",
            "A negative with a margin of -3 is *easy*: it lies far on the right side. No absolute value.",
            change={"margins > add_above": "margins.abs() > abs(add_above)"},
        ),
        Impostor(
            "inside_the_margin",
            "A negative with a margin of 1.5 is on the wrong side altogether: it is hard as well.",
            change={"margins > add_above": "(margins > add_above) & (margins < 1)"},
        ),
        Impostor(
            "wrong_side_only",
            "Hard is every negative above `add_above`, not only those above 0.",
            change={"margins > add_above": "margins > 0"},
        ),
        Impostor(
            "beyond_plus_one",
            "1 is the margin of the *positives*: a negative is hard above `add_above`.",
            change={"margins > add_above": "margins > 1"},
        ),
        Impostor(
            "resets",
            "Those between the two limits that were in stay in.",
            change={"(taken & ~easy) | hard": "hard"},
        ),
        Impostor("never_drops", "Easy ones that were taken go out.", change={"(taken & ~easy) | hard": "taken | hard"}),
        Impostor(
            "drops_in_between",
            "Between the two limits nothing changes: out go those below `drop_below` only, and those who were out "
            "stay out.",
            change={"(taken & ~easy) | hard": "~easy"},
        ),
        Impostor(
            "new_only",
            "Those that were in and are not easy are in still, beside the new ones.",
            change={"(taken & ~easy) | hard": "hard & ~taken"},
        ),
        Impostor("counts_all", "*New* are the hard ones that were not in before.", change={"(hard & ~taken)": "hard"}),
        Impostor(
            "counts_who_is_in",
            "*New* are those who were not in before, not all that are in now.",
            change={"(hard & ~taken)": "((taken & ~easy) | hard)"},
        ),
        Impostor(
            "counts_the_growth",
            "How many are new, not how many more there are: those that went out do not count against them.",
            change={"(hard & ~taken).sum()": "((taken & ~easy) | hard).sum() - taken.sum()"},
        ),
        Impostor(
            "drops_at",
            "A margin of exactly `drop_below` is not below it.",
            change={"< drop_below": "<= drop_below"},
        ),
        Impostor("adds_at", "A margin of exactly `add_above` is not above it.", change={"> add_above": ">= add_above"}),
        Impostor(
            "limits_not_used",
            "The two limits were handed in and not used.",
            change={"> add_above": "> -1", "< drop_below": "< -1.2"},
        ),
        Impostor(
            "in_place",
            "",
            change={
                "return (taken & ~easy) | hard, int((hard & ~taken).sum())": (
                    "new = int((hard & ~taken).sum())\n    taken &= ~easy\n    taken |= hard\n    return taken, new"
                )
            },
        ),
    ),
    hints=(
        "Three kinds of margins: above the first limit, below the second, between them. What happens to each?",
        "Make a mask of the hard ones and one of the easy ones; who is in: the hard ones, and the taken ones that are "
        "not easy.",
        "`(taken & ~easy) | hard`, and the new ones are `hard & ~taken`.",
    ),
    variants=(
        Variant(
            "rows",
            """\
`mine(margins, taken, add_above=-1.0, drop_below=-1.2)`: one round over the `M` negatives of an SVM. `margins`, shape
`(M,)`, is what the SVM says of each; `taken`, shape `(M,)`, which of them it was fitted with.

- Hard ones, with a margin **above** `add_above`, are in from now on.
- Those that were taken and have a margin **below** `drop_below` go out.
- All others stay as they were, in or out.

Return two things: the **row numbers** of those who are in now, in ascending order; and how many of them are *new*, a
number. `M` may be 0.""",
            change={
                "is fitted with next (M,)": "is fitted with next, as row numbers",
                "return (taken & ~easy) | hard,": "return torch.nonzero((taken & ~easy) | hard).flatten(),",
            },
            gives={"five negatives": ([1, 2, 3, 4], 1), "none taken yet": ([1, 2], 2), "all easy": ([], 0)},
            without=("in_place",),
        ),
        Variant(
            "dropped",
            """\
`mine(margins, taken, add_above=-1.0, drop_below=-1.2)`: one round over the `M` negatives of an SVM. `margins`, shape
`(M,)`, is what the SVM says of each; `taken`, shape `(M,)`, which of them it was fitted with.

- Hard ones, with a margin **above** `add_above`, are in from now on.
- Those that were taken and have a margin **below** `drop_below` go out.
- All others stay as they were, in or out.

Return two things: who is in now, shape `(M,)`, True or False; and how many of those that were in **went out**, a
number. `M` may be 0.""",
            change={"how many of them are new": "how many went out", "(hard & ~taken)": "(taken & easy)"},
            gives={"five negatives": ([False, True, True, True, True], 1), "all easy": ([False, False], 2)},
            without=("counts_all", "counts_who_is_in", "counts_the_growth", "in_place"),
            impostors=(
                Impostor(
                    "counts_easy",
                    "Only who was in can go out: easy ones that were never taken do not count.",
                    change={"(taken & easy)": "easy"},
                ),
                Impostor(
                    "counts_new",
                    "Those that came in were counted; how many went *out*?",
                    change={"(taken & easy)": "(hard & ~taken)"},
                ),
            ),
        ),
    ),
)

# --- 05.5 ------------------------------------------------------------------------------------------------------


def ridge(x, t, penalty):
    """Weights (P, T) and bias (T,) of ridge regression from E examples x (E, P) to t (E, T)."""
    x_mean, t_mean = x.mean(dim=0), t.mean(dim=0)  # (P,), (T,)
    x0, t0 = x - x_mean, t - t_mean
    w = torch.linalg.solve(x0.T @ x0 + penalty * torch.eye(x.shape[1]), x0.T @ t0)
    return w, t_mean - x_mean @ w


ONE_TWO_THREE = tensor([[1.0], [2.0], [3.0]])
TWO_FOUR_SIX = tensor([[2.0], [4.0], [6.0]])

RIDGE = Exercise(
    kind="implement",
    reference=ridge,
    number="05.5",
    title="Ridge regression",
    stars=3,
    minutes=25,
    points=4,
    goals=(4,),
    core=False,
    text=r"""
`ridge(x, t, penalty)`: `E` examples of `P` features, `x` of shape `(E, P)`, and what should come out, `t` of shape
`(E, T)`. Find weights `w`, shape `(P, T)`, and a bias `b`, shape `(T,)`, for which

$$\sum_i \lVert x_i w + b - t_i \rVert^2 + \lambda \lVert w \rVert^2$$

is smallest; $\lambda$ is `penalty`, above 0. Note that the **bias is not punished**. Return `(w, b)`. `E` may be
smaller than `P`. Solve it in any way, but without scikit-learn.""".strip(),
    cases=(
        on_paper("t = 2 x, penalty 2", ONE_TWO_THREE, TWO_FOUR_SIX, 2.0, gives=([[1]], [2])),
        on_paper("t = 2 x, penalty 6", ONE_TWO_THREE, TWO_FOUR_SIX, 6.0, gives=([[0.5]], [3])),
        on_paper("the same, x larger by 100", ONE_TWO_THREE + 100, TWO_FOUR_SIX, 2.0, gives=([[1]], [-98])),
        on_paper(
            "two features",
            tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]]),
            tensor([[2.0], [-2], [4], [-4]]),
            2.0,
            gives=([[1], [2]], [0]),
        ),
        on_paper("a huge penalty", ONE_TWO_THREE, TWO_FOUR_SIX, 1e8, gives=([[0]], [4])),
        on_paper("two outputs", ONE_TWO_THREE, tensor([[2.0, 1], [4, 1], [6, 1]]), 2.0, gives=([[1, 0]], [2, 1])),
        edge("one example", tensor([[1.0, 2]]), tensor([[5.0]]), 2.0, gives=([[0], [0]], [5])),
        *at_random(
            lambda n, draw: (torch.randn(n, 5, generator=draw) + 1, torch.randn(n, 4, generator=draw), 3.0),
            sizes=(7, 2, 3, 40, 20),
        ),
    ),
    impostors=(
        Impostor(
            "bias_punished",
            "The bias was punished like a weight: with a huge penalty everything should answer the mean of t.",
            change={
                "x_mean, t_mean = x.mean(dim=0), t.mean(dim=0)": (
                    "x, x_mean, t_mean = torch.cat([x, torch.ones(len(x), 1)], 1), 0, 0"
                ),
                "return w, t_mean - x_mean @ w": "return w[:-1], w[-1]",
            },
        ),
        Impostor(
            "x_not_centred",
            "The weights were fitted to x as it is: take the mean off x and t first, then the bias leaves the sum.",
            change={"x0, t0 = x - x_mean, t - t_mean": "x0, t0 = x, t"},
        ),
        Impostor(
            "mean_of_t_as_bias",
            "The bias is the mean of t only where the mean of x is 0: else what the weights make of it comes off.",
            change={"t_mean - x_mean @ w": "t_mean"},
        ),
        Impostor(
            "no_bias",
            "There is a bias to find as well.",
            change={"x0, t0 = x - x_mean, t - t_mean": "x0, t0 = x, t", "t_mean - x_mean @ w": "0 * t_mean"},
        ),
        Impostor(
            "mean_error",
            "It is the *sum* of the errors, not their mean: so the penalty works E times as strongly.",
            change={"x0.T @ x0": "x0.T @ x0 / len(x)", "x0.T @ t0": "x0.T @ t0 / len(x)"},
        ),
        Impostor(
            "penalty_everywhere",
            "The penalty is added to all of X'X; it belongs on the diagonal: penalty * torch.eye(P).",
            change={" * torch.eye(x.shape[1])": ""},
        ),
        Impostor(
            "no_penalty",
            "That is least squares without the penalty.",
            function=lambda x, t, penalty: _least_squares(x, t),  # noqa: ARG005
        ),
        Impostor(
            "half",
            "Half of the penalty: derive both parts, and the 2 falls away.",
            change={"penalty *": "penalty / 2 *"},
        ),
        Impostor(
            "twice",
            "Twice the penalty: derive both parts, and the 2 falls away.",
            change={"penalty *": "2 * penalty *"},
        ),
        Impostor("squared", "The penalty itself, not its square.", change={"penalty *": "penalty**2 *"}),
    ),
    hints=(
        "Which bias is best for given weights? Put it in, and it leaves the sum.",
        "Take the means off x and t; solve for w with the formula of the lesson; then the bias.",
        "`w = torch.linalg.solve(x0.T @ x0 + penalty * torch.eye(P), x0.T @ t0)`, `b = t_mean - x_mean @ w`",
    ),
    forbidden=("sklearn",),
)


def _least_squares(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    x_mean, t_mean = x.mean(dim=0), t.mean(dim=0)
    w = torch.linalg.pinv(x - x_mean) @ (t - t_mean)
    return w, t_mean - x_mean @ w


# --- 05.6 ------------------------------------------------------------------------------------------------------


def regression_examples(regions, gt, labels, label, min_iou=0.6):
    """Regions (E, 4) that the box regression of a class learns from, and the deltas (E, 4) that are right for them."""
    gt = gt[labels == label]  # (G, 4)
    if len(gt) == 0:
        return regions[:0], regions[:0]
    iou, nearest = boxes.iou(regions, gt).max(dim=1)  # (R,), (R,)
    use = iou > min_iou
    return regions[use], boxes.encode(gt[nearest[use]], regions[use])


def _street(count: int, draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor, int]:
    """Three objects of two classes, and regions that lie near one of them."""
    gt = tensor([[0.0, 0, 40, 20], [50, 0, 70, 30], [10, 40, 60, 60]])
    regions = gt[torch.randint(3, (count,), generator=draw)] + 4 * torch.randn(count, 4, generator=draw)
    return regions, gt, tensor([2, 1, 2]), 1 + count % 2


def _of_best_object(regions: Tensor, gt: Tensor, labels: Tensor, label: int, min_iou: float) -> tuple[Tensor, Tensor]:
    """Examples of the regions whose best object of all has this class."""
    iou, nearest = boxes.iou(regions, gt).max(dim=1)
    use = (iou > min_iou) & (labels[nearest] == label)
    return regions[use], boxes.encode(gt[nearest[use]], regions[use])


TEN = tensor([[0.0, 0, 10, 10]])
BUS_AND_CAR = tensor([[0.0, 0, 10, 8], [20, 0, 30, 10]])  # labels 1 and 2

REGRESSION_EXAMPLES = Exercise(
    kind="find the bug",
    reference=regression_examples,
    given="as_given",
    number="05.6",
    title="Corrected boxes that are worse",
    stars=2,
    minutes=15,
    points=3,
    goals=(4,),
    core=True,
    text="""\
"The box regression is fitted without an error, and every box that it corrects fits *worse* than before." Find the
mistake and correct it.

`regression_examples(regions, gt, labels, label, min_iou=0.6)` gets `R` regions, shape `(R, 4)`, and `K` objects with
their labels, and returns what the box regression of the class `label` learns from: the regions whose IoU with an object
**of this class** is **above** `min_iou`, shape `(E, 4)`; and for each the deltas that lead *from the region to the
object*, shape `(E, 4)`. `R` and `E` may be 0.""",
    cases=(
        on_paper(
            "a region that is too high",
            TEN,
            tensor([[0.0, 0, 10, 8]]),
            tensor([1]),
            1,
            gives=([[0, 0, 10, 10]], [[0, -0.1, 0, math.log(0.8)]]),
        ),
        on_paper(
            "a region that is too far left",
            TEN,
            tensor([[2.0, 0, 12, 10]]),
            tensor([1]),
            1,
            gives=([[0, 0, 10, 10]], [[0.2, 0, 0, 0]]),
        ),
        on_paper(
            "a bus and a car, each with its region; the car's are asked for",
            tensor([[0.0, 0, 10, 10], [20, 0, 30, 8]]),
            BUS_AND_CAR,
            tensor([1, 2]),
            2,
            gives=([[20, 0, 30, 8]], [[0, 0.125, 0, math.log(1.25)]]),
        ),
        on_paper(
            "two objects of the class, the first region far off",
            tensor([[50.0, 50, 60, 60], [20, 0, 30, 8], [0, 0, 10, 10]]),
            BUS_AND_CAR,
            tensor([2, 2]),
            2,
            gives=(
                [[20, 0, 30, 8], [0, 0, 10, 10]],
                [[0, 0.125, 0, math.log(1.25)], [0, -0.1, 0, math.log(0.8)]],
            ),
        ),
        on_paper(
            "a region on the bus, and only the car is asked for",
            TEN,
            BUS_AND_CAR,
            tensor([1, 2]),
            2,
            gives=([], []),
        ),
        on_paper(
            "a bus and a car in the same place; the car's are asked for",
            TEN,
            tensor([[0.0, 0, 10, 8], [2, 0, 12, 10]]),
            tensor([1, 2]),
            2,
            gives=([[0, 0, 10, 10]], [[0.2, 0, 0, 0]]),
        ),
        on_paper(
            "two objects in the same place; the truck's, label 3, is asked for",
            TEN,
            tensor([[0.0, 0, 8, 10], [0, 2, 10, 12]]),
            tensor([1, 3]),
            3,
            gives=([[0, 0, 10, 10]], [[0, 0.2, 0, 0]]),
        ),
        on_paper(
            "an IoU of exactly 1/2, with 0.5",
            torch.cat([TEN, TEN + tensor([0.0, 0, 0, -2])]),
            tensor([[0.0, 0, 10, 5]]),
            tensor([1]),
            1,
            0.5,
            gives=([[0, 0, 10, 8]], [[0, -1.5 / 8, 0, math.log(5 / 8)]]),
        ),
        on_paper(
            "an IoU of exactly 1/2, with 0.5, alone",
            TEN,
            tensor([[0.0, 0, 10, 5]]),
            tensor([1]),
            1,
            0.5,
            gives=([], []),
        ),
        edge("no object of the class", TEN, BUS_AND_CAR, tensor([1, 2]), 3, gives=(torch.zeros(0, 4),) * 2),
        edge("no regions", TEN[:0], BUS_AND_CAR, tensor([1, 2]), 1, gives=(torch.zeros(0, 4),) * 2),
        *at_random(_street),
    ),
    impostors=(
        Impostor(
            "as_given",
            "The deltas lead from the object to the region; it must learn the way *to the object*.",
            change={"boxes.encode(gt[nearest[use]], regions[use])": "boxes.encode(regions[use], gt[nearest[use]])"},
        ),
        Impostor(
            "no_threshold",
            "A region that hardly touches the object has nothing to teach: its IoU must be above `min_iou`.",
            change={"iou > min_iou": "iou > 0"},
        ),
        Impostor(
            "negated",
            "Nearly: turning the signs round is not enough, for the way has to be measured in the *region's* size.",
            change={"boxes.encode(gt[nearest[use]], regions[use])": "-boxes.encode(regions[use], gt[nearest[use]])"},
        ),
        Impostor(
            "any_class",
            "Objects of other classes teach this class nothing.",
            change={"gt = gt[labels == label]": "gt = gt[labels > 0]"},
        ),
        Impostor(
            "best_of_all_classes",
            "A region may lie on a bus and a car: compare it with the objects of this class only.",
            function=lambda regions, gt, labels, label, min_iou=0.6: _of_best_object(
                regions, gt, labels, label, min_iou
            ),
        ),
        Impostor("at_least", "An IoU of exactly `min_iou` is not above it.", change={"> min_iou": ">= min_iou"}),
        Impostor(
            "pairs_shifted",
            "Row i of both has to be about the same region: choose from `nearest` as you choose from the regions.",
            change={"gt[nearest[use]]": "gt[nearest[: int(use.sum())]]"},
        ),
        Impostor(
            "first_object",
            "Each region belongs to the object that it overlaps most, not to the first one.",
            change={"gt[nearest[use]]": "gt[:1].expand(int(use.sum()), 4)"},
        ),
        Impostor(
            "all_regions",
            "Only regions above `min_iou` are examples.",
            change={"use = iou > min_iou": "use = iou > -1"},
        ),
        Impostor(
            "objects_returned",
            "First come the *regions*: the features that it learns from are theirs.",
            change={"return regions[use],": "return gt[nearest[use]],"},
        ),
    ),
    hints=(
        "What will be put into `decode` later: a region and the deltas that were learned. What should come out?",
        "Do the first case with a pencil: the region is 10 high, the object 8. Should dh be above 0 or below?",
        "`boxes.encode(to, from)`: which of the two is which?",
    ),
    variants=(
        Variant(
            "weights",
            """\
"The box regression is fitted without an error, and every box that it corrects fits *worse* than before." Find the
mistake and correct it, **and multiply the deltas by `(10, 10, 5, 5)`**, as torchvision's box head does.

`regression_examples(regions, gt, labels, label, min_iou=0.6)` gets `R` regions, shape `(R, 4)`, and `K` objects with
their labels, and returns what the box regression of the class `label` learns from: the regions whose IoU with an object
**of this class** is **above** `min_iou`, shape `(E, 4)`; and for each the deltas that lead *from the region to the
object*, times the weights, shape `(E, 4)`. `R` and `E` may be 0.""",
            change={"regions[use])": "regions[use], (10, 10, 5, 5))"},
            gives={"a region that is too far left": ([[0, 0, 10, 10]], [[2, 0, 0, 0]])},
            without=("as_given", "negated", "best_of_all_classes"),
            impostors=(
                Impostor(
                    "as_given",
                    "The deltas lead from the object to the region; it must learn the way *to the object*.",
                    change={
                        "boxes.encode(gt[nearest[use]], regions[use], (10, 10, 5, 5))": (
                            "boxes.encode(regions[use], gt[nearest[use]])"
                        )
                    },
                ),
                Impostor(
                    "no_weights",
                    "The weights are missing: a dx of 0.2 becomes 2.",
                    change={", (10, 10, 5, 5)": ""},
                ),
                Impostor(
                    "divided",
                    "Multiplied, not divided: they bring small deltas to the size of the class scores.",
                    change={", (10, 10, 5, 5))": ") / torch.tensor([10, 10, 5, 5])"},
                ),
            ),
        ),
        Variant(
            "rows",
            """\
"The box regression is fitted without an error, and every box that it corrects fits *worse* than before." Find the
mistake and correct it; **and return row numbers in place of the regions**.

`regression_examples(regions, gt, labels, label, min_iou=0.6)` gets `R` regions, shape `(R, 4)`, and `K` objects with
their labels, and returns what the box regression of the class `label` learns from: the **row numbers** of the regions
whose IoU with an object **of this class** is **above** `min_iou`, shape `(E,)`; and for each the deltas that lead *from
the region to the object*, shape `(E, 4)`. `R` and `E` may be 0.""",
            change={
                "Regions (E, 4) that": "Rows (E,) of regions that",
                "return regions[:0], regions[:0]": "return labels[:0], regions[:0]",
                "return regions[use],": "return torch.nonzero(use).flatten(),",
            },
            gives={
                "a region that is too far left": ([0], [[0.2, 0, 0, 0]]),
                "a bus and a car, each with its region; the car's are asked for": (
                    [1],
                    [[0, 0.125, 0, math.log(1.25)]],
                ),
            },
            without=("objects_returned", "as_given", "best_of_all_classes"),
            impostors=(
                Impostor(
                    "as_given",
                    "The deltas lead from the object to the region; it must learn the way *to the object*.",
                    change={
                        "return torch.nonzero(use).flatten(),": "return regions[use],",
                        "boxes.encode(gt[nearest[use]], regions[use])": "boxes.encode(regions[use], gt[nearest[use]])",
                    },
                ),
                Impostor(
                    "regions_returned", "", change={"return torch.nonzero(use).flatten(),": "return regions[use],"}
                ),
            ),
        ),
    ),
)

# --- 05.7 ------------------------------------------------------------------------------------------------------


def three_kinds(labels, overlap, counts, generator):
    """Rows to fine-tune with: positives, hard negatives and easy negatives, each drawn without replacement."""

    def draw(rows, count):
        order = torch.randperm(len(rows), generator=generator)
        return rows[order[:count]]

    positive, hard = labels > 0, (labels == 0) & (overlap >= 0.1)
    easy = ~positive & ~hard
    chosen = draw(torch.nonzero(hard).flatten(), counts[1])
    missing = counts[1] - len(chosen)
    return (
        draw(torch.nonzero(positive).flatten(), counts[0]),
        chosen,
        draw(torch.nonzero(easy).flatten(), counts[2] + missing),
    )


def _drawn(
    function: Callable[..., Any], labels: Tensor, overlap: Tensor, counts: tuple[int, ...], *, seed: int = 0
) -> Any:
    """What a function draws, as three lists of numbers."""
    kinds = function(labels, overlap, counts, torch.Generator().manual_seed(seed))
    return [[int(row) for row in torch.as_tensor(kind).flatten()] for kind in kinds]


def _how_many(function: Callable[..., Any], *inputs: Any) -> list[int]:
    return [len(kind) for kind in _drawn(function, *inputs)]


def _of_its_kind(function: Callable[..., Any], labels: Tensor, overlap: Tensor, counts: tuple[int, ...]) -> list[bool]:
    kinds = _drawn(function, labels, overlap, counts)
    positive, hard = labels > 0, (labels == 0) & (overlap >= 0.1)
    masks = (positive, hard, ~positive & ~hard)
    return [
        all(0 <= row < len(mask) and bool(mask[row]) for row in kind) for kind, mask in zip(kinds, masks, strict=True)
    ]


def _any_twice(function: Callable[..., Any], *inputs: Any) -> bool:
    return any(len(set(kind)) < len(kind) for kind in _drawn(function, *inputs))


def _come_up(function: Callable[..., Any], *inputs: Any) -> list[int]:
    """How many different rows of each kind are drawn in 200 draws with different seeds."""
    draws = [_drawn(function, *inputs, seed=seed) for seed in range(200)]
    return [len({row for one in draws for row in one[kind]}) for kind in range(3)]


def _same_again(function: Callable[..., Any], *inputs: Any) -> bool:
    return _drawn(function, *inputs, seed=5) == _drawn(function, *inputs, seed=5)


def _how_many_and_right(function: Callable[..., Any], *inputs: Any) -> list[Any]:
    return [_how_many(function, *inputs), _of_its_kind(function, *inputs), _any_twice(function, *inputs)]


def _some_labels(count: int, draw: torch.Generator) -> tuple[Tensor, Tensor, tuple[int, int, int]]:
    overlap = torch.rand(count, generator=draw) ** 3
    return torch.where(overlap >= 0.5, 1 + torch.randint(3, (count,), generator=draw), 0), overlap, (2, 4, 5)


# Rows 1, 4 and 6 are positive, 0, 3, 7 and 8 hard, the other five easy. Row 4's IoU is below 0.5, as where foreground
# begins at 0.4.
LABELS = tensor([0, 2, 0, 0, 1, 0, 3, 0, 0, 0, 0, 0])
OVERLAP = tensor([0.3, 0.6, 0.05, 0.1, 0.45, 0.0, 0.9, 0.2, 0.49, 0.0, 0.09, 0.01])
BACKGROUND, NOT_HARD = [0, 2, 3, 5, 9], [1, 2, 5, 9, 10]

THREE_KINDS = Exercise(
    kind="implement",
    reference=three_kinds,
    number="05.7",
    title="A batch of three kinds",
    stars=2,
    minutes=15,
    points=3,
    goals=(2,),
    core=True,
    text="""\
`three_kinds(labels, overlap, counts, generator)` draws a mini-batch for fine-tuning in which background that touches an
object has its place. `labels`, shape `(R,)`, is 0 for background; `overlap`, shape `(R,)`, is the IoU with the best
object; `counts` are three numbers. Return three lists of row numbers (tensors will do):

1. positives: label above 0, `counts[0]` of them;
2. hard negatives: label 0 and IoU **at least** 0.1, `counts[1]` of them;
3. easy negatives: label 0 and IoU below 0.1, `counts[2]` of them, *and as many more as hard ones are missing*.

Each is drawn at random, **without replacement**, with `generator` (such as `torch.randperm(n, generator=generator)`),
and has fewer rows where there are not enough. `R` may be 0.""",
    cases=(
        on_paper(
            "how many of each, (2, 3, 4) asked for", LABELS, OVERLAP, (2, 3, 4), gives=[2, 3, 4], experiment=_how_many
        ),
        on_paper(
            "is each of its kind, all asked for", LABELS, OVERLAP, (9, 9, 9), gives=[True] * 3, experiment=_of_its_kind
        ),
        on_paper("is a row drawn twice, all asked for", LABELS, OVERLAP, (3, 4, 5), gives=False, experiment=_any_twice),
        on_paper(
            "how many of each, hard ones are missing", LABELS, OVERLAP, (1, 6, 1), gives=[1, 4, 3], experiment=_how_many
        ),
        on_paper(
            "how many of each, positives are missing", LABELS, OVERLAP, (5, 1, 1), gives=[3, 1, 1], experiment=_how_many
        ),
        on_paper(
            "how many of each, all are missing", LABELS, OVERLAP, (9, 9, 9), gives=[3, 4, 5], experiment=_how_many
        ),
        on_paper(
            "how many different rows of each kind in 200 draws",
            LABELS,
            OVERLAP,
            (1, 2, 2),
            gives=[3, 4, 5],
            experiment=_come_up,
        ),
        on_paper("the same seed, the same draw", LABELS, OVERLAP, (2, 3, 4), gives=True, experiment=_same_again),
        on_paper(
            "how many different rows of each kind in 200 other draws",
            LABELS,
            OVERLAP,
            (2, 1, 3),
            gives=[3, 4, 5],
            experiment=_come_up,
        ),
        on_paper(
            "how many of each, no positives",
            LABELS[BACKGROUND],
            OVERLAP[BACKGROUND],
            (2, 2, 1),
            gives=[0, 2, 1],
            experiment=_how_many,
        ),
        on_paper(
            "how many of each, no hard negatives",
            LABELS[NOT_HARD],
            OVERLAP[NOT_HARD],
            (1, 2, 1),
            gives=[1, 0, 3],
            experiment=_how_many,
        ),
        edge("no rows", LABELS[:0], OVERLAP[:0], (2, 3, 4), gives=[0, 0, 0], experiment=_how_many),
        *at_random(_some_labels, experiment=_how_many_and_right),
    ),
    impostors=(
        Impostor(
            "with_replacement",
            "A row is drawn more than once: `randint` draws with replacement, the beginning of a `randperm` does not.",
            change={
                "order = torch.randperm(len(rows), generator=generator)": (
                    "order = torch.randint(len(rows), (min(count, len(rows)),), generator=generator) "
                    "if len(rows) else rows"
                )
            },
        ),
        Impostor(
            "fills_with_repeats",
            "Where there are not enough there are fewer: no row is repeated to fill up.",
            change={
                "rows[order[:count]]": ("rows[order.repeat(count)[:count]] if len(rows) else rows"),
                "missing = counts[1] - len(chosen)": "missing = counts[1] - len(set(chosen.tolist()))",
            },
        ),
        Impostor(
            "first_n",
            "Every seed draws the same rows: shuffle them, with the generator that was handed in.",
            change={"torch.randperm(len(rows), generator=generator)": "torch.arange(len(rows))"},
        ),
        Impostor("global_random", "", change={", generator=generator": ""}),
        Impostor(
            "positives_made_up_too",
            "Only missing *hard* negatives are made up for, not missing positives.",
            change={
                "missing = counts[1] - len(chosen)": (
                    "missing = counts[1] - len(chosen) + max(counts[0] - int(positive.sum()), 0)"
                )
            },
        ),
        Impostor(
            "not_made_up", "Hard negatives that are missing are made up for by easy ones.", change={" + missing": ""}
        ),
        Impostor(
            "by_iou_only",
            "Ask the label first: a positive with an IoU of 0.45 is no negative.",
            change={"(labels == 0) & (overlap >= 0.1)": "(overlap >= 0.1) & (overlap < 0.5)"},
        ),
        Impostor(
            "positives_are_hard_too",
            "A hard negative is background, label 0, that touches an object.",
            change={"(labels == 0) & (overlap >= 0.1)": "overlap >= 0.1"},
        ),
        Impostor(
            "positives_are_easy_too",
            "An easy negative is background too; all that is not hard has positives among it.",
            change={"~positive & ~hard": "~hard"},
        ),
        Impostor("above", "An IoU of exactly 0.1 is a hard one.", change={">= 0.1": "> 0.1"}),
        Impostor(
            "places",
            "These are places within a kind, not rows of the table: look the drawn places up in the rows.",
            change={"rows[order[:count]]": "order[:count]"},
        ),
    ),
    hints=(
        "A mask of each kind first, then the rows in which it is True, then a few of them at random.",
        "`rows[torch.randperm(len(rows), generator=generator)[:count]]` draws from any rows, and fewer where there are "
        "not enough.",
        "Draw the hard ones before the easy ones; then `counts[1] - len(hard_ones)` are missing.",
    ),
    variants=(
        Variant(
            "hard_from_0.3",
            """\
`three_kinds(labels, overlap, counts, generator)` draws a mini-batch for fine-tuning in which background that touches an
object has its place. `labels`, shape `(R,)`, is 0 for background; `overlap`, shape `(R,)`, is the IoU with the best
object; `counts` are three numbers. Return three lists of row numbers (tensors will do):

1. positives: label above 0, `counts[0]` of them;
2. hard negatives: label 0 and IoU **at least 0.3**, `counts[1]` of them;
3. easy negatives: label 0 and IoU below 0.3, `counts[2]` of them. *What is missing of them is **not** made up for.*

Each is drawn at random, **without replacement**, with `generator` (such as `torch.randperm(n, generator=generator)`),
and has fewer rows where there are not enough. `R` may be 0.""",
            change={">= 0.1": ">= 0.3", "    missing = counts[1] - len(chosen)\n": "", " + missing": ""},
            cases=(
                on_paper(
                    "how many of each, (2, 1, 4) asked for",
                    LABELS,
                    OVERLAP,
                    (2, 1, 4),
                    gives=[2, 1, 4],
                    experiment=_how_many,
                ),
                on_paper(
                    "how many of each, hard ones are missing",
                    LABELS,
                    OVERLAP,
                    (1, 6, 1),
                    gives=[1, 2, 1],
                    experiment=_how_many,
                ),
                on_paper(
                    "how many of each, all are missing",
                    LABELS,
                    OVERLAP,
                    (9, 9, 9),
                    gives=[3, 2, 7],
                    experiment=_how_many,
                ),
                on_paper(
                    "is a row drawn twice, all asked for",
                    LABELS,
                    OVERLAP,
                    (3, 2, 7),
                    gives=False,
                    experiment=_any_twice,
                ),
                on_paper(
                    "how many different rows of each kind in 200 draws",
                    LABELS,
                    OVERLAP,
                    (1, 1, 2),
                    gives=[3, 2, 7],
                    experiment=_come_up,
                ),
                on_paper(
                    "the same seed, the same draw", LABELS, OVERLAP, (2, 2, 4), gives=True, experiment=_same_again
                ),
                on_paper(
                    "how many different rows of each kind in 200 other draws",
                    LABELS,
                    OVERLAP,
                    (2, 1, 1),
                    gives=[3, 2, 7],
                    experiment=_come_up,
                ),
                on_paper(
                    "is a row drawn twice, most of them asked for",
                    LABELS,
                    OVERLAP,
                    (3, 2, 6),
                    gives=False,
                    experiment=_any_twice,
                ),
                on_paper(
                    "how many of each, no hard negatives",
                    LABELS[NOT_HARD],
                    OVERLAP[NOT_HARD],
                    (1, 2, 1),
                    gives=[1, 0, 1],
                    experiment=_how_many,
                ),
                edge("no rows", LABELS[:0], OVERLAP[:0], (2, 3, 4), gives=[0, 0, 0], experiment=_how_many),
            ),
            without=(
                "fills_with_repeats",
                "positives_made_up_too",
                "not_made_up",
                "by_iou_only",
                "positives_are_hard_too",
                "above",
                "places",
                "positives_are_easy_too",
            ),
            impostors=(
                Impostor(
                    "made_up_for",
                    "Here nothing is made up for: fewer hard negatives leave the number of easy ones as it is.",
                    change={"counts[2])": "counts[2] + counts[1] - len(chosen))"},
                ),
                Impostor("from_0.1", "Hard begins at an IoU of 0.3 here.", change={">= 0.3": ">= 0.1"}),
            ),
        ),
    ),
)

# --- 05.8 ------------------------------------------------------------------------------------------------------

THREE_IDEAS = Exercise(
    kind="explain",
    name="three_ideas",
    number="05.8",
    title="Three ideas of a positive",
    minutes=10,
    points=2,
    goals=(3,),
    core=True,
    stars=2,
    text="""\
R-CNN calls a region positive from an IoU of 0.5 on when it fine-tunes, only the object's own box for the SVM, and takes
regions above 0.6 for the box regression. Give the reason for each (at most 120 words).""",
    answer="""\
Fine-tuning a whole network needs many positives, and the objects alone are too few: with an IoU from 0.5 there are many
times as many, if not quite in place. The SVM gives the final score, which should prefer the box that fits to one that
half fits: so only what fits exactly is positive, and what lies between teaches nothing. The box regression is a linear
function of the features of a window; only where the window shows most of the object do they say how far its ends are,
and the deltas are small.""",
    guide="""\
1 point: the network needs many positives, there are few objects. Half a point: the final score must prefer boxes that
fit. Half a point: from far away a (linear) regression cannot know where the object ends, or: large deltas.""",
    hints=(
        "What does each stage have to do, and with how many examples?",
        "Count the objects of the lesson and the regions with IoU from 0.5 on. What should the final score prefer?",
        "Lesson 05, 'Stage 2' for the second, and 'Break it: learn boxes from far away' for the third.",
    ),
)

# --- 05.9 ------------------------------------------------------------------------------------------------------

WHERE_THE_TIME_GOES = Exercise(
    kind="predict",
    name="where_the_time_goes",
    number="05.9",
    title="Where the time goes",
    minutes=6,
    points=1,
    goals=(5,),
    core=True,
    text="""\
A photograph has 500 x 375 pixels and 2,000 proposals; each becomes a window of 227 x 227 pixels. How often does each
pixel of the photograph go through the network, on average? And if one pass over the whole photograph took 0.05 seconds,
and time is proportional to pixels, how many seconds do all the windows take?

Set `where_the_time_goes` to these two numbers; two per cent are near enough.""",
    answer=(549.6, 27.48),
    stub="(..., ...)",
    cases=parts("how often", "seconds"),
    tolerance=0.02,
    impostors=(
        Impostor(
            "as_many_as_windows",
            "That would be right if each window had as many pixels as the photograph.",
            answer=(2000, 100.0),
        ),
        Impostor("one_window", "That is one window; there are 2,000.", answer=(0.2748, 0.01374)),
        Impostor("sides_only", "A window has 227 x 227 pixels, not 227.", answer=(2.421, 0.12107)),
        Impostor("milliseconds", "Right, but these are milliseconds; seconds are asked for.", answer=(549.6, 27480)),
        Impostor(
            "the_other_way_round",
            "Pixels of all windows over pixels of the photograph, not the other way round.",
            answer=(1 / 549.6, 0.05 / 549.6),
        ),
    ),
    hints=(
        "How many pixels have all windows together, and how many has the photograph?",
        "2,000 x 227 x 227 pixels in the windows, 500 x 375 in the photograph.",
        "Divide the two; then multiply by the time of one pass.",
    ),
    variants=(
        Variant(
            "small_windows",
            """\
A photograph has 400 x 250 pixels and 1,000 proposals; each becomes a window of 100 x 100 pixels. How often does each
pixel of the photograph go through the network, on average? And if one pass over the whole photograph took 0.02 seconds,
and time is proportional to pixels, how many seconds do all the windows take?

Set `where_the_time_goes` to these two numbers; two per cent are near enough.""",
            answer=(100, 2.0),
            without=("as_many_as_windows", "one_window", "sides_only", "milliseconds", "the_other_way_round"),
            impostors=(
                Impostor(
                    "as_many_as_windows",
                    "That would be right if each window had as many pixels as the photograph.",
                    answer=(1000, 20.0),
                ),
                Impostor("one_window", "That is one window; there are 1,000.", answer=(0.1, 0.002)),
            ),
        ),
        Variant(
            "many_windows",
            """\
A photograph has 640 x 400 pixels and 2,500 proposals; each becomes a window of 64 x 64 pixels. How often does each
pixel of the photograph go through the network, on average? And if one pass over the whole photograph took 0.03 seconds,
and time is proportional to pixels, how many seconds do all the windows take?

Set `where_the_time_goes` to these two numbers; two per cent are near enough.""",
            answer=(40, 1.2),
            without=("as_many_as_windows", "one_window", "sides_only", "milliseconds", "the_other_way_round"),
            impostors=(
                Impostor(
                    "as_many_as_windows",
                    "That would be right if each window had as many pixels as the photograph.",
                    answer=(2500, 75.0),
                ),
                Impostor("one_window", "That is one window; there are 2,500.", answer=(0.016, 0.00048)),
            ),
        ),
    ),
)

# --- 05.10 -----------------------------------------------------------------------------------------------------


def as_the_network_knows_it(pixels, mean, std):
    """The input (1, 3, H, W) of a pretrained network, from a photograph (H, W, 3) of numbers from 0 to 255."""
    image = pixels.permute(2, 0, 1).float() / 255  # (3, H, W)
    image = (image - mean[:, None, None]) / std[:, None, None]
    return image[None]


MEAN, STD = tensor([0.5, 0.25, 0.2]), tensor([0.25, 0.5, 0.1])
ONE_PIXEL = tensor([[[255, 0, 51]]], dtype=torch.uint8)  # 1, 0 and 0.2
TWO_BY_THREE = torch.zeros(2, 3, 3, dtype=torch.uint8)
TWO_BY_THREE[0, 2, 0] = 255  # the pixel at the right end of the first row is red

AS_THE_NETWORK_KNOWS_IT = Exercise(
    kind="find the bug",
    reference=as_the_network_knows_it,
    given="as_given",
    number="05.10",
    title="A network that recognises nothing",
    stars=2,
    minutes=10,
    points=2,
    goals=(2,),
    core=False,
    text="""\
"It runs without an error, and the pretrained network calls every photograph something else than it should." In a
published walk-through a photograph is made ready like this. Correct it.

`as_the_network_knows_it(pixels, mean, std)` gets a photograph of shape `(H, W, 3)`, whole numbers from 0 to 255, and
returns the network's input, shape `(1, 3, H, W)`. The network learned from photographs in 0..1 of which, in each of the
three channels, `mean` was taken off and the rest divided by `std`; both have shape `(3,)`.""",
    cases=(
        on_paper("one pixel", ONE_PIXEL, MEAN, STD, gives=[[[[2]], [[-0.5]], [[0]]]]),
        on_paper("black", ONE_PIXEL * 0, MEAN, STD, gives=[[[[-2]], [[-0.5]], [[-2]]]]),
        on_paper(
            "two rows of three pixels, one of them red",
            TWO_BY_THREE,
            MEAN,
            STD,
            gives=[[[[-2, -2, 2], [-2, -2, -2]], [[-0.5] * 3] * 2, [[-2] * 3] * 2]],
        ),
        *at_random(
            lambda n, draw: (
                torch.randint(256, (n, n + 2, 3), generator=draw, dtype=torch.uint8),
                torch.rand(3, generator=draw),
                torch.rand(3, generator=draw) + 0.1,
            ),
            sizes=(7, 1, 2, 20),
        ),
    ),
    impostors=(
        Impostor(
            "as_given",
            "The photograph comes in 0..1, but the network learned from photographs with mean taken off and divided by "
            "std.",
            change={"    image = (image - mean[:, None, None]) / std[:, None, None]\n": ""},
        ),
        Impostor(
            "of_0_to_255",
            "The mean belongs to pixels in 0..1: divide by 255 first.",
            change={".float() / 255": ".float()"},
        ),
        Impostor("mean_only", "The mean is off; the division by std is missing.", change={" / std[:, None, None]": ""}),
        Impostor(
            "std_only", "Divided by std; the mean is still in.", change={"(image - mean[:, None, None])": "image"}
        ),
        Impostor(
            "std_first",
            "First the mean comes off, then it is divided.",
            change={
                "(image - mean[:, None, None]) / std[:, None, None]": "image / std[:, None, None] - mean[:, None, None]"
            },
        ),
        Impostor(
            "variance",
            "Divide by std, the standard deviation, not by its square.",
            change={"/ std[:, None, None]": "/ std[:, None, None] ** 2"},
        ),
        Impostor("mean_added", "The mean is taken off, not added.", change={"image - mean": "image + mean"}),
        Impostor(
            "own_mean",
            "Not the mean of this photograph: the one that the network learned with.",
            change={"(image - mean[:, None, None])": "(image - image.mean((1, 2), keepdim=True))"},
        ),
        Impostor(
            "reshaped",
            "`reshape` and `view` do not move an axis, they read the numbers in another rhythm: use `permute`.",
            change={".permute(2, 0, 1)": ".reshape(3, pixels.shape[0], pixels.shape[1])"},
        ),
        Impostor(
            "bgr",
            "The channels are in reverse order: the network knows red, green, blue.",
            change={".permute(2, 0, 1)": ".flip(2).permute(2, 0, 1)"},
        ),
        Impostor("no_batch", "", change={"return image[None]": "return image"}),
    ),
    hints=(
        "What did the network see while it learned, and what does it see here?",
        "In each channel: (pixel / 255 - mean) / std.",
        "`mean[:, None, None]` has shape (3, 1, 1) and fits an image of shape (3, H, W).",
    ),
)

EXERCISES: tuple[Exercise, ...] = (
    WINDOW_SHOWS,
    CONTEXT_BOX,
    SVM_TARGETS,
    MINE,
    RIDGE,
    REGRESSION_EXAMPLES,
    THREE_KINDS,
    THREE_IDEAS,
    WHERE_THE_TIME_GOES,
    AS_THE_NETWORK_KNOWS_IT,
)
