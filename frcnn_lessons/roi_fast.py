"""RoI pooling, the spatial pyramid and RoI align of `roi`, quick enough to train with.

The functions, their rules and what they refuse are those of `roi`, which is the one to read first: here all bins of
all regions are worked on together, and the results are the same. Lesson 06 measures both.

    roi_pool     regions overlap and share bins, so each different rectangle of cells is looked up once;
                 rectangles of one shape become a batch of small pictures for torch's max pooling
    roi_align    a bin is a weighted sum of few cells: a lookup in a table of cells, as of words in a language model

The functions that end in `_core` do not check their input. A detector, whose regions are known to be good, calls
these: on a GPU every check waits for the device. `roi_pool_core` reads back once; `roi_align_core` never, unless it
has to find out how many points a bin has (`sampling_ratio` 0), then twice. On a GPU, where many small operations are
slow, both hand the work to torchvision's own kernels, which give the same (tests/test_roi_fast.py).

Letters: N images, C channels, maps of H x W cells, L cells in all, R regions in all images together, P x Q bins a
region, S points a bin along one axis, U different rectangles.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from jaxtyping import Float, Int
from torch import Tensor

from frcnn_lessons.roi import (
    Regions,
    bin_edges,
    check_pooling,
    check_reach,
    in_cells,
    pair,
    round_half_away,
    sample_points,
    summing_dtype,
)

# So many cells, and in the backward pass so many bins, are worked on at a time: they stay in the processor's cache.
BLOCK, BLOCK_BACK = 2048, 512


def roi_pool(
    features: Float[Tensor, "N C H W"],
    regions: Regions,
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
) -> Float[Tensor, "R C P Q"]:
    """Cut every region into P x Q bins of whole cells and take the largest value of each: `roi.roi_pool`, quick.

    The channels of a bin may stand side by side in memory: string a region's numbers together by `flatten(1)`, not by
    `view`.
    """
    check_pooling(features, regions, output_size, spatial_scale)
    return roi_pool_core(features, regions, output_size, spatial_scale)


def spatial_pyramid_pool(
    features: Float[Tensor, "N C H W"],
    regions: Regions,
    levels: Sequence[int] = (4, 2, 1),
    spatial_scale: float = 1.0,
) -> Float[Tensor, "R D"]:
    """Pool every region by n x n bins for each n in `levels`: `roi.spatial_pyramid_pool`, quick."""
    return torch.cat([roi_pool(features, regions, n, spatial_scale).flatten(1) for n in levels], dim=1)


def roi_align(
    features: Float[Tensor, "N C H W"],
    regions: Regions,
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    aligned: bool = False,
) -> Float[Tensor, "R C P Q"]:
    """Cut every region into P x Q bins and take the mean of interpolated points in each: `roi.roi_align`, quick.

    In memory the channels of a bin stand as in `roi_pool`.
    """
    check_pooling(features, regions, output_size, spatial_scale)
    check_reach(in_cells(features, regions, spatial_scale)[1])
    return roi_align_core(features, regions, output_size, spatial_scale, sampling_ratio, aligned)


def _table(features: Float[Tensor, "N C H W"]) -> Float[Tensor, "L_and_1 C"]:
    """The cells of all maps, row by row, all channels of a cell side by side; behind the last one a cell of 0."""
    return F.pad(features.permute(0, 2, 3, 1).flatten(0, 2), (0, 0, 0, 1))  # (N*H*W + 1, C)


# --- RoI pooling ---------------------------------------------------------------------------------------------------


def roi_pool_core(
    features: Float[Tensor, "N C H W"], regions: Regions, output_size: int | tuple[int, int], spatial_scale: float
) -> Float[Tensor, "R C P Q"]:
    """`roi_pool` of regions that are known to be finite, and as many lists as there are images."""
    if features.is_cuda:
        return torchvision.ops.roi_pool(features, list(regions), output_size, spatial_scale)
    P, Q = pair(output_size)
    N, _, H, W = features.shape
    image, boxes = in_cells(features, regions, spatial_scale)  # (R,), (R, 4)
    x1, y1, x2, y2 = round_half_away(boxes).unbind(dim=1)  # (R,) each: the first and the last cell
    top, bottom = bin_edges(y1, y2, P, H, boxes.dtype)  # (R, P) each
    left, right = bin_edges(x1, x2, Q, W, boxes.dtype)  # (R, Q) each

    # Each bin is a rectangle: its size, and where it starts in the list of all cells of all images.
    height = (bottom - top)[:, :, None].expand(-1, P, Q)
    width = (right - left)[:, None, :].expand(-1, P, Q)
    corner = (image[:, None, None] * H + top[:, :, None]) * W + left[:, None, :]  # (R, P, Q)
    is_empty = (height == 0) | (width == 0)  # these look at one cell behind the last, which is 0
    height, width = height.masked_fill(is_empty, 1), width.masked_fill(is_empty, 1)
    return _Largest.apply(features, height, width, corner.masked_fill(is_empty, N * H * W))


class _Largest(torch.autograd.Function):
    """The largest cell of each rectangle, channel by channel; the gradient goes to the cell that won."""

    @staticmethod
    def forward(
        ctx: Any,
        features: Float[Tensor, "N C H W"],
        height: Int[Tensor, "R P Q"],
        width: Int[Tensor, "R P Q"],
        corner: Int[Tensor, "R P Q"],
    ) -> Float[Tensor, "R C P Q"]:
        N, C, H, W = features.shape
        # Regions overlap and share bins: compute each rectangle once. Its size and corner are written as one number,
        # size first, so that `unique`, which sorts, brings rectangles of one shape together.
        L = N * H * W + 1
        rectangle, which = ((height * (W + 1) + width) * L + corner).unique(return_inverse=True)  # (U,), (R, P, Q)
        values, winner = _winners(_table(features), rectangle // L, rectangle % L, W)  # (U, C) each
        ctx.save_for_backward(winner, which)
        ctx.of_map = features.shape
        # In memory the channels stay side by side: turning them round would take its time. It is written into `pooled`
        # because what an autograd function returns can be changed in place only if it is no view.
        R, P, Q = which.shape
        pooled = torch.empty((R, C, P, Q), dtype=values.dtype, device=values.device, memory_format=torch.channels_last)
        torch.index_select(values, 0, which.flatten(), out=pooled.permute(0, 2, 3, 1).view(which.numel(), C))
        return pooled

    @staticmethod
    def backward(ctx: Any, gradient: Float[Tensor, "R C P Q"]) -> tuple[Float[Tensor, "N C H W"], None, None, None]:
        """Fast R-CNN, equation 4: a cell gets the gradients of all bins that it won, in all regions."""
        N, C, H, W = ctx.of_map
        winner, which = ctx.saved_tensors
        total = gradient.new_zeros(C, N * H * W + 1, dtype=summing_dtype(gradient))
        regions = max(1, BLOCK_BACK // max(1, which[:1].numel()))  # at a time
        for of_regions, some in zip(gradient.split(regions), which.split(regions), strict=True):
            index = winner.index_select(0, some.flatten()).t().long()  # (C, n*P*Q)
            total.scatter_add_(1, index.contiguous(), of_regions.transpose(0, 1).reshape(index.shape).to(total.dtype))
        return total[:, :-1].view(C, N, H, W).transpose(0, 1).to(gradient.dtype), None, None, None


def _winners(
    cells: Float[Tensor, "L_and_1 C"], shape: Int[Tensor, " U"], corner: Int[Tensor, " U"], row_length: int
) -> tuple[Float[Tensor, "U C"], Int[Tensor, "U C"]]:
    """Find the largest cell of each rectangle, for each channel: its value, and its row in `cells`.

    Args:
        cells: the `_table`.
        shape: of each rectangle, height * (row_length + 1) + width; rectangles of one shape stand together.
        corner: its first cell.
        row_length: cells in a row of a map.
    """
    C = cells.shape[1]
    values, winners = cells.new_empty(len(corner), C), corner.new_empty(len(corner), C, dtype=torch.int32)
    if values.numel() == 0:  # no region, or no channel
        return values, winners
    row = 0
    shapes_and_counts = torch.stack(shape.unique_consecutive(return_counts=True), dim=1).tolist()  # read back once
    for number, count in shapes_and_counts:
        h, w = divmod(number, row_length + 1)
        down, across = torch.arange(h, device=cells.device), torch.arange(w, device=cells.device)
        offset = (down[:, None] * row_length + across).flatten()  # (h*w,)
        for some in corner[row : row + count].split(max(1, BLOCK // (h * w))):
            inside = some[:, None] + offset  # (n, h*w)
            rows = cells.index_select(0, inside.flatten())  # (n*h*w, C)
            # A small picture for each rectangle, channels last in memory: there torch's max pooling is fastest.
            picture = rows.view(len(some), h, w, C).permute(0, 3, 1, 2)  # (n, C, h, w)
            value, place = F.max_pool2d(picture, (h, w), return_indices=True)  # (n, C, 1, 1); place in 0..h*w - 1
            done = slice(row, row + len(some))
            values[done], winners[done] = value.flatten(1), inside.gather(1, place.flatten(1))
            row += len(some)
    return values, winners


# --- RoI align -----------------------------------------------------------------------------------------------------


def roi_align_core(
    features: Float[Tensor, "N C H W"],
    regions: Regions,
    output_size: int | tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Float[Tensor, "R C P Q"]:
    """`roi_align` of regions that are known to be near the map, and as many lists as there are images."""
    if features.is_cuda:
        return torchvision.ops.roi_align(features, list(regions), output_size, spatial_scale, sampling_ratio, aligned)
    P, Q = pair(output_size)
    N, C, H, W = features.shape
    image, boxes = in_cells(features, regions, spatial_scale)  # (R,), (R, 4)
    x1, y1, x2, y2 = (boxes - (0.5 if aligned else 0.0)).unbind(dim=1)  # (R,) each
    # Interpolation works on each axis by itself: the weight of a cell is that of its row times that of its column.
    row_weight, row = _axis_weights(y1, y2, P, H, sampling_ratio, aligned)  # (R, P, rows), the same
    column_weight, column = _axis_weights(x1, x2, Q, W, sampling_ratio, aligned)  # (R, Q, columns), the same
    weight = row_weight[:, :, None, :, None] * column_weight[:, None, :, None, :]  # (R, P, Q, rows, columns)
    cell = (image[:, None, None] * H + row)[:, :, None, :, None] * W + column[:, None, :, None, :]

    # What does not count looks at one cell behind the last, which is 0: any other may be NaN, and 0 * NaN is NaN.
    cell = cell.masked_fill(weight == 0, N * H * W)
    cells = _table(features).to(summing_dtype(features))  # (L + 1, C)
    # Sums of rows of a table, each with its weight, are what language models call an embedding bag.
    bags = (len(boxes) * P * Q, row.shape[2] * column.shape[2])
    pooled = F.embedding_bag(
        cell.reshape(bags), cells, mode="sum", per_sample_weights=weight.reshape(bags).to(cells.dtype)
    ).to(features.dtype)  # (R*P*Q, C)
    # In memory the channels stay side by side (torch.channels_last): turning them round would take its time.
    return pooled.view(len(boxes), P, Q, C).permute(0, 3, 1, 2)


def _axis_weights(
    low: Float[Tensor, " R"],
    high: Float[Tensor, " R"],
    bins: int,
    limit: int,
    sampling_ratio: int,
    aligned: bool,
) -> tuple[Float[Tensor, "R {bins} E"], Int[Tensor, "R {bins} E"]]:
    """Along one axis: how much a cell counts in each bin, and which cells do; E of them, as many as a bin can have."""
    point, count = sample_points(low, high, bins, sampling_ratio, aligned)  # (R, bins, S), (R,)
    S = point.shape[2]
    count = count[:, None, None]
    step = torch.arange(S, device=low.device)
    counts = (step < count) & (point >= -1) & (point <= limit)  # (R, bins, S), not for points far outside the map
    share = counts / count.clamp(min=1)  # of one point in its bin

    point = point.clamp(0, limit - 1)
    before = point.floor()
    after = (before + 1).clamp(max=limit - 1)
    weights = low.new_zeros(len(low), bins, limit)
    weights.scatter_add_(2, before.long(), share * (1 - (point - before)))
    weights.scatter_add_(2, after.long(), share * (point - before))
    # A point lies between two cells. Where a bin has a point for every cell of its length, neighbours share them.
    touched = 2 * S if sampling_ratio > 0 else S + 1
    return weights.topk(min(touched, limit), dim=2)
