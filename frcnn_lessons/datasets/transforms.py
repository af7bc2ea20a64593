"""Resize, flip and vary an image together with its boxes.

All are transforms in the manner of `torchvision.transforms.v2`: they take a `Sample`, change the image and the boxes in
it and leave the rest as it is (`Augment` also leaves out objects that it has cut off). `Sample.size` stays the size of
the stored image, so that detections can be scaled back to it.

Sources: Fast R-CNN, section 3.1 "Experimental setup" (one flip in two) and 5.2 (short side 600, long side at most
1000); Faster R-CNN, section 3.3; SSD (Liu et al. 2016), sections 2.2 and 3.6 (colours, zooming out, crops by IoU).
Shapes: an image of H x W pixels. Lesson 02.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import get_worker_info
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from frcnn_lessons.datasets.sample import Sample


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


class Draws:
    """A generator for the transforms of a data set, in worker processes too.

    Each worker process of a DataLoader gets a copy of the generator, made anew for each epoch: left alone, all workers
    would draw the same, the same in each epoch. So a copy in a worker starts from the worker's own seed, which the
    DataLoader draws from *its* generator: pass it one too and a run can be repeated.
    """

    def __init__(self, generator: torch.Generator) -> None:
        """Take a generator on the CPU."""
        self._generator = generator
        self._seed: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What a copy is made of, for another process too: PyTorch cannot ship a generator, but its state."""
        return self.__dict__ | {"_generator": self._generator.get_state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become the copy, with a generator of its own in the same state."""
        self.__dict__.update(state)
        self._generator = torch.Generator()
        self._generator.set_state(state["_generator"])

    def generator(self) -> torch.Generator:
        """The generator to draw from, here and now."""
        worker = get_worker_info()
        if worker is not None and worker.seed != self._seed:
            self._seed = worker.seed
            # With the generator's own seed in it, two transforms in one worker do not move in step.
            self._generator.manual_seed((self._seed + self._generator.initial_seed()) % 2**63)
        return self._generator


class HorizontalFlip(v2.Transform):
    """Mirror left and right with probability p, drawn from a generator of one's own.

    (`v2.RandomHorizontalFlip` draws from PyTorch's global one, which every other user of it disturbs.)
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
        self.p, self.draws = p, Draws(generator)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:  # noqa: ARG002
        """Decide, once for the image and its boxes."""
        return {"flip": torch.rand((), generator=self.draws.generator()).item() < self.p}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Flip an image or boxes."""
        return functional.horizontal_flip(inpt) if params["flip"] else inpt


class Augment:
    """Show an image as it might also have been taken: other colours, from farther away, or a part of it.

    Before `ResizeShortSide`, so that a part comes out as large as a whole. Objects are learned from crops that show
    enough of them: a crop is drawn by the IoU that it has with an object, and an object whose centre is cut off is left
    out, with its label (`v2.RandomIoUCrop`, `v2.SanitizeBoundingBoxes`).

    (torchvision's transforms draw from PyTorch's global generator. It is lent to them, seeded from one of our own.)
    """

    def __init__(self, generator: torch.Generator) -> None:
        """Take the generator, on the CPU, that every change is drawn from."""
        self.draws = Draws(generator)
        self.steps = v2.Compose(
            [
                v2.RandomPhotometricDistort(p=0.5),
                v2.RandomApply([v2.RandomZoomOut(fill=0.5, side_range=(1.0, 2.0), p=1.0)], p=0.3),
                v2.RandomApply([v2.RandomIoUCrop(min_scale=0.5)], p=0.5),
                v2.SanitizeBoundingBoxes(min_size=2, labels_getter=_of_objects),
            ]
        )

    def __call__(self, sample: Sample) -> Sample:
        """Change one sample; its boxes lie inside the new image."""
        seed = int(torch.randint(2**62, (), generator=self.draws.generator()))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.steps(sample)


def _of_objects(sample: Sample) -> tuple[Tensor, Tensor]:
    """What goes with a box, and goes with it when it is left out."""
    return sample.labels, sample.difficult
