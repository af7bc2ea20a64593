"""Read and write tables in Open Images' box format: one CSV row a box, coordinates relative to the image.

The columns are those of the published `*-annotations-bbox.csv`. `XMin` is the left edge of a box divided by the width
of its image, so the reader needs the image itself to know the pixels. A box marked `IsGroupOf` holds a crowd that
nobody told apart; it becomes a `difficult` object, which leaves the count in the evaluation (COCO's `iscrowd`).

Source: Kuznetsova et al., "The Open Images Dataset V4", and the data set's description of its files. Lesson 02.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Container, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from frcnn_lessons.datasets.images import MAX_PIXELS, check_image
from frcnn_lessons.datasets.reading import (
    IMAGE_ENDINGS,
    AnnotatedImages,
    Found,
    Record,
    check_objects,
    check_options,
    check_span,
    file_inside,
    image_inside,
    number,
    read_flag,
    record,
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
            transform: applied to each Sample before it is given, such as one of `torchvision.transforms.v2`.
            unknown: "raise" refuses an object of a class that is not in `classes`; "drop" leaves such objects out and
                warns of their number, which is in `dropped`.
            on_error: "raise" refuses the table at the first image that cannot be used. "skip" leaves such images out
                (never single objects), warns of their number, and lists the reasons in `skipped`; for that it decodes
                every image once. A table that is damaged as a whole (columns missing, a row of another length,
                not UTF-8) is always refused.
            max_pixels: the largest image to accept.
            exif: "refuse" refuses an image that its EXIF says to turn; "apply" turns it, so its boxes belong to the
                picture as a person sees it; "ignore" leaves it as stored, so they belong to the pixels in the file.

        Raises:
            DataError: something in the table or folder cannot be used: the message says what, where, and what to do.
            ValueError: an option has a value that it cannot have.
        """
        check_options(classes, unknown, on_error)
        csv_path, image_folder = user_path(csv_path), user_path(image_folder)
        if not image_folder.is_dir():
            raise DataError(f"{image_folder}: there is no such folder of images; check the path")
        rows = _read_table(csv_path)
        ids = list(rows) if ids is None else [_as_in_table(image_id, rows) for image_id in ids]
        if len(set(ids)) < len(ids):
            raise ValueError("ids names an image twice")
        if classes is None:
            classes = sorted({row.cells["LabelName"] for of_image in rows.values() for row in of_image} - {""})
        labels = {name: label for label, name in enumerate(classes, start=1)}

        unread: list[str] = []  # flags that are neither 0 nor 1

        def read(image_id: str) -> Record:
            if image_id not in rows:
                raise DataError(f"{csv_path}: the table has no row of image {image_id!r}; leave it out of ids")
            where = f"{csv_path}: line {rows[image_id][0].line}"
            path = image_inside(image_folder, image_id, where)
            stem, ending = _parted(image_id)
            if path is None and ending:
                names = (image_id, stem + ending.lower(), stem + ending.upper())
                path = next(filter(None, (file_inside(image_folder, name, where) for name in names)), None)
            if path is None:
                raise DataError(
                    f"{where}: the image {image_id} is missing, {image_folder} holds no such .jpg, .jpeg or .png; "
                    "add it, or name the images to read with ids"
                )
            size = check_image(path, max_pixels, exif=exif)
            found = [_found(row, size, csv_path, unread) for row in rows[image_id]]
            return record(image_id, path, size, found, labels, unknown)

        super().__init__(csv_path, classes, ids, read, transform, on_error, max_pixels, exif)
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


class _Row(NamedTuple):
    line: int
    cells: dict[str, str]


