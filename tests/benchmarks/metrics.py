"""`metrics.evaluate_coco` against pycocotools. Run: python tests/benchmarks/metrics.py [images].

On synthetic detections. pycocotools starts from its own index, already built; ours from the tensors of a detector.
5,000 images take a minute; the ratio is about the same for the 1,000 of a plain run.
"""

import sys
from functools import partial
from typing import Any

import numpy as np
import torch
from coco_peer import indexed, twelve_figures
from timing import ratio, report

from frcnn_lessons.metrics import evaluate_coco

CLASSES = 20


def synthetic(images: int, rng: np.random.Generator) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Predictions and targets of a fair detector: most objects found once or twice, and false alarms between."""
    predictions, targets = [], []
    for _ in range(images):
        objects, alarms = rng.integers(0, 15, 2)
        boxes = scattered(objects, rng)
        labels = rng.integers(1, CLASSES + 1, objects)

        again = rng.integers(0, objects, rng.integers(0, 2 * objects + 1)) if objects else np.zeros(0, dtype=int)
        size = np.tile(boxes[again, 2:] - boxes[again, :2], 2)
        # Every edge up to a fifth of the object's size off: IoU from about 0.4 to 1.
        found = boxes[again] + (rng.random((len(again), 4)) - 0.5) * 0.4 * size
        predictions.append(
            {
                "boxes": torch.tensor(np.concatenate([found, scattered(alarms, rng)]), dtype=torch.float32),
                "scores": torch.tensor(rng.random(len(again) + alarms), dtype=torch.float32),
                "labels": torch.tensor(np.concatenate([labels[again], rng.integers(1, CLASSES + 1, alarms)])),
            }
        )
        targets.append({"boxes": torch.tensor(boxes, dtype=torch.float32), "labels": torch.tensor(labels)})
    return predictions, targets


def scattered(count: int, rng: np.random.Generator) -> np.ndarray:
    corner = rng.uniform(0, 400, (count, 2))
    size = np.exp(rng.uniform(np.log(8), np.log(300), (count, 2)))  # small, medium and large alike
    return np.concatenate([corner, corner + size], axis=1)


def main(images: int = 1000) -> int:
    predictions, targets = synthetic(images, np.random.default_rng(0))
    truth, found = indexed(predictions, targets)
    difference = np.subtract(list(evaluate_coco(predictions, targets).values()), twelve_figures(truth, found))
    print(f"largest difference of the twelve figures: {np.abs(difference).max():.1e}")
    measured = partial(
        ratio,
        lambda: evaluate_coco(predictions, targets),
        lambda: twelve_figures(truth, found),
        repeats=3,
    )
    return report([(f"evaluate_coco, {images:,} images", "pycocotools", measured, 1.0)])


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
