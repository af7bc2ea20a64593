"""From regions of any size to features of one size: spatial pyramid pooling, RoI pooling and RoI align.

A detector computes the feature map of an image once and then looks at many regions of it. A region is cut into P x Q
bins, whatever its size, and every bin becomes one number a channel:

    roi_pool                the region is rounded to whole cells; a bin is the largest of its cells
    spatial_pyramid_pool    the same with 4 x 4, 2 x 2 and 1 x 1 bins, strung together
    roi_align               nothing is rounded; a bin is the mean of points between the cells, interpolated

All three give what `torchvision.ops` gives, and its gradients. A region may be tiny (its bins then share cells), huge,
inverted, or outside the map: a bin without a cell is 0 and passes no gradient on.

Sources: He et al. 2014, section 2.2 (spatial pyramid pooling); Fast R-CNN, sections 2.1 (RoI pooling) and 2.3 (its
gradient); He et al. 2017, "Mask R-CNN", section 3 (RoI align).
Letters: N images, C channels, maps of H x W cells, R regions in all images together, P x Q bins a region, S points a
bin along one axis; B = R * P * Q bins in all.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

Regions = Sequence[Float[Tensor, "_ 4"]] | Float[Tensor, "_ 5"]

# So few regions, of so few values in all, are pooled one by one: to lay out all bins at once takes half a millisecond.
FEW, FEW_VALUES = 16, 1_000_000
# So many cells, and in the backward pass so many bins, are worked on at a time: they stay in the processor's cache.
BLOCK, BLOCK_BACK = 2048, 512
# So many cells away a region of `roi_align` may end. It is looked at point by point, on the map and off it.
FURTHEST = 1_000_000


def roi_pool(
    features: Float[Tensor, "N C H W"],
    regions: Regions,
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
) -> Float[Tensor, "R C P Q"]:
    """Cut every region into P x Q bins of whole cells and take the largest value of each, channel by channel.

    The rules, along x as along y: the ends of the region, times `spatial_scale`, are rounded to the nearest cell
    (halves away from zero), and both these cells belong to it, so that it is at least one cell long. Bin p of P covers
    the cells from floor(p * length / P) up to, not including, ceil((p + 1) * length / P), cut off at the map's border.

    Args:
        features: one map an image.
        regions: the boxes of each image, xyxy in pixels of the image; or one (R, 5) table with the number of the image
            in front. They are constants: no gradient flows to them.
        output_size: (P, Q), or one number for both.
        spatial_scale: cells per pixel, 1 / stride of the backbone.

    Returns:
        The regions of the first image, then of the second, and so on. The gradient of a bin goes to the one cell that
        won it (the first in reading order, if several are equal); what a cell wins in several bins adds up.
        A NaN in a bin makes the bin NaN (torchvision leaves it out). The channels of a bin may stand side by side in
        memory: string a region's numbers together by `flatten(1)`, not by `view`.

    Raises:
        ValueError: if the regions do not fit the images, one of them is not finite, or `spatial_scale` is not above 0.

    Example:
        A region of 3 x 1 cells in 2 bins: columns 0, 1 and columns 1, 2. They share the middle one.

        >>> roi_pool(torch.tensor([[[[1.0, 5.0, 2.0]]]]), [torch.tensor([[0.0, 0, 2, 0]])], (1, 2))
        tensor([[[[5., 5.]]]])
    """
    P, Q = _pair(output_size)
    image, boxes = _in_cells(features, regions, spatial_scale)
    H, W = features.shape[2:]
    ends = _rounded(boxes)  # (R, 4): the first and the last cell of each region
    if 0 < len(boxes) <= FEW and _are_plain(ends.tolist(), features.shape, P, Q, boxes.dtype):
        return _OneByOne.apply(features, image.tolist(), ends.tolist(), (P, Q))
    x1, y1, x2, y2 = ends.unbind(dim=1)  # (R,) each
    top, bottom = _bin_edges(y1, y2, P, H, boxes.dtype)  # (R, P), (R, P)
    left, right = _bin_edges(x1, x2, Q, W, boxes.dtype)  # (R, Q), (R, Q)

    # Each bin is a rectangle: its size, and where it starts in the list of all cells of all images.
    height = (bottom - top)[:, :, None].expand(-1, P, Q)
    width = (right - left)[:, None, :].expand(-1, P, Q)
    corner = (image[:, None, None] * H + top[:, :, None]) * W + left[:, None, :]  # (R, P, Q)
    is_empty = (height == 0) | (width == 0)  # these look at one cell behind the last, which is 0
    height, width = height.masked_fill(is_empty, 1), width.masked_fill(is_empty, 1)
    return _Largest.apply(features, height, width, corner.masked_fill(is_empty, len(features) * H * W))


def spatial_pyramid_pool(
    features: Float[Tensor, "N C H W"],
    regions: Regions,
    levels: Sequence[int] = (4, 2, 1),
    spatial_scale: float = 1.0,
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

    Args:
        features, regions, output_size, spatial_scale: as for `roi_pool`.
        sampling_ratio: a bin has so many points across and down; 0 or less: as many as the bin is long in cells,
            rounded up.
        aligned: True takes a cell's value to stand at its centre, half a cell in from its edge, as boxes measured at
            edges need it. False, as in the first published code, puts it at the edge, so that all is read half a cell
            too far right and down; no region is then less than one cell long.

    Returns:
        As `roi_pool`. Each bin is a weighted sum of cells, so its gradient is shared out by the same weights.

    Raises:
        ValueError: as `roi_pool`, and if a region lies or reaches more than a million cells away.
    """
    P, Q = _pair(output_size)
    image, boxes = _in_cells(features, regions, spatial_scale)
    _, C, H, W = features.shape
    if (boxes.abs() > FURTHEST).any():
        far = int(torch.nonzero((boxes.abs() > FURTHEST).any(dim=1))[0])
        raise ValueError(f"roi_align reaches {FURTHEST:,} cells far; region {far} is {boxes[far].tolist()} in cells")
    x1, y1, x2, y2 = (boxes - (0.5 if aligned else 0.0)).unbind(dim=1)  # (R,) each
    # Interpolation works on each axis by itself: the weight of a cell is that of its row times that of its column.
    row_weight, row = _axis_weights(y1, y2, P, H, sampling_ratio, aligned)  # (R, P, rows), the same
    column_weight, column = _axis_weights(x1, x2, Q, W, sampling_ratio, aligned)  # (R, Q, columns), the same
    weight = row_weight[:, :, None, :, None] * column_weight[:, None, :, None, :]  # (R, P, Q, rows, columns)
    cell = (image[:, None, None] * H + row)[:, :, None, :, None] * W + column[:, None, :, None, :]

    cells = _as_cells(features)  # (N*H*W, C)
    cells = cells.to(_precise(cells))
    # Sums of rows of a table, each with its weight, are what language models call an embedding bag.
    bags = (len(boxes) * P * Q, row.shape[2] * column.shape[2])
    pooled = F.embedding_bag(
        cell.reshape(bags), cells, mode="sum", per_sample_weights=weight.reshape(bags).to(cells.dtype)
    ).to(features.dtype)  # (B, C)
    # In memory the channels stay side by side (torch.channels_last): turning them round would take its time.
    return pooled.view(len(boxes), P, Q, C).permute(0, 3, 1, 2)


