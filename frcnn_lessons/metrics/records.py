"""What comes in: a dict for each image, as detectors and data sets give them. Checked, and laid out flat.

Tensors of any number type and device, NumPy arrays and plain lists are taken. What makes no sense is refused by name: a
metric that counts label 1.5 as class 1 is wrong without a word. Afterwards all is NumPy, one row a detection or object,
images end to end. Shapes: D detections, K objects, R proposals, N rows of any kind. Lesson 04.
"""

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int
from torch import Tensor

from frcnn_lessons.batch import wanted_labels

Records = Sequence[Mapping[str, Any]]

# What the values of each key must be, as the refusals say it.
WANTED = {
    "boxes": "numbers",
    "labels": "whole numbers",
    "scores": "numbers",
    "difficult": "True or False, or 1 or 0",
    "iscrowd": "True or False, or 1 or 0",
    "area": "finite and 0 or more",
}


class Detections(NamedTuple):
    """The detections of the whole data set."""

    image: Int[np.ndarray, " D"]
    row: Int[np.ndarray, " D"]  # within its image
    box: Float64[np.ndarray, "D 4"]
    label: Int[np.ndarray, " D"]
    score: Float64[np.ndarray, " D"]


class Objects(NamedTuple):
    """The objects of the whole data set."""

    image: Int[np.ndarray, " K"]
    row: Int[np.ndarray, " K"]  # within its image
    box: Float64[np.ndarray, "K 4"]
    label: Int[np.ndarray, " K"]
    difficult: Bool[np.ndarray, " K"]
    crowd: Bool[np.ndarray, " K"]
    area: Float64[np.ndarray, " K"]  # of the outline, or of the box where that is all there is


def read_detections(predictions: Records) -> Detections:
    """`boxes` (D, 4), `labels` (D,) and `scores` (D,) of every image, in the order given.

    Raises:
        ValueError: names the image and what is wrong.
    """
    image, row, (box, label, score) = _columns(predictions, "predictions", ("boxes", "labels", "scores"))
    _check_boxes(image, row, box, "predictions")
    _check_labels(image, row, label, "predictions")
    if np.isnan(score).any():
        i = image[np.isnan(score)][0]
        raise ValueError(f"predictions[{i}] has a score that is NaN; look for the NaN in the model's output")
    return Detections(image, row, box, label.astype(np.int64), score)


def read_objects(targets: Records) -> Objects:
    """`boxes` (K, 4), `labels` (K,) and, of images that have them, `difficult`, `iscrowd` and `area` (K,).

    Raises:
        ValueError: names the image and what is wrong.
    """
    image, row, (box, label) = _columns(targets, "targets", ("boxes", "labels"))
    _check_boxes(image, row, box, "targets")
    _check_labels(image, row, label, "targets")
    difficult = _optional(targets, "difficult", image, np.zeros(len(box)))
    crowd = _optional(targets, "iscrowd", image, np.zeros(len(box)))
    area = _optional(targets, "area", image, box_areas(box))
    for key, value, fits in (
        ("difficult", difficult, (difficult == 0) | (difficult == 1)),
        ("iscrowd", crowd, (crowd == 0) | (crowd == 1)),
        ("area", area, np.isfinite(area) & (area >= 0)),
    ):
        _check_values(image, row, value, fits, "targets", key)
    return Objects(image, row, box, label.astype(np.int64), difficult == 1, crowd == 1, area)


def read_proposals(proposals: Sequence[Any]) -> tuple[Int[np.ndarray, " N"], Float64[np.ndarray, "N 4"]]:
    """The image of each proposal, and its box; `proposals` holds (R, 4) of every image.

    Raises:
        ValueError: names the image and what is wrong.
    """
    image, row, (box,) = _columns([{"boxes": boxes} for boxes in proposals], "proposals", ("boxes",))
    _check_boxes(image, row, box, "proposals")
    return image, box


def check_lists(given: Any, targets: Any, name: str) -> None:
    """Refuse what is no list, and lists that cannot be of the same images."""
    for value, of in ((given, name), (targets, "targets")):
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Collection):
            raise ValueError(f"{of} must be a list with one entry for each image; got {_short(value)}")
    if len(given) != len(targets):
        raise ValueError(f"{name} and targets must list the same images; got {len(given)} and {len(targets)}")


def rows_of_images(image: Int[np.ndarray, " N"], images: int) -> list[slice]:
    """Where the rows of each image stand; `image` names the image of each row, in ascending order."""
    edges = np.searchsorted(image, np.arange(images + 1)).tolist()
    return [slice(*pair) for pair in itertools.pairwise(edges)]


def box_areas(box: Float64[np.ndarray, "N 4"]) -> Float64[np.ndarray, " N"]:
    """Of each box, in square pixels."""
    return (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])


