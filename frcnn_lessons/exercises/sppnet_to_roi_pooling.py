"""The exercises of lesson 06, from SPPNet to RoI pooling.

Shapes: R regions, C channels, maps of H x W cells, P x Q bins.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torchvision
from torch import Tensor, tensor

from frcnn_lessons import plots, roi
from frcnn_lessons.exercises import description
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
)

# The lesson's map: the digits of pi.
PI = tensor([[3.0, 1, 4, 1, 5, 9], [2, 6, 5, 3, 5, 8], [9, 7, 9, 3, 2, 3], [8, 4, 6, 2, 6, 4]])


def some_region(draw: torch.Generator, width: int, height: int, stride: int = 16) -> Tensor:
    """A region (4,) in pixels that lies somewhere on a map of so many cells, or hangs over its border."""
    corner = (torch.rand(2, generator=draw) * 1.2 - 0.2) * tensor([width, height]) * stride
    return torch.cat([corner, corner + torch.rand(2, generator=draw) * tensor([width, height]) * stride])


# --- 06.1 ------------------------------------------------------------------------------------------------------

PLACES = ("first column", "first row", "last column", "last row")


def _cells_cases(nearest: tuple[int, ...], outer: tuple[int, ...], fits: str) -> tuple[Case, ...]:
    """A case for each number of both rules, and one for the verdict."""
    return (
        on_paper("nearest: how many numbers", gives=4, experiment=lambda value: len(value()["nearest"])),
        *(
            on_paper(f"nearest: {name}", gives=nearest[i], experiment=lambda value, i=i: value()["nearest"][i])
            for i, name in enumerate(PLACES)
        ),
        on_paper("outer: how many numbers", gives=4, experiment=lambda value: len(value()["outer"])),
        *(
            on_paper(f"outer: {name}", gives=outer[i], experiment=lambda value, i=i: value()["outer"][i])
            for i, name in enumerate(PLACES)
        ),
        on_paper("which fits better", gives=fits, experiment=lambda value: value()["fits"]),
    )


CELLS_OF_A_REGION = Exercise(
    kind="predict",
    name="cells_of_a_region",
    number="06.1",
    title="The cells of a region",
    minutes=8,
    points=1,
    goals=(1,),
    core=True,
    text="""\
A region is (40, 20, 100, 75) in pixels, `xyxy`, and the stride is 16. Which cells belong to it? Give (first column,
first row, last column, last row); all four **belong** to the region.

- `nearest`: by Fast R-CNN's rule, to the nearest cell;
- `outer`: rounded down near, rounded up far, as the walk-throughs do; give the last cell that *belongs* to it;
- `fits`: which of the two blocks of cells fits the region better (has the higher IoU with it), `"nearest"` or
  `"outer"`?""",
    answer={"nearest": (3, 1, 6, 5), "outer": (2, 1, 6, 4), "fits": "outer"},
    stub='{"nearest": ..., "outer": ..., "fits": ...}',
    cases=_cells_cases((3, 1, 6, 5), (2, 1, 6, 4), "outer"),
    impostors=(
        Impostor(
            "half_to_even",
            "2.5 becomes 3: halves go away from zero (Python's `round(2.5)` is 2).",
            answer={"nearest": (2, 1, 6, 5), "outer": (2, 1, 6, 4), "fits": "outer"},
        ),
        Impostor(
            "past_the_end",
            "Rounding up names the cell *after* the last one that belongs to the region.",
            answer={"nearest": (3, 1, 6, 5), "outer": (2, 1, 7, 5), "fits": "outer"},
        ),
        Impostor(
            "no_far_cell",
            "By Fast R-CNN's rule the far cell belongs to the region.",
            answer={"nearest": (3, 1, 5, 4), "outer": (2, 1, 6, 4), "fits": "outer"},
        ),
        Impostor(
            "rows_first",
            "Columns first: x runs along the columns.",
            answer={"nearest": (1, 3, 5, 6), "outer": (1, 2, 4, 6), "fits": "outer"},
        ),
        Impostor(
            "all_down",
            "Nearest is not rounded down: 4.69 is nearer to 5.",
            answer={"nearest": (2, 1, 6, 4), "outer": (2, 1, 6, 4), "fits": "outer"},
        ),
        Impostor(
            "the_other_fits",
            "Draw both blocks: Fast R-CNN's rule misses a strip on the left and adds a whole row below.",
            answer={"nearest": (3, 1, 6, 5), "outer": (2, 1, 6, 4), "fits": "nearest"},
        ),
    ),
    hints=(
        "Divide by 16 first: 2.5, 1.25, 6.25, 4.69.",
        "Nearest: 2.5 goes to 3, and all four cells belong to it. Outer: floor near, ceil far, less one.",
        "For `fits` draw both blocks in pixels: cell 3 is pixels 48 to 64. What is missing, what is too much?",
    ),
    variants=(
        Variant(
            "lying",
            """\
A region is (24, 40, 90, 72) in pixels, `xyxy`, and the stride is 16. Which cells belong to it? Give (first column,
first row, last column, last row); all four **belong** to the region.

- `nearest`: by Fast R-CNN's rule, to the nearest cell;
- `outer`: rounded down near, rounded up far, as the walk-throughs do; give the last cell that *belongs* to it;
- `fits`: which of the two blocks of cells fits the region better (has the higher IoU with it), `"nearest"` or
  `"outer"`?""",
            answer={"nearest": (2, 3, 6, 5), "outer": (1, 2, 5, 4), "fits": "outer"},
            cases=_cells_cases((2, 3, 6, 5), (1, 2, 5, 4), "outer"),
            without=("half_to_even", "past_the_end", "no_far_cell", "rows_first", "all_down", "the_other_fits"),
            impostors=(
                Impostor(
                    "half_to_even",
                    "2.5 becomes 3 and 4.5 becomes 5: halves go away from zero (Python's `round` takes the even one).",
                    answer={"nearest": (2, 2, 6, 4), "outer": (1, 2, 5, 4), "fits": "outer"},
                ),
                Impostor(
                    "past_the_end",
                    "Rounding up names the cell *after* the last one that belongs to the region.",
                    answer={"nearest": (2, 3, 6, 5), "outer": (1, 2, 6, 5), "fits": "outer"},
                ),
            ),
        ),
        Variant(
            "small",
            """\
A region is (14, 14, 35, 35) in pixels, `xyxy`, and the stride is 16. Which cells belong to it? Give (first column,
first row, last column, last row); all four **belong** to the region.

- `nearest`: by Fast R-CNN's rule, to the nearest cell;
- `outer`: rounded down near, rounded up far, as the walk-throughs do; give the last cell that *belongs* to it;
- `fits`: which of the two blocks of cells fits the region better (has the higher IoU with it), `"nearest"` or
  `"outer"`?""",
            answer={"nearest": (1, 1, 2, 2), "outer": (0, 0, 2, 2), "fits": "nearest"},
            cases=_cells_cases((1, 1, 2, 2), (0, 0, 2, 2), "nearest"),
            without=("half_to_even", "past_the_end", "no_far_cell", "rows_first", "all_down", "the_other_fits"),
            impostors=(
                Impostor(
                    "past_the_end",
                    "Rounding up names the cell *after* the last one that belongs to the region.",
                    answer={"nearest": (1, 1, 2, 2), "outer": (0, 0, 3, 3), "fits": "nearest"},
                ),
                Impostor(
                    "the_other_fits",
                    "Here the outer block adds a whole row and column for a strip of two pixels.",
                    answer={"nearest": (1, 1, 2, 2), "outer": (0, 0, 2, 2), "fits": "outer"},
                ),
            ),
        ),
    ),
)

# --- 06.2 ------------------------------------------------------------------------------------------------------


def bin_edges(first, last, bins, limit):
    """Of each bin of a region from cell `first` to cell `last`: its first cell, and the one after its last."""
    length = max(last - first + 1, 1)
    edges = []
    for p in range(bins):
        start = first + math.floor(p * length / bins)
        past = first + math.ceil((p + 1) * length / bins)
        edges.append((min(max(start, 0), limit), min(max(past, 0), limit)))
    return edges


def _some_edges(count: int, draw: torch.Generator) -> tuple[int, int, int, int]:
    first, length = (int(torch.randint(a, b, (1,), generator=draw)) for a, b in ((-3, 8), (-1, 12)))
    return first, first + length - 1, count, 9


def draw_edges(inputs: tuple[Any, ...], expected: Any, got: Any) -> None:
    """The cells along one axis, the expected bins above and the given ones below."""
    limit = inputs[3]
    ax = plots.squared_paper(max(limit, 1), 2 * inputs[2], title=f"Cells 0 to {limit - 1}: expected (blue), got (red)")
    for row, (a, b) in enumerate([*expected, *got]):
        plots.draw_box(ax, [a, row, b, row + 1], plots.BLUE if row < len(expected) else plots.RED, fill=0.2)


BIN_EDGES = Exercise(
    kind="implement",
    reference=bin_edges,
    number="06.2",
    title="Where the bins begin and end",
    stars=2,
    minutes=15,
    points=3,
    goals=(2,),
    core=True,
    text=r"""
