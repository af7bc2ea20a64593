"""`roi_fast` against torchvision.ops, forward and backward. Run: python tests/benchmarks/roi.py."""

import sys
from functools import partial

import torch
import torchvision
from timing import ratio, report

from frcnn_lessons import roi_fast

SCALE = 1 / 16


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
        # As a head sends it back. That of a sum would be one number, spread without memory: nobody has to read it.
        gradient = torch.rand(128, 512, 7, 7, generator=generator)

        def step(pool, features=features, regions=regions, gradient=gradient):
            features.grad = None
            pool(features, regions, 7, SCALE).backward(gradient)

        for work, ours, peer in [
            ("roi_pool", roi_fast.roi_pool, torchvision.ops.roi_pool),
            (
                "roi_align",
                partial(roi_fast.roi_align, sampling_ratio=2),
                partial(torchvision.ops.roi_align, sampling_ratio=2),
            ),
        ]:
            measured = partial(ratio, partial(step, ours), partial(step, peer), repeats=24)
            rows.append((f"{work} and back, 128 {name}, 512x50x50", f"torchvision.ops.{work}", measured, 1.0))
    return report(rows)


if __name__ == "__main__":
    sys.exit(main())
