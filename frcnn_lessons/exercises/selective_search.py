"""The exercises of lesson 03, selective search.

Shapes: M regions, U different ones, R proposals and K objects of an image.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, tensor

from frcnn_lessons.exercises.description import (
    Exercise,
    Impostor,
    Variant,
    at_random,
    edge,
    on_paper,
    parts,
)


def numpy_draw(draw: torch.Generator) -> np.random.Generator:
    """NumPy's random numbers, the same for the same draw."""
    return np.random.default_rng(int(torch.randint(2**31, (1,), generator=draw)))


# --- 03.1 ------------------------------------------------------------------------------------------------------

COUNT_WINDOWS = Exercise(
    kind="predict",
    name="count_windows",
    number="03.1",
    title="Count the windows",
    minutes=6,
    points=1,
    goals=(1,),
    core=True,
    text="""\
Predict four whole numbers, with pencil and paper:

1. how many boxes a picture of 5 x 3 pixels has, if a box starts and ends at edges of pixels;
2. how many places a window of 64 x 48 pixels has on a picture of 320 x 240, in steps of 16 both ways;
3. how many merges selective search makes from 40 pieces, until one region is left;
4. how many regions it has seen by then, the pieces included.""",
    answer=(90, 221, 39, 79),
    stub="(..., ..., ..., ...)",
    cases=parts("1, boxes", "2, places", "3, merges", "4, regions"),
    impostors=(
        Impostor(
            "pixels_chosen",
            "A box of one pixel is a box, too: choose two of the *edges*, which are one more than the pixels.",
            answer=(30, 221, 39, 79),
        ),
        Impostor(
            "ordered",
            "Edges 1 and 4 give the same box as edges 4 and 1: each pair counts once.",
            answer=(360, 221, 39, 79),
        ),
        Impostor(
            "pixels_squared",
            "Two different edges each way, and each pair once: (6 choose 2) times (4 choose 2).",
            answer=(225, 221, 39, 79),
        ),
        Impostor(
            "steps_only",
            "The window must lie inside the picture: it starts at 320 - 64 at the latest.",
            answer=(90, 300, 39, 79),
        ),
        Impostor("first_place", "The first place counts: (320 - 64) / 16 + 1 across.", answer=(90, 192, 39, 79)),
        Impostor(
            "one_too_many",
            "Each merge leaves one region fewer. From 40 to 1, how many steps are that?",
            answer=(90, 221, 40, 80),
        ),
        Impostor("merges_only", "The pieces count as well.", answer=(90, 221, 39, 39)),
    ),
    hints=(
        "How many vertical edges do 5 pixels in a row have?",
        "Across, a window has (width of the picture - width of the window) / step + 1 places.",
        "15 pairs of vertical edges; 17 places across; each merge takes one region away and adds one to the list.",
    ),
    variants=(
        Variant(
            "six_by_two",
            """\
Predict four whole numbers, with pencil and paper:

1. how many boxes a picture of 6 x 2 pixels has, if a box starts and ends at edges of pixels;
2. how many places a window of 100 x 60 pixels has on a picture of 300 x 200, in steps of 20 both ways;
3. how many merges selective search makes from 25 pieces, until one region is left;
4. how many regions it has seen by then, the pieces included.""",
            answer=(63, 88, 24, 49),
            without=(
                *("pixels_chosen", "ordered", "pixels_squared", "steps_only", "first_place", "one_too_many"),
                "merges_only",
            ),
            impostors=(
                Impostor(
                    "pixels_chosen",
                    "A box of one pixel is a box, too: choose two of the *edges*, which are one more than the pixels.",
                    answer=(15, 88, 24, 49),
                ),
                Impostor(
                    "first_place", "The first place counts: (300 - 100) / 20 + 1 across.", answer=(63, 70, 24, 49)
                ),
                Impostor(
                    "one_too_many",
                    "Each merge leaves one region fewer. From 25 to 1, how many steps are that?",
                    answer=(63, 88, 25, 50),
                ),
            ),
        ),
        Variant(
            "four_by_four",
            """\
Predict four whole numbers, with pencil and paper:

1. how many boxes a picture of 4 x 4 pixels has, if a box starts and ends at edges of pixels;
2. how many places a window of 50 x 50 pixels has on a picture of 200 x 100, in steps of 25 both ways;
3. how many merges selective search makes from 100 pieces, until one region is left;
4. how many regions it has seen by then, the pieces included.""",
            answer=(100, 21, 99, 199),
            without=(
                *("pixels_chosen", "ordered", "pixels_squared", "steps_only", "first_place", "one_too_many"),
                "merges_only",
            ),
            impostors=(
                Impostor(
                    "pixels_chosen",
                    "A box of one pixel is a box, too: choose two of the *edges*, which are one more than the pixels.",
                    answer=(36, 21, 99, 199),
                ),
                Impostor(
                    "first_place", "The first place counts: (200 - 50) / 25 + 1 across.", answer=(100, 12, 99, 199)
                ),
                Impostor(
                    "one_too_many",
                    "Each merge leaves one region fewer. From 100 to 1, how many steps are that?",
                    answer=(100, 21, 100, 200),
                ),
            ),
        ),
    ),
)

# --- 03.2 ------------------------------------------------------------------------------------------------------


def colour_similarity(a, b):
    """C of two regions from their counts of pixels, (3, 25) each: what their histograms share, from 0 to 1."""
    return np.minimum(a / a.sum(), b / b.sum()).sum()


def in_bins(*channels: dict[int, float]) -> np.ndarray:
    """Counts (3, 25) with so many pixels in these bins of each channel."""
    counts = np.zeros((3, 25))
    for channel, bins in enumerate(channels):
        for place, pixels in bins.items():
            counts[channel, place] = pixels
    return counts


def flat(pixels: int, red: int, green: int, blue: int) -> np.ndarray:
    """Counts of a region of one colour."""
    return in_bins({red: pixels}, {green: pixels}, {blue: pixels})