# --- the bins of RoI pooling -------------------------------------------------------------------------------------


def _rounded(x: Float[Tensor, "R 4"]) -> Int[Tensor, "R 4"]:
    """The nearest whole number, halves away from zero as in C++; torch.round takes halves to the even neighbour."""
    x = x.clamp(-(2.0**30), 2.0**30)  # no map is so large, and what is computed from it stays exact
    whole = x.trunc()
    return (whole + ((x - whole) * 2).trunc()).long()


def _bin_edges(
    first: Int[Tensor, " R"], last: Int[Tensor, " R"], bins: int, limit: int, dtype: torch.dtype
) -> tuple[Int[Tensor, "R {bins}"], Int[Tensor, "R {bins}"]]:
    """Along one axis: the first cell of each bin of a region, and the one after its last, both within 0..limit."""
    length = (last - first + 1).clamp(min=1)[:, None]  # (R, 1)
    # Floats, not whole numbers: 7 * (57 / 7) is a little more than 57 in float32, and then the last bin is one cell
    # longer. All published code computes it so, and a trained network has seen it so.
    size = length.to(dtype) / bins
    number = torch.arange(bins, device=first.device, dtype=dtype)
    start = first[:, None] + (number * size).floor().long()
    past = first[:, None] + ((number + 1) * size).ceil().long()
    return start.clamp(0, limit), past.clamp(0, limit)


