"""Read COCO's format: one JSON file with the lists `images`, `annotations` and `categories`.

On disk a box is (x, y, width, height) in pixels, counted from the corner of the image; inside the course it is its
edges, (x, y, x + width, y + height). An annotation with `iscrowd` holds a group that nobody told apart; it becomes a
`difficult` object, which leaves the count in the evaluation. An image without annotations is an image without objects.

Source: Lin et al., "Microsoft COCO: Common Objects in Context", and the data set's description of its format.
Lesson 12.
"""

import json
import math
import os
import reprlib
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from frcnn_lessons.datasets.images import MAX_PIXELS, check_image
from frcnn_lessons.datasets.reading import (
    NO_AREA,
    AnnotatedImages,
    Found,
    Options,
    Record,
    attempt,
    check_options,
    file_inside,
    folder_of_images,
    number,
    read_flag,
    record,
    rows_of,
    warn_of_flags,
)
from frcnn_lessons.datasets.sample import DataError, Defect, Sample
from frcnn_lessons.files import user_path

# COCO's own files give two digits, so that a box at the border may reach beyond it by as much as the rounding.
ROUNDING = 0.01

# What stands in the lists in the place of an annotation that is in the columns; a file may hold a null of its own.
TAKEN = object()


class COCODataset(AnnotatedImages):
    """The images of a COCO file as `Sample`s.

    Everything but the pixels is read and checked when the data set is made.

    Example:
        >>> dataset = COCODataset("annotations/instances_val2017.json", "val2017")  # doctest: +SKIP
        >>> image, boxes, labels, difficult, image_id, size = dataset[0]  # doctest: +SKIP
    """

    def __init__(
        self,
        json_path: Path | str,
        image_folder: Path | str,
        classes: Sequence[str] | None = None,
        *,
        transform: Callable[[Sample], Sample] | None = None,
        unknown: str = "raise",
        on_error: str = "raise",
        bad_boxes: str = "raise",
        max_pixels: int = MAX_PIXELS,
        exif: str = "refuse",
    ) -> None:
        """Read a COCO file and the headers of its images.

        Required are an `id` and a `file_name` of each image, an `image_id`, a `category_id` and a `bbox` of each
        annotation, an `id` and a `name` of each category. Ids may have gaps; a `width` and `height` of an image must be
        those of its file; segmentations and key points are not read. The name of an image is that of its file
        in the folder, without ending.

        Args:
            json_path: the file, UTF-8.
            image_folder: holds each `file_name`, or what remains of it without the folders that lead to it.
            classes: names in the order of their labels, 1..C. None: those of the categories in the order of their ids,
                but for a mere heading: without a box, and `supercategory` of another.
            on_error: "raise" refuses the file at the first image that cannot be used, or the first annotation of an
                image that it does not list. "skip" leaves such images out (never single objects), warns of their
                number, and lists the reasons in `skipped`; for that it decodes every image once. A file that is damaged
                as a whole (no JSON, a list missing) is always refused.
            transform, unknown, bad_boxes, max_pixels, exif: as for `VOCDataset`.

        Raises:
            DataError: something in the file or folder cannot be used: the message says what, where, and what to do.
            ValueError: an option has a value that it cannot have.
        """
        options = Options(unknown, on_error, bad_boxes, max_pixels, exif)
        check_options(classes, options)
        json_path, image_folder = user_path(json_path), folder_of_images(image_folder)
        content = _Content(json_path)
        if classes is None:
            classes = content.classes()
        labels = {name: label for label, name in enumerate(classes, start=1)}
        unread: list[str] = []  # flags that are neither 0 nor 1
        owners: dict[Path, str] = {}

        def read(key: str) -> Record:
            entry = content.images[key]
            where = f"{json_path}: image {key}"
            file_name = entry.get("file_name")
            if not isinstance(file_name, str) or not file_name.strip():
                raise DataError(f"{where} has the file_name {file_name!r}; name its file", "no file name")
            path = _image_path(image_folder, file_name, where)
            if (owner := owners.setdefault(path, key)) != key:
                raise DataError(
                    f"{where} has the file {path.name}, as has image {owner}; remove one", "image of another"
                )
            size = check_image(path, max_pixels, exif=exif)
            found = [attempt(content.found, row, size, unread) for row in content.rows(key)]
            if (wrong := _size_differs(entry, size, f"{where} ({file_name})")) is not None:
                found.insert(0, wrong)
            name = Path(os.path.relpath(path, image_folder)).with_suffix("").as_posix()
            return record(name, path, size, found, labels, options)

        super().__init__(json_path, classes, content.images, read, transform, options, content.defects)
        warn_of_flags(json_path, unread)


