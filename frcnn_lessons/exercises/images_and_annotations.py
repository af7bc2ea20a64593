"""The exercises of lesson 02, images and annotations.

Shapes: K objects, M of them left, N images, H x W pixels.
"""

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, tensor
from torch.nn import functional as F

from frcnn_lessons import plots
from frcnn_lessons.exercises.description import (
    Exercise,
    Impostor,
    Variant,
    at_random,
    edge,
    on_paper,
    parts,
)

# --- 02.1 ------------------------------------------------------------------------------------------------------


def voc_object(xml):
    """Name, box (x1, y1, x2, y2) at edges from 0, and whether it is difficult, of one <object> of a VOC file."""
    entry = ElementTree.fromstring(xml)
    xmin, ymin, xmax, ymax = (float(entry.findtext(f"bndbox/{tag}")) for tag in ("xmin", "ymin", "xmax", "ymax"))
    return entry.findtext("name"), (xmin - 1, ymin - 1, xmax, ymax), entry.findtext("difficult") == "1"


def by_place(xml):
    """The four numbers in the order of the file."""
    entry = ElementTree.fromstring(xml)
    xmin, ymin, xmax, ymax = (float(tag.text) for tag in entry.find("bndbox"))
    return entry.findtext("name"), (xmin - 1, ymin - 1, xmax, ymax), entry.findtext("difficult") == "1"


TAGS = ("xmin", "ymin", "xmax", "ymax")


def box_as_xml(numbers: Mapping[str, str]) -> str:
    """A <bndbox> in the order in which the numbers are given."""
    return "<bndbox>" + "".join(f"<{tag}>{text}</{tag}>" for tag, text in numbers.items()) + "</bndbox>"


def object_as_xml(name: str, numbers: Mapping[str, str], difficult: str = "0", part: str = "") -> str:
    """An <object>; `difficult=""` leaves its mark out, and a part, by its name, comes first."""
    head = f"<part><name>{part}</name>{box_as_xml(dict(zip(TAGS, '3546', strict=True)))}</part>" if part else ""
    mark = f"<difficult>{difficult}</difficult>" if difficult else ""
    return f"<object>{head}<name>{name}</name>{mark}{box_as_xml(numbers)}</object>"


def at(*numbers: str) -> dict[str, str]:
    """xmin, ymin, xmax, ymax by name."""
    return dict(zip(TAGS, numbers, strict=True))


def some_object(_size: int, draw: torch.Generator) -> tuple[str]:
    """Any object: the numbers in any order, with decimals or not, with a mark or without, with a part or without."""

    def pick(*of: Any) -> Any:
        return of[int(torch.randint(len(of), (1,), generator=draw))]

    x, y, w, h = (torch.randint(2, 90, (4,), generator=draw) + pick(0, 0.5)).tolist()
    numbers = at(*(f"{number:g}" for number in (x, y, x + w, y + h)))
    order = torch.randperm(4, generator=draw).tolist()
    return (
        object_as_xml(
            pick("bus", "truck", "person"),
            {TAGS[i]: numbers[TAGS[i]] for i in order},
            pick("0", "1", ""),
            pick("", "head"),
        ),
    )


BUS = object_as_xml("bus", at("11", "21", "90", "80"))
BUS_XMAX_FIRST = object_as_xml("bus", {"xmax": "90", "xmin": "11", "ymax": "80", "ymin": "21"})
ONE_PIXEL = object_as_xml("bird", at("1", "1", "1", "1"))
WITH_A_HEAD = object_as_xml("person", at("11", "21", "90", "80"), part="head")