`bin_edges(first, last, bins, limit)`: along one axis, a region goes from cell `first` to cell `last`, **both
included**. Its length $L$ is at least 1, even where `last` is before `first`. Cut it into $P$ = `bins` bins: bin $p$,
counted from 0, goes from $\lfloor p L / P \rfloor$ up to, not including, $\lceil (p + 1) L / P \rceil$, counted from
`first`.

Return a list of `bins` pairs `(start, past)`: the first cell of each bin and the one *after* its last, whole numbers.
At the end cut both off at 0 below and at `limit` above: that many cells has the map.""".strip(),
    cases=(
        on_paper("6 cells in 4 bins", 0, 5, 4, 6, gives=[(0, 2), (1, 3), (3, 5), (4, 6)]),
        on_paper("5 cells, from 1 on, in 2 bins", 1, 5, 2, 6, gives=[(1, 4), (3, 6)]),
        on_paper("6 cells, from 2 on, in 3 bins", 2, 7, 3, 9, gives=[(2, 4), (4, 6), (6, 8)]),
        on_paper("one cell in 3 bins", 2, 2, 3, 6, gives=[(2, 3), (2, 3), (2, 3)]),
        on_paper("it begins left of the map", -2, 1, 2, 6, gives=[(0, 0), (0, 2)]),
        on_paper("it lies right of the map", 7, 9, 3, 6, gives=[(6, 6), (6, 6), (6, 6)]),
        on_paper("it hangs over the right border", 4, 7, 2, 6, gives=[(4, 6), (6, 6)]),
        on_paper("the last cell is before the first", 5, 3, 2, 8, gives=[(5, 6), (5, 6)]),
        on_paper("the last cell is before the first, again", 4, 1, 1, 8, gives=[(4, 5)]),
        on_paper("7 cells in 3 bins", 0, 6, 3, 7, gives=[(0, 3), (2, 5), (4, 7)]),
        *at_random(_some_edges, sizes=(7, 1, 2, 4, 3)),
    ),
    impostors=(
        Impostor(
            "no_overlap",
            "A bin takes *every* cell that it touches: its end is rounded up, so bins may share a cell.",
            change={"math.ceil((p + 1)": "math.floor((p + 1)"},
        ),
        Impostor(
            "rounded",
            "The start is rounded down and the end up, not both to the nearest.",
            change={"math.floor(p": "round(p", "math.ceil((p": "round((p"},
        ),
        Impostor(
            "one_more",
            "Rounded up is not rounded down and one more: where it comes out even, that is a cell too many.",
            change={"math.ceil((p + 1) * length / bins)": "math.floor((p + 1) * length / bins) + 1"},
        ),
        Impostor(
            "start_up",
            "The start is rounded down: the bin takes the cell in which it begins.",
            change={"math.floor(p": "math.ceil(p"},
        ),
        Impostor(
            "one_cell_short",
            "Both ends belong to the region: from 0 to 5 there are 6 cells.",
            change={"last - first + 1": "last - first"},
        ),
        Impostor(
            "last_cell_of_the_bin",
            "The second number is the cell *after* the last one of the bin.",
            change={"min(max(past, 0), limit)": "min(max(past, 0), limit) - 1"},
        ),
        Impostor(
            "start_and_length",
            "The second number is where the bin ends, not how long it is.",
            change={"min(max(past, 0), limit)))": "min(max(past, 0), limit) - min(max(start, 0), limit)))"},
        ),
        Impostor("from_zero", "The bins are counted from `first` on.", change={"first + math": "math"}),
        Impostor(
            "not_cut",
            "What lies outside the map is cut off.",
            change={"(min(max(start, 0), limit), min(max(past, 0), limit))": "(start, past)"},
        ),
        Impostor(
            "cut_above_only",
            "Below 0 the map has no cells either.",
            change={"min(max(start, 0), limit), min(max(past, 0), limit)": "min(start, limit), min(past, limit)"},
        ),
        Impostor(
            "cut_below_only",
            "The map has `limit` cells: nothing lies beyond.",
            change={"min(max(start, 0), limit), min(max(past, 0), limit)": "max(start, 0), max(past, 0)"},
        ),
        Impostor(
            "cut_first",
            "The *bins* are cut off in the end, not the region before: that would change where they begin.",
            change={"length = max": "first, last = max(first, 0), min(last, limit - 1)\n    length = max"},
        ),
        Impostor(
            "length_may_be_0",
            "A region is at least one cell long, also where its ends are exchanged.",
            change={"max(last - first + 1, 1)": "last - first + 1"},
        ),
        Impostor(
            "rest_to_the_last",
            "All bins are of nearly the same length: what does not come out even is not left to the last one.",
            change={
                "math.floor(p * length / bins)": "p * (length // bins)",
                "math.ceil((p + 1) * length / bins)": "((p + 1) * (length // bins) if p < bins - 1 else length)",
            },
        ),
    ),
    hints=(
        "Do 6 cells in 4 bins on paper: each bin is one and a half cells long, and takes every cell that it touches.",
        "`length = max(last - first + 1, 1)`; then floor for the start, ceil for the end, and `first` added to both.",
        "`min(max(first + math.ceil((p + 1) * length / bins), 0), limit)` is the end of bin p.",
    ),
    variants=(
        Variant(
            "disjoint",
            r"""
`bin_edges(first, last, bins, limit)`: along one axis, a region goes from cell `first` to cell `last`, **both
included**. Its length $L$ is at least 1, even where `last` is before `first`. Cut it into $P$ = `bins` bins **that
share no cell**: bin $p$, counted from 0, goes from $\lfloor p L / P \rfloor$ up to, not including,
$\lfloor (p + 1) L / P \rfloor$, counted from `first`.

Return a list of `bins` pairs `(start, past)`: the first cell of each bin and the one *after* its last, whole numbers.
At the end cut both off at 0 below and at `limit` above: that many cells has the map.""".strip(),
            change={"math.ceil((p + 1)": "math.floor((p + 1)"},
            gives={
                "6 cells in 4 bins": [(0, 1), (1, 3), (3, 4), (4, 6)],
                "one cell in 3 bins": [(2, 2), (2, 2), (2, 3)],
            },
            without=("no_overlap", "rounded", "one_more", "start_up", "rest_to_the_last"),
            impostors=(
                Impostor(
                    "shares_cells",
                    "Here no two bins share a cell: the end is rounded down as well.",
                    change={"math.floor((p + 1)": "math.ceil((p + 1)"},
                ),
            ),
        ),
        Variant(
            "length",
            r"""
`bin_edges(first, length, bins, limit)`: along one axis, a region begins with cell `first` and is `length` cells long;
where `length` is below 1, take 1. Cut it into $P$ = `bins` bins: bin $p$, counted from 0, goes from
$\lfloor p L / P \rfloor$ up to, not including, $\lceil (p + 1) L / P \rceil$, counted from `first`; $L$ is the length.

Return a list of `bins` pairs `(start, past)`: the first cell of each bin and the one *after* its last, whole numbers.
At the end cut both off at 0 below and at `limit` above: that many cells has the map.""".strip(),
            change={
                "(first, last, bins": "(first, length, bins",
                "from cell `first` to cell `last`": "of `length` cells from cell `first` on",
                "max(last - first + 1, 1)": "max(length, 1)",
            },
            inputs=lambda first, last, bins, limit: (first, last - first + 1, bins, limit),
            gives={"6 cells in 4 bins": [(0, 2), (1, 3), (3, 5), (4, 6)]},
            without=("one_cell_short", "length_may_be_0", "cut_first"),
            impostors=(
                Impostor(
                    "one_more_cell",
                    "`length` counts the cells already: there is no 1 to add.",
                    change={"max(length, 1)": "max(length, 0) + 1"},
                ),
            ),
        ),
    ),
    draw=draw_edges,
)

# --- 06.3 ------------------------------------------------------------------------------------------------------


def roi_average_pool(features, region, stride, bins):
    """The mean of each of P x Q bins (C, P, Q) of a region (4,) of a map (C, H, W)."""
    C, H, W = features.shape
    x1, y1, x2, y2 = (math.floor(value / stride + 0.5) for value in region.tolist())

    def edges(first, last, count, limit):
        length = max(last - first + 1, 1)
        starts = [first + math.floor(p * length / count) for p in range(count)]
        ends = [first + math.ceil((p + 1) * length / count) for p in range(count)]
        return [(min(max(a, 0), limit), min(max(b, 0), limit)) for a, b in zip(starts, ends, strict=True)]

    pooled = torch.zeros(C, *bins)
    for p, (top, bottom) in enumerate(edges(y1, y2, bins[0], H)):
        for q, (left, right) in enumerate(edges(x1, x2, bins[1], W)):
            cells = features[:, top:bottom, left:right]
            if cells.numel() > 0:
                pooled[:, p, q] = cells.mean(dim=(1, 2))
    return pooled


OURS = tensor([20.0, 14, 78, 50])  # columns 1 to 5, rows 1 to 3
TINY = tensor([34.0, 17, 38, 20])  # column 2, row 1
OUTSIDE_RIGHT = tensor([64.0, 0, 128, 16])  # columns 4 to 8, rows 0 and 1, of a map with 6 columns
OUTSIDE_LEFT = tensor([-80.0, 0, -34, 16])
HALVES = tensor([40.0, 24, 56, 40])  # 2.5, 1.5, 3.5, 2.5: columns 3 and 4, rows 2 and 3


def _some_pooling(count: int, draw: torch.Generator) -> tuple[Tensor, Tensor, int, tuple[int, int]]:
    features = torch.rand(2, count + 2, count + 4, generator=draw)
    return features, some_region(draw, count + 4, count + 2), 16, (2, 3)


ROI_AVERAGE_POOL = Exercise(
    kind="implement",
    reference=roi_average_pool,
    number="06.3",
    title="RoI pooling with the mean",
    stars=3,
    minutes=25,
    points=4,
    goals=(2,),
    core=False,
    text="""\
