"""The exercises of lesson 08, anchors.

Letters: A anchors a cell, T anchors of an image, M objects.
"""

from typing import Any

import matplotlib.pyplot as plt
import torch
from torch import Tensor, tensor

from frcnn_lessons import boxes, plots
from frcnn_lessons.exercises.description import (
    Exercise,
    Impostor,
    Variant,
    at_random,
    edge,
    on_paper,
    parts,
)


def draw_sets(expected: Any, got: Any, title: str) -> None:
    """The first four boxes expected, in blue, and those that were given, in orange."""
    first, second = (tensor(numbers).float().reshape(-1, 4)[:4] for numbers in (expected, got))
    every = torch.cat([first, second])
    low, high = every[:, :2].amin(0).floor().clamp(max=0), every[:, 2:].amax(0).ceil()
    width, height = (high - low).int().tolist()
    ax = plots.squared_paper(width, height, title=title, square=min(0.42, 6 / max(width, height)))
    (left, top), (right, bottom) = low.int().tolist(), high.int().tolist()
    ax.set(xlim=(left - 0.5, right + 0.5), ylim=(bottom + 0.5, top - 0.5))
    step = 1 + max(width, height) // 25
    ax.set(xticks=range(left, right + 1, step), yticks=range(top, bottom + 1, step))
    for number, box in enumerate(first):
        plots.draw_box(ax, box, plots.BLUE, f"{number}", fill=0.08)
    for number, box in enumerate(second):
        plots.draw_box(ax, box, plots.ORANGE, f"{number}", line="--")


def draw_anchors(_inputs: tuple[Any, ...], expected: Any, got: Any) -> None:
    """Anchors side by side with those that should be there."""
    draw_sets(expected.tolist(), torch.as_tensor(got).tolist(), "The first four: expected (blue), yours (orange)")


# --- 08.1 ------------------------------------------------------------------------------------------------------


def anchors_by_width(rows, columns, stride, sizes, ratios):
    """Anchors (rows * columns * A, 4), xyxy; ratio = width / height, sizes outside, ratios inside."""
    found = []
    for row in range(rows):
        for column in range(columns):
            x, y = (column + 0.5) * stride, (row + 0.5) * stride
            for size in sizes:
                for ratio in ratios:
                    w, h = size * ratio**0.5, size / ratio**0.5
                    found.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    return torch.tensor(found)


def _a_grid(count: int, draw: torch.Generator) -> tuple[Any, ...]:
    """A small map with strides, sizes and ratios that are never alike."""
    rows, columns, shapes = 1 + count % 5, 2 + count % 3, 1 + count % 4
    sizes = (8 + 60 * torch.rand(shapes, generator=draw)).tolist()
    ratios = (0.3 + 3 * torch.rand(1 + (count + 1) % 3, generator=draw)).tolist()
    return rows, columns, (8, 16, 4)[count % 3], tuple(sizes), tuple(ratios)


SHAPES = """
            for size in sizes:
                for ratio in ratios:"""