class _Content:
    """What is kept of a COCO file: of each annotation its values in columns, as there may be millions.

    Attributes:
        images: the entries of the images, by id as text, in the order of the file.
        categories: the name of each category, by id as text, in the order of the ids.
        defects: what is wrong and belongs to no image.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ids: list[Any] = []
        self._image_ids: list[str] = []
        self._category_ids: list[str] = []
        self._crowds: list[Any] = []
        self._boxes = array("d")
        self._odd: dict[int, Any] = {}  # what is no list of four numbers, by row
        self._texts: dict[str, str] = {}  # one string for each id, however often it is there
        self.defects: list[Defect] = []
        lists = self._lists()
        self.images = self._by_id(lists["images"], "image")
        categories = self._by_id(lists["categories"], "category")
        names = {key: categories[key].get("name") for key in _sorted(categories)}
        self.categories = {key: "" if name is None else " ".join(str(name).split()) for key, name in names.items()}
        for key, name in self.categories.items():
            if not name or not name.isprintable():
                raise DataError(f"{path}: category {key} has the name {name!r}; give it one that can be printed")
        self._headings = {
            str(entry.get("supercategory"))
            for key, entry in categories.items()
            if entry.get("supercategory") != self.categories[key]
        }
        self._check_annotations(lists["annotations"])
        places = {key: place for place, key in enumerate(self.images)}
        nowhere = len(places)
        owners = np.array([places.get(key, nowhere) for key in self._image_ids], dtype=int)
        self._refuse_corners(owners)
        self._rows = rows_of(owners, nowhere + 1)
        self._places = places
        self.defects += [
            Defect(
                "image not listed",
                f"{self._where(row)} has the image_id {self._image_ids[row]}, which the list of images does not hold; "
                "add the image, or remove the annotation",
            )
            for row in self._rows(nowhere)
        ]

    def classes(self) -> list[str]:
        """The names of the categories, but for mere headings (Roboflow writes one), in the order of the ids."""
        used = {self.categories.get(key) for key in set(self._category_ids)}
        names = dict.fromkeys(self.categories.values())
        return [name for name in names if name in used or name not in self._headings] or list(names)

    def rows(self, key: str) -> list[int]:
        """The annotations of an image, in the order of the file."""
        return self._rows(self._places[key])

    def found(self, row: int, size: tuple[int, int], unread: list[str]) -> Found:
        """One annotation, in pixels of an image of `size` (height, width); `unread` takes flags that say nothing."""
        where, key = self._where(row), self._category_ids[row]
        name = self.categories.get(key)
        if name is None:
            raise DataError(
                f"{where} has the category_id {key}, which is not listed; add or correct it", "unknown class"
            )
        file_name = self.images[self._image_ids[row]]["file_name"]
        where = f"{where} ({name} in {file_name})"
        x, y, width, height = self._box(row, where)
        crowd = self._crowds[row]
        flag = read_flag("" if crowd is None else str(crowd))
        if flag is None:
            unread.append(f"{where}: iscrowd {crowd!r}")
        if width <= 0 or height <= 0:
            message = f"{where} is {width:g} wide and {height:g} high; correct or remove it"
            raise DataError(message, NO_AREA, (x, y, x + width, y + height))
        edges = [x, y, x + width, y + height]
        for k, limit in enumerate((size[1], size[0], size[1], size[0])):
            if -ROUNDING <= edges[k] < 0 or limit < edges[k] <= limit + ROUNDING:
                edges[k] = min(max(edges[k], 0.0), float(limit))
        return Found(where, name, (edges[0], edges[1], edges[2], edges[3]), bool(flag))

    def _where(self, row: int) -> str:
        given = self._ids[row]
        return f"{self.path}: annotation {row + 1 if given is None else given}"

    def _box(self, row: int, where: str) -> list[float]:
        if row not in self._odd:
            return list(self._boxes[4 * row : 4 * row + 4])
        odd = self._odd[row]
        if odd is None:
            raise DataError(f"{where} has no bbox; add it, or remove the annotation", "no box")
        if not isinstance(odd, list) or len(odd) != 4:
            message = f"{where} has the bbox {odd!r}, which is not x, y, width and height; correct it"
            raise DataError(message, "no box")
        sides = zip(("x", "y", "width", "height"), odd, strict=True)
        return [number(str(value), f"{where}: {side} of the bbox") for side, value in sides]

    def _lists(self) -> dict[str, list[Any]]:
        """The three lists of the file. Annotations are put into the columns while they are read; TAKEN is left."""
        try:
            content = json.loads(self.path.read_bytes(), object_hook=self._keep)
        except FileNotFoundError:
            raise DataError(f"{self.path}: there is no such file; check the path") from None
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{self.path}: the file is not readable JSON ({error}); write it again, as UTF-8") from None
        if not isinstance(content, dict):
            raise DataError(
                f"{self.path}: the JSON is no object with images, annotations and categories, as a list of detections "
                "is none; use the file of the annotations"
            )
        for name in ("images", "annotations", "categories"):
            if not isinstance(content.get(name), list):
                raise DataError(f"{self.path}: the JSON has no list {name!r}, as COCO's files have; add it")
        if content["annotations"].count(TAKEN) != len(self._ids):
            raise DataError(f"{self.path}: there are boxes outside of the list 'annotations'; move them there")
        return content

    def _keep(self, entry: dict[str, Any]) -> object:
        is_image = "file_name" in entry and "category_id" not in entry
        if is_image or ("bbox" not in entry and "image_id" not in entry):
            return entry  # or a category, or what else there is
        box = entry.get("bbox")
        if isinstance(box, list) and len(box) == 4 and all(map(_is_plain, box)):
            self._boxes.extend(box)
        else:
            self._boxes.extend([math.nan] * 4)
            self._odd[len(self._ids)] = box
        self._ids.append(entry.get("id"))
        self._crowds.append(entry.get("iscrowd"))
        for column, name in ((self._image_ids, "image_id"), (self._category_ids, "category_id")):
            key = _key(entry.get(name))
            column.append(self._texts.setdefault(key, key))
        return TAKEN

    def _by_id(self, entries: list[Any], what: str) -> dict[str, dict[str, Any]]:
        """The entries by their ids; one without, and a second one of the same id, is refused."""
        named: dict[str, dict[str, Any]] = {}
        for place, entry in enumerate(entries, start=1):
            if not isinstance(entry, dict):
                raise DataError(f"{self.path}: {what} number {place} of the list is {_shown(entry)}; remove it")
            if entry.get("id") is None:
                raise DataError(f"{self.path}: {what} number {place} of the list has no id; give it one")
            if named.setdefault(_key(entry["id"]), entry) is not entry:
                raise DataError(
                    f"{self.path}: the id {entry['id']} is there twice among the {what} entries; change one"
                )
        if not named:
            raise DataError(f"{self.path}: there is no {what} in the file; add what is missing")
        return named

    def _check_annotations(self, annotations: list[Any]) -> None:
        for place, entry in enumerate(annotations, start=1):
            if entry is not TAKEN:
                what = "has no image_id and no bbox" if isinstance(entry, dict) else f"is {_shown(entry)}"
                self.defects.append(
                    Defect("no box", f"{self.path}: annotation number {place} of the list {what}; remove it")
                )
        boxes = np.frombuffer(self._boxes) if self._boxes else np.ones(0)
        if len(boxes) and not np.isnan(boxes).all() and np.nanmax(boxes) <= 1:
            raise DataError(
                f"{self.path}: all boxes lie between 0 and 1, but COCO's are x, y, width and height in pixels; "
                "multiply them by the width and height of their image"
            )

    def _refuse_corners(self, owners: np.ndarray) -> None:
        """Refuse a file whose boxes fit their images as corners only; `owners` is the place of each box's image."""
        sides = [[entry.get(name) for name in ("width", "height")] for entry in self.images.values()]
        known = [[side if _is_plain(side) else math.nan for side in both] for both in sides]
        limits = np.array([*known, [math.nan] * 2], dtype=float)[owners]  # (N, 2)
        boxes = np.frombuffer(self._boxes).reshape(-1, 4) if self._boxes else np.ones((0, 4))
        sure = ~np.isnan(limits).any(axis=1) & ~np.isnan(boxes).any(axis=1)
        low, high, limits = boxes[sure, :2], boxes[sure, 2:], limits[sure]
        beyond = (low + high > limits + ROUNDING).any(axis=1)
        if len(low) >= 3 and beyond.mean() > 0.5 and ((low < high) & (high <= limits)).all():
            raise DataError(
                f"{self.path}: {beyond.sum()} of {len(low)} boxes reach beyond their images, but all fit as corners "
                "(x1, y1, x2, y2), and COCO's are x, y, width and height; convert them"
            )


