"""Open data of one's own, whatever tool wrote it, parted into what is trained on and what is measured on.

Recognised are VOC folders (`Annotations` beside `JPEGImages` or `images`, with or without `ImageSets`; images and XML
together in one folder, or in two side by side, of any names; CVAT's export), COCO files (with a folder of images; the
folder above `annotations` and `images`, as COCO's own and CVAT's; images beside the JSON), Roboflow's folders `train`,
`valid` and `test` with either of the two in them, and Open Images tables with a folder of images. Lists, files and
folders called train, val (valid, validation) or test are these parts. Lesson 12.
"""

import itertools
import json
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from frcnn_lessons.datasets.coco import COCODataset
from frcnn_lessons.datasets.open_images import OpenImagesDataset
from frcnn_lessons.datasets.reading import IMAGE_ENDINGS, NOTHING_LEFT, AnnotatedImages, same_name
from frcnn_lessons.datasets.sample import DataError, Defect
from frcnn_lessons.datasets.voc import VOCDataset, image_and_xml_folders
from frcnn_lessons.files import user_path

SPLITS = {"train": "train", "valid": "val", "val": "val", "validation": "val", "test": "test"}
SHOWN = 20
"""So many defects stand in the message of an error."""

# One part of the data: its split, and what reads it.
Part = tuple[str, Callable[..., AnnotatedImages]]


@dataclass
class OwnData:
    """What `open_data` found.

    Attributes:
        kind: "VOC", "Open Images" or "COCO".
        classes: the names of labels 1..C, the same in all splits.
        splits: "train" and "val", and "test" where the data has it.
        defects: with skip_bad, why images were left out.
        notes: what else should be known, such as objects that were left out; a sentence each.
    """

    kind: str
    classes: tuple[str, ...]
    splits: dict[str, AnnotatedImages]
    defects: list[Defect]
    notes: list[str] = field(default_factory=list)