ANCHORS_BY_WIDTH = Exercise(
    kind="implement",
    reference=anchors_by_width,
    number="08.1",
    title="Anchors, by width",
    stars=2,
    minutes=20,
    points=3,
    goals=(1,),
    core=True,
    text="""\
The lesson's anchors in the convention of another program. `anchors_by_width(rows, columns, stride, sizes, ratios)`
makes the anchors of a map of `rows` x `columns` cells, `xyxy` in pixels of the image, shape `(rows * columns * A, 4)`:

- an anchor of size $s$ and ratio $r$ has the area $s^2$, and its ratio is **width / height**;
- it is centred on the middle of its cell; a cell is `stride` pixels wide and high;
- cells go row by row; within a cell **sizes are outside and ratios inside**: all ratios of the first size, then all
  ratios of the second, ...

There is at least one cell, one size and one ratio. Loops are welcome. Do it without `frcnn_lessons.anchors`.""",
    cases=(
        on_paper("one cell, a square", 1, 1, 8, (16,), (1,), gives=[[-4, -4, 12, 12]]),
        on_paper("one cell, ratio 4", 1, 1, 8, (16,), (4,), gives=[[-12, 0, 20, 8]]),
        on_paper("one cell, ratio 1/4", 1, 1, 8, (16,), (0.25,), gives=[[0, -12, 8, 20]]),
        on_paper(
            "one cell, ratio 2: nothing is rounded",
            *(1, 1, 8, (16,), (2,)),
            gives=[[4 - 8 * 2**0.5, 4 - 4 * 2**0.5, 4 + 8 * 2**0.5, 4 + 4 * 2**0.5]],
        ),
        on_paper("one row of two cells", 1, 2, 8, (8,), (1,), gives=[[0, 0, 8, 8], [8, 0, 16, 8]]),
        on_paper("two rows of one cell", 2, 1, 8, (8,), (1,), gives=[[0, 0, 8, 8], [0, 8, 8, 16]]),
        on_paper(
            "two rows of two cells",
            2,
            2,
            8,
            (8,),
            (1,),
            gives=[[0, 0, 8, 8], [8, 0, 16, 8], [0, 8, 8, 16], [8, 8, 16, 16]],
        ),
        on_paper("stride 16", 1, 2, 16, (8,), (1,), gives=[[4, 4, 12, 12], [20, 4, 28, 12]]),
        on_paper(
            "two sizes, two ratios",
            1,
            1,
            8,
            (8, 16),
            (1, 4),
            gives=[[0, 0, 8, 8], [-4, 2, 12, 6], [-4, -4, 12, 12], [-12, 0, 20, 8]],
        ),
        on_paper(
            "two cells, two sizes",
            1,
            2,
            8,
            (8, 16),
            (1,),
            gives=[[0, 0, 8, 8], [-4, -4, 12, 12], [8, 0, 16, 8], [4, -4, 20, 12]],
        ),
        *at_random(_a_grid),
    ),
    impostors=(
        Impostor(
            "height_over_width",
            "A ratio of 4 must lie, and it stands: the ratio here is width / height.",
            change={"size * ratio**0.5, size / ratio**0.5": "size / ratio**0.5, size * ratio**0.5"},
        ),
        Impostor(
            "area_grows",
            "The area must stay size²: w is 4 times as large there, so the box covers 4 times as much.",
            change={"size * ratio**0.5, size / ratio**0.5": "size * ratio, size"},
        ),
        Impostor(
            "ratio_without_root",
            "w / h comes out as the ratio squared: each side takes the *root* of it.",
            change={"size * ratio**0.5, size / ratio**0.5": "size * ratio, size / ratio"},
        ),
        Impostor(
            "at_corners",
            "The centres are at 0, 8, ...: the middle of the first cell is at half a stride.",
            change={"(column + 0.5) * stride, (row + 0.5) * stride": "column * stride, row * stride"},
        ),
        Impostor(
            "stride_in_cells",
            "The centres are at 0.5, 1.5, ...: those are cells, and pixels are asked for.",
            change={"(column + 0.5) * stride, (row + 0.5) * stride": "column + 0.5, row + 0.5"},
        ),
        Impostor(
            "columns_first",
            "The second cell came out *below* the first: cells go row by row, as one reads.",
            change={
                "for row in range(rows):": "for column in range(columns):",
                "        for column in range(columns):\n            x": (
                    "        for row in range(rows):\n            x"
                ),
            },
        ),
        Impostor(
            "x_from_row",
            "x and y are exchanged: a row lies at one *y*, and x grows from column to column.",
            change={"(column + 0.5) * stride, (row + 0.5) * stride": "(row + 0.5) * stride, (column + 0.5) * stride"},
        ),
        Impostor(
            "ratios_outside",
            "All the right boxes, in the lesson's order; here sizes are outside and ratios inside.",
            change={SHAPES: "\n            for ratio in ratios:\n                for size in sizes:"},
        ),
        Impostor(
            "cells_inside",
            "Each shape went through all cells; all shapes of the first cell come first, then those of the second.",
            function=lambda rows, columns, stride, sizes, ratios: torch.cat(
                [anchors_by_width(rows, columns, stride, (size,), (ratio,)) for size in sizes for ratio in ratios]
            ),
        ),
        Impostor(
            "half_forgotten",
            "The boxes are twice as wide and high: half of it lies on each side of the centre.",
            change={"w / 2": "w", "h / 2": "h"},
        ),
        Impostor(
            "as_xywh",
            "The last two numbers are width and height; they should be the far corner.",
            change={"x + w / 2, y + h / 2]": "w, h]"},
        ),
        Impostor(
            "as_cxcywh",
            "These are centre and size; the two corners were asked for.",
            change={"[x - w / 2, y - h / 2, x + w / 2, y + h / 2]": "[x, y, w, h]"},
        ),
    ),
    hints=(
        "Work out one anchor by hand: area 256, four times as wide as high. How wide, how high?",
        "w times h is s², and w over h is r. Then four loops: rows, columns, sizes, ratios.",
        "`w, h = size * ratio**0.5, size / ratio**0.5`, around `x, y = (column + 0.5) * stride, (row + 0.5) * stride`.",
    ),
    forbidden=("frcnn_lessons.anchors",),
    variants=(
        Variant(
            "by_height",
            """\
The lesson's anchors, written by you. `anchors_by_width(rows, columns, stride, sizes, ratios)`, in spite of its name,
makes the anchors of a map of `rows` x `columns` cells, `xyxy` in pixels of the image, shape `(rows * columns * A, 4)`:

- an anchor of size $s$ and ratio $r$ has the area $s^2$, and its ratio is **height / width**;
- it is centred on the middle of its cell; a cell is `stride` pixels wide and high;
- cells go row by row; within a cell **ratios are outside and sizes inside**.

There is at least one cell, one size and one ratio. Do it without `frcnn_lessons.anchors`.""",
            change={
                "ratio = width / height, sizes outside, ratios inside": "ratio = height / width, ratios outside",
                "size * ratio**0.5, size / ratio**0.5": "size / ratio**0.5, size * ratio**0.5",
                SHAPES: "\n            for ratio in ratios:\n                for size in sizes:",
            },
            gives={"one cell, ratio 4": [[0, -12, 8, 20]]},
            without=(
                "height_over_width",
                "area_grows",
                "ratio_without_root",
                "ratios_outside",
                "cells_inside",
            ),
            impostors=(
                Impostor(
                    "width_over_height",
                    "A ratio of 4 must stand, and it lies: the ratio here is height / width.",
                    change={"size / ratio**0.5, size * ratio**0.5": "size * ratio**0.5, size / ratio**0.5"},
                ),
                Impostor(
                    "sizes_outside",
                    "All the right boxes in another order: ratios are outside and sizes inside.",
                    change={"for ratio in ratios:\n                for size in sizes:": SHAPES.strip()},
                ),
            ),
        ),
        Variant(
            "from_the_corner",
            """\
The lesson's anchors in the convention of another program. `anchors_by_width(rows, columns, stride, sizes, ratios)`
makes the anchors of a map of `rows` x `columns` cells, `xyxy` in pixels of the image, shape `(rows * columns * A, 4)`:

- an anchor of size $s$ and ratio $r$ has the area $s^2$, and its ratio is **width / height**;
- it is centred on the **upper left corner** of its cell; a cell is `stride` pixels wide and high;
- cells go row by row; within a cell **sizes are outside and ratios inside**.

There is at least one cell, one size and one ratio. Do it without `frcnn_lessons.anchors`.""",
            change={"(column + 0.5) * stride, (row + 0.5) * stride": "column * stride, row * stride"},
            gives={"one cell, a square": [[-8, -8, 8, 8]], "one cell, ratio 4": [[-16, -4, 16, 4]]},
            without=("at_corners", "stride_in_cells", "x_from_row", "cells_inside"),
            impostors=(
                Impostor(
                    "in_the_middle",
                    "The first anchor is centred on (0, 0) here, the corner of its cell, not its middle.",
                    change={"column * stride, row * stride": "(column + 0.5) * stride, (row + 0.5) * stride"},
                ),
            ),
        ),
    ),
    draw=draw_anchors,
)

# --- 08.2 ------------------------------------------------------------------------------------------------------