`roi_average_pool(features, region, stride, bins)`: RoI pooling as in the lesson, but with the **mean** of a bin's cells
in place of the largest. `features` is a map, shape `(C, H, W)`; `region` one box, shape `(4,)`, `xyxy` in pixels of the
image; `bins` is `(P, Q)`, rows and columns. It returns shape `(C, P, Q)`.

The rules are those of Fast R-CNN: ends to the nearest cell (2.5 becomes 3), and both belong to the region, which is at
least one cell long; bins from floor to ceil, cut off at the map's border. A bin without any cell is 0. Do it without
`roi`, `roi_fast`, `torchvision.ops` and adaptive pooling.""",
    cases=(
        on_paper("the lesson's region", PI[None], OURS, 16, (2, 2), gives=[[[33 / 6, 24 / 6], [31 / 6, 20 / 6]]]),
        on_paper(
            "one row and three columns of bins",
            PI[None],
            OURS,
            16,
            (1, 3),
            gives=[
                [[(6 + 5 + 7 + 9 + 4 + 6) / 6, (5 + 3 + 5 + 9 + 3 + 2 + 6 + 2 + 6) / 9, (5 + 8 + 2 + 3 + 6 + 4) / 6]]
            ],
        ),
        on_paper("a region within one cell", PI[None], TINY, 16, (2, 2), gives=[[[5, 5], [5, 5]]]),
        on_paper("half of it right of the map", PI[None], OUTSIDE_RIGHT, 16, (2, 2), gives=[[[7, 0], [6.5, 0]]]),
        on_paper("left of the map", PI[None], OUTSIDE_LEFT, 16, (1, 2), gives=[[[0, 0]]]),
        on_paper("ends at exact halves", PI[None], HALVES, 16, (1, 1), gives=[[[(3 + 2 + 2 + 6) / 4]]]),
        on_paper("another one", PI[None], tensor([8.0, 8, 24, 24]), 16, (1, 1), gives=[[[(6 + 5 + 7 + 9) / 4]]]),
        on_paper("the digits, and twice as much", torch.stack([PI, 2 * PI]), TINY, 16, (1, 1), gives=[[[5]], [[10]]]),
        on_paper("half of it below the map", PI[None], tensor([0.0, 48, 0, 96]), 16, (2, 1), gives=[[[8], [0]]]),
        *at_random(_some_pooling, sizes=(7, 1, 2, 20)),
    ),
    impostors=(
        Impostor(
            "largest",
            "That is the largest cell of each bin; its *mean* is asked for.",
            change={"cells.mean(dim=(1, 2))": "cells.amax(dim=(1, 2))"},
        ),
        Impostor(
            "x_as_rows",
            "x runs along the columns, the *last* axis: on a square map it would hardly show.",
            change={"x1, y1, x2, y2 = (math": "y1, x1, y2, x2 = (math"},
        ),
        Impostor(
            "no_far_cell",
            "The far cell belongs to the region.",
            change={"last - first + 1, 1)": "last - first, 1)"},
        ),
        Impostor(
            "half_to_even",
            "2.5 becomes 3: Python's and torch's `round` take the even neighbour, 2.",
            change={"math.floor(value / stride + 0.5)": "round(value / stride)"},
        ),
        Impostor(
            "floor_ceil",
            "Both ends go to the nearest cell; here the near one is rounded down and the far one up.",
            change={
                "x1, y1, x2, y2 = (math.floor(value / stride + 0.5) for value in region.tolist())": (
                    "x1, y1 = (math.floor(value / stride) for value in region.tolist()[:2])\n"
                    "    x2, y2 = (math.ceil(value / stride) - 1 for value in region.tolist()[2:])"
                )
            },
        ),
        Impostor(
            "all_down",
            "The ends go to the nearest cell, not down.",
            change={" + 0.5)": ")"},
        ),
        Impostor(
            "outside_counted",
            "Cells outside the map do not exist: they do not count in the mean either.",
            function=lambda features, region, stride, bins: _with_border(features, region, stride, bins),
        ),
        Impostor(
            "no_overlap",
            "A bin takes every cell that it touches: its end is rounded up.",
            change={"math.ceil((p + 1)": "math.floor((p + 1)"},
        ),
        Impostor(
            "first_channel",
            "Every channel has a mean of its own.",
            change={"cells.mean(dim=(1, 2))": "cells[0].mean()"},
        ),
        Impostor(
            "one_mean_for_all_channels",
            "Every channel has a mean of its own; here all channels share one.",
            change={"cells.mean(dim=(1, 2))": "cells.mean()"},
        ),
        Impostor("not_a_number", "", change={"if cells.numel() > 0:": "if True:"}),
        Impostor(
            "stride_not_used",
            "The region is in pixels: divide by the stride first.",
            change={"value / stride + 0.5": "value + 0.5"},
        ),
    ),
    hints=(
        "First the four cells, then the bins along each axis (06.2), then one mean for each bin.",
        "Slices: `features[:, top:bottom, left:right]`, rows before columns, and `.mean(dim=(1, 2))`.",
        "Cut the bins off at the border, and leave a bin at 0 where its slice has no cell (`numel()` is 0).",
    ),
    forbidden=("frcnn_lessons.roi", "frcnn_lessons.roi_fast", "torchvision.ops", ".adaptive_avg_pool2d"),
)


def _with_border(features: Tensor, region: Tensor, stride: int, bins: tuple[int, int]) -> Tensor:
    """The mean over all cells of a bin, with zeros outside the map."""
    wide = 40
    padded = torch.nn.functional.pad(features, (wide, wide, wide, wide))
    shifted: Tensor = roi_average_pool(padded, region + wide * stride, stride, bins)
    return shifted


# --- 06.4 ------------------------------------------------------------------------------------------------------


def roi_average_backward(gradient, region, stride, size):
    """The gradient (C, H, W) of the map, from that of the bins (C, P, Q) of a region (4,) pooled with the mean."""
    C, P, Q = gradient.shape
    H, W = size
    x1, y1, x2, y2 = (math.floor(value / stride + 0.5) for value in region.tolist())

    def edges(first, last, count, limit):
        length = max(last - first + 1, 1)
        starts = [first + math.floor(p * length / count) for p in range(count)]
        ends = [first + math.ceil((p + 1) * length / count) for p in range(count)]
        return [(min(max(a, 0), limit), min(max(b, 0), limit)) for a, b in zip(starts, ends, strict=True)]

    total = torch.zeros(C, H, W)
    for p, (top, bottom) in enumerate(edges(y1, y2, P, H)):
        for q, (left, right) in enumerate(edges(x1, x2, Q, W)):
            cells = (bottom - top) * (right - left)
            if cells > 0:
                total[:, top:bottom, left:right] += gradient[:, p, q][:, None, None] / cells
    return total


def _some_gradient(count: int, draw: torch.Generator) -> tuple[Tensor, Tensor, int, tuple[int, int]]:
    return torch.randn(2, 2, 3, generator=draw), some_region(draw, count + 4, count + 2), 16, (count + 2, count + 4)


# Columns 0 to 3 and rows 0 and 1 of a map of 2 x 5 cells.
LEFT_PART = tensor([0.0, 0, 48, 16])

ROI_AVERAGE_BACKWARD = Exercise(
    kind="implement",
    reference=roi_average_backward,
    number="06.4",
    title="The way back through a mean",
    stars=3,
    minutes=20,
    points=4,
    goals=(3,),
    core=False,
    text="""\
