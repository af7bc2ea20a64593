"""The folder of a training that `frcnn-lessons train` made, so that it can be stopped, taken up and made longer.

    run.json              what was asked for and the data, so that nobody goes on with others unknowingly
    training.0-12.pth     the state of the training, whole after each epoch
    Epoch.1.pth ...       the detector after each epoch
    best.pth              the detector of the epoch with the highest AP50 on the validation images
    history.json, losses.png  (drawn where the packages of the lessons are installed)

A finished training of 12 epochs can go on to 20: as a second leg, `training.12-20.pth`, with a schedule of its own.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from frcnn_lessons.checkpoints import read_checkpoint
from frcnn_lessons.datasets.own_data import OwnData, open_data
from frcnn_lessons.datasets.reading import AnnotatedImages
from frcnn_lessons.files import written_whole


class RunError(ValueError):
    """Why a training cannot begin or go on, and what to do; one sentence."""


@dataclass(frozen=True)
class Leg:
    """A part of a run that is trained in one go: the epochs after `before` up to `total`; `state` is its checkpoint."""

    before: int
    total: int
    state: Path


@dataclass(frozen=True)
class Reading:
    """How data are read: the options of `own_data.open_data`."""

    images: Path | None = None
    skip_bad: bool = False
    bad_boxes: str = "raise"
    background: bool = False
    exif: str = "refuse"
    one_based: bool = True


def open_checked(path: Path, reading: Reading, say: Callable[[str], object]) -> OwnData:
    """Open a user's data, see `own_data.open_data`, and say what they are and what was left out of them."""
    data = open_data(path, **asdict(reading))
    for sentence in [*map(str, data.defects), *data.notes]:
        say(sentence)
    counts = ", ".join(f"{len(part)} {name}" for name, part in data.splits.items())
    left_out = f"; left out: {len(data.defects)}, see above" if data.defects else ""
    say(f"{data.kind}: {counts} images{left_out}; classes {', '.join(data.classes)}")
    return data


def asked_before(folder: Path, resume: bool) -> dict[str, Any] | None:
    """What `remember` wrote of the run in this folder; None if there is no run yet.

    Raises:
        RunError: the folder holds a run and `resume` is False, or something else, or its run.json is damaged.
    """
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise RunError(f"{folder} is a file; name a folder for the training with --out")
    there = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if not there:
        return None
    if "run.json" not in there:
        raise RunError(f"{folder} holds something else ({there[0]}); name another folder for the training with --out")
    if not resume and there == ["run.json"]:
        return None  # it never began to learn
    if not resume:
        raise RunError(f"{folder} holds a training already; go on with --resume, or name another --out")
    path = folder / "run.json"
    asked = read_json(path)
    if not isinstance(asked, dict) or not all(isinstance(asked.get(part), dict) for part in ("options", "data")):
        raise _damaged(path)
    return asked


def tidy(folder: Path) -> None:
    """Remove what a kill has left half-written."""
    for path in folder.glob(".*"):
        if path.name.split("-")[0].split(".")[1] in ("training", "Epoch", "best", "history", "losses", "run"):
            path.unlink()


def remember(folder: Path, options: dict[str, Any], data: dict[str, Any]) -> None:
    """Write what was asked for, when a run begins or is made longer."""
    write_json(folder / "run.json", {"options": options, "data": data})


def check_same(
    folder: Path, asked: dict[str, Any], options: dict[str, Any], data: dict[str, Any], longer: bool
) -> None:
    """Refuse to go on with other options or other data than a run began with.

    Args:
        asked: what `asked_before` gave.
        options: those of now.
        data: what `summary` gives of the data now.
        longer: whether `epochs` may differ.
    """
    differing = [
        f"--{name.replace('_', '-')} was {asked['options'].get(name)} and is {value}"
        for name, value in options.items()
        if not (longer and name == "epochs") and asked["options"].get(name) != value
    ]
    if differing:
        raise RunError(f"{folder} was begun otherwise: {'; '.join(differing)}; leave these out, or name another --out")
    changed = [
        f"{name} was {asked['data'].get(name)} and is {value}"
        for name, value in data.items()
        if asked["data"].get(name) != value
    ]
    if changed:
        raise RunError(
            f"the data changed since the training in {folder} began: {'; '.join(changed)}; bring them back, or name "
            "another --out"
        )


def summary(splits: dict[str, AnnotatedImages], classes: tuple[str, ...]) -> dict[str, Any]:
    """What must stay the same of the data, in plain values: classes, counts and a digest of all annotations."""
    data: dict[str, Any] = {"classes": list(classes)}
    for name, images in splits.items():
        digest, objects = hashlib.sha256(), 0
        for i in range(len(images)):
            known = images.annotation(i)
            objects += len(known["labels"])
            values = {key: known[key].tolist() for key in ("boxes", "labels", "difficult")}
            digest.update(json.dumps([known["image_id"], known["size"], values]).encode())
        data[name] = f"{len(images)} images with {objects} objects, digest {digest.hexdigest()[:12]}"
    return data


def next_leg(folder: Path, epochs: int) -> Leg | None:
    """What is to be trained now, so that `epochs` are done in the end; None if they are.

    Raises:
        RunError: more are done already, or a leg of another length is not finished.
        CheckpointError: the state of the last leg is damaged.
    """
    legs = [_leg(path) for path in folder.glob("training.[0-9]*-[0-9]*.pth")]
    if not legs:
        return Leg(0, epochs, folder / f"training.0-{epochs}.pth")
    last = max(legs, key=lambda leg: leg.total)
    content = read_checkpoint(last.state)
    done = last.before + content["epoch"]
    if done < last.total or not content["measured"]:
        if epochs != last.total:
            raise RunError(
                f"{folder} is in the middle of a training of {last.total} epochs, {done} done; finish it first, with "
                f"--epochs {last.total}"
            )
        return last
    if epochs < last.total:
        raise RunError(f"{folder} has done {last.total} epochs already; ask for more of them, or name another --out")
    return None if epochs == last.total else Leg(last.total, epochs, folder / f"training.{last.total}-{epochs}.pth")


def _leg(state: Path) -> Leg:
    before, total = state.name.split(".")[1].split("-")
    return Leg(int(before), int(total), state)


def history_until(folder: Path, epochs: int, steps_an_epoch: int) -> dict[str, dict[str, list[float]]]:
    """The history of the first epochs of a run, as `training.History` has it; empty columns for 0 epochs."""
    if epochs == 0:
        return {"steps": {}, "train": {}, "validation": {}}
    lengths = {"steps": epochs * steps_an_epoch, "train": epochs, "validation": epochs}
    path = folder / "history.json"
    whole = read_json(path)
    try:
        return {part: {name: column[:n] for name, column in whole[part].items()} for part, n in lengths.items()}
    except (AttributeError, KeyError, TypeError):
        raise _damaged(path) from None


def read_json(path: Path) -> Any:
    """Read a file that `write_json` wrote; one that is damaged is a RunError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _damaged(path, f" ({error})") from error


def _damaged(path: Path, why: str = "") -> RunError:
    return RunError(f"{path} is damaged{why}; name another --out")


def write_json(path: Path, content: Any) -> None:
    """Write plain values, whole or not at all; what is no number is null."""
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(_without_nan(content), indent=1) + "\n", encoding="utf-8")


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _without_nan(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return None if content != content else content
