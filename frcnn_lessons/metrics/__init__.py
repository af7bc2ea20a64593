"""How good is a detector? Precision and recall, average precision (AP), COCO's twelve figures, recall of proposals.

Everything here rests on one procedure, `matching`: every detection, the surest first, takes an object and is TRUE, or
finds none and is FALSE. After every detection,

    precision = TRUE so far / (TRUE + FALSE so far)        recall = TRUE so far / objects in the data set

and AP is the area under precision as a function of recall, a number for each class (`average_precision`); mAP is its
mean over classes. `voc` and `coco` are the two sets of rules in use; `proposals` measures boxes without classes.

All figures are computed in float64 with NumPy. Labels are 1..C. Lesson 04.
"""

from frcnn_lessons.metrics.average_precision import (
    COCO_RECALLS,
    ELEVEN_RECALLS,
    average_precision,
    envelope,
    precision_recall,
)
from frcnn_lessons.metrics.coco import COCO_AREAS, COCO_IOUS, COCO_LIMITS, evaluate_coco
from frcnn_lessons.metrics.confusion import confusion_matrix
from frcnn_lessons.metrics.matching import FALSE, IGNORED, TRUE, Pairs, assign_objects
from frcnn_lessons.metrics.proposals import average_recall, proposal_recall
from frcnn_lessons.metrics.voc import Matches, VocResult, diagnose, evaluate_voc, match_detections

__all__ = [
    "COCO_AREAS",
    "COCO_IOUS",
    "COCO_LIMITS",
    "COCO_RECALLS",
    "ELEVEN_RECALLS",
    "FALSE",
    "IGNORED",
    "TRUE",
    "Matches",
    "Pairs",
    "VocResult",
    "assign_objects",
    "average_precision",
    "average_recall",
    "confusion_matrix",
    "diagnose",
    "envelope",
    "evaluate_coco",
    "evaluate_voc",
    "match_detections",
    "precision_recall",
    "proposal_recall",
]