WHICH_OUTPUT = Exercise(
    kind="predict",
    name="which_output",
    number="08.2",
    title="Which output?",
    minutes=8,
    points=1,
    goals=(1, 2),
    core=True,
    text="""\
A map has 6 rows and 9 columns, and 8 anchors a cell; the order is that of the lesson, and all is counted from 0.

- To which row, column and anchor does output 347 belong?
- Which channel of the box layer is the $dh$ of this anchor?
- Which output is anchor 0 of the last cell?

Set `which_output` to the five numbers: row, column, anchor, channel, output.""",
    answer=(4, 7, 3, 15, 424),
    stub="(..., ..., ..., ..., ...)",
    cases=parts("the row", "the column", "the anchor", "the channel of dh", "the output of the last cell"),
    impostors=(
        Impostor("columns_first", "Cells go row by row: divide by the number of columns.", answer=(7, 4, 3, 15, 424)),
        Impostor(
            "cells_first",
            "First divide by the *anchors* of a cell; what is left over is the anchor.",
            answer=(4, 2, 6, 27, 424),
        ),
        Impostor(
            "anchors_outside",
            "All anchors of a cell stand together; they do not go through the map one by one.",
            answer=(2, 5, 6, 27, 53),
        ),
        Impostor(
            "from_one",
            "Everything is counted from 0, the first row and the first anchor too.",
            answer=(5, 8, 4, 20, 425),
        ),
        Impostor(
            "deltas_outside",
            "Channels are anchor by anchor: 4a + d, not 8d + a.",
            answer=(4, 7, 3, 27, 424),
        ),
        Impostor(
            "last_output",
            "That is the last *anchor* of the last cell; its anchor 0 comes seven outputs before.",
            answer=(4, 7, 3, 15, 431),
        ),
        Impostor("all_of_them", "432 outputs are there in all, so none has this number.", answer=(4, 7, 3, 15, 432)),
    ),
    hints=(
        "How many outputs does one cell have? How many whole cells come before output 347?",
        "`divmod(347, 8)` gives the number of the cell and the anchor; `divmod` again gives row and column.",
        "43 whole cells come before it, 4 whole rows of nine and some more; channel 4a + d, with d = 3 for dh.",
    ),
    variants=(
        Variant(
            "wide",
            """\
A map has 5 rows and 12 columns, and 9 anchors a cell; the order is that of the lesson, and all is counted from 0.

- To which row, column and anchor does output 400 belong?
- Which channel of the box layer is the $dw$ of this anchor?
- Which output is anchor 0 of the last cell?

Set `which_output` to the five numbers: row, column, anchor, channel, output.""",
            answer=(3, 8, 4, 18, 531),
            without=(
                "columns_first",
                "cells_first",
                "anchors_outside",
                "from_one",
                "deltas_outside",
                "last_output",
                "all_of_them",
            ),
            impostors=(
                Impostor(
                    "columns_first", "Cells go row by row: divide by the number of columns.", answer=(8, 4, 4, 18, 531)
                ),
                Impostor(
                    "deltas_outside", "Channels are anchor by anchor: 4a + d, not 9d + a.", answer=(3, 8, 4, 22, 531)
                ),
            ),
        ),
        Variant(
            "narrow",
            """\
A map has 7 rows and 4 columns, and 6 anchors a cell; the order is that of the lesson, and all is counted from 0.

- To which row, column and anchor does output 112 belong?
- Which channel of the box layer is the $dy$ of this anchor?
- Which output is anchor 0 of the last cell?

Set `which_output` to the five numbers: row, column, anchor, channel, output.""",
            answer=(4, 2, 4, 17, 162),
            without=(
                "columns_first",
                "cells_first",
                "anchors_outside",
                "from_one",
                "deltas_outside",
                "last_output",
                "all_of_them",
            ),
            impostors=(
                Impostor("by_rows", "18 cells come before: rows have 4 cells each, not 7.", answer=(2, 4, 4, 17, 162)),
                Impostor(
                    "deltas_outside", "Channels are anchor by anchor: 4a + d, not 6d + a.", answer=(4, 2, 4, 10, 162)
                ),
            ),
        ),
    ),
)

# --- 08.3 ------------------------------------------------------------------------------------------------------


def grid_row_by_row(base, rows, columns, stride):
    """Anchors (rows * columns * A, 4), xyxy, of base shapes (A, 4), in the order of the network's outputs."""
    x = (torch.arange(columns) + 0.5) * stride  # (columns,)
    y = (torch.arange(rows) + 0.5) * stride  # (rows,)
    y, x = torch.meshgrid(y, x, indexing="ij")
    centres = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4)  # (cells, 1, 4)
    return (centres + base).reshape(-1, 4)


UNIT = tensor([[-4.0, -4, 4, 4]])
PAIR = tensor([[-4.0, -4, 4, 4], [-8, -2, 8, 2]])

