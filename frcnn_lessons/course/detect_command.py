"""`frcnn-lessons evaluate` and `frcnn-lessons detect`: how good a detector is, and what it finds in photographs."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import UInt8
from matplotlib.font_manager import findfont
from PIL import Image
from torch import Tensor
from torchvision.utils import draw_bounding_boxes
from tqdm.auto import tqdm

from frcnn_lessons.batch import Detections, in_stored_image
from frcnn_lessons.course.runs import RunError, write_json
from frcnn_lessons.datasets import DataError, ResizeShortSide, batches
from frcnn_lessons.datasets.images import read_pixels
from frcnn_lessons.datasets.own_data import OwnData
from frcnn_lessons.datasets.reading import IMAGE_ENDINGS
from frcnn_lessons.datasets.transforms import resized_size
from frcnn_lessons.detectors import Detector
from frcnn_lessons.files import written_whole
from frcnn_lessons.metrics import confusion_matrix, diagnose, evaluate_coco, evaluate_voc
from frcnn_lessons.tagging import Tags, tag_image
from frcnn_lessons.training import predict

KINDS = ("correct", "localisation", "duplicate", "confusion", "background", "ignored")

# Okabe and Ito's, which a colour-blind reader can tell apart, and black text can be read on.
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167))


def score(detector: Detector, data: OwnData, split: str, device: torch.device, threshold: float) -> dict[str, Any]:
    """Score a detector on one part of a data set, in pixels of the stored images.

    Args:
        split: "test", for example; "" takes test images where there are some, else those of validation.
        threshold: of the scores, for the confusion matrix and the kinds of error.

    Returns:
        Plain values: `split`, `images`, `classes`, `ap_all` and `ap_11` (AP50 of each class and "mean", by VOC's rules
        of 2010 and 2007), `coco` (the twelve), `confusion` (rows as `metrics.confusion_matrix`), `errors` (counts).

    Raises:
        RunError: there is no such part, or none of its classes is the detector's.
    """
    split = split or ("test" if "test" in data.splits else "val")
    if split not in data.splits:
        raise RunError(f"these data have no images for {split}; --split can be {', '.join(data.splits)}")
    images = data.splits[split]
    known = {
        data.classes.index(name) + 1: label for label, name in enumerate(detector.classes, 1) if name in data.classes
    }
    if not known:
        raise RunError(
            f"the detector knows {', '.join(detector.classes)}, and the data have {', '.join(data.classes)}: "
            "no class is in both"
        )
    targets = [_relabelled(images.annotation(i), known) for i in range(len(images))]
    images.transform = ResizeShortSide(detector.short_side, detector.long_side)
    found, _ = predict(detector.model, batches(images), device)
    predictions = []
    for of_image, target in zip(found, targets, strict=True):
        height, width = target["size"]
        seen = resized_size(height, width, detector.short_side, detector.long_side)
        predictions.append(in_stored_image(cast(Detections, of_image), seen, (height, width)))

    classes = detector.classes
    ap = {}
    for kind in ("all", "11"):
        result = evaluate_voc(predictions, targets, kind=kind)
        of_class = {name: result.ap.get(label, float("nan")) for label, name in enumerate(classes, 1)}
        ap[f"ap_{kind}"] = of_class | {"mean": result.mean_ap}
    sure = [one["scores"] >= threshold for one in predictions]
    kinds = Counter(
        kind
        for of_image, chosen in zip(diagnose(predictions, targets), sure, strict=True)
        for kind, is_sure in zip(of_image, chosen.tolist(), strict=True)
        if is_sure
    )
    confusion = confusion_matrix(predictions, targets, len(classes), threshold)
    return {
        "split": split,
        "images": len(images),
        "classes": list(classes),
        "objects": {name: sum(_counted(target, label) for target in targets) for label, name in enumerate(classes, 1)},
        **ap,
        "coco": evaluate_coco(predictions, targets),
        "threshold": threshold,
        "errors": {kind: kinds[kind] for kind in KINDS} | {"missed": int(confusion[1:, 0].sum())},
        "confusion": confusion.tolist(),
    }


def _relabelled(target: dict[str, Any], known: dict[int, int]) -> dict[str, Any]:
    """What is known about an image, with the detector's labels; objects of classes that it does not know left out."""
    kept = [i for i, label in enumerate(target["labels"].tolist()) if label in known]
    labels = torch.tensor([known[label] for label in target["labels"][kept].tolist()], dtype=torch.long)
    return {
        "boxes": target["boxes"][kept],
        "labels": labels,
        "difficult": target["difficult"][kept],
        "size": target["size"],
    }


def _counted(target: dict[str, Any], label: int) -> int:
    return int(((target["labels"] == label) & ~target["difficult"]).sum())


