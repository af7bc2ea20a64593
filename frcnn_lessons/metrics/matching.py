"""The one procedure under every figure: hand out the objects to the detections, the surest first.

Sort the detections of the *whole data set* by score; go through them from the surest to the least sure; each takes the
object that it overlaps best, if the overlap is large enough and nobody took that object before. It is then TRUE, else
FALSE.

VOC and COCO differ in one rule. In VOC a detection asks for its best object only: if that is taken, the detection is
FALSE. In COCO it may take the next best that is still free. Here both hand `assign_objects` a list of wishes.

Equal scores go in the order given: by image, then by detection. Shapes: D detections, K objects, P pairs of the two.
Lesson 04.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int

from frcnn_lessons.boxes import iou
from frcnn_lessons.metrics.records import (
    Detections,
    Objects,
    Records,
    check_lists,
    read_detections,
    read_objects,
    rows_of_images,
)

TRUE, FALSE, IGNORED = 1, 0, -1


class Pairs(NamedTuple):
    """A detection and an object of the same image that overlap, as rows of `Detections` and `Objects`."""

    detection: Int[np.ndarray, " P"]
    gt: Int[np.ndarray, " P"]
    iou: Float64[np.ndarray, " P"]

    def where(self, chosen: Int[np.ndarray, " Q"] | Bool[np.ndarray, " P"]) -> "Pairs":
        """The pairs that a mask or a list of rows picks out."""
        return Pairs(self.detection[chosen], self.gt[chosen], self.iou[chosen])


def assign_objects(
    wishes: Pairs, detections: int, ignored: Bool[np.ndarray, " K"], shared: Bool[np.ndarray, " K"]
) -> Int[np.ndarray, " D"]:
    """Hand out the objects: each detection gets the first object on its list that is still free.

    Args:
        wishes: pairs with enough overlap; detections in order of score, the wishes of one with the dearest first. A
            detection without a wish does not occur.
        detections: how many there are.
        ignored: objects that leave the count. Who gets one is IGNORED.
        shared: objects that are never used up.

    Returns:
        TRUE, IGNORED or, for who gets none, FALSE.
    """
    verdict = [FALSE] * detections
    free = [True] * len(ignored)
    for d, k in zip(wishes.detection.tolist(), wishes.gt.tolist(), strict=True):
        if verdict[d] == FALSE and (free[k] or shared[k]):
            verdict[d] = IGNORED if ignored[k] else TRUE
            free[k] = False
    return np.array(verdict, dtype=np.int64)


def gather(predictions: Records, targets: Records, pixel_offset: float = 0.0) -> tuple[Detections, Objects, Pairs]:
    """Check the input and lay it out flat: detections (best score first), objects, and all pairs that overlap."""
    check_lists(predictions, targets, "predictions")
    detections, objects = read_detections(predictions), read_objects(targets)

    # One table of overlaps an image: pairs in different images cannot meet.
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = [(np.zeros(0, int), np.zeros(0, int), np.zeros(0))]
    for in_d, in_k in zip(*(rows_of_images(of.image, len(targets)) for of in (detections, objects)), strict=True):
        boxes, gt_boxes = detections.box[in_d], objects.box[in_k]
        if len(boxes) > 0 and len(gt_boxes) > 0:
            overlap = iou(torch.from_numpy(boxes), torch.from_numpy(gt_boxes), pixel_offset).numpy()  # (D, K) of one
            d, k = np.nonzero(overlap > 0)
            found.append((d + in_d.start, k + in_k.start, overlap[d, k]))
    pairs = Pairs(*(np.concatenate(column) for column in zip(*found, strict=True)))

    order = np.argsort(-detections.score, kind="stable")
    position = np.empty_like(order)
    position[order] = np.arange(len(order))  # the inverse of `order`: where each detection went
    detections = Detections(*(column[order] for column in detections))
    return detections, objects, pairs._replace(detection=position[pairs.detection])
