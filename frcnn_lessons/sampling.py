"""Choose which regions a training step learns from.

A detector sees thousands of regions an image and nearly all are background. Three steps make a balanced mini-batch:
`match` says what each region should be, `sample` picks a few of each kind, and `hierarchical_batch` does both for a few
images at a time and says what the network should answer for each region.

Sources: Fast R-CNN, section 2.3 "Mini-batch sampling"; Faster R-CNN, section 3.1.2 "Loss function".
Shapes: N images; R regions (or anchors) and K ground-truth boxes in one of them, S of the regions sampled. Lesson 07.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from frcnn_lessons import boxes
from frcnn_lessons.batch import Proposals, Targets, check_proposals, check_targets

FOREGROUND, BACKGROUND, IGNORED = 1, 0, -1


def match(
    iou: Float[Tensor, "R K"],
    foreground_iou: float = 0.7,
    background_iou: tuple[float, float] = (0.0, 0.3),
    keep_best: bool = True,
) -> tuple[Int[Tensor, " R"], Int[Tensor, " R"]]:
    """Give every region its best ground-truth box and a verdict.

    Args:
        iou: overlap of each region with each ground-truth box, in 0..1. K may be 0.
        foreground_iou: a region at or above it is FOREGROUND.
        background_iou: a region with best overlap in [low, high) is BACKGROUND; Fast R-CNN uses (0.1, 0.5), the RPN
            (0.0, 0.3).
        keep_best: also make FOREGROUND every region that no other region beats on some ground-truth box (ties
            included), so that no object goes unlearned. The RPN needs it; Fast R-CNN does not, as the ground-truth
            boxes are among its regions.

    Returns:
        best: index of the ground-truth box with the highest overlap, the first of several; 0 where K is 0.
        verdict: FOREGROUND, BACKGROUND or IGNORED. Where K is 0, all is BACKGROUND.

    Raises:
        ValueError: if the thresholds are not in order, low <= high <= foreground_iou.

    Example:
        Three regions, two objects. Region 1 overlaps object 1 more than any other region does:

        >>> iou = torch.tensor([[0.8, 0.1], [0.2, 0.4], [0.1, 0.0]])
        >>> match(iou)
        (tensor([0, 1, 0]), tensor([1, 1, 0]))
        >>> match(iou, keep_best=False)[1]  # 0.4 is neither: left out of the loss
        tensor([ 1, -1,  0])
    """
    low, high = background_iou
    if not low <= high <= foreground_iou:
        raise ValueError(f"thresholds must rise: background_iou {background_iou}, then foreground_iou {foreground_iou}")
    R, K = iou.shape
    if K == 0:  # an image without objects: everything is background
        return iou.new_zeros(R, dtype=torch.long), iou.new_full((R,), BACKGROUND, dtype=torch.long)

    overlap, best = iou.max(dim=1)  # (R,), (R,)
    verdict = torch.full_like(best, IGNORED)
    verdict[(overlap >= low) & (overlap < high)] = BACKGROUND
    verdict[overlap >= foreground_iou] = FOREGROUND
    if keep_best and R > 0:
        best_of_object = iou.max(dim=0).values  # (K,)
        # An object that nothing touches has best 0; without "> 0" every region would "tie" for it.
        winner = ((iou == best_of_object) & (best_of_object > 0)).any(dim=1)  # (R,)
        verdict[winner] = FOREGROUND
    return best, verdict


def on_difficult(
    iou: Float[Tensor, "R K"], difficult: Bool[Tensor, " K"] | None, threshold: float
) -> Bool[Tensor, " R"]:
    """Which regions lie on an object that is marked difficult, by `threshold` or more: never taught as background.

    Nothing is learned from such an object either, but "there is nothing" would be no fair answer where it is. `iou` is
    with every object of the image, difficult or not; `difficult` is None where none is.
    """
    return iou.new_zeros(len(iou), dtype=torch.bool) if difficult is None else (iou[:, difficult] >= threshold).any(1)


def learnable(boxes: Float[Tensor, "K 4"], difficult: Bool[Tensor, " K"] | None) -> Int[Tensor, " L"]:
    """Rows of the objects that are learned from: all that are not marked difficult."""
    everything = torch.arange(len(boxes), device=boxes.device)
    return everything if difficult is None else everything[~difficult]


def draw(rows: Int[Tensor, " R"], count: int, generator: torch.Generator | None = None) -> Int[Tensor, " S"]:
    """Draw `count` of these rows without replacement, in random order; all of them where there are not so many.

    Drawn where the generator lives: a CPU generator gives the same rows whatever the data lies on.
    """
    where = torch.device("cpu") if generator is None else generator.device
    order = torch.randperm(len(rows), generator=generator, device=where)
    return rows[order[:count].to(rows.device)]


def sample(
    verdict: Int[Tensor, " R"], size: int, foreground_share: float, generator: torch.Generator | None = None
) -> tuple[Int[Tensor, " F"], Int[Tensor, " B"]]:
    """Draw a balanced mini-batch, without replacement: rows of foreground and of background, each in random order.

    Takes up to `foreground_share * size` foreground regions and fills the rest with background; returns fewer than
    `size` when there are not enough. (Padding with repeats, as some code does, would count the same region twice in
    the loss.)

    Example:
        Of four, one may be foreground; the last region is neither kind and never drawn:

        >>> verdict = torch.tensor([FOREGROUND, FOREGROUND, BACKGROUND, BACKGROUND, IGNORED])
        >>> [len(kind) for kind in sample(verdict, 4, 0.25, torch.Generator().manual_seed(0))]
        [1, 2]
    """
    foreground = draw(torch.nonzero(verdict == FOREGROUND).flatten(), int(foreground_share * size), generator)
    background = draw(torch.nonzero(verdict == BACKGROUND).flatten(), size - len(foreground), generator)
    return foreground, background


class SampledRegions(NamedTuple):
    """The regions of one image that a training step learns from; row i of each field is about the same region.

    Foreground comes first.
    """

    boxes: Float[Tensor, "S 4"]
    labels: Int[Tensor, " S"]  # the class of the object that each matches, 0 for background
    deltas: Float[Tensor, "S 4"]  # from each foreground region to its object (`boxes.encode`); 0 for background
    foreground: Bool[Tensor, " S"]  # which rows count in the box loss
    matched: Int[Tensor, " S"]  # which of `target["boxes"]` each foreground region matches; -1 for background


def hierarchical_batch(
    proposals: Proposals,
    targets: Targets,
    regions_per_image: int = 64,
    foreground_share: float = 0.25,
    foreground_iou: float = 0.5,
    background_iou: tuple[float, float] = (0.1, 0.5),
    weights: tuple[float, float, float, float] = boxes.DELTA_WEIGHTS,
    generator: torch.Generator | None = None,
) -> list[SampledRegions]:
    """Sample images first, then regions within them: 2 images with 64 regions each instead of 128 with one each.

    The regions of one image share its feature map, so that the backbone runs N times a step, not R times. The values
    given are those of the paper (section 2.3).

    Args:
        proposals: of each of the N images. The ground-truth boxes are added to them: an object that no proposal meets
            is learned all the same, and the box loss sees a perfect region.
        targets: `boxes` (K, 4), `labels` (K,), 1..C, and, if any are, `difficult` (K,) of each image; K may be 0: all
            its proposals are background. Nothing is learned from objects marked difficult, nor from regions that
            overlap only such a one by `foreground_iou`, see `on_difficult`.
        regions_per_image: R / N of the paper, 128 / 2. An image with too few regions gives fewer.
        foreground_share: at most this share of them is foreground.
        foreground_iou: a region is foreground if it overlaps an object by at least this.
        background_iou: it is background if its best overlap lies in [low, high). The paper's 0.1 leaves out what is
            far from any object, a crude way to find hard examples; 0.0 takes everything, as torchvision does.
        weights: factors of the deltas, see `boxes.encode`.
        generator: what the regions are drawn with; torch's own if not given.

    Raises:
        ValueError: if there are not as many proposals as targets, or one of them is bad.
    """
    if len(proposals) != len(targets):
        raise ValueError(f"proposals and targets must list the same images; got {len(proposals)} and {len(targets)}")
    check_proposals(proposals)
    check_targets(targets, classes=math.inf)
    return hierarchical_batch_core(
        proposals, targets, regions_per_image, foreground_share, foreground_iou, background_iou, weights, generator
    )


def hierarchical_batch_core(
    proposals: Proposals,
    targets: Targets,
    regions_per_image: int,
    foreground_share: float,
    foreground_iou: float,
    background_iou: tuple[float, float],
    weights: tuple[float, float, float, float],
    generator: torch.Generator | None,
) -> list[SampledRegions]:
    """`hierarchical_batch`, of what has been checked."""
    batch = []
    for of_image, target in zip(proposals, targets, strict=True):
        gt_boxes, difficult = target["boxes"].to(of_image), target.get("difficult")  # (K, 4), (K,)
        learned = learnable(gt_boxes, difficult)  # (L,)
        regions = torch.cat([of_image, gt_boxes[learned]])  # (R, 4)
        iou = boxes.iou_core(regions, gt_boxes)  # (R, K)
        best, verdict = match(iou[:, learned], foreground_iou, background_iou, keep_best=False)  # (R,), (R,)
        verdict[on_difficult(iou, difficult, foreground_iou) & (verdict == BACKGROUND)] = IGNORED
        foreground, background = sample(verdict, regions_per_image, foreground_share, generator)  # (F,), (S - F,)

        chosen, first = torch.cat([foreground, background]), slice(len(foreground))  # (S,)
        regions, matched = regions[chosen], torch.full_like(chosen, -1)
        labels, deltas = torch.zeros_like(chosen), torch.zeros_like(regions)
        matched[first] = learned[best[foreground]]
        labels[first] = target["labels"][matched[first]].to(labels)
        deltas[first] = boxes.encode_core(gt_boxes[matched[first]], regions[first], weights)
        batch.append(SampledRegions(regions, labels, deltas, matched >= 0, matched))
    return batch