def report(scores: dict[str, Any]) -> str:
    """What `score` gave, as tables for a terminal."""
    classes = scores["classes"]
    wide = max(len("(nothing)"), *map(len, classes))
    lines = [f"{scores['images']} images ({scores['split']})", ""]
    lines.append(f"{'class':{wide}}{'objects':>9}{'AP50':>8}{'11-point':>10}")
    for name in [*classes, "mean"]:
        objects = scores["objects"].get(name, sum(scores["objects"].values()))
        lines.append(f"{name:{wide}}{objects:9d}{scores['ap_all'][name]:8.3f}{scores['ap_11'][name]:10.3f}")
    lines += ["", "COCO's twelve"]
    lines += [f"{name:10}{value:7.3f}" for name, value in scores["coco"].items()]
    lines += ["", f"with a score of {scores['threshold']:g} or more"]
    lines += [f"{kind:13}{count:6d}" for kind, count in scores["errors"].items()]
    columns = ["(missed)", *classes]
    widths = [max(len(name), 5) + 2 for name in columns]
    lines += ["", "what it is, and (to the right) what it was taken for"]
    lines.append(" " * wide + "".join(f"{name:>{width}}" for name, width in zip(columns, widths, strict=True)))
    for name, row in zip(["(nothing)", *classes], scores["confusion"], strict=True):
        lines.append(f"{name:{wide}}" + "".join(f"{n:{width}d}" for n, width in zip(row, widths, strict=True)))
    return "\n".join(lines)


# --- photographs --------------------------------------------------------------------------------------------------


def detect(
    detector: Detector,
    given: Sequence[Path],
    out: Path,
    threshold: float,
    limit: int,
    say: Callable[[str], object],
) -> int:
    """Look at photographs; write each with its boxes, and `detections.json` for all of them.

    Args:
        given: image files, and folders whose images are looked at, with those in folders inside, but for `out`.
        say: told what cannot be read; the rest goes on.

    Returns:
        How many could not be read.

    Raises:
        RunError: no image was given.
    """
    paths = list(_images(given, out))
    if not paths:
        raise RunError(f"there is no image in {', '.join(map(str, given))}; they end in .jpg, .jpeg or .png")
    results, bad = [], 0
    for number, path in enumerate(tqdm(paths, desc="detecting", unit="image"), start=1):
        try:
            pixels = read_pixels(path, exif="apply")
        except DataError as error:
            say(str(error))
            bad += 1
            continue
        tags = tag_image(pixels, detector, threshold, limit)
        # (The name of a file has a longest length, in bytes.)
        picture = out / f"{number:0{len(str(len(paths)))}d}_{path.stem[:50]}.jpg"
        with written_whole(picture) as temporary:
            drawn = draw_tags(pixels, tags, detector.classes).permute(1, 2, 0).numpy()  # (H, W, 3)
            Image.fromarray(drawn).save(temporary, quality=90)
        objects = [
            {"label": label, "score": round(value, 4), "box": [round(side, 1) for side in box]}
            for label, value, box in zip(tags.labels, tags.scores, tags.boxes, strict=True)
        ]
        size = {"width": tags.width, "height": tags.height}
        results.append({"image": str(path), "picture": picture.name, **size, "objects": objects})
    write_json(out / "detections.json", results)
    return bad


def _images(given: Iterable[Path], out: Path) -> Iterable[Path]:
    for path in given:
        if path.is_dir():
            inside = sorted(one for one in path.rglob("*") if one.suffix in IMAGE_ENDINGS and one.is_file())
            if out.resolve() != path.resolve():  # the pictures of an earlier run are no photographs
                inside = [one for one in inside if out.resolve() not in one.resolve().parents]
            yield from (one for one in inside if not one.name.startswith("."))  # as macOS leaves beside each
        else:
            yield path


def draw_tags(pixels: UInt8[np.ndarray, "H W 3"], tags: Tags, classes: Sequence[str]) -> UInt8[Tensor, "3 H W"]:
    """A picture with the boxes and labels of its tags."""
    image = torch.from_numpy(pixels).permute(2, 0, 1)
    if not tags.labels:
        return image
    side = max(tags.width, tags.height)
    colours = [COLOURS[classes.index(label) % len(COLOURS)] for label in tags.labels]
    return draw_bounding_boxes(
        image,
        torch.tensor(tags.boxes),
        [f"{label} {value:.2f}" for label, value in zip(tags.labels, tags.scores, strict=True)],
        colors=colours,
        width=max(2, side // 300),
        font=findfont("DejaVu Sans"),
        font_size=max(12, side // 50),
        label_background_colors=colours,
        label_colors="black",
    )