GRID_ROW_BY_ROW = Exercise(
    kind="find the bug",
    reference=grid_row_by_row,
    given="as_given",
    number="08.3",
    title="Anchors column by column",
    stars=2,
    minutes=12,
    points=3,
    goals=(1,),
    core=True,
    text="""\
"I drew all anchors, and every one is where it should be. I counted them, and the number is right. But the network
finds the car on the right of the road at the *bottom* of the picture." Find the mistake and correct it.

`grid_row_by_row(base, rows, columns, stride)` puts the `A` shapes `base`, shape `(A, 4)`, around the middle of each
cell, in the order in which a convolution's outputs are read: row by row, in a row cell by cell, in a cell shape by
shape. It returns shape `(rows * columns * A, 4)`. Do it without `frcnn_lessons.anchors`.""",
    cases=(
        on_paper("one row of two cells", UNIT, 1, 2, 8, gives=[[0, 0, 8, 8], [8, 0, 16, 8]]),
        on_paper(
            "two rows of two cells", UNIT, 2, 2, 8, gives=[[0, 0, 8, 8], [8, 0, 16, 8], [0, 8, 8, 16], [8, 8, 16, 16]]
        ),
        on_paper(
            "two rows of three cells",
            UNIT,
            2,
            3,
            8,
            gives=[[0, 0, 8, 8], [8, 0, 16, 8], [16, 0, 24, 8], [0, 8, 8, 16], [8, 8, 16, 16], [16, 8, 24, 16]],
        ),
        on_paper(
            "one row of two cells, two shapes",
            PAIR,
            1,
            2,
            8,
            gives=[[0, 0, 8, 8], [-4, 2, 12, 6], [8, 0, 16, 8], [4, 2, 20, 6]],
        ),
        on_paper("two rows of one cell", UNIT, 2, 1, 16, gives=[[4, 4, 12, 12], [4, 20, 12, 28]]),
        *at_random(
            lambda n, draw: (10 * torch.randn(1 + n % 4, 4, generator=draw), 1 + n % 6, 2 + n % 4, (8, 16)[n % 2]),
        ),
    ),
    impostors=(
        Impostor(
            "as_given",
            "The second cell lies *below* the first: cells were listed column by column.",
            change={
                "y, x = torch.meshgrid(y, x, ": "x, y = torch.meshgrid(x, y, ",
            },
        ),
        Impostor(
            "axes_exchanged",
            "Now x and y are exchanged: for a map that is not square, anchors lie outside of the picture.",
            change={
                "y, x = torch.meshgrid(y, x, ": "x, y = torch.meshgrid(x, y, ",
                "[x, y, x, y]": "[y, x, y, x]",
            },
        ),
        Impostor(
            "counts_exchanged",
            "Rows and columns are exchanged where they are counted: x runs over the columns.",
            change={
                "y, x = torch.meshgrid(y, x, ": "x, y = torch.meshgrid(x, y, ",
                "arange(columns)": "arange(rows) ",
                "arange(rows) + 0.5) * stride  # (rows": "arange(columns) + 0.5) * stride  # (rows",
            },
        ),
        Impostor(
            "shapes_outside",
            "Each shape now goes through all cells; all shapes of a cell belong together.",
            change={"(centres + base)": "(centres.reshape(1, -1, 4) + base[:, None])"},
        ),
        Impostor(
            "at_corners",
            "The anchors were centred right: on the middle of the cell, half a stride from its corner.",
            change={"+ 0.5": "+ 0.0"},
        ),
    ),
    hints=(
        "Print the first three anchors of a map with two rows and three columns.",
        "Which index of what `torch.meshgrid` returns is the row? `reshape` lets the *last* index run fastest.",
        "The first axis must be the row: hand y to `meshgrid` first, `y, x = torch.meshgrid(y, x, indexing='ij')`.",
    ),
    forbidden=("frcnn_lessons.anchors",),
    draw=draw_anchors,
)

# --- 08.4 ------------------------------------------------------------------------------------------------------


def foreground_anchors(iou, per_cell, threshold=0.7):
    """Which of T anchors are foreground (T,), by their IoU (T, M) with M objects; per_cell anchors stand in a place."""
    is_high = (iou >= threshold).any(dim=1)
    best = iou.amax(dim=0, keepdim=True)  # (1, M): of each object
    is_best = ((iou == best) & (best > 0)).any(dim=1)
    return is_high | is_best


def column(*numbers: float) -> Tensor:
    """(T, 1): the IoU of T anchors with one object."""
    return tensor(numbers)[:, None]


def _some_iou(count: int, draw: torch.Generator) -> tuple[Tensor, int, float]:
    # Eighths, so that some are equal, some are 0 and some are at the threshold.
    return (torch.rand(3 * (1 + count), count % 4, generator=draw) ** 2 * 8).floor() / 8, 3, 0.75


FOREGROUND_ANCHORS = Exercise(
    kind="find the bug",
    reference=foreground_anchors,
    given="as_given",
    number="08.4",
    title="The best anchor of a place",
    stars=2,
    minutes=15,
    points=3,
    goals=(3,),
    core=True,
    text="""\
A published walk-through says: "of the nine anchors of a place, the best one, if its IoU is at least 0.3". It was
written down faithfully, and now small cars are never learned, while along a bus dozens of poor anchors count as
objects. Correct it to what the paper means.

`foreground_anchors(iou, per_cell, threshold=0.7)` gets the IoU of `T` anchors with `M` objects, shape `(T, M)`; each
`per_cell` rows are the anchors of one place. It returns which anchors are objects, shape `(T,)`, `True` or `False`:
those with an IoU of at least `threshold` with *some* object, and those than which no anchor **of the whole picture**
has a higher IoU with some object (ties included), however low that is, if they touch it at all. `M` may be 0. You may
find that you no longer need all of the inputs. Do it without `frcnn_lessons.sampling` and `frcnn_lessons.rpn`.""",
    cases=(
        on_paper("a small car", column(0.25, 0.1, 0.2, 0.05), 2, gives=[True, False, False, False]),
        on_paper(
            "a bus over three places",
            column(0.8, 0.1, 0.5, 0.4, 0.35, 0.1),
            2,
            gives=[True, False, False, False, False, False],
        ),
        on_paper("two that are equally good", column(0.5, 0, 0.5, 0.2), 2, gives=[True, False, True, False]),
        on_paper(
            "an object that nothing touches",
            tensor([[0.8, 0], [0.1, 0], [0.2, 0], [0, 0]]),
            2,
            gives=[True, False, False, False],
        ),
        on_paper("at the threshold of 0.5", column(0.9, 0.5, 0.4, 0.6), 2, 0.5, gives=[True, True, False, True]),
        on_paper(
            "two objects",
            tensor([[0.6, 0.2], [0.3, 0.5], [0.2, 0.65], [0.1, 0.4]]),
            2,
            gives=[True, False, True, False],
        ),
        on_paper(
            "two objects that want the same anchor",
            tensor([[0.6, 0.4], [0.3, 0.35], [0.2, 0.1], [0.1, 0.3]]),
            2,
            gives=[True, False, False, False],
        ),
        on_paper("nothing touches the only object", column(0, 0, 0, 0), 2, gives=[False] * 4),
        edge("no objects", torch.zeros(4, 0), 2, gives=[False] * 4),
        *at_random(_some_iou),
    ),
    impostors=(
        Impostor(
            "as_given",
            "The best for an *object* is looked for among all anchors, not the best of each place.",
            change={
                "best = iou.amax(dim=0, keepdim=True)  # (1, M): of each object": (
                    "iou = iou.unflatten(0, (-1, per_cell))  # (places, per_cell, M)\n"
                    "    best = iou.amax(dim=1, keepdim=True)  # (places, 1, M)"
                ),
                "(best > 0)).any(dim=1)": "(best >= 0.3)).any(dim=2).flatten()",
            },
        ),
        Impostor(
            "still_from_03",
            "The best for an object counts *however low* it is: a small car's best anchor may have 0.25.",
            change={"(best > 0)": "(best >= 0.3)"},
        ),
        Impostor(
            "place_without_limit",
            "Without the 0.3, still the best of each *place*: look over all anchors.",
            change={
                "best = iou.amax(dim=0, keepdim=True)  # (1, M): of each object": (
                    "iou = iou.unflatten(0, (-1, per_cell))\n    best = iou.amax(dim=1, keepdim=True)"
                ),
                "(best > 0)).any(dim=1)": "(best > 0)).any(dim=2).flatten()",
            },
        ),
        Impostor(
            "first_of_ties",
            "Two anchors share the best IoU: both are objects.",
            change={
                "is_best = ((iou == best) & (best > 0)).any(dim=1)": (
                    "is_best = torch.zeros(len(iou), dtype=torch.bool)\n"
                    "    is_best[iou.argmax(dim=0)[best[0] > 0]] = True"
                )
            },
        ),
        Impostor(
            "zero_wins",
            "An object that nothing touches has a best IoU of 0, and so has everybody else.",
            change={" & (best > 0)": ""},
        ),
        Impostor(
            "only_the_best",
            "All anchors from the threshold on are objects as well, not only the best.",
            change={"is_high | is_best": "is_best"},
        ),
        Impostor(
            "only_high",
            "Without the rule of the best, nobody learns an object whose anchors are all poor.",
            change={"is_high | is_best": "is_high"},
        ),
        Impostor(
            "best_of_anchor",
            "That asks for each *anchor* which object it likes best; ask for each object.",
            change={
                "amax(dim=0, keepdim=True)  # (1, M)": "amax(dim=1, keepdim=True) if iou.shape[1] else iou  # (T, 1)"
            },
        ),
        Impostor(
            "one_for_all",
            "Each object has a best anchor of its own; here one was chosen for the whole picture.",
            change={"iou.amax(dim=0, keepdim=True)": "iou.max() if iou.numel() else tensor(0)"},
        ),
        Impostor("above", "An IoU of exactly the threshold counts.", change={"iou >= threshold": "iou > threshold"}),
    ),
    hints=(
        "For one object and two places, whose maximum is taken in the code as given?",
        "`iou.amax(dim=0)` is the best IoU of each object. Which anchors have it?",
        "`((iou == iou.amax(dim=0)) & (iou > 0)).any(dim=1)`, or the high ones.",
    ),
    forbidden=("frcnn_lessons.sampling", "frcnn_lessons.rpn"),
)

