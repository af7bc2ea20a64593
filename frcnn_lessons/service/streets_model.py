"""The detector that the service has without a checkpoint: Faster R-CNN for the drawn streets, trained once and kept.

Lesson 13.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from filelock import FileLock
from tqdm import tqdm

from frcnn_lessons.datasets import ResizeShortSide, VOCDataset, batches, streets
from frcnn_lessons.detectors import Description, Detector, build_detector, load_detector, save_detector
from frcnn_lessons.files import data_folder, explained
from frcnn_lessons.metrics import evaluate_voc
from frcnn_lessons.recipes import STREETS_HEAD, STREETS_RPN, STREETS_TRAINING
from frcnn_lessons.training import predict, train

SHORT_SIDE, LONG_SIDE = 176, 288  # scenes have short sides of 128 to 192 pixels
DESCRIPTION = Description(
    "faster",
    "efficientnet_lite0",
    tuple(streets.CLASSES),
    SHORT_SIDE,
    LONG_SIDE,
    frozen_stages=4,
    frozen_norm=True,
    rpn=STREETS_RPN,
    head=STREETS_HEAD,
)


def streets_detector(say: Callable[[str], object] = print) -> Detector:
    """Load the detector, or train it first: about a minute on two cores.

    Two processes may ask at the same time: the second waits, and finds what the first has made.

    Args:
        say: is told in a sentence what takes so long.

    Raises:
        OSError: the course cannot keep its data where it is to.
        CheckpointError: the file is damaged.
    """
    path = data_folder() / "models" / "streets.pth"
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.is_file():
                say("Without a checkpoint, a detector for drawn streets is trained now, once, in a minute or two.")
                _train(path)
    return load_detector(path)


def _train(path: Path) -> None:
    resize = ResizeShortSide(SHORT_SIDE, LONG_SIDE)
    folder = streets.prepare()
    data = {split: VOCDataset(folder, split, streets.CLASSES, transform=resize) for split in ("train", "test")}
    images, test = ([dataset[i] for i in range(len(dataset))] for dataset in data.values())
    draw = torch.Generator().manual_seed(0)
    model = build_detector(DESCRIPTION, draw, pretrained=True)
    loader = batches(images, 4, generator=draw, flip=0.5)
    with tqdm(total=STREETS_TRAINING.epochs * len(loader), desc="training", unit="step") as bar:
        train(model, loader, STREETS_TRAINING, on_step=lambda _history: bar.update())
    score = evaluate_voc(*predict(model, batches(test))).mean_ap
    about = {"trained_on": f"{len(images)} drawn street scenes", "ap50": round(score, 3)}
    cast(dict[str, Any], model.description)["about"] = about
    save_detector(path, model)
