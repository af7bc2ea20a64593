"""How good is a detector? Precision and recall, average precision (AP), COCO's twelve figures, recall of proposals.

Everything here rests on one procedure. Sort the detections of the *whole data set* by score; go through them from
the surest to the least sure; each takes the object that it overlaps best, if the overlap is large enough and nobody
took that object before. It is then TRUE, else FALSE. After every detection,

    precision = TRUE so far / (TRUE + FALSE so far)        recall = TRUE so far / objects in the data set

and AP is the area under precision as a function of recall, a number for each class; mAP is its mean over classes.

VOC and COCO differ in one rule. In VOC a detection asks for its best object only: if that is taken, the detection
is FALSE. In COCO it may take the next best that is still free. Here both hand the same `_match` a list of wishes.

All figures are computed in float64 with NumPy. Equal scores go in the order given: by image, then by detection.

Sources: Everingham et al. 2010, section 4.2 (VOC; 11 points until 2009, all points from 2010); Lin et al. 2014 and
the definitions on cocodataset.org (COCO); Hosang et al. 2015 (recall of proposals, average recall); Hoiem et al. 2012,
section 2 (kinds of false positives).
Shapes: D detections, K objects, P pairs of the two, R proposals of one image, C classes with labels 1..C.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from frcnn_lessons.boxes import iou

TRUE, FALSE, IGNORED = 1, 0, -1

# NumPy's linspace, not torch's: the two round differently, and whether a recall of 3/10 reaches the threshold "0.3"
# hangs on the last bit. Every published evaluation inherited NumPy's answer (it does not: 0.30000000000000004).
ELEVEN_RECALLS = np.linspace(0, 1, 11)
COCO_RECALLS = np.linspace(0, 1, 101)
COCO_IOUS = np.linspace(0.5, 0.95, 10)
# Areas in square pixels, both ends included.
COCO_AREAS = {"all": (0, 1e5**2), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e5**2)}
COCO_LIMITS = (1, 10, 100)  # so many detections of one image and class, at most

Images = Sequence[Mapping[str, Any]]


# --- from verdicts to a number -----------------------------------------------------------------------------------


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


# --- PASCAL VOC --------------------------------------------------------------------------------------------------


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
    predictions: Images, targets: Images, iou_threshold: float = 0.5, pixel_offset: float = 0.0
) -> dict[int, Matches]:
    """Decide for every detection whether it is right, by the rules of PASCAL VOC.

    In the order of their scores, each detection is compared with the object of its class and image that it overlaps
    best. It is TRUE if IoU >= `iou_threshold` and the object was still free; FALSE if the overlap is less or the
    object was found before; IGNORED if that object is difficult, however many detections are on it.

    Args:
        predictions: for each image `boxes` (D, 4), `scores` (D,) and `labels` (D,), as torchvision's detectors return
            them. Boxes may reach outside the image.
        targets: for each image `boxes` (K, 4), `labels` (K,) and, if any are, `difficult` (K,) bool.
        iou_threshold: above 0 and at most 1. (py-faster-rcnn's program asks for IoU *above* 0.5, which is
            `math.nextafter(0.5, 1)` here.)
        pixel_offset: 1 where boxes number pixels (width = x2 - x1 + 1), as in VOC's files.

    Returns:
        The matches of each class that occurs in predictions or targets, by label in ascending order.

    Raises:
        ValueError: if the lists differ in length, a score is NaN, a box is inverted or not finite, or a label is 0.
    """
    if not 0 < iou_threshold <= 1:
        raise ValueError(f"iou_threshold must be above 0 and at most 1; got {iou_threshold}")
    detections, scores, objects, pairs = _gather(predictions, targets, pixel_offset)
    difficult = _column(targets, "difficult", 0).astype(bool)
    pairs = pairs.where(detections.label[pairs.detection] == objects.label[pairs.gt])
    pairs = pairs.where(np.lexsort((pairs.gt, -pairs.iou, pairs.detection)))
    _, first = np.unique(pairs.detection, return_index=True)
    best = pairs.where(first)  # one pair a detection: its best object (of equals the first)

    wishes = best.where(best.iou >= iou_threshold)
    verdict = _match(wishes, len(scores), ignored=difficult, shared=difficult)
    gt, best_iou = np.full(len(verdict), -1), np.zeros(len(verdict))
    gt[best.detection], best_iou[best.detection] = objects.row[best.gt], best.iou

    matches = {}
    for label in np.union1d(detections.label, objects.label).tolist():
        d = np.flatnonzero(detections.label == label)
        count = int((~difficult[objects.label == label]).sum())
        matches[label] = Matches(
            verdict[d], scores[d], detections.image[d], detections.row[d], gt[d], best_iou[d], count
        )
    return matches


class VocResult(NamedTuple):
    """AP of each class by label (NaN for a class without objects), and mAP, the mean of those that are not NaN."""

    ap: dict[int, float]
    mean_ap: float


def evaluate_voc(
    predictions: Images,
    targets: Images,
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


# --- COCO --------------------------------------------------------------------------------------------------------


def evaluate_coco(predictions: Images, targets: Images) -> dict[str, float]:
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
    detections, _, objects, pairs = _gather(predictions, targets)
    crowd = _column(targets, "iscrowd", 0).astype(bool)
    shared = crowd | _column(targets, "difficult", 0).astype(bool)
    areas = _column(targets, "area", np.nan)
    areas = np.where(np.isnan(areas), objects.area(), areas)
    detection_areas = detections.area()
    rank = _rank(detections)
    kept = rank < max(COCO_LIMITS)

    same_class = detections.label[pairs.detection] == objects.label[pairs.gt]
    pairs = pairs.where(same_class & kept[pairs.detection])
    d, k = detections.box[pairs.detection], objects.box[pairs.gt]
    sides = np.minimum(d[:, 2:], k[:, 2:]) - np.maximum(d[:, :2], k[:, :2])  # (P, 2), above 0: the two overlap
    covered = sides.prod(axis=1) / detection_areas[pairs.detection]
    pairs = pairs._replace(iou=np.where(crowd[pairs.gt], covered, pairs.iou))

    ap, ar = {}, {}  # (10 IoUs, C) each: by range of areas, and by range and limit
    for size, (low, high) in COCO_AREAS.items():
        ignored = shared | (areas < low) | (areas > high)
        outside = (detection_areas < low) | (detection_areas > high)
        # A detection wishes for counted objects before ignored ones, then for the best overlap (of equals the last).
        wishes = pairs.where(np.lexsort((-pairs.gt, -pairs.iou, ignored[pairs.gt], pairs.detection)))
        labels, counts = np.unique(objects.label[~ignored], return_counts=True)  # what there is to find
        rows = [np.flatnonzero(kept & (detections.label == label)) for label in labels]

        ap[size] = np.zeros((len(COCO_IOUS), len(labels)))
        ar.update({(size, limit): np.zeros_like(ap[size]) for limit in COCO_LIMITS})
        for t, threshold in enumerate(COCO_IOUS):
            verdict = _match(wishes.where(wishes.iou >= threshold), len(rank), ignored, shared)
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


# --- proposals ---------------------------------------------------------------------------------------------------


def proposal_recall(
    proposals: Sequence[Float[Tensor, "_ 4"]], targets: Images, counts: Sequence[int], iou_threshold: float = 0.5
) -> Float64[np.ndarray, " N"]:
    """The share of objects that some proposal covers, with the first n proposals of each image, for each n in `counts`.

    Classes play no part, and difficult objects are left out. An image with fewer than n proposals gives all it has.
    One proposal may cover several objects (as in Hosang et al.). NaN if there are no objects.

    Args:
        proposals: boxes of each image, best first.
        targets: for each image `boxes`, `labels` and, if any are, `difficult`.
        counts: numbers of proposals, for example (10, 100, 1000).
        iou_threshold: a proposal with IoU >= this covers the object.
    """
    return _share(_best_overlap(proposals, targets, counts) >= iou_threshold)


def average_recall(
    proposals: Sequence[Float[Tensor, "_ 4"]], targets: Images, counts: Sequence[int]
) -> Float64[np.ndarray, " N"]:
    """`proposal_recall` averaged over IoU .50, .55, ..., .95: rewards proposals that fit tightly. Same arguments."""
    best = _best_overlap(proposals, targets, counts)
    return np.mean([_share(best >= threshold) for threshold in COCO_IOUS], axis=0)


def _share(covered: Bool[np.ndarray, "N K"]) -> Float64[np.ndarray, " N"]:
    return covered.mean(axis=1) if covered.shape[1] else np.full(len(covered), np.nan)


def _best_overlap(
    proposals: Sequence[Float[Tensor, "_ 4"]], targets: Images, counts: Sequence[int]
) -> Float64[np.ndarray, "N K"]:
    """The best IoU of each counted object of the data set with the first n proposals of its image, for each n."""
    _check_lengths(proposals, targets, "proposals")
    if min(counts, default=1) < 1:
        raise ValueError(f"counts must be 1 or more; got {list(counts)}")
    # Only for what they check.
    _flatten(targets, "targets")
    _flatten([{"boxes": boxes, "labels": boxes.new_ones(len(boxes))} for boxes in proposals], "proposals")
    best = [np.zeros((len(counts), 0))]
    for boxes, target in zip(proposals, targets, strict=True):
        counted = _column([target], "difficult", 0) == 0
        overlap = iou(boxes.detach().cpu().double(), target["boxes"].detach().cpu().double()[counted])  # (R, K)
        # Row n: the best of the first n proposals; row 0 stands for none.
        running = torch.cat([overlap.new_zeros(1, overlap.shape[1]), overlap]).cummax(dim=0).values  # (R + 1, K)
        best.append(running[[min(n, len(boxes)) for n in counts]].numpy())
    return np.concatenate(best, axis=1)


# --- why a detection is wrong ------------------------------------------------------------------------------------


def diagnose(predictions: Images, targets: Images, iou_threshold: float = 0.5) -> list[list[str]]:
    """Say of every detection what it is: `kinds[image][detection]`, in the order of `predictions`.

    "correct" and "ignored" are TRUE and IGNORED of `match_detections`. A FALSE one is the first of these that fits:
    "duplicate" (enough overlap with an object of its class that was found before), "localisation" (IoU of at least 0.1
    with an object of its class), "confusion" (at least 0.1 with an object of another class), "background".
    """
    detections, _, objects, pairs = _gather(predictions, targets)
    kinds = [["background"] * len(prediction["labels"]) for prediction in predictions]
    other = detections.label[pairs.detection] != objects.label[pairs.gt]
    for d in pairs.where(other & (pairs.iou >= 0.1)).detection:
        kinds[detections.image[d]][detections.row[d]] = "confusion"
    for m in match_detections(predictions, targets, iou_threshold).values():
        for verdict, image, detection, overlap in zip(m.verdict, m.image, m.detection, m.iou, strict=True):
            if verdict != FALSE:
                kinds[image][detection] = "correct" if verdict == TRUE else "ignored"
            elif overlap >= 0.1:
                kinds[image][detection] = "duplicate" if overlap >= iou_threshold else "localisation"
    return kinds


# --- shared pieces -----------------------------------------------------------------------------------------------


class _Pairs(NamedTuple):
    """A detection and an object of the same image that overlap, as rows of `_Boxes`."""

    detection: Int[np.ndarray, " P"]
    gt: Int[np.ndarray, " P"]
    iou: Float64[np.ndarray, " P"]

    def where(self, chosen: Int[np.ndarray, " Q"] | Bool[np.ndarray, " P"]) -> "_Pairs":
        """The pairs that a mask or a list of rows picks out."""
        return _Pairs(self.detection[chosen], self.gt[chosen], self.iou[chosen])


class _Boxes(NamedTuple):
    """The detections (best score first) or the objects of the whole data set, one row each."""

    image: Int[np.ndarray, " N"]
    row: Int[np.ndarray, " N"]  # within its image
    box: Float64[np.ndarray, "N 4"]
    label: Int[np.ndarray, " N"]

    def area(self) -> Float64[np.ndarray, " N"]:
        return (self.box[:, 2] - self.box[:, 0]) * (self.box[:, 3] - self.box[:, 1])


def _match(
    wishes: _Pairs, detections: int, ignored: Bool[np.ndarray, " K"], shared: Bool[np.ndarray, " K"]
) -> Int[np.ndarray, " D"]:
    """Hand out the objects: each detection gets the first object on its list that is still free.

    Args:
        wishes: pairs with enough overlap; detections in order of score, the wishes of one with the dearest first.
        detections: how many there are.
        ignored: objects that leave the count. Who gets one is IGNORED.
        shared: objects that are never used up.
    """
    verdict = [FALSE] * detections
    free = [True] * len(ignored)
    for d, k in zip(wishes.detection.tolist(), wishes.gt.tolist(), strict=True):
        if verdict[d] == FALSE and (free[k] or shared[k]):
            verdict[d] = IGNORED if ignored[k] else TRUE
            free[k] = False
    return np.array(verdict, dtype=np.int64)


def _gather(
    predictions: Images, targets: Images, pixel_offset: float = 0.0
) -> tuple[_Boxes, Float64[np.ndarray, " D"], _Boxes, _Pairs]:
    """Check the input and lay it out flat: detections, their scores, objects, and all pairs that overlap."""
    _check_lengths(predictions, targets, "predictions")
    detections, objects = _flatten(predictions, "predictions"), _flatten(targets, "targets")
    scores = _column(predictions, "scores")
    if np.isnan(scores).any():
        image = detections.image[np.isnan(scores)][0]
        raise ValueError(f"predictions[{image}] has a score that is NaN; look for the NaN in the model's output")

    # One table of overlaps an image: pairs in different images cannot meet.
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = [(np.zeros(0, int), np.zeros(0, int), np.zeros(0))]
    d0 = k0 = 0  # the rows where the image starts
    for prediction, target in zip(predictions, targets, strict=True):
        d1, k1 = d0 + len(prediction["labels"]), k0 + len(target["labels"])
        if d1 > d0 and k1 > k0:
            overlap = iou(
                torch.from_numpy(detections.box[d0:d1]), torch.from_numpy(objects.box[k0:k1]), pixel_offset
            ).numpy()  # (D of this image, K of this image)
            d, k = np.nonzero(overlap > 0)
            found.append((d + d0, k + k0, overlap[d, k]))
        d0, k0 = d1, k1
    pairs = _Pairs(*(np.concatenate(column) for column in zip(*found, strict=True)))

    order = np.argsort(-scores, kind="stable")
    position = np.empty_like(order)
    position[order] = np.arange(len(order))  # the inverse of `order`: where each detection went
    detections = _Boxes(*(column[order] for column in detections))
    return detections, scores[order], objects, pairs._replace(detection=position[pairs.detection])


def _flatten(records: Images, name: str) -> _Boxes:
    """Concatenate the boxes and labels of all images, or raise a ValueError that names the image."""
    keys = ("boxes", "labels", "scores") if name == "predictions" else ("boxes", "labels")
    for i, record in enumerate(records):
        shapes = {key: tuple(record[key].shape) if key in record else "missing" for key in keys}
        n = len(record["labels"]) if "labels" in record else 0
        if shapes != {key: (n, 4) if key == "boxes" else (n,) for key in keys}:
            raise ValueError(f"{name}[{i}] needs boxes (N, 4) and {' and '.join(keys[1:])} (N,); got {shapes}")
    sizes = [len(record["labels"]) for record in records]
    flat = _Boxes(
        image=np.repeat(np.arange(len(records)), sizes),
        row=np.concatenate([np.zeros(0, int), *(np.arange(size) for size in sizes)]),
        box=_column(records, "boxes").reshape(-1, 4),
        label=_column(records, "labels").astype(np.int64),
    )
    bad = (flat.box[:, 2:] < flat.box[:, :2]).any(axis=1) | ~np.isfinite(flat.box).all(axis=1)
    if bad.any():
        row = np.flatnonzero(bad)[0]
        raise ValueError(
            f"{name}[{flat.image[row]}]: boxes must be finite with x2 >= x1 and y2 >= y1; "
            f"row {flat.row[row]} is {flat.box[row].tolist()}"
        )
    if (flat.label < 1).any():
        row = np.flatnonzero(flat.label < 1)[0]
        raise ValueError(
            f"{name}[{flat.image[row]}]: labels must be 1 or more (0 is background, which is not an object); "
            f"row {flat.row[row]} has {flat.label[row]}"
        )
    return flat


def _column(records: Images, key: str, default: float | None = None) -> Float64[np.ndarray, "..."]:
    """One value of all images end to end; `default` for each object of an image that does not have it."""
    parts = [np.zeros(0)]
    for record in records:
        if key in record or default is None:
            parts.append(record[key].detach().cpu().double().numpy().ravel())
        else:
            parts.append(np.full(len(record["labels"]), default))
    return np.concatenate(parts)


def _check_lengths(given: Sequence[Any], targets: Images, name: str) -> None:
    if len(given) != len(targets):
        raise ValueError(f"{name} and targets must list the same images; got {len(given)} and {len(targets)}")


def _rank(detections: _Boxes) -> Int[np.ndarray, " D"]:
    """The place of each detection among those of its image and class: 0 for the best score."""
    group = detections.image * (1 + detections.label.max(initial=0)) + detections.label
    order = np.argsort(group, kind="stable")  # scores stay in order within a group
    _, start, size = np.unique(group[order], return_index=True, return_counts=True)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order)) - np.repeat(start, size)
    return rank