# --- 08.5 ------------------------------------------------------------------------------------------------------

# Width and height of every second vehicle in the first forty training pictures of the streets.
VEHICLES = (
    *((193, 86), (97, 44), (166, 65), (114, 64), (152, 61), (66, 52), (181, 97), (191, 76), (68, 31), (80, 36)),
    *((119, 66), (26, 23), (35, 20), (63, 34), (165, 66), (168, 148), (146, 67), (92, 37), (64, 36), (67, 32)),
    *((90, 50), (123, 57), (67, 28), (79, 35), (70, 31), (159, 84), (54, 25), (44, 23), (89, 35), (64, 25)),
    *((135, 96), (136, 61), (58, 44), (158, 72), (102, 41), (70, 32), (61, 26), (40, 22), (48, 23)),
)
STANDING = tuple((height, width) for width, height in VEHICLES)
TWICE_AS_LARGE = tuple((2 * width, 2 * height) for width, height in VEHICLES)


def _shapes(value: Any) -> Tensor:
    """Width and height of each anchor of an answer, (A, 2)."""
    sizes, ratios = (tensor(value[name]).float().flatten() for name in ("sizes", "ratios"))
    return torch.stack([sizes / ratios[:, None].sqrt(), sizes * ratios[:, None].sqrt()], dim=2).reshape(-1, 2)


def _best_iou(value: Any, things: Any) -> Tensor:
    """Of each thing the IoU with the best anchor that has the same centre."""
    wanted, shapes = tensor(things).float()[:, None], _shapes(value)  # (N, 1, 2), (A, 2)
    shared = torch.minimum(wanted, shapes).prod(dim=2)  # (N, A)
    return (shared / (wanted.prod(dim=2) + shapes.prod(dim=1) - shared)).amax(dim=1)


def _share(value: Any, things: Any, iou: float, enough: float) -> float:
    """Which share has an anchor from this IoU on, cut off at what is enough."""
    return min((_best_iou(value, things) >= iou).float().mean().item(), enough)


def _covering(things: Any) -> tuple[Any, ...]:
    return (
        on_paper(
            "the number of anchors (6 at most)",
            things,
            gives=6,
            experiment=lambda value, _things: max(len(_shapes(value())), 6),
        ),
        on_paper(
            "the share with an anchor of IoU 0.5 or more (0.95 is enough)",
            things,
            gives=0.95,
            experiment=lambda value, things: _share(value(), things, 0.5, 0.95),
        ),
        on_paper(
            "the share with an anchor of IoU 0.7 or more (0.6 is enough)",
            things,
            gives=0.6,
            experiment=lambda value, things: _share(value(), things, 0.7, 0.6),
        ),
    )


def draw_cover(inputs: tuple[Any, ...], _expected: Any, _got: Any) -> None:
    """The cloud of what there is to find, by how well it is covered, and the anchors that were chosen."""
    value, things = inputs
    iou, cloud = _best_iou(value, things), tensor(things)
    _, ax = plt.subplots(figsize=(6.4, 4))
    poor, fair, good = iou < 0.5, (iou >= 0.5) & (iou < 0.7), iou >= 0.7
    kinds = [
        (good, "0.7 or more", plots.BLUE, "o"),
        (fair, "0.5 to 0.7", plots.SKY, "s"),
        (poor, "below 0.5", plots.RED, "^"),
    ]
    for chosen, what, colour, marker in kinds:
        label = f"{int(chosen.sum())} with IoU {what}"
        ax.scatter(cloud[chosen, 0], cloud[chosen, 1], s=22, color=colour, marker=marker, label=label)
    shapes = _shapes(value)
    ax.scatter(shapes[:, 0], shapes[:, 1], s=110, marker="+", color="black", label="your anchors")
    ax.set(xlabel="width (pixels)", ylabel="height (pixels)", title="What there is to find, and your anchors")
    ax.set(xlim=(0, None), ylim=(0, None))
    ax.legend(fontsize=8)


