"""`roi.roi_pool` against torchvision.ops, and against a loop over regions. Run: python tests/benchmarks/roi.py."""

import sys
from functools import partial

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
    torchvisions = ("torchvision.ops.roi_pool", torchvision.ops.roi_pool)
    loop = ("a loop", loop_over_regions)
    rows = []
    for count, name, shortest, longest, channels, peers in [
        (128, "small", 16, 128, 512, [torchvisions, loop]),
        (128, "mixed", 16, 600, 512, [torchvisions, loop]),
        (128, "large", 300, 790, 512, [torchvisions, loop]),
        # Few regions; the small ones are pooled one by one as well. (For a single small one both take the same; with
        # 112 channels the loop takes less: a fifth of a millisecond, and to check the input takes half as long again.)
        (2, "small", 16, 128, 512, [loop]),
        (8, "small", 16, 128, 112, [loop]),
        (16, "small", 16, 128, 112, [loop]),
        (4, "large", 300, 790, 512, [loop]),
        (8, "mixed", 16, 600, 512, [loop]),
        (16, "small", 16, 128, 512, [loop]),
        (16, "large", 300, 790, 112, [loop]),
    ]:
        regions = [regions_of(count, shortest, longest, generator)]
        features = torch.rand(1, channels, 50, 50, generator=generator, requires_grad=True)
        # As a head sends it back. That of a sum would be one number, spread without memory: nobody has to read it.
        gradient = torch.rand(count, channels, 7, 7, generator=generator)

        def step(pool, features=features, regions=regions, gradient=gradient):
            features.grad = None
            pool(features, regions, 7, SCALE).backward(gradient)

        for peer_name, peer in peers:
            measured = partial(ratio, partial(step, roi.roi_pool), partial(step, peer), repeats=24)
            rows.append((f"roi_pool and back, {count} {name}, {channels}x50x50", peer_name, measured, 1.0))
    return report(rows)


if __name__ == "__main__":
    sys.exit(main())
