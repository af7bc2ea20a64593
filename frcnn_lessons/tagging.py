"""From an image to its tags: what is in it, how sure the detector is, and where.

    path, bytes or array -> pixels -> prepare -> model -> boxes of the picture -> Tags -> as_list(), as_dict()
                            (H, W, 3)  (3, h, w)

An image that its EXIF says to turn is turned, so that boxes lie where a person sees the thing in a viewer. They are in
pixels of the picture as it was handed in, whatever size the detector looks at.

`tag_image` does all of it; a service that prepares images in one place and runs the detector on several of them in
another calls the steps, `prepare` and `tag_prepared`. Lesson 13.
Letters: an image of H x W pixels, resized to h x w; D detections.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torchvision import tv_tensors

from frcnn_lessons.batch import in_stored_image
from frcnn_lessons.datasets.images import read_pixels
from frcnn_lessons.datasets.transforms import ResizeShortSide
from frcnn_lessons.detectors import Detector


@dataclass(frozen=True)
class Tags:
    """What was found in an image, the surest first.

    Attributes:
        labels: D names of classes.
        scores: D, 0..1.
        boxes: D times [x1, y1, x2, y2] in pixels of the picture as a person sees it.
        width, height: of that picture.
    """

    labels: list[str]
    scores: list[float]
    boxes: list[list[float]]
    width: int
    height: int

    def as_list(self) -> list[str]:
        """The different labels, the surest first."""
        return list(self.as_dict())

    def as_dict(self) -> dict[str, float]:
        """The best score of each label, the highest first."""
        best: dict[str, float] = {}
        for label, score in zip(self.labels, self.scores, strict=True):
            best[label] = max(score, best.get(label, score))
        return dict(sorted(best.items(), key=lambda item: -item[1]))


def tag_image(
    image: Path | str | bytes | UInt8[np.ndarray, "H W 3"], detector: Detector, threshold: float = 0.5, limit: int = 100
) -> Tags:
    """Say what is in an image.

    Args:
        image: a JPEG or PNG file, the content of one, or RGB pixels.
        detector: see `detectors.load_detector`.
        threshold: the least score of a tag, 0..1.
        limit: at most so many boxes, the surest.

    Raises:
        DataError: the file is missing, damaged, no JPEG or PNG, of 16 bits a channel, or too large.
        ValueError: pixels of another shape or type; threshold or limit out of range.
    """
    pixels = image if isinstance(image, np.ndarray) else read_pixels(image, exif="apply")
    prepared = prepare(pixels, detector)
    return tag_prepared([(prepared, (pixels.shape[0], pixels.shape[1]))], detector, threshold, limit)[0]


def prepare(pixels: UInt8[np.ndarray, "H W 3"], detector: Detector) -> Float[Tensor, "3 h w"]:
    """Bring RGB pixels to the form and the size that the detector learned from: float32, 0..1."""
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or pixels.size == 0:
        raise ValueError(
            f"an image must be RGB pixels, uint8, H x W x 3; got {pixels.dtype}, {' x '.join(map(str, pixels.shape))}"
        )
    image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).float().div_(255)  # (3, H, W)
    resized = ResizeShortSide(detector.short_side, detector.long_side)(tv_tensors.Image(image))
    return resized.as_subclass(Tensor)


@torch.no_grad()
def tag_prepared(
    images: Sequence[tuple[Float[Tensor, "3 _ _"], tuple[int, int]]],
    detector: Detector,
    threshold: float = 0.5,
    limit: int = 100,
) -> list[Tags]:
    """Run the detector once on several images.

    Args:
        images: what `prepare` gave for each, and the picture's own (height, width).
        threshold, limit: see `tag_image`.
    """
    if not (0 <= threshold <= 1 and limit >= 1):
        raise ValueError(f"threshold must be within 0..1 and limit 1 or more; got {threshold} and {limit}")
    if not images:
        return []
    device = next(detector.model.parameters()).device
    found = detector.model([image.to(device) for image, _ in images])
    tags = []
    for (image, (height, width)), of_image in zip(images, found, strict=True):
        placed = in_stored_image(of_image, (image.shape[1], image.shape[2]), (height, width))
        kept = torch.nonzero(placed["scores"] >= threshold).flatten()[:limit]  # (D,)
        # Back at full size, rounding can put an edge a trace beyond the picture's.
        boxes = torch.minimum(placed["boxes"][kept], placed["boxes"].new_tensor([width, height, width, height]))
        labels = [detector.classes[label - 1] for label in placed["labels"][kept].tolist()]
        tags.append(Tags(labels, placed["scores"][kept].tolist(), boxes.tolist(), width, height))
    return tags
