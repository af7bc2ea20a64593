"""The arithmetic of boxes: overlap, conversions, regression targets and non-maximum suppression.

A box is `xyxy`: (x1, y1, x2, y2) in pixels, measured at *edges*, not at pixel centres. The pixel in column 3
reaches from x = 3 to x = 4, so a box that covers columns 3, 4 and 5 is x1 = 3, x2 = 6, and its width is x2 - x1.
Old code (MATLAB, PASCAL VOC, py-faster-rcnn) numbers pixels instead, so that the same box is 3..5 and its width
x2 - x1 + 1. `pixel_offset=1` switches that convention on where published numbers are to be reproduced.

Every function takes empty input, any float dtype (half precision is computed in float32) and any device. Those with a
name in `_core` do the work of the one named so without it, on boxes that have been checked: detectors call these, as
their boxes were looked at once, at the entrance (`frcnn_lessons.batch`).

Sources: R-CNN, appendix C (regression targets); Faster R-CNN, equation 2; Rezatofighi et al. 2019 (GIoU);
Felzenszwalb et al. 2010, section 5.2 (non-maximum suppression).
Shapes: N and K boxes, M of them kept, C classes. Lesson 01.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Boxes = Float[Tensor, "N 4"]

# exp() of a wild guess overflows early in training. No box grows more than 1000/16-fold in one step
# (1000 px is the longest side of the paper's images, 16 px the stride of its feature map).
LARGEST_LOG_SCALE = math.log(1000 / 16)

# Deltas of a detection head are a tenth (dx, dy) or a fifth (dw, dh) in size. Scaled by these they deviate by about 1.
DELTA_WEIGHTS = (10.0, 10.0, 5.0, 5.0)

# `nms` compares so many boxes at a time with the others, in tables of at most so many overlaps. On a processor these
# stay in its cache, and torch works on them with one thread (from 32,768 elements on it wakes the others, which costs
# more than such a table does); on a GPU few large steps are quicker.
NMS_BLOCK, NMS_TABLE, NMS_ON_GPU = 160, 32_767, (4096, 2**26)


def xyxy_to_xywh(boxes: Boxes) -> Boxes:
    """Corners to (left, top, width, height), the format of COCO's files."""
    boxes = checked(boxes)
    return torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1)  # (N, 4)


def xywh_to_xyxy(boxes: Boxes) -> Boxes:
    """(left, top, width, height) to corners."""
    boxes = _checked_sizes(boxes, "(x, y, width, height)")
    return torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1)  # (N, 4)


def xyxy_to_cxcywh(boxes: Boxes) -> Boxes:
    """Corners to (centre x, centre y, width, height), the format in which boxes are regressed."""
    boxes = checked(boxes)
    return torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], dim=1)  # (N, 4)


def cxcywh_to_xyxy(boxes: Boxes) -> Boxes:
    """(centre x, centre y, width, height) to corners."""
    boxes = _checked_sizes(boxes, "(centre x, centre y, width, height)")
    half = boxes[:, 2:] / 2  # (N, 2)
    return torch.cat([boxes[:, :2] - half, boxes[:, :2] + half], dim=1)  # (N, 4)


def area(boxes: Boxes, pixel_offset: float = 0.0) -> Float[Tensor, " N"]:
    """Area of each box in square pixels; 0 for a box without width or height."""
    return _area(_at_edges(checked(boxes), pixel_offset))


def clip(boxes: Boxes, size: tuple[int, int], pixel_offset: float = 0.0) -> Boxes:
    """Cut boxes off at the border of an image of `size` (height, width).

    A box that lies outside altogether keeps its row and has no area. With `pixel_offset=1` the last column is
    `width - 1`.
    """
    return clip_core(checked(boxes), size, pixel_offset)


