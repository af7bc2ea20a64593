"""How many objects do the proposals cover? Recall of proposals and average recall.

Source: Hosang et al. 2015. Shapes: R proposals of one image, K objects, N numbers of proposals. Lesson 03.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float64

from frcnn_lessons.boxes import iou
from frcnn_lessons.metrics.coco import COCO_IOUS
from frcnn_lessons.metrics.records import Records, check_lists, read_objects, read_proposals, rows_of_images


def proposal_recall(
    proposals: Sequence[Any], targets: Records, counts: Sequence[int], iou_threshold: float = 0.5
) -> Float64[np.ndarray, " N"]:
    """The share of objects that some proposal covers, with the first n proposals of each image, for each n in `counts`.

    Classes play no part, and difficult objects are left out. An image with fewer than n proposals gives all it has.
    One proposal may cover several objects (as in Hosang et al.). NaN if there are no objects.

    Args:
        proposals: boxes (R, 4) of each image, best first; tensors, NumPy arrays or lists.
        targets: for each image `boxes`, `labels` and, if any are, `difficult`.
        counts: numbers of proposals, for example (10, 100, 1000).
        iou_threshold: a proposal with IoU >= this covers the object.

    Raises:
        ValueError: if the lists differ in length, or boxes or flags cannot be; names the image.
    """
    return _share(_best_overlap(proposals, targets, counts) >= iou_threshold)


def average_recall(proposals: Sequence[Any], targets: Records, counts: Sequence[int]) -> Float64[np.ndarray, " N"]:
    """`proposal_recall` averaged over IoU .50, .55, ..., .95: rewards proposals that fit tightly. Same arguments."""
    best = _best_overlap(proposals, targets, counts)
    return np.mean([_share(best >= threshold) for threshold in COCO_IOUS], axis=0)


def _share(covered: Bool[np.ndarray, "N K"]) -> Float64[np.ndarray, " N"]:
    return covered.mean(axis=1) if covered.shape[1] else np.full(len(covered), np.nan)


def _best_overlap(proposals: Sequence[Any], targets: Records, counts: Sequence[int]) -> Float64[np.ndarray, "N K"]:
    """The best IoU of each counted object of the data set with the first n proposals of its image, for each n."""
    check_lists(proposals, targets, "proposals")
    if min(counts, default=1) < 1:
        raise ValueError(f"counts must be 1 or more; got {list(counts)}")
    objects = read_objects(targets)
    image, box = read_proposals(proposals)
    best = [np.zeros((len(counts), 0))]
    rows = (rows_of_images(of, len(targets)) for of in (image, objects.image))
    for r, k in zip(*rows, strict=True):
        boxes, counted = box[r], objects.box[k][~objects.difficult[k]]
        overlap = iou(torch.from_numpy(boxes), torch.from_numpy(counted))  # (R, K)
        # Row n: the best of the first n proposals; row 0 stands for none.
        running = torch.cat([overlap.new_zeros(1, overlap.shape[1]), overlap]).cummax(dim=0).values  # (R + 1, K)
        best.append(running[[min(n, len(boxes)) for n in counts]].numpy())
    return np.concatenate(best, axis=1)
