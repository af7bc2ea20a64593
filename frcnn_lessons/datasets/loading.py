"""Batches for training and evaluation: images of one orientation together, flipped with their proposals.

Images of a batch are padded to a common size. An upright image beside a wide one leaves a third of the batch empty, so
a batch holds either wide images or upright ones: less to compute, and no other effect. Lesson 07.

Sources: Fast R-CNN, sections 2.3 (images are drawn first) and 3.1 (one flip in two). Detectron groups by orientation.
"""

import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision import tv_tensors

from frcnn_lessons.datasets.reading import AnnotatedImages
from frcnn_lessons.datasets.sample import Sample, collate
from frcnn_lessons.datasets.transforms import HorizontalFlip

Samples = AnnotatedImages | Sequence[Sample]
"""A data set of the course, or a plain list of Samples, which keeps its images decoded."""

Proposals = Sequence[Float[Tensor, "_ 4"]]


def batches(
    dataset: Samples,
    batch_size: int = 1,
    proposals: Proposals | None = None,
    *,
    generator: torch.Generator | None = None,
    flip: float = 0.0,
    workers: int = 0,
) -> DataLoader:
    """Make the DataLoader that `training.train` and `training.predict` take.

    Args:
        dataset: the images.
        batch_size: images a step. The last batch of each orientation may have fewer; no image is left out.
        proposals: of each image, xyxy in pixels of the image that `dataset` gives; None for a detector that makes
            its own.
        generator: on the CPU. With it the order is new in each pass, in batches of one orientation, and so are the
            flips. Without it images come in the order of the data set, whatever their orientation. A checkpoint of
            `training.train` keeps its state; nothing else is drawn here.
        flip: the probability that an image is mirrored, with its boxes and proposals. Both papers: 0.5.
        workers: processes that decode; 0 decodes in this one, which is quickest for small images.

    Returns:
        Batches `(images, targets)`, or `(images, targets, proposals)` if there are any.

    Raises:
        ValueError: not one set of proposals for each image, or a flip without a generator.

    Example:
        >>> loader = batches(train, 4, proposals, generator=generator, flip=0.5)  # doctest: +SKIP
        >>> images, targets, proposals = next(iter(loader))  # doctest: +SKIP
    """
    if proposals is not None and len(proposals) != len(dataset):
        raise ValueError(
            f"there must be proposals for each image; got {len(proposals)} for {len(dataset)} images, in the same order"
        )
    if flip > 0 and generator is None:
        raise ValueError("flips are drawn at random: pass the generator to draw them from")
    source = _Flipped(dataset, proposals, HorizontalFlip(flip, generator) if generator is not None else None)
    if generator is None:
        # A DataLoader draws a seed in each pass, from torch's global generator if it has none of its own.
        return DataLoader(source, batch_size, collate_fn=_collate, num_workers=workers, generator=torch.Generator())
    wide = [width >= height for height, width in _sizes(dataset)]
    order = OneOrientation(wide, batch_size, generator)
    # The DataLoader draws from it as well (the workers' seeds), and that is where a checkpoint finds it.
    return DataLoader(source, batch_sampler=order, collate_fn=_collate, num_workers=workers, generator=generator)


class OneOrientation(Sampler[list[int]]):
    """All images once, in random order, in batches whose images are all wide or all upright."""

    def __init__(self, wide: Sequence[bool], batch_size: int, generator: torch.Generator) -> None:
        """Set the batches.

        Args:
            wide: of each image, whether it is at least as wide as high.
            batch_size: of all batches but the last of each orientation, which may be smaller.
            generator: on the CPU; what each pass draws its order from.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more; got {batch_size}")
        are_wide = torch.tensor(wide, dtype=torch.bool)
        groups = (torch.nonzero(are_wide).flatten(), torch.nonzero(~are_wide).flatten())
        self.groups = [group for group in groups if len(group)]
        self.batch_size, self.generator = batch_size, generator

    def __len__(self) -> int:
        """Return the number of batches, the same in each pass."""
        return sum(-(-len(group) // self.batch_size) for group in self.groups)

    def __iter__(self) -> Iterator[list[int]]:
        """Draw the batches of one pass."""
        drawn: list[Tensor] = []
        for group in self.groups:
            drawn += group[torch.randperm(len(group), generator=self.generator)].split(self.batch_size)
        for i in torch.randperm(len(drawn), generator=self.generator).tolist():
            yield drawn[i].tolist()


class _Flipped(Dataset[tuple[Sample, Tensor | None]]):
    """Each image with its proposals, both mirrored or neither."""

    def __init__(self, dataset: Samples, proposals: Proposals | None, flip: HorizontalFlip | None) -> None:
        self.dataset, self.proposals, self.flip = dataset, proposals, flip

    # Where a worker process is started anew instead of forked, it gets its copy by pickling. PyTorch would hand over
    # each tensor in it as an open file, and a system allows some hundreds of those; packed here, they go as bytes.
    def __getstate__(self) -> dict[str, bytes]:
        return {"packed": pickle.dumps(self.__dict__)}

    def __setstate__(self, state: dict[str, bytes]) -> None:
        self.__dict__.update(pickle.loads(state["packed"]))

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Sample, Tensor | None]:
        sample, regions = self.dataset[index], None
        if self.proposals is not None:
            canvas = (sample.image.shape[-2], sample.image.shape[-1])
            regions = tv_tensors.BoundingBoxes(self.proposals[index], format="XYXY", canvas_size=canvas)
        return self.flip((sample, regions)) if self.flip else (sample, regions)


def _collate(items: Sequence[tuple[Sample, Tensor | None]]) -> tuple[Any, ...]:
    images, targets = collate([sample for sample, _ in items])
    regions = [of_image.as_subclass(Tensor) for _, of_image in items if of_image is not None]
    return (images, targets, regions) if regions else (images, targets)


def _sizes(dataset: Samples) -> list[tuple[int, int]]:
    """(height, width) of all images, without decoding them where the data set knows it already."""
    if isinstance(dataset, AnnotatedImages):
        return [dataset.annotation(i)["size"] for i in range(len(dataset))]
    return [dataset[i].size for i in range(len(dataset))]