def clip_core(boxes: Boxes, size: tuple[int, int], pixel_offset: float = 0.0) -> Boxes:
    """`clip`, of boxes that have been checked."""
    height, width = size
    x = boxes[:, 0::2].clamp(0, width - pixel_offset)  # (N, 2)
    y = boxes[:, 1::2].clamp(0, height - pixel_offset)  # (N, 2)
    return torch.stack([x, y], dim=2).flatten(1)  # (N, 2, 2) -> (N, 4)


def remove_small(boxes: Boxes, min_size: float) -> Int[Tensor, " M"]:
    """Indices of the boxes whose width and height are both at least `min_size` pixels."""
    return remove_small_core(checked(boxes), min_size)


def remove_small_core(boxes: Boxes, min_size: float) -> Int[Tensor, " M"]:
    """`remove_small`, of boxes that have been checked."""
    sizes = boxes[:, 2:] - boxes[:, :2]  # (N, 2)
    return torch.nonzero((sizes >= min_size).all(dim=1)).flatten()


def iou(a: Boxes, b: Float[Tensor, "K 4"], pixel_offset: float = 0.0) -> Float[Tensor, "N K"]:
    """Intersection over union of every box in `a` with every box in `b`.

    Returns:
        1 for the same box, 0 for boxes that do not overlap (boxes that only touch included). Two boxes of no area
        have 0 / 0 = NaN, which no comparison accepts: `iou >= 0.5` is False for it.

    Raises:
        ValueError: if a box is inverted (x2 < x1), which usually means that it was in another format.

    Example:
        Six by four squares each, four by three of them shared (lesson 01):

        >>> iou(torch.tensor([[2.0, 1.0, 8.0, 5.0]]), torch.tensor([[4.0, 2.0, 10.0, 6.0]]))
        tensor([[0.3333]])
    """
    return iou_core(_at_edges(checked(a, "a"), pixel_offset), _at_edges(checked(b, "b"), pixel_offset))


def iou_core(a: Boxes, b: Float[Tensor, "K 4"]) -> Float[Tensor, "N K"]:
    """`iou`, of boxes that have been checked."""
    a, b = _upcast(a), _upcast(b)
    intersection, union = intersection_and_union(a, b, _area(a), _area(b))
    return intersection / union


def giou(a: Boxes, b: Float[Tensor, "K 4"]) -> Float[Tensor, "N K"]:
    """Generalised IoU: IoU less the share of the smallest common frame that neither box covers.

    Where IoU is 0 for all boxes that do not meet, GIoU falls on towards -1 the further they are apart, so that it
    can serve as a loss (Rezatofighi et al. 2019, algorithm 1).
    """
    a, b = _upcast(checked(a, "a")), _upcast(checked(b, "b"))
    intersection, union = intersection_and_union(a, b, _area(a), _area(b))
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a.T[:, :, None], b.T  # columns of (N, 1) and rows of (K,)
    frame_width = torch.maximum(ax2, bx2) - torch.minimum(ax1, bx1)  # (N, K)
    frame_height = torch.maximum(ay2, by2) - torch.minimum(ay1, by1)  # (N, K)
    frame = frame_width * frame_height
    return intersection / union - (frame - union) / frame


def encode(
    gt_boxes: Boxes, anchors: Boxes, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0), pixel_offset: float = 0.0
) -> Float[Tensor, "N 4"]:
    """Deltas that lead from each anchor (or proposal) to its ground-truth box: what a network learns to predict.

        dx = (gx - ax) / aw    dw = log(gw / aw)      (Faster R-CNN, equation 2)
        dy = (gy - ay) / ah    dh = log(gh / ah)      with (x, y) the centre of a box

    Args:
        gt_boxes: one ground-truth box for each anchor.
        weights: factors for (dx, dy, dw, dh) that bring them to like size; torchvision's box head has (10, 10, 5, 5).

    Raises:
        ValueError: if a box has no width or height. Its logarithm is infinite and the loss becomes NaN.
    """
    gt_boxes = _at_edges(checked(gt_boxes, "gt_boxes", allow_empty_area=False), pixel_offset)
    anchors = _at_edges(checked(anchors, "anchors", allow_empty_area=False), pixel_offset)
    if len(gt_boxes) != len(anchors):
        raise ValueError(f"encode pairs boxes row by row: {len(gt_boxes)} gt_boxes for {len(anchors)} anchors")
    return encode_core(gt_boxes, anchors, weights)