VOC_OBJECT = Exercise(
    kind="implement",
    reference=voc_object,
    number="02.1",
    title="One object of a VOC file",
    stars=2,
    minutes=15,
    points=3,
    goals=(1,),
    core=True,
    text="""\
`voc_object(xml)` gets the text of one `<object>` element of a VOC file and returns three things: its **name**, its
**box** as four floats `(x1, y1, x2, y2)` in our convention (edges, from 0), and whether it is **difficult**, `True` or
`False`. For instance, from

    <object><name>bus</name><difficult>0</difficult>
      <bndbox><xmin>11</xmin><ymin>21</ymin><xmax>90</xmax><ymax>80</ymax></bndbox></object>

Real files are not well-behaved: the four numbers may come in any order and may be decimal (`11.5`);
`<difficult>` may be missing (then it is not difficult); and an object may hold `<part>`s, each with a name and a box
of its own, *before* its own name and box. Use `xml.etree.ElementTree`, and no reader of the course.""",
    cases=(
        on_paper("a bus at 11, 21, 90, 80", BUS, gives=("bus", (10, 20, 90, 80), False)),
        on_paper("one pixel, 1, 1, 1, 1", ONE_PIXEL, gives=("bird", (0, 0, 1, 1), False)),
        on_paper(
            "a person at 11, 21, 90, 80, after a part, its head",
            WITH_A_HEAD,
            gives=("person", (10, 20, 90, 80), False),
        ),
        on_paper(
            "a bus whose numbers come as xmax 90, xmin 11, ymax 80, ymin 21",
            BUS_XMAX_FIRST,
            gives=("bus", (10, 20, 90, 80), False),
        ),
        on_paper(
            "a bus at 11.5, 21, 90.5, 80",
            object_as_xml("bus", at("11.5", "21", "90.5", "80")),
            gives=("bus", (10.5, 20, 90.5, 80), False),
        ),
        on_paper(
            "a difficult car at 5, 5, 8, 9",
            object_as_xml("car", at("5", "5", "8", "9"), "1"),
            gives=("car", (4, 4, 8, 9), True),
        ),
        on_paper(
            "a car at 5, 5, 8, 9 without <difficult>",
            object_as_xml("car", at("5", "5", "8", "9"), ""),
            gives=("car", (4, 4, 8, 9), False),
        ),
        *at_random(some_object),
    ),
    impostors=(
        Impostor(
            "as_written",
            "VOC counts pixels from 1 and we count edges from 0: take 1 off the near side.",
            change={"(xmin - 1, ymin - 1, xmax, ymax)": "(xmin, ymin, xmax, ymax)"},
        ),
        Impostor(
            "minus_all",
            "The far side stays: pixel 90 *ends* at edge 90.",
            change={"(xmin - 1, ymin - 1, xmax, ymax)": "(xmin - 1, ymin - 1, xmax - 1, ymax - 1)"},
        ),
        Impostor(
            "plus_far",
            "Its size is right, but it lies one pixel too far right and down: move the near side, not the far one.",
            change={"(xmin - 1, ymin - 1, xmax, ymax)": "(xmin, ymin, xmax + 1, ymax + 1)"},
        ),
        Impostor(
            "both_out",
            "Only the near side moves: pixel 90 ends at edge 90.",
            change={"(xmin - 1, ymin - 1, xmax, ymax)": "(xmin - 1, ymin - 1, xmax + 1, ymax + 1)"},
        ),
        Impostor(
            "plus_near",
            "Counting from 0 makes numbers smaller: pixel 11 begins at edge 10.",
            change={"(xmin - 1, ymin - 1, xmax, ymax)": "(xmin + 1, ymin + 1, xmax, ymax)"},
        ),
        Impostor(
            "x_first",
            "It came out as x, x, y, y: that is Open Images' order.",
            change={"(xmin - 1, ymin - 1, xmax, ymax)": "(xmin - 1, xmax, ymin - 1, ymax)"},
        ),
        Impostor(
            "as_size",
            "The last two numbers came out as width and height: the far edges are asked for.",
            change={"(xmin - 1, ymin - 1, xmax, ymax)": "(xmin - 1, ymin - 1, xmax - xmin + 1, ymax - ymin + 1)"},
        ),
        Impostor(
            "deep_search",
            "It found the box of a part: look only at the object's own bndbox.",
            change={'f"bndbox/{tag}"': 'f".//{tag}"'},
        ),
        Impostor(
            "deep_name",
            "It found the name of a part: look only at the object's own name.",
            change={'findtext("name")': 'findtext(".//name")'},
        ),
        Impostor(
            "all_deep",
            "It found name and box of a part: look only at what lies directly in the object.",
            change={'f"bndbox/{tag}"': 'f".//{tag}"', 'findtext("name")': 'findtext(".//name")'},
        ),
        Impostor("by_place", "Read the four numbers by name: files have them in any order.", function=by_place),
        Impostor("int", "", change={"float(": "int("}),
        Impostor(
            "truncated",
            "The decimals were lost: some tools write 11.5 and mean it.",
            change={"float(entry": "int(float(entry", '{tag}")) for': '{tag}"))) for'},
        ),
        Impostor(
            "truth_of_text",
            'A mark of 0 says *not* difficult, but the text "0" counts as true, as any text does: compare with "1".',
            change={'entry.findtext("difficult") == "1"': 'bool(entry.findtext("difficult"))'},
        ),
        Impostor(
            "never_difficult",
            'No object comes out as difficult: the mark is the text "1", which is neither the number 1 nor True.',
            change={'entry.findtext("difficult") == "1"': "False"},
        ),
        Impostor(
            "missing_is_difficult",
            "Without a mark an object is not difficult.",
            change={'entry.findtext("difficult") == "1"': 'entry.findtext("difficult") != "0"'},
        ),
    ),
    hints=(
        "Which of the four numbers change when pixels counted from 1 become edges counted from 0? Draw it.",
        "`entry = ElementTree.fromstring(xml)`; `entry.findtext('bndbox/xmin')` looks only at the object's own box.",
        "`(xmin - 1, ymin - 1, xmax, ymax)` of floats, and `entry.findtext('difficult') == '1'`.",
    ),
    forbidden=("frcnn_lessons.datasets",),
    variants=(
        Variant(
            "from_0",
            """\
`voc_object(xml)` gets the text of one `<object>` element of a file in VOC's format, from a tool that counts pixels
**from 0** and, like VOC, names the first and the last *pixel* of a box. It returns three things: the object's
**name**, its **box** as four floats `(x1, y1, x2, y2)` in our convention (edges, from 0), and whether it is
**difficult**, `True` or `False`. For instance, from

    <object><name>bus</name><difficult>0</difficult>
      <bndbox><xmin>11</xmin><ymin>21</ymin><xmax>90</xmax><ymax>80</ymax></bndbox></object>

Real files are not well-behaved: the four numbers may come in any order and may be decimal (`11.5`);
`<difficult>` may be missing (then it is not difficult); and an object may hold `<part>`s, each with a name and a box
of its own, *before* its own name and box. Use `xml.etree.ElementTree`, and no reader of the course.""",
            change={"(xmin - 1, ymin - 1, xmax, ymax)": "(xmin, ymin, xmax + 1, ymax + 1)"},
            gives={
                "a bus at 11, 21, 90, 80": ("bus", (11, 21, 91, 81), False),
                "one pixel, 1, 1, 1, 1": ("bird", (1, 1, 2, 2), False),
            },
            without=(
                *("as_written", "minus_all", "plus_far", "both_out", "plus_near", "x_first", "as_size"),
                "by_place",
            ),
            impostors=(
                Impostor(
                    "as_written",
                    "The last pixel is inside: pixel 90, counted from 0, ends at edge 91.",
                    change={"(xmin, ymin, xmax + 1, ymax + 1)": "(xmin, ymin, xmax, ymax)"},
                ),
                Impostor(
                    "as_voc",
                    "That is right for VOC; this tool counts from 0 already, and its last pixel is inside.",
                    change={"(xmin, ymin, xmax + 1, ymax + 1)": "(xmin - 1, ymin - 1, xmax, ymax)"},
                ),
            ),
        ),
        Variant(
            "cxcywh",
            """\
`voc_object(xml)` gets the text of one `<object>` element of a VOC file and returns three things: its **name**, its
**box** as four floats **(centre x, centre y, width, height)**, measured at edges that count from 0, and whether it is
**difficult**, `True` or `False`. For instance, from

    <object><name>bus</name><difficult>0</difficult>
      <bndbox><xmin>11</xmin><ymin>21</ymin><xmax>90</xmax><ymax>80</ymax></bndbox></object>

Real files are not well-behaved: the four numbers may come in any order and may be decimal (`11.5`);
`<difficult>` may be missing (then it is not difficult); and an object may hold `<part>`s, each with a name and a box
of its own, *before* its own name and box. Use `xml.etree.ElementTree`, and no reader of the course.""",
            change={
                "(x1, y1, x2, y2) at edges": "(centre x, centre y, width, height) at edges",
                "(xmin - 1, ymin - 1, xmax, ymax)": (
                    "((xmin - 1 + xmax) / 2, (ymin - 1 + ymax) / 2, xmax - xmin + 1, ymax - ymin + 1)"
                ),
            },
            gives={
                "a bus at 11, 21, 90, 80": ("bus", (50, 50, 80, 60), False),
                "one pixel, 1, 1, 1, 1": ("bird", (0.5, 0.5, 1, 1), False),
            },
            without=(
                *("as_written", "minus_all", "plus_far", "both_out", "plus_near", "x_first", "as_size"),
                "by_place",
            ),
            impostors=(
                Impostor(
                    "as_written",
                    "VOC counts pixels from 1 and includes the last one: the near edge is xmin - 1.",
                    change={
                        "((xmin - 1 + xmax) / 2, (ymin - 1 + ymax) / 2, xmax - xmin + 1, ymax - ymin + 1)": (
                            "((xmin + xmax) / 2, (ymin + ymax) / 2, xmax - xmin, ymax - ymin)"
                        )
                    },
                ),
                Impostor(
                    "corner",
                    "The first two numbers came out as the corner: the centre is asked for.",
                    change={"(xmin - 1 + xmax) / 2, (ymin - 1 + ymax) / 2": "xmin - 1, ymin - 1"},
                ),
            ),
        ),
    ),
)

# --- 02.2 ------------------------------------------------------------------------------------------------------


def open_images_box(row, size):
    """Box (x1, y1, x2, y2) in pixels from a row of an Open Images table; size is (height, width)."""
    height, width = size
    x1, x2 = float(row["XMin"]) * width, float(row["XMax"]) * width
    y1, y2 = float(row["YMin"]) * height, float(row["YMax"]) * height
    return x1, y1, x2, y2


def in_table(*numbers: float) -> dict[str, str]:
    """A row of the table from XMin, XMax, YMin, YMax."""
    return {
        "ImageID": "street_007",
        "LabelName": "Bus",
        **dict(zip(("XMin", "XMax", "YMin", "YMax"), map(str, numbers), strict=True)),
    }


def some_row(_size: int, draw: torch.Generator) -> tuple[dict[str, str], tuple[int, int]]:
    """A row with a box that has an area, its columns in any order."""
    (x1, y1), (w, h) = torch.rand(2, generator=draw) / 2, 0.1 + 0.4 * torch.rand(2, generator=draw)
    row = in_table(*(round(float(number), 4) for number in (x1, x1 + w, y1, y1 + h)))
    keys = [list(row)[i] for i in torch.randperm(len(row), generator=draw).tolist()]
    height, width = torch.randint(50, 300, (2,), generator=draw).tolist()
    return {key: row[key] for key in keys}, (height, width)


OPEN_IMAGES_BOX = Exercise(
    kind="implement",
    reference=open_images_box,
    number="02.2",
    title="One row of an Open Images table",
    minutes=8,
    points=2,
    goals=(1,),
    core=False,
    text="""\
`open_images_box(row, size)` gets a row of `df.csv` as `csv.DictReader` gives it, a dict of *strings*, and the size of
its image, `(height, width)`. Return the box `(x1, y1, x2, y2)` in pixels, as four floats. The columns may come in any
order; nothing is rounded.""",
    cases=(
        on_paper("100 high and 200 wide", in_table(0.25, 0.5, 0.1, 0.9), (100, 200), gives=(50, 10, 100, 90)),
        on_paper("200 high and 100 wide", in_table(0.25, 0.5, 0.1, 0.9), (200, 100), gives=(25, 20, 50, 180)),
        on_paper("the whole image", in_table(0, 1, 0, 1), (100, 200), gives=(0, 0, 200, 100)),
        on_paper("a square image", in_table(0.1, 0.2, 0.3, 0.5), (100, 100), gives=(10, 30, 20, 50)),
        on_paper(
            "columns the other way round",
            dict(reversed(in_table(0.25, 0.5, 0.1, 0.9).items())),
            (100, 200),
            gives=(50, 10, 100, 90),
        ),
        on_paper("parts of a pixel", in_table(0.125, 0.375, 0.25, 0.75), (10, 20), gives=(2.5, 2.5, 7.5, 7.5)),
        *at_random(some_row),
    ),
    impostors=(
        Impostor(
            "file_order",
            "The file has both x first; x, y, x, y is asked for.",
            change={"return x1, y1, x2, y2": "return x1, x2, y1, y2"},
        ),
        Impostor(
            "size_swapped",
            "x is a share of the *width* and y of the height; size is (height, width).",
            change={"height, width = size": "width, height = size"},
        ),
        Impostor(
            "as_size",
            "XMax is the far side already, not a width: nothing is added to it.",
            change={"return x1, y1, x2, y2": "return x1, y1, x1 + x2, y1 + y2"},
        ),
        Impostor(
            "xywh",
            "The last two numbers came out as width and height: the far edges are asked for.",
            change={"return x1, y1, x2, y2": "return x1, y1, x2 - x1, y2 - y1"},
        ),
        Impostor(
            "relative",
            "These are still shares of the image: multiply by its width and height.",
            change={" * width": "", " * height": ""},
        ),
        Impostor("by_width", "y is a share of the *height*.", change={" * height": " * width"}),
        Impostor("by_height", "x is a share of the *width*.", change={" * width": " * height"}),
        Impostor(
            "minus_one",
            "The 1 is for VOC's files: Open Images' numbers are edges.",
            change={"return x1, y1": "return x1 - 1, y1 - 1"},
        ),
        Impostor(
            "by_place",
            "Read the columns by name: they may come in any order.",
            function=lambda row, size: (
                float(list(row.values())[2]) * size[1],
                float(list(row.values())[4]) * size[0],
                float(list(row.values())[3]) * size[1],
                float(list(row.values())[5]) * size[0],
            ),
        ),
        Impostor(
            "truncated",
            "Parts of a pixel were lost: nothing is rounded or cut off.",
            change={
                "return x1, y1, x2, y2": "return int(x1), int(y1), int(x2), int(y2)",
            },
        ),
        Impostor("strings", "", change={'float(row["XMin"])': 'row["XMin"]'}),
    ),
    hints=(
        "0 is the left or top of the image and 1 its right or bottom. What is 0.25 of an image 200 wide?",
        "`float(row['XMin'])` makes a number of the text; which of height and width does x belong to?",
        "`float(row['XMin']) * width, float(row['YMin']) * height, ...` with `height, width = size`",
    ),
)

