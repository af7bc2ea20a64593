"""What the readers of both formats share: how an object is checked, and the data set made of what was read.

A reader turns its own format into `Found` objects, in pixels; `record` checks them against the image and the classes;
`AnnotatedImages` is the data set of such records. All annotations and all image headers are read when the data set
is made, so that a mistake in the last file shows at once and not after an hour of training; pixels are decoded when
an image is asked for.

Shapes: K objects, an image of H x W pixels, C classes. Lesson 02.
"""

import math
import operator
import os
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, SupportsIndex

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors

from frcnn_lessons.datasets.images import check_image, read_image
from frcnn_lessons.datasets.sample import Box, DataError, Sample

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")


class Found(NamedTuple):
    """An object as a file has it: where it stands ("a.xml: object 2 (car)"), its class, its box in pixels."""

    where: str
    name: str
    box: Box
    difficult: bool


class Record(NamedTuple):
    """All that is known about one image before it is decoded.

    Plain Python values, because a worker process of a DataLoader may get its copy by pickling: each tensor would
    cost it an open file. `dropped` counts the objects of unknown classes that were left out.
    """

    image_id: str
    path: Path
    size: tuple[int, int]
    boxes: tuple[Box, ...]
    labels: tuple[int, ...]
    difficult: tuple[bool, ...]
    dropped: int


class AnnotatedImages(Dataset[Sample]):
    """Images with their objects, from whatever format.

    `len(dataset)`, `dataset[i]` and a loop over it work, as do `torch.utils.data.DataLoader` (with
    `collate_fn=collate`) and its worker processes.

    Attributes:
        classes: the C names; the label of `classes[0]` is 1.
        ids: the name of each image, in order.
        skipped: with on_error="skip", why each image was left out, one sentence each.
        dropped: with unknown="drop", how many objects were left out.
        transform: what is applied to each Sample before it is given.
    """

    def __init__(
        self,
        source: Path,
        classes: Sequence[str],
        ids: Iterable[str],
        read: Callable[[str], Record],
        transform: Callable[[Sample], Sample] | None,
        on_error: str,
        max_pixels: int,
        exif: str = "refuse",
    ) -> None:
        """Read the records of all images.

        Args:
            source: the file or folder that messages name.
            classes: names of the classes, in the order of their labels.
            ids: the images wanted, in order.
            read: makes the record of one image or raises DataError.
            transform: applied to each Sample before it is given.
            on_error: "raise" stops at the first image that cannot be used. "skip" leaves such images out, whole,
                and warns of their number; it decodes every image once, so that the length is final.
            max_pixels: the largest image to accept.
            exif: what to do with an image that is to be turned, see `images`.

        Raises:
            DataError: an image cannot be used, or none is left.
        """
        self.classes = tuple(classes)
        self.transform = transform
        self.skipped: list[str] = []
        self._max_pixels, self._exif = max_pixels, exif
        self._records: list[Record] = []
        for image_id in ids:
            try:
                found = read(image_id)
                if on_error == "skip":
                    check_image(found.path, max_pixels, decode=True, exif=exif)
            except DataError as error:
                if on_error == "raise":
                    raise
                self.skipped.append(str(error))
            else:
                self._records.append(found)
        if not self._records:
            because = f": {self.skipped[0]}" if self.skipped else ""
            raise DataError(f"{source}: no image is left to read{because}")
        self.ids = tuple(found.image_id for found in self._records)
        self.dropped = sum(found.dropped for found in self._records)
        if self.skipped:
            all_images = len(self.skipped) + len(self)
            message = f"{source}: {len(self.skipped)} of {all_images} images left out; dataset.skipped says why"
            warnings.warn(message, stacklevel=3)
        if self.dropped:
            message = f"{source}: objects left out: {self.dropped}, of classes other than {', '.join(self.classes)}"
            warnings.warn(message, stacklevel=3)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._records)

    def __getitem__(self, index: SupportsIndex) -> Sample:
        """Decode image `index`; a negative one counts from the end.

        Raises:
            DataError: the image cannot be decoded, or it changed since the data set was made.
            IndexError: there is no such image.
            TypeError: `index` is no whole number but, for instance, a slice.
        """
        found = self._record(index)
        image = read_image(found.path, self._max_pixels, self._exif)
        size = (image.shape[-2], image.shape[-1])
        if size != found.size:
            raise DataError(f"{found.path}: the image changed its size since the data set was made; make it anew")
        target = self.annotation(index)
        boxes = tv_tensors.BoundingBoxes(target["boxes"], format="XYXY", canvas_size=size)
        sample = Sample(image, boxes, target["labels"], target["difficult"], found.image_id, size)
        return self.transform(sample) if self.transform else sample

    def annotation(self, index: SupportsIndex) -> dict[str, Any]:
        """What is known about image `index`, without decoding it and before any transform.

        Returns:
            `boxes` (K, 4), `labels` (K,), `difficult` (K,), `image_id` and `size` (height, width), as `collate` gives
            them.
        """
        found = self._record(index)
        return {
            "boxes": torch.tensor(found.boxes, dtype=torch.float32).reshape(-1, 4),  # (K, 4), K may be 0
            "labels": torch.tensor(found.labels, dtype=torch.long),
            "difficult": torch.tensor(found.difficult, dtype=torch.bool),
            "image_id": found.image_id,
            "size": found.size,
        }

    def _record(self, index: SupportsIndex) -> Record:
        try:
            place = operator.index(index)
        except TypeError:
            raise TypeError(
                f"an image is asked for by one whole number, not {index!r}; a part of a data set is made by "
                "torch.utils.data.Subset(dataset, range(0, 2))"
            ) from None
        if not -len(self) <= place < len(self):
            raise IndexError(f"image {place} was asked for, but the data set has {len(self)} images")
        return self._records[place]


