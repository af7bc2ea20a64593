"""The built-in data set: street scenes with buses, trucks and cars seen from the side.

`render` makes one scene from its split and number, and knows the truth about it to the pixel; `write` stores scenes
in both formats that the literature uses, a PASCAL VOC folder and an Open Images table; `prepare` makes the full set
once and says where it lies. Lesson 02.

Boxes are xyxy in pixels, at pixel edges (width = x2 - x1); `voc` and `open_images` say how they stand on disk.
"""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
from tqdm.auto import tqdm

from frcnn_lessons.datasets.open_images import write_table
from frcnn_lessons.datasets.sample import AnnotatedObject, DataError
from frcnn_lessons.datasets.streets.scenes import CLASSES, SPLITS, Scene, render
from frcnn_lessons.datasets.voc import write_annotation
from frcnn_lessons.files import data_folder, explained, folder_written_whole, user_path

# The committed sample: every class, weather and kind of place, scenes with nothing in them, difficult objects.
SAMPLE: dict[str, tuple[int, ...]] = {
    "train": (2, 3, 4, 5, 8, 11, 12, 13, 19, 25, 29, 33),
    "val": (1, 14, 17, 24, 57),
    "test": (0, 5, 7, 8, 12, 19, 25),
}
# Scenes of val that lesson 00 opens with: all that it tells the reader to look for is in them.
FIRST_LOOK = (0, 2, 12, 17, 18, 24, 32, 45, 57)

JPEG_QUALITY = 92
_FINGERPRINT_FILE = "fingerprint.txt"


def write(folder: Path | str, chosen: Mapping[str, Sequence[int]]) -> None:
    """Write scenes into a folder, in both formats side by side.

    `JPEGImages/`, `Annotations/` and `ImageSets/Main/` make it a PASCAL VOC folder; `df.csv` lists the same objects
    as Open Images does. Open Images has no column for `difficult` and no row for an image without objects.

    Args:
        folder: where to write; made if it is not there.
        chosen: the numbers of the scenes of each split.
    """
    folder = user_path(folder)
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    wanted = [(split, index) for split, indices in chosen.items() for index in indices]
    names: dict[str, list[str]] = {split: [] for split in SPLITS}
    table = []
    for split, index in tqdm(wanted, desc="drawing street scenes", unit="image", disable=len(wanted) < 100):
        scene = render(split, index)
        size, objects, image_id = scene.image.shape[:2], _objects(scene), scene.image_id
        names[split].append(image_id)
        (folder / "JPEGImages" / f"{image_id}.jpg").write_bytes(jpeg(scene))
        write_annotation(folder / "Annotations" / f"{image_id}.xml", f"{image_id}.jpg", size, objects, "streets")
        # Open Images writes its classes with a capital letter.
        table.append((image_id, size, [replace(one, name=one.name.capitalize()) for one in objects]))
    for name, listed in {**names, "trainval": names["train"] + names["val"]}.items():
        (folder / "ImageSets" / "Main" / f"{name}.txt").write_text(
            "".join(f"{line}\n" for line in listed), newline="\n"
        )
    write_table(folder / "df.csv", table)


def jpeg(scene: Scene) -> bytes:
    """The scene's image as a JPEG file."""
    bgr = cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return encoded.tobytes()


def _objects(scene: Scene) -> list[AnnotatedObject]:
    return [
        AnnotatedObject(
            name=CLASSES[vehicle.label - 1],
            box=vehicle.box,
            difficult=vehicle.difficult,
            truncated=vehicle.truncated,
            occluded=vehicle.occluded,
            depiction=True,
            pose=vehicle.facing,
            extreme_points=vehicle.extreme_points,
        )
        for vehicle in scene.vehicles
    ]


def prepare(root: Path | str | None = None) -> Path:
    """Make the full data set if it is not there yet; about ten seconds the first time.

    Safe to call from several processes at once and after a kill in the middle: the folder appears whole or not at
    all. A set that an older version of the generator made is replaced.

    Args:
        root: the folder to hold `streets/`; `frcnn_lessons.files.data_folder()` when not given.

    Returns:
        The folder `streets`, laid out as `write` says.

    Raises:
        DataError: there is something else at that place.
        OSError: nothing can be written there; for the course's own folder the message says how to choose another.
    """
    folder = (data_folder() if root is None else user_path(root)) / "streets"
    with explained(folder):
        if _is_current(folder):
            return folder
    with folder_written_whole(folder) as temporary:
        write(temporary, {split: range(count) for split, count in SPLITS.items()})
        (temporary / _FINGERPRINT_FILE).write_text(_fingerprint())
        _remove_outdated(folder)  # at the last moment: until now it was of use to whoever reads it
    return folder


def _fingerprint() -> str:
    """Changes when the code that draws changes, so that nobody has to remember to raise a version number."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


def _is_current(folder: Path) -> bool:
    """Whether the full set of this version is there. Raises DataError for a folder that is no such set at all."""
    mark = folder / _FINGERPRINT_FILE
    if not folder.exists():
        return False
    if not mark.is_file():
        raise DataError(f"{folder} was not made by the course: move it away, or give `prepare` another root")
    return mark.read_text() == _fingerprint()


def _remove_outdated(folder: Path) -> None:
    if folder.exists() and not _is_current(folder):
        aside = folder.with_name(f".{folder.name}-outdated-{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):  # another process was quicker
            folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