COVER_TEXT = """\
{what}, as width and height in pixels, are in `VEHICLES` (the cell at the top of this notebook). A map of stride 8 lies
over the pictures. Choose anchors, at most **six**, by `sizes` and `ratios` (height / width), each ratio in each size,
so that, if an anchor stood with its centre on that of the {thing}:

- at least 95 % of them have an anchor with an IoU of 0.5 or more, and
- at least 60 % have one with an IoU of 0.7 or more.

Draw the cloud before you choose. There are many right answers."""

COVER_THE_DATA = Exercise(
    kind="complete the picture",
    name="cover_the_data",
    number="08.5",
    title="Cover the data",
    stars=2,
    minutes=15,
    points=2,
    goals=(4,),
    core=True,
    text=COVER_TEXT.format(what="39 vehicles of the training streets", thing="vehicle"),
    answer={"sizes": (30, 45, 65, 90, 120), "ratios": (0.45,)},
    stub='{"sizes": ..., "ratios": ...}',
    cases=_covering(VEHICLES),
    impostors=(
        Impostor(
            "the_papers",
            "The paper's smallest anchor is larger than most of these vehicles, and nine are too many.",
            answer={"sizes": (128, 256, 512), "ratios": (0.5, 1, 2)},
        ),
        Impostor(
            "standing",
            "These anchors stand, and vehicles lie: the ratio is height / width.",
            answer={"sizes": (30, 60, 120), "ratios": (2.0,)},
        ),
        Impostor(
            "the_lessons",
            "The lesson's eight cover them, but six are allowed.",
            answer={"sizes": (24, 48, 80, 128), "ratios": (0.4, 0.75)},
        ),
        Impostor(
            "squares",
            "Squares reach IoU 0.7 with hardly any: look at height / width of the cloud.",
            answer={"sizes": (25, 40, 60, 80, 100, 130), "ratios": (1,)},
        ),
    ),
    hints=(
        "Which height / width do most of them have? How far is it from the smallest to the largest?",
        "Most are near 0.45, so a single ratio will do; sizes are roots of areas, from 25 to 125.",
        "One ratio and five or six sizes, each about 1.4 times the one before: an IoU of 0.7 forgives that much.",
    ),
    variants=(
        Variant(
            "standing",
            COVER_TEXT.format(what="39 persons", thing="person").replace("`VEHICLES`", "`STANDING`"),
            answer={"sizes": (30, 45, 65, 90, 120), "ratios": (2.2,)},
            cases=_covering(STANDING),
            without=("standing", "the_lessons", "squares"),
            impostors=(
                Impostor(
                    "lying",
                    "These anchors lie, and persons stand: the ratio is height / width.",
                    answer={"sizes": (30, 45, 65, 90, 120), "ratios": (0.45,)},
                ),
            ),
        ),
        Variant(
            "twice_as_large",
            COVER_TEXT.format(what="39 vehicles on pictures twice as large", thing="vehicle").replace(
                "`VEHICLES`", "`TWICE_AS_LARGE`"
            ),
            answer={"sizes": (60, 90, 130, 180, 240), "ratios": (0.45,)},
            cases=_covering(TWICE_AS_LARGE),
            without=("the_papers", "standing", "the_lessons", "squares"),
            impostors=(
                Impostor(
                    "half_the_size",
                    "Sizes are roots of areas: a vehicle twice as wide *and* high needs twice the size.",
                    answer={"sizes": (30, 45, 65, 90, 120), "ratios": (0.45,)},
                ),
                Impostor(
                    "area_times_two",
                    "Twice as wide and twice as high is four times the area, so twice the size.",
                    answer={"sizes": (42, 64, 92, 127, 170), "ratios": (0.45,)},
                ),
            ),
        ),
    ),
    draw=draw_cover,
)

# --- 08.6 ------------------------------------------------------------------------------------------------------

NINE_ANSWERS = Exercise(
    kind="explain",
    name="nine_answers",
    number="08.6",
    title="One window, nine answers",
    stars=2,
    minutes=10,
    points=2,
    goals=(2,),
    core=True,
    text="""\
"The window is 3 x 3 cells, 48 pixels wide. How can it score a box of 512? And how does output 4 know that it is about
a square of 256?" Answer both questions (at most 120 words).""",
    answer="""\
A cell has seen far more than its own 16 pixels, because every convolution before it looked at its neighbours: with
VGG16 the window sees 228 pixels. Beyond that the network guesses the whole from its middle. And output 4 does not know.
It is one set of weights out of nine that read the same 512 numbers. In training it is compared with what the square of
256 should have said, and its deltas are decoded with that square: the shape is in targets and decoding only.""",
    guide="""\
1 point: a cell sees more than its 16 pixels (the receptive field, 228 pixels with VGG16), and must guess beyond it.
1 point: it does not know; its weights are compared with that anchor's targets, and decoded with that anchor. Half a
point for "it was trained so" without saying with what.""",
    hints=(
        "What has a cell of the map already looked at?",
        "Where in the program does the shape of an anchor appear at all?",
        "Lesson 08, 'But the window is so small' and the sentence in bold under the picture of the window.",
    ),
)

# --- 08.7 ------------------------------------------------------------------------------------------------------


def window_of_layers(layers):
    """(pixels, step): what one output sees and how far apart outputs are, for layers (kernel, stride, dilation)."""
    pixels, step = 1, 1
    for kernel, stride, dilation in layers:
        pixels += (kernel - 1) * dilation * step
        step *= stride
    return pixels, step


CONV, POOL, BLOCK = (3, 1, 1), (2, 2, 1), [(3, 1, 1)] * 3
VGG16 = [CONV, CONV, POOL, CONV, CONV, POOL, *BLOCK, POOL, *BLOCK, POOL, *BLOCK]
MINI = [(3, 2, 1), (3, 2, 1), CONV, (3, 2, 1), (3, 1, 2), (3, 1, 2)]


