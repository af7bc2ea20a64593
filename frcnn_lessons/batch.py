"""The gate: what comes into a detector is looked at here, once, and what goes out is brought back to the photograph.

    images, targets, proposals -> admit -> one tensor, true sizes, targets -> backbone, RPN, head -> in_stored_image

Most bad input does not fail by itself. Pixels of 0..255 train without a word and detect nothing; a label of the wrong
kind ends in a message about indices. So each detector calls `admit` at its entrance, and nothing inside checks again.

What students call by hand keeps its own check. The rule all over the package: `f` looks at its input and calls
`f_core`, which does the work; detectors, whose input has come through the gate, call `f_core`.

On a GPU every look at a number is a wait for all work before it. So a check is a *claim*, a boolean that stays where
the data is, with what to do if it is false; `hold` reads all claims in one go. Lesson 07.

Letters: N images, padded to H x W pixels; M ground-truth boxes, R proposals, D detections in one of them; C classes.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, NotRequired, TypedDict

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from frcnn_lessons import boxes

Images = Sequence[Float[Tensor, "3 _ _"]]
"""RGB, 0..1, of any sizes."""
ImageSizes = Sequence[tuple[int, int]]
"""(height, width) of each image, without what it was padded with."""
Proposals = Sequence[Float[Tensor, "_ 4"]]
"""Of each image, xyxy in pixels; R may be 0."""


class Target(TypedDict):
    """What is known about an image: `boxes` (M, 4), xyxy in pixels, with `labels` (M,) from 1 to C; M may be 0.

    `difficult` (M,) marks objects that are not learned; `image_id` names the image, `size` is its (height, width) on
    disk. A network that knows no classes needs no labels.
    """

    boxes: Tensor
    labels: Tensor
    difficult: NotRequired[Tensor]
    image_id: NotRequired[str]
    size: NotRequired[tuple[int, int]]


class Detections(TypedDict):
    """What was found in an image: `boxes` (D, 4), `labels` (D,) from 1 and `scores` (D,), highest score first."""

    boxes: Tensor
    labels: Tensor
    scores: Tensor


Targets = Sequence[Target]
Losses = dict[str, Tensor]  # to be added up; an "accuracy" is not

OVERSHOOT = 1e-3  # so much may a pixel lie outside of 0..1: resizing goes beyond by a trace


class Batch(NamedTuple):
    """What the gate lets in.

    Attributes:
        pixels: images of different sizes in one tensor: each at the top left, the rest in the colour of "nothing".
        sizes: (height, width) of each image without that rest.
        targets: in training, of each image, where the network is, with labels as int64; None in evaluation.
        proposals: of each image, where the network is; none for a detector that makes its own.
    """

    pixels: Float[Tensor, "N 3 H W"]
    sizes: list[tuple[int, int]]
    targets: list[Target] | None = None
    proposals: Proposals = ()


def admit(
    images: Images,
    backbone: nn.Module,
    targets: Targets | None = None,
    proposals: Proposals | None = None,
    classes: int | None = None,
    training: bool = False,
) -> Batch:
    """Check what comes into a detector and lay it out for the backbone.

    Args:
        backbone: what the images are padded for, see `pad_images`.
        targets: looked at in training only.
        proposals: for a detector that does not make its own.
        classes: C; None for a network that does not learn classes, whose targets need no labels.
        training: whether losses are to be computed.

    Raises:
        ValueError: names what is missing, or is of another kind, shape or range.
    """
    check_inputs(images, targets, proposals, classes, training)
    batch = pad_images_core(images, backbone)
    device = batch.pixels.device  # the network's
    return batch._replace(
        targets=[_on(device, target) for target in targets] if training and targets is not None else None,
        proposals=[of_image.to(device) for of_image in proposals or ()],
    )


def need_proposals(detector: str, images: Images, proposals: Proposals | None) -> Proposals:
    """The proposals, or a ValueError if there is not a set of them for each image."""
    if proposals is None or len(proposals) != len(images):
        raise ValueError(
            f"{detector} does not find its own proposals: give a (R, 4) tensor for each of the {len(images)} images"
        )
    return proposals


def pad_images(images: Images, backbone: nn.Module) -> Batch:
    """Put images of different sizes into one tensor; nothing is scaled and the corner stays, so boxes stay valid.

    Height and width become multiples of the backbone's `stride`, or a map that rounds down would lose the last rows and
    columns; what is added gets the colour `normalise.mean`, which is 0 for the network.
    """
    check_images(images)
    return pad_images_core(images, backbone)


def pad_images_core(images: Images, backbone: Any) -> Batch:
    """`pad_images`, of images that have been checked."""
    sizes = image_sizes(images)
    H, W = (math.ceil(max(side) / backbone.stride) * backbone.stride for side in zip(*sizes, strict=True))
    pixels = backbone.normalise.mean[:, None, None].expand(len(images), 3, H, W).clone()
    for padded, image, (height, width) in zip(pixels, images, sizes, strict=True):
        padded[:, :height, :width] = image
    return Batch(pixels, sizes)


def image_sizes(images: Images) -> list[tuple[int, int]]:
    """(height, width) of each image."""
    return [(image.shape[1], image.shape[2]) for image in images]


def _on(device: torch.device, target: Target) -> Target:
    """The target on a device, with labels of the one kind that losses and indices want."""
    moved: Any = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in target.items()}
    if "labels" in moved:
        moved["labels"] = moved["labels"].long()
    return moved


def in_stored_image(found: Detections, size: tuple[int, int], stored_size: tuple[int, int]) -> Detections:
    """Detections with their boxes in pixels of the image as it is stored, before it was resized.

    Args:
        found: in pixels of the image that the detector saw.
        size: (height, width) of that image.
        stored_size: (height, width) on disk, `Sample.size` or `target["size"]`.
    """
    y, x = (stored / seen for stored, seen in zip(stored_size, size, strict=True))
    return {**found, "boxes": found["boxes"] * found["boxes"].new_tensor([x, y, x, y])}


Claim = tuple[Bool[Tensor, ""], Callable[[], object]]
"""What must be true of the data, and the sentence (or what raises it) if it is not."""


def hold(claims: Iterable[Claim]) -> None:
    """Read all claims from the device at once; raise a ValueError with the sentence of the first false one."""
    if not (claims := list(claims)):
        return
    where = claims[0][0].device
    for true, (_, otherwise) in zip(torch.stack([one.to(where) for one, _ in claims]).tolist(), claims, strict=True):
        if not true and (sentence := otherwise()):
            raise ValueError(sentence)


def check_inputs(
    images: Images,
    targets: Targets | None = None,
    proposals: Proposals | None = None,
    classes: int | None = None,
    training: bool = False,
) -> None:
    """Check all that comes into a detector; arguments and errors as those of `admit`."""
    if training and (targets is None or len(targets) != len(images)):
        raise ValueError(
            f"training needs targets, {'boxes' if classes is None else 'boxes and labels'} for each of the "
            f"{len(images)} images; call model.eval() to detect objects"
        )
    claims, sizes = list(_images(images)), image_sizes(images)
    if training and targets is not None:
        claims += _targets(targets, classes, sizes)
    if proposals is not None:
        claims += _proposals(proposals, sizes)
    hold(claims)


def check_images(images: Images) -> None:
    """Refuse what is not a list of (3, H, W) float tensors in 0..1. NaN passes: the training loop looks for it."""
    hold(_images(images))


def check_image(image: Tensor, name: str = "image") -> None:
    """`check_images` for a single one, which the message calls `name`."""
    hold(_image(image, name))


def check_targets(targets: Targets, classes: float | None) -> None:
    """Refuse targets that cannot be learned from.

    Args:
        targets: of each image, `boxes` (M, 4) with an area, and, if any are, `difficult` (M,).
        classes: C, for `labels` (M,) from 1 to C (`math.inf`: from 1 on); None if no labels are wanted.
    """
    hold(_targets(targets, classes))


def check_proposals(proposals: Proposals) -> None:
    """Refuse proposals that are not (R, 4) float32 in xyxy for each image; R may be 0."""
    hold(_proposals(proposals))


def _images(images: Images) -> Iterator[Claim]:
    if len(images) == 0:
        raise ValueError("there are no images; give a list of at least one tensor of (3, height, width)")
    for i, image in enumerate(images):
        yield from _image(image, f"images[{i}]")


def _image(image: Any, name: str) -> Iterator[Claim]:
    if not isinstance(image, Tensor) or image.ndim != 3 or image.shape[0] != 3 or image.numel() == 0:
        raise ValueError(f"{name} must be a tensor of (3, height, width), RGB; got {kind(image)}{shape_hint(image)}")
    low, high = image.aminmax()
    in_range = ~((low < -OVERSHOOT) | (high > 1 + OVERSHOOT))
    yield (
        in_range if image.is_floating_point() else torch.zeros_like(in_range),
        lambda: (
            f"{name} must hold floats in 0..1, not normalised; got {image.dtype} from {low.item():g} to "
            f"{high.item():g} (pixels of 0 to 255 must be divided by 255)"
        ),
    )


def _targets(targets: Targets, classes: float | None, sizes: ImageSizes | None = None) -> Iterator[Claim]:
    for i, target in enumerate(targets):
        if not isinstance(target, Mapping) or not {"boxes"} | ({"labels"} if classes else set()) <= set(target):
            raise ValueError(f"targets[{i}] must be a dict with boxes and labels; got {kind(target)}")
        name = f"targets[{i}] ({target['image_id']})" if "image_id" in target else f"targets[{i}]"
        yield from _boxes(target["boxes"], f"boxes of {name}", allow_empty_area=False)
        if sizes is not None and len(target["boxes"]) > 0:
            yield from _in_pixels(target["boxes"], sizes[i], f"boxes of {name}")
            yield from _in_image(target["boxes"], sizes[i], f"boxes of {name}")
        count = len(target["boxes"])
        if classes is not None:
            yield from _labels(target["labels"], count, classes, name)
        difficult = target.get("difficult")
        if difficult is not None and not (_is_row(difficult, count) and difficult.dtype == torch.bool):
            raise ValueError(f"{name}: difficult must be {count} bools, one for each box; got {kind(difficult)}")


def _labels(labels: Any, count: int, classes: float, name: str) -> Iterator[Claim]:
    if not _is_row(labels, count) or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(f"{name}: labels must be {count} integers, one for each box; got {kind(labels)}")
    in_range = ((labels >= 1) & (labels <= classes)).all()
    yield in_range, lambda: f"{name}: {wanted_labels(classes)}; got {labels.tolist()}"


def wanted_labels(classes: float) -> str:
    """What labels must be, for the refusals of detectors, metrics and plots; `math.inf` for any number of classes."""
    numbers = "1 or more" if classes == math.inf else f"1 to {classes}"
    return f"labels must be {numbers} (0 is background, which is not an object)"


def _proposals(proposals: Proposals, sizes: ImageSizes | None = None) -> Iterator[Claim]:
    for i, of_image in enumerate(proposals):
        yield from _boxes(of_image, f"proposals[{i}]")
        if of_image.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"proposals[{i}] must be float32; got {of_image.dtype}, convert them with .float()")
        if sizes is not None and len(of_image) > 0:
            yield from _in_pixels(of_image, sizes[i], f"proposals[{i}]")


def _boxes(value: Any, name: str, allow_empty_area: bool = True) -> Iterator[Claim]:
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} must be a tensor of (N, 4); got {kind(value)}")
    boxes.check_shape(value, name)
    yield boxes.is_box(value, allow_empty_area).all(), lambda: boxes.checked(value, name, allow_empty_area)
    finite = value.isfinite().all(dim=1)  # (N,)
    yield finite.all(), lambda: f"{name} must be finite; row {int(torch.nonzero(~finite)[0])} is not"


def _in_pixels(value: Tensor, size: tuple[int, int], name: str) -> Iterator[Claim]:
    yield (
        ~((value >= 0) & (value <= 1)).all(),
        lambda: (
            f"{name} must be in pixels; all lie in 0..1, which is less than a pixel of an image of {size[0]} x "
            f"{size[1]} (relative coordinates? multiply x by the width and y by the height)"
        ),
    )


def _in_image(value: Tensor, size: tuple[int, int], name: str) -> Iterator[Claim]:
    height, width = size
    side = value.new_tensor([width, height])
    inside = ((value[:, :2] < side) & (value[:, 2:] > 0)).all(dim=1)  # (M,), in part at least
    yield (
        inside.all(),
        lambda: (
            f"{name} must lie in the image, {height} high and {width} wide; row "
            f"{(row := int(torch.nonzero(~inside)[0]))} is {value[row].tolist()}, outside of it (of the image before "
            "it was resized? x and y swapped? see the conversions in frcnn_lessons.boxes)"
        ),
    )
    yield (
        (value[:, 2:] <= 1.1 * side).all(),
        lambda: warnings.warn(
            f"{name} reach far beyond the image, {height} high and {width} wide (width and height taken for x2 and y2? "
            "of the image before it was resized?)",
            stacklevel=2,
        ),
    )


def shape_hint(image: Any) -> str:
    """What somebody may have meant who hands in another shape; nothing if nothing comes to mind."""
    if not isinstance(image, Tensor) or image.numel() == 0:
        return ""
    if image.ndim == 2 or (image.ndim == 3 and image.shape[0] == 1):
        return " (grey? use image.expand(3, -1, -1))"
    if image.ndim == 3 and image.shape[2] in (1, 3, 4):
        return " (channels last? use image.permute(2, 0, 1))"
    if image.ndim == 3 and image.shape[0] == 4:
        return " (with alpha? use image[:3])"
    if image.ndim == 4:
        return " (a batch? give one image, batch[0])"
    return ""


def _is_row(value: Any, count: int) -> bool:
    return isinstance(value, Tensor) and value.shape == (count,)


def kind(value: Any) -> str:
    """A few words about what somebody has handed in."""
    if isinstance(value, Tensor):
        return f"a tensor of {tuple(value.shape)}, {value.dtype}"
    if isinstance(value, Mapping):
        return f"a dict with {', '.join(map(str, value)) or 'nothing'}"
    return f"a {type(value).__name__}"