RoI pooling with the mean of each bin (06.3) has been computed, and each bin sends back a gradient.
`roi_average_backward(gradient, region, stride, size)`: `gradient` has shape `(C, P, Q)`, `region` shape `(4,)`, `xyxy`
in pixels, and `size` is `(H, W)` of the map. Return the gradient of the map, shape `(C, H, W)`: every bin shares its
gradient **equally among its cells**, and what several bins give to a cell adds up.

Cells and bins are those of RoI pooling: ends to the nearest cell (2.5 becomes 3), both belong to the region, bins from
floor to ceil, cut off at the border; a bin without cells gives nothing to anybody. Do it without autograd.""",
    cases=(
        on_paper(
            "two bins of two columns each",
            tensor([[[4.0, 8]]]),
            LEFT_PART,
            16,
            (2, 5),
            gives=[[[1, 1, 2, 2, 0], [1, 1, 2, 2, 0]]],
        ),
        on_paper(
            "three columns in two bins, which share one",
            tensor([[[4.0, 8]]]),
            tensor([0.0, 0, 32, 0]),
            16,
            (2, 4),
            gives=[[[2, 6, 4, 0], [0, 0, 0, 0]]],
        ),
        on_paper(
            "one cell, four bins",
            tensor([[[1.0, 2], [3, 4]]]),
            tensor([34.0, 17, 38, 20]),
            16,
            (2, 4),
            gives=[[[0, 0, 0, 0], [0, 0, 10, 0]]],
        ),
        on_paper(
            "half of it right of the map",
            tensor([[[6.0]]]),
            tensor([32.0, 0, 80, 0]),
            16,
            (1, 4),
            gives=[[[0, 0, 3, 3]]],
        ),
        on_paper(
            "one bin lies outside",
            tensor([[[6.0, 5]]]),
            tensor([32.0, 0, 80, 0]),
            16,
            (1, 4),
            gives=[[[0, 0, 3, 3]]],
        ),
        on_paper(
            "two channels",
            tensor([[[4.0]], [[-2]]]),
            tensor([0.0, 0, 16, 0]),
            16,
            (1, 3),
            gives=[[[2, 2, 0]], [[-1, -1, 0]]],
        ),
        on_paper(
            "two rows in two bins",
            tensor([[[1.0], [5]]]),
            tensor([16.0, 0, 16, 16]),
            16,
            (3, 2),
            gives=[[[0, 1], [0, 5], [0, 0]]],
        ),
        on_paper(
            "it begins left of the map", tensor([[[6.0]]]), tensor([-32.0, 0, 16, 0]), 16, (1, 3), gives=[[[3, 3, 0]]]
        ),
        *at_random(_some_gradient, sizes=(7, 1, 2, 12)),
    ),
    impostors=(
        Impostor(
            "not_shared",
            "Each of the n cells of a bin gets 1/n of its gradient, not all of it.",
            change={" / cells": ""},
        ),
        Impostor(
            "overwrites",
            "A cell of two bins gets both shares: they add up.",
            change={"] += gradient": "] = gradient"},
        ),
        Impostor(
            "by_all_bins",
            "A bin shares among its own cells; here it was divided by the number of bins.",
            change={"[:, None, None] / cells": "[:, None, None] / (P * Q)"},
        ),
        Impostor(
            "by_the_region",
            "A bin shares among its own cells, not among all cells of the region.",
            change={"[:, None, None] / cells": "[:, None, None] / (max(x2 - x1 + 1, 1) * max(y2 - y1 + 1, 1))"},
        ),
        Impostor(
            "to_the_first_cell",
            "That is how the largest cell is paid, one for all; a mean shares among its cells.",
            change={
                "[:, top:bottom, left:right] += gradient[:, p, q][:, None, None] / cells": (
                    "[:, top, left] += gradient[:, p, q]"
                )
            },
        ),
        Impostor(
            "outside_counted",
            "Only cells inside the map share: those outside do not exist.",
            function=lambda gradient, region, stride, size: _cut_afterwards(gradient, region, stride, size),
        ),
        Impostor(
            "x_as_rows",
            "x runs along the columns, the *last* axis.",
            change={"x1, y1, x2, y2 = (math": "y1, x1, y2, x2 = (math"},
        ),
        Impostor(
            "no_far_cell", "The far cell belongs to the region.", change={"last - first + 1, 1)": "last - first, 1)"}
        ),
        Impostor(
            "no_overlap",
            "A bin has every cell that it touches: its end is rounded up.",
            change={"math.ceil((p + 1)": "math.floor((p + 1)"},
        ),
        Impostor(
            "channels_mixed",
            "Each channel sends its own gradient back.",
            change={"gradient[:, p, q][:, None, None]": "gradient[:, p, q].sum()"},
        ),
    ),
    hints=(
        "Which cells made the mean of a bin? Each of n cells counted 1/n in it.",
        "Go through the bins as on the way there; count the cells of the slice, inside the map only.",
        "`total[:, top:bottom, left:right] += gradient[:, p, q][:, None, None] / cells`",
    ),
    forbidden=("torch.autograd", ".backward", "frcnn_lessons.roi", "frcnn_lessons.roi_fast", "torchvision.ops"),
)


def _cut_afterwards(gradient: Tensor, region: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
    """Shared among all cells of a bin, and what went outside the map is lost."""
    wide = 40
    larger = (size[0] + 2 * wide, size[1] + 2 * wide)
    total: Tensor = roi_average_backward(gradient, region + wide * stride, stride, larger)
    return total[:, wide:-wide, wide:-wide]


# --- 06.5 ------------------------------------------------------------------------------------------------------


def bilinear(cells, x, y):
    """The value of a map (H, W) at a point, in cells; a cell's value stands in its middle."""
    H, W = cells.shape
    x, y = min(max(x - 0.5, 0), W - 1), min(max(y - 0.5, 0), H - 1)
    left, top = math.floor(x), math.floor(y)
    right, bottom = min(left + 1, W - 1), min(top + 1, H - 1)
    across, down = x - left, y - top  # how far on the way to the next middle, 0..1
    upper = (1 - across) * cells[top, left] + across * cells[top, right]
    lower = (1 - across) * cells[bottom, left] + across * cells[bottom, right]
    return ((1 - down) * upper + down * lower).item()


def draw_point(inputs: tuple[Any, ...], expected: Any, got: Any) -> None:
    """The map and the point."""
    cells, x, y = inputs
    if max(cells.shape) > 8:
        return
    ax = plots.squared_paper(
        cells.shape[1], cells.shape[0], title=f"At the dot: expected {expected:.4g}, got {got:.4g}"
    )
    plots.draw_cells(ax, cells, f"At the dot: expected {expected:.4g}, got {got:.4g}")
    ax.plot([x], [y], "o", color=plots.RED, ms=8, mec="white")


def _some_point(count: int, draw: torch.Generator) -> tuple[Tensor, float, float]:
    cells = torch.rand(count, count + 3, generator=draw)
    x, y = (torch.rand(2, generator=draw) * tensor([count + 3, count])).tolist()
    return cells, x, y