# --- 02.3 ------------------------------------------------------------------------------------------------------


def rotate_right(image, gt_boxes):
    """Image (3, H, W) and boxes (K, 4), xyxy, turned by 90 degrees clockwise: (3, W, H) and (K, 4)."""
    height = image.shape[1]
    x1, y1, x2, y2 = gt_boxes.T
    return torch.rot90(image, k=-1, dims=(1, 2)), torch.stack([height - y2, x1, height - y1, x2], dim=1)


def whole_boxes(count: int, height: int, width: int, draw: torch.Generator) -> Tensor:
    """Boxes with whole numbers and an area inside an image, xyxy, (count, 4)."""
    x, y = ((torch.rand(count, 2, generator=draw) * side).floor() for side in (width, height))
    both = [torch.stack([near.amin(1), near.amax(1) + 1], dim=1) for near in (x, y)]
    return torch.stack([both[0][:, 0], both[1][:, 0], both[0][:, 1], both[1][:, 1]], dim=1)


def some_picture(count: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """An image of any size with so many boxes."""
    height, width = torch.randint(2, 9, (2,), generator=draw).tolist()
    return torch.rand(3, height, width, generator=draw), whole_boxes(count, height, width, draw)


def picture(*rows: list[float]) -> Tensor:
    """An image (3, H, W) with these numbers in each channel."""
    return tensor(rows).float().expand(3, -1, -1).clone()


def draw_rotation(inputs: tuple[Any, ...], expected: Any, got: Any) -> None:
    """The turned image's paper, with the boxes expected and got."""
    image, gt_boxes = inputs
    _, height, width = image.shape
    if len(gt_boxes) > 4:
        return
    before = plots.squared_paper(width, height, title="before")
    for box in gt_boxes:
        plots.draw_box(before, box, plots.BLUE)
    after = plots.squared_paper(height, width, title="clockwise: expected green, got orange")
    for box in expected[1]:
        plots.draw_box(after, box, plots.GREEN, fill=0.15)
    for box in got[1]:
        plots.draw_box(after, box, plots.ORANGE, line="--")


TWO_BY_THREE = picture([1, 2, 3], [4, 5, 6])
TURNED = [[[4, 1], [5, 2], [6, 3]]] * 3
UPSIDE = [[[6, 5, 4], [3, 2, 1]]] * 3
TURNED_LEFT = [[[3, 6], [2, 5], [1, 4]]] * 3


def turned(turns: int, boxes_by: Any) -> Any:
    """A wrong answer: the image turned so often to the left, the boxes by a formula of their sides and of h and w."""

    def answer(image, gt_boxes):
        x1, y1, x2, y2 = gt_boxes.T
        new = boxes_by(SimpleNamespace(x1=x1, y1=y1, x2=x2, y2=y2, h=image.shape[1], w=image.shape[2]))
        return torch.rot90(image, k=turns, dims=(1, 2)), torch.stack(new, dim=1)

    return answer


ROTATE_RIGHT = Exercise(
    kind="implement",
    reference=rotate_right,
    number="02.3",
    title="Turn an image and its boxes",
    stars=2,
    minutes=15,
    points=3,
    goals=(2,),
    core=True,
    text="""\
Somebody held the camera sideways. `rotate_right(image, gt_boxes)` turns an image, shape `(3, H, W)`, and its `K`
boxes, `xyxy`, shape `(K, 4)`, by **90 degrees clockwise**: what was on top is on the right afterwards. It returns
both, the image with shape `(3, W, H)`, the boxes with shape `(K, 4)` and x1 < x2, y1 < y2 again. `K` may be 0.

`torch.rot90` may help with the image; the boxes are yours.""",
    cases=(
        on_paper(
            "2 rows of 3 pixels, a box on the first pixel",
            TWO_BY_THREE,
            tensor([[0.0, 0, 1, 1]]),
            gives=(TURNED, [[1, 0, 2, 1]]),
        ),
        on_paper(
            "2 rows of 3 pixels, a box on the lower row",
            TWO_BY_THREE,
            tensor([[0.0, 1, 3, 2]]),
            gives=(TURNED, [[0, 0, 1, 3]]),
        ),
        on_paper(
            "2 rows of 3 pixels, all of it in a box",
            TWO_BY_THREE,
            tensor([[0.0, 0, 3, 2]]),
            gives=(TURNED, [[0, 0, 2, 3]]),
        ),
        on_paper(
            "2 rows of 2 pixels, a box on the upper row",
            picture([1, 2], [3, 4]),
            tensor([[0.0, 0, 2, 1]]),
            gives=([[[3, 1], [4, 2]]] * 3, [[1, 0, 2, 2]]),
        ),
        on_paper(
            "2 rows of 3 pixels, two boxes",
            TWO_BY_THREE,
            tensor([[0.0, 0, 2, 1], [2, 1, 3, 2]]),
            gives=(TURNED, [[1, 0, 2, 2], [0, 2, 1, 3]]),
        ),
        edge("2 rows of 3 pixels, no boxes", TWO_BY_THREE, torch.zeros(0, 4), gives=(TURNED, torch.zeros(0, 4))),
        *at_random(some_picture),
    ),
    impostors=(
        Impostor(
            "boxes_left",
            "Image and boxes were turned in different directions: the image clockwise, the boxes the other way.",
            function=turned(-1, lambda b: [b.y1, b.w - b.x2, b.y2, b.w - b.x1]),
        ),
        Impostor(
            "image_left",
            "Image and boxes were turned in different directions: the boxes clockwise, the image the other way.",
            change={"k=-1": "k=1"},
        ),
        Impostor(
            "both_left",
            "Both were turned counter-clockwise: clockwise, the top goes to the right.",
            function=turned(1, lambda b: [b.y1, b.w - b.x2, b.y2, b.w - b.x1]),
        ),
        Impostor(
            "corners_kept",
            "x2 came out smaller than x1: the edge that was below is on the left now, so the two change places.",
            change={"[height - y2, x1, height - y1, x2]": "[height - y1, x1, height - y2, x2]"},
        ),
        Impostor(
            "w_for_h",
            "The new x is counted from the old *bottom*: y2 comes off the old height, not the width.",
            change={"height = image.shape[1]": "height = image.shape[2]"},
        ),
        Impostor(
            "pixel_minus_one",
            "H - 1 - y is for pixels; the numbers of a box are edges.",
            change={"[height - y2, x1, height - y1, x2]": "[height - 1 - y2, x1, height - 1 - y1, x2]"},
        ),
        Impostor(
            "transposed",
            "Both were mirrored on the diagonal: rows and columns exchanged is not yet turned.",
            function=lambda image, gt_boxes: (image.transpose(1, 2), gt_boxes[:, [1, 0, 3, 2]]),
        ),
        Impostor(
            "boxes_transposed",
            "The image is right. In the boxes x and y changed places, but the old y is counted from the *bottom* now.",
            function=turned(-1, lambda b: [b.y1, b.x1, b.y2, b.x2]),
        ),
        Impostor(
            "image_transposed",
            "The boxes are right. The image was mirrored on the diagonal: exchanging rows and columns is no turn.",
            change={"torch.rot90(image, k=-1, dims=(1, 2))": "image.transpose(1, 2)"},
        ),
        Impostor(
            "boxes_forgotten",
            "The boxes stayed where they were.",
            change={"torch.stack([height - y2, x1, height - y1, x2], dim=1)": "gt_boxes"},
        ),
        Impostor(
            "image_forgotten", "The image stayed as it was.", change={"torch.rot90(image, k=-1, dims=(1, 2))": "image"}
        ),
        Impostor(
            "boxes_mirrored",
            "The image is right. The boxes were mirrored from left to right, not turned.",
            function=turned(-1, lambda b: [b.w - b.x2, b.y1, b.w - b.x1, b.y2]),
        ),
        Impostor(
            "both_axes_from_the_far_end",
            "The image is right. In the boxes only the new x is counted from the far end: the new y is the old x.",
            function=turned(-1, lambda b: [b.h - b.y2, b.w - b.x2, b.h - b.y1, b.w - b.x1]),
        ),
    ),
    hints=(
        "Take a sheet of paper, draw a box near its top left, turn the sheet. Where is the old top edge now?",
        "The old x becomes the new y. The old y, counted from the *bottom*, becomes the new x.",
        "`[H - y2, x1, H - y1, x2]`, and `torch.rot90(image, k=-1, dims=(1, 2))`.",
    ),
    forbidden=("torchvision.transforms", "frcnn_lessons.datasets"),
    variants=(
        Variant(
            "left",
            """\
Somebody held the camera sideways. `rotate_right(image, gt_boxes)`, in spite of its name, turns an image, shape `(3,
H, W)`, and its `K` boxes, `xyxy`, shape `(K, 4)`, by **90 degrees counter-clockwise**: what was on top is on the
*left* afterwards. It returns both, the image with shape `(3, W, H)`, the boxes with shape `(K, 4)` and x1 < x2, y1 <
y2 again. `K` may be 0.

`torch.rot90` may help with the image; the boxes are yours.""",
            change={
                "90 degrees clockwise": "90 degrees counter-clockwise",
                "height = image.shape[1]": "width = image.shape[2]",
                "k=-1": "k=1",
                "[height - y2, x1, height - y1, x2]": "[y1, width - x2, y2, width - x1]",
            },
            gives={
                "2 rows of 3 pixels, a box on the first pixel": (TURNED_LEFT, [[0, 2, 1, 3]]),
                "2 rows of 3 pixels, a box on the lower row": (TURNED_LEFT, [[1, 0, 2, 3]]),
            },
            without=(
                *("boxes_left", "image_left", "both_left", "corners_kept", "w_for_h", "pixel_minus_one", "transposed"),
                *("boxes_transposed", "image_transposed", "boxes_forgotten", "image_forgotten", "boxes_mirrored"),
                "both_axes_from_the_far_end",
            ),
            impostors=(
                Impostor(
                    "boxes_right",
                    "Image and boxes were turned in different directions: the boxes clockwise, the image not.",
                    function=turned(1, lambda b: [b.h - b.y2, b.x1, b.h - b.y1, b.x2]),
                ),
                Impostor(
                    "both_right",
                    "Both were turned clockwise: counter-clockwise, the top goes to the left.",
                    function=turned(-1, lambda b: [b.h - b.y2, b.x1, b.h - b.y1, b.x2]),
                ),
                Impostor(
                    "corners_kept",
                    "y2 came out smaller than y1: what was on the right is on top now, so the two change places.",
                    function=turned(1, lambda b: [b.y1, b.w - b.x1, b.y2, b.w - b.x2]),
                ),
                Impostor(
                    "h_for_w",
                    "The new y is counted from the old *right* side: x2 comes off the old width, not the height.",
                    function=turned(1, lambda b: [b.y1, b.h - b.x2, b.y2, b.h - b.x1]),
                ),
            ),
        ),
        Variant(
            "half_turn",
            """\
Somebody held the camera upside down. `rotate_right(image, gt_boxes)`, in spite of its name, turns an image, shape
`(3, H, W)`, and its `K` boxes, `xyxy`, shape `(K, 4)`, by **180 degrees**: what was on top is below afterwards, and
left is right. It returns both, the image with shape `(3, H, W)`, the boxes with shape `(K, 4)` and x1 < x2, y1 < y2
again. `K` may be 0.

`torch.rot90` may help with the image; the boxes are yours.""",
            change={
                "90 degrees clockwise: (3, W, H)": "180 degrees: (3, H, W)",
                "height = image.shape[1]": "height, width = image.shape[1:]",
                "k=-1": "k=2",
                "[height - y2, x1, height - y1, x2]": "[width - x2, height - y2, width - x1, height - y1]",
            },
            gives={
                "2 rows of 3 pixels, a box on the first pixel": (UPSIDE, [[2, 1, 3, 2]]),
                "2 rows of 3 pixels, a box on the lower row": (UPSIDE, [[0, 0, 3, 1]]),
            },
            without=(
                *("boxes_left", "image_left", "both_left", "corners_kept", "w_for_h", "pixel_minus_one", "transposed"),
                *("boxes_transposed", "image_transposed", "boxes_forgotten", "image_forgotten", "boxes_mirrored"),
                "both_axes_from_the_far_end",
            ),
            impostors=(
                Impostor(
                    "quarter_turn",
                    "Both were turned by 90 degrees only.",
                    function=turned(-1, lambda b: [b.h - b.y2, b.x1, b.h - b.y1, b.x2]),
                ),
                Impostor(
                    "mirrored",
                    "The image is right. The boxes were only mirrored from left to right; top and bottom change, too.",
                    function=turned(2, lambda b: [b.w - b.x2, b.y1, b.w - b.x1, b.y2]),
                ),
                Impostor(
                    "corners_kept",
                    "x2 came out smaller than x1: near and far edges change places.",
                    function=turned(2, lambda b: [b.w - b.x1, b.h - b.y1, b.w - b.x2, b.h - b.y2]),
                ),
                Impostor(
                    "boxes_forgotten",
                    "The boxes stayed where they were.",
                    function=turned(2, lambda b: [b.x1, b.y1, b.x2, b.y2]),
                ),
            ),
        ),
    ),
    draw=draw_rotation,
)

# --- 02.4 ------------------------------------------------------------------------------------------------------


def resize_with_boxes(size, gt_boxes, short=400, cap=600):
    """New (height, width) of an image of this (height, width), and its boxes (K, 4), xyxy, in the new image."""
    height, width = size
    scale = min(short / min(height, width), cap / max(height, width))
    new_height, new_width = round(height * scale), round(width * scale)
    across, down = new_width / width, new_height / height
    return (new_height, new_width), gt_boxes * torch.tensor([across, down, across, down])


def to_relative(size: tuple[int, int], gt_boxes: Tensor, *limits: int) -> tuple[Any, ...]:
    """The same boxes as shares of the image."""
    height, width = size
    return size, gt_boxes / tensor([width, height, width, height]), *limits


def some_size(count: int, draw: torch.Generator) -> tuple[tuple[int, int], Tensor, int, int]:
    """A small image, so that rounding shows, with so many boxes."""
    height, width = torch.randint(5, 70, (2,), generator=draw).tolist()
    return (height, width), whole_boxes(count, height, width, draw), 20, 31


INSIDE = tensor([[10.0, 10, 20, 20]])

RESIZE_WITH_BOXES = Exercise(
    kind="find the bug",
    reference=resize_with_boxes,
    given="as_given",
    number="02.4",
    title="Boxes that drift",
    stars=2,
    minutes=12,
    points=3,
    goals=(2,),
    core=True,
    text="""\
"It works on all our photographs. But on long, narrow panoramas the boxes drift away from their objects." Find the
mistake and correct it.

`resize_with_boxes(size, gt_boxes, short=400, cap=600)`: an image of `size` `(height, width)` is scaled so that its
short side becomes `short`, unless the long side would pass `cap`; small images grow. Its new sides are rounded with
`round`. Return the new size, `(new_height, new_width)`, and the `K` boxes, `xyxy`, shape `(K, 4)`, in the new image.
Each axis of a box is scaled as its axis of the image *really* was, rounding included, so that the whole image stays
the whole image. `K` may be 0.""",
    cases=(
        on_paper(
            "3 high and 100 wide, cap 60",
            (3, 100),
            tensor([[10.0, 0, 90, 3]]),
            40,
            60,
            gives=((2, 60), [[6, 0, 54, 2]]),
        ),
        on_paper(
            "100 high and 3 wide, cap 60",
            (100, 3),
            tensor([[0.0, 10, 3, 90]]),
            40,
            60,
            gives=((60, 2), [[0, 6, 2, 54]]),
        ),
        on_paper("133 high and 200 wide", (133, 200), INSIDE, gives=((399, 600), [[30, 30, 60, 60]])),
        on_paper("100 high and 400 wide", (100, 400), INSIDE, gives=((150, 600), [[15, 15, 30, 30]])),
        on_paper("400 high and 500 wide", (400, 500), INSIDE, gives=((400, 500), [[10, 10, 20, 20]])),
        on_paper("1000 high and 800 wide", (1000, 800), INSIDE, gives=((500, 400), [[5, 5, 10, 10]])),
        on_paper(
            "7 high and 10 wide, short 4",
            (7, 10),
            tensor([[0.0, 0, 10, 7], [5, 0, 10, 3.5]]),
            4,
            gives=((4, 6), [[0, 0, 6, 4], [3, 0, 6, 2]]),
        ),
        on_paper(
            "10 high and 13 wide, short 4",
            (10, 13),
            tensor([[0.0, 0, 13, 10]]),
            4,
            gives=((4, 5), [[0, 0, 5, 4]]),
        ),
        on_paper(
            "133 high and 200 wide, a box between the pixels",
            (133, 200),
            tensor([[0.5, 1, 10.5, 2]]),
            gives=((399, 600), [[1.5, 3, 31.5, 6]]),
        ),
        edge("100 high and 400 wide, no boxes", (100, 400), torch.zeros(0, 4), gives=((150, 600), torch.zeros(0, 4))),
        *at_random(some_size),
    ),
    impostors=(
        Impostor(
            "as_given",
            "x grows with the *width*: the two factors are exchanged. They differ by rounding only, so it shows on "
            "narrow images.",
            change={"[across, down, across, down]": "[down, across, down, across]"},
        ),
        Impostor(
            "one_scale",
            "The sides were rounded, so the two axes have factors of their own: new side / old side.",
            change={"new_width / width, new_height / height": "scale, scale"},
        ),
        Impostor(
            "all_across",
            "y grows with the height: new height / old height.",
            change={"across, down, across, down]": "across] * 4"},
        ),
        Impostor(
            "all_down",
            "x grows with the width: new width / old width.",
            change={"[across, down, across, down]": "[down] * 4"},
        ),
        Impostor(
            "max_for_min",
            "The long side passes the cap: of the two scales the *smaller* one holds both limits.",
            change={"scale = min(": "scale = max("},
        ),
        Impostor(
            "no_cap",
            "The long side passes the cap.",
            change={"min(short / min(height, width), cap / max(height, width))": "short / min(height, width)"},
        ),
        Impostor(
            "short_of_height",
            "The short side may be the height or the width.",
            change={"short / min(height, width), cap / max(height, width)": "short / height, cap / width"},
        ),
        Impostor(
            "divided",
            "The boxes were scaled the wrong way: they grow when the image grows.",
            change={"gt_boxes * torch": "gt_boxes / torch"},
        ),
        Impostor("cut_off", "The new sides are rounded to the nearest pixel, not cut off.", change={"round(": "int("}),
        Impostor(
            "rounded_up", "The new sides are rounded to the nearest pixel, not up.", change={"round(": "math.ceil("}
        ),
        Impostor("only_shrinks", "Small images grow as well.", change={"scale = min(": "scale = min(1, "}),
        Impostor(
            "boxes_forgotten",
            "The image was resized and its boxes stayed.",
            change={" * torch.tensor([across, down, across, down])": ""},
        ),
        Impostor(
            "size_exchanged",
            "The size is (height, width), as it came in.",
            change={"return (new_height, new_width)": "return (new_width, new_height)"},
        ),
        Impostor(
            "boxes_rounded",
            "Only the image's sides are whole numbers: boxes keep their decimals.",
            change={
                "gt_boxes * torch.tensor([across, down, across, down])": (
                    "(gt_boxes * torch.tensor([across, down, across, down])).round()"
                )
            },
        ),
    ),
    hints=(
        "Do the first case on paper: the box is as high as its image. How high is it afterwards?",
        "Which of the two factors belongs to x, which to y?",
        "The four numbers of a box are x, y, x, y: which of across and down does each need?",
    ),
    variants=(
        Variant(
            "cut_off",
            """\
"It works on all our photographs. But on long, narrow panoramas the boxes drift away from their objects." Find the
mistake and correct it; **and let the new sides be cut off** to whole numbers (as by `int`), not rounded.

`resize_with_boxes(size, gt_boxes, short=400, cap=600)`: an image of `size` `(height, width)` is scaled so that its
short side becomes `short`, unless the long side would pass `cap`; small images grow. Its new sides are cut off to
whole numbers. Return the new size, `(new_height, new_width)`, and the `K` boxes, `xyxy`, shape `(K, 4)`, in the new
image. Each axis of a box is scaled as its axis of the image *really* was, so that the whole image stays the whole
image. `K` may be 0.""",
            change={"round(": "int("},
            gives={
                "3 high and 100 wide, cap 60": ((1, 60), [[6, 0, 54, 1]]),
                "7 high and 10 wide, short 4": ((4, 5), [[0, 0, 5, 4], [2.5, 0, 5, 2]]),
            },
            without=("cut_off", "rounded_up"),
            impostors=(
                Impostor("rounded", "The new sides are to be cut off here, not rounded.", change={"int(": "round("}),
            ),
        ),
        Variant(
            "relative",
            """\
"It works on all our photographs. But on long, narrow panoramas the boxes drift away from their objects." Find the
mistake and correct it; **and let it take relative boxes**, as Open Images has them, but in the order `x1, y1, x2,
y2`: 0 is the left or top of the image, 1 its right or bottom.

`resize_with_boxes(size, gt_boxes, short=400, cap=600)`: an image of `size` `(height, width)` is scaled so that its
short side becomes `short`, unless the long side would pass `cap`; small images grow. Its new sides are rounded with
`round`. Return the new size, `(new_height, new_width)`, and the `K` boxes, shape `(K, 4)`, in *pixels* of the new
image. `K` may be 0.""",
            change={
                "its boxes (K, 4), xyxy, in": "its relative boxes (K, 4) in pixels of",
                "new_width / width, new_height / height": "new_width, new_height",
            },
            inputs=to_relative,
            gives={
                "3 high and 100 wide, cap 60": ((2, 60), [[6, 0, 54, 2]]),
                "7 high and 10 wide, short 4": ((4, 6), [[0, 0, 6, 4], [3, 0, 6, 2]]),
            },
            without=("one_scale", "boxes_rounded"),
            impostors=(
                Impostor(
                    "old_pixels",
                    "These are pixels of the *old* image.",
                    change={"new_width, new_height\n": "width, height\n"},
                ),
            ),
        ),
    ),
)

# --- 02.5 ------------------------------------------------------------------------------------------------------


def draw_left_behind(_inputs: tuple[Any, ...], _expected: Any, _got: Any) -> None:
    """The image without its middle line: where objects are now is the student's to say."""
    ax = plots.squared_paper(200, 60, title="The labels, in an image 200 wide", square=0.03)
    ax.set_xticks(range(0, 201, 20))
    ax.set_yticks([])
    for row, (x1, x2) in enumerate(((80, 120), (60, 120), (90, 150), (10, 50))):
        plots.draw_box(ax, [x1, 5 + 14 * row, x2, 14 + 14 * row], plots.BLUE, fill=0.15)


LEFT_BEHIND = Exercise(
    kind="predict",
    name="left_behind",
    number="02.5",
    title="Left behind",
    minutes=6,
    points=1,
    goals=(2,),
    core=False,
    text="""\
An image 200 wide is mirrored from left to right, and its boxes are forgotten. What is the IoU of each label with the
place where its object is now? All are equally high; they reach in x

1. from 80 to 120; 2. from 60 to 120; 3. from 90 to 150; 4. from 10 to 50.

Set `left_behind` to four numbers; fractions such as `3 / 7` are welcome.""",
    answer=(1.0, 0.5, 0.2, 0.0),
    stub="(..., ..., ..., ...)",
    cases=parts("from 80 to 120", "from 60 to 120", "from 90 to 150", "from 10 to 50"),
    impostors=(
        Impostor(
            "share",
            "That is the share of the label; in IoU what sticks out counts on both sides.",
            answer=(1.0, 2 / 3, 1 / 3, 0.0),
        ),
        Impostor(
            "in_place",
            "The *image* is mirrored, about its own middle at x = 100, not each box about its own.",
            answer=(1.0, 1.0, 1.0, 1.0),
        ),
        Impostor(
            "all_lost",
            "Objects near the middle of the image still overlap their labels: mirror 60 to 120 at x = 100.",
            answer=(1.0, 0.0, 0.0, 0.0),
        ),
        Impostor(
            "not_squared",
            "What both cover counts once in the union, not twice.",
            answer=(0.5, 1 / 3, 1 / 6, 0.0),
        ),
    ),
    hints=(
        "An object from x1 to x2 lies from 200 - x2 to 200 - x1 afterwards.",
        "The second one is now from 80 to 140. From where to where do label and object agree?",
        "Shared length / length that the two cover together: all have the same height, so it cancels.",
    ),
    draw=draw_left_behind,
)

# --- 02.6 ------------------------------------------------------------------------------------------------------


def crop_boxes(gt_boxes, labels, window, min_visible=0.3):
    """What is left of boxes (K, 4), xyxy, and labels (K,) in a window (x1, y1, x2, y2): (M, 4) and (M,)."""
    x1, y1, x2, y2 = window
    inside = torch.maximum(gt_boxes, torch.tensor([x1, y1, x1, y1]).float())
    inside = torch.minimum(inside, torch.tensor([x2, y2, x2, y2]).float())
    sides = inside[:, 2:] - inside[:, :2]  # (K, 2)
    visible = sides.prod(dim=1) / (gt_boxes[:, 2:] - gt_boxes[:, :2]).prod(dim=1)
    keep = visible >= min_visible
    return inside[keep] - torch.tensor([x1, y1, x1, y1]), labels[keep]


def crop_unclamped(gt_boxes, labels, window, min_visible=0.3):
    """A wrong answer: what lies in the window is computed like an intersection, and negative sides are left in."""
    window = torch.tensor(window).float()
    near, far = torch.maximum(gt_boxes[:, :2], window[:2]), torch.minimum(gt_boxes[:, 2:], window[2:])
    keep = (far - near).prod(dim=1) >= min_visible * (gt_boxes[:, 2:] - gt_boxes[:, :2]).prod(dim=1)
    return torch.cat([near, far], dim=1)[keep] - window[:2].repeat(2), labels[keep]


def some_crop(count: int, draw: torch.Generator) -> tuple[Any, ...]:
    """Boxes of all sizes around a window."""
    gt_boxes = whole_boxes(count, 30, 40, draw) + 0.25 * torch.rand(count, 1, generator=draw)
    labels = torch.randint(1, 4, (count,), generator=draw)
    x, y = (10 * torch.rand(2, generator=draw)).tolist()
    return gt_boxes, labels, (x, y, x + 17.5, y + 12.5)


def draw_crop(inputs: tuple[Any, ...], _expected: Any, _got: Any) -> None:
    """Boxes and window, as they were."""
    gt_boxes, _, window, *_ = inputs
    if len(gt_boxes) > 8:
        return
    every = torch.cat([gt_boxes, tensor([window]).float()])
    width, height = every[:, 2:].amax(0).ceil().int().tolist()
    ax = plots.squared_paper(width, height, title="The window (grey) and the boxes", square=0.22)
    plots.draw_box(ax, window, plots.GREY, "window", fill=0.2, inside=True)
    for number, box in enumerate(gt_boxes):
        plots.draw_box(ax, box, plots.BLUE, f"{number}")


FOUR_BOXES = tensor([[6.0, 6, 10, 10], [0, 6, 10, 10], [0, 6, 6, 10], [30, 30, 32, 32]])  # 1, 1/2, 1/6 and 0 visible
WINDOW = (5, 5, 20, 20)

CROP_BOXES = Exercise(
    kind="implement",
    reference=crop_boxes,
    number="02.6",
    title="Boxes in a cut-out",
    stars=3,
    minutes=25,
    points=4,
    goals=(2,),
    core=False,
    text="""\
An image is cut to a window. `crop_boxes(gt_boxes, labels, window, min_visible=0.3)` says what is left of its `K`
objects: boxes `xyxy`, shape `(K, 4)`, and labels, shape `(K,)`; the window is a tuple `(x1, y1, x2, y2)`, whole
numbers or floats. An object stays if **at least** `min_visible` of its *own* area lies in the window.

Return two tensors: the boxes that stay, shape `(M, 4)`, clipped to the window and counted from its upper left corner,
and their labels, shape `(M,)`, in the order in which they came. `K` and `M` may be 0. Every box has an area.""",
    cases=(
        on_paper(
            "one inside, one half in, one a sixth in, one outside",
            FOUR_BOXES,
            tensor([1, 2, 3, 1]),
            WINDOW,
            gives=([[1, 1, 5, 5], [0, 1, 5, 5]], [1, 2]),
        ),
        on_paper(
            "half of each side in, a quarter of the area",
            torch.cat([FOUR_BOXES[:1], tensor([[0.0, 0, 10, 10]])]),
            tensor([1, 2]),
            WINDOW,
            gives=([[1, 1, 5, 5]], [1]),
        ),
        on_paper("one half in, at 0.5", FOUR_BOXES[1:2], tensor([2]), WINDOW, 0.5, gives=([[0, 1, 5, 5]], [2])),
        on_paper("one half in, at 0.75", FOUR_BOXES[:2], tensor([3, 2]), WINDOW, 0.75, gives=([[1, 1, 5, 5]], [3])),
        on_paper(
            "one larger than the window on all sides, at 0.1",
            tensor([[0.0, 0, 25, 25]]),
            tensor([1]),
            WINDOW,
            0.1,
            gives=([[0, 0, 15, 15]], [1]),
        ),
        on_paper(
            "one that sticks out on the right and below",
            tensor([[16.0, 15, 22, 21]]),
            tensor([1]),
            WINDOW,
            gives=([[11, 10, 15, 15]], [1]),
        ),
        on_paper(
            "a small one that fits exactly in a corner",
            tensor([[5.0, 5, 6, 6]]),
            tensor([3]),
            WINDOW,
            gives=([[0, 0, 1, 1]], [3]),
        ),
        on_paper(
            "a third in, its centre outside",
            tensor([[2.0, 6, 6.5, 10]]),
            tensor([2]),
            WINDOW,
            gives=([[0, 1, 1.5, 5]], [2]),
        ),
        on_paper(
            "one half in, in a window 20 wide and 10 high",
            tensor([[20.0, 6, 30, 10]]),
            tensor([1]),
            (5, 5, 25, 15),
            gives=([[15, 1, 20, 5]], [1]),
        ),
        on_paper("all outside", FOUR_BOXES[3:], tensor([1]), WINDOW, gives=(torch.zeros(0, 4), [])),
        edge("no objects", torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), WINDOW, gives=(torch.zeros(0, 4), [])),
        edge(
            "a window around everything",
            FOUR_BOXES,
            tensor([1, 2, 3, 1]),
            (0, 0, 40, 40),
            gives=(FOUR_BOXES, [1, 2, 3, 1]),
        ),
        *at_random(some_crop),
    ),
    impostors=(
        Impostor(
            "by_sides",
            "Half of the width and half of the height are a quarter of the *area*.",
            change={
                "sides.prod(dim=1) / (gt_boxes[:, 2:] - gt_boxes[:, :2]).prod(dim=1)": (
                    "(sides / (gt_boxes[:, 2:] - gt_boxes[:, :2])).amin(dim=1)"
                )
            },
        ),
        Impostor(
            "clip_first",
            "An object of which hardly anything is left was kept: compare what is visible with its *whole* area.",
            change={"keep = visible >= min_visible": "keep = visible > 0"},
        ),
        Impostor(
            "iou",
            "That is the IoU with the window; what counts is the share of the *object* that is inside.",
            change={
                "/ (gt_boxes[:, 2:] - gt_boxes[:, :2]).prod(dim=1)": (
                    "/ ((gt_boxes[:, 2:] - gt_boxes[:, :2]).prod(dim=1) + (x2 - x1) * (y2 - y1) - sides.prod(dim=1))"
                )
            },
        ),
        Impostor(
            "of_window",
            "That is a share of the window; what counts is the share of the *object* that is inside.",
            change={"/ (gt_boxes[:, 2:] - gt_boxes[:, :2]).prod(dim=1)": "/ ((x2 - x1) * (y2 - y1))"},
        ),
        Impostor(
            "no_shift",
            "The new image begins at the window's corner: coordinates are counted from there.",
            change={" - torch.tensor([x1, y1, x1, y1])": ""},
        ),
        Impostor(
            "old_limits",
            "After the shift the new image ends at its own width and height, not at the old x2 and y2.",
            change={
                "return inside[keep] - torch.tensor([x1, y1, x1, y1])": (
                    "shifted = gt_boxes[keep] - torch.tensor([x1, y1, x1, y1])\n"
                    "    return torch.minimum(shifted.clamp(min=0), torch.tensor([x2, y2, x2, y2]).float())"
                )
            },
        ),
        Impostor(
            "sides_exchanged",
            "x is clipped at the window's *width*, y at its height.",
            change={
                "return inside[keep] - torch.tensor([x1, y1, x1, y1])": (
                    "shifted = (gt_boxes[keep] - torch.tensor([x1, y1, x1, y1])).clamp(min=0)\n"
                    "    return torch.minimum(shifted, torch.tensor([y2 - y1, x2 - x1]).repeat(2).float())"
                )
            },
        ),
        Impostor(
            "not_clipped",
            "A box may not stick out of the new image: clip it.",
            change={"return inside[keep]": "return gt_boxes[keep]"},
        ),
        Impostor("labels_left", "Labels belong to boxes: filter both alike.", change={"labels[keep]": "labels"}),
        Impostor("above", "At least: an object of which exactly `min_visible` is inside stays.", change={">=": ">"}),
        Impostor(
            "centre_inside",
            "The centre says nothing of how much is visible: compare areas.",
            change={
                "keep = visible >= min_visible": (
                    "centre = (gt_boxes[:, :2] + gt_boxes[:, 2:]) / 2\n"
                    "    keep = ((centre >= torch.tensor([x1, y1])) & (centre <= torch.tensor([x2, y2]))).all(dim=1)"
                )
            },
        ),
        Impostor(
            "only_whole",
            "Objects that are cut by the window's edge stay, if enough of them is visible.",
            change={"keep = visible >= min_visible": "keep = (inside == gt_boxes).all(dim=1)"},
        ),
        Impostor(
            "no_clamp",
            "A box outside has a negative width *and* height, and their product is positive: clamp each at 0.",
            function=crop_unclamped,
        ),
    ),
    hints=(
        "Three steps: clip every box to the window, compare areas before and after, shift what stays.",
        "The visible share is the clipped box's area / the whole box's area. A box outside has none.",
        "`keep = visible >= min_visible`, then `inside[keep] - corner` and `labels[keep]`.",
    ),
    forbidden=("torchvision.transforms", "frcnn_lessons.datasets"),
    draw=draw_crop,
)

