"""On real photographs: bus, car, cat and train of PASCAL VOC 2007, learned and scored.

    python tests/benchmarks/voc.py FOLDER                    a training step and a detection beside torchvision's
    python tests/benchmarks/voc.py FOLDER ours torchvision --seed 0 --rows rows.jsonl

FOLDER is a VOC2007 folder. Each job trains once and adds its row to a file of JSON lines:

    ours, torchvision    the same backbone, anchors, steps and images; short side 288, 6 epochs, 2 images a step
    plain, augment, deeper, weights, stride8
                         the recipe of `ours` with He's initial weights; the same with varied images; with these and
                         one more stage of the backbone that learns; `augment` with PyTorch's smaller initial weights,
                         which the package has; and `weights` with a map of stride 8. Learned from four fifths of
                         trainval and scored on a fifth, with the last weights and with averaged ones
    long, best           `augment`, and `weights` with larger anchors: larger images and 16 epochs, on all of trainval;
                         scored on test, once each. `best` is `recipes.VOC`
    rcnn, sppnet, fast, faster
                         on the first 300 photographs of trainval, scored on the first 200 of test, with at most 500
                         proposals of one run of selective search (kept in FOLDER/proposals.pt)

Difficult objects are not learned, and not counted. AP is the mean over the four classes.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from faster_rcnn import detection, training_step
from timing import ratio, report
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.transforms import v2

from frcnn_lessons import backbones, boxes, rcnn, sppnet
from frcnn_lessons.backbones import Backbone
from frcnn_lessons.batch import pad_images
from frcnn_lessons.datasets import ResizeShortSide, Sample, VOCDataset, batches, collate
from frcnn_lessons.datasets.transforms import Augment
from frcnn_lessons.detectors import Description, build_detector
from frcnn_lessons.faster_rcnn import FasterRCNN
from frcnn_lessons.metrics import average_recall, evaluate_coco, evaluate_voc, proposal_recall
from frcnn_lessons.recipes import VOC
from frcnn_lessons.selective_search import proposals
from frcnn_lessons.training import History, predict, train

CLASSES = ("bus", "car", "cat", "train")
DESCRIPTION = Description(
    "faster",
    "efficientnet_lite0",
    CLASSES,
    short_side=288,
    long_side=480,
    frozen_stages=3,
    frozen_norm=True,
    rpn=replace(VOC.rpn, sizes=(32, 64, 128, 256)),
    head=VOC.head,
)
TRAINING = replace(VOC.training, epochs=6)
VARIANTS = ("plain", "augment", "deeper", "weights", "stride8")
WITH_HES_WEIGHTS = ("plain", "augment", "deeper", "long")
AVERAGED_OVER = 500  # steps: the share of the newest weights in the average is 1 / 500


def load(folder: Path, split: str, short: int, count: int | None = None, whole: bool = False) -> list[Sample]:
    """The photographs of a split that show an object which is not difficult, resized unless `whole`."""
    resize = None if whole else ResizeShortSide(short, short * 5 // 3)
    dataset = VOCDataset(folder, split, CLASSES, unknown="drop", transform=resize)
    shows = [i for i in range(len(dataset)) if not all(dataset.annotation(i)["difficult"])]
    return [dataset[i] for i in shows[:count]]


class Varied:
    """A list of samples that are varied anew each time."""

    def __init__(self, samples: list[Sample], transform: v2.Transform) -> None:
        self.samples, self.transform = samples, transform

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.transform(self.samples[index])


def score(model: nn.Module, loader: Any, device: str) -> dict[str, Any]:
    """AP by VOC's two rules and COCO's, and seconds an image."""
    started = time.perf_counter()
    found = predict(model, loader, device)
    seconds = time.perf_counter() - started
    coco = evaluate_coco(*found)
    result = evaluate_voc(*found)
    return {
        "AP50": result.mean_ap,
        "AP50 11 points": evaluate_voc(*found, kind="11").mean_ap,
        "COCO AP50": coco["AP50"],
        "COCO AP": coco["AP"],
        "by class": {CLASSES[label - 1]: ap for label, ap in result.ap.items()},
        "images": len(found[0]),
        "seconds an image": seconds / len(found[0]),
    }


def pair(folder: Path, detector: str, seed: int, device: str, epochs: int) -> dict[str, Any]:
    """Ours or torchvision's, alike in all that both have."""
    torch.manual_seed(seed)  # what torchvision draws from
    draw = torch.Generator().manual_seed(seed)
    description = replace(DESCRIPTION, detector=detector)
    model: Any = build_detector(description, draw, pretrained=True)
    if detector == "torchvision":
        for layer in (model.roi_heads.box_head.fc6, model.roi_heads.box_head.fc7):
            layer.reset_parameters()  # to torchvision's own initial weights; those of `TAGGING` are a service's
    samples = load(folder, "trainval", 288)
    settings = replace(TRAINING, epochs=epochs, warmup_steps=min(100, epochs * len(samples) // 10))
    started = time.perf_counter()
    history = train(model, batches(samples, 2, generator=draw, flip=0.5), settings, device=device)
    seconds = time.perf_counter() - started
    row = {"epochs": epochs, "training images": len(samples), "training seconds": seconds, "loss": curve(history)}
    return row | score(model, batches(load(folder, "test", 288)), device)


def curve(history: History) -> list[float]:
    """The mean loss of each fiftieth of the training."""
    return [round(part.mean().item(), 4) for part in torch.tensor(history.steps["total"]).chunk(50)]


def variant(
    name: str,
    learned: list[Sample],
    judged: list[Sample],
    seed: int,
    device: str,
    epochs: int,
    workers: int,
) -> dict[str, Any]:
    """Train one of `VARIANTS`, `long` or `best`, and score its last weights and their average."""
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)
    description = DESCRIPTION
    if name in ("long", "best"):
        description = replace(description, short_side=VOC.short_side, long_side=VOC.long_side)
    if name == "best":
        description = replace(description, rpn=VOC.rpn)
    if name == "deeper":
        description = replace(description, frozen_stages=2)
    if name == "stride8":
        backbone = TopDown().freeze(description.frozen_stages, batch_norm=True)
        model: Any = FasterRCNN(backbone, len(CLASSES), description.rpn, description.head, draw)
    else:
        model = build_detector(description, draw, pretrained=True)
    if name in WITH_HES_WEIGHTS:
        with torch.no_grad():
            for layer in (model.head.fc6, model.head.fc7):
                layer.weight *= 6**0.5  # variance 2 / inputs in place of 1 / (3 inputs)
    resize = ResizeShortSide(description.short_side, description.long_side)
    vary = v2.Compose([Augment(draw), resize])
    seen = [resize(sample) for sample in learned] if name == "plain" else Varied(learned, vary)
    average = get_ema_multi_avg_fn(1 - 1 / AVERAGED_OVER)
    averaged = AveragedModel(model, multi_avg_fn=average, use_buffers=True).to(device)
    settings = replace(TRAINING, epochs=epochs, warmup_steps=min(100, epochs * len(learned) // 10))
    started = time.perf_counter()
    train(
        model,
        batches(seen, 2, generator=draw, flip=0.5, workers=workers),
        settings,
        device=device,
        on_step=lambda _history: averaged.update_parameters(model),
    )
    row = {
        "epochs": epochs,
        "short side": description.short_side,
        "training images": len(learned),
        "training seconds": time.perf_counter() - started,
    }
    loader = batches([resize(sample) for sample in judged])
    return row | score(model, loader, device) | {"averaged": score(averaged.module, loader, device)}


class TopDown(Backbone):
    """All of EfficientNet-Lite0, brought down to one map of stride 8 as in a feature pyramid (lesson 12)."""

    TAKEN: ClassVar = {3: 40, 5: 112, 7: 320}  # stages of stride 8, 16 and 32, and their channels

    def __init__(self) -> None:
        network = backbones.imagenet_classifier()[1]
        stem = nn.Sequential(network.conv_stem, network.bn1)
        stages = [stem, *network.blocks]
        super().__init__(stages, 8, 128, backbones.LITE0_MEAN, backbones.LITE0_STD)
        self.lateral = nn.ModuleDict({str(i): nn.Conv2d(channels, 128, 1) for i, channels in self.TAKEN.items()})
        self.smooth = nn.Conv2d(128, 128, 3, padding=1)
        self.to(memory_format=torch.channels_last)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        maps = []
        images = self.normalise(images)
        for i, stage in enumerate(self.stages):
            images = stage(images)
            if i in self.TAKEN:
                maps.append(self.lateral[str(i)](images))
        merged = maps.pop()
        while maps:
            finer = maps.pop()
            merged = finer + functional.interpolate(merged, size=finer.shape[2:])
        return self.smooth(merged)


def choose(folder: Path, name: str, seed: int, device: str, epochs: int, workers: int) -> dict[str, Any]:
    """A variant, judged on a fifth of trainval."""
    samples = load(folder, "trainval", 0, whole=True)
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0)).tolist()
    fifth = len(samples) // 5
    judged, learned = ([samples[i] for i in part] for part in (order[:fifth], order[fifth:]))
    return variant(name, learned, judged, seed, device, epochs, workers)


def long(folder: Path, name: str, seed: int, device: str, epochs: int, workers: int) -> dict[str, Any]:
    """Taught all of trainval and scored on test."""
    learned, judged = (load(folder, split, 0, whole=True) for split in ("trainval", "test"))
    return variant(name, learned, judged, seed, device, epochs, workers)


# --- four detectors on the same photographs ---------------------------------------------------------------------------


def few(folder: Path) -> tuple[list[Sample], list[torch.Tensor], list[Sample], list[torch.Tensor]]:
    """300 photographs to learn from and 200 to be scored on, with proposals, which are found once."""
    learned, judged = load(folder, "trainval", 288, 300), load(folder, "test", 288, 200)
    cache = folder / "proposals.pt"
    if not cache.exists():
        started = time.perf_counter()
        found = [proposals(sample.image)[:500] for sample in [*learned, *judged]]
        seconds = (time.perf_counter() - started) / len(found)
        torch.save({"boxes": found, "seconds an image": seconds}, cache)
    found = torch.load(cache, weights_only=True)["boxes"]
    return learned, found[: len(learned)], judged, found[len(learned) :]


def one_of_four(folder: Path, detector: str, seed: int, device: str, epochs: int) -> dict[str, Any]:
    """R-CNN, SPPNet, Fast R-CNN or Faster R-CNN."""
    learned, their, judged, other = few(folder)
    draw = torch.Generator().manual_seed(seed)
    model = build_detector(replace(DESCRIPTION, detector=detector), draw, pretrained=True)
    started = time.perf_counter()
    if detector in ("rcnn", "sppnet"):
        module: Any = rcnn if detector == "rcnn" else sppnet
        model.to(device)
        images = [sample.image.as_subclass(torch.Tensor).to(device) for sample in learned]
        targets = [{n: t[n].to(device) for n in ("boxes", "labels", "difficult")} for t in collate(learned)[1]]
        regions = [
            rcnn.make_regions(found.to(device), target, len(CLASSES))
            for found, target in zip(their, targets, strict=True)
        ]
        module.fine_tune(model.network, images, regions, steps=300, generator=draw)
        features = [rcnn.describe(model.network, image, r.boxes) for image, r in zip(images, regions, strict=True)]
        svms = rcnn.train_svms(features, regions, generator=draw).layer
        model = type(model)(model.network, svms, rcnn.fit_box_regression(features, regions))
    else:
        their = their if detector == "fast" else None
        loader = batches(learned, 2, their, generator=draw, flip=0.5)
        settings = replace(TRAINING, epochs=epochs, warmup_steps=min(100, epochs * len(learned) // 10))
        history = train(model, loader, settings, device=device)
    seconds = time.perf_counter() - started
    row = {"training images": len(learned), "training seconds": seconds}
    if detector in ("fast", "faster"):
        row |= {"epochs": epochs, "loss": curve(history)}
    if detector == "faster":
        row["recall"] = recalls(model.eval(), learned, judged, other, device)
    return row | score(model.eval(), batches(judged, 1, None if detector == "faster" else other), device)


@torch.no_grad()
def recalls(
    model: Any, learned: list[Sample], judged: list[Sample], searched: list[torch.Tensor], device: str
) -> dict[str, Any]:
    """Recall of proposals on the photographs that are scored: selective search, usual places, the RPN."""
    targets = collate(judged)[1]
    model.to(device)
    of_rpn = []
    for sample in judged:
        batch = pad_images([sample.image.as_subclass(torch.Tensor).to(device)], model.backbone)
        output = model.rpn(model.backbone.features(batch.pixels))
        of_rpn.append(model.rpn.propose(output, batch.sizes)[0][0].cpu())
    places = usual_places(learned)
    sizes = [torch.tensor(sample.image.shape[:0:-1]).repeat(2) for sample in judged]  # width, height, twice
    of_places = [places * size for size in sizes]
    counts = (50, 100, 300)
    return {
        name: {
            "AR": average_recall(found, targets, counts).tolist(),
            **{f"at {iou}": proposal_recall(found, targets, counts, iou).tolist() for iou in (0.5, 0.7)},
        }
        for name, found in {"selective search": searched, "usual places": of_places, "RPN": of_rpn}.items()
    } | {"counts": counts}


def usual_places(learned: list[Sample], count: int = 300) -> torch.Tensor:
    """Boxes of the training objects, as shares of their images: first the one that covers most of them, and so on."""
    places = torch.cat(
        [s.boxes.as_subclass(torch.Tensor) / torch.tensor(s.image.shape[:0:-1]).repeat(2) for s in learned]
    )
    covers = boxes.iou(places, places) >= 0.5
    missing, chosen = torch.ones(len(places), dtype=torch.bool), []
    for _ in range(min(count, len(places))):
        if not missing.any():
            missing[:] = True
            missing[chosen] = False
        chosen.append(int((covers & missing).sum(dim=1).argmax()))
        missing &= ~covers[chosen[-1]]
    return places[chosen]


# --- time -------------------------------------------------------------------------------------------------------------


def times(folder: Path) -> int:
    """A training step and a detection on this processor, ours against torchvision's."""
    samples = load(folder, "trainval", 288, 24)
    models = []
    for detector in ("faster", "torchvision"):
        draw = torch.Generator().manual_seed(0)
        models.append(build_detector(replace(DESCRIPTION, detector=detector), draw, pretrained=True))
        # Trained a little, so that proposals are as in a real training.
        loader = batches(samples, 2, generator=draw, flip=0.5)
        train(models[-1], loader, replace(TRAINING, epochs=4, warmup_steps=10))
    batch = next(iter(batches(samples, 2)))
    steps = [
        partial(training_step, model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 0.0), batch)
        for model in models
    ]
    looks = [partial(detection, model, batch[0][:1]) for model in models]
    peer = "torchvision's FasterRCNN"
    return report(
        [
            ("a training step, 2 photographs", peer, partial(ratio, *steps, repeats=16), 1.0),
            ("detection in a photograph", peer, partial(ratio, *looks, repeats=30), 1.0),
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("jobs", nargs="*", metavar="JOB")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--epochs", type=int, help="other than the job's own")
    parser.add_argument("--workers", type=int, default=0, help="processes that vary images")
    parser.add_argument("--machine", help="what to say of it; its name by default")
    parser.add_argument("--rows", type=Path, default=Path("rows.jsonl"))
    options = parser.parse_intermixed_args()
    if not options.jobs:
        return times(options.folder)
    common = {"seed": options.seed, "device": options.device}
    for job in options.jobs:
        if job in ("ours", "torchvision"):
            detector = "faster" if job == "ours" else job
            row = pair(options.folder, detector, epochs=options.epochs or TRAINING.epochs, **common)
        elif job in VARIANTS:
            epochs = options.epochs or TRAINING.epochs
            row = choose(options.folder, job, epochs=epochs, workers=options.workers, **common)
        elif job in ("long", "best"):
            epochs = options.epochs or VOC.training.epochs
            row = long(options.folder, job, epochs=epochs, workers=options.workers, **common)
        else:
            row = one_of_four(options.folder, job, epochs=options.epochs or TRAINING.epochs, **common)
        machine = options.machine or (torch.cuda.get_device_name() if options.device == "cuda" else "CPU")
        row = {"job": job, "seed": options.seed, "machine": machine} | row
        with options.rows.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print({name: value for name, value in row.items() if name != "loss"}, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
