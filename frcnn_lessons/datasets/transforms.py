"""Resize and flip an image together with its boxes.

Both are transforms of `torchvision.transforms.v2`: they take a `Sample` (or any structure of tv_tensors), change the
image and the boxes in it and leave the rest as it is. `Sample.size` stays the size of the stored image, so that
detections can be scaled back to it.

Sources: Fast R-CNN, section 3.1 "Experimental setup" (one flip in two) and 5.2 (short side 600, long side at most
1000); Faster R-CNN, section 3.3.
Shapes: an image of H x W pixels. Lesson 02.
"""

from typing import Any

import torch
from torch.utils.data import get_worker_info
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional


def resized_size(height: int, width: int, short: int = 600, cap: int = 1000) -> tuple[int, int]:
    """The size that brings the short side to `short`, or the long side to `cap` where it would go beyond.

    Args:
        height, width: of the image, in pixels.
        short: the short side wanted, in pixels.
        cap: the most that the long side may have; wins over `short`.

    Returns:
        (height, width), with the proportions kept up to rounding and never below 1.

    Raises:
        ValueError: a number is not positive.

    Example:
        A VOC photograph reaches 600; a panorama stops at 1000:

        >>> resized_size(375, 500), resized_size(300, 900)
        ((600, 800), (333, 1000))
    """
    if min(height, width, short, cap) < 1:
        raise ValueError(f"sizes must be at least 1, not height {height}, width {width}, short {short}, cap {cap}")
    scale = min(short / min(height, width), cap / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


class ResizeShortSide(v2.Transform):
    """Resize by `resized_size`, the image with smoothing when it gets smaller, the boxes by the same factors.

    Sides are rounded to whole pixels, so the factors of x and y differ by a trace; the boxes follow each exactly.
    """

    def __init__(self, short: int = 600, cap: int = 1000) -> None:
        """Set the size.

        Args:
            short: the short side wanted, in pixels.
            cap: the most that the long side may have.
        """
        super().__init__()
        resized_size(1, 1, short, cap)  # refuse at once what cannot be
        self.short, self.cap = short, cap

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Choose the new size, once for the image and its boxes."""
        height, width = v2.query_size(flat_inputs)
        return {"size": list(resized_size(height, width, self.short, self.cap))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Resize an image or boxes."""
        resized = functional.resize(inpt, params["size"], antialias=True)
        if isinstance(resized, tv_tensors.Image) and resized.is_floating_point():
            # The weights of the smoothing add up to 1 but for rounding: white can become 1.0000001.
            resized = tv_tensors.wrap(resized.clamp(0, 1), like=resized)
        return resized


class HorizontalFlip(v2.Transform):
    """Mirror left and right with probability p, drawn from a generator of one's own.

    (`v2.RandomHorizontalFlip` draws from PyTorch's global one, which every other user of it disturbs.)

    Each worker process of a DataLoader gets a copy of the generator, made anew for each epoch: left alone, all workers
    would draw the same flips, the same in each epoch. So a copy in a worker starts from the worker's own
    seed, which the DataLoader draws from *its* generator: pass it one too and a run can be repeated.
    """

    def __init__(self, p: float, generator: torch.Generator) -> None:
        """Set the chance.

        Args:
            p: the probability of a flip, 0..1.
            generator: on the CPU.
        """
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"p must lie in 0..1, not {p}")
        self.p, self.generator = p, generator
        self._seed: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What a copy is made of, for another process too: PyTorch cannot ship a generator, but its state."""
        return self.__dict__ | {"generator": self.generator.get_state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become the copy, with a generator of its own in the same state."""
        self.__dict__.update(state)
        self.generator = torch.Generator()
        self.generator.set_state(state["generator"])

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:  # noqa: ARG002
        """Decide, once for the image and its boxes."""
        worker = get_worker_info()
        if worker is not None and worker.seed != self._seed:
            self._seed = worker.seed
            # With the generator's own seed in it, two transforms in one worker do not move in step.
            self.generator.manual_seed((self._seed + self.generator.initial_seed()) % 2**63)
        return {"flip": torch.rand((), generator=self.generator).item() < self.p}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Flip an image or boxes."""
        return functional.horizontal_flip(inpt) if params["flip"] else inpt