def encode_core(gt_boxes: Boxes, anchors: Boxes, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> Boxes:
    """`encode`, of boxes that have been checked."""
    gt_boxes, anchors = _upcast(gt_boxes), _upcast(anchors)
    gt_centre, gt_size = _centre_and_size(gt_boxes)  # (N, 2), (N, 2)
    centre, size = _centre_and_size(anchors)  # (N, 2), (N, 2)
    deltas = torch.cat([(gt_centre - centre) / size, torch.log(gt_size / size)], dim=1)  # (N, 4)
    return deltas * deltas.new_tensor(weights)


def decode(
    deltas: Float[Tensor, "N *C 4"],
    anchors: Boxes,
    weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
    pixel_offset: float = 0.0,
) -> Float[Tensor, "N *C 4"]:
    """Move and stretch each anchor by its deltas: the inverse of `encode`.

    Args:
        deltas: (dx, dy, dw, dh) of one box for each anchor, (N, 4), or of one box a class, (N, C, 4). dw and dh are
            clamped at log(1000 / 16) before exp().
        weights: as given to `encode`.
        pixel_offset: 1 measures anchors as py-faster-rcnn does. As there, the pixel is *not* taken off again
            at the end: x2 and y2 come back one larger than they went into `encode`.
    """
    anchors = _at_edges(checked(anchors, "anchors"), pixel_offset)
    if deltas.ndim not in (2, 3) or deltas.shape[-1] != 4 or len(deltas) != len(anchors):
        raise ValueError(
            f"deltas must be (N, 4) or (N, C, 4) with a row for each of the {len(anchors)} anchors; "
            f"got {tuple(deltas.shape)}"
        )
    return decode_core(deltas, anchors, weights)


def decode_core(
    deltas: Float[Tensor, "N *C 4"], anchors: Boxes, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)
) -> Float[Tensor, "N *C 4"]:
    """`decode`, of boxes that have been checked."""
    deltas, anchors = _upcast(deltas), _upcast(anchors)
    centre, size = _centre_and_size(anchors)  # (N, 2), (N, 2)
    if deltas.ndim == 3:
        centre, size = centre[:, None], size[:, None]  # (N, 1, 2): the same anchor for every class
    deltas = deltas / deltas.new_tensor(weights)
    centre = centre + deltas[..., :2] * size  # (N, *C, 2)
    half = 0.5 * (deltas[..., 2:].clamp(max=LARGEST_LOG_SCALE).exp() * size)  # (N, *C, 2)
    return torch.cat([centre - half, centre + half], dim=-1)  # (N, *C, 4)


def nms(
    boxes: Boxes, scores: Float[Tensor, " N"], iou_threshold: float, pixel_offset: float = 0.0, limit: int | None = None
) -> Int[Tensor, " M"]:
    """Keep the best box of every heap of boxes that overlap.

    Go through the boxes from the highest score to the lowest; keep a box unless its IoU with one that was kept
    before it is *above* the threshold. Returns the indices of those kept, in that order.

    Args:
        boxes, scores: candidates of one class; equal scores go in the order given.
        iou_threshold: 0.3 to 0.5 for detections, 0.7 for proposals (Faster R-CNN, section 3.3).
        limit: stop when so many are kept: `nms(...)[:limit]` in less time.

    Example:
        The second box covers 8/12 of what it and the first cover; the third stands apart:

        >>> boxes = torch.tensor([[0.0, 0, 10, 1], [0, 0, 8, 1.5], [20, 0, 30, 1]])
        >>> nms(boxes, torch.tensor([0.9, 0.8, 0.7]), iou_threshold=0.5)
        tensor([0, 2])
    """
    boxes = _at_edges(checked(boxes), pixel_offset)
    _check_scores(scores, boxes)
    return nms_core(boxes, scores, iou_threshold, limit=limit)


