"""The commands that make a detector of one's own and use it: `train`, `evaluate` and `detect`.

Here are their options and what they answer when something is wrong: a sentence, and an exit code (1 for what cannot be
done, 130 for Ctrl-C). The work is in `train_command` and `detect_command`, which are loaded when they are needed.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from frcnn_lessons.course.data import Background, BadBoxes, Exif, ZeroBased, sentences

if TYPE_CHECKING:
    import torch

Data = Annotated[Path, typer.Argument(help="A VOC folder, an Open Images table (df.csv) or a COCO file.")]
Images = Annotated[Path | None, typer.Option(help="Where the images of a table or a COCO file are.")]
Checkpoint = Annotated[Path, typer.Argument(help="best.pth, or another file of a training.")]
SkipBad = Annotated[bool, typer.Option(help="Leave out images with something that cannot be used.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...; auto takes a GPU if there is one.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes that decode images.")]


def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="The folder of this training.")],
    images: Images = None,
    recipe: Annotated[
        str | None, typer.Option(help="own, voc (the best on VOC in an hour) or tagging (a published service's).")
    ] = None,
    detector: Annotated[
        str | None, typer.Option(help="faster, fast, rcnn, sppnet, faster-four-step or torchvision.")
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="efficientnet_lite0, vgg16, resnet50 or mini.")] = None,
    epochs: Annotated[
        int | None, typer.Option(help="By default the recipe's, 12. After a finished run: more of them.")
    ] = None,
    short_side: Annotated[int | None, typer.Option(help="Images are resized so, in pixels; 400 by default.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step, 2 by default.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="By default the recipe's, scaled with the batch.")] = None,
    augment: Annotated[
        bool | None, typer.Option(help="Vary colours, distance and detail of the training images.")
    ] = None,
    pretrained: Annotated[bool | None, typer.Option(help="Start from ImageNet weights, if there are any.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another one, another training.")] = None,
    device: Device = "auto",
    workers: Workers = 0,
    resume: Annotated[bool, typer.Option(help="Go on with the training in --out.")] = False,
    skip_bad: SkipBad = False,
    bad_boxes: BadBoxes = "raise",
    background: Background = False,
    exif: Exif = "refuse",
    zero_based: ZeroBased = False,
) -> None:
    """Train a detector on your own photographs; best.pth in --out is the one to use.

    The classes are those of the data, and the anchors are chosen from its boxes, unless the recipe has its own.
    """
    if os.environ.get("RANK", "0") != "0":
        os.environ["TQDM_DISABLE"] = "1"  # of several processes (torchrun) the first one speaks
    with sentences(f"stopped; what is in {out} is whole, and --resume goes on after its last epoch"):
        from frcnn_lessons.course import runs, train_command
        from frcnn_lessons.distributed import processes, rank
        from frcnn_lessons.files import user_path

        out = user_path(out)
        before = runs.asked_before(out, resume)
        given = {
            "recipe": recipe,
            "detector": detector,
            "backbone": backbone,
            "epochs": epochs,
            "short_side": short_side,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "augment": augment,
            "pretrained": pretrained,
            "seed": seed,
        }
        reading = runs.Reading(images, skip_bad, bad_boxes, background, exif, not zero_based)
        options = train_command.complete(given, before and before["options"])
        with processes(find_device(device)) as own_device:
            tell = say if rank() == 0 else str
            setting = train_command.Setting(out, own_device, workers, tell)
            train_command.begin(data, reading, options, before, setting)


def evaluate(
    checkpoint: Checkpoint,
    data: Data,
    images: Images = None,
    split: Annotated[str, typer.Option(help="By default test, or val where there are no test images.")] = "",
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Of the scores, for the kinds of error.")] = 0.5,
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file, too.")] = None,
    device: Device = "auto",
    skip_bad: SkipBad = False,
    bad_boxes: BadBoxes = "raise",
    background: Background = False,
    exif: Exif = "refuse",
    zero_based: ZeroBased = False,
) -> None:
    """Score a detector: AP of each class by VOC's rules, COCO's twelve figures, and what it takes for what."""
    with sentences():
        from frcnn_lessons.course import detect_command, runs
        from frcnn_lessons.detectors import load_detector

        detector = load_detector(checkpoint)
        reading = runs.Reading(images, skip_bad, bad_boxes, background, exif, not zero_based)
        opened = runs.open_checked(data, reading, say)
        scores = detect_command.score(detector, opened, split, find_device(device), threshold)
        typer.echo(detect_command.report(scores))
        if json is not None:
            runs.write_json(json, scores)


def detect(
    checkpoint: Checkpoint,
    photographs: Annotated[list[Path], typer.Argument(metavar="IMAGE|FOLDER...", help="JPEG or PNG files.")],
    out: Annotated[Path, typer.Option(help="Where pictures and detections.json are written.")] = Path("detections"),
    threshold: Annotated[float, typer.Option(min=0, max=1, help="The least score of what is shown.")] = 0.5,
    limit: Annotated[int, typer.Option(min=1, help="At most so many objects of an image.")] = 100,
    device: Device = "auto",
) -> None:
    """Find objects in photographs; boxes are in pixels of the picture as a viewer shows it.

    A file that cannot be read is reported and the rest goes on; the exit code is 1 then.
    """
    with sentences():
        from frcnn_lessons.course import detect_command
        from frcnn_lessons.detectors import load_detector
        from frcnn_lessons.files import user_path

        out, detector = user_path(out), load_detector(checkpoint)
        detector.model.to(find_device(device))
        bad = detect_command.detect(detector, photographs, out, threshold, limit, say)
        say(f"{out / 'detections.json'} holds what was found")
    if bad:
        typer.echo(f"{bad} could not be read", err=True)
        raise typer.Exit(1)


def say(sentence: str) -> None:
    """Print a line above the progress bars."""
    from tqdm import tqdm

    tqdm.write(sentence)


def find_device(name: str) -> "torch.device":
    """The device of this name, `auto` for a GPU if there is one; one that cannot be used is a ValueError."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"--device {name} cannot be used ({reason}); use --device cpu") from None
    return device
