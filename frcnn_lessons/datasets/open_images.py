"""Read and write tables in Open Images' box format: one CSV row a box, coordinates relative to the image.

The columns are those of the published `*-annotations-bbox.csv`. `XMin` is the left edge of a box divided by the width
of its image, so the reader needs the image itself to know the pixels. A box marked `IsGroupOf` holds a crowd that
nobody told apart; it becomes a `difficult` object, which leaves the count in the evaluation (COCO's `iscrowd`).

Source: Kuznetsova et al., "The Open Images Dataset V4", and the data set's description of its files. Lesson 02.
"""

import csv
import gzip
import io
import operator
import zlib
from array import array
from collections.abc import Callable, Container, Iterable, Sequence
from pathlib import Path

import numpy as np

from frcnn_lessons.datasets.images import MAX_PIXELS, check_image
from frcnn_lessons.datasets.reading import (
    IMAGE_ENDINGS,
    OUTSIDE,
    AnnotatedImages,
    Found,
    Options,
    Record,
    attempt,
    check_objects,
    check_options,
    check_span,
    file_inside,
    folder_of_images,
    image_inside,
    number,
    read_flag,
    record,
    rows_of,
    warn_of_flags,
)
from frcnn_lessons.datasets.sample import AnnotatedObject, DataError, Sample
from frcnn_lessons.files import user_path, written_whole

REQUIRED_COLUMNS = ("ImageID", "Source", "LabelName", "Confidence", "XMin", "XMax", "YMin", "YMax")
_SIDES = REQUIRED_COLUMNS[4:]
OPEN_IMAGES_COLUMNS = (
    *REQUIRED_COLUMNS,
    "IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside",
    "XClick1X", "XClick2X", "XClick3X", "XClick4X", "XClick1Y", "XClick2Y", "XClick3Y", "XClick4Y",
)  # fmt: skip


class OpenImagesDataset(AnnotatedImages):
    """The images of an Open Images table as `Sample`s.

    Everything but the pixels is read and checked when the data set is made.

    Example:
        >>> dataset = OpenImagesDataset("df.csv", "images", ["Bus", "Truck"])  # doctest: +SKIP
        >>> image, boxes, labels, difficult, image_id, size = dataset[0]  # doctest: +SKIP
    """

    def __init__(
        self,
        csv_path: Path | str,
        image_folder: Path | str,
        classes: Sequence[str] | None = None,
        *,
        ids: Sequence[str] | None = None,
        transform: Callable[[Sample], Sample] | None = None,
        unknown: str = "raise",
        on_error: str = "raise",
        bad_boxes: str = "raise",
        max_pixels: int = MAX_PIXELS,
        exif: str = "refuse",
    ) -> None:
        """Read a table and the headers of its images.

        An image without objects has no row, so the table does not know of it and it is no part of the data set. Of the
        21 columns the first eight (REQUIRED_COLUMNS) must be there, in any order; a table without `IsGroupOf` has no
        groups; the others are not read.

        Args:
            csv_path: the table, UTF-8, plain or packed with gzip; with commas, or with semicolons or tabs, and then
                with decimal points or commas.
            image_folder: holds `ImageID` with .jpg, .jpeg or .png, which the table may have written too.
            classes: values of `LabelName`, plain words or codes such as "/m/01bjv", in the order of their labels, 1..C.
                None: all in the table, sorted, so that every part of a table gets the same labels.
            ids: the images wanted, in order, such as one part of a split, with or without their endings. None: all in
                the table, in order of their first row. Rows of other images are not checked.
            on_error: "raise" refuses the table at the first image that cannot be used. "skip" leaves such images out
                (never single objects), warns of their number, and lists the reasons in `skipped`; for that it decodes
                every image once. A table that is damaged as a whole (columns missing, a row of another length,
                not UTF-8) is always refused.
            transform, unknown, bad_boxes, max_pixels, exif: as for `VOCDataset`.

        Raises:
            DataError: something in the table or folder cannot be used: the message says what, where, and what to do.
            ValueError: an option has a value that it cannot have.
        """
        options = Options(unknown, on_error, bad_boxes, max_pixels, exif)
        check_options(classes, options)
        csv_path, image_folder = user_path(csv_path), folder_of_images(image_folder)
        table = _Table(csv_path)
        ids = list(table.images) if ids is None else [_as_in_table(image_id, table.images) for image_id in ids]
        if len(set(ids)) < len(ids):
            raise ValueError("ids names an image twice")
        if classes is None:
            classes = sorted(name for name in table.names if name)
        labels = {name: label for label, name in enumerate(classes, start=1)}

        unread: list[str] = []  # flags that are neither 0 nor 1

        def read(image_id: str) -> Record:
            if image_id not in table.images:
                raise DataError(f"{csv_path}: the table has no row of image {image_id!r}; leave it out of ids")
            rows = table.rows(image_id)
            where = f"{csv_path}: line {table.lines[rows[0]]}"
            path = image_inside(image_folder, image_id, where)
            stem, ending = _parted(image_id)
            if path is None and ending:
                names = (image_id, stem + ending.lower(), stem + ending.upper())
                path = next(filter(None, (file_inside(image_folder, name, where) for name in names)), None)
            if path is None:
                raise DataError(
                    f"{where}: the image {image_id} is missing, {image_folder} holds no such .jpg, .jpeg or .png; "
                    "add it, or remove its rows",
                    "image missing",
                )
            size = check_image(path, max_pixels, exif=exif)
            clip = bad_boxes == "clip"
            found = [attempt(table.found, row, image_id, size, clip, unread) for row in rows]
            return record(image_id, path, size, found, labels, options)

        super().__init__(csv_path, classes, ids, read, transform, options)
        warn_of_flags(csv_path, unread)


