"""The reference table: each detector of the course learns from all training images and is scored on all test images.

A lesson has 90 seconds, so what it trains learns from fewer images. Here all five get the same pictures (300), the same
proposals where they need some, and, where they go through the pictures more than once, the same number of passes; their
answers go through the same suppression and are scored by the same rules. `frcnn-lessons table` computes it in some ten
minutes on two cores and stores it in `notebooks/table.json`, which lessons show beside the reader's own row.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from frcnn_lessons import backbones, rcnn, sppnet
from frcnn_lessons.batch import Target
from frcnn_lessons.course.results import Result
from frcnn_lessons.datasets import Sample, VOCDataset, batches, collate, streets
from frcnn_lessons.fast_rcnn import FastRCNN
from frcnn_lessons.faster_rcnn import FasterRCNN
from frcnn_lessons.files import data_folder
from frcnn_lessons.four_step import four_step
from frcnn_lessons.metrics import evaluate_voc
from frcnn_lessons.recipes import STREETS_FAST_HEAD, STREETS_HEAD, STREETS_RPN, STREETS_TRAINING
from frcnn_lessons.selective_search import proposals
from frcnn_lessons.training import predict, train


class Streets(NamedTuple):
    """The street scenes in memory, and selective search's proposals for each image."""

    train: list[Sample]
    train_proposals: list[Tensor]
    test: list[Sample]
    test_proposals: list[Tensor]


def load(train_images: int = 300, test_images: int = 100, test_split: str = "test") -> Streets:
    """Read the scenes and find their proposals, or read these from the cache."""
    folder, cache = streets.prepare(), data_folder() / "proposals"

    def part(split: str, count: int) -> tuple[list[Sample], list[Tensor]]:
        dataset = VOCDataset(folder, split, streets.CLASSES)
        samples = [dataset[i] for i in range(count)]
        return samples, [proposals(sample.image, cache=cache) for sample in samples]

    return Streets(*part("train", train_images), *part(test_split, test_images))


def backbone() -> backbones.Backbone:
    """The pretrained network that all detectors start from."""
    return backbones.efficientnet_lite0().freeze(stages=4, batch_norm=True)


def regions_of(data: Streets) -> list[rcnn.Regions]:
    """What R-CNN and SPPNet learn from: every proposal and every object of an image."""
    _, targets = collate(data.train)
    pairs = zip(data.train_proposals, cast(list[Target], targets), strict=True)
    return [rcnn.make_regions(found, target, len(streets.CLASSES)) for found, target in pairs]


# --- the five -----------------------------------------------------------------------------------------------------


def r_cnn(data: Streets, seed: int) -> tuple[nn.Module, str]:
    """Lesson 05: fine-tuned on windows of 64 x 64 pixels, one SVM a class, box regression."""
    draw = torch.Generator().manual_seed(seed)
    images, regions = [sample.image for sample in data.train], regions_of(data)
    network = rcnn.RegionNetwork(backbone(), 3, 64, 4.5, generator=draw)
    rcnn.fine_tune(network, images, regions, steps=80, learning_rate=0.002, generator=draw)
    features = [rcnn.describe(network, image, r.boxes) for image, r in zip(images, regions, strict=True)]
    svms = rcnn.train_svms(features, regions, generator=draw).layer
    return rcnn.RCNN(network, svms, rcnn.fit_box_regression(features, regions)), "–"


def spp_net(data: Streets, seed: int) -> tuple[nn.Module, str]:
    """Lesson 06: as R-CNN, but on one map of the image at twice its size, pooled by a spatial pyramid."""
    draw = torch.Generator().manual_seed(seed)
    images, regions = [sample.image for sample in data.train], regions_of(data)
    network = sppnet.PyramidNetwork(backbone(), 3, enlarged=2, generator=draw)
    sppnet.fine_tune(network, images, regions, steps=500, generator=draw)
    features = [rcnn.describe(network, image, r.boxes) for image, r in zip(images, regions, strict=True)]
    svms = rcnn.train_svms(features, regions, generator=draw).layer
    return sppnet.SPPNet(network, svms, rcnn.fit_box_regression(features, regions)), "–"


def fast_r_cnn(data: Streets, seed: int) -> tuple[nn.Module, str]:
    """Lesson 07: one loss for classes and boxes, back into the backbone."""
    draw = torch.Generator().manual_seed(seed)
    model = FastRCNN(backbone(), 3, STREETS_FAST_HEAD, draw)
    train(model, batches(data.train, 4, data.train_proposals, generator=draw, flip=0.5), STREETS_TRAINING)
    return model, str(STREETS_TRAINING.epochs)


def faster_r_cnn(data: Streets, seed: int) -> tuple[nn.Module, str]:
    """Lesson 10: proposals from the same feature map, all learned at once."""
    draw = torch.Generator().manual_seed(seed)
    model = FasterRCNN(backbone(), 3, STREETS_RPN, STREETS_HEAD, draw)
    train(model, batches(data.train, 4, generator=draw, flip=0.5), STREETS_TRAINING)
    return model, str(STREETS_TRAINING.epochs)


def faster_r_cnn_in_four_steps(data: Streets, seed: int) -> tuple[nn.Module, str]:
    """Lesson 11: RPN and detector in turn, until they share one backbone."""
    draw = torch.Generator().manual_seed(seed)
    model = FasterRCNN(backbone(), 3, STREETS_RPN, STREETS_HEAD, draw)
    loader = batches(data.train, 4, generator=draw, flip=0.5)
    later = replace(STREETS_TRAINING, learning_rate=3e-4)
    four_step(model, backbone(), loader, [STREETS_TRAINING, STREETS_TRAINING, later, later])
    return model, f"4 x {STREETS_TRAINING.epochs}"


TRAININGS: dict[str, Callable[[Streets, int], tuple[nn.Module, str]]] = {
    "R-CNN": r_cnn,
    "SPPNet": spp_net,
    "Fast R-CNN": fast_r_cnn,
    "Faster R-CNN": faster_r_cnn,
    "Faster R-CNN, four steps": faster_r_cnn_in_four_steps,
}


def measure(detector: str, data: Streets, seed: int = 0) -> Result:
    """Train one of `TRAININGS` and score it on the test images."""
    started = time.perf_counter()
    model, passes = TRAININGS[detector](data, seed)
    training_seconds = time.perf_counter() - started
    needs_proposals = not isinstance(model, FasterRCNN)
    loader = batches(data.test, 1, data.test_proposals if needs_proposals else None)
    started = time.perf_counter()
    predictions, targets = predict(model, loader)
    image_seconds = (time.perf_counter() - started) / len(data.test)
    proposal_seconds = 0.0
    if needs_proposals:
        started = time.perf_counter()
        for sample in data.test[:20]:
            proposals(sample.image)  # without the cache
        proposal_seconds = (time.perf_counter() - started) / 20
    ap50 = evaluate_voc(predictions, targets).mean_ap
    seconds = (training_seconds, image_seconds + proposal_seconds, proposal_seconds)
    return Result(detector, ap50, *seconds, len(data.train), passes)