def some_counts(_size: int, draw: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two regions of different sizes, counted in three channels."""
    rng = numpy_draw(draw)
    first, second = rng.integers(5, 200, 2)
    return tuple(  # type: ignore[return-value]
        np.stack([np.bincount(rng.integers(0, 8, n) * rng.integers(1, 4), minlength=25) for _ in range(3)]).astype(
            float
        )
        for n in (first, second)
    )


BODY, SKIRT = flat(8, 20, 5, 5), flat(4, 15, 5, 5)

COLOUR_SIMILARITY = Exercise(
    kind="implement",
    reference=colour_similarity,
    number="03.2",
    title="How alike are two colours?",
    minutes=10,
    points=2,
    goals=(2,),
    core=True,
    text="""\
`colour_similarity(a, b)`: measure C of two regions. Each comes as *counts*, a NumPy array `(3, 25)`: how many of its
pixels fall into each of 25 bins of red, of green and of blue. Regions have different sizes, and at least one pixel.
Return one number from 0 to 1: the histogram intersection, where all 75 bins of a region together sum to 1.""",
    cases=(
        on_paper("8 pixels of body and 4 of skirt", BODY, SKIRT, gives=2 / 3),
        on_paper("a region with itself", BODY, BODY, gives=1),
        on_paper("nothing in common", BODY, flat(8, 0, 1, 2), gives=0),
        on_paper("one colour, 50 and 200 pixels", flat(50, 3, 4, 5), flat(200, 3, 4, 5), gives=1),
        on_paper(
            "2 pixels of two reds, and 2 of one of them",
            in_bins({1: 1, 2: 1}, {0: 2}, {0: 2}),
            in_bins({1: 2}, {0: 2}, {0: 2}),
            gives=1 / 6 + 1 / 3 + 1 / 3,
        ),
        on_paper(
            "4 pixels of two reds, and 2 of one of them",
            in_bins({1: 3, 2: 1}, {0: 4}, {0: 4}),
            in_bins({2: 2}, {0: 2}, {9: 2}),
            gives=1 / 12 + 1 / 3,
        ),
        *at_random(some_counts),
    ),
    impostors=(
        Impostor(
            "counts",
            "A large region has larger counts: make shares of the counts before you compare.",
            change={"a / a.sum(), b / b.sum()": "a, b"},
        ),
        Impostor(
            "per_channel",
            "Equal regions come out as 3: all *75* bins together sum to 1, not the 25 of each channel.",
            change={"a / a.sum(), b / b.sum()": "a / a.sum(axis=1, keepdims=True), b / b.sum(axis=1, keepdims=True)"},
        ),
        Impostor(
            "product",
            "The shares were multiplied: take the smaller of the two in each bin.",
            change={"np.minimum(a / a.sum(), b / b.sum())": "(a / a.sum() * (b / b.sum()))"},
        ),
        Impostor(
            "cosine",
            "That is the cosine of the angle between them: take the smaller share in each bin, and add up.",
            function=lambda a, b: float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())),
        ),
        Impostor(
            "maximum",
            "What they *share* is the smaller of the two in each bin, not the larger.",
            change={"np.minimum": "np.maximum"},
        ),
        Impostor(
            "distance",
            "Nearly: the sum of differences counts each of them twice, once where it is missing and once where it is "
            "too much.",
            change={"np.minimum(a / a.sum(), b / b.sum()).sum()": "1 - np.abs(a / a.sum() - b / b.sum()).sum()"},
        ),
        Impostor(
            "by_larger",
            "Both were divided by the same number: each region by its *own* sum.",
            change={"a / a.sum(), b / b.sum()": "a / max(a.sum(), b.sum()), b / max(a.sum(), b.sum())"},
        ),
        Impostor(
            "by_smaller",
            "Both were divided by the same number: each region by its *own* sum.",
            change={"a / a.sum(), b / b.sum()": "a / min(a.sum(), b.sum()), b / min(a.sum(), b.sum())"},
        ),
        Impostor(
            "by_union",
            "That is the intersection over the union of the two: what they share is not divided again.",
            change={
                "return np.minimum(a / a.sum(), b / b.sum()).sum()": (
                    "p, q = a / a.sum(), b / b.sum()\n    return np.minimum(p, q).sum() / np.maximum(p, q).sum()"
                )
            },
        ),
        Impostor(
            "mean",
            "The smaller shares of all bins are added up, not averaged.",
            change={"b / b.sum()).sum()": "b / b.sum()).mean()"},
        ),
        Impostor(
            "bins_in_common",
            "It counts bins that both use; what counts is how much of each region is in them.",
            function=lambda a, b: float(((a > 0) & (b > 0)).sum() / ((a > 0) | (b > 0)).sum()),
        ),
        Impostor(
            "in_place",
            "",
            change={
                "return np.minimum(a / a.sum(), b / b.sum())": "a /= a.sum()\n    return np.minimum(a, b / b.sum())"
            },
        ),
    ),
    hints=(
        "Body and skirt on paper: which share of each lies in bin 5 of green?",
        "First make shares of the counts: divide by the sum of all 75. Then compare bin by bin.",
        "`np.minimum(share_a, share_b).sum()`",
    ),
    forbidden=("frcnn_lessons.selective_search",),
    variants=(
        Variant(
            "by_channel",
            """\
`colour_similarity(a, b)`: how alike two regions are in **each channel**. Each region comes as *counts*, a NumPy array
`(3, 25)`: how many of its pixels fall into each of 25 bins of red, of green and of blue. Regions have different
sizes, and at least one pixel. Return **three** numbers from 0 to 1, shape `(3,)`: for each channel the histogram
intersection, where the 25 bins of a channel sum to 1.""",
            change={
                "what their histograms share": "channel by channel what they share",
                "a / a.sum(), b / b.sum()).sum()": (
                    "a / a.sum(axis=1, keepdims=True), b / b.sum(axis=1, keepdims=True)).sum(axis=1)"
                ),
            },
            gives={"8 pixels of body and 4 of skirt": [0, 1, 1], "a region with itself": [1, 1, 1]},
            without=(
                *("counts", "per_channel", "product", "cosine", "maximum", "distance", "by_larger", "by_smaller"),
                *("by_union", "mean", "bins_in_common", "in_place"),
            ),
            impostors=(
                Impostor(
                    "all_bins",
                    "Equal regions come out as a third each: here the 25 bins of each *channel* sum to 1.",
                    function=lambda a, b: np.minimum(a / a.sum(), b / b.sum()).sum(axis=1),
                ),
                Impostor(
                    "counts",
                    "A large region has larger counts: make shares of the counts before you compare.",
                    function=lambda a, b: np.minimum(a, b).sum(axis=1),
                ),
                Impostor(
                    "one_number",
                    "",
                    function=lambda a, b: np.minimum(a / a.sum(), b / b.sum()).sum(),
                ),
            ),
        ),
        Variant(
            "chi_square",
            r"""
`colour_similarity(a, b)`, in spite of its name: the **chi-square distance** of two regions,
$\frac12 \sum_k \frac{(p_k - q_k)^2}{p_k + q_k}$, where $p$ and $q$ are the shares of the two in each bin, and bins
that both leave empty count 0. Each region comes as *counts*, a NumPy array `(3, 25)`: how many of its pixels fall
into each of 25 bins of red, of green and of blue. Regions have different sizes, and at least one pixel. Return one
number from 0 (equal) to 1 (nothing in common); all 75 bins of a region together sum to 1.""".lstrip(),
            change={
                "return np.minimum(a / a.sum(), b / b.sum()).sum()": (
                    "p, q = a / a.sum(), b / b.sum()\n"
                    "    used = p + q > 0\n"
                    "    return ((p - q)[used] ** 2 / (p + q)[used]).sum() / 2"
                ),
                "C of two regions": "Chi-square distance of two regions",
                ": what their histograms share, from 0 to 1": ", from 0 to 1",
            },
            gives={"8 pixels of body and 4 of skirt": 1 / 3, "a region with itself": 0, "nothing in common": 1},
            without=(
                *("counts", "per_channel", "product", "distance", "by_larger", "by_smaller", "by_union", "mean"),
                *("maximum", "in_place"),
            ),
            impostors=(
                Impostor(
                    "no_half",
                    "Nothing in common must give 1: the factor 1/2 is missing.",
                    change={".sum() / 2": ".sum()"},
                ),
                Impostor(
                    "counts",
                    "A large region has larger counts: make shares of the counts before you compare.",
                    change={"a / a.sum(), b / b.sum()": "a, b"},
                ),
                Impostor("nan", "", change={"used = p + q > 0": "used = p + q > -1"}),
            ),
        ),
    ),
)

# --- 03.3 ------------------------------------------------------------------------------------------------------


def fill_of_masks(a, b):
    """F of two regions of a picture, given as masks (h, w) that do not overlap."""
    y, x = np.nonzero(a | b)
    box = (x.max() + 1 - x.min()) * (y.max() + 1 - y.min())
    return 1 - (box - a.sum() - b.sum()) / a.size


def mask(*rows: str) -> tuple[np.ndarray, np.ndarray]:
    """Two masks from a drawing with letters a and b."""
    drawing = np.array([list(row) for row in rows])
    return drawing == "a", drawing == "b"


def some_masks(_size: int, draw: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two masks with at least one pixel each, in a picture that is not square."""
    rng = numpy_draw(draw)
    h, w = rng.integers(2, 6), rng.integers(6, 10)
    drawing = rng.choice([0, 0, 0, 0, 1, 2], (h, w))
    drawing.flat[rng.choice(h * w, 2, replace=False)] = [1, 2]
    return drawing == 1, drawing == 2


FILL_OF_MASKS = Exercise(
    kind="implement",
    reference=fill_of_masks,
    number="03.3",
    title="Do they fill the box around both?",
    stars=2,
    minutes=12,
    points=3,
    goals=(2,),
    core=False,
    text=r"""
`fill_of_masks(a, b)`: measure F of two regions,

$$F = 1 - \frac{\text{size of the box around both} - \text{size}_a - \text{size}_b}{\text{size of the picture}}$$

The regions come as masks, NumPy arrays of `True` and `False`, as large as the picture, `(h, w)`. They do not overlap,
and neither is empty; a region may be in several pieces. Sizes are counted in pixels. Return one number.""".lstrip(),
    cases=(
        on_paper("two pixels side by side", *mask("ab..", "...."), gives=1),
        on_paper("a pixel between them", *mask("a.b.", "...."), gives=1 - 1 / 8),
        on_paper(
            "body and skirt", *mask("........", "........", ".aaaa...", ".aaaa...", ".bbbb...", "........"), gives=1
        ),
        on_paper("two far corners", *mask("a.......", *["........"] * 4, ".......b"), gives=1 - 46 / 48),
        on_paper("a row, and one pixel below it", *mask("aaaaaaaa", "...b....", "........"), gives=1 - 7 / 24),
        on_paper("two halves", *mask("aaabbb", "aaabbb"), gives=1),
        on_paper("a region in two pieces around the other", *mask("a.b..a", "......"), gives=1 - 3 / 12),
        on_paper("an upright pair", *mask("a...", "....", "b..."), gives=1 - 1 / 12),
        *at_random(some_masks),
    ),
    impostors=(
        Impostor(
            "one_short",
            "From pixel 3 to pixel 4 are two columns: max - min is one short (fence posts, lesson 02).",
            change={"x.max() + 1 - x.min()": "x.max() - x.min()", "y.max() + 1 - y.min()": "y.max() - y.min()"},
        ),
        Impostor(
            "by_box",
            "The gap is divided by the size of the *picture*, not of the box.",
            change={"/ a.size": "/ box"},
        ),
        Impostor(
            "gap",
            "1 minus is missing: no gap must give 1.",
            change={"return 1 - (box - a.sum() - b.sum())": "return (box - a.sum() - b.sum())"},
        ),
        Impostor(
            "box_of_one",
            "The box lies around *both* regions, not around the first alone.",
            change={"np.nonzero(a | b)": "np.nonzero(a)"},
        ),
        Impostor("one_size", "Both sizes come off the box.", change={"box - a.sum() - b.sum()": "box - a.sum()"}),
        Impostor(
            "both_in_x",
            "The box is as wide as it is in x and as high as it is in y.",
            change={"y.max() + 1 - y.min()": "x.max() + 1 - x.min()"},
        ),
        Impostor(
            "sum_of_boxes",
            "The box around both holds what lies between them as well: it is not the sum of the two boxes.",
            change={
                "y, x = np.nonzero(a | b)\n    box = (x.max() + 1 - x.min()) * (y.max() + 1 - y.min())": (
                    "box = sum(np.ptp(x) * np.ptp(y) + np.ptp(x) + np.ptp(y) + 1 for y, x in map(np.nonzero, (a, b)))"
                )
            },
        ),
        Impostor(
            "size_measure",
            "That is S: it looks at the sizes, and not at the box around both.",
            change={"(box - a.sum() - b.sum())": "(a.sum() + b.sum())"},
        ),
    ),
    hints=(
        "Draw the second case. How many pixels of the box around both belong to neither?",
        "`np.nonzero(a | b)` gives rows and columns of all pixels of both; the box reaches from the smallest to the "
        "largest.",
        "`(x.max() + 1 - x.min()) * (y.max() + 1 - y.min())` is the size of the box.",
    ),
    forbidden=("frcnn_lessons.selective_search",),
)

# --- 03.4 ------------------------------------------------------------------------------------------------------


def merge_regions(a, b):
    """The union of two regions, from what is known of them alone."""
    size = a["size"] + b["size"]
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a["box"], b["box"]
    return {
        "size": size,
        "box": (min(ax1, bx1), min(ay1, by1), max(ax2, bx2), max(ay2, by2)),
        "colour": (a["size"] * a["colour"] + b["size"] * b["colour"]) / size,
        "mean": (a["size"] * a["mean"] + b["size"] * b["mean"]) / size,
    }


def region(size: int, box: tuple[float, ...], bins: tuple[int, int, int], mean: tuple[float, ...]) -> dict[str, Any]:
    """A region of one colour."""
    colour = np.zeros(75)
    colour[[bins[0], 25 + bins[1], 50 + bins[2]]] = 1 / 3
    return {"size": size, "box": box, "colour": colour, "mean": np.array(mean)}


def bins_used(f: Any, a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """The union, with those bins of its histogram that are not empty, so that it can be read."""
    union = f(a, b)
    if not isinstance(union, dict) or set(union) != {"size", "box", "colour", "mean"}:
        return union
    colour = np.asarray(union["colour"], dtype=float)
    return {**union, "colour": colour[colour > 0]}


def some_regions(_size: int, draw: torch.Generator) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two regions with any colours and boxes."""
    rng = numpy_draw(draw)
    both = []
    for _ in range(2):
        x, y = np.sort(rng.integers(0, 40, (2, 2)), axis=1)
        colour = rng.random(75)
        both.append(
            {
                "size": int(rng.integers(1, 400)),
                "box": (int(x[0]), int(y[0]), int(x[1]) + 1, int(y[1]) + 1),
                "colour": colour / colour.sum(),
                "mean": rng.random(3),
            }
        )
    return both[0], both[1]


def union_on_paper(
    label: str, a: dict[str, Any], b: dict[str, Any], size: int, box: Any, colour: Any, mean: Any
) -> Any:
    """A case whose histogram is told by the bins that are not empty."""
    gives = {"size": size, "box": box, "colour": colour, "mean": mean}
    return on_paper(label, a, b, gives=gives, experiment=bins_used)


BUS_BODY = region(8, (1, 2, 5, 4), (20, 5, 5), (0.9, 0.3, 0.3))
BUS_SKIRT = region(4, (1, 4, 5, 5), (15, 5, 5), (0.6, 0.3, 0.3))

MERGE_REGIONS = Exercise(
    kind="implement",
    reference=merge_regions,
    number="03.4",
    title="Join two regions",
    stars=2,
    minutes=12,
    points=3,
    goals=(2,),
    core=True,
    text="""\
`merge_regions(a, b)` joins two regions without a look at their pixels. A region is a dict with four keys: `"size"`
(pixels), `"box"` `(x1, y1, x2, y2)`, `"colour"` (a NumPy array of 75 shares that sum to 1) and `"mean"` (the mean red,
green and blue of its pixels, an array of 3). Return the union as such a dict, *exact*, as if it had been counted
afresh. `a` and `b` have no pixel in common, and stay as they are.""",
    cases=(
        union_on_paper(
            "body, 8 pixels, and skirt, 4",
            *(BUS_BODY, BUS_SKIRT, 12, (1, 2, 5, 5), [1 / 9, 2 / 9, 1 / 3, 1 / 3], [0.8, 0.3, 0.3]),
        ),
        union_on_paper(
            "skirt, 4 pixels, and body, 8",
            *(BUS_SKIRT, BUS_BODY, 12, (1, 2, 5, 5), [1 / 9, 2 / 9, 1 / 3, 1 / 3], [0.8, 0.3, 0.3]),
        ),
        union_on_paper(
            "1 pixel at the left and 99 at the right",
            region(1, (0, 0, 1, 1), (0, 5, 5), (1, 0, 0)),
            region(99, (8, 3, 20, 13), (20, 5, 5), (0, 0, 1)),
            *(100, (0, 0, 20, 13), [0.01 / 3, 0.99 / 3, 1 / 3, 1 / 3], [0.01, 0, 0.99]),
        ),
        union_on_paper(
            "2 pixels in the middle of a frame of 6",
            region(2, (2, 2, 4, 3), (1, 1, 1), (0.4, 0.4, 0.4)),
            region(6, (0, 0, 5, 5), (1, 1, 1), (0.8, 0.8, 0.8)),
            *(8, (0, 0, 5, 5), [1 / 3, 1 / 3, 1 / 3], [0.7, 0.7, 0.7]),
        ),
        union_on_paper(
            "two of 5 pixels",
            region(5, (0, 4, 5, 5), (1, 1, 1), (0, 0, 0)),
            region(5, (3, 0, 4, 4), (2, 1, 1), (1, 1, 1)),
            *(10, (0, 0, 5, 5), [1 / 6, 1 / 6, 1 / 3, 1 / 3], [0.5, 0.5, 0.5]),
        ),
        *at_random(some_regions),
    ),
    impostors=(
        Impostor(
            "plain_mean",
            "Each *pixel* has one vote, not each region: weight histogram and mean by size.",
            change={
                '(a["size"] * a["colour"] + b["size"] * b["colour"]) / size': '(a["colour"] + b["colour"]) / 2',
                '(a["size"] * a["mean"] + b["size"] * b["mean"]) / size': '(a["mean"] + b["mean"]) / 2',
            },
        ),
        Impostor(
            "mean_plain",
            "The histogram is right. In the mean colour, too, each *pixel* has one vote: weight by size.",
            change={'(a["size"] * a["mean"] + b["size"] * b["mean"]) / size': '(a["mean"] + b["mean"]) / 2'},
        ),
        Impostor(
            "colour_plain",
            "The mean colour is right. In the histogram, too, each *pixel* has one vote: weight by size.",
            change={'(a["size"] * a["colour"] + b["size"] * b["colour"]) / size': '(a["colour"] + b["colour"]) / 2'},
        ),
        Impostor(
            "sum",
            "The histogram sums to 2 now: its parts are shares, weight them by size.",
            change={'(a["size"] * a["colour"] + b["size"] * b["colour"]) / size': 'a["colour"] + b["colour"]'},
        ),
        Impostor(
            "crossed",
            "The weights were exchanged: the histogram and mean of a belong to the size of a.",
            change={
                'a["size"] * a["colour"]': 'b["size"] * a["colour"]',
                'b["size"] * b["colour"]': 'a["size"] * b["colour"]',
                'a["size"] * a["mean"]': 'b["size"] * a["mean"]',
                'b["size"] * b["mean"]': 'a["size"] * b["mean"]',
            },
        ),
        Impostor(
            "not_divided",
            "Weighted by size, but not divided by the size of the union.",
            change={
                'b["size"] * b["colour"]) / size': 'b["size"] * b["colour"])',
                'b["size"] * b["mean"]) / size': 'b["size"] * b["mean"])',
            },
        ),
        Impostor(
            "box_of_larger",
            "The box must hold *both* regions, not only the larger one.",
            change={
                "(min(ax1, bx1), min(ay1, by1), max(ax2, bx2), max(ay2, by2))": (
                    'a["box"] if a["size"] > b["size"] else b["box"]'
                )
            },
        ),
        Impostor(
            "all_min",
            "The far sides of the union are the *larger* ones.",
            change={"max(ax2, bx2), max(ay2, by2)": "min(ax2, bx2), min(ay2, by2)"},
        ),
        Impostor(
            "intersection",
            "That is what both boxes share: the union starts at the smaller near side and ends at the larger far one.",
            change={
                "min(ax1, bx1), min(ay1, by1), max(ax2, bx2), max(ay2, by2)": (
                    "max(ax1, bx1), max(ay1, by1), min(ax2, bx2), min(ay2, by2)"
                )
            },
        ),
        Impostor(
            "size_of_box",
            "A region need not fill its box: the union has as many pixels as the two together.",
            change={
                '"size": size,': '"size": (max(ax2, bx2) - min(ax1, bx1)) * (max(ay2, by2) - min(ay1, by1)),',
            },
        ),
        Impostor(
            "in_place", "", change={'size = a["size"] + b["size"]': 'a["size"] += b["size"]\n    size = a["size"]'}
        ),
    ),
    hints=(
        "Body and skirt: 8 + 4 pixels. How much of the union's red lies in the body's bin?",
        "Size: a sum. Box: the smaller near sides, the larger far sides. The rest: means weighted by size.",
        "`(a['size'] * a['colour'] + b['size'] * b['colour']) / (a['size'] + b['size'])`",
    ),
    forbidden=("frcnn_lessons.selective_search",),
    variants=(
        Variant(
            "xywh",
            """\
`merge_regions(a, b)` joins two regions without a look at their pixels. A region is a dict with four keys: `"size"`
(pixels), `"box"` **(left, top, width, height)**, `"colour"` (a NumPy array of 75 shares that sum to 1) and `"mean"`
(the mean red, green and blue of its pixels, an array of 3). Return the union as such a dict, *exact*, as if it had
been counted afresh. `a` and `b` have no pixel in common, and stay as they are.""",
            change={
                '(ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a["box"], b["box"]': (
                    '(ax, ay, aw, ah), (bx, by, bw, bh) = a["box"], b["box"]\n    x, y = min(ax, bx), min(ay, by)'
                ),
                "(min(ax1, bx1), min(ay1, by1), max(ax2, bx2), max(ay2, by2))": (
                    "(x, y, max(ax + aw, bx + bw) - x, max(ay + ah, by + bh) - y)"
                ),
            },
            cases=(
                union_on_paper(
                    "body, 8 pixels, and skirt, 4",
                    {**BUS_BODY, "box": (1, 2, 4, 2)},
                    {**BUS_SKIRT, "box": (1, 4, 4, 1)},
                    *(12, (1, 2, 4, 3), [1 / 9, 2 / 9, 1 / 3, 1 / 3], [0.8, 0.3, 0.3]),
                ),
                union_on_paper(
                    "1 pixel at the left and 99 at the right",
                    region(1, (0, 0, 1, 1), (0, 5, 5), (1, 0, 0)),
                    region(99, (8, 3, 12, 10), (20, 5, 5), (0, 0, 1)),
                    *(100, (0, 0, 20, 13), [0.01 / 3, 0.99 / 3, 1 / 3, 1 / 3], [0.01, 0, 0.99]),
                ),
                union_on_paper(
                    "2 pixels in the middle of a frame of 6",
                    region(2, (2, 2, 2, 1), (1, 1, 1), (0.4, 0.4, 0.4)),
                    region(6, (0, 0, 5, 5), (1, 1, 1), (0.8, 0.8, 0.8)),
                    *(8, (0, 0, 5, 5), [1 / 3, 1 / 3, 1 / 3], [0.7, 0.7, 0.7]),
                ),
                *at_random(some_regions),
            ),
            without=("box_of_larger", "all_min", "intersection", "size_of_box"),
            impostors=(
                Impostor(
                    "far_sides",
                    "The last two numbers came out as far sides: width and height are asked for.",
                    change={
                        "max(ax + aw, bx + bw) - x": "max(ax + aw, bx + bw)",
                        "max(ay + ah, by + bh) - y": "max(ay + ah, by + bh)",
                    },
                ),
                Impostor(
                    "wider_of_two",
                    "The union may be wider than either: find its far sides first.",
                    change={"max(ax + aw, bx + bw) - x, max(ay + ah, by + bh) - y": "max(aw, bw), max(ah, bh)"},
                ),
            ),
        ),
        Variant(
            "counts",
            """\
`merge_regions(a, b)` joins two regions without a look at their pixels. A region is a dict with four keys: `"size"`
(pixels), `"box"` `(x1, y1, x2, y2)`, `"colour"` (a NumPy array of 75 **counts** of pixels, not shares) and `"mean"`
(the mean red, green and blue of its pixels, an array of 3). Return the union as such a dict, *exact*, as if it had
been counted afresh. `a` and `b` have no pixel in common, and stay as they are.""",
            change={'(a["size"] * a["colour"] + b["size"] * b["colour"]) / size': 'a["colour"] + b["colour"]'},
            cases=(
                union_on_paper(
                    "body, 8 pixels, and skirt, 4",
                    {**BUS_BODY, "colour": 24 * BUS_BODY["colour"]},
                    {**BUS_SKIRT, "colour": 12 * BUS_SKIRT["colour"]},
                    *(12, (1, 2, 5, 5), [4, 8, 12, 12], [0.8, 0.3, 0.3]),
                ),
                union_on_paper(
                    "a pixel of each of two colours, apart",
                    {**region(1, (0, 0, 1, 1), (0, 5, 5), (1, 0, 0)), "colour": 3 * BUS_BODY["colour"]},
                    {**region(3, (8, 3, 20, 13), (20, 5, 5), (0, 0, 1)), "colour": 9 * BUS_SKIRT["colour"]},
                    *(4, (0, 0, 20, 13), [3, 1, 4, 4], [0.25, 0, 0.75]),
                ),
                *at_random(some_regions),
            ),
            without=("plain_mean", "colour_plain", "sum", "crossed", "not_divided"),
            impostors=(
                Impostor(
                    "as_shares",
                    "The histogram holds counts here, which simply add up.",
                    change={
                        '"colour": a["colour"] + b["colour"]': (
                            '"colour": (a["size"] * a["colour"] + b["size"] * b["colour"]) / size'
                        )
                    },
                ),
            ),
        ),
    ),
)

# --- 03.5 ------------------------------------------------------------------------------------------------------


def neighbours_4(segments):
    """Pairs (a, b), a < b, in order, of segments (h, w) that share a side of a pixel."""
    pairs = set()
    for first, second in ((segments[:, :-1], segments[:, 1:]), (segments[:-1], segments[1:])):
        for a, b in zip(first.ravel().tolist(), second.ravel().tolist(), strict=True):
            if a != b:
                pairs.add((min(a, b), max(a, b)))
    return sorted(pairs)


def boxes_overlap(segments):
    """A wrong answer: the rule of a published package, which asks whether the boxes of two segments overlap."""
    found = []
    for number in range(segments.max() + 1):
        y, x = np.nonzero(segments == number)
        found.append((x.min(), y.min(), x.max(), y.max()))
    return [
        (a, b)
        for a in range(len(found))
        for b in range(a + 1, len(found))
        if found[a][0] < found[b][2]
        and found[b][0] < found[a][2]
        and found[a][1] < found[b][3]
        and found[b][1] < found[a][3]
    ]


def with_corners(segments):
    """A wrong answer: corners count as well."""
    h, w = segments.shape
    return sorted(
        {
            (min(a, b), max(a, b))
            for y in range(h)
            for x in range(w)
            for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1))
            if y + dy < h and 0 <= x + dx < w
            for a, b in [(int(segments[y, x]), int(segments[y + dy, x + dx]))]
            if a != b
        }
    )


def rolled(segments):
    """A wrong answer: np.roll lets the picture wrap round."""
    pairs = set()
    for axis in (0, 1):
        for a, b in zip(segments.ravel().tolist(), np.roll(segments, -1, axis).ravel().tolist(), strict=True):
            if a != b:
                pairs.add((min(a, b), max(a, b)))
    return sorted(pairs)


def some_segments(_size: int, draw: torch.Generator) -> tuple[np.ndarray]:
    """Any numbers: segments need not hang together here."""
    rng = numpy_draw(draw)
    coarse = rng.permutation(rng.integers(6, 12))[rng.integers(0, 6, (rng.integers(2, 5), rng.integers(2, 6)))]
    _, labels = np.unique(np.kron(coarse, np.ones((2, 2), dtype=int))[:, 1:], return_inverse=True)
    return (labels.reshape(2 * coarse.shape[0], -1),)


STREET = np.array([list(row) for row in ("00000000", "00000011", "02222011", "02222011", "03333011", "44444444")])
STREET = STREET.astype(int)

NEIGHBOURS_4 = Exercise(
    kind="implement",
    reference=neighbours_4,
    number="03.5",
    title="Who touches whom?",
    stars=2,
    minutes=15,
    points=3,
    goals=(2,),
    core=False,
    text="""\
`neighbours_4(segments)` gets the number of the segment of each pixel, a NumPy array `(h, w)` of whole numbers, and
returns which segments touch: a list of pairs `(a, b)` with `a < b`, each pair once, in ascending order. Two segments
touch where pixels of theirs share a **side**; a corner does not count here, unlike in the lesson.""",
    cases=(
        on_paper("four pixels, four segments", np.array([[0, 1], [2, 3]]), gives=[(0, 1), (0, 2), (1, 3), (2, 3)]),
        on_paper("one segment", np.zeros((3, 4), dtype=int), gives=[]),
        on_paper("a ring around 1", np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]]), gives=[(0, 1)]),
        on_paper("one row", np.array([[2, 2, 0, 1]]), gives=[(0, 1), (0, 2)]),
        on_paper("one column, 0 comes back", np.array([[0], [1], [0], [2]]), gives=[(0, 1), (0, 2)]),
        on_paper("the street of the lesson", STREET, gives=[(0, 1), (0, 2), (0, 3), (0, 4), (1, 4), (2, 3), (3, 4)]),
        on_paper("two rows", np.array([[0, 0, 0], [1, 1, 2]]), gives=[(0, 1), (0, 2), (1, 2)]),
        on_paper("three steps", np.array([[0, 1, 1], [2, 0, 1], [2, 2, 0]]), gives=[(0, 1), (0, 2)]),
        *at_random(some_segments),
    ),
    impostors=(
        Impostor("corners", "0 and 3 meet at a corner only: here a side counts.", function=with_corners),
        Impostor(
            "boxes_overlap",
            "Segments side by side were missed, as their boxes do not overlap: look at pixels, not at boxes.",
            function=boxes_overlap,
        ),
        Impostor(
            "both_orders",
            "Each pair once, the smaller number first.",
            change={"pairs.add((min(a, b), max(a, b)))": "pairs.update([(a, b), (b, a)])"},
        ),
        Impostor(
            "as_met",
            "The smaller number comes first: a pair that is met as (3, 0) is (0, 3).",
            change={"(min(a, b), max(a, b))": "(a, b)"},
        ),
        Impostor("with_itself", "A segment is no neighbour of itself.", change={"if a != b:": "if True:"}),
        Impostor(
            "right_only",
            "Pixels have neighbours below as well.",
            change={", (segments[:-1], segments[1:])": ","},
        ),
        Impostor(
            "below_only",
            "Pixels have neighbours on the right as well.",
            change={
                "(segments[:, :-1], segments[:, 1:]), (segments[:-1], segments[1:])": "(segments[:-1], segments[1:]),"
            },
        ),
        Impostor(
            "wraps_round",
            "The first and the last column (or row) are no neighbours: an index of -1 and `np.roll` wrap round.",
            function=rolled,
        ),
    ),
    hints=(
        "Which pairs of pixels share a side? Each with its right neighbour, each with the one below.",
        "`segments[:, :-1]` and `segments[:, 1:]` lay each pixel on its right neighbour.",
        "Put `(min(a, b), max(a, b))` of every pair with `a != b` into a set, for both directions; then `sorted`.",
    ),
    forbidden=("frcnn_lessons.selective_search",),
)

# --- 03.6 ------------------------------------------------------------------------------------------------------


def rank_unique(candidates, positions, throws):
    """Boxes (U, 4) of (M, 4), smallest position x throw first; of exact repeats the best place stays."""
    order = np.argsort(positions * throws, kind="stable")
    place = {}
    for rank, i in enumerate(order):
        place.setdefault(tuple(candidates[i].tolist()), rank)
    return np.array(sorted(place, key=place.get)).reshape(-1, 4)


def ranked_and(keep: Any) -> Any:
    """A wrong answer: ranked rightly, then something is done with the rows."""

    def answer(candidates, positions, throws):
        order = np.argsort(positions * throws, kind="stable")
        return keep(candidates[order])

    return answer


def repeats_dropped_first(candidates, positions, throws):
    """A wrong answer: of repeats the first in the list stays, whatever its place."""
    _, first = np.unique(candidates, axis=0, return_index=True)
    first = np.sort(first)
    return candidates[first][np.argsort((positions * throws)[first], kind="stable")]


def some_ranking(count: int, draw: torch.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes with many repeats."""
    rng = numpy_draw(draw)
    corner = rng.integers(0, 3, (count, 2))
    candidates = np.concatenate([corner, corner + rng.integers(1, 3, (count, 2))], axis=1).astype(float)
    return candidates, rng.integers(1, 8, count).astype(float), rng.random(count)


P, Q, WHOLE = [1.0, 2, 5, 5], [0.0, 1, 8, 6], [0.0, 0, 8, 6]

RANK_UNIQUE = Exercise(
    kind="find the bug",
    reference=rank_unique,
    given="as_given",
    number="03.6",
    title="Which boxes first?",
    stars=2,
    minutes=12,
    points=3,
    goals=(3,),
    core=True,
    text="""\
"A box that two groupings found comes too late in the list, sometimes last." Find the mistake and correct it.

`rank_unique(candidates, positions, throws)` gets the `M` boxes of several groupings, a NumPy array `(M, 4)`, with
their positions (1 is the whole picture) and random throws, `(M,)` each. Return the boxes in the order of position
times throw, the smallest first, without exact repeats: **the best place of each box stays**. Equal products keep the
order in which they came. The answer is `(U, 4)`; `M` may be 0.""",
    cases=(
        on_paper(
            "P and Q and P again",
            np.array([P, Q, P]),
            np.array([2.0, 2, 2]),
            np.array([0.1, 0.2, 0.3]),
            gives=[P, Q],
        ),
        on_paper(
            "P, Q, P, the second P better",
            np.array([P, Q, P]),
            np.array([2.0, 2, 2]),
            np.array([0.3, 0.2, 0.1]),
            gives=[P, Q],
        ),
        on_paper(
            "the whole picture twice, products 0.9 and 0.2",
            np.array([WHOLE, P, Q, WHOLE]),
            np.array([1.0, 2, 3, 1]),
            np.array([0.9, 0.3, 0.1, 0.2]),
            gives=[WHOLE, Q, P],
        ),
        on_paper(
            "five boxes of the lesson",
            np.array([WHOLE, Q, P, [1.0, 2, 5, 4], [1.0, 4, 5, 5]]),
            np.array([1.0, 2, 3, 4, 5]),
            np.array([0.9, 0.3, 0.1, 0.5, 0.6]),
            gives=[P, Q, WHOLE, [1, 2, 5, 4], [1, 4, 5, 5]],
        ),
        on_paper(
            "all products are 1",
            np.array([Q, P, WHOLE, P]),
            np.array([1.0, 1, 1, 1]),
            np.array([1.0, 1, 1, 1]),
            gives=[Q, P, WHOLE],
        ),
        on_paper(
            "a small throw far back",
            np.array([WHOLE, P]),
            np.array([1.0, 40]),
            np.array([0.5, 0.1]),
            gives=[WHOLE, P],
        ),
        on_paper(
            "P three times, then Q and the whole picture",
            np.array([P, P, P, Q, WHOLE]),
            np.ones(5),
            np.array([0.1, 0.2, 0.3, 0.4, 0.5]),
            gives=[P, Q, WHOLE],
        ),
        on_paper("one box", np.array([P]), np.array([3.0]), np.array([0.5]), gives=[P]),
        edge("no boxes", np.zeros((0, 4)), np.zeros(0), np.zeros(0), gives=np.zeros((0, 4))),
        *at_random(some_ranking),
    ),
    impostors=(
        Impostor(
            "as_given",
            "Of equal boxes the *last* place stays, which is the worst: in a dict, `place[box] = rank` overwrites.",
            change={
                "place.setdefault(tuple(candidates[i].tolist()), rank)": "place[tuple(candidates[i].tolist())] = rank"
            },
        ),
        Impostor(
            "sorted_by_corners",
            "`np.unique` sorts by coordinates: the order of the ranking is gone.",
            function=ranked_and(lambda rows: np.unique(rows, axis=0).reshape(-1, 4)),
        ),
        Impostor(
            "by_throw",
            "It ranks by the throws alone: position times throw counts.",
            change={"positions * throws": "throws"},
        ),
        Impostor(
            "by_position",
            "It ranks by position alone: position times throw counts.",
            change={"positions * throws": "positions"},
        ),
        Impostor("added", "Position *times* throw, not plus.", change={"positions * throws": "positions + throws"}),
        Impostor(
            "divided", "Position *times* throw, not divided by it.", change={"positions * throws": "positions / throws"}
        ),
        Impostor(
            "largest_first", "The smallest product comes first.", change={"positions * throws": "-positions * throws"}
        ),
        Impostor("repeats_left", "Exact repeats are to be dropped.", function=ranked_and(lambda rows: rows)),
        Impostor(
            "neighbours_only",
            "A repeat need not come right behind: any box that came before counts.",
            function=ranked_and(
                lambda rows: rows[[i for i in range(len(rows)) if i == 0 or (rows[i] != rows[i - 1]).any()]]
            ),
        ),
        Impostor(
            "dropped_first",
            "Repeats were dropped before the ranking: the first in the list stayed, and not the best.",
            function=repeats_dropped_first,
        ),
        Impostor(
            "not_ranked",
            "The boxes come as they came: rank them by position times throw.",
            change={'np.argsort(positions * throws, kind="stable")': "range(len(candidates))"},
        ),
        Impostor(
            "never_twice",
            "A box that comes twice was dropped altogether: one of it stays.",
            function=ranked_and(
                lambda rows: rows[[i for i in range(len(rows)) if (rows == rows[i]).all(axis=1).sum() == 1]]
            ),
        ),
    ),
    hints=(
        "Do the first case on paper. Which rank does P have after the first look, which after the last?",
        "What does `place[key] = value` do if the key is there already?",
        "`dict.setdefault` keeps what is there; or ask `if box not in place` first.",
    ),
    forbidden=("frcnn_lessons.selective_search",),
    variants=(
        Variant(
            "three",
            """\
"A box that two groupings found comes too late in the list, sometimes last." Find the mistake and correct it; **and
let it return three boxes at most**, the first three *different* ones.

`rank_unique(candidates, positions, throws)` gets the `M` boxes of several groupings, a NumPy array `(M, 4)`, with
their positions (1 is the whole picture) and random throws, `(M,)` each. Return the boxes in the order of position
times throw, the smallest first, without exact repeats: **the best place of each box stays**. Equal products keep the
order in which they came. `M` may be 0.""",
            change={"key=place.get))": "key=place.get)[:3])"},
            gives={"five boxes of the lesson": [P, Q, WHOLE], "one box": [P]},
            without=("repeats_left", "never_twice"),
            impostors=(
                Impostor("all", "Three at most.", change={"[:3]": ""}),
                Impostor(
                    "cut_first",
                    "Three *different* boxes were asked for: drop the repeats before you cut.",
                    change={"in enumerate(order)": "in enumerate(order[:3])"},
                ),
            ),
        ),
        Variant(
            "sum",
            """\
"A box that two groupings found comes too late in the list, sometimes last." Find the mistake and correct it; **and
let position plus throw count**, not their product.

`rank_unique(candidates, positions, throws)` gets the `M` boxes of several groupings, a NumPy array `(M, 4)`, with
their positions (1 is the whole picture) and random throws, `(M,)` each. Return the boxes in the order of position
plus throw, the smallest first, without exact repeats: **the best place of each box stays**. Equal sums keep the order
in which they came. The answer is `(U, 4)`; `M` may be 0.""",
            change={"position x throw": "position + throw", "positions * throws": "positions + throws"},
            gives={"five boxes of the lesson": [WHOLE, Q, P, [1, 2, 5, 4], [1, 4, 5, 5]], "one box": [P]},
            without=(
                *("by_throw", "by_position", "added", "divided", "largest_first", "not_ranked", "dropped_first"),
                *("sorted_by_corners", "repeats_left", "neighbours_only", "never_twice"),
            ),
            impostors=(
                Impostor(
                    "product", "Position *plus* throw counts here.", change={"positions + throws": "positions * throws"}
                ),
                Impostor(
                    "largest_first",
                    "The smallest sum comes first.",
                    change={"positions + throws": "-positions - throws"},
                ),
            ),
        ),
    ),
)

# --- 03.7 ------------------------------------------------------------------------------------------------------


def group_small_first(sizes, pairs):
    """The merges (a, b), a < b, when the two neighbours with the smallest sum of sizes are joined, again and again."""
    sizes, merges = list(sizes), []
    pairs = {(min(pair), max(pair)) for pair in pairs}
    while pairs:
        a, b = min(pairs, key=lambda pair: (sizes[pair[0]] + sizes[pair[1]], pair))
        new = len(sizes)
        sizes.append(sizes[a] + sizes[b])
        merges.append((a, b))
        ends = [{new if end in (a, b) else end for end in pair} for pair in pairs]
        pairs = {(min(pair), max(pair)) for pair in ends if len(pair) == 2}
    return merges


def all_pairs(sizes, _pairs):
    """A wrong answer: any two regions may be joined."""
    return group_small_first(sizes, [(a, b) for b in range(len(sizes)) for a in range(b)])


def old_number(sizes, pairs):
    """A wrong answer: the union keeps the smaller number of its parts."""
    names, merges = list(range(len(sizes))), []
    for a, b in group_small_first(sizes, pairs):
        merges.append((min(names[a], names[b]), max(names[a], names[b])))
        names.append(min(names[a], names[b]))
    return merges


def some_pieces(count: int, draw: torch.Generator) -> tuple[list[int], list[tuple[int, int]]]:
    """Pieces that hang together, with some more neighbours."""
    rng = numpy_draw(draw)
    count = min(max(count, 1), 12)
    sizes = rng.integers(1, 30, count).tolist()
    pairs = {(int(rng.integers(b)), b) for b in range(1, count)}
    pairs |= {(a, b) for b in range(count) for a in range(b) if rng.random() < 0.15}
    return sizes, sorted(pairs)


GROUP_SMALL_FIRST = Exercise(
    kind="implement",
    reference=group_small_first,
    number="03.7",
    title="Group by size alone",
    stars=3,
    minutes=30,
    points=4,
    goals=(2,),
    core=False,
    text="""\
`group_small_first(sizes, pairs)` is selective search with S alone. `sizes` is a list of the pieces' sizes, `pairs` a
list of those pairs `(a, b)` that are neighbours, each once. Join the two *neighbours* whose sizes add up to least.
Their union gets the next free number (with 5 pieces, 5, then 6 ...), the sum of their sizes, and the neighbours of
both. Repeat until one region is left; all pieces hang together.

Of equal sums take the pair `(a, b)`, `a < b`, with the smaller `a`, then the smaller `b`. Return the list of the
joined pairs, in order, each as `(a, b)` with `a < b`.""",
    cases=(
        on_paper(
            "the street of the lesson, sizes 20, 8, 8, 4, 8",
            [20, 8, 8, 4, 8],
            [(0, 1), (0, 2), (0, 3), (0, 4), (1, 4), (2, 3), (3, 4)],
            gives=[(2, 3), (1, 4), (5, 6), (0, 7)],
        ),
        on_paper("three in a row, the middle is large", [1, 100, 2], [(0, 1), (1, 2)], gives=[(0, 1), (2, 3)]),
        on_paper("four alike in a row", [1, 1, 1, 1], [(0, 1), (1, 2), (2, 3)], gives=[(0, 1), (2, 3), (4, 5)]),
        on_paper("a triangle", [3, 2, 1], [(0, 1), (0, 2), (1, 2)], gives=[(1, 2), (0, 3)]),
        on_paper("a star around 0", [5, 1, 2, 3], [(0, 1), (0, 2), (0, 3)], gives=[(0, 1), (2, 4), (3, 5)]),
        on_paper("4, 4, 5 and 6 in a row", [4, 4, 5, 6], [(0, 1), (1, 2), (2, 3)], gives=[(0, 1), (2, 3), (4, 5)]),
        on_paper("one piece", [7], [], gives=[]),
        *at_random(some_pieces),
    ),
    impostors=(
        Impostor("all_pairs", "Only *neighbours* may be joined.", function=all_pairs),
        Impostor(
            "old_number",
            "The union gets the next free number; it came out with the number of one of its parts.",
            function=old_number,
        ),
        Impostor(
            "largest_first",
            "The two whose sizes add up to *least* come first.",
            change={"(sizes[pair[0]] + sizes[pair[1]], pair)": "(-sizes[pair[0]] - sizes[pair[1]], pair)"},
        ),
        Impostor(
            "by_larger",
            "The *sum* of both sizes decides, not the larger of them.",
            change={"(sizes[pair[0]] + sizes[pair[1]], pair)": "(max(sizes[pair[0]], sizes[pair[1]]), pair)"},
        ),
        Impostor(
            "by_smaller",
            "The *sum* of both sizes decides, not the smaller of them.",
            change={"(sizes[pair[0]] + sizes[pair[1]], pair)": "(min(sizes[pair[0]], sizes[pair[1]]), pair)"},
        ),
        Impostor(
            "union_of_larger_size",
            "The union has the pixels of both: its size is the sum.",
            change={"sizes.append(sizes[a] + sizes[b])": "sizes.append(max(sizes[a], sizes[b]))"},
        ),
        Impostor(
            "ties_by_last",
            "Of equal sums, the pair with the smaller numbers comes first.",
            change={"(sizes[pair[0]] + sizes[pair[1]], pair)": "(sizes[pair[0]] + sizes[pair[1]], -pair[0], -pair[1])"},
        ),
        Impostor(
            "one_too_few",
            "It stops with two regions left: go on until one is left.",
            change={"return merges": "return merges[:-1]"},
        ),
        Impostor(
            "neighbours_not_handed_on",
            "The neighbours of a union are those of its parts: hand them on.",
            change={"if len(pair) == 2}": "if len(pair) == 2 and new not in pair}"},
        ),
        Impostor(
            "larger_first",
            "In each pair, the smaller number comes first.",
            change={"merges.append((a, b))": "merges.append((b, a))"},
        ),
    ),
    hints=(
        "Do the street by hand: which two neighbours have the smallest sum, and who are the union's neighbours?",
        "Keep a set of pairs. After a merge, put the new number wherever a or b stood, and drop the pair of both.",
        "`min(pairs, key=lambda pair: (sizes[pair[0]] + sizes[pair[1]], pair))` takes care of ties as well.",
    ),
    forbidden=("frcnn_lessons.selective_search",),
)

# --- 03.8 ------------------------------------------------------------------------------------------------------


def recall_at(tables, counts, threshold=0.5):
    """Recall for each of `counts`: the share of all objects that the first n proposals of their image cover."""
    objects = sum(table.shape[1] for table in tables)
    answer = []
    for n in counts:
        covered = sum(int((table[:n] >= threshold).any(dim=0).sum()) for table in tables)
        answer.append(covered / objects if objects else float("nan"))
    return answer


def mean_of_images(tables, counts, threshold=0.5):
    """A wrong answer: every image has one vote."""
    with_objects = [table for table in tables if table.shape[1]]
    return [
        sum((table[:n] >= threshold).any(dim=0).float().mean().item() for table in with_objects) / len(with_objects)
        if with_objects
        else float("nan")
        for n in counts
    ]


def one_to_one(tables, counts, threshold=0.5):
    """A wrong answer: a proposal covers one object only, its best."""
    objects = sum(table.shape[1] for table in tables)
    answer = []
    for n in counts:
        covered = 0
        for table in tables:
            rows = table[:n][(table[:n] >= threshold).any(dim=1)] if table.numel() else table[:0]
            covered += len(set(rows.argmax(dim=1).tolist())) if len(rows) else 0
        answer.append(covered / objects if objects else float("nan"))
    return answer


def some_tables(count: int, draw: torch.Generator) -> tuple[list[Tensor], tuple[int, ...]]:
    """Images with any number of proposals and objects."""
    rows = torch.randint(0, 9, (min(count, 8), 2), generator=draw).tolist()
    return [torch.rand(r, k // 2, generator=draw) ** 1.5 for r, k in rows], (1, 2, 5, 100)


LESSONS_THREE = tensor([[1.0, 0.0], [0.25, 0.2], [0.25, 0.17]])

RECALL_AT = Exercise(
    kind="implement",
    reference=recall_at,
    number="03.8",
    title="Recall against the number of proposals",
    stars=2,
    minutes=15,
    points=3,
    goals=(3, 4),
    core=True,
    text="""\
`recall_at(tables, counts, threshold=0.5)`: for each image, `tables` holds the IoU of its `R` proposals, the best
ranked first, with its `K` objects, a tensor `(R, K)`. `R` and `K` differ from image to image, and either may be 0.

For each `n` of `counts` allow every image its **first n** proposals. Return a list of recalls, one for each `n`: the
share of the objects *of the whole data set* that at least one allowed proposal of their image covers with an IoU of
**at least** the threshold. Without any object, recall is `nan`.""",
    cases=(
        on_paper("bus and tree of the lesson, 1, 2, 3", [LESSONS_THREE], (1, 2, 3), gives=[0.5, 0.5, 0.5]),
        on_paper("IoUs 0.2, 0.6, 0.9 with one object", [tensor([[0.2], [0.6], [0.9]])], (1, 2, 3), gives=[0, 1, 1]),
        on_paper("an IoU of exactly 0.5", [tensor([[0.5, 0.49]])], (1,), gives=[0.5]),
        on_paper("an IoU of exactly 0.5, alone", [tensor([[0.5]])], (1,), gives=[1]),
        on_paper("the same at 0.75", [tensor([[0.75, 0.5]])], (1,), 0.75, gives=[0.5]),
        on_paper(
            "one object covered, and three not, in two images",
            [tensor([[0.9]]), tensor([[0.1, 0.2, 0.3]])],
            (1,),
            gives=[0.25],
        ),
        on_paper(
            "one object covered, and two in an image without proposals",
            [tensor([[0.9]]), torch.zeros(0, 2)],
            (1, 5),
            gives=[1 / 3, 1 / 3],
        ),
        on_paper(
            "one object covered, and an image without objects",
            [tensor([[0.9]]), torch.zeros(4, 0)],
            (1, 5),
            gives=[1, 1],
        ),
        on_paper("an object that two proposals cover by 0.3 each", [tensor([[0.3], [0.3]])], (1, 2), gives=[0, 0]),
        on_paper("one proposal that covers two objects", [tensor([[0.6, 0.7]])], (1, 2), gives=[1, 1]),
        on_paper("two images, one proposal each", [tensor([[0.9]]), tensor([[0.8]])], (1,), gives=[1]),
        on_paper("two proposals on one of two objects", [tensor([[0.9, 0.1], [0.8, 0.1]])], (2,), gives=[0.5]),
        on_paper("only an image without objects", [torch.zeros(3, 0)], (1, 2), gives=[float("nan")] * 2),
        edge("no images", [], (1,), gives=[float("nan")]),
        edge("no proposals allowed", [tensor([[0.9]])], (0,), gives=[0]),
        *at_random(some_tables),
    ),
    impostors=(
        Impostor(
            "mean_of_images",
            "Every *object* has one vote, not every image: count over the whole data set, then divide.",
            function=mean_of_images,
        ),
        Impostor("above", "An IoU of exactly the threshold covers.", change={">= threshold": "> threshold"}),
        Impostor(
            "all_proposals",
            "It looks at all proposals, whatever n is: only the first n of each image are allowed.",
            change={"table[:n]": "table"},
        ),
        Impostor(
            "only_the_nth",
            "*At least one of the first n* must cover it: it looked at the n-th alone.",
            change={"table[:n]": "table[max(n - 1, 0) : n]"},
        ),
        Impostor(
            "one_less",
            "The first n proposals are `table[:n]`, with n of them.",
            change={"table[:n]": "table[: max(n - 1, 0)]"},
        ),
        Impostor(
            "share_of_proposals",
            "Count objects that are covered, not proposals that cover something.",
            change={
                ".any(dim=0)": ".any(dim=1)",
                "covered / objects if objects": (
                    "covered / max(sum(len(table[:n]) for table in tables), 1) if objects"
                ),
            },
        ),
        Impostor(
            "proposals_over_objects",
            "It counts proposals that cover something: two on one object are still one object.",
            change={".any(dim=0)": ".any(dim=1)"},
        ),
        Impostor(
            "pairs",
            "It counts pairs of a proposal and an object: two on one object are still one object.",
            change={".any(dim=0)": ""},
        ),
        Impostor(
            "skips_images_without_proposals",
            "The objects of an image without proposals are lost, and they count.",
            change={"for table in tables)\n    answer": "for table in tables if len(table))\n    answer"},
        ),
        Impostor(
            "one_to_one",
            "One proposal may cover several objects.",
            function=one_to_one,
        ),
        Impostor(
            "zero_for_nothing",
            "Without any object recall is not 0: there is nothing to find.",
            change={'float("nan")': "0.0"},
        ),
        Impostor(
            "one_for_nothing",
            "Without any object recall is not 1: there is nothing to find.",
            change={'float("nan")': "1.0"},
        ),
        Impostor(
            "counts",
            "These are numbers of objects: divide by how many there are.",
            change={"covered / objects if objects": "covered if objects"},
        ),
        Impostor(
            "missed",
            "That is the share of the objects that are *not* covered.",
            change={"covered / objects if objects": "1 - covered / objects if objects"},
        ),
    ),
    hints=(
        "For one image: which columns of the table hold, in the first n rows, a number of at least the threshold?",
        "`(table[:n] >= threshold).any(dim=0)` says for each object of an image whether it is covered.",
        "Add up what is covered over all images, add up all objects, and divide once at the end.",
    ),
    forbidden=("frcnn_lessons.metrics",),
    variants=(
        Variant(
            "missed",
            """\
`recall_at(tables, counts, threshold=0.5)`, in spite of its name, counts what is **missed**. For each image, `tables`
holds the IoU of its `R` proposals, the best ranked first, with its `K` objects, a tensor `(R, K)`. `R` and `K` differ
from image to image, and either may be 0.

For each `n` of `counts` allow every image its **first n** proposals. Return a list of whole numbers, one for each
`n`: how many objects of the whole data set **no** allowed proposal of their image covers with an IoU of at least the
threshold.""",
            change={
                "Recall for each of `counts`: the share of all objects that": "For each of `counts`: how many objects",
                "their image cover": "their image do not cover",
                'covered / objects if objects else float("nan")': "objects - covered",
            },
            gives={"bus and tree of the lesson, 1, 2, 3": [1, 1, 1], "only an image without objects": [0, 0]},
            without=(
                *("mean_of_images", "share_of_proposals", "one_to_one", "zero_for_nothing", "one_for_nothing"),
                *("counts", "missed", "proposals_over_objects", "pairs"),
            ),
            impostors=(
                Impostor("covered", "Count those that are *not* covered.", change={"objects - covered": "covered"}),
                Impostor(
                    "share",
                    "Whole numbers are asked for, not shares.",
                    change={"objects - covered": "(objects - covered) / max(objects, 1)"},
                ),
            ),
        ),
        Variant(
            "whole_images",
            """\
`recall_at(tables, counts, threshold=0.5)`: the share of the **images** in which *every* object is covered. For each
image, `tables` holds the IoU of its `R` proposals, the best ranked first, with its `K` objects, a tensor `(R, K)`.
`R` and `K` differ from image to image, and either may be 0; images without objects are left out.

For each `n` of `counts` allow every image its **first n** proposals. Return a list, one number for each `n`. An object
is covered if at least one allowed proposal has an IoU of **at least** the threshold with it. Without any image that
has objects, the share is `nan`.""",
            change={
                "Recall for each of `counts`: the share of all objects that": "The share of images whose objects",
                "of their image cover": "all cover",
                "objects = sum(table.shape[1] for table in tables)": (
                    "tables = [table for table in tables if table.shape[1]]"
                ),
                ".any(dim=0).sum()": ".any(dim=0).all()",
                "covered / objects if objects": "covered / len(tables) if tables",
            },
            gives={
                "bus and tree of the lesson, 1, 2, 3": [0, 0, 0],
                "one object covered, and three not, in two images": [0.5],
                "one object covered, and an image without objects": [1, 1],
            },
            without=(
                *("mean_of_images", "share_of_proposals", "skips_images_without_proposals", "one_to_one", "counts"),
                *("missed", "proposals_over_objects", "pairs"),
            ),
            impostors=(
                Impostor(
                    "any_object", "*Every* object of the image must be covered.", change={".any(dim=0).all()": ".any()"}
                ),
                Impostor("recall", "Here every *image* has one vote, not every object.", function=recall_at),
                Impostor(
                    "empty_count",
                    "Images without objects are left out.",
                    change={"[table for table in tables if table.shape[1]]": "list(tables)"},
                ),
            ),
        ),
    ),
)

# --- 03.9 ------------------------------------------------------------------------------------------------------

WHAT_THE_SUM_HID = Exercise(
    kind="explain",
    name="what_the_sum_hid",
    number="03.9",
    title="What the sum hid",
    stars=2,
    minutes=10,
    points=2,
    goals=(4,),
    core=True,
    text="""\
The published package of the lesson counts all hues in one bin and loses nine tenths of its texture, and still its
recall at IoU 0.5 hardly suffers. Why, and which test would have found the fault in a minute? (At most 100 words.)""",
    answer="""\
Similarity is a sum of four measures, and size and fill alone already make boxes of about the right place and size;
they are right in the package, and at IoU 0.5 that is enough. A sum hides its broken parts. A test of one *part* finds
the fault at once: a red and a green region of equal brightness must not have C = 1; or: the histogram of a picture of
many colours fills more than one bin; or: a texture histogram counts every pixel.""",
    guide="""\
1 point: similarity is a sum in which size and fill carry most of the weight (or: recall at 0.5 does not ask how well a
box fits). 1 point: a test of a part, not of the score: two hues must differ; a histogram fills more than one bin, sums
to 1, counts every pixel, or equals the one counted afresh after a merge. Half a point for "test the parts" alone.""",
    hints=(
        "Look at the row 'hsv, S' of the lesson's table: what does size alone reach?",
        "What does recall at IoU 0.5 not ask of a box?",
        "Name a case on paper in which C must be 0, and would have been 1.",
    ),
)

# --- 03.10 -----------------------------------------------------------------------------------------------------


def pixels_of(value: Any, which: str) -> np.ndarray:
    """The painted picture as an array."""
    painted = np.asarray(value()[which])
    if painted.shape != (5, 5) or not np.isin(painted, (0, 1, 2)).all():
        raise ValueError(f"{which} should be 5 rows of 5 numbers 0, 1 or 2")
    return painted


def pieces(painted: np.ndarray, number: int) -> int:
    """In how many pieces a region is, sides counting."""
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(painted == number), strict=True)}
    count = 0
    while left:
        count, reach = count + 1, [left.pop()]
        while reach:
            y, x = reach.pop()
            around = {(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)} & left
            left -= around
            reach += around
    return count


def in_one_piece(painted: np.ndarray) -> bool:
    """Whether each of the three regions hangs together."""
    return all(pieces(painted, number) == 1 for number in (0, 1, 2))


def closest(painted: np.ndarray) -> float:
    """How near pixels of 1 and 2 come: 1 for a side in common, sqrt(2) for a corner."""
    one, two = (np.argwhere(painted == number) for number in (1, 2))
    return float(np.sqrt(((one[:, None] - two) ** 2).sum(axis=2)).min())


def shared_area(painted: np.ndarray) -> int:
    """How many pixels the boxes of 1 and 2 have in common."""
    boxes = []
    for number in (1, 2):
        y, x = np.nonzero(painted == number)
        boxes.append((x.min(), y.min(), x.max() + 1, y.max() + 1))
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = boxes
    return int(max(0, min(ax2, bx2) - max(ax1, bx1)) * max(0, min(ay2, by2) - max(ay1, by1)))


APART_ROWS = [[0, 0, 0, 0, 0], [0, 1, 1, 2, 0], [0, 1, 1, 2, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
HOOK_ROWS = [[1, 1, 1, 1, 1], [1, 0, 0, 0, 0], [1, 0, 2, 2, 0], [1, 0, 0, 0, 0], [1, 0, 0, 0, 0]]
STACKED_ROWS = [[0, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 2, 2, 0], [0, 0, 2, 2, 0], [0, 0, 0, 0, 0]]

PAINT_THE_SEGMENTS = Exercise(
    kind="complete the picture",
    name="paint_the_segments",
    number="03.10",
    title="Paint the segments",
    stars=2,
    minutes=10,
    points=2,
    goals=(2, 4),
    core=False,
    text="""\
A published package calls two segments neighbours if their *boxes* overlap. Paint two pictures in which this rule is
wrong, each 5 rows of 5 numbers 0, 1 or 2, where every region hangs together (by sides of pixels):

- `"apart"`: regions 1 and 2 share a side of a pixel, but their boxes have no pixel in common;
- `"hook"`: regions 1 and 2 do not touch, not even at a corner, but their boxes have pixels in common.

There are many right answers.""",
    answer={"apart": APART_ROWS, "hook": HOOK_ROWS},
    stub='{"apart": ..., "hook": ...}',
    cases=(
        on_paper(
            "apart: does every region hang together?",
            gives=True,
            experiment=lambda value: in_one_piece(pixels_of(value, "apart")),
        ),
        on_paper(
            "apart: the way from a pixel of 1 to the nearest of 2",
            gives=1,
            experiment=lambda value: closest(pixels_of(value, "apart")),
        ),
        on_paper(
            "apart: pixels in both boxes", gives=0, experiment=lambda value: shared_area(pixels_of(value, "apart"))
        ),
        on_paper(
            "hook: does every region hang together?",
            gives=True,
            experiment=lambda value: in_one_piece(pixels_of(value, "hook")),
        ),
        on_paper(
            "hook: are 1 and 2 apart, corners included?",
            gives=True,
            experiment=lambda value: closest(pixels_of(value, "hook")) >= 2,
        ),
        on_paper(
            "hook: have their boxes pixels in common?",
            gives=True,
            experiment=lambda value: shared_area(pixels_of(value, "hook")) > 0,
        ),
    ),
    impostors=(
        Impostor(
            "boxes_overlap",
            "Here the boxes overlap as well, so the package's rule is right: put the two side by side.",
            answer={"apart": STACKED_ROWS, "hook": HOOK_ROWS},
        ),
        Impostor(
            "corner",
            "1 and 2 meet at a corner, which is touching by the lesson's rule: leave a pixel of 0 between them.",
            answer={
                "apart": APART_ROWS,
                "hook": [[1, 1, 1, 1, 1], [1, 0, 0, 0, 0], [1, 0, 0, 0, 0], [0, 2, 2, 0, 0], [0, 0, 0, 0, 0]],
            },
        ),
        Impostor(
            "no_overlap",
            "They are apart, and so are their boxes: let one reach around the other.",
            answer={
                "apart": APART_ROWS,
                "hook": [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 2, 2], [0, 0, 0, 2, 2]],
            },
        ),
    ),
    hints=(
        "The box of a straight block is the block itself. When do two blocks touch, and their boxes share nothing?",
        "For the hook, let region 1 be an L: its box holds pixels that are not its own.",
        "An L along the top and the left side, and region 2 in the middle, with a pixel of 0 all around.",
    ),
)

# --- 03.11 -----------------------------------------------------------------------------------------------------


def drop_repeats(rects):
    """The different ones of M rectangles (x, y, w, h), in the order in which they first came, as lists."""
    kept = []
    for rect in rects:
        if list(rect) not in kept:
            kept.append(list(rect))
    return kept


def some_rects(count: int, draw: torch.Generator) -> tuple[list[tuple[int, ...]]]:
    """Rectangles with many repeats."""
    return ([tuple(row) for row in torch.randint(0, 2, (count, 4), generator=draw).tolist()],)


DROP_REPEATS = Exercise(
    kind="find the bug",
    reference=drop_repeats,
    given="as_given",
    number="03.11",
    title="Repeats that stay",
    minutes=8,
    points=2,
    goals=(4,),
    core=False,
    text="""\
From a published walk-through: "of 570 candidates, all are different". They are not. Find the mistake and correct it.

`drop_repeats(rects)` gets a list of `M` rectangles as the package gives them, *tuples* `(x, y, w, h)`, and returns
the different ones as *lists* `[x, y, w, h]`, in the order in which each came first. `M` may be 0.""",
    cases=(
        on_paper("the same twice", [(1, 2, 3, 4), (1, 2, 3, 4)], gives=[[1, 2, 3, 4]]),
        on_paper(
            "the first comes back",
            [(5, 5, 1, 1), (1, 2, 3, 4), (5, 5, 1, 1)],
            gives=[[5, 5, 1, 1], [1, 2, 3, 4]],
        ),
        on_paper("two different ones", [(5, 5, 1, 1), (1, 2, 3, 4)], gives=[[5, 5, 1, 1], [1, 2, 3, 4]]),
        on_paper("the same numbers in another order", [(2, 1, 3, 4), (1, 2, 3, 4)], gives=[[2, 1, 3, 4], [1, 2, 3, 4]]),
        on_paper(
            "three times, and another twice",
            [(9, 9, 9, 9), (9, 9, 9, 9), (0, 0, 1, 1), (9, 9, 9, 9), (0, 0, 1, 1)],
            gives=[[9, 9, 9, 9], [0, 0, 1, 1]],
        ),
        edge("none", [], gives=[]),
        *at_random(some_rects),
    ),
    impostors=(
        Impostor(
            "as_given",
            "A tuple never equals a list: `(1, 2) == [1, 2]` is False, so it is not found among the lists.",
            change={"if list(rect) not in": "if rect not in"},
        ),
        Impostor(
            "sorted",
            "The order has changed: each stays where it came first.",
            function=lambda rects: [list(rect) for rect in sorted(set(rects))],
        ),
        Impostor(
            "last_stays",
            "Each stays where it came *first*, not where it came last.",
            function=lambda rects: drop_repeats(rects[::-1])[::-1],
        ),
        Impostor(
            "neighbours_only",
            "A repeat need not come right behind.",
            function=lambda rects: [list(rect) for i, rect in enumerate(rects) if i == 0 or rect != rects[i - 1]],
        ),
        Impostor(
            "never_twice",
            "What comes twice was dropped altogether: one of it stays.",
            function=lambda rects: [list(rect) for rect in rects if rects.count(rect) == 1],
        ),
        Impostor(
            "as_sets",
            "The same numbers in another order are another rectangle.",
            change={"list(rect) not in kept": "sorted(rect) not in [sorted(one) for one in kept]"},
        ),
    ),
    hints=(
        "What is `(1, 2) == [1, 2]`?",
        "What does `kept` hold, and what is looked for in it?",
        "Look for `list(rect)`, or keep a set of the tuples that were seen.",
    ),
)

EXERCISES: tuple[Exercise, ...] = (
    COUNT_WINDOWS,
    COLOUR_SIMILARITY,
    FILL_OF_MASKS,
    MERGE_REGIONS,
    NEIGHBOURS_4,
    RANK_UNIQUE,
    GROUP_SMALL_FIRST,
    RECALL_AT,
    WHAT_THE_SUM_HID,
    PAINT_THE_SEGMENTS,
    DROP_REPEATS,
)
