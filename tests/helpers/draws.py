"""Random numbers and boxes, the same ones for the same seed."""

import torch


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_boxes(
    count: int, width: float, height: float, draw: torch.Generator, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Boxes inside an image, each side at least 2 pixels."""
    size = torch.tensor([width - 2.0, height - 2.0], dtype=dtype)
    a, b = torch.rand(2, count, 2, generator=draw, dtype=dtype) * size
    return torch.cat([torch.minimum(a, b), torch.maximum(a, b) + 2], dim=1)
