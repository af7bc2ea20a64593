"""COCO's twelve figures.

Sources: Lin et al. 2014 and the definitions on cocodataset.org. Shapes: D detections, K objects, P pairs of the two,
C classes. Lesson 04.
"""

import numpy as np
from jaxtyping import Int

from frcnn_lessons.metrics.average_precision import average_precision, precision_recall
from frcnn_lessons.metrics.matching import FALSE, IGNORED, TRUE, assign_objects, gather
from frcnn_lessons.metrics.records import Detections, Records, box_areas

COCO_IOUS = np.linspace(0.5, 0.95, 10)
# Areas in square pixels, both ends included.
COCO_AREAS = {"all": (0, 1e5**2), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e5**2)}
COCO_LIMITS = (1, 10, 100)  # so many detections of one image and class, at most


def evaluate_coco(predictions: Records, targets: Records) -> dict[str, float]:
    """COCO's twelve figures, as pycocotools computes them and in its order.

    Args:
        predictions: see `match_detections`. Of one image and class the 100 highest scores count.
        targets: see `match_detections`. COCO's own `iscrowd` (K,) and `area` (K,), the area of the object's
            outline, which decides about small, medium and large, are used when there; else no object is a crowd and
            `area` is that of the box.

    Returns:
        AP (mean over IoU .50, .55, ..., .95 and classes), AP50, AP75, AP_small (area to 32 x 32), AP_medium (to
        96 x 96), AP_large; AR1, AR10, AR100 (recall with at most so many detections of an image and class, mean over
        the same IoUs and classes), AR_small, AR_medium, AR_large. A figure with nothing to measure is -1, as there.

    Ignored, that is neither right nor wrong, are detections matched to a crowd, to a difficult object or to one outside
    the range of areas, and unmatched ones that are themselves outside it. A crowd or a difficult object takes any
    number of detections. The overlap with a crowd is measured as the share of the *detection* that it covers.
    (pycocotools knows nothing like `difficult`: it replaces any `ignore` in a file by `iscrowd`.)
    """
    detections, objects, pairs = gather(predictions, targets)
    shared = objects.crowd | objects.difficult
    detection_areas = box_areas(detections.box)
    rank = _rank(detections)
    kept = rank < max(COCO_LIMITS)

    same_class = detections.label[pairs.detection] == objects.label[pairs.gt]
    pairs = pairs.where(same_class & kept[pairs.detection])
    d, k = detections.box[pairs.detection], objects.box[pairs.gt]
    sides = np.minimum(d[:, 2:], k[:, 2:]) - np.maximum(d[:, :2], k[:, :2])  # (P, 2), above 0: the two overlap
    covered = sides.prod(axis=1) / detection_areas[pairs.detection]
    pairs = pairs._replace(iou=np.where(objects.crowd[pairs.gt], covered, pairs.iou))

    ap, ar = {}, {}  # (10 IoUs, C) each: by range of areas, and by range and limit
    for size, (low, high) in COCO_AREAS.items():
        ignored = shared | (objects.area < low) | (objects.area > high)
        outside = (detection_areas < low) | (detection_areas > high)
        # A detection wishes for counted objects before ignored ones, then for the best overlap (of equals the last).
        wishes = pairs.where(np.lexsort((-pairs.gt, -pairs.iou, ignored[pairs.gt], pairs.detection)))
        labels, counts = np.unique(objects.label[~ignored], return_counts=True)  # what there is to find
        rows = [np.flatnonzero(kept & (detections.label == label)) for label in labels]

        ap[size] = np.zeros((len(COCO_IOUS), len(labels)))
        ar.update({(size, limit): np.zeros_like(ap[size]) for limit in COCO_LIMITS})
        for t, threshold in enumerate(COCO_IOUS):
            verdict = assign_objects(wishes.where(wishes.iou >= threshold), len(rank), ignored, shared)
            verdict[(verdict == FALSE) & outside] = IGNORED
            for c, count in enumerate(counts.tolist()):
                of_class, rank_of_class = verdict[rows[c]], rank[rows[c]]
                ap[size][t, c] = average_precision(*precision_recall(of_class, count), kind="101")
                for limit in COCO_LIMITS:
                    ar[size, limit][t, c] = (of_class[rank_of_class < limit] == TRUE).sum() / count
    tables = {
        "AP": ap["all"],
        "AP50": ap["all"][0],
        "AP75": ap["all"][5],
        "AP_small": ap["small"],
        "AP_medium": ap["medium"],
        "AP_large": ap["large"],
        "AR1": ar["all", 1],
        "AR10": ar["all", 10],
        "AR100": ar["all", 100],
        "AR_small": ar["small", 100],
        "AR_medium": ar["medium", 100],
        "AR_large": ar["large", 100],
    }
    return {name: float(table.mean()) if table.size else -1.0 for name, table in tables.items()}


def _rank(detections: Detections) -> Int[np.ndarray, " D"]:
    """The place of each detection among those of its image and class: 0 for the best score."""
    group = detections.image * (1 + detections.label.max(initial=0)) + detections.label
    order = np.argsort(group, kind="stable")  # scores stay in order within a group
    _, start, size = np.unique(group[order], return_index=True, return_counts=True)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order)) - np.repeat(start, size)
    return rank
