"""`roi.roi_pool` against torchvision.ops, and against a loop over regions. Run: python tests/benchmarks/roi.py."""

import sys

import torch
import torch.nn.functional as F
import torchvision
from timing import ratio, report

from frcnn_lessons import roi

SCALE = 1 / 16


def loop_over_regions(features: torch.Tensor, regions: list[torch.Tensor], size: int, scale: float) -> torch.Tensor:
    """As the walk-throughs do it: cut out each region, let torch pool it."""
    pooled = []
    for image, of_image in zip(features, regions, strict=True):
        for x1, y1, x2, y2 in (of_image * scale).round().long().tolist():
            pooled.append(F.adaptive_max_pool2d(image[:, y1 : y2 + 1, x1 : x2 + 1], size))
    return torch.stack(pooled)


def regions_of(count: int, shortest: float, longest: float, generator: torch.Generator) -> torch.Tensor:
    size = shortest + (longest - shortest) * torch.rand(count, 2, generator=generator)
    corner = torch.rand(count, 2, generator=generator) * (799 - size)
    return torch.cat([corner, corner + size], dim=1)


def main() -> int:
    generator = torch.Generator().manual_seed(0)
    rows = []
    for name, shortest, longest in [("small", 16, 128), ("mixed", 16, 600), ("large", 300, 790)]:
        regions = [regions_of(128, shortest, longest, generator)]
        features = torch.rand(1, 512, 50, 50, generator=generator, requires_grad=True)

        def step(pool, features=features, regions=regions):
            features.grad = None
            pool(features, regions, 7, SCALE).sum().backward()

        for peer_name, peer in [("torchvision.ops.roi_pool", torchvision.ops.roi_pool), ("a loop", loop_over_regions)]:
            measured = ratio(lambda s=step: s(roi.roi_pool), lambda s=step, p=peer: s(p), repeats=12)
            rows.append((f"roi_pool and back, 128 {name} regions, 512x50x50", peer_name, measured, 1.0))
    return report(rows)


if __name__ == "__main__":
    sys.exit(main())