def _some_layers(count: int, draw: torch.Generator) -> tuple[Any]:
    numbers = torch.randint(1, 4, (min(count, 8), 3), generator=draw).tolist()
    return ([(kernel + 1, min(stride, 2), dilation) for kernel, stride, dilation in numbers],)


WINDOW_OF_LAYERS = Exercise(
    kind="implement",
    reference=window_of_layers,
    number="08.7",
    title="What a cell has seen",
    minutes=12,
    points=2,
    goals=(2,),
    core=False,
    text="""\
`window_of_layers(layers)`: `layers` is a list of `(kernel, stride, dilation)`, from the first layer to the last.
Return two whole numbers: how many pixels one output sees, along one axis, and how many pixels lie between two
neighbouring outputs. Without any layer an output is a pixel.""",
    cases=(
        on_paper("no layer", [], gives=(1, 1)),
        on_paper("one convolution", [CONV], gives=(3, 1)),
        on_paper("two convolutions", [CONV, CONV], gives=(5, 1)),
        on_paper("a pool", [POOL], gives=(2, 2)),
        on_paper("a pool, then a convolution", [POOL, CONV], gives=(6, 2)),
        on_paper("a convolution of stride 2, then one dilated", [(3, 2, 1), (3, 1, 2)], gives=(11, 2)),
        on_paper("two pools", [POOL, POOL], gives=(4, 4)),
        on_paper("three of stride 2", [(3, 2, 1)] * 3, gives=(15, 8)),
        on_paper("VGG16", VGG16, gives=(196, 16)),
        on_paper("mini", MINI, gives=(87, 8)),
        *at_random(_some_layers, sizes=(3, 1, 2, 6, 0)),
    ),
    impostors=(
        Impostor(
            "adds_kernel",
            "A second 3 x 3 adds 2 pixels, not 3: it overlaps with what was seen before.",
            change={"(kernel - 1) * dilation": "kernel * dilation"},
        ),
        Impostor(
            "step_first",
            "A layer's own stride counts from the *next* layer on.",
            change={
                "pixels += (kernel - 1) * dilation * step": "step *= stride",
                "        step *= stride\n    return": "        pixels += (kernel - 1) * dilation * step\n    return",
            },
        ),
        Impostor(
            "no_dilation", "A dilated kernel reaches further: its cells are skipped over.", change={"dilation * ": ""}
        ),
        Impostor(
            "forgets_steps",
            "After a pool, a neighbour is two pixels away: what a layer adds grows with the step.",
            change={" * dilation * step": " * dilation"},
        ),
        Impostor(
            "steps_added",
            "Steps multiply: two pools make 4, three make 8.",
            change={"step *= stride": "step += stride - 1"},
        ),
        Impostor(
            "backwards",
            "The layers are taken from the last to the first here.",
            change={"in layers": "in reversed(layers)"},
        ),
        Impostor(
            "exchanged", "First the pixels, then the step.", change={"return pixels, step": "return step, pixels"}
        ),
    ),
    hints=(
        "Draw seven pixels in a row and two convolutions over them.",
        "Carry two numbers from layer to layer. Which of them must be looked at before it is changed?",
        "`pixels += (kernel - 1) * dilation * step`, and only then `step *= stride`.",
    ),
)

# --- 08.8 ------------------------------------------------------------------------------------------------------


def anchor_verdicts(anchors, gt, size, fg=0.7, bg=0.3):
    """1, 0 or -1 (T,), for object, background and ignored, of anchors (T, 4) and objects gt (M, 4), xyxy."""
    height, width = size
    takes_part = (anchors[:, :2] >= 0).all(dim=1) & (anchors[:, 2] <= width) & (anchors[:, 3] <= height)
    iou = boxes.iou(anchors, gt)
    iou[~takes_part] = 0  # they are no one's best
    verdict = torch.full((len(anchors),), -1)
    verdict[(iou < bg).all(dim=1)] = 0
    verdict[(iou >= fg).any(dim=1)] = 1
    verdict[((iou == iou.amax(dim=0, keepdim=True)) & (iou > 0)).any(dim=1)] = 1
    verdict[~takes_part] = -1
    return verdict


TILES = tensor([[4.0 * x, 4.0 * y, 4.0 * x + 4, 4.0 * y + 4] for y in range(2) for x in range(4)])
OBJECTS = tensor([[1.0, 0, 5, 4], [8, 0, 15, 4], [0, 5, 4, 8], [6, 4, 10, 8]])


def _a_sheet(count: int, draw: torch.Generator) -> tuple[Any, ...]:
    """A grid of anchors of two shapes, some beyond the border, and a few objects."""
    rows, columns, objects = 2 + count % 4, 3 + count % 3, count % 5
    grid = [(8 * x, 8 * y, s) for y in range(rows) for x in range(columns) for s in (5, 8)]
    anchors = tensor([[x + 4 - s, y + 4 - s / 2, x + 4 + s, y + 4 + s / 2] for x, y, s in grid])
    corner = torch.rand(objects, 2, generator=draw) * tensor([6.0 * columns, 6.0 * rows])
    return (
        anchors,
        torch.cat([corner, corner + 4 + 10 * torch.rand(objects, 2, generator=draw)], dim=1),
        (
            8 * rows,
            8 * columns,
        ),
    )


def draw_verdicts(inputs: tuple[Any, ...], expected: Any, got: Any) -> None:
    """Anchors with the verdicts expected and given, over the objects."""
    anchors, gt, (height, width), *_ = inputs
    if len(anchors) > 12:
        return
    ax = plots.squared_paper(width, height, title="Each anchor: expected / yours")
    for anchor, right, yours in zip(anchors.tolist(), list(expected), list(got), strict=True):
        plots.draw_box(ax, anchor, plots.GREY, line=":")
        ax.text(anchor[0] + 0.3, anchor[3] - 0.3, f"{int(right)} / {int(yours)}")
    for box in gt:
        plots.draw_box(ax, box, plots.ORANGE, fill=0.12)