# --- RoI pooling of a few regions --------------------------------------------------------------------------------


def _are_plain(ends: list[list[int]], of_maps: tuple[int, ...], P: int, Q: int, dtype: torch.dtype) -> bool:
    """Whether torch's adaptive pooling would cut each region into the same bins as `_bin_edges` does, and be quicker.

    A region may reach one cell over the far border, as a box does that ends with the image.
    """
    _, C, H, W = of_maps
    lengths = [(y2 - y1 + 1, x2 - x1 + 1) for x1, y1, x2, y2 in ends]
    return (
        all(0 <= x1 < W and 0 <= y1 < H and x1 <= x2 <= W and y1 <= y2 <= H for x1, y1, x2, y2 in ends)
        and 0 < C * sum(h * w for h, w in lengths) <= FEW_VALUES
        and all(_is_even(h, P, dtype) and _is_even(w, Q, dtype) for h, w in lengths)
    )


@cache
def _is_even(length: int, bins: int, dtype: torch.dtype) -> bool:
    """Whether the bins of so many cells have the same edges in floats as in whole numbers; see `_bin_edges`."""
    start, past = _bin_edges(torch.tensor([0]), torch.tensor([length - 1]), bins, length + 1, dtype)
    number = torch.arange(bins)
    return torch.equal(start[0], number * length // bins) and torch.equal(past[0], -(-(number + 1) * length // bins))


class _OneByOne(torch.autograd.Function):
    """RoI pooling as a loop: cut out a region, let torch cut it into bins. Only for regions that `_are_plain`.

    Autograd by itself would make a gradient as large as the whole map for every region, and add them up. Here one is
    made, and each region adds to its part of it.
    """

    @staticmethod
    def forward(
        ctx: Any, features: Float[Tensor, "N C H W"], image: list[int], ends: list[list[int]], size: tuple[int, int]
    ) -> Float[Tensor, "R C P Q"]:
        H, W = features.shape[2:]
        pooled, places = [], []
        for i, (x1, y1, x2, y2) in zip(image, ends, strict=True):
            crop = features[i, :, y1 : y2 + 1, x1 : x2 + 1]
            reaches_out = x2 == W or y2 == H
            if reaches_out:  # no cell of the map is less than what stands beyond its border
                crop = F.pad(crop, (0, int(x2 == W), 0, int(y2 == H)), value=-math.inf)
            values, place = F.adaptive_max_pool2d(crop, size, return_indices=True)  # (C, P, Q) each
            pooled.append(values.masked_fill(values == -math.inf, 0) if reaches_out else values)
            places.append(place)  # of the winner among the cells of the region
        ctx.save_for_backward(*places)
        ctx.of_map, ctx.of_regions = features.shape, (image, ends)
        return torch.stack(pooled)

    @staticmethod
    def backward(ctx: Any, gradient: Float[Tensor, "R C P Q"]) -> tuple[Float[Tensor, "N C H W"], None, None, None]:
        _, C, H, W = ctx.of_map
        total = gradient.new_zeros(ctx.of_map, dtype=_precise(gradient))
        of_bins = gradient.to(total.dtype)
        for of_region, place, i, (x1, y1, x2, y2) in zip(of_bins, ctx.saved_tensors, *ctx.of_regions, strict=True):
            h, w = y2 + 1 - y1, x2 + 1 - x1
            crop = total.new_zeros(C, h * w).scatter_add_(1, place.flatten(1), of_region.flatten(1)).view(C, h, w)
            total[i, :, y1 : y2 + 1, x1 : x2 + 1].add_(crop[:, : H - y1, : W - x1])
        return total.to(gradient.dtype), None, None, None


# --- RoI pooling of many regions ---------------------------------------------------------------------------------


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
        values, winner = _winners(_as_cells(features), rectangle // L, rectangle % L, W)
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
        total = gradient.new_zeros(C, N * H * W + 1, dtype=_precise(gradient))
        regions = max(1, BLOCK_BACK // max(1, which[:1].numel()))  # at a time
        for of_regions, some in zip(gradient.split(regions), which.split(regions), strict=True):
            index = winner.index_select(0, some.flatten()).t().long()  # (C, n*P*Q)
            total.scatter_add_(1, index.contiguous(), of_regions.transpose(0, 1).reshape(index.shape).to(total.dtype))
        return total[:, :-1].view(C, N, H, W).transpose(0, 1).to(gradient.dtype), None, None, None


def _winners(
    cells: Float[Tensor, "L C"], shape: Int[Tensor, " U"], corner: Int[Tensor, " U"], row_length: int
) -> tuple[Float[Tensor, "U C"], Int[Tensor, "U C"]]:
    """Find the largest cell of each rectangle, for each channel: its value, and its row in `cells`.

    Args:
        cells: the cells of all maps, row by row.
        shape: of each rectangle, height * (row_length + 1) + width; rectangles of one shape stand together.
        corner: its first cell. A rectangle of 1 x 1 may also stand behind the last cell, where all is 0.
        row_length: cells in a row of a map.
    """
    C = cells.shape[1]
    values, winners = cells.new_empty(len(corner), C), corner.new_empty(len(corner), C, dtype=torch.int32)
    if values.numel() == 0:
        return values, winners
    # A few small regions touch little of the map: only what lies between their first cell and their last is copied.
    last = corner + (shape // (row_length + 1) - 1) * row_length + shape % (row_length + 1)
    first, past = int(corner.min()), int(last.max())
    behind = max(0, past - len(cells))
    cells = cells[first:past].contiguous()
    if behind:
        cells = F.pad(cells, (0, 0, 0, behind))
    shapes, counts = shape.unique_consecutive(return_counts=True)
    row = 0
    for number, corners in zip(shapes.tolist(), corner.split(counts.tolist()), strict=True):
        h, w = divmod(number, row_length + 1)
        down, across = torch.arange(h, device=cells.device), torch.arange(w, device=cells.device)
        offset = (down[:, None] * row_length + across).flatten()  # (h*w,)
        for some in corners.split(max(1, BLOCK // (h * w))):
            inside = some[:, None] + offset  # (n, h*w)
            rows = cells.index_select(0, (inside - first).flatten())  # (n*h*w, C)
            # A small picture for each rectangle, channels last in memory: there torch's max pooling is fastest.
            picture = rows.view(len(some), h, w, C).permute(0, 3, 1, 2)  # (n, C, h, w)
            value, place = F.max_pool2d(picture, (h, w), return_indices=True)  # (n, C, 1, 1); place in 0..h*w - 1
            done = slice(row, row + len(some))
            values[done], winners[done] = value.flatten(1), inside.gather(1, place.flatten(1))
            row += len(some)
    return values, winners


# --- the weights of RoI align ------------------------------------------------------------------------------------


def _axis_weights(
    low: Float[Tensor, " R"],
    high: Float[Tensor, " R"],
    bins: int,
    limit: int,
    sampling_ratio: int,
    aligned: bool,
) -> tuple[Float[Tensor, "R {bins} E"], Int[Tensor, "R {bins} E"]]:
    """Along one axis: how much a cell counts in each bin, and which cells do; E of them, as many as the fullest has."""
    length = high - low if aligned else (high - low).clamp(min=1)
    size = length / bins  # (R,)
    count = torch.full_like(size, sampling_ratio) if sampling_ratio > 0 else size.ceil()
    low, size, count = (each[:, None, None] for each in (low, size, count))
    number = torch.arange(bins, device=low.device, dtype=low.dtype)[:, None]  # (bins, 1)
    step = torch.arange(max([0, *count.flatten().tolist()]), device=low.device, dtype=low.dtype)  # (S,)
    point = low + number * size + (step + 0.5) * size / count.clamp(min=1)  # (R, bins, S)
    counts = (step < count) & (point >= -1) & (point <= limit)  # (R, bins, S), not for points far outside the map
    share = counts / count.clamp(min=1)  # of one point in its bin

    point = point.clamp(0, limit - 1)
    before = point.floor()
    after = (before + 1).clamp(max=limit - 1)
    weights = low.new_zeros(len(low), bins, limit)
    weights.scatter_add_(2, before.long(), share * (1 - (point - before)))
    weights.scatter_add_(2, after.long(), share * (point - before))
    most = max([1, *(weights > 0).sum(dim=2).flatten().tolist()])
    return weights.topk(most, dim=2)


# --- shared pieces -----------------------------------------------------------------------------------------------


def _as_cells(features: Float[Tensor, "N C H W"]) -> Float[Tensor, "L C"]:
    """Maps as a list of cells, row by row: all channels of a cell side by side."""
    return features.permute(0, 2, 3, 1).flatten(0, 2)  # (N*H*W, C)


def _precise(x: Tensor) -> torch.dtype:
    """What numbers like these are summed up in: float32 for half precision."""
    return torch.promote_types(x.dtype, torch.float32)


def _pair(output_size: int | tuple[int, int]) -> tuple[int, int]:
    P, Q = (output_size, output_size) if isinstance(output_size, int) else output_size
    if min(P, Q) < 1:
        raise ValueError(f"output_size must be 1 or more bins each way; got {output_size}")
    return P, Q


def _in_cells(
    features: Float[Tensor, "N C H W"], regions: Regions, spatial_scale: float
) -> tuple[Int[Tensor, " R"], Float[Tensor, "R 4"]]:
    """The number of the image of each region, and its box in cells; or a ValueError that says what does not fit."""
    if features.ndim != 4:
        raise ValueError(f"features must be (N, C, H, W), one map an image; got {tuple(features.shape)}")
    if not 0 < spatial_scale < math.inf:
        raise ValueError(f"spatial_scale must be cells per pixel, such as 1 / 16; got {spatial_scale}")
    images = len(features)
    if isinstance(regions, Tensor):
        if regions.ndim != 2 or regions.shape[1] != 5:
            raise ValueError(f"a table of regions must be (R, 5): image, x1, y1, x2, y2; got {tuple(regions.shape)}")
        image, boxes = regions[:, 0], regions[:, 1:]
        is_image = (image >= 0) & (image < images) & (image == image.floor())
        if not is_image.all():
            row = int(torch.nonzero(~is_image)[0])
            raise ValueError(f"column 0 of regions must be an image, 0..{images - 1}; row {row} has {image[row]:g}")
        image = image.long()
    else:
        others = [type(of_image).__name__ for of_image in regions if not isinstance(of_image, Tensor)]
        if others:
            raise ValueError(f"regions must be tensors (torch.as_tensor makes one); got one of type {others[0]}")
        for i, of_image in enumerate(regions):
            if of_image.ndim != 2 or of_image.shape[1] != 4:
                raise ValueError(f"regions[{i}] must be (R, 4), and (0, 4) for none; got {tuple(of_image.shape)}")
        if len(regions) != images:
            raise ValueError(f"regions must list the boxes of each image; got {len(regions)} lists for {images} images")
        sizes = torch.tensor([len(of_image) for of_image in regions], dtype=torch.long)
        boxes = torch.cat([torch.zeros(0, 4, device=features.device), *regions])  # a tensor even without an image
        image = torch.repeat_interleave(sizes).to(boxes.device)  # 0, 0, 1 for two boxes and one
    if not boxes.isfinite().all():
        row = int(torch.nonzero(~boxes.isfinite().all(dim=1))[0])
        raise ValueError(f"regions must be finite; region {row} is {boxes[row].tolist()}")
    return image, boxes.detach().to(_precise(boxes)) * spatial_scale
