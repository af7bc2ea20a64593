"""What the readers of all formats share: how an object is checked, and the data set made of what was read.

A reader turns its own format into `Found` objects, in pixels, and what it cannot read into a DataError in their place,
so that all that is wrong with an image is known at once; `record` checks them against the image and the classes;
`AnnotatedImages` is the data set of such records, kept as columns. All annotations and all image headers are read when
the data set is made, so that a mistake in the last file shows at once and not after an hour of training; pixels are
decoded when an image is asked for.

Shapes: K objects, an image of H x W pixels, C classes. Lesson 02.
"""

import copy
import math
import operator
import os
import re
import unicodedata
import warnings
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, SupportsIndex

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors
from tqdm.auto import tqdm

from frcnn_lessons.datasets.images import MAX_PIXELS, check_image, read_image
from frcnn_lessons.datasets.sample import Box, DataError, Defect, Sample
from frcnn_lessons.files import user_path

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG", ".Jpg", ".Jpeg", ".Png")
"""In the order in which they are looked for: of two files that differ in them alone, the first one is read."""
NOTHING_LEFT = "no image is left"
"""The kind of a defect that others explain."""


class Found(NamedTuple):
    """An object as a file has it: where it stands ("a.xml: object 2 (car)"), its class, its box in pixels."""

    where: str
    name: str
    box: Box
    difficult: bool
    clipped: bool = False


class Record(NamedTuple):
    """All that is known about one image before it is decoded.

    `dropped` counts the objects of unknown classes that were left out, `clipped` and `left_out` the boxes that were
    mended as `Options.bad_boxes` says.
    """

    image_id: str
    path: Path
    size: tuple[int, int]
    boxes: Sequence[Box]
    labels: Sequence[int]
    difficult: Sequence[bool]
    dropped: int = 0
    clipped: int = 0
    left_out: int = 0


class Options(NamedTuple):
    """What to do with data that is not as it should be; each reader describes the choices."""

    unknown: str = "raise"
    on_error: str = "raise"
    bad_boxes: str = "raise"
    max_pixels: int = MAX_PIXELS
    exif: str = "refuse"


class AnnotatedImages(Dataset[Sample]):
    """Images with their objects, from whatever format.

    `len(dataset)`, `dataset[i]` and a loop over it work, as do `torch.utils.data.DataLoader` (with
    `collate_fn=collate`) and its worker processes.

    Attributes:
        classes: the C names; the label of `classes[0]` is 1.
        ids: the name of each image, in order.
        skipped: with on_error="skip", why each image was left out, one sentence each.
        defects: with on_error="skip", all that is wrong with those images; several of an image, where it has several.
        dropped: with unknown="drop", how many objects were left out.
        clipped: with bad_boxes="clip", how many boxes were cut at the border of their image.
        left_out: with bad_boxes="clip" or "drop", how many objects were left out because of their boxes.
        transform: what is applied to each Sample before it is given.
    """

    def __init__(
        self,
        source: Path,
        classes: Sequence[str],
        ids: Iterable[str],
        read: Callable[[str], Record],
        transform: Callable[[Sample], Sample] | None,
        options: Options,
        defects: Sequence[Defect] = (),
    ) -> None:
        """Read the records of all images.

        Args:
            source: the file or folder that messages name.
            classes: names of the classes, in the order of their labels.
            ids: the images wanted, in order.
            read: makes the record of one image or raises DataError.
            transform: applied to each Sample before it is given.
            options: with on_error="raise" the first image that cannot be used is an error. With "skip" such images are
                left out, whole, with a warning of their number; every image is decoded once, so that the length is
                final.
            defects: what is wrong beside the images, such as a box of an image that is not there.

        Raises:
            DataError: an image cannot be used, or none is left.
        """
        skip, self._max_pixels, self._exif = options.on_error == "skip", options.max_pixels, options.exif
        if defects and not skip:
            raise DataError.of(defects)
        self.classes, self.transform = tuple(classes), transform
        self.skipped = [defect.message for defect in defects]
        self.defects = list(defects)
        self.dropped = self.clipped = self.left_out = 0
        # Columns, not an object a box; and no tensors: a worker process that gets its copy of the data set by pickling
        # would need an open file for each.
        names: list[str] = []
        self._paths: list[str] = []
        sizes, ends, boxes, labels, difficult = array("q"), array("q", [0]), array("f"), array("i"), array("b")
        # Decoding takes some milliseconds an image.
        for image_id in tqdm(ids, desc="reading", unit="image", disable=not skip, delay=2, leave=False):
            wrong: list[Defect] = []
            path = None
            try:
                found = read(image_id)
                path = found.path
            except DataError as error:
                if not skip:
                    raise
                wrong += error.defects
                path = wrong[0].path
            if skip and path:
                try:
                    check_image(path, options.max_pixels, decode=True, exif=options.exif)
                except DataError as error:
                    wrong += error.defects
            if wrong:
                self.skipped.append(wrong[0].message)
                self.defects += wrong
                continue
            names.append(found.image_id)
            self._paths.append(str(found.path))
            sizes.extend(found.size)
            for box in found.boxes:
                boxes.extend(box)
            labels.extend(found.labels)
            difficult.extend(found.difficult)
            ends.append(len(labels))
            self.dropped += found.dropped
            self.clipped += found.clipped
            self.left_out += found.left_out
        if not names:
            because = f": {self.skipped[0]}" if self.skipped else ""
            nothing = DataError(f"{source}: no image is left to read{because}", NOTHING_LEFT)
            nothing.defects += tuple(self.defects)
            raise nothing
        self.ids = tuple(names)
        self._sizes, self._starts, self._ends = np.array(sizes).reshape(-1, 2), np.array(ends[:-1]), np.array(ends[1:])
        self._boxes, self._labels = np.array(boxes).reshape(-1, 4), np.array(labels)
        self._difficult = np.array(difficult, dtype=bool)
        if self.skipped:
            all_images = len(self.skipped) + len(self)
            message = f"{source}: {len(self.skipped)} of {all_images} images left out; dataset.skipped says why"
            warnings.warn(message, stacklevel=3)
        if self.dropped:
            message = f"{source}: objects left out: {self.dropped}, of classes other than {', '.join(self.classes)}"
            warnings.warn(message, stacklevel=3)
        if self.clipped or self.left_out:
            message = f"{source}: boxes cut at the border of their image: {self.clipped}, left out: {self.left_out}"
            warnings.warn(message, stacklevel=3)

    def part(self, indices: Sequence[int]) -> "AnnotatedImages":
        """The images at `indices` as a data set of its own, with a transform of its own; nothing is read again."""
        part, places = copy.copy(self), np.asarray(indices, dtype=int)
        part.ids = tuple(self.ids[i] for i in places)
        part._paths = [self._paths[i] for i in places]
        part._sizes, part._starts, part._ends = self._sizes[places], self._starts[places], self._ends[places]
        return part

    def with_classes(self, classes: Sequence[str]) -> "AnnotatedImages":
        """The same images with labels in the order of `classes`, which hold at least those of this data set."""
        same, label = copy.copy(self), {name: label for label, name in enumerate(classes, start=1)}
        same.classes = tuple(classes)
        same._labels = np.array([0, *(label[name] for name in self.classes)], dtype=self._labels.dtype)[self._labels]
        return same

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.ids)

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

    def image_path(self, index: SupportsIndex) -> Path:
        """The file of image `index`."""
        return self._record(index).path

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
        place %= len(self)
        of_image = slice(self._starts[place], self._ends[place])
        height, width = self._sizes[place].tolist()
        path = Path(self._paths[place])
        columns = (column[of_image].tolist() for column in (self._boxes, self._labels, self._difficult))
        return Record(self.ids[place], path, (height, width), *columns)