def record(
    image_id: str, path: Path, size: tuple[int, int], objects: Sequence[Found], labels: Mapping[str, int], unknown: str
) -> Record:
    """Check the objects of one image and give each its label.

    Args:
        image_id: the name of the image.
        path: its file.
        size: its (height, width).
        objects: what the annotation holds.
        labels: label of each class name.
        unknown: "raise" refuses an object of another class, "drop" leaves it out.

    Raises:
        DataError: as `check_objects`, or for an unknown class.
    """
    boxes = check_objects(objects, size)
    kept = [k for k, found in enumerate(objects) if found.name in labels]
    if len(kept) < len(objects) and unknown == "raise":
        where = next(found.where for found in objects if found.name not in labels)
        raise DataError(
            f"{where} is of an unknown class (known: {', '.join(labels)}); add it to classes, or pass unknown='drop' "
            "to leave such objects out"
        )
    return Record(
        image_id,
        path,
        size,
        tuple(boxes[k] for k in kept),
        tuple(labels[objects[k].name] for k in kept),
        tuple(objects[k].difficult for k in kept),
        dropped=len(objects) - len(kept),
    )


def check_objects(objects: Sequence[Found], size: tuple[int, int]) -> list[Box]:
    """Check that each box has an area, lies inside the image of `size` (height, width) and is there only once.

    Returns:
        The boxes, rounded to float32 as the tensors will hold them.

    Raises:
        DataError: naming the first object that is wrong.
    """
    height, width = size
    boxes: list[Box] = []
    first: dict[tuple[str, Box], str] = {}
    for found in objects:
        x1, y1, x2, y2 = found.box
        if not (0 <= x1 <= width and 0 <= x2 <= width and 0 <= y1 <= height and 0 <= y2 <= height):
            raise DataError(
                f"{found.where} reaches beyond the image: its edges are x {x1:g} to {x2:g} and y {y1:g} to {y2:g} in "
                f"an image {width} wide and {height} high; correct the box, or check that this is the right image"
            )
        # Rounded first: two numbers that differ may be one number in float32, and a box without area trains to NaN.
        x1, y1, x2, y2 = np.array(found.box, dtype=np.float32).tolist()
        if not (x1 < x2 and y1 < y2):
            raise DataError(
                f"{found.where} has no area: its edges are x {x1:g} to {x2:g} and y {y1:g} to {y2:g}; "
                "correct or remove it"
            )
        if (same := first.setdefault((found.name, (x1, y1, x2, y2)), found.where)) is not found.where:
            raise DataError(f"{found.where} is there twice, first as {same.split(': ')[-1]}; remove one of them")
        boxes.append((x1, y1, x2, y2))
    return boxes


