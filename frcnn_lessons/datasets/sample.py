"""What a data set gives: one `Sample` an image, whatever the files on disk look like.

Shapes: K objects, an image of H x W pixels. Lesson 02.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import Bool, Int
from torch import Tensor
from torchvision import tv_tensors

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels: the edges of the box, so its width is x2 - x1."""


@dataclass(frozen=True)
class Defect:
    """One thing that is wrong with a data set.

    Attributes:
        kind: what sort of thing, in a few words ("no area").
        message: a sentence that names file and object and says what to do.
        path: the image, where its header could be read.
        box: xyxy in pixels, where it is a box that is wrong.
    """

    kind: str
    message: str
    path: Path | None = None
    box: Box | None = None

    def __str__(self) -> str:
        return self.message


class DataError(ValueError):
    """A file or an object of a data set that cannot be used; the message names it and says what to do.

    Attributes:
        defects: all that is known to be wrong; the message is that of the first.
    """

    def __init__(self, message: str, kind: str = "cannot be read", box: Box | None = None) -> None:
        super().__init__(message)
        self.defects: tuple[Defect, ...] = (Defect(kind, message, None, box),)

    @classmethod
    def of(cls, defects: Sequence[Defect]) -> "DataError":
        """One error for several defects."""
        error = cls(defects[0].message)
        error.defects = tuple(defects)
        return error


class Sample(NamedTuple):
    """One image with what is known about it.

    A named tuple of tv_tensors, so that a transform of `torchvision.transforms.v2` changes the image and its
    boxes together: `sample = transform(sample)`.

    Attributes:
        image: (3, H, W), float32, RGB, 0..1.
        boxes: (K, 4), float32, xyxy in pixels of `image`; K may be 0.
        labels: (K,), classes are 1..C, 0 is background and never stored.
        difficult: (K,), True for objects that leave the count in the evaluation.
        image_id: the name of the image in its data set, without folder, and without ending unless its table has it.
        size: (height, width) of the image as it is stored, before any transform.
    """

    image: tv_tensors.Image
    boxes: tv_tensors.BoundingBoxes
    labels: Int[Tensor, " K"]
    difficult: Bool[Tensor, " K"]
    image_id: str
    size: tuple[int, int]


@dataclass(frozen=True)
class AnnotatedObject:
    """One object to write into an annotation file; what a format has no place for, it leaves out.

    Attributes:
        name: its class.
        box: xyxy in pixels, inside the image.
        difficult: whether it leaves the count in the evaluation (VOC).
        truncated: whether it goes on beyond the border of the image (both formats).
        occluded: whether something stands in front of it (both formats).
        group: whether the box holds a crowd that nobody told apart (Open Images).
        depiction: whether it is a drawing of the thing (Open Images).
        pose: where it faces (VOC): `Left`, `Right`, `Frontal`, `Rear` or `Unspecified`.
        extreme_points: its topmost, leftmost, lowest and rightmost point, each (x, y) in pixels (Open Images).
    """

    name: str
    box: Box
    difficult: bool = False
    truncated: bool = False
    occluded: bool = False
    group: bool = False
    depiction: bool = False
    pose: str = "Unspecified"
    extreme_points: tuple[tuple[float, float], ...] | None = None


def collate(samples: Sequence[Sample]) -> tuple[list[Tensor], list[dict[str, Any]]]:
    """Make a batch in torchvision's detection interface: a list of images and a list of targets.

    Images differ in size, so a batch is a list. Each target holds `boxes`, `labels`, `difficult`, `image_id` and
    `size`; use it as `DataLoader(dataset, collate_fn=collate)`.
    """
    images = [sample.image.as_subclass(Tensor) for sample in samples]
    targets = [
        {
            "boxes": sample.boxes.as_subclass(Tensor),
            "labels": sample.labels,
            "difficult": sample.difficult,
            "image_id": sample.image_id,
            "size": sample.size,
        }
        for sample in samples
    ]
    return images, targets