def record(
    image_id: str,
    path: Path,
    size: tuple[int, int],
    objects: Sequence[Found | DataError],
    labels: Mapping[str, int],
    options: Options,
) -> Record:
    """Check the objects of one image and give each its label.

    Args:
        image_id: the name of the image.
        path: its file.
        size: its (height, width).
        objects: what the annotation holds, and why an object cannot be read.
        labels: label of each class name.
        options: `unknown` "raise" refuses an object of another class, "drop" leaves it out; `bad_boxes` as for
            `check_objects`.

    Raises:
        DataError: as `check_objects`, or for an unknown class; with all that is wrong with the image in `defects`.
    """
    wrong: list[Defect] = []
    checked = check_objects(objects, size, options.bad_boxes, wrong)
    kept = [found for found in checked if found.name in labels]
    if len(kept) < len(checked) and options.unknown == "raise":
        known = ", ".join(labels)
        wrong += [
            Defect(
                "unknown class",
                f"{found.where} is of an unknown class (known: {known}); add it to classes, or pass unknown='drop' "
                "to leave such objects out",
                box=found.box,
            )
            for found in checked
            if found.name not in labels
        ]
    if wrong:
        raise DataError.of([replace(defect, path=path) for defect in wrong])
    clipped = sum(found.clipped for found in checked)
    return Record(
        image_id,
        path,
        size,
        [found.box for found in kept],
        [labels[found.name] for found in kept],
        [found.difficult for found in kept],
        len(checked) - len(kept),
        clipped,
        len(objects) - len(checked),
    )


# What `bad_boxes` can mend: an object that is left out is taught as background, so nobody does it unasked.
OUTSIDE, NO_AREA, TWICE = "reaches beyond the image", "no area", "there twice"