def batched_nms(
    boxes: Boxes, scores: Float[Tensor, " N"], labels: Int[Tensor, " N"], iou_threshold: float
) -> Int[Tensor, " M"]:
    """Non-maximum suppression as `nms`, but within each class: a bus never suppresses the car in front of it."""
    _check_scores(scores, checked(boxes))
    if labels.shape != scores.shape:
        raise ValueError(f"labels must hold one class for each of the {len(boxes)} boxes; got {tuple(labels.shape)}")
    return nms_core(boxes, scores, iou_threshold, labels)


def nms_core(
    boxes: Boxes,
    scores: Float[Tensor, " N"],
    iou_threshold: float,
    labels: Int[Tensor, " N"] | None = None,
    limit: int | None = None,
) -> Int[Tensor, " M"]:
    """`nms`, and with `labels` `batched_nms`, of what has been checked."""
    boxes = _upcast(boxes)
    order = scores.sort(descending=True, stable=True).indices  # (N,)
    boxes, labels = boxes[order], None if labels is None else labels[order]
    areas = _area(boxes)
    # IoU is a float32 and is compared with a Python float. Compare with the largest number of the boxes' own dtype
    # that is not above the threshold: "above it" is then the same, to the last bit.
    if boxes.dtype == torch.float32:
        nearest = np.float32(iou_threshold)
        iou_threshold = float(np.nextafter(nearest, np.float32(-1)) if float(nearest) > iou_threshold else nearest)

    def overlap(p: Tensor, q: Tensor) -> Tensor:  # (P, Q), IoU
        intersection, union = intersection_and_union(boxes[p], boxes[q], areas[p], areas[q])
        iou = intersection / union
        return iou if labels is None else torch.where(labels[p][:, None] == labels[q], iou, 0.0)

    # One box at a time would be slow in Python, all pairs at once slow in memory: a block at a time.
    rows, table = NMS_ON_GPU if boxes.is_cuda else (NMS_BLOCK, NMS_TABLE)
    kept: list[Tensor] = []
    undecided = torch.arange(len(boxes), device=boxes.device)
    while len(undecided) > 0 and (limit is None or sum(map(len, kept)) < limit):
        block, undecided = undecided[:rows], undecided[rows:]
        block = block[_greedy_choice(overlap(block, block) > iou_threshold)]
        kept.append(block)
        if len(undecided) > 0:
            parts = undecided.split(table // len(block))
            # The largest IoU with a box of the block, then one comparison: quicker than any() of all comparisons. Only
            # a box without area can meet a NaN (0/0, with another such box), and nothing overlaps it in any case.
            largest = torch.cat([overlap(block, part).amax(dim=0) for part in parts])
            undecided = undecided[~(largest > iou_threshold)]
    return order[torch.cat(kept)[:limit]] if kept else order[:0]


def _greedy_choice(conflicts: Tensor) -> Tensor:
    """Which of B boxes, best first, survive; `conflicts[i, j]` says that i and j overlap too much.

    A box is out when a *surviving* box before it conflicts with it. Start with all as survivors and correct until
    nothing changes: round k is right for the first k boxes at least, and two or three rounds do in practice.
    """
    earlier = conflicts.triu(diagonal=1).float()  # (B, B), 1 where an earlier box is in conflict with a later one
    survives = torch.ones_like(earlier[0])  # (B,)
    while True:
        corrected = (survives @ earlier == 0).float()  # as a product, which counts the conflicts: quicker than `any`
        if torch.equal(corrected, survives):
            return survives.bool()
        survives = corrected


def _at_edges(boxes: Tensor, pixel_offset: float) -> Tensor:
    """Boxes that number their pixels, 3..5, as edges, 3..6: all that follows needs to know of no "+1"."""
    boxes = _upcast(boxes)
    return boxes + boxes.new_tensor([0, 0, pixel_offset, pixel_offset]) if pixel_offset else boxes


def _area(boxes: Tensor) -> Tensor:
    x1, y1, x2, y2 = boxes.unbind(dim=1)
    return (x2 - x1) * (y2 - y1)  # (N,)


def _centre_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    size = boxes[:, 2:] - boxes[:, :2]  # (N, 2)
    return boxes[:, :2] + 0.5 * size, size


def intersection_and_union(
    a: Boxes, b: Float[Tensor, "K 4"], area_a: Float[Tensor, " N"], area_b: Float[Tensor, " K"]
) -> tuple[Float[Tensor, "N K"], Float[Tensor, "N K"]]:
    """Areas that each box in `a` shares with each in `b`, and that both cover together."""
    # Coordinate by coordinate: four (N, K) tables are quicker to fill than two of (N, K, 2).
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a.T[:, :, None], b.T.contiguous()  # (N, 1) and (K,) each
    width = torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)  # (N, K)
    height = torch.minimum(ay2, by2) - torch.maximum(ay1, by1)  # (N, K)
    # Clamp *before* multiplying: two boxes apart in x and in y have two negative sides and a positive product.
    intersection = width.clamp(min=0) * height.clamp(min=0)
    return intersection, area_a[:, None] + area_b - intersection


