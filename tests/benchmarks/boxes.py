"""`boxes.iou` and `boxes.nms` against torchvision.ops. Run: python tests/benchmarks/boxes.py."""

import sys
from functools import partial

import torch
import torchvision
from timing import ratio, report

from frcnn_lessons import boxes


def scattered(count: int, spread: float, largest: float, generator: torch.Generator) -> torch.Tensor:
    corner = torch.rand(count, 2, generator=generator) * spread
    return torch.cat([corner, corner + 5 + torch.rand(count, 2, generator=generator) * largest], dim=1)


def main() -> int:
    generator = torch.Generator().manual_seed(0)
    anchors, objects = scattered(22_500, 600, 300, generator), scattered(20, 600, 300, generator)
    rows = [
        (
            "iou, 22,500 x 20",
            "torchvision.ops.box_iou",
            partial(ratio, lambda: boxes.iou(anchors, objects), lambda: torchvision.ops.box_iou(anchors, objects)),
            1.0,
        )
    ]
    # From nearly no overlap (all are kept) to heaps (few are kept), at the thresholds of detections and proposals.
    for name, spread, largest in [("sparse", 1000, 40), ("like proposals", 400, 200), ("heaps", 100, 100)]:
        candidates, scores = scattered(2_000, spread, largest, generator), torch.rand(2_000, generator=generator)
        for threshold in (0.3, 0.7):
            measured = partial(
                ratio,
                lambda c=candidates, s=scores, t=threshold: boxes.nms(c, s, t),
                lambda c=candidates, s=scores, t=threshold: torchvision.ops.nms(c, s, t),
            )
            rows.append((f"nms, 2,000 boxes, {name}, IoU {threshold}", "torchvision.ops.nms", measured, 2.0))
    return report(rows)


if __name__ == "__main__":
    sys.exit(main())