BILINEAR = Exercise(
    kind="implement",
    reference=bilinear,
    number="06.5",
    title="The value at a point",
    stars=2,
    minutes=15,
    points=3,
    goals=(2,),
    core=True,
    text="""\
`bilinear(cells, x, y)`: the value of a map, shape `(H, W)`, at the point `(x, y)`, by bilinear interpolation; one
number. `x` and `y` are in cells and measured from the upper left corner of the map, `0 <= x <= W`, `0 <= y <= H`.
**A cell's value stands in its middle**, that of the first cell at (0.5, 0.5).

Beyond the middles of the outermost cells, the value of the border holds: at (0, 0) it is that of the first cell.""",
    cases=(
        on_paper("the lesson's point (1.75, 1)", PI, 1.75, 1.0, gives=3.75),
        on_paper("in the middle of the first cell", PI, 0.5, 0.5, gives=3),
        on_paper("between two columns", PI, 1.0, 0.5, gives=2),
        on_paper("between two rows", PI, 0.5, 1.0, gives=2.5),
        on_paper("a quarter of the way down", PI, 0.5, 0.75, gives=2.75),
        on_paper("a quarter of the way across", PI, 4.75, 0.5, gives=6),
        on_paper("three quarters of the way across", PI, 2.25, 0.5, gives=3.25),
        on_paper("three quarters of the way down", PI, 0.5, 1.25, gives=2.25),
        on_paper("the upper left corner", PI, 0.0, 0.0, gives=3),
        on_paper("the lower right corner", PI, 6.0, 4.0, gives=4),
        on_paper("near the right border", PI, 5.75, 2.5, gives=3),
        on_paper("near the left border, between two rows", PI, 0.25, 3.0, gives=8.5),
        on_paper("near the lower border, between two columns", PI, 3.0, 3.75, gives=4),
        on_paper("a map of one cell", tensor([[7.0]]), 0.75, 0.25, gives=7),
        on_paper("a map of one row", tensor([[2.0, 4]]), 1.0, 0.75, gives=3),
        *at_random(_some_point, sizes=(7, 1, 2, 20)),
    ),
    impostors=(
        Impostor(
            "at_corners",
            "A cell's value stands in its middle; here it is read half a cell too far right and down.",
            change={"x - 0.5": "x", "y - 0.5": "y"},
        ),
        Impostor(
            "half_added",
            "The middle of the first cell is at 0.5: half a cell has to come *off*.",
            change={"x - 0.5": "x + 0.5", "y - 0.5": "y + 0.5"},
        ),
        Impostor(
            "xy_swapped",
            "x runs along the columns, the *second* index.",
            change={"H, W = cells.shape": "cells = cells.T\n    H, W = cells.shape"},
        ),
        Impostor(
            "weights_crossed",
            "The *nearer* cell weighs more: near and far are exchanged.",
            change={
                "across, down = x - left, y - top": "across, down = 1 - (x - left), 1 - (y - top)",
            },
        ),
        Impostor(
            "nearest",
            "That is the value of the cell in which the point lies; it should change gradually from middle to middle.",
            function=lambda cells, x, y: cells[min(int(y), cells.shape[0] - 1), min(int(x), cells.shape[1] - 1)].item(),
        ),
        Impostor(
            "rounded",
            "The neighbour on the left is the one *before* the point: round down, not to the nearest.",
            change={"math.floor(x), math.floor(y)": "round(x), round(y)"},
        ),
        Impostor(
            "plain_mean",
            "The four neighbours do not weigh alike: the nearer the more.",
            change={"across, down = x - left, y - top": "across, down = 0.5, 0.5"},
        ),
        Impostor(
            "across_only",
            "That interpolates across only; the rows have to be mixed as well.",
            change={"across, down = x - left, y - top": "across, down = x - left, 0"},
        ),
        Impostor(
            "wraps",
            "Left of the first middle, index -1 is the *last* cell: there the value of the border holds.",
            change={
                "min(max(x - 0.5, 0), W - 1), min(max(y - 0.5, 0), H - 1)": "min(x - 0.5, W - 1), min(y - 0.5, H - 1)"
            },
        ),
        Impostor(
            "zero_outside",
            "Beyond the outermost middles the value of the border holds; here it falls to 0.",
            function=lambda cells, x, y: bilinear(torch.nn.functional.pad(cells, (1, 1, 1, 1)), x + 1, y + 1),
        ),
        Impostor(
            "goes_on",
            "Beyond the outermost middles the value of the border holds; here the slope goes on.",
            change={
                "across, down = x - left, y - top": "across, down = X - left, Y - top",
                "H, W = cells.shape": "H, W = cells.shape\n    X, Y = x - 0.5, y - 0.5",
                "math.floor(x), math.floor(y)": "max(min(math.floor(x), W - 2), 0), max(min(math.floor(y), H - 2), 0)",
            },
        ),
    ),
    hints=(
        "Take half a cell off x and y first: then the middles stand at whole numbers.",
        "Keep x within 0 and W - 1 and y within 0 and H - 1: so the border's value holds beyond it.",
        "Mix the two upper cells by how far across, the two lower ones likewise, then both by how far down.",
    ),
    variants=(
        Variant(
            "at_corners",
            """\
`bilinear(cells, x, y)`: the value of a map, shape `(H, W)`, at the point `(x, y)`, by bilinear interpolation; one
number. `x` and `y` are in cells and measured from the upper left corner of the map, `0 <= x <= W`, `0 <= y <= H`.
**A cell's value stands at its upper left corner**, as with `aligned=False`: that of the first cell at (0, 0).

Beyond the last of these corners, the value of the border holds: at (W, H) it is that of the last cell.""",
            change={"x - 0.5": "x", "y - 0.5": "y", "in its middle": "at its upper left corner"},
            gives={"the lesson's point (1.75, 1)": 5.25, "between two columns": 3.5, "the lower right corner": 4},
            without=("at_corners", "half_added", "wraps", "zero_outside", "goes_on", "nearest", "plain_mean"),
            impostors=(
                Impostor(
                    "in_the_middle",
                    "Here a cell's value stands at its corner: no half cell comes off.",
                    change={"max(x, 0)": "max(x - 0.5, 0)", "max(y, 0)": "max(y - 0.5, 0)"},
                ),
            ),
        ),
        Variant(
            "rows_first",
            """\
`bilinear(cells, row, column)`: the value of a map, shape `(H, W)`, at a point, by bilinear interpolation; one number.
`row` and `column` are in cells, **the row first**, and measured from the upper left corner of the map,
`0 <= row <= H`, `0 <= column <= W`. **A cell's value stands in its middle**, that of the first cell at (0.5, 0.5).

Beyond the middles of the outermost cells, the value of the border holds: at (0, 0) it is that of the first cell.""",
            change={"(cells, x, y)": "(cells, y, x)"},
            inputs=lambda cells, x, y: (cells, y, x),
            gives={"the lesson's point (1.75, 1)": 3.75, "a quarter of the way down": 2.75},
            without=("nearest", "zero_outside", "xy_swapped"),
            impostors=(
                Impostor(
                    "xy_swapped",
                    "The row comes first here, and x runs along the columns.",
                    change={"H, W = cells.shape": "cells = cells.T\n    H, W = cells.shape"},
                ),
            ),
        ),
    ),
    draw=draw_point,
)

# --- 06.6 ------------------------------------------------------------------------------------------------------


def region_cells(relative, height, width):
    """Cells (x1, y1, x2, y2) of a region in shares of the image, on a map of height x width; the far ends are past."""
    x1, y1, x2, y2 = relative
    x1, y1 = math.floor(x1 * width), math.floor(y1 * height)
    x2, y2 = math.ceil(x2 * width), math.ceil(y2 * height)
    return x1, y1, x2, y2


def _some_shares(count: int, draw: torch.Generator) -> tuple[tuple[float, ...], int, int]:
    a, b, c, d = torch.rand(4, generator=draw, dtype=torch.float64).tolist()
    return (min(a, b), min(c, d), max(a, b), max(c, d)), 9 + count, 14


