"""The rules of PASCAL VOC: which detections are right, AP of each class, mAP, and why a detection is wrong.

Sources: Everingham et al. 2010, section 4.2; Hoiem et al. 2012, section 2 (kinds of false positives).
Shapes: D detections of one class. Lesson 04.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int

from frcnn_lessons.metrics.average_precision import average_precision, precision_recall
from frcnn_lessons.metrics.matching import FALSE, TRUE, Pairs, assign_objects, gather
from frcnn_lessons.metrics.records import Detections, Objects, Records


class Matches(NamedTuple):
    """What became of the detections of one class, highest score first.

    Attributes:
        verdict: TRUE, FALSE or IGNORED.
        score: the score of each.
        image, detection: where it stands: `predictions[image]["boxes"][detection]`.
        gt: the object of its class that it overlaps best, `targets[image]["boxes"][gt]`; -1 if it touches none.
        iou: the overlap with that object; 0 if it touches none.
        objects: how many objects of the class count (a number).
    """

    verdict: Int[np.ndarray, " D"]
    score: Float64[np.ndarray, " D"]
    image: Int[np.ndarray, " D"]
    detection: Int[np.ndarray, " D"]
    gt: Int[np.ndarray, " D"]
    iou: Float64[np.ndarray, " D"]
    objects: int


def match_detections(
    predictions: Records, targets: Records, iou_threshold: float = 0.5, pixel_offset: float = 0.0
) -> dict[int, Matches]:
    """Decide for every detection whether it is right, by the rules of PASCAL VOC.

    In the order of their scores, each detection is compared with the object of its class and image that it overlaps
    best. It is TRUE if IoU >= `iou_threshold` and the object was still free; FALSE if the overlap is less or the
    object was found before; IGNORED if that object is difficult, however many detections are on it.

    Args:
        predictions: for each image `boxes` (D, 4), `scores` (D,) and `labels` (D,), as torchvision's detectors return
            them; tensors, NumPy arrays or lists. Boxes may reach outside the image.
        targets: for each image `boxes` (K, 4), `labels` (K,) and, if any are, `difficult` (K,) bool.
        iou_threshold: above 0 and at most 1. (py-faster-rcnn's program asks for IoU *above* 0.5, which is
            `math.nextafter(0.5, 1)` here.)
        pixel_offset: 1 where boxes number pixels (width = x2 - x1 + 1), as in VOC's files.

    Returns:
        The matches of each class that occurs in predictions or targets, by label in ascending order.

    Raises:
        ValueError: if the lists differ in length, a score is NaN, a box is inverted or not finite, a label is 0 or no
            whole number, or a value is of another kind or length; names the image.
    """
    return _matches(*gather(predictions, targets, pixel_offset), iou_threshold)


def _matches(detections: Detections, objects: Objects, pairs: Pairs, iou_threshold: float) -> dict[int, Matches]:
    """What `match_detections` gives, of input that is laid out already."""
    if not 0 < iou_threshold <= 1:
        raise ValueError(f"iou_threshold must be above 0 and at most 1; got {iou_threshold}")
    pairs = pairs.where(detections.label[pairs.detection] == objects.label[pairs.gt])
    pairs = pairs.where(np.lexsort((pairs.gt, -pairs.iou, pairs.detection)))
    _, first = np.unique(pairs.detection, return_index=True)
    best = pairs.where(first)  # one pair a detection: its best object (of equals the first)

    wishes = best.where(best.iou >= iou_threshold)
    verdict = assign_objects(wishes, len(detections.score), ignored=objects.difficult, shared=objects.difficult)
    gt, best_iou = np.full(len(verdict), -1), np.zeros(len(verdict))
    gt[best.detection], best_iou[best.detection] = objects.row[best.gt], best.iou

    matches = {}
    for label in np.union1d(detections.label, objects.label).tolist():
        d = np.flatnonzero(detections.label == label)
        count = int((~objects.difficult[objects.label == label]).sum())
        matches[label] = Matches(
            verdict[d], detections.score[d], detections.image[d], detections.row[d], gt[d], best_iou[d], count
        )
    return matches


class VocResult(NamedTuple):
    """AP of each class by label (NaN for a class without objects), and mAP, the mean of those that are not NaN."""

    ap: dict[int, float]
    mean_ap: float


def evaluate_voc(
    predictions: Records,
    targets: Records,
    iou_threshold: float = 0.5,
    kind: str = "all",
    pixel_offset: float = 0.0,
) -> VocResult:
    """AP of every class and mAP, by the rules of PASCAL VOC.

    A class of which no object counts (none there, or only difficult ones) has AP NaN and is left out of the mean; a
    class with objects and no detections has AP 0; mAP is NaN if no class has objects.

    Args:
        predictions, targets, iou_threshold, pixel_offset: see `match_detections`.
        kind: "all" or "11", see `average_precision`.
    """
    matches = match_detections(predictions, targets, iou_threshold, pixel_offset)
    ap = {
        label: average_precision(*precision_recall(m.verdict, m.objects), kind) if m.objects > 0 else float("nan")
        for label, m in matches.items()
    }
    measured = [value for value in ap.values() if not np.isnan(value)]
    return VocResult(ap, float(np.mean(measured)) if measured else float("nan"))


def diagnose(predictions: Records, targets: Records, iou_threshold: float = 0.5) -> list[list[str]]:
    """Say of every detection what it is: `kinds[image][detection]`, in the order of `predictions`.

    "correct" and "ignored" are TRUE and IGNORED of `match_detections`. A FALSE one is the first of these that fits:
    "duplicate" (enough overlap with an object of its class that was found before), "localisation" (IoU of at least 0.1
    with an object of its class), "confusion" (at least 0.1 with an object of another class), "background".
    """
    detections, objects, pairs = gather(predictions, targets)
    sizes = np.bincount(detections.image, minlength=len(predictions))
    kinds = [["background"] * size for size in sizes.tolist()]
    other = detections.label[pairs.detection] != objects.label[pairs.gt]
    for d in pairs.where(other & (pairs.iou >= 0.1)).detection:
        kinds[detections.image[d]][detections.row[d]] = "confusion"
    for m in _matches(detections, objects, pairs, iou_threshold).values():
        for verdict, image, detection, overlap in zip(m.verdict, m.image, m.detection, m.iou, strict=True):
            if verdict != FALSE:
                kinds[image][detection] = "correct" if verdict == TRUE else "ignored"
            elif overlap >= 0.1:
                kinds[image][detection] = "duplicate" if overlap >= iou_threshold else "localisation"
    return kinds