def _is_plain(side: Any) -> bool:
    """Whether it is a number that a column can hold: JSON has such of any size, and Python's reader knows NaN."""
    return type(side) in (int, float) and abs(side) < 1e9


def _shown(entry: Any) -> str:
    """What a list holds instead of an object, for a message."""
    return "null" if entry is None else f"{reprlib.repr(entry)}, no object with an id"


def _key(value: Any) -> str:
    """An id as text: some tools write 5 in one list and "5" or 5.0 in the other."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _sorted(keys: Mapping[str, Any]) -> list[str]:
    """By number where they are numbers."""
    return sorted(keys, key=lambda key: (not key.isdecimal(), int(key) if key.isdecimal() else 0, key))


def _size_differs(entry: Mapping[str, Any], size: tuple[int, int], where: str) -> DataError | None:
    """What is wrong with the width and height of an image, if they are given."""
    try:
        given = [
            number(str(entry[name]), f"{where}: {name}") if entry.get(name) is not None else actual
            for name, actual in zip(("height", "width"), size, strict=True)
        ]
    except DataError as error:
        return error
    if given == list(size):
        return None
    return DataError(
        f"{where} should be {given[1]:g} x {given[0]:g}, but the file is {size[1]} x {size[0]}; check that they belong "
        "together and correct width and height",
        "size differs",
    )


def _image_path(folder: Path, file_name: str, where: str) -> Path:
    """The file of an image: under its name, or under what remains of it without folders."""
    name = file_name.strip().replace("\\", "/")
    base = name.rpartition("/")[2]
    inside = [name] if ".." not in name.split("/") and "//" not in name else []
    path = next(filter(None, (file_inside(folder, one, where) for one in (*inside, base) if one)), None)
    if path is None:
        message = f"{where}: {folder} does not hold {file_name}; add it, or remove the image from the list"
        raise DataError(message, "image missing")
    return path