REGION_CELLS = Exercise(
    kind="find the bug",
    reference=region_cells,
    given="as_given",
    number="06.6",
    title="All regions end at the bottom",
    stars=2,
    minutes=12,
    points=3,
    goals=(1, 4),
    core=True,
    text="""\
"Objects at the upper border are never found, and all other regions reach down to the bottom." The line stands in a
published walk-through. Find the mistake and correct it.

`region_cells(relative, height, width)` gets a region `(x1, y1, x2, y2)` in shares of the image, 0..1, and the size of
the map in cells. It returns four whole numbers `(x1, y1, x2, y2)` so that `map[y1:y2, x1:x2]` is the region: the near
ends rounded down, the far ends rounded up.""",
    cases=(
        on_paper("(.25, .3, .6, .7) on 9 x 14", (0.25, 0.3, 0.6, 0.7), 9, 14, gives=(3, 2, 9, 7)),
        on_paper("near the top", (0.25, 0.05, 0.6, 0.3), 9, 14, gives=(3, 0, 9, 3)),
        on_paper("the same, but it ends lower", (0.25, 0.3, 0.6, 0.4), 9, 14, gives=(3, 2, 9, 4)),
        on_paper("the whole image", (0.0, 0.0, 1.0, 1.0), 9, 14, gives=(0, 0, 14, 9)),
        on_paper("on 14 x 9", (0.25, 0.3, 0.6, 0.7), 14, 9, gives=(2, 4, 6, 10)),
        on_paper("on 10 x 10", (0.25, 0.33, 0.62, 0.77), 10, 10, gives=(2, 3, 7, 8)),
        *at_random(_some_shares, sizes=(7, 1, 2, 20)),
    ),
    impostors=(
        Impostor(
            "as_given",
            "y2 is computed from y1, and y1 is a *cell* by then.",
            change={"math.ceil(y2 * height)": "math.ceil(y1 * height)"},
        ),
        Impostor(
            "y2_from_the_share_y1",
            "Now y2 is computed from the share y1: it has a share of its own.",
            change={
                "    x1, y1 = math": "    y2 = y1\n    x1, y1 = math",
            },
        ),
        Impostor(
            "y2_from_x2",
            "y2 is computed from x2: it has a share of its own.",
            change={"math.ceil(y2 * height)": "math.ceil(relative[2] * height)"},
        ),
        Impostor(
            "exchanged",
            "x is a share of the *width*, y of the height: on a square map it would not show.",
            change={
                "x1 * width": "x1 * height",
                "y1 * height": "y1 * width",
                "x2 * width": "x2 * height",
                "y2 * height": "y2 * width",
            },
        ),
        Impostor(
            "y2_by_width",
            "y2 is a share of the height.",
            change={"y2 * height": "y2 * width"},
        ),
        Impostor(
            "nearest",
            "Near ends are rounded down and far ends up here, not to the nearest.",
            change={"math.floor(": "round(", "math.ceil(": "round("},
        ),
        Impostor("all_down", "The far ends are rounded *up*.", change={"math.ceil(": "math.floor("}),
        Impostor("all_up", "The near ends are rounded *down*.", change={"math.floor(": "math.ceil("}),
        Impostor(
            "one_more",
            "The far ends name the cell *after* the last one already: there is no 1 to add.",
            change={"return x1, y1, x2, y2": "return x1, y1, x2 + 1, y2 + 1"},
        ),
        Impostor(
            "last_cell",
            "A slice leaves its end out: the far ends name the cell *after* the last one.",
            change={"return x1, y1, x2, y2": "return x1, y1, x2 - 1, y2 - 1"},
        ),
        Impostor(
            "rows_first", "x comes first: (x1, y1, x2, y2).", change={"return x1, y1, x2, y2": "return y1, x1, y2, x2"}
        ),
    ),
    hints=(
        "Run it by hand on the first case, line by line, and write down what x1, y1, x2 and y2 are after each.",
        "What is y1 when the line with y2 is reached: a share or a cell?",
        "Each of the four has its own share: y2 comes from y2.",
    ),
    variants=(
        Variant(
            "last_cell",
            """\
"Objects at the upper border are never found, and all other regions reach down to the bottom." The line stands in a
published walk-through. Find the mistake and correct it, **and return the last cells that belong to the region** in
place of those after them.

`region_cells(relative, height, width)` gets a region `(x1, y1, x2, y2)` in shares of the image, 0..1, and the size of
the map in cells. It returns four whole numbers `(x1, y1, x2, y2)`: the near ends rounded down, the far ends rounded up,
less one.""",
            change={"return x1, y1, x2, y2": "return x1, y1, x2 - 1, y2 - 1", "ends are past": "ends belong to it"},
            gives={"(.25, .3, .6, .7) on 9 x 14": (3, 2, 8, 6)},
            without=("as_given", "one_more", "last_cell", "rows_first"),
            impostors=(
                Impostor(
                    "as_given",
                    "y2 is computed from y1, and y1 is a *cell* by then.",
                    change={
                        "math.ceil(y2 * height)": "math.ceil(y1 * height)",
                        "return x1, y1, x2 - 1, y2 - 1": "return x1, y1, x2, y2",
                    },
                ),
                Impostor(
                    "past_the_end",
                    "The last cell that *belongs* to the region is asked for, not the one after it.",
                    change={"return x1, y1, x2 - 1, y2 - 1": "return x1, y1, x2, y2"},
                ),
            ),
        ),
        Variant(
            "rows_first",
            """\
"Objects at the upper border are never found, and all other regions reach down to the bottom." The line stands in a
published walk-through. Find the mistake and correct it, **and return the rows first**.

`region_cells(relative, height, width)` gets a region `(x1, y1, x2, y2)` in shares of the image, 0..1, and the size of
the map in cells. It returns four whole numbers `(y1, y2, x1, x2)` so that `map[y1:y2, x1:x2]` is the region: the near
ends rounded down, the far ends rounded up.""",
            change={
                "return x1, y1, x2, y2": "return y1, y2, x1, x2",
                "Cells (x1, y1, x2, y2)": "Cells (y1, y2, x1, x2)",
            },
            gives={"(.25, .3, .6, .7) on 9 x 14": (2, 7, 3, 9)},
            without=("as_given", "one_more", "last_cell", "rows_first"),
            impostors=(
                Impostor(
                    "as_given",
                    "y2 is computed from y1, and y1 is a *cell* by then.",
                    change={
                        "math.ceil(y2 * height)": "math.ceil(y1 * height)",
                        "return y1, y2, x1, x2": "return x1, y1, x2, y2",
                    },
                ),
                Impostor(
                    "columns_first",
                    "The rows come first here: (y1, y2, x1, x2).",
                    change={"return y1, y2, x1, x2": "return x1, y1, x2, y2"},
                ),
            ),
        ),
    ),
)

# --- 06.7 ------------------------------------------------------------------------------------------------------

SMALL_MAP = ((7, 2, 9, 4), (1, 8, 3, 6), (5, 0, 12, 10))


def _table_cases(table: list[list[int]]) -> tuple[Case, ...]:
    """What can be measured of a table without giving it away."""

    def numbers(value: Callable[[], Any]) -> Tensor:
        rows = torch.as_tensor(value() if isinstance(value(), Tensor) else [list(map(float, row)) for row in value()])
        return rows.float()

    def right_in(value: Callable[[], Any], row: int) -> int:
        return int((numbers(value)[row] == tensor(table).float()[row]).sum())

    return (
        on_paper("its shape", gives=(3, 4), experiment=lambda value: tuple(numbers(value).shape)),
        on_paper(
            "the sum of all numbers",
            gives=int(tensor(table).sum()),
            experiment=lambda value: float(numbers(value).sum()),
        ),
        on_paper(
            "how many cells get something",
            gives=int((tensor(table) != 0).sum()),
            experiment=lambda value: int((numbers(value) != 0).sum()),
        ),
        *(
            on_paper(
                f"how many numbers of row {row} are right", gives=4, experiment=lambda v, row=row: right_in(v, row)
            )
            for row in range(3)
        ),
    )


def draw_map(_inputs: tuple[Any, ...], _expected: Any, _got: Any) -> None:
    """The map with both regions."""
    ax = plots.squared_paper(4, 3, title="Region A (blue), region B (orange)")
    plots.draw_cells(ax, tensor(SMALL_MAP).float(), "Region A (blue), region B (orange)")
    plots.draw_box(ax, [0, 0, 3, 2], plots.BLUE, "A")
    plots.draw_box(ax, [1, 0, 4, 3], plots.ORANGE, "B", line="--")


