"""Our Faster R-CNN beside torchvision's: same backbone, settings, weights and images. Both on all cores.

python tests/benchmarks/faster_rcnn.py             time of a training step and of a detection
python tests/benchmarks/faster_rcnn.py --train     and AP on the test scenes, six seeds each; ten minutes and more
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import mean, stdev

import torch
from timing import ratio, report
from torch import nn

from frcnn_lessons.backbones import efficientnet_lite0
from frcnn_lessons.datasets import Sample, VOCDataset, batches, streets
from frcnn_lessons.faster_rcnn import FasterRCNN
from frcnn_lessons.metrics import evaluate_coco
from frcnn_lessons.recipes import STREETS_HEAD, STREETS_RPN, STREETS_TRAINING
from frcnn_lessons.torchvision_twin import torchvision_twin
from frcnn_lessons.training import predict, train


class WithoutDifficult(nn.Module):
    """Takes difficult objects out of the targets, so that both learn from the same: torchvision knows of none.

    Ours given them would leave out what overlaps such an object; to both it is background now.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images, targets=None):
        if targets is None:
            return self.detector(images)
        keep = [~target["difficult"] for target in targets]
        kept = [{n: t[n][k] for n in ("boxes", "labels")} for t, k in zip(targets, keep, strict=True)]
        return self.detector(images, kept)


def our_detector(seed: int) -> FasterRCNN:
    generator = torch.Generator().manual_seed(seed)
    return FasterRCNN(efficientnet_lite0().freeze(4, batch_norm=True), 3, STREETS_RPN, STREETS_HEAD, generator)


def pair(ours: FasterRCNN) -> tuple[nn.Module, nn.Module]:
    return WithoutDifficult(ours), WithoutDifficult(torchvision_twin(ours))


def loader(samples: list[Sample], seed: int, size: int = 4):
    return batches(samples, size, generator=torch.Generator().manual_seed(seed), flip=0.5)


def training_step(model: nn.Module, optimiser: torch.optim.Optimizer, batch) -> None:
    if not model.training:
        model.train()
    optimiser.zero_grad()
    sum(model(*batch).values()).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimiser.step()


@torch.no_grad()
def detection(model: nn.Module, images) -> None:
    if model.training:
        model.eval()
    model(images)


def times(samples: list[Sample]) -> list[tuple[str, str, Callable[[], float], float]]:
    trained = our_detector(0)
    # Trained a little, so that proposals are as in a real training.
    train(trained, loader(samples[:80], 0), replace(STREETS_TRAINING, epochs=2))
    ours, theirs = pair(trained)
    rows = []
    # A rate of 0: all the work of a step is done, and every step is the same work.
    mine, other = (torch.optim.AdamW(model.parameters(), 0.0) for model in (ours, theirs))
    for size in (2, 4):
        batch = next(iter(loader(samples, 1, size)))
        steps = partial(training_step, ours, mine, batch), partial(training_step, theirs, other, batch)
        measured = partial(ratio, *steps, repeats=24)
        rows.append((f"a training step, {size} street scenes", "torchvision's FasterRCNN", measured, 1.0))
    for size in (1, 4):
        images, _ = next(iter(loader(samples, 2, size)))
        measured = partial(ratio, partial(detection, ours, images), partial(detection, theirs, images), repeats=90)
        rows.append((f"detection in {size} street scenes", "torchvision's FasterRCNN", measured, 1.0))
    return rows


def precision(train_set: list[Sample], test_set: list[Sample], device: str) -> bool:
    scores: dict[str, list[float]] = {"ours": [], "torchvision": []}
    for seed in range(6):  # seeds differ by 0.007: the mean of three can turn out either way
        for name, model in zip(scores, pair(our_detector(seed)), strict=True):
            torch.manual_seed(seed)  # what torchvision draws its anchors and regions from
            train(model, loader(train_set, seed), STREETS_TRAINING, device=device)
            result = evaluate_coco(*predict(model, batches(test_set), device=device))
            scores[name].append(result["AP"])
            print(f"seed {seed} {name:12} AP50 {result['AP50']:.3f} AP {result['AP']:.3f}", flush=True)
    for name, values in scores.items():
        print(f"mean AP {name:12} {mean(values):.3f}, standard error {stdev(values) / len(values) ** 0.5:.3f}")
    return mean(scores["ours"]) >= mean(scores["torchvision"])


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--train", action="store_true", help="compare what they learn as well")
    parser.add_argument("--device", default="cpu", help="for what --train compares; the times are the processor's")
    options = parser.parse_args()
    folder = streets.prepare()
    train_set, test_set = (list(VOCDataset(folder, split, streets.CLASSES)) for split in ("train", "test"))
    code = report(times(train_set))
    return code if not options.train else code or int(not precision(train_set, test_set, options.device))


if __name__ == "__main__":
    sys.exit(main())
