"""Open somebody's own data, whatever they are: which format, which classes, which images to learn from.

    a folder with Annotations and JPEGImages    VOC
    df.csv and a folder of images               Open Images

Data without a part for validation give a tenth of their training images for it, drawn from a fixed seed. Lesson 12.
"""

import copy
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from frcnn_lessons.datasets.open_images import OpenImagesDataset
from frcnn_lessons.datasets.reading import AnnotatedImages
from frcnn_lessons.datasets.sample import DataError
from frcnn_lessons.datasets.voc import VOCDataset
from frcnn_lessons.files import user_path

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class OwnData:
    """What was found.

    Attributes:
        kind: "VOC" or "Open Images".
        classes: C names; the label of the first is 1.
        splits: "train" and "val", and "test" if the data have one.
        defects: why images cannot be used, a sentence each; they are in no split.
    """

    kind: str
    classes: tuple[str, ...]
    splits: dict[str, AnnotatedImages]
    defects: list[str]


def open_data(path: Path | str, *, images: Path | str | None = None) -> OwnData:
    """Open a VOC folder or an Open Images table.

    Args:
        path: the folder, or the table.
        images: the folder of a table's images; "images" beside it by default.

    Raises:
        DataError: these are no such data, or no image can be used.
    """
    path = user_path(path)
    parts: dict[str, AnnotatedImages] = {}
    with warnings.catch_warnings(action="ignore"):  # of images left out: they are the defects
        if path.is_file():
            kind = "Open Images"
            parts["train"] = OpenImagesDataset(path, images or path.parent / "images", on_error="skip")
        else:
            kind = "VOC"
            lists = {found.stem for found in path.glob("**/ImageSets/Main/*.txt")} & {*SPLITS, "trainval"}
            if "train" not in lists:
                lists = (lists - {"val"}) | {"trainval"}
            else:
                lists -= {"trainval"}
            for name in sorted(lists):
                parts["train" if name == "trainval" else name] = VOCDataset(path, name, on_error="skip")
    if "val" not in parts:
        parts["train"], parts["val"] = _tenth(path, parts["train"])
    defects = list(dict.fromkeys(reason for part in parts.values() for reason in part.skipped))
    splits = {name: parts[name] for name in SPLITS if name in parts}
    return OwnData(kind, parts["train"].classes, splits, defects)


def _tenth(path: Path, images: AnnotatedImages) -> tuple[AnnotatedImages, AnnotatedImages]:
    """All but a tenth, at least one image, and that tenth."""
    if len(images) < 2:
        raise DataError(f"{path}: one image cannot be divided into training and validation; add more")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).tolist()
    size = max(1, len(images) // 10)
    parts = []
    for rows in (sorted(order[size:]), sorted(order[:size])):
        part = copy.copy(images)
        part._records = [images._records[row] for row in rows]
        part.ids = tuple(record.image_id for record in part._records)
        parts.append(part)
    return parts[0], parts[1]
