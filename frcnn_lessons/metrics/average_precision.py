"""From verdicts to one number: precision and recall after each detection, and the area under their curve (AP).

Sources: Everingham et al. 2010, section 4.2 (VOC; 11 points until 2009, all points from 2010); Lin et al. 2014 (COCO,
101 points). Shapes: D detections. Lesson 04.
"""

import numpy as np
from jaxtyping import Float, Float64, Int

from frcnn_lessons.metrics.matching import IGNORED, TRUE

# NumPy's linspace, not torch's: the two round differently, and whether a recall of 3/10 reaches the threshold "0.3"
# hangs on the last bit. Every published evaluation inherited NumPy's answer (it does not: 0.30000000000000004).
ELEVEN_RECALLS = np.linspace(0, 1, 11)
COCO_RECALLS = np.linspace(0, 1, 101)


def precision_recall(
    verdict: Int[np.ndarray, " D"], objects: int
) -> tuple[Float64[np.ndarray, " D"], Float64[np.ndarray, " D"]]:
    """Precision and recall after each detection.

    Args:
        verdict: TRUE, FALSE or IGNORED for each detection of one class, highest score first.
        objects: how many objects there were to find.

    Returns:
        precision: NaN as long as no detection has counted (0 / 0).
        recall: NaN throughout if there was nothing to find. An IGNORED detection repeats the values before it.

    Example:
        Two of three objects found, with a false alarm between them:

        >>> from frcnn_lessons.metrics import FALSE
        >>> precision_recall(np.array([TRUE, FALSE, TRUE]), objects=3)
        (array([1.        , 0.5       , 0.66666667]), array([0.33333333, 0.33333333, 0.66666667]))
    """
    true = np.cumsum(verdict == TRUE)
    counted = np.cumsum(verdict != IGNORED)
    precision = np.full(len(verdict), np.nan)
    np.divide(true, counted, out=precision, where=counted > 0)
    recall = true / objects if objects > 0 else np.full(len(verdict), np.nan)
    return precision, recall


def envelope(precision: Float[np.ndarray, " D"]) -> Float64[np.ndarray, " D"]:
    """The highest precision at this recall or any higher one: the saw teeth of the curve filled up from the right."""
    return np.maximum.accumulate(np.nan_to_num(precision)[::-1])[::-1]


def average_precision(precision: Float[np.ndarray, " D"], recall: Float[np.ndarray, " D"], kind: str = "all") -> float:
    """One number for a precision-recall curve: the area under its envelope, or the mean of a few points of it.

    Args:
        precision, recall: as `precision_recall` gives them; NaN counts as a precision of 0.
        kind: "all" is the exact area (VOC from 2010 on); "11" the mean at recall 0, 0.1, ..., 1 (VOC until 2009);
            "101" the mean at recall 0, 0.01, ..., 1 (COCO). The envelope is 0 beyond the last recall reached.

    Returns:
        0 to 1; 0 without detections; NaN where recall is NaN, as there were no objects.

    Example:
        The curve of `precision_recall` above: 1/3 wide at height 1, 1/3 wide at height 2/3, then nothing.

        >>> average_precision(np.array([1, 1 / 2, 2 / 3]), np.array([1 / 3, 1 / 3, 2 / 3]))
        0.5555555555555556
    """
    points = {"all": None, "11": ELEVEN_RECALLS, "101": COCO_RECALLS}
    if kind not in points:
        raise ValueError(f'kind must be "all", "11" or "101"; got "{kind}"')
    if np.isnan(recall).any():
        return float("nan")
    if (np.diff(recall) < 0).any():
        raise ValueError("recall must not fall along the curve; sort the detections by score, highest first")
    heights = envelope(precision)
    at = points[kind]
    if at is None:
        widths = np.diff(recall, prepend=0)
        return float(widths @ heights)
    first = np.searchsorted(recall, at)  # the first detection whose recall is at least `at`; D where there is none
    return float(np.append(heights, 0)[first].mean())