def check_objects(
    objects: Sequence[Found | DataError],
    size: tuple[int, int],
    bad_boxes: str = "raise",
    wrong: list[Defect] | None = None,
) -> list[Found]:
    """Check that each box has an area, lies inside the image of `size` (height, width) and is there only once.

    Args:
        objects: what an annotation holds, and why an object cannot be read.
        size: of the image.
        bad_boxes: "raise" refuses such boxes. "clip" cuts a box at the border of the image, and leaves out what then
            has no area or is there twice; "drop" leaves out all of them.
        wrong: what is wrong is put here instead of being raised.

    Returns:
        The objects that can be used, their boxes rounded to float32 as the tensors will hold them.

    Raises:
        DataError: something is wrong and there is no list for it; the message is that of the first.
    """
    defects: list[Defect] = []
    kept: list[Found] = []
    first: dict[tuple[str, Box], str] = {}
    for found in objects:
        try:
            if isinstance(found, DataError):
                raise found
            checked = _checked(found, size, bad_boxes == "clip")
            if (same := first.setdefault((checked.name, checked.box), checked.where)) is not checked.where:
                raise DataError(
                    f"{checked.where} is there twice, first as {same.split(': ')[-1]}; remove one of them",
                    TWICE,
                    checked.box,
                )
            kept.append(checked)
        except DataError as error:
            mended = bad_boxes != "raise" and all(one.kind in (OUTSIDE, NO_AREA, TWICE) for one in error.defects)
            defects += () if mended else error.defects
    if defects and wrong is None:
        raise DataError.of(defects)
    if wrong is not None:
        wrong += defects
    return kept


def _checked(found: Found, size: tuple[int, int], clip: bool) -> Found:
    """The object with its box rounded to float32, and cut at the border of the image if `clip` says so."""
    height, width = size
    x1, y1, x2, y2 = found.box
    clipped = False
    if not (0 <= x1 <= width and 0 <= x2 <= width and 0 <= y1 <= height and 0 <= y2 <= height):
        if not clip:
            raise DataError(
                f"{found.where} reaches beyond the image: its edges are x {x1:.9g} to {x2:.9g} and y {y1:.9g} to "
                f"{y2:.9g} in an image {width} wide and {height} high; correct the box, or check that this is the "
                "right image",
                OUTSIDE,
                found.box,
            )
        x1, x2 = (min(max(x, 0.0), float(width)) for x in (x1, x2))
        y1, y2 = (min(max(y, 0.0), float(height)) for y in (y1, y2))
        clipped = True
    # Rounded first: two numbers that differ may be one number in float32, and a box without area trains to NaN.
    x1, y1, x2, y2 = np.array((x1, y1, x2, y2), dtype=np.float32).tolist()
    if not (x1 < x2 and y1 < y2):
        raise DataError(
            f"{found.where} has no area: its edges are x {x1:g} to {x2:g} and y {y1:g} to {y2:g}; correct or remove it",
            NO_AREA,
            found.box,
        )
    return Found(found.where, found.name, (x1, y1, x2, y2), found.difficult, clipped)


def attempt(read: Callable[..., Found], *arguments: Any) -> Found | DataError:
    """What `read` returns, or the DataError that it raises, so that the other objects are looked at all the same."""
    try:
        return read(*arguments)
    except DataError as error:
        return error


def rows_of(owners: np.ndarray, count: int) -> Callable[[int], list[int]]:
    """What finds the rows of a table that belong to image 0..count-1, in their order, given the image of each row."""
    order = np.argsort(owners, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=count))])
    return lambda image: order[bounds[image] : bounds[image + 1]].tolist()


def check_options(classes: Sequence[str] | None, options: Options) -> None:
    """Refuse options that no reader knows.

    Raises:
        ValueError: naming the option and what it may be.
    """
    for name, known in (("unknown", ("raise", "drop")), ("on_error", ("raise", "skip"))):
        if getattr(options, name) not in known:
            raise ValueError(f"{name} must be {known[0]!r} or {known[1]!r}, not {getattr(options, name)!r}")
    if options.bad_boxes not in ("raise", "clip", "drop"):
        raise ValueError(f"bad_boxes must be 'raise', 'clip' or 'drop', not {options.bad_boxes!r}")
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
        raise DataError(
            f"{where} names the file {name!r}, with characters that cannot be printed; rename it", "bad file name"
        )
    *_, name = (one for one in names_for(name, ()))
    path = Path(os.path.normpath(folder / name))
    if not path.is_relative_to(os.path.normpath(folder)):
        raise DataError(
            f"{where} names the file {name!r}, which lies outside {folder}; use a name inside it", "bad file name"
        )
    try:
        # Not by listing the folder: a reader asks for each image under several names, and a folder may hold 100,000.
        forms = (path, *(path.parent / unicodedata.normalize(form, path.name) for form in ("NFC", "NFD")))
        return next((one for one in forms if one.is_file()), None)
    except (OSError, RuntimeError):  # a name too long for the file system, a link to itself
        return None


def folder_of_images(path: Path | str) -> Path:
    """The folder that a table or a JSON file has its images in, as a person wrote it; it must be there.

    Raises:
        DataError: it is not.
    """
    folder = user_path(path)
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder of images; check the path")
    return folder


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
        raise DataError(f"{what} is {text!r}, which is not a number; correct it", "not a number")
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


def check_span(low: float, high: float, low_name: str, high_name: str, where: str, box: Box) -> None:
    """Refuse a box whose far side is not beyond its near side; `box` is that box in pixels, for a picture of it.

    Raises:
        DataError: naming both numbers.
    """
    if high <= low:
        message = f"{where} has {high_name} {high:g}, which is not above its {low_name} {low:g}"
        raise DataError(f"{message}; correct or remove the object", NO_AREA, box)
