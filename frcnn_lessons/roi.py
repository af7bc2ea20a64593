"""From regions of any size to features of one size: spatial pyramid pooling, RoI pooling and RoI align.

A detector computes the feature map of an image once and then looks at many regions of it. A region is cut into P x Q
bins, whatever its size, and every bin becomes one number a channel:

    roi_pool                the region is rounded to whole cells; a bin is the largest of its cells
    spatial_pyramid_pool    the same with 4 x 4, 2 x 2 and 1 x 1 bins, strung together
    roi_align               nothing is rounded; a bin is the mean of points between the cells, interpolated

All three give what `torchvision.ops` gives, and its gradients. A region may be tiny (its bins then share cells), huge,
inverted, or outside the map: a bin without a cell is 0 and passes no gradient on.

This is the operation as the papers write it, bin by bin. `roi_fast` has the same three functions, quick.

Sources: He et al. 2014, section 2.2 (spatial pyramid pooling); Fast R-CNN, sections 2.1 (RoI pooling) and 2.3 (its
gradient); He et al. 2017, "Mask R-CNN", section 3 (RoI align). Lesson 06.
Letters: N images, C channels, maps of H x W cells, R regions in all images together, P x Q bins a region, S points a
bin along one axis.
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

Regions = Sequence[Float[Tensor, "_ 4"]] | Float[Tensor, "_ 5"]

# So many cells away a region of `roi_align` may end. It is looked at point by point, on the map and off it.
FURTHEST = 1_000_000


def roi_pool(
    features: Float[Tensor, "N C H W"], regions: Regions, output_size: int | tuple[int, int], spatial_scale: float = 1.0
) -> Float[Tensor, "R C P Q"]:
    """Cut every region into P x Q bins of whole cells and take the largest value of each, channel by channel.

    The rules, along x as along y: the ends of the region, times `spatial_scale`, are rounded to the nearest cell
    (halves away from zero), and both these cells belong to it, so that it is at least one cell long. Bin p of P covers
    the cells from floor(p * length / P) up to, not including, ceil((p + 1) * length / P), cut off at the map's border.

    Args:
        regions: the boxes of each image, xyxy in pixels of the image; or one (R, 5) table with the number of the image
            in front. They are constants: no gradient flows to them.
        output_size: (P, Q), or one number for both.
        spatial_scale: cells per pixel, 1 / stride of the backbone.

    Returns:
        The regions of the first image, then of the second, and so on. The gradient of a bin goes to the one cell that
        won it (the first in reading order, if several are equal); what a cell wins in several bins adds up.
        A NaN in a bin makes the bin NaN (torchvision leaves it out); a bin of nothing but -inf is -inf.

    Raises:
        ValueError: if the regions do not fit the images, one of them is not finite, or `spatial_scale` is not above 0.

    Example:
        A region of 3 x 1 cells in 2 bins: columns 0, 1 and columns 1, 2. They share the middle one.

        >>> roi_pool(torch.tensor([[[[1.0, 5.0, 2.0]]]]), [torch.tensor([[0.0, 0, 2, 0]])], (1, 2))
        tensor([[[[5., 5.]]]])
    """
    check_pooling(features, regions, output_size, spatial_scale)
    P, Q = pair(output_size)
    image, boxes = in_cells(features, regions, spatial_scale)  # (R,), (R, 4)
    R, (_, C, H, W) = len(boxes), features.shape

    x1, y1, x2, y2 = round_half_away(boxes).unbind(dim=1)  # (R,) each: the first and the last cell
    top, bottom = bin_edges(y1, y2, P, H, boxes.dtype)  # (R, P) each
    left, right = bin_edges(x1, x2, Q, W, boxes.dtype)  # (R, Q) each
    number = torch.arange(H * W, device=features.device).view(H, W)  # of each cell, in reading order
    winner = number.new_full((R, C, P, Q), H * W)  # no cell has this number: nobody has won yet
    for r, p, q in product(range(R), range(P), range(Q)):
        rows, columns = slice(top[r, p], bottom[r, p]), slice(left[r, q], right[r, q])
        cells = features[image[r], :, rows, columns].flatten(1)  # (C, cells of the bin)
        if cells.shape[1] > 0:
            winner[r, :, p, q] = number[rows, columns].flatten()[cells.argmax(dim=1)]
    return WinningCells.apply(features, image, winner)


class WinningCells(torch.autograd.Function):
    """The value of the cell that won each bin, 0 where none did; and how the gradient finds its way back to it."""

    @staticmethod
    def forward(
        ctx: Any, features: Float[Tensor, "N C H W"], image: Int[Tensor, " R"], winner: Int[Tensor, "R C P Q"]
    ) -> Float[Tensor, "R C P Q"]:
        """Look up x[i*(r, j)], the value of bin j of region r, for every channel."""
        ctx.save_for_backward(image, winner)
        ctx.of_maps = features.shape
        cells = F.pad(features.flatten(2), (0, 1))  # (N, C, H*W + 1): behind the last cell a 0, for empty bins
        channel = torch.arange(cells.shape[1], device=cells.device)
        return cells[image[:, None, None, None], channel[:, None, None], winner]

    @staticmethod
    def backward(ctx: Any, gradient: Float[Tensor, "R C P Q"]) -> tuple[Float[Tensor, "N C H W"], None, None]:
        """Fast R-CNN, equation 4: a cell gets the gradients of all bins that it won, in all regions."""
        image, winner = ctx.saved_tensors
        N, C, H, W = ctx.of_maps
        R, _, P, Q = winner.shape
        channel = torch.arange(C, device=winner.device)
        total = gradient.new_zeros(N, C, H * W + 1, dtype=summing_dtype(gradient))  # empty bins pay in at the end
        for r, p, q in product(range(R), range(P), range(Q)):
            total[image[r], channel, winner[r, :, p, q]] += gradient[r, :, p, q]
        return total[:, :, :-1].view(N, C, H, W).to(gradient.dtype), None, None


def spatial_pyramid_pool(
    features: Float[Tensor, "N C H W"], regions: Regions, levels: Sequence[int] = (4, 2, 1), spatial_scale: float = 1.0
) -> Float[Tensor, "R D"]:
    """Pool every region by n x n bins for each n in `levels`: a coarse look and finer ones, in one long vector.

    D = C * (4*4 + 2*2 + 1*1) for the levels given. The bins are those of `roi_pool`, which is one level of a pyramid;
    the paper's own rounding (appendix A) takes only the cells whose centre of vision lies inside the region.
    """
    return torch.cat([roi_pool(features, regions, n, spatial_scale).flatten(1) for n in levels], dim=1)


def roi_align(
    features: Float[Tensor, "N C H W"],
    regions: Regions,
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    aligned: bool = False,
) -> Float[Tensor, "R C P Q"]:
    """Cut every region into P x Q bins without rounding and take the mean of interpolated points in each.

    The value between four cells is their mean, weighted by how near they are (bilinear interpolation). Up to one cell
    outside the map the border's value holds; further out it is 0.

    Args (the others as for `roi_pool`):
        sampling_ratio: a bin has so many points across and down; 0 or less: as many as the bin is long in cells,
            rounded up.
        aligned: True takes a cell's value to stand at its centre, half a cell in from its edge, as boxes measured at
            edges need it. False, as in the first published code, puts it at the edge, so that all is read half a cell
            too far right and down; no region is then less than one cell long.

    Returns and raises as `roi_pool`, and a ValueError if a region lies or reaches more than a million cells away. Each
    bin is a weighted sum of cells, so its gradient is shared out by the same weights.
    """
    check_pooling(features, regions, output_size, spatial_scale)
    P, Q = pair(output_size)
    image, boxes = in_cells(features, regions, spatial_scale)  # (R,), (R, 4)
    check_reach(boxes)
    R, C = len(boxes), features.shape[1]

    x1, y1, x2, y2 = (boxes - (0.5 if aligned else 0.0)).unbind(dim=1)  # (R,) each
    y, down = sample_points(y1, y2, P, sampling_ratio, aligned)  # (R, P, S), (R,)
    x, across = sample_points(x1, x2, Q, sampling_ratio, aligned)  # (R, Q, S), (R,)
    maps = features.to(summing_dtype(features))
    bins = [maps[:0, :, 0, 0]]  # none yet; so the result hangs on the maps even when there is no region
    for r, p, q in product(range(R), range(P), range(Q)):
        points = between_cells(maps[image[r]], y[r, p, : down[r]], x[r, q, : across[r]])  # (C, down, across)
        bins.append(points.sum(dim=(1, 2))[None] / (down[r] * across[r]).clamp(min=1))  # (1, C)
    return torch.cat(bins).view(R, P, Q, C).permute(0, 3, 1, 2).to(features.dtype)


def between_cells(
    cells: Float[Tensor, "C H W"], y: Float[Tensor, " A"], x: Float[Tensor, " B"]
) -> Float[Tensor, "C A B"]:
    """Bilinear interpolation: the value of a map at the points of a grid, in each of A rows at each of B places."""
    _, H, W = cells.shape
    is_near = ((y >= -1) & (y <= H))[:, None] & (x >= -1) & (x <= W)  # (A, B): on the map or within a cell of it
    y, x = y.clamp(0, H - 1), x.clamp(0, W - 1)
    top, left = y.long()[:, None], x.long()  # (A, 1), (B,)
    bottom, right = (top + 1).clamp(max=H - 1), (left + 1).clamp(max=W - 1)
    down, across = y[:, None] - top, x - left  # how far on the way to the next cell, 0..1
    upper = (1 - across) * cells[:, top, left] + across * cells[:, top, right]  # (C, A, B)
    lower = (1 - across) * cells[:, bottom, left] + across * cells[:, bottom, right]
    return torch.where(is_near, (1 - down) * upper + down * lower, 0)


# --- the rules, which `roi_fast` follows as well -----------------------------------------------------------------


def pair(output_size: int | tuple[int, int]) -> tuple[int, int]:
    """P and Q: one number stands for both."""
    return (output_size, output_size) if isinstance(output_size, int) else output_size


def in_cells(
    features: Float[Tensor, "N C H W"], regions: Regions, spatial_scale: float
) -> tuple[Int[Tensor, " R"], Float[Tensor, "R 4"]]:
    """The number of the image of each region, and its box in cells. No half precision: it would shift the box."""
    if isinstance(regions, Tensor):
        image, boxes = regions[:, 0].long(), regions[:, 1:]
    else:
        boxes = torch.cat([torch.zeros(0, 4, device=features.device), *regions])  # a tensor even without an image
        sizes = torch.tensor([len(of_image) for of_image in regions], dtype=torch.long)
        image = torch.repeat_interleave(sizes).to(boxes.device)  # 0, 0, 1 for two boxes and one
    return image, boxes.detach().to(summing_dtype(boxes)) * spatial_scale


def round_half_away(x: Float[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """The nearest whole number, halves away from zero as in C++; torch.round takes halves to the even neighbour."""
    x = x.clamp(-(2.0**30), 2.0**30)  # no map is so large, and what is computed from it stays exact
    whole = x.trunc()
    return (whole + ((x - whole) * 2).trunc()).long()


def bin_edges(
    first: Int[Tensor, " R"], last: Int[Tensor, " R"], bins: int, limit: int, dtype: torch.dtype
) -> tuple[Int[Tensor, "R {bins}"], Int[Tensor, "R {bins}"]]:
    """Along one axis: the first cell of each bin of a region, and the one after its last, both within 0..limit."""
    length = (last - first + 1).clamp(min=1)[:, None]  # (R, 1)
    # Floats, not whole numbers: 7 * (57 / 7) is a little more than 57 in float32, and then the last bin is one cell
    # longer. All published code computes it so. By a tensor: a GPU divides by a number a little less exactly.
    size = length.to(dtype) / torch.full_like(length, bins, dtype=dtype)
    number = torch.arange(bins, device=first.device, dtype=dtype)
    start = first[:, None] + (number * size).floor().long()
    past = first[:, None] + ((number + 1) * size).ceil().long()
    return start.clamp(0, limit), past.clamp(0, limit)


def sample_points(
    low: Float[Tensor, " R"], high: Float[Tensor, " R"], bins: int, sampling_ratio: int, aligned: bool
) -> tuple[Float[Tensor, "R {bins} S"], Int[Tensor, " R"]]:
    """Along one axis: where the points of each bin stand, in cells, and how many of the S a region's bins have."""
    size = (high - low if aligned else (high - low).clamp(min=1)) / bins  # (R,)
    if sampling_ratio > 0:
        S, count = sampling_ratio, torch.full_like(size, sampling_ratio, dtype=torch.long)
    else:
        count = size.ceil().clamp(min=0).long()
        S = int(count.max()) if len(count) else 0
    number = torch.arange(bins, device=low.device, dtype=low.dtype)[:, None]  # (bins, 1)
    step = torch.arange(S, device=low.device, dtype=low.dtype) + 0.5  # (S,), in the middle of its share of the bin
    start, size, share = low[:, None, None], size[:, None, None], count.clamp(min=1)[:, None, None]
    return start + number * size + step * size / share, count