GRADIENT_TABLE = Exercise(
    kind="complete the picture",
    name="gradient_table",
    number="06.7",
    title="Who gets the gradient?",
    stars=2,
    minutes=12,
    points=2,
    goals=(3,),
    core=True,
    text="""\
A map of 3 rows and 4 columns, and two regions in it, each pooled to 2 x 2 bins by RoI pooling (the largest cell):

| | | | |
|---|---|---|---|
| 7 | 2 | 9 | 4 |
| 1 | 8 | 3 | 6 |
| 5 | 0 | 12 | 10 |

Region A is columns 0 to 2 and rows 0 to 1, region B columns 1 to 3 and rows 0 to 2, ends included. The bins of A send
back the gradients 1, 2 (above) and 3, 4 (below), those of B 10, 20 and 30, 40.

Which gradient does each cell of the map get? Set `gradient_table` to three rows of four numbers.""",
    answer=[[1, 0, 32, 0], [0, 7, 0, 0], [0, 0, 70, 0]],
    stub="[..., ..., ...]",
    cases=_table_cases([[1, 0, 32, 0], [0, 7, 0, 0], [0, 0, 70, 0]]),
    impostors=(
        Impostor(
            "shared",
            "Only the largest cell of a bin gets its gradient; here all of its cells share it.",
            answer=[[0.5, 4, 8.5, 5], [1.5, 13.5, 27, 15], [0, 7.5, 17.5, 10]],
        ),
        Impostor(
            "last_one_wins",
            "A cell that won several bins gets the *sum* of their gradients.",
            answer=[[1, 0, 20, 0], [0, 4, 0, 0], [0, 0, 40, 0]],
        ),
        Impostor(
            "bins_without_overlap",
            "Three columns in two bins are columns 0, 1 and columns 1, 2: bins share a cell.",
            answer=[[1, 10, 22, 0], [3, 34, 0, 0], [0, 0, 40, 0]],
        ),
        Impostor(
            "counted",
            "That is how many bins each cell won; the bins send back 1, 2, 3, 4 and 10, 20, 30, 40.",
            answer=[[1, 0, 3, 0], [0, 2, 0, 0], [0, 0, 2, 0]],
        ),
        Impostor("a_only", "Region B sends its gradients back as well.", answer=[[1, 0, 2, 0], [0, 7, 0, 0], [0] * 4]),
        Impostor(
            "b_only", "Region A sends its gradients back as well.", answer=[[0, 0, 30, 0], [0] * 4, [0, 0, 70, 0]]
        ),
        Impostor(
            "twelve_wins_for_a",
            "Row 2 does not belong to region A: the 8 wins both of its lower bins.",
            answer=[[1, 0, 32, 0], [0, 3, 0, 0], [0, 0, 74, 0]],
        ),
    ),
    hints=(
        "Write down the cells of each of the eight bins first, four for each region.",
        "A: columns 0, 1 and 1, 2; rows 0 and 1. B: columns 1, 2 and 2, 3; rows 0, 1 and 1, 2. Circle the largest.",
        "In all 1 + 2 + 3 + 4 + 10 + 20 + 30 + 40 is sent, so the table has to sum up to 110, in four cells.",
    ),
    variants=(
        Variant(
            "other_gradients",
            """\
A map of 3 rows and 4 columns, and two regions in it, each pooled to 2 x 2 bins by RoI pooling (the largest cell):

| | | | |
|---|---|---|---|
| 7 | 2 | 9 | 4 |
| 1 | 8 | 3 | 6 |
| 5 | 0 | 12 | 10 |

Region A is columns 0 to 2 and rows 0 to 1, region B columns 1 to 3 and rows 0 to 2, ends included. The bins of A send
back the gradients 50, 60 (above) and 70, 80 (below), those of B 1, 2 and 3, 4.

Which gradient does each cell of the map get? Set `gradient_table` to three rows of four numbers.""",
            answer=[[50, 0, 63, 0], [0, 150, 0, 0], [0, 0, 7, 0]],
            cases=_table_cases([[50, 0, 63, 0], [0, 150, 0, 0], [0, 0, 7, 0]]),
            without=(
                "shared",
                "last_one_wins",
                "bins_without_overlap",
                "counted",
                "a_only",
                "b_only",
                "twelve_wins_for_a",
            ),
            impostors=(
                Impostor(
                    "last_one_wins",
                    "A cell that won several bins gets the *sum* of their gradients.",
                    answer=[[50, 0, 2, 0], [0, 80, 0, 0], [0, 0, 4, 0]],
                ),
                Impostor(
                    "a_only",
                    "Region B sends its gradients back as well.",
                    answer=[[50, 0, 60, 0], [0, 150, 0, 0], [0] * 4],
                ),
            ),
        ),
        Variant(
            "smallest",
            """\
A map of 3 rows and 4 columns, and two regions in it, each pooled to 2 x 2 bins as RoI pooling does it, but with the
**smallest** cell of each bin:

| | | | |
|---|---|---|---|
| 7 | 2 | 9 | 4 |
| 1 | 8 | 3 | 6 |
| 5 | 0 | 12 | 10 |

Region A is columns 0 to 2 and rows 0 to 1, region B columns 1 to 3 and rows 0 to 2, ends included. The bins of A send
back the gradients 1, 2 (above) and 3, 4 (below), those of B 10, 20 and 30, 40.

Which gradient does each cell of the map get? Set `gradient_table` to three rows of four numbers.""",
            answer=[[0, 13, 0, 0], [3, 0, 64, 0], [0, 30, 0, 0]],
            cases=_table_cases([[0, 13, 0, 0], [3, 0, 64, 0], [0, 30, 0, 0]]),
            without=(
                "shared",
                "last_one_wins",
                "bins_without_overlap",
                "counted",
                "a_only",
                "b_only",
                "twelve_wins_for_a",
            ),
            impostors=(
                Impostor(
                    "largest",
                    "Here the *smallest* cell of each bin wins.",
                    answer=[[1, 0, 32, 0], [0, 7, 0, 0], [0, 0, 70, 0]],
                ),
                Impostor(
                    "last_one_wins",
                    "A cell that won several bins gets the *sum* of their gradients.",
                    answer=[[0, 10, 0, 0], [3, 0, 40, 0], [0, 30, 0, 0]],
                ),
            ),
        ),
    ),
    draw=draw_map,
)

# --- 06.8 ------------------------------------------------------------------------------------------------------


def best_scale(regions, scales):
    """Which of S scales (R,) brings each region (R, 4) nearest to an area of 224 x 224 pixels."""
    area = (regions[:, 2:] - regions[:, :2]).prod(dim=1)  # (R,)
    areas = area[:, None] * torch.tensor(scales) ** 2  # (R, S)
    return (areas - 224**2).abs().argmin(dim=1)


def _squares(*sides: float) -> Tensor:
    return tensor([[10.0, 20, 10 + side, 20 + side] for side in sides])


BEST_SCALE = Exercise(
    kind="implement",
    reference=best_scale,
    number="06.8",
    title="The best size of the image",
    minutes=10,
    points=2,
    goals=(1, 5),
    core=False,
    text="""\
SPPNet runs the network at several sizes of the image and takes, for each region, the one that brings it nearest to the
size of the images that the network was trained on.

`best_scale(regions, scales)`: for each of `R` regions, shape `(R, 4)`, `xyxy` in pixels of the image as it is, the
**index** (whole number) of that scale at which the region's *area* in pixels comes nearest to 224 x 224; shape `(R,)`.
`scales` is a tuple of factors for width and height, such as (0.5, 1.0, 2.0), in any order. `R` may be 0.""",
    cases=(
        on_paper("squares of 224, 112 and 448", _squares(224, 112, 448), (0.5, 1.0, 2.0), gives=[1, 2, 0]),
        on_paper("squares of 140, 145 and 160", _squares(140, 145, 160), (1.0, 2.0), gives=[1, 0, 0]),
        on_paper("30 x 500", tensor([[0.0, 0, 30, 500]]), (0.5, 1.0, 2.0), gives=[2]),
        on_paper("500 x 30, and 30 x 500", tensor([[0.0, 0, 500, 30], [0, 0, 30, 500]]), (1.0, 2.0), gives=[1, 1]),
        on_paper("scales in another order", _squares(224, 112, 448), (2.0, 0.5, 1.0), gives=[2, 0, 1]),
        on_paper("a square of 145, scales in another order", _squares(145, 140), (2.0, 1.0), gives=[1, 0]),
        on_paper("a tiny one and a huge one", _squares(5, 2000), (0.5, 1.0, 2.0), gives=[2, 0]),
        edge("no regions", torch.zeros(0, 4), (1.0, 2.0), gives=[]),
        *at_random(
            lambda n, draw: (
                torch.cat([torch.zeros(n, 2), 30 + 400 * torch.rand(n, 2, generator=draw)], dim=1),
                (0.5, 1.0, 2.0, 1.5),
            )
        ),
    ),
    impostors=(
        Impostor(
            "by_side",
            "Nearest in *area*, not in side: between scales 2 and 1 the change comes at 142 pixels, not at 149.",
            change={"(areas - 224**2)": "(areas.sqrt() - 224)"},
        ),
        Impostor(
            "scale_not_squared",
            "A factor of 2 for width and height makes four times the area.",
            change={"torch.tensor(scales) ** 2": "torch.tensor(scales)"},
        ),
        Impostor(
            "longest_side",
            "The *area* counts: 30 x 500 is a small region, though it is long.",
            function=lambda regions, scales: (
                ((regions[:, 2:] - regions[:, :2]).amax(1)[:, None] * tensor(scales) - 224).abs().argmin(1)
            ),
        ),
        Impostor(
            "shortest_side",
            "The *area* counts, not the shorter side.",
            function=lambda regions, scales: (
                ((regions[:, 2:] - regions[:, :2]).amin(1)[:, None] * tensor(scales) - 224).abs().argmin(1)
            ),
        ),
        Impostor(
            "farthest", "That is the worst scale: nearest is the *smallest* difference.", change={"argmin": "argmax"}
        ),
        Impostor(
            "no_absolute_value",
            "Nearest from either side: take the absolute value of the difference.",
            change={".abs()": ""},
        ),
        Impostor(
            "first_large_enough",
            "Nearest, from above or from below; not the first scale that is large enough.",
            function=lambda regions, scales: (
                ((regions[:, 2:] - regions[:, :2]).prod(1)[:, None] * tensor(scales) ** 2 >= 224**2).int().argmax(1)
            ),
        ),
        Impostor(
            "to_224",
            "The area to reach is 224 x 224 pixels, not 224.",
            change={"224**2": "224"},
        ),
        Impostor(
            "sorted_scales",
            "The index counts in the order in which the scales were given.",
            change={"torch.tensor(scales)": "torch.tensor(sorted(scales))"},
        ),
        Impostor(
            "the_scale_itself",
            "",
            change={"return (areas": "return torch.tensor(scales)[(areas", "argmin(dim=1)": "argmin(dim=1)]"},
        ),
    ),
    hints=(
        "Make a table: for every region and every scale the area in pixels.",
        "At scale s the area is s * s times as large.",
        "`(area[:, None] * torch.tensor(scales) ** 2 - 224**2).abs().argmin(dim=1)`",
    ),
)

# --- 06.9 ------------------------------------------------------------------------------------------------------