def _read_table(path: Path) -> dict[str, list[_Row]]:
    """The rows of each image, in the order of the file."""
    rows: dict[str, list[_Row]] = {}
    line = 0
    try:
        with _text(path) as file:
            first = file.readline()
            delimiter = max(",;\t", key=first.count)
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            header = [name.strip() for name in next(reader, [])]
            if not header:
                raise DataError(f"{path}: the table is empty; its first line must name the columns")
            if missing := [name for name in REQUIRED_COLUMNS if name not in header]:
                raise DataError(f"{path}: the table has no column {', '.join(missing)}; add it to the first line")
            if len(set(header)) < len(header):
                raise DataError(f"{path}: the first line names a column twice; remove one")
            for cells in reader:
                line = reader.line_num
                if not cells:  # a blank line
                    continue
                if len(cells) != len(header):
                    raise DataError(
                        f"{path}: line {line} has {len(cells)} cells for {len(header)} columns; repair the line"
                    )
                row = _Row(line, dict(zip(header, (cell.strip() for cell in cells), strict=True)))
                if delimiter != ",":  # what a spreadsheet writes where 0.5 is written 0,5
                    row.cells.update({side: row.cells[side].replace(",", ".") for side in _SIDES})
                image_id = row.cells["ImageID"]
                if not image_id.isprintable() or not image_id:
                    raise DataError(
                        f"{path}: line {line} has the ImageID {image_id!r}, which names no file; correct it"
                    )
                rows.setdefault(image_id, []).append(row)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such table; check the path") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: the table cannot be read after line {line} ({error}); save it as UTF-8 CSV") from None
    if not rows:
        raise DataError(f"{path}: the table has no box, only the names of the columns; add rows")
    for image_id, of_image in rows.items():
        stem, ending = _parted(image_id)
        if ending and stem in rows:
            raise DataError(
                f"{path}: line {of_image[0].line} has the ImageID {image_id!r}, which line {rows[stem][0].line} writes "
                f"{stem!r}; write it in one way"
            )
    return rows


def _parted(image_id: str) -> tuple[str, str]:
    """A name and its ending, "" if it has none of an image."""
    stem, dot, ending = image_id.rpartition(".")
    return (stem, dot + ending) if dot + ending.lower() in IMAGE_ENDINGS else (image_id, "")


def _as_in_table(image_id: str, rows: Container[str]) -> str:
    """The name that the table has for an image which `ids` may name with its ending, or without."""
    stem, ending = _parted(image_id)
    others = [other for other in ([stem] if ending else [stem + one for one in IMAGE_ENDINGS]) if other in rows]
    return others[0] if image_id not in rows and len(others) == 1 else image_id


def _text(path: Path) -> io.TextIOWrapper:
    """The table as text, unpacked if it is gzip; what a file is called does not matter."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return io.TextIOWrapper(gzip.open(path) if packed else path.open("rb"), encoding="utf-8-sig", newline="")


def _found(row: _Row, size: tuple[int, int], path: Path, unread: list[str]) -> Found:
    """The object of one row, in pixels of an image of `size` (height, width)."""
    cells = row.cells
    name = cells["LabelName"]
    if not name or not name.isprintable():
        raise DataError(f"{path}: line {row.line} has the LabelName {name!r}, which is no class; correct it")
    where = f"{path}: line {row.line} ({name} in image {cells['ImageID']})"
    sides = {side: number(cells[side], f"{where}: {side}") for side in _SIDES}
    for side, value in sides.items():
        if not 0 <= value <= 1:
            raise DataError(f"{where} has {side} {value:g}, but coordinates are relative, from 0 to 1; correct it")
    check_span(sides["XMin"], sides["XMax"], "XMin", "XMax", where)
    check_span(sides["YMin"], sides["YMax"], "YMin", "YMax", where)
    flag = cells.get("IsGroupOf", "")
    group = False if flag == "-1" else read_flag(flag)  # -1 is Open Images' "not known"
    if group is None:
        unread.append(f"{where}: IsGroupOf {flag!r}")
    height, width = size
    box = (sides["XMin"] * width, sides["YMin"] * height, sides["XMax"] * width, sides["YMax"] * height)
    return Found(where, name, box, bool(group))