def _columns(
    records: Records, name: str, keys: tuple[str, ...]
) -> tuple[Int[np.ndarray, " N"], Int[np.ndarray, " N"], list[Float64[np.ndarray, "N ..."]]]:
    """Image and row of every box, and the values of each key end to end; "boxes" is the first key."""
    parts = [[np.zeros((0, 4) if key == "boxes" else 0)] for key in keys]
    for i, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise ValueError(f"{name}[{i}] must be a dict with {' and '.join(keys)}; got {_short(record)}")
        values = {key: _numbers(record[key], f"{name}[{i}]", key) for key in keys if key in record}
        shapes = {key: values[key].shape if key in values else "missing" for key in keys}
        n = len(values["boxes"]) if "boxes" in values and values["boxes"].ndim > 0 else 0
        if shapes != {key: (n, 4) if key == "boxes" else (n,) for key in keys}:
            rest = f" and {' and '.join(keys[1:])} (N,)" if len(keys) > 1 else ""
            raise ValueError(f"{name}[{i}] needs boxes (N, 4){rest}; got {shapes}")
        for part, key in zip(parts, keys, strict=True):
            part.append(values[key])
    sizes = [len(boxes) for boxes in parts[0][1:]]
    row = np.concatenate([np.zeros(0, int), *(np.arange(size) for size in sizes)])
    return np.repeat(np.arange(len(sizes)), sizes), row, [np.concatenate(part) for part in parts]


def _optional(
    targets: Records, key: str, image: Int[np.ndarray, " K"], default: Float64[np.ndarray, " K"]
) -> Float64[np.ndarray, " K"]:
    """The values of a key that an image may lack (or have as None); `default` for the objects of such an image."""
    column = default.copy()
    for i, (target, rows) in enumerate(zip(targets, rows_of_images(image, len(targets)), strict=True)):
        if target.get(key) is not None:
            value, size = _numbers(target[key], f"targets[{i}]", key), rows.stop - rows.start
            if value.shape != (size,):
                raise ValueError(f"targets[{i}]: {key} must have shape ({size},), one for each box; got {value.shape}")
            column[rows] = value
    return column


def _numbers(value: Any, where: str, key: str) -> Float64[np.ndarray, "..."]:
    """A tensor, array or list as an array."""
    try:
        if isinstance(value, Tensor):
            value = value.detach().cpu()
            array = value.double().numpy() if value.is_floating_point() else value.numpy()  # NumPy has no bfloat16
        else:
            array = np.asarray(value)
            if key == "boxes" and array.shape == (0,):
                array = array.reshape(0, 4)  # the list [] cannot say how wide its rows are
    except (TypeError, ValueError, RuntimeError):  # rows of different lengths, a sparse tensor
        array = np.array(None)
    kinds = "iufb" if key in ("difficult", "iscrowd") else "iuf"
    if array.size > 0 and array.dtype.kind not in kinds:
        raise ValueError(f"{where}: {key} must be {WANTED[key]}, in a tensor, an array or a list; got {_short(value)}")
    return array.astype(np.float64, copy=False)


def _check_boxes(
    image: Int[np.ndarray, " N"], row: Int[np.ndarray, " N"], box: Float64[np.ndarray, "N 4"], name: str
) -> None:
    bad = (box[:, 2:] < box[:, :2]).any(axis=1) | ~np.isfinite(box).all(axis=1)
    if bad.any():
        n = np.flatnonzero(bad)[0]
        raise ValueError(
            f"{name}[{image[n]}]: boxes must be finite with x2 >= x1 and y2 >= y1; row {row[n]} is {box[n].tolist()}"
        )


def _check_labels(
    image: Int[np.ndarray, " N"], row: Int[np.ndarray, " N"], label: Float64[np.ndarray, " N"], name: str
) -> None:
    whole = (np.abs(label) < 2**53) & (label == np.floor(label))  # beyond 2**53 a float64 leaves whole numbers out
    _check_values(image, row, label, whole, name, "labels")
    if (label < 1).any():
        n = np.flatnonzero(label < 1)[0]
        raise ValueError(f"{name}[{image[n]}]: {wanted_labels(math.inf)}; row {row[n]} has {int(label[n])}")


def _check_values(
    image: Int[np.ndarray, " N"],
    row: Int[np.ndarray, " N"],
    value: Float64[np.ndarray, " N"],
    fits: Bool[np.ndarray, " N"],
    name: str,
    key: str,
) -> None:
    if not fits.all():
        n = np.flatnonzero(~fits)[0]
        raise ValueError(f"{name}[{image[n]}]: {key} must be {WANTED[key]}; row {row[n]} has {value[n]:g}")


def _short(value: Any) -> str:
    """What somebody has handed in, on one line."""
    if isinstance(value, Tensor | np.ndarray):
        return f"{type(value).__name__} of {value.dtype}"
    return " ".join(repr(value).split())[:60]