def summing_dtype(x: Tensor) -> torch.dtype:
    """What numbers like these are summed up in: float32 for half precision."""
    return torch.promote_types(x.dtype, torch.float32)


def check_pooling(
    features: Float[Tensor, "N C H W"], regions: Regions, output_size: int | tuple[int, int], spatial_scale: float
) -> None:
    """Refuse regions that do not fit the maps, with one sentence that says what is wrong."""
    if min(pair(output_size)) < 1:
        raise ValueError(f"output_size must be 1 or more bins each way; got {output_size}")
    if features.ndim != 4:
        raise ValueError(f"features must be (N, C, H, W), one map an image; got {tuple(features.shape)}")
    if not 0 < spatial_scale < math.inf:
        raise ValueError(f"spatial_scale must be cells per pixel, such as 1 / 16; got {spatial_scale}")
    images = len(features)
    if isinstance(regions, Tensor):
        if regions.ndim != 2 or regions.shape[1] != 5:
            raise ValueError(f"a table of regions must be (R, 5): image, x1, y1, x2, y2; got {tuple(regions.shape)}")
        image = regions[:, 0]
        is_image = (image >= 0) & (image < images) & (image == image.floor())
        if not is_image.all():
            row = int(torch.nonzero(~is_image)[0])
            raise ValueError(f"column 0 of regions must be an image, 0..{images - 1}; row {row} has {image[row]:g}")
    else:
        if others := [type(of_image).__name__ for of_image in regions if not isinstance(of_image, Tensor)]:
            raise ValueError(f"regions must be tensors (torch.as_tensor makes one); got one of type {others[0]}")
        for i, of_image in enumerate(regions):
            if of_image.ndim != 2 or of_image.shape[1] != 4:
                raise ValueError(f"regions[{i}] must be (R, 4), and (0, 4) for none; got {tuple(of_image.shape)}")
        if len(regions) != images:
            raise ValueError(f"regions must list the boxes of each image; got {len(regions)} lists for {images} images")
    boxes = in_cells(features, regions, 1.0)[1]
    if not boxes.isfinite().all():
        row = int(torch.nonzero(~boxes.isfinite().all(dim=1))[0])
        raise ValueError(f"regions must be finite; region {row} is {boxes[row].tolist()}")


def check_reach(boxes: Float[Tensor, "R 4"]) -> None:
    """Raise a ValueError for a region, in cells, that is too far away or too long to be looked at point by point."""
    is_far = (boxes.abs() > FURTHEST).any(dim=1)  # (R,)
    if is_far.any():
        far = int(torch.nonzero(is_far)[0])
        raise ValueError(f"roi_align reaches {FURTHEST:,} cells far; region {far} is {boxes[far].tolist()} in cells")