def check_options(classes: Sequence[str] | None, unknown: str, on_error: str) -> None:
    """Refuse options that no reader knows.

    Raises:
        ValueError: naming the option and what it may be.
    """
    if unknown not in ("raise", "drop"):
        raise ValueError(f"unknown must be 'raise' or 'drop', not {unknown!r}")
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error must be 'raise' or 'skip', not {on_error!r}")
    if classes is not None and (isinstance(classes, str) or not classes or len(set(classes)) < len(classes)):
        raise ValueError(f"classes must be one or more different names, not {classes!r}")


def same_name(name: str) -> str:
    """The form in which names are compared: an é is one letter in a list and may be two on a disk (macOS)."""
    return unicodedata.normalize("NFC", name.replace("\\", "/"))


def names_for(text: str, endings: Sequence[str]) -> Iterator[str]:
    """Yield what the name of a file in somebody's list may mean: as it is, without ending, without what leads to it.

    That is all up to a folder of VOC ("VOC2007/JPEGImages/job/a" is "job/a"), else the folders of an absolute path.
    """
    inner = re.sub(r"^(\./|(.*/)?(JPEGImages|Annotations)/)", "", text.replace("\\", "/"))
    if re.match(r"/|[A-Za-z]:", inner):
        inner = inner.rpartition("/")[2]
    for name in dict.fromkeys((text, inner)):
        yield name
        stem, _, ending = name.rpartition(".")
        if stem and f".{ending.lower()}" in endings:
            yield stem


def file_inside(folder: Path, name: str, where: str) -> Path | None:
    """Find `name` in `folder`, where `name` comes from a file and may be anything. Links are followed.

    Args:
        folder: where it has to be.
        name: relative path, such as `000005.jpg`. Of an absolute one, which is of the machine that the file was written
            on, the last part.
        where: what names it, for the message.

    Returns:
        The path, or None if there is no such file.

    Raises:
        DataError: the name leads out of the folder (`../`), or holds control characters.
    """
    if not name.isprintable():
        raise DataError(f"{where} names the file {name!r}, with characters that cannot be printed; rename it")
    *_, name = (one for one in names_for(name, ()))
    path = Path(os.path.normpath(folder / name))
    if not path.is_relative_to(os.path.normpath(folder)):
        raise DataError(f"{where} names the file {name!r}, which lies outside {folder}; use a name inside it")
    try:
        # Not by listing the folder: a reader asks for each image under several names, and a folder may hold 100,000.
        forms = (path, *(path.parent / unicodedata.normalize(form, path.name) for form in ("NFC", "NFD")))
        return next((one for one in forms if one.is_file()), None)
    except (OSError, RuntimeError):  # a name too long for the file system, a link to itself
        return None


def image_inside(folder: Path, image_id: str, where: str) -> Path | None:
    """Find the image called `image_id` in `folder`, with any of IMAGE_ENDINGS; as `file_inside`."""
    return next(filter(None, (file_inside(folder, image_id + ending, where) for ending in IMAGE_ENDINGS)), None)


def number(text: str, what: str) -> float:
    """Read a finite number; `what` starts the message ("a.xml: xmin of object 2 (car)").

    Raises:
        DataError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in text:  # Python reads 1_0 as 10
        raise DataError(f"{what} is {text!r}, which is not a number; correct it")
    return value


def read_flag(text: str | None) -> bool | None:
    """Read a flag such as VOC's `difficult` or Open Images' `IsGroupOf`: tools write 0, 0.0, False, no, or nothing.

    Returns:
        None for any other text, for which the caller takes False and warns.
    """
    word = (text or "").strip().lower()
    if word in ("", "false", "no", "f", "n"):
        return False
    if word in ("true", "yes", "t", "y"):
        return True
    try:
        return {0.0: False, 1.0: True}.get(float(word))
    except ValueError:
        return None


def warn_of_flags(source: Path, unread: Sequence[str]) -> None:
    """Warn once of all flags that `read_flag` could not read; `unread` says where each stands and what it says."""
    if unread:
        message = f"{source}: flags that are neither 0 nor 1, taken as not set: {len(unread)}, such as {unread[0]}"
        warnings.warn(message, stacklevel=3)


def check_span(low: float, high: float, low_name: str, high_name: str, where: str) -> None:
    """Refuse a box whose far side is not beyond its near side.

    Raises:
        DataError: naming both numbers.
    """
    if high <= low:
        raise DataError(
            f"{where} has {high_name} {high:g}, which is not above its {low_name} {low:g}; correct or remove the object"
        )