# --- 02.7 ------------------------------------------------------------------------------------------------------


def pad_batch(images, stride):
    """One tensor (N, 3, H', W') of images (3, H, W) of different sizes, padded with zeros on the right and below."""
    height, width = (math.ceil(max(image.shape[axis] for image in images) / stride) * stride for axis in (1, 2))
    batch = torch.zeros(len(images), 3, height, width)
    for image, place in zip(images, batch, strict=True):
        place[:, : image.shape[1], : image.shape[2]] = image
    return batch


def each_padded(images, stride, amounts):
    """A wrong answer: each image padded by F.pad with these amounts, from what is missing below and on the right."""
    sides = [math.ceil(max(image.shape[axis] for image in images) / stride) * stride for axis in (1, 2)]
    return torch.stack([F.pad(i, amounts(sides[0] - i.shape[1], sides[1] - i.shape[2])) for i in images])


def resized(images, stride):
    """A wrong answer: every image stretched to the common size."""
    sides = [math.ceil(max(image.shape[axis] for image in images) / stride) * stride for axis in (1, 2)]
    return torch.cat([F.interpolate(image[None], size=sides, mode="nearest") for image in images])


def some_images(count: int, draw: torch.Generator) -> tuple[list[Tensor], int]:
    """At least one image, and any stride."""
    sizes = torch.randint(1, 9, (max(1, min(count, 5)), 2), generator=draw).tolist()
    stride = int(torch.randint(1, 6, (1,), generator=draw))
    return [0.1 + torch.rand(3, *size, generator=draw) for size in sizes], stride