def _upcast(values: Tensor) -> Tensor:
    """Half precision holds 2,048 exactly and overflows at 65,504: too little for the area of a box."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def checked(boxes: Tensor, name: str = "boxes", allow_empty_area: bool = True) -> Tensor:
    """Return `boxes` if they are (N, 4) floats in xyxy, else raise a ValueError that names them and the row."""
    check_shape(boxes, name)
    good = is_box(boxes, allow_empty_area)
    if not good.all():
        row = int(torch.nonzero(~good)[0])
        sign = ">=" if allow_empty_area else ">"
        raise ValueError(
            f"{name} must be (N, 4) with x2 {sign} x1 and y2 {sign} y1; row {row} is {_row(boxes, row)} "
            "(in another format? see the conversions in frcnn_lessons.boxes)"
        )
    return boxes


def is_box(boxes: Boxes, allow_empty_area: bool = True) -> Bool[Tensor, " N"]:
    """Which rows are boxes at all: the right way round and, if asked for, with an area. None with a NaN is."""
    low, high = boxes[:, :2], boxes[:, 2:]
    return (high >= low if allow_empty_area else high > low).all(dim=1)


def _checked_sizes(boxes: Tensor, form: str) -> Tensor:
    check_shape(boxes, "boxes")
    good = boxes[:, 2:] >= 0
    if not good.all():
        row = int(torch.nonzero(~good.all(dim=1))[0])
        raise ValueError(f"boxes must be {form} with sizes of 0 or more; row {row} is {_row(boxes, row)}")
    return boxes


def check_shape(boxes: Tensor, name: str) -> None:
    """Refuse what is not (N, 4) floats in a tensor."""
    if not isinstance(boxes, Tensor):
        raise TypeError(f"{name} must be a torch tensor; got {type(boxes).__name__}, convert it with torch.as_tensor()")
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{name} must be (N, 4), and (0, 4) when there are none; got {tuple(boxes.shape)}")
    if not boxes.is_floating_point():
        raise ValueError(f"{name} must hold floats; got {boxes.dtype}, convert them with .float()")


def _check_scores(scores: Tensor, boxes: Tensor) -> None:
    if scores.shape != boxes.shape[:1]:
        raise ValueError(f"scores must hold one number for each of the {len(boxes)} boxes; got {tuple(scores.shape)}")
    if scores.isnan().any():
        raise ValueError(f"scores must be numbers; number {int(torch.nonzero(scores.isnan())[0])} is NaN")


def _row(boxes: Tensor, row: int) -> str:
    return "[" + ", ".join(f"{value:g}" for value in boxes[row].tolist()) + "]"
