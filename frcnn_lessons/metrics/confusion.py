"""Which class is taken for which: the confusion matrix of a detector at one threshold of its scores.

AP looks at every detection; a person who uses a detector sees those above a threshold. Shapes: D detections, K objects,
C classes. Lesson 12.
"""

import numpy as np
import torch
from jaxtyping import Int

from frcnn_lessons.boxes import iou
from frcnn_lessons.metrics.records import Records, check_lists, read_detections, read_objects, rows_of_images


def confusion_matrix(
    predictions: Records, targets: Records, classes: int, score_threshold: float = 0.5, iou_threshold: float = 0.5
) -> Int[np.ndarray, "L L"]:
    """Count what each object was taken for, L = C + 1.

    The detections above the threshold, the surest first, each take the object that they overlap best among those that
    are still free, whatever its class, if IoU >= `iou_threshold`. Difficult objects leave the count, and so do the
    detections whose best object is one.

    Args:
        predictions, targets: see `match_detections`; labels from 1 to C = `classes`.

    Returns:
        Row: what it is; column: what it was taken for; both with 0 for nothing. So (a, b) counts objects of class a
        found as b, (a, 0) those not found, (0, b) detections of b on nothing; (0, 0) is 0.
    """
    check_lists(predictions, targets, "predictions")
    detections, objects = read_detections(predictions), read_objects(targets)
    highest = int(max(detections.label.max(initial=0), objects.label.max(initial=0)))
    if highest > classes:
        raise ValueError(f"labels must be 1 to {classes}; got {highest}")
    matrix = np.zeros((classes + 1, classes + 1), dtype=np.int64)
    places = (rows_of_images(table.image, len(targets)) for table in (detections, objects))
    for d, k in zip(*places, strict=True):
        sure = d.start + np.flatnonzero(detections.score[d] >= score_threshold)
        sure = sure[np.argsort(-detections.score[sure], kind="stable")]
        overlap = iou(torch.from_numpy(detections.box[sure]), torch.from_numpy(objects.box[k])).numpy()  # (D, K)
        difficult, free = objects.difficult[k], np.ones(k.stop - k.start, dtype=bool)
        for row, detection in zip(overlap, sure, strict=True):
            wished = np.where(free & (row >= iou_threshold), row, 0)
            best = int(wished.argmax()) if wished.any() else None
            if best is not None and difficult[best]:
                continue  # neither right nor wrong, and others may be on it as well
            matrix[0 if best is None else objects.label[k][best], detections.label[detection]] += 1
            if best is not None:
                free[best] = False
        np.add.at(matrix[:, 0], objects.label[k][free & ~difficult], 1)
    return matrix