def write_table(path: Path | str, images: Iterable[tuple[str, tuple[int, int], Sequence[AnnotatedObject]]]) -> None:
    """Write a table with all 21 columns, whole or not at all; `OpenImagesDataset` reads the same boxes back.

    The format has no place for `difficult` and `pose`, and an image without objects leaves no row. Without
    `extreme_points` the XClick columns hold -1, as in Open Images for boxes that were not made by clicks.

    Args:
        path: the CSV file.
        images: for each image its name without ending, its (height, width) and its objects.

    Raises:
        DataError: an object that the reader would refuse; nothing is written then.
    """
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(OPEN_IMAGES_COLUMNS)
        for image_id, size, objects in images:
            height, width = size
            where = f"{path}: image {image_id!r}"
            check_objects(
                [
                    Found(f"{where}: object {k} ({obj.name})", obj.name, obj.box, obj.group)
                    for k, obj in enumerate(objects, start=1)
                ],
                size,
            )
            for text in (image_id, *(obj.name for obj in objects)):
                if not text.isprintable() or text != text.strip() or not text:
                    raise DataError(f"{where}: {text!r} would not be read back the same; use a printable name")
            for obj in objects:
                if obj.extreme_points is not None and len(obj.extreme_points) != 4:
                    raise DataError(
                        f"{where}: {obj.name} has {len(obj.extreme_points)} extreme points; there must be 4"
                    )
                x1, y1, x2, y2 = obj.box
                points = obj.extreme_points
                xs = [x / width for x, _ in points] if points else [-1] * 4
                ys = [y / height for _, y in points] if points else [-1] * 4
                flags = [int(obj.occluded), int(obj.truncated), int(obj.group), int(obj.depiction), 0]
                box = [x1 / width, x2 / width, y1 / height, y2 / height]
                writer.writerow([image_id, "xclick", obj.name, 1, *box, *flags, *xs, *ys])


