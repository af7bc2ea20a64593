"""The one procedure under every figure: hand out the objects to the detections, the surest first.

Sort the detections of the *whole data set* by score; go through them from the surest to the least sure; each takes the
object that it overlaps best, if the overlap is large enough and nobody took that object before. It is then TRUE, else
FALSE.

VOC and COCO differ in one rule. In VOC a detection asks for its best object only: if that is taken, the detection
is FALSE. In COCO it may take the next best that is still free. Here
both hand the same `assign_objects` a list of wishes.

Equal scores go in the order given: by image, then by detection. Shapes: D detections, K objects, P pairs of the two.
Lesson 04.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int

from frcnn_lessons.boxes import iou

TRUE, FALSE, IGNORED = 1, 0, -1

Images = Sequence[Mapping[str, Any]]


class Pairs(NamedTuple):
    """A detection and an object of the same image that overlap, as rows of `Boxes`."""

    detection: Int[np.ndarray, " P"]
    gt: Int[np.ndarray, " P"]
    iou: Float64[np.ndarray, " P"]

    def where(self, chosen: Int[np.ndarray, " Q"] | Bool[np.ndarray, " P"]) -> "Pairs":
        """The pairs that a mask or a list of rows picks out."""
        return Pairs(self.detection[chosen], self.gt[chosen], self.iou[chosen])


class Boxes(NamedTuple):
    """The detections (best score first) or the objects of the whole data set, one row each."""

    image: Int[np.ndarray, " N"]
    row: Int[np.ndarray, " N"]  # within its image
    box: Float64[np.ndarray, "N 4"]
    label: Int[np.ndarray, " N"]

    def area(self) -> Float64[np.ndarray, " N"]:
        """Of each box, in square pixels."""
        return (self.box[:, 2] - self.box[:, 0]) * (self.box[:, 3] - self.box[:, 1])


def assign_objects(
    wishes: Pairs, detections: int, ignored: Bool[np.ndarray, " K"], shared: Bool[np.ndarray, " K"]
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


def gather(
    predictions: Images, targets: Images, pixel_offset: float = 0.0
) -> tuple[Boxes, Float64[np.ndarray, " D"], Boxes, Pairs]:
    """Check the input and lay it out flat: detections, their scores, objects, and all pairs that overlap."""
    check_lengths(predictions, targets, "predictions")
    detections, objects = flatten(predictions, "predictions"), flatten(targets, "targets")
    scores = column(predictions, "scores")
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
    pairs = Pairs(*(np.concatenate(column) for column in zip(*found, strict=True)))

    order = np.argsort(-scores, kind="stable")
    position = np.empty_like(order)
    position[order] = np.arange(len(order))  # the inverse of `order`: where each detection went
    detections = Boxes(*(column[order] for column in detections))
    return detections, scores[order], objects, pairs._replace(detection=position[pairs.detection])


def flatten(records: Images, name: str) -> Boxes:
    """Concatenate the boxes and labels of all images, or raise a ValueError that names the image."""
    keys = ("boxes", "labels", "scores") if name == "predictions" else ("boxes", "labels")
    for i, record in enumerate(records):
        shapes = {key: tuple(record[key].shape) if key in record else "missing" for key in keys}
        n = len(record["labels"]) if "labels" in record else 0
        if shapes != {key: (n, 4) if key == "boxes" else (n,) for key in keys}:
            raise ValueError(f"{name}[{i}] needs boxes (N, 4) and {' and '.join(keys[1:])} (N,); got {shapes}")
    sizes = [len(record["labels"]) for record in records]
    flat = Boxes(
        image=np.repeat(np.arange(len(records)), sizes),
        row=np.concatenate([np.zeros(0, int), *(np.arange(size) for size in sizes)]),
        box=column(records, "boxes").reshape(-1, 4),
        label=column(records, "labels").astype(np.int64),
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


def column(records: Images, key: str, default: float | None = None) -> Float64[np.ndarray, "..."]:
    """One value of all images end to end; `default` for each object of an image that does not have it."""
    parts = [np.zeros(0)]
    for record in records:
        if key in record or default is None:
            parts.append(record[key].detach().cpu().double().numpy().ravel())
        else:
            parts.append(np.full(len(record["labels"]), default))
    return np.concatenate(parts)


def check_lengths(given: Sequence[Any], targets: Images, name: str) -> None:
    """Refuse lists that cannot be of the same images."""
    if len(given) != len(targets):
        raise ValueError(f"{name} and targets must list the same images; got {len(given)} and {len(targets)}")