ANCHOR_VERDICTS = Exercise(
    kind="implement",
    reference=anchor_verdicts,
    number="08.8",
    title="Verdicts",
    stars=3,
    minutes=25,
    points=4,
    goals=(3,),
    core=False,
    text="""\
`anchor_verdicts(anchors, gt, size, fg=0.7, bg=0.3)`: what each of `T` anchors, shape `(T, 4)`, should say about `M`
objects, shape `(M, 4)`, all `xyxy`, in an image of `size` (height, width). Return `T` whole numbers:

- **-1** for anchors that cross the border of the image; they take no part at all, and are nobody's best;
- **1**, an object: IoU of at least `fg` with some object; and for each object the best of the anchors that take part,
  ties included, however low its IoU, if it touches the object at all;
- **0**, background: IoU below `bg` with *all* objects, and not 1 by the rule of the best;
- **-1** for the rest.

`M` may be 0: then all anchors inside are background. `boxes.iou` may be used; `frcnn_lessons.sampling`,
`frcnn_lessons.rpn` and `frcnn_lessons.anchors` not.""",
    cases=(
        on_paper("the lesson's tiles and objects", TILES, OBJECTS, (8, 16), gives=[1, 0, 1, -1, 1, 1, 1, 0]),
        on_paper("one that is nearly covered", TILES[:2], tensor([[0.0, 0, 4, 3]]), (8, 16), gives=[1, 0]),
        on_paper("a small one, whose best is below bg", TILES[:3], tensor([[1.0, 1, 3, 3]]), (8, 16), gives=[1, 0, 0]),
        on_paper("one that nothing touches", TILES[:2], tensor([[8.0, 0, 12, 4]]), (8, 16), gives=[0, 0]),
        on_paper(
            "two objects, one of which nothing touches",
            TILES[:3],
            tensor([[0.0, 0, 4, 4], [12, 0, 16, 4]]),
            (8, 16),
            gives=[1, 0, 0],
        ),
        on_paper("one shared by two", TILES[4:], OBJECTS[3:], (8, 16), gives=[0, 1, 1, 0]),
        on_paper(
            "one anchor is beyond the border, and would be the best",
            tensor([[-1.0, 0, 3, 4], [1, 0, 5, 4]]),
            tensor([[0.0, 0, 3, 4]]),
            (8, 16),
            gives=[-1, 1],
        ),
        on_paper("a wide and low image", TILES, OBJECTS[:2], (4, 16), gives=[1, 0, 1, -1, -1, -1, -1, -1]),
        on_paper(
            "a third is good for one object and nothing for another",
            tensor([[0.0, 0, 4, 4], [2, 0, 6, 4], [8, 0, 12, 4]]),
            tensor([[0.0, 0, 4, 4], [8, 0, 12, 4]]),
            (8, 16),
            gives=[1, -1, 1],
        ),
        on_paper("other thresholds", TILES[:4], OBJECTS[:2], (8, 16), 0.25, 0.125, gives=[1, -1, 1, 1]),
        edge("no objects", TILES, torch.zeros(0, 4), (8, 16), gives=[0] * 8),
        edge("no objects, and some beyond the border", TILES, torch.zeros(0, 4), (6, 16), gives=[0] * 4 + [-1] * 4),
        *at_random(_a_sheet),
    ),
    impostors=(
        Impostor(
            "no_best",
            "Without the rule of the best, an object whose anchors are all poor is never learned.",
            change={"    verdict[((iou == iou.amax(dim=0, keepdim=True)) & (iou > 0)).any(dim=1)] = 1\n": ""},
        ),
        Impostor(
            "first_of_ties",
            "Two anchors share the best IoU with an object: both become 1.",
            change={
                "verdict[((iou == iou.amax(dim=0, keepdim=True)) & (iou > 0)).any(dim=1)]": (
                    "verdict[iou.argmax(dim=0)[iou.amax(dim=0) > 0]]"
                )
            },
        ),
        Impostor(
            "crossing_may_win",
            "Take the anchors that cross the border out *before* you look for the best.",
            change={"    iou[~takes_part] = 0  # they are no one's best\n": ""},
        ),
        Impostor(
            "crossing_take_part",
            "Anchors that cross the border take no part: -1.",
            change={"    verdict[~takes_part] = -1\n": "", "    iou[~takes_part] = 0  # they are no one's best\n": ""},
        ),
        Impostor(
            "zero_wins",
            "An object that nothing touches has a best IoU of 0, and so has everybody: ask for more than 0.",
            change={" & (iou > 0)": ""},
        ),
        Impostor(
            "below_any",
            "Background is below bg with *all* objects, not with some.",
            change={"(iou < bg).all(dim=1)": "(iou < bg).any(dim=1) | (iou < bg).all(dim=1)"},
        ),
        Impostor(
            "best_overridden",
            "Background was written last, over a small object's best anchor.",
            change={
                "    verdict[~takes_part] = -1\n": (
                    "    verdict[(iou < bg).all(dim=1)] = 0\n    verdict[~takes_part] = -1\n"
                )
            },
        ),
        Impostor(
            "no_ignored",
            "What lies between the two thresholds is -1: neither answer would be fair.",
            change={"torch.full((len(anchors),), -1)": "torch.full((len(anchors),), 0)"},
        ),
        Impostor(
            "size_exchanged",
            "The size is (height, width): an anchor's x is compared with the width.",
            change={"height, width = size": "width, height = size"},
        ),
        Impostor(
            "best_of_anchor",
            "The best is looked for of each *object*, over the anchors; here it is the best of each anchor.",
            change={"iou.amax(dim=0, keepdim=True)": "(iou.amax(dim=1, keepdim=True) if len(gt) else iou)"},
        ),
    ),
    hints=(
        "Write the four rules as four lines, from the weakest to the strongest, so that later ones overwrite.",
        "Start with -1 everywhere. Give anchors beyond the border an IoU of 0, and write their -1 at the end.",
        "The best: `((iou == iou.amax(dim=0)) & (iou > 0)).any(dim=1)`; `(iou < bg).all(dim=1)` holds for M = 0.",
    ),
    forbidden=("frcnn_lessons.sampling", "frcnn_lessons.rpn", "frcnn_lessons.anchors"),
    draw=draw_verdicts,
)

EXERCISES: tuple[Exercise, ...] = (
    ANCHORS_BY_WIDTH,
    WHICH_OUTPUT,
    GRID_ROW_BY_ROW,
    FOREGROUND_ANCHORS,
    COVER_THE_DATA,
    NINE_ANSWERS,
    WINDOW_OF_LAYERS,
    ANCHOR_VERDICTS,
)