class _Table:
    """The columns that are read, as arrays: the published tables have 14.6 million rows.

    Attributes:
        images: the number of each image, in the order of the first rows.
        names: the number of each `LabelName`.
        lines: of each row, its line in the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.images: dict[str, int] = {}
        self.names: dict[str, int] = {}
        self.lines = array("q")
        self._flags: dict[str, int] = {}
        self._name, self._flag, self._sides = array("i"), array("i"), array("d")
        self._odd: dict[tuple[int, int], str] = {}  # by row and side, the cells that hold no number
        image_of_row = array("i")
        line = 0
        try:
            with _text(path) as file:
                first = file.readline()
                delimiter = max(",;\t", key=first.count)
                file.seek(0)
                reader = csv.reader(file, delimiter=delimiter, strict=True)
                header, line = self._header(next(reader, [])), 1
                wanted = operator.itemgetter(*map(header.index, ("ImageID", "LabelName", *_SIDES)))
                flag = header.index("IsGroupOf") if "IsGroupOf" in header else None
                for cells in reader:
                    line = reader.line_num
                    if not cells:  # a blank line
                        continue
                    if len(cells) != len(header):
                        raise DataError(
                            f"{path}: line {line} has {len(cells)} cells for {len(header)} columns; repair the line"
                        )
                    image_id, name, *sides = (cell.strip() for cell in wanted(cells))
                    if not image_id.isprintable() or not image_id:
                        raise DataError(
                            f"{path}: line {line} has the ImageID {image_id!r}, which names no file; correct it"
                        )
                    for k, side in enumerate(sides):
                        # With another delimiter: what a spreadsheet writes where 0.5 is written 0,5.
                        self._add_side(k, side if delimiter == "," else side.replace(",", "."))
                    self.lines.append(line)
                    image_of_row.append(self.images.setdefault(image_id, len(self.images)))
                    self._name.append(self.names.setdefault(name, len(self.names)))
                    text = "" if flag is None else cells[flag].strip()
                    self._flag.append(self._flags.setdefault(text, len(self._flags)))
        except FileNotFoundError:
            raise DataError(f"{path}: there is no such table; check the path") from None
        except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
            message = f"{path}: the table cannot be read after line {line} ({error}); save it as UTF-8 CSV"
            raise DataError(message) from None
        if not self.images:
            raise DataError(f"{path}: the table has no box, only the names of the columns; add rows")
        self._rows = rows_of(np.array(image_of_row), len(self.images))
        for image_id in self.images:
            stem, ending = _parted(image_id)
            if ending and stem in self.images:
                own, other = (self.lines[self.rows(name)[0]] for name in (image_id, stem))
                raise DataError(
                    f"{path}: line {own} has the ImageID {image_id!r}, which line {other} writes {stem!r}; write it in "
                    "one way"
                )
        self._all_names, self._all_flags = list(self.names), list(self._flags)

    def rows(self, image_id: str) -> list[int]:
        """The rows of an image, in the order of the file."""
        return self._rows(self.images[image_id])

    def found(self, row: int, image_id: str, size: tuple[int, int], clip: bool, unread: list[str]) -> Found:
        """The object of one row, in pixels of an image of `size` (height, width).

        Args:
            clip: whether a box may reach beyond its image, by at most its width and height: further out, it was written
                in pixels.
            unread: takes flags that say nothing.
        """
        name = self._all_names[self._name[row]]
        where = f"{self.path}: line {self.lines[row]}"
        if not name or not name.isprintable():
            raise DataError(f"{where} has the LabelName {name!r}, which is no class; correct it", "no class name")
        where = f"{where} ({name} in image {image_id})"
        lowest, highest = (-1, 2) if clip else (0, 1)
        for k, side in enumerate(_SIDES):
            value = self._sides[4 * row + k]
            if (text := self._odd.get((row, k))) is not None:
                number(text, f"{where}: {side}")
            if not lowest <= value <= highest:
                message = f"{where} has {side} {value:.9g}, but coordinates are relative, from 0 to 1; correct it"
                raise DataError(message, OUTSIDE if -1 <= value <= 2 else "not relative")
        x1, x2, y1, y2 = self._sides[4 * row : 4 * row + 4]
        height, width = size
        box = (x1 * width, y1 * height, x2 * width, y2 * height)
        check_span(x1, x2, "XMin", "XMax", where, box)
        check_span(y1, y2, "YMin", "YMax", where, box)
        flag = self._all_flags[self._flag[row]]
        group = False if flag == "-1" else read_flag(flag)  # -1 is Open Images' "not known"
        if group is None:
            unread.append(f"{where}: IsGroupOf {flag!r}")
        return Found(where, name, box, bool(group))

    def _header(self, cells: list[str]) -> list[str]:
        header = [name.strip() for name in cells]
        if not header:
            raise DataError(f"{self.path}: the table is empty; its first line must name the columns")
        if missing := [name for name in REQUIRED_COLUMNS if name not in header]:
            raise DataError(f"{self.path}: the table has no column {', '.join(missing)}; add it to the first line")
        if len(set(header)) < len(header):
            raise DataError(f"{self.path}: the first line names a column twice; remove one")
        return header

    def _add_side(self, k: int, text: str) -> None:
        """Add a coordinate, or NaN where the text is no number; who asks for the row is told."""
        try:
            value = number(text, "")
        except DataError:
            value = np.nan
            self._odd[len(self.lines), k] = text
        self._sides.append(value)


def _parted(image_id: str) -> tuple[str, str]:
    """A name and its ending, "" if it has none of an image."""
    stem, dot, ending = image_id.rpartition(".")
    return (stem, dot + ending) if dot + ending.lower() in IMAGE_ENDINGS else (image_id, "")


def _as_in_table(image_id: str, table: Container[str]) -> str:
    """The name that the table has for an image which `ids` may name with its ending, or without."""
    stem, ending = _parted(image_id)
    others = [other for other in ([stem] if ending else [stem + one for one in IMAGE_ENDINGS]) if other in table]
    return others[0] if image_id not in table and len(others) == 1 else image_id


def _text(path: Path) -> io.TextIOWrapper:
    """The table as text, unpacked if it is gzip; what a file is called does not matter."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return io.TextIOWrapper(gzip.open(path) if packed else path.open("rb"), encoding="utf-8-sig", newline="")