def grey(height: int, width: int, value: float = 1.0) -> Tensor:
    """An image of one value."""
    return torch.full((3, height, width), value)


PAD_BATCH = Exercise(
    kind="implement",
    reference=pad_batch,
    number="02.7",
    title="One tensor for images of different sizes",
    minutes=10,
    points=2,
    goals=(4,),
    core=True,
    text="""\
A list of images suits the `DataLoader`; a network wants one tensor. `pad_batch(images, stride)` gets a list of `N`
images, each `(3, H, W)` and of its own size, and returns one tensor `(N, 3, H', W')`: every image in the **upper left
corner** of its place, **zeros** on the right of it and below. H' and W' are the *smallest* multiples of `stride` that
hold every image; they may differ. There is at least one image.

Why on the right and below? So that boxes stay as they are.""",
    cases=(
        on_paper("1 x 2 pixels, stride 2", [grey(1, 2)], 2, gives=[[[[1, 1], [0, 0]]] * 3]),
        on_paper("2 x 1 pixels, stride 2", [grey(2, 1)], 2, gives=[[[[1, 0], [1, 0]]] * 3]),
        on_paper("2 x 2 pixels, stride 2", [grey(2, 2)], 2, gives=[[[[1, 1], [1, 1]]] * 3]),
        on_paper(
            "1 x 2 and 2 x 1 pixels, stride 1",
            [grey(1, 2), grey(2, 1, 0.5)],
            1,
            gives=[[[[1, 1], [0, 0]]] * 3, [[[0.5, 0], [0.5, 0]]] * 3],
        ),
        on_paper("1 x 1 pixel, stride 3", [grey(1, 1)], 3, gives=[[[[1, 0, 0], [0, 0, 0], [0, 0, 0]]] * 3]),
        on_paper("1 x 3 pixels, stride 2", [grey(1, 3)], 2, gives=[[[[1, 1, 1, 0], [0, 0, 0, 0]]] * 3]),
        on_paper(
            "5 x 7 and 9 x 3 pixels, stride 4: the shape",
            [grey(5, 7), grey(9, 3)],
            4,
            gives=[2, 3, 12, 8],
            experiment=lambda f, images, stride: list(torch.as_tensor(f(images, stride)).shape),
        ),
        *at_random(some_images),
    ),
    impostors=(
        Impostor(
            "always_adds",
            "2 is a multiple of 2 already: nothing is to be added.",
            change={
                "math.ceil(max(image.shape[axis] for image in images) / stride) * stride": (
                    "(max(image.shape[axis] for image in images) // stride + 1) * stride"
                )
            },
        ),
        Impostor(
            "to_max_only",
            "The largest side is not yet a multiple of the stride.",
            change={
                "math.ceil(max(image.shape[axis] for image in images) / stride) * stride": (
                    "max(image.shape[axis] for image in images)"
                )
            },
        ),
        Impostor(
            "plus_stride",
            "The stride was added; a *multiple* of it is asked for.",
            change={
                "math.ceil(max(image.shape[axis] for image in images) / stride) * stride": (
                    "max(image.shape[axis] for image in images) + stride"
                )
            },
        ),
        Impostor(
            "centred",
            "The images were put in the middle, so their boxes would have to move: pad on the right and below only.",
            function=lambda images, stride: each_padded(
                images, stride, lambda down, right: (right // 2, right - right // 2, down // 2, down - down // 2)
            ),
        ),
        Impostor(
            "left_top",
            "The zeros came on the left and above, so boxes would have to move.",
            function=lambda images, stride: each_padded(images, stride, lambda down, right: (right, 0, down, 0)),
        ),
        Impostor(
            "pad_order",
            "`F.pad` begins with the *last* axis: left, right, top, bottom.",
            function=lambda images, stride: each_padded(images, stride, lambda down, right: (0, down, 0, right)),
        ),
        Impostor(
            "square",
            "It need not be square: height and width have maxima of their own.",
            change={"for axis in (1, 2))": "for axis in (1, 2))\n    height = width = max(height, width)"},
        ),
        Impostor("resized", "The images were stretched: padding leaves their pixels as they are.", function=resized),
        Impostor("ones", "The padding should be zeros.", change={"torch.zeros": "torch.ones"}),
        Impostor(
            "stride_in_all",
            "The smallest multiple that holds every image: each side is measured by its own largest image.",
            change={"for axis in (1, 2))": "for axis in (2, 1))"},
        ),
    ),
    hints=(
        "First the common size, then a tensor of zeros, then each image into its corner.",
        "The smallest multiple of s that is at least n is `math.ceil(n / s) * s`, for heights and for widths apart.",
        "`batch[i, :, :h, :w] = images[i]`",
    ),
    forbidden=("frcnn_lessons.batch",),
    variants=(
        Variant(
            "grey",
            """\
`pad_batch(images, stride)` gets a list of `N` images, each `(3, H, W)` and of its own size, and returns one tensor
`(N, 3, H', W')`: every image in the **upper left corner** of its place, a **grey of 0.5** on the right of it and
below. H' and W' are the *smallest* multiples of `stride` that hold every image; they may differ. There is at least
one image.""",
            change={
                "padded with zeros": "padded with 0.5",
                "torch.zeros(len(images), 3, height, width)": "torch.full((len(images), 3, height, width), 0.5)",
            },
            gives={"1 x 2 pixels, stride 2": [[[[1, 1], [0.5, 0.5]]] * 3]},
            without=("centred", "left_top", "pad_order", "resized", "ones"),
            impostors=(
                Impostor(
                    "zeros",
                    "The padding should be 0.5 here.",
                    change={
                        "torch.full((len(images), 3, height, width), 0.5)": "torch.zeros(len(images), 3, height, width)"
                    },
                ),
            ),
        ),
        Variant(
            "lower_right",
            """\
`pad_batch(images, stride)` gets a list of `N` images, each `(3, H, W)` and of its own size, and returns one tensor
`(N, 3, H', W')`: every image in the **lower right corner** of its place, **zeros** on the *left* of it and *above*.
H' and W' are the *smallest* multiples of `stride` that hold every image; they may differ. There is at least one
image.""",
            change={
                "on the right and below": "on the left and above",
                "place[:, : image.shape[1], : image.shape[2]]": "place[:, -image.shape[1] :, -image.shape[2] :]",
            },
            gives={"1 x 2 pixels, stride 2": [[[[0, 0], [1, 1]]] * 3]},
            without=("left_top", "pad_order", "centred"),
            impostors=(
                Impostor(
                    "upper_left",
                    "The zeros came on the right and below; here they belong on the left and above.",
                    change={
                        "place[:, -image.shape[1] :, -image.shape[2] :]": "place[:, : image.shape[1], : image.shape[2]]"
                    },
                ),
            ),
        ),
    ),
)

# --- 02.8 ------------------------------------------------------------------------------------------------------

BEFORE_YOU_TRAIN = Exercise(
    kind="explain",
    name="before_you_train",
    number="02.8",
    title="Before you train",
    minutes=8,
    points=2,
    goals=(4,),
    core=True,
    text="""\
A friend sends you 3,000 photographs with VOC files from a labelling tool. Name four checks before the first training
step, each with the mistake that it finds (at most 120 words).""",
    answer="""\
Draw a batch as the network gets it, after all transforms: boxes left behind by a flip, or photographs turned by their
camera. Look at the smallest xmin and the largest xmax: whether the tool counts from 0 or from 1. Count the class
names: "bus" and "Bus" are two classes. Refuse boxes without an area or outside their image: they turn a loss into
NaN. Count images without objects: a table of boxes does not know them, so the detector would never see an empty
street.""",
    guide="""\
Half a point each, at most 2: draw a batch as the network gets it; count from 0 or from 1; class names counted; boxes
without area or outside their image; images without objects in the list; photographs turned by their camera (EXIF);
sizes and shapes of boxes against those of the windows or anchors. A check without the mistake that it finds: a
quarter.""",
    hints=(
        "What did the reader refuse in the lesson, and what did it warn of?",
        "Which mistakes throw no error? Think of mirroring, of the 1 of VOC, of names.",
        "What is missing in a table that has one row a box?",
    ),
)

# --- 02.9 ------------------------------------------------------------------------------------------------------


def what_it_gives(which: str) -> Any:
    """Cases for the four numbers of one detector."""
    names = ("objects that count", "right answers", "precision", "recall")
    return [
        on_paper(f"{which}: {name}", gives=..., experiment=lambda value, place=place: value()[which][place])
        for place, name in enumerate(names)
    ]


WHAT_DIFFICULT_DOES = Exercise(
    kind="predict",
    name="what_difficult_does",
    number="02.9",
    title="What difficult does",
    minutes=6,
    points=1,
    goals=(3,),
    core=True,
    text="""\
In an image stand 4 buses, 1 of them marked difficult. A detector finds all 4, with one box each, and gives no other
answer. A second detector finds the 3 others and is blind to the difficult one.

Predict for each four numbers: how many objects count, how many answers are right, precision (right answers / answers
that count) and recall (right answers / objects that count).""",
    answer={"finds all": (3, 3, 1.0, 1.0), "is blind": (3, 3, 1.0, 1.0)},
    stub='{"finds all": ..., "is blind": ...}',
    cases=(*what_it_gives("finds all"), *what_it_gives("is blind")),
    impostors=(
        Impostor(
            "all_count",
            "The difficult one counts neither as an object nor, when it is found, as an answer.",
            answer={"finds all": (4, 4, 1.0, 1.0), "is blind": (4, 3, 1.0, 0.75)},
        ),
        Impostor(
            "found_counts",
            "Then recall would be 4/3: an answer on the difficult one is not right, and not wrong either.",
            answer={"finds all": (3, 4, 1.0, 4 / 3), "is blind": (3, 3, 1.0, 1.0)},
        ),
        Impostor(
            "found_is_wrong",
            "An answer on a difficult object is not right, but not wrong either: it leaves the list.",
            answer={"finds all": (3, 3, 0.75, 1.0), "is blind": (3, 3, 1.0, 1.0)},
        ),
        Impostor(
            "missing_it_costs",
            "Missing a difficult object costs nothing.",
            answer={"finds all": (3, 3, 1.0, 1.0), "is blind": (3, 3, 1.0, 0.75)},
        ),
        Impostor(
            "missing_it_counts",
            "A difficult object never counts, whether it is found or missed.",
            answer={"finds all": (3, 3, 1.0, 1.0), "is blind": (4, 3, 1.0, 0.75)},
        ),
    ),
    hints=(
        "Say the rule of VOC aloud: two sentences, one on the object, one on the answer.",
        "Cross out the difficult bus, and every answer that lies on it. What is left?",
        "Three objects are left, and three answers; for both detectors.",
    ),
    variants=(
        Variant(
            "with_an_alarm",
            """\
In an image stand 6 buses, 2 of them marked difficult. A detector finds all 6, with one box each, and gives one more
answer, on an empty stretch of road. A second detector gives the same answers, but is blind to the two difficult ones.

Predict for each four numbers: how many objects count, how many answers are right, precision (right answers / answers
that count) and recall (right answers / objects that count).""",
            answer={"finds all": (4, 4, 0.8, 1.0), "is blind": (4, 4, 0.8, 1.0)},
            without=("all_count", "found_counts", "found_is_wrong", "missing_it_costs", "missing_it_counts"),
            impostors=(
                Impostor(
                    "all_count",
                    "The difficult ones count neither as objects nor, when they are found, as answers.",
                    answer={"finds all": (6, 6, 6 / 7, 1.0), "is blind": (6, 4, 0.8, 4 / 6)},
                ),
                Impostor(
                    "found_is_wrong",
                    "An answer on a difficult object is not right, but not wrong either: it leaves the list.",
                    answer={"finds all": (4, 4, 4 / 7, 1.0), "is blind": (4, 4, 0.8, 1.0)},
                ),
                Impostor(
                    "alarm_forgotten",
                    "The answer on the empty road is wrong, and stays in the list.",
                    answer={"finds all": (4, 4, 1.0, 1.0), "is blind": (4, 4, 1.0, 1.0)},
                ),
            ),
        ),
        Variant(
            "one_missed",
            """\
In an image stand 6 buses, 2 of them marked difficult. A detector finds 5, with one box each: all but one of those
that are *not* difficult. It gives no other answer. A second detector finds the same, but is blind to the two
difficult ones.

Predict for each four numbers: how many objects count, how many answers are right, precision (right answers / answers
that count) and recall (right answers / objects that count).""",
            answer={"finds all": (4, 3, 1.0, 0.75), "is blind": (4, 3, 1.0, 0.75)},
            without=("all_count", "found_counts", "found_is_wrong", "missing_it_costs", "missing_it_counts"),
            impostors=(
                Impostor(
                    "all_count",
                    "The difficult ones count neither as objects nor, when they are found, as answers.",
                    answer={"finds all": (6, 5, 1.0, 5 / 6), "is blind": (6, 3, 1.0, 0.5)},
                ),
                Impostor(
                    "found_is_wrong",
                    "An answer on a difficult object is not right, but not wrong either: it leaves the list.",
                    answer={"finds all": (4, 3, 0.6, 0.75), "is blind": (4, 3, 1.0, 0.75)},
                ),
            ),
        ),
    ),
)

EXERCISES: tuple[Exercise, ...] = (
    VOC_OBJECT,
    OPEN_IMAGES_BOX,
    ROTATE_RIGHT,
    RESIZE_WITH_BOXES,
    LEFT_BEHIND,
    CROP_BOXES,
    PAD_BATCH,
    BEFORE_YOU_TRAIN,
    WHAT_DIFFICULT_DOES,
)
