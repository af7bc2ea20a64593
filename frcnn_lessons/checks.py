"""What the detectors refuse, in one sentence that names the image and the remedy.

Most bad input does not fail by itself. Pixels of 0..255 train without a word and detect nothing; a label of the wrong
kind ends in a message about indices. So images, targets, proposals and settings are looked at once, where they come in.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from frcnn_lessons import boxes


def check_images(images: Sequence[Tensor]) -> None:
    """Refuse what is not a list of (3, H, W) float tensors in 0..1. NaN passes: the training loop looks for it.

    Raises:
        ValueError: for no images, or one of another kind, shape or range.
    """
    if len(images) == 0:
        raise ValueError("there are no images; give a list of at least one tensor of (3, height, width)")
    for i, image in enumerate(images):
        if not isinstance(image, Tensor) or image.ndim != 3 or image.shape[0] != 3 or image.numel() == 0:
            raise ValueError(f"images[{i}] must be a tensor of (3, height, width), RGB; got {_kind(image)}")
        low, high = image.aminmax()
        if not image.is_floating_point() or low < -1e-3 or high > 1 + 1e-3:  # resizing overshoots by a trace
            raise ValueError(
                f"images[{i}] must hold floats in 0..1, not normalised; got {image.dtype} from {low.item():g} to "
                f"{high.item():g} (pixels of 0 to 255 must be divided by 255)"
            )


def check_targets(targets: Sequence[Mapping[str, Any]], classes: int | None) -> None:
    """Refuse targets that cannot be learned from.

    Args:
        targets: of each image, `boxes` (M, 4) with an area, and, if any are, `difficult` (M,).
        classes: C, for `labels` (M,) from 1 to C; None if no labels are wanted.

    Raises:
        ValueError: for a key that is missing, or a value of another kind, shape or range.
    """
    for i, target in enumerate(targets):
        if not isinstance(target, Mapping) or not {"boxes"} | ({"labels"} if classes else set()) <= set(target):
            raise ValueError(f"targets[{i}] must be a dict with boxes and labels; got {_kind(target)}")
        name = f"targets[{i}] ({target['image_id']})" if "image_id" in target else f"targets[{i}]"
        _check_boxes(target["boxes"], f"boxes of {name}", allow_empty_area=False)
        count = len(target["boxes"])
        if classes is not None:
            labels = target["labels"]
            if not _is_row(labels, count) or labels.is_floating_point() or labels.dtype == torch.bool:
                raise ValueError(f"{name}: labels must be {count} integers, one for each box; got {_kind(labels)}")
            if ((labels < 1) | (labels > classes)).any():
                raise ValueError(
                    f"{name}: labels must be 1 to {classes} (0 is background, which is not an object); "
                    f"got {labels.tolist()}"
                )
        difficult = target.get("difficult")
        if difficult is not None and not (_is_row(difficult, count) and difficult.dtype == torch.bool):
            raise ValueError(f"{name}: difficult must be {count} bools, one for each box; got {_kind(difficult)}")


def check_proposals(proposals: Sequence[Tensor]) -> None:
    """Refuse proposals that are not (R, 4) float32 in xyxy for each image; R may be 0.

    Raises:
        ValueError: for another kind or shape, a number that is not finite, or x2 < x1 or y2 < y1.
    """
    for i, of_image in enumerate(proposals):
        _check_boxes(of_image, f"proposals[{i}]")
        if of_image.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"proposals[{i}] must be float32; got {of_image.dtype}, convert them with .float()")


def check_settings(settings: Any, rows: Mapping[str, int], counts: str, shares: str, weights: str) -> None:
    """Refuse settings out of their range, most of which would train or detect nonsense in silence.

    Args:
        rows: names of settings that are tuples, with their length; 0 for "one or more".
        counts, shares, weights: names of settings, with spaces between, of which all numbers must be integers from 1,
            within 0..1, or 0 and more.

    Raises:
        ValueError: names the setting.
    """
    for name, length in rows.items():
        value = getattr(settings, name)
        if not isinstance(value, tuple) or len(value) != (length or max(len(value), 1)):
            raise ValueError(f"{name} must be a tuple of {length or 'one or more'} numbers; got {value!r}")
    for names, what, fits in (
        (counts, "an integer from 1", lambda number: type(number) is int and number >= 1),
        (shares, "within 0..1", lambda number: 0 <= number <= 1),
        (weights, "0 or more", lambda number: 0 <= number < math.inf),
    ):
        for name in names.split():
            value = getattr(settings, name)
            numbers = value if name in rows else (value,)
            # Plain numbers only: those of NumPy could be saved in a checkpoint, but not loaded from it.
            if not all(type(number) in (int, float) and fits(number) for number in numbers):
                raise ValueError(f"{name} must be {what}; got {value!r}")


def _check_boxes(value: Any, name: str, allow_empty_area: bool = True) -> None:
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} must be a tensor of (N, 4); got {_kind(value)}")
    boxes.checked(value, name, allow_empty_area)
    if not value.isfinite().all():
        raise ValueError(f"{name} must be finite; row {int(torch.nonzero(~value.isfinite())[0, 0])} is not")


def _is_row(value: Any, count: int) -> bool:
    return isinstance(value, Tensor) and value.shape == (count,)


def _kind(value: Any) -> str:
    """A few words about what somebody has handed in."""
    if isinstance(value, Tensor):
        return f"a tensor of {tuple(value.shape)}, {value.dtype}"
    if isinstance(value, Mapping):
        return f"a dict with {', '.join(map(str, value)) or 'nothing'}"
    return f"a {type(value).__name__}"