def open_data(
    path: Path | str | tuple[Path | str, Path | str],
    *,
    images: Path | str | None = None,
    skip_bad: bool = False,
    bad_boxes: str = "raise",
    background: bool = False,
    exif: str = "refuse",
    one_based: bool = True,
    seed: int = 0,
) -> OwnData:
    """Read and check a data set: all annotations, and every image decoded once.

    Args:
        path: a folder or file as described above; or the pair of a file and its folder of images.
        images: the folder of the images of a COCO or Open Images file, where it is not beside it.
        skip_bad: leave out images with defects, whole, and list the defects, instead of refusing the data.
        bad_boxes: "raise", "clip" or "drop"; see `VOCDataset`.
        background: in a VOC folder, read images without an annotation as images without objects.
        exif: "refuse", "apply" or "ignore"; see `VOCDataset`.
        one_based: False for a VOC folder whose boxes are edges that count from 0.
        seed: where the data has no part for validation, it is a tenth of what is trained on, drawn with this seed.

    Returns:
        The data sets by split.

    Raises:
        DataError: the data cannot be used: with skip_bad=False for any defect. `defects` of the error lists all, and
            the message the first.
        ValueError: an option has a value that it cannot have.
    """
    if isinstance(path, tuple):
        path, images = path
    path, folder = user_path(path), None if images is None else user_path(images)
    options = {"on_error": "skip", "bad_boxes": bad_boxes, "exif": exif}
    kind, parts = _parts(path, folder, {"background": background, "one_based": one_based})
    if kind == "VOC" and folder is not None:
        raise DataError(
            f"{path}: a VOC folder holds its own images; name the folder that holds them and the XML files, without a "
            "folder of images (--images, images=)"
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        read, defects = _read(parts, options)
    notes = [str(one.message) for one in caught if "dataset.skipped says why" not in str(one.message)]
    if defects and (not skip_bad or "train" not in read):
        raise _refusal(path, defects)
    names = dict.fromkeys(name for dataset in read.values() for name in dataset.classes)
    classes = tuple(sorted(names) if kind == "VOC" else names)
    splits = {split: dataset.with_classes(classes) for split, dataset in read.items()}
    if len(splits) == 1:
        splits = _by_folder(splits["train"])
    notes += _shared(splits) + _alike(classes)
    if "val" not in splits:
        if len(splits["train"]) == 1:
            notes.append("of a single image, train and val are the same; its scores say nothing of other images")
        splits = _with_val(splits, seed)
    notes += _nothing_to_find(splits)
    return OwnData(kind, classes, splits, defects, notes)


def _shared(splits: dict[str, AnnotatedImages]) -> list[str]:
    """A sentence for each two splits that have images in common: what was trained on is no measure."""
    paths = {split: {one.image_path(i) for i in range(len(one))} for split, one in splits.items()}
    common = {(one, two): paths[one] & paths[two] for one, two in itertools.combinations(paths, 2)}
    return [
        f"images in both {one} and {two}: {len(both)}, such as {min(both)}; take them out of one"
        for (one, two), both in common.items()
        if both
    ]


def _alike(classes: tuple[str, ...]) -> list[str]:
    """A sentence for each two classes that are most likely meant to be one."""
    first: dict[str, str] = {}
    pairs = [(first.setdefault(same_name(name).casefold(), name), name) for name in classes]
    return [
        f"{one!r} and {two!r} are two classes; if they are one, write it in one way" for one, two in pairs if one != two
    ]


def _nothing_to_find(splits: dict[str, AnnotatedImages]) -> list[str]:
    """A sentence for each part to measure on that holds no object."""
    return [
        f"no image for {split} holds an object, so scores of them say nothing"
        for split, images in splits.items()
        if split != "train" and not any(len(images.annotation(i)["labels"]) for i in range(len(images)))
    ]


def _read(parts: list[Part], options: dict[str, str]) -> tuple[dict[str, AnnotatedImages], list[Defect]]:
    """The data sets by split, those without a usable image left out, and all defects."""
    read: dict[str, AnnotatedImages] = {}
    defects: list[Defect] = []
    for split, reader in parts:
        try:
            read[split] = reader(**options)
            defects += read[split].defects
        except DataError as error:
            why = [defect for defect in error.defects if defect.kind != NOTHING_LEFT]
            defects += why or error.defects
    return read, defects


def _refusal(path: Path, defects: list[Defect]) -> DataError:
    error = DataError.of(defects)
    if len(defects) == 1:
        return error
    more = f"\nand {len(defects) - SHOWN} more, which `frcnn-lessons data check` lists" if len(defects) > SHOWN else ""
    shown = "\n".join(defect.message for defect in defects[:SHOWN])
    error.args = (
        f"{path}: {len(defects)} defects; mend them, or leave out the images that have them (--skip-bad, "
        f"skip_bad=True):\n{shown}{more}",
    )
    return error


def _by_folder(images: AnnotatedImages) -> dict[str, AnnotatedImages]:
    """The splits whose names the folders of the images have ("train/a"); all is train where one has another."""
    splits = [SPLITS.get(image_id.partition("/")[0].lower()) for image_id in images.ids]
    if None in splits or "train" not in splits:
        return {"train": images}
    return {
        split: images.part([i for i, one in enumerate(splits) if one == split])
        for split in dict.fromkeys(splits)
        if split
    }


def _with_val(splits: dict[str, AnnotatedImages], seed: int) -> dict[str, AnnotatedImages]:
    """A tenth of train becomes val: at least one image, and of a single image that one."""
    train = splits["train"]
    order = np.random.default_rng(seed).permutation(len(train))
    held = max(1, len(train) // 10)
    kept = order[held:] if len(train) > 1 else order
    return splits | {"train": train.part(sorted(kept.tolist())), "val": train.part(sorted(order[:held].tolist()))}


def _parts(
    path: Path, images: Path | None, of_voc: dict[str, Any], asked: Path | None = None
) -> tuple[str, list[Part]]:
    """What kind of data lies at `path`, below the folder that was `asked` for, and what reads each of its parts."""
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder; check the path")
    if path.is_file():
        return _of_file(path, images)
    named = {SPLITS[one.name.lower()]: one for one in sorted(path.iterdir()) if one.name.lower() in SPLITS}
    inside = {split: _parts_of_folder(folder, None, of_voc) for split, folder in named.items() if folder.is_dir()}
    kinds = {found[0] for found in inside.values() if found}
    if len(kinds) > 1:
        raise DataError(f"{path}: {' and '.join(sorted(kinds))} in the folders of one data set; use one format for all")
    if inside.get("train"):
        return kinds.pop(), [(split, found[1][0][1]) for split, found in inside.items() if found]
    found = _parts_of_folder(path, images, of_voc)
    below = [one for one in path.iterdir() if one.is_dir() and not one.name.startswith((".", "__"))]
    if found is None and len(below) == 1:  # what an archive was unpacked to
        return _parts(below[0], images, of_voc, asked or path)
    if found is None:
        raise DataError(
            f"{asked or path}: this is no data set that the course knows; there must be a VOC folder (Annotations and "
            "JPEGImages, or images and XML together, or in two folders side by side), a COCO JSON or an Open Images "
            "CSV, each with a folder of images; YOLO's text files are not read, export one of these instead"
        )
    return found


def _parts_of_folder(folder: Path, images: Path | None, of_voc: dict[str, Any]) -> tuple[str, list[Part]] | None:
    """As `_parts`, for a folder without folders of splits; None if it holds no data set."""
    xml = "*.[xX][mM][lL]"
    places = (xml, *(f"{above}[Aa]nnotations/**/{xml}" for above in ("", "*/", "VOCdevkit/*/")))
    if any(path.name[0] != "." for pattern in places for path in folder.glob(pattern)):
        return "VOC", _voc_parts(folder, of_voc)
    for pattern in ("*.json", "[Aa]nnotations/*.json"):
        files = [path for path in sorted(folder.glob(pattern)) if path.is_file() and _may_hold_boxes(path)]
        if len(files) > 1:
            files = [path for path in files if _has_lists(path)]  # some tools write a JSON an image, of another kind
        if files:
            return "COCO", _coco_parts(folder, files, images)
    tables = [
        path
        for pattern in ("*.csv", "*.csv.gz", "*.tsv")
        for path in sorted(folder.glob(pattern))
        if path.name[0] != "." and path.is_file()
    ]
    tables = [path for path in tables if "bbox" in path.name] or tables  # Open Images has others beside these
    if tables:
        return "Open Images", _table_parts(folder, tables, images)
    return ("VOC", _voc_parts(folder, of_voc)) if image_and_xml_folders(folder) else None


def _of_file(path: Path, images: Path | None) -> tuple[str, list[Part]]:
    """As `_parts`, for a file."""
    if path.suffix.lower() == ".json":
        return "COCO", [("train", partial(COCODataset, path, images or _images_of_json(path.parent, path)))]
    if path.name.lower().endswith(".json.gz"):
        raise DataError(f"{path}: this file is packed; unpack it and name what comes out")
    if path.suffix.lower() in (".csv", ".gz", ".tsv", ".txt"):
        return "Open Images", _table_parts(path.parent, [path], images)
    if path.suffix.lower() in (".zip", ".tar", ".tgz", ".7z", ".rar"):
        raise DataError(f"{path}: this is an archive; unpack it and name the folder")
    raise DataError(
        f"{path}: the file is no COCO JSON and no Open Images CSV; name one, or the folder of VOC's XML files"
    )


def _voc_parts(folder: Path, of_voc: dict[str, Any]) -> list[Part]:
    return [(split, partial(VOCDataset, folder, name, **of_voc)) for split, name in _voc_sets(folder).items()]


def _voc_sets(folder: Path) -> dict[str, str | None]:
    """The list of each split in `ImageSets/Main`; a single one of another name (CVAT's default) is what to train on."""
    lists = [
        path
        for above in ("", "*/", "VOCdevkit/*/")
        for path in sorted(folder.glob(f"{above}ImageSets/Main/*.[tT][xX][tT]"))
    ]
    sets = {path.stem for path in lists if path.name[0] != "." and path.is_file() and path.read_bytes().strip()}
    found: dict[str, str | None] = {}
    for name in sorted(sets, key=lambda name: (name not in SPLITS.values(), name)):  # "val" before "Validation"
        if split := SPLITS.get(name.lower()):
            found.setdefault(split, name)
    if "train" not in found:
        others = sets - set(found.values())
        found["train"] = "trainval" if "trainval" in sets else others.pop() if len(others) == 1 else None
        if found["train"] == "trainval":
            found.pop("val", None)
    return found


def _may_hold_boxes(path: Path) -> bool:
    """Whether a JSON file may hold COCO's boxes: COCO has others beside it, of captions for instance."""
    return not re.match(r"\.|(captions|person_keypoints|stuff|panoptic|image_info)_", path.name)


def _has_lists(path: Path) -> bool:
    """Whether one of COCO's lists begins in the first part of a JSON file."""
    with path.open("rb") as file:
        return re.search(rb'"(images|annotations|categories)"', file.read(2**16)) is not None


def _by_name(folder: Path, files: list[Path]) -> dict[str, tuple[str, Path]]:
    """Files by the split that their names say, with the word for it; a single file is what is trained on."""
    if len(files) == 1:
        return {"train": ("", files[0])}
    splits: dict[str, tuple[str, Path]] = {}
    for path in files:
        word = next((word for word in re.findall(r"[a-z]+", path.name.lower()) if word in SPLITS), "train")
        split = SPLITS[word]
        if (other := splits.setdefault(split, (word, path))[1]) != path:
            raise DataError(f"{folder}: {other.name} and {path.name} are both for {split!r}; name the one to read")
    return splits


def _coco_parts(folder: Path, files: list[Path], images: Path | None) -> list[Part]:
    return [
        (split, partial(COCODataset, path, images or _images_of_json(folder, path)))
        for split, (_, path) in _by_name(folder, files).items()
    ]


def _table_parts(folder: Path, tables: list[Path], images: Path | None) -> list[Part]:
    return [
        (split, partial(OpenImagesDataset, path, images or _images_beside(folder, word)))
        for split, (word, path) in _by_name(folder, tables).items()
    ]


def _images_of_json(folder: Path, path: Path) -> Path:
    """The folder that holds the first images that a COCO file names."""
    above = folder.parent if folder.name.lower() == "annotations" else folder
    split = re.sub(r"^instances_|\.json$", "", path.name)
    places = [above / "images" / split, above / split, above / "images", path.parent, above, above / "data"]
    places = [place for place in places if place.is_dir()]
    with path.open(encoding="utf-8", errors="replace") as file:
        text = file.read(2**20)
    names = re.findall(r'"file_name"\s*:\s*"((?:[^"\\]|\\.)*)"', text)[:20]
    for place in places:
        for name in names:
            parts = _unescaped(name).replace("\\", "/")
            if (place / parts).is_file() or (place / parts.rpartition("/")[2]).is_file():
                return place
    return places[0]


def _unescaped(text: str) -> str:
    """What a string in a JSON file says; "" if it is none, which its reader refuses."""
    try:
        return str(json.loads(f'"{text}"'))
    except ValueError:
        return ""


def _images_beside(folder: Path, word: str) -> Path:
    """The folder of images beside a table: the one called `word` (if it is not ""), `images`, the only folder with
    images, or the same folder.
    """
    named = (folder / "images" / word, folder / word) if word else ()
    if found := next((place for place in (*named, folder / "images") if place.is_dir()), None):
        return found
    holding = [
        place
        for place in (folder, *sorted(one for one in folder.iterdir() if one.is_dir()))
        if any(path.suffix in IMAGE_ENDINGS for path in place.iterdir())
    ]
    if len(holding) != 1:
        raise DataError(f"{folder}: no folder of images beside the table, or several; name it (--images, images=)")
    return holding[0]