BELOW_THE_PYRAMID = Exercise(
    kind="explain",
    name="below_the_pyramid",
    number="06.9",
    title="Below the pyramid",
    stars=2,
    minutes=10,
    points=2,
    goals=(5,),
    core=True,
    text="""\
The pooling of SPPNet has a gradient, and yet the convolutions below it are not trained. Why not? What does it cost with
deep networks? And what is Fast R-CNN's way out? (At most 100 words.)""",
    answer="""\
A mini-batch of SPPNet takes its 128 regions from many images, and the features of a region depend on a large part of
its image: nearly every example would need a whole image forward and back, with its maps kept in memory. So the features
stay those of ImageNet; with VGG16 that costs 66.9 against 61.4 points of mAP. Fast R-CNN takes many regions from few
images (64 from each of 2), which share the map, its computation and its memory.""",
    guide="""\
1 point: each mini-batch takes regions of many images, and each needs (nearly) a whole image forward and back. Half a
point: the features stay ImageNet's, or the numbers 66.9 and 61.4. Half a point: many regions from few images. Nothing
for "max pooling has no gradient".""",
    hints=(
        "It is not the gradient that is missing: you computed it yourself. What would it cost to use it?",
        "From how many images do the 128 regions of a batch come, and how much of an image does a region depend on?",
        "Lesson 06, the end of 'Beside R-CNN'.",
    ),
)

# --- 06.10 -----------------------------------------------------------------------------------------------------


def catch_roi_pool(pool):
    """True if `pool(features, regions, bins, stride)`, max pooling by Fast R-CNN's rules, is wrong."""
    digits = torch.tensor([[3.0, 1, 4, 1, 5, 9], [2, 6, 5, 3, 5, 8], [9, 7, 9, 3, 2, 3], [8, 4, 6, 2, 6, 4]])
    features = torch.stack([digits, -digits])[None]  # (1, 2, 4, 6)
    regions = torch.tensor(
        [
            [20.0, 14, 78, 50],  # columns 1 to 5, rows 1 to 3
            [34, 17, 38, 20],  # one cell: column 2, row 1
            [40, 24, 56, 40],  # halves: columns 3 and 4, rows 2 and 3
            [-80, 0, -34, 16],  # left of the map
            [64, 0, 128, 16],  # columns 4 to 8: half of it right of the map
            [0, 0, 80, 16],  # columns 0 to 5, rows 0 and 1: a row for each bin
        ]
    )
    expected = torch.tensor(
        [
            [[[9.0, 8], [9, 6]], [[-3, -2], [-2, -2]]],
            [[[5, 5], [5, 5]], [[-5, -5], [-5, -5]]],
            [[[3, 2], [2, 6]], [[-3, -2], [-2, -6]]],
            [[[0, 0], [0, 0]], [[0, 0], [0, 0]]],
            [[[9, 0], [8, 0]], [[-5, 0], [-5, 0]]],
            [[[4, 9], [6, 8]], [[-1, -1], [-2, -3]]],
        ]
    )
    answer = torch.as_tensor(pool(features, regions, 2, 16))
    return answer.shape != expected.shape or not torch.allclose(answer.float(), expected)


def pool_to_spoil(features, regions, bins, stride):
    """RoI pooling (R, C, bins, bins); the faulty ones of this exercise are made from it."""
    C = features.shape[1]
    pooled = torch.zeros(len(regions), C, bins, bins)
    for r, region in enumerate((regions / stride).tolist()):
        x1, y1, x2, y2 = (math.floor(value + 0.5) for value in region)
        wide, high = max(x2 - x1 + 1, 1) / bins, max(y2 - y1 + 1, 1) / bins
        for p in range(bins):
            for q in range(bins):
                top, bottom = y1 + math.floor(p * high), y1 + math.ceil((p + 1) * high)
                left, right = x1 + math.floor(q * wide), x1 + math.ceil((q + 1) * wide)
                top, left = max(top, 0), max(left, 0)
                bottom, right = max(bottom, 0), max(right, 0)
                cells = features[0, :, top:bottom, left:right].flatten(1)
                if cells.shape[1] > 0:
                    pooled[r, :, p, q] = cells.amax(dim=1)
    return pooled


def _spoilt(label: str, change: dict[str, str]) -> Case:
    return faulty(label, edited(pool_to_spoil, change, label))


def course_pool(features, regions, bins, stride):
    """The course's own."""
    return roi.roi_pool(features, [regions], bins, 1 / stride)


def torchvision_pool(features, regions, bins, stride):
    """Torchvision's."""
    return torchvision.ops.roi_pool(features, [regions], bins, 1 / stride)


CATCH_ROI_POOL = Exercise(
    kind="catch the mistake",
    reference=catch_roi_pool,
    number="06.10",
    title="Catch the mistake: RoI pooling",
    stars=3,
    minutes=25,
    points=3,
    goals=(2, 4),
    core=False,
    text="""\
Write the *test*. `catch_roi_pool(pool)` gets a function `pool(features, regions, bins, stride)` that should pool `R`
regions, shape `(R, 4)`, `xyxy` in pixels, of one map, shape `(1, C, H, W)`, to `bins` x `bins` values each, shape `(R,
C, bins, bins)`: the largest cell of each bin, by the rules of Fast R-CNN. Return `True` if it is wrong, else `False`.

It is tried on three right functions (the course's, torchvision's and a loop), which it must accept, and on eight faulty
ones.""",
    cases=(
        description.right("the course's", course_pool),
        description.right("torchvision's", torchvision_pool),
        description.right("a loop", pool_to_spoil),
        _spoilt("the map is not square", {"x1, y1, x2, y2 = (math": "y1, x1, y2, x2 = (math"}),
        _spoilt(
            "a region ends well above the bottom",
            {"wide, high = ": "y2 = max(y2, features.shape[2] - 1)\n        wide, high = "},
        ),
        _spoilt(
            "a region has few cells, so that the far one matters",
            {"max(x2 - x1 + 1, 1)": "max(x2 - x1, 0)", "max(y2 - y1 + 1, 1)": "max(y2 - y1, 0)"},
        ),
        _spoilt("an end lies exactly between two cells", {"math.floor(value + 0.5)": "round(value)"}),
        _spoilt(
            "the nearest cell is neither the one below nor the one above",
            {
                "(math.floor(value + 0.5) for value in region)": (
                    "(math.floor(region[0]), math.floor(region[1]), math.ceil(region[2]) - 1, math.ceil(region[3]) - 1)"
                )
            },
        ),
        _spoilt("a region lies left of the map", {"max(left, 0)": "left", "max(right, 0)": "right"}),
        _spoilt("bins do not come out even", {"math.ceil((p": "math.floor((p", "math.ceil((q": "math.floor((q"}),
        _spoilt("there is a second channel", {"cells.amax(dim=1)": "cells[0].amax()"}),
    ),
    impostors=(
        Impostor(
            "square_map",
            "A square map with one region in its middle, as in a published test, lets most mistakes pass.",
            function=lambda pool: (
                not torch.equal(
                    torch.as_tensor(pool(_square_map(), tensor([[16.0, 16, 47, 47]]), 2, 16)).float(),
                    torchvision_pool(_square_map(), tensor([[16.0, 16, 47, 47]]), 2, 16),
                )
            ),
        ),
        Impostor(
            "shape_only",
            "The shape alone says little: compare the numbers.",
            function=lambda pool: tuple(pool(PI[None, None], OURS[None], 2, 16).shape) != (1, 1, 2, 2),
        ),
        Impostor(
            "lesson_only",
            "The lesson's region alone is not enough: try tiny ones, ones outside the map, halves, and two channels.",
            function=lambda pool: pool(PI[None, None], OURS[None], 2, 16).flatten().tolist() != [9, 8, 9, 6],
        ),
        Impostor("accuses_all", "It calls every function wrong.", function=lambda pool: True),  # noqa: ARG005
    ),
    hints=(
        "Which mistakes does the lesson tell of? Each needs a region that shows it.",
        "A map that is not square, with two channels; a region of one cell, one left of the map, one that ends at a "
        "half, one that ends above the bottom.",
        "Work the numbers out by hand on the digits of pi, or compare with `torchvision.ops.roi_pool` on random maps.",
    ),
)


def _square_map() -> Tensor:
    """All the same along one diagonal, so that rows and columns may be exchanged."""
    line = torch.arange(6.0)
    return (line[:, None] + line)[None, None]


EXERCISES: tuple[Exercise, ...] = (
    CELLS_OF_A_REGION,
    BIN_EDGES,
    ROI_AVERAGE_POOL,
    ROI_AVERAGE_BACKWARD,
    BILINEAR,
    REGION_CELLS,
    GRADIENT_TABLE,
    BEST_SCALE,
    BELOW_THE_PYRAMID,
    CATCH_ROI_POOL,
)
