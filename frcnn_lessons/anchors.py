"""Anchors: the boxes that a region proposal network starts from.

Sliding windows of many sizes used to be run over many scaled copies of an image. Here one window looks at one map, and
every cell of the map speaks for A boxes of fixed shapes, centred on that cell: the anchors. For each of them the
network says "object or not" and how to move and stretch it (what it should say: `rpn.anchor_targets`).

    base_anchors   the A shapes around (0, 0)
    anchor_grid    those shapes around every cell of the map, in pixels of the image
    inside         which of them lie within the image

Which output belongs to which anchor? Output a of the cell in row y and column x is about anchor

    (y * w + x) * A + a,      a = (number of the ratio) * (number of sizes) + (number of the size)

Cells go row by row as one reads; within a cell ratios change slowly and sizes fast: 0.5 at 128, 256, 512, then 1.0 at
128, ... This is torchvision's order and py-faster-rcnn's; detectron2 has the sizes outside. Any order does as long as
the anchors and the network's channels agree; they agree only by convention, so weights learned in one order are
useless in another.

Source: Ren et al., "Faster R-CNN", 2015 (arXiv:1506.01497): sections 3.1.1 (anchors) and 3.3 (shapes, border-crossing
anchors). Lesson 08.
Letters: A anchors a cell, a map of h x w cells, T = h * w * A anchors of an image.
"""

from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Rounding = Literal["none", "torchvision", "py-faster-rcnn"]

# py-faster-rcnn rounds the shapes of a box of this size and enlarges them afterwards.
BASE_SIZE = 16


def base_anchors(
    sizes: Sequence[float] = (128, 256, 512), ratios: Sequence[float] = (0.5, 1.0, 2.0), rounding: Rounding = "none"
) -> Float[Tensor, "A 4"]:
    """Make the shapes of one cell, centred on (0, 0): each ratio in each size.

    An anchor of size s and ratio r has area s * s and height / width = r, so it is s / sqrt(r) x s * sqrt(r) pixels.

    Args:
        sizes: square roots of the areas, in pixels.
        ratios: height / width: 0.5 is lying (a car), 2 is standing (a pedestrian).
        rounding: what published code does to these numbers.
            `"none"` keeps them: detectron2 does, too.
            `"torchvision"` rounds the corners to whole pixels, half to even.
            `"py-faster-rcnn"` rounds width and height of a 16-pixel box (ratio 0.5: 22.6 x 11.3 becomes 23 x 12, as
            the height is taken from the rounded width), then scales by size / 16: all errors grow with it. Its own
            listing numbers pixels from the cell's corner: take the grid's half stride (8) and subtract 1 from x2 and
            y2 to see it.

    Returns:
        xyxy, float32, A = number of ratios times number of sizes; ratios outside, sizes inside (see the module).

    Raises:
        ValueError: if there are no sizes or ratios, one of them is not positive, or the rounding has another name.

    Example:
        >>> base_anchors(sizes=(32, 64), ratios=(0.25, 1.0))
        tensor([[-32.,  -8.,  32.,   8.],
                [-64., -16.,  64.,  16.],
                [-16., -16.,  16.,  16.],
                [-32., -32.,  32.,  32.]])
    """
    given: list[Any] = [sizes, ratios]
    flat = all(isinstance(row, Sequence) and row and all(isinstance(one, Real) for one in row) for row in given)
    if not flat or min(*sizes, *ratios) <= 0:
        raise ValueError(
            f"anchors need sizes and ratios, all above 0, in flat lists of numbers; got sizes {sizes} and "
            f"ratios {ratios}"
        )
    size = torch.tensor(sizes, dtype=torch.float32)
    ratio = torch.tensor(ratios, dtype=torch.float32)[:, None]  # (ratios, 1)
    if rounding == "py-faster-rcnn":
        width = (BASE_SIZE**2 / ratio).sqrt().round()
        height = (width * ratio).round()
        width, height = width * size / BASE_SIZE, height * size / BASE_SIZE  # (ratios, sizes)
    elif rounding in ("none", "torchvision"):
        stretch = ratio.sqrt()
        width, height = (1 / stretch) * size, stretch * size  # (ratios, sizes)
    else:
        raise ValueError(f'rounding must be "none", "torchvision" or "py-faster-rcnn"; got {rounding!r}')
    shapes = torch.stack([-width, -height, width, height], dim=2).flatten(0, 1) / 2  # (ratios, sizes, 4) -> (A, 4)
    return shapes.round() if rounding == "torchvision" else shapes


def anchor_grid(
    base: Float[Tensor, "A 4"], map_size: tuple[int, int], stride: int, offset: float = 0.5
) -> Float[Tensor, "T 4"]:
    """Put the shapes of `base_anchors` around every cell of a feature map.

    Args:
        map_size: (rows, columns) of the feature map.
        stride: pixels of the image for one step on the map.
        offset: where in its cell an anchor is centred. 0.5 is the middle: 8, 24, ... for stride 16; 0 is the cell's
            top left corner, as torchvision and detectron2 have it.

    Returns:
        xyxy in pixels of the image, T = rows * columns * A: row by row, in a row cell by cell, in a cell shape by
        shape. Those at the border reach outside the image.
    """
    rows, columns = map_size
    if min(rows, columns, stride) < 1:
        raise ValueError(f"map_size {map_size} and stride {stride} must be 1 or more")
    x = torch.arange(columns, device=base.device) * stride  # (w,), where each cell begins
    y = torch.arange(rows, device=base.device) * stride  # (h,)
    y, x = torch.meshgrid(y, x, indexing="ij")  # (h, w), (h, w)
    corners = torch.stack([x, y, x, y], dim=2).to(base.dtype)  # (h, w, 4)
    in_first_cell = base + offset * stride  # (A, 4)
    return (corners[:, :, None] + in_first_cell).flatten(0, 2)  # (h, w, A, 4) -> (T, 4)


def inside(anchors: Float[Tensor, "T 4"], image_size: tuple[int, int], margin: float = 0.0) -> Bool[Tensor, " T"]:
    """Which anchors lie within the image, or at most `margin` pixels outside; one that touches the border does.

    `image_size` is (height, width), without what the image was padded with.
    """
    height, width = image_size
    x1, y1, x2, y2 = anchors.unbind(dim=1)
    return (x1 >= -margin) & (y1 >= -margin) & (x2 <= width + margin) & (y2 <= height + margin)
