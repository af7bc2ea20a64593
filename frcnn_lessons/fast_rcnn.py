"""Fast R-CNN: one pass of the CNN over the whole image, then a small head for every region.

    images -> backbone -> feature map --.
    (N, 3, H, W)          (N, K, h, w)   >- RoI pooling -> fc6 -> fc7 -+-> scores (R, C + 1)
    proposals (R, 4) -------------------'   (R, K, 7, 7)   (R, D)      `-> deltas (R, B, 4)

R-CNN trains a network, then SVMs, then box regression. Here one loss teaches all of it at once, back through the
pooling into the backbone: the class of a region and, for a region on an object, where the object is (section 2.3).

`RoIHead` is all that follows the backbone; it does not ask where its proposals come from, so that Faster R-CNN uses it
as it is. `FastRCNN` is a backbone, a head and proposals from outside.

Source: Girshick, "Fast R-CNN", 2015 (arXiv:1504.08083): sections 2 (network and training) and 3 (detection, SVD).
Letters: N images, R regions of all of them, C classes, L = C + 1 class scores (background first), B boxes a region (L,
or 1 when the classes share it), K channels of a map of h x w cells, D hidden features.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from frcnn_lessons import boxes
from frcnn_lessons.backbones import Backbone
from frcnn_lessons.checks import check_images, check_proposals, check_settings, check_targets
from frcnn_lessons.roi_fast import roi_align, roi_pool
from frcnn_lessons.sampling import hierarchical_batch

Images = Sequence[Float[Tensor, "3 _ _"]]
Proposals = Sequence[Float[Tensor, "_ 4"]]
Targets = Sequence[Mapping[str, Any]]

# Deltas are a tenth (dx, dy) or a fifth (dw, dh) in size; as the paper, scale them to a deviation of about 1.
DELTA_WEIGHTS = (10.0, 10.0, 5.0, 5.0)


@dataclass(frozen=True)
class HeadSettings:
    """What can be chosen about a head, with the paper's values. Change one: `HeadSettings(class_agnostic=True)`."""

    pool_size: tuple[int, int] = (7, 7)  # rows and columns, section 2.1; vehicles are wide, (5, 8) suits them
    align: bool = False  # RoI align with 2 x 2 samples a bin in place of RoI pooling (lesson 06)
    aligned: bool = False  # and if so, with a cell's value at its centre; False as torchvision's own detectors
    hidden: int = 4096  # D, VGG16's; a small backbone does well with 256
    batch_norm: bool = False  # after fc6, before its ReLU: a network that starts from random weights learns faster
    class_agnostic: bool = False  # one box for all classes in place of one a class
    box_weight: float = 1.0  # lambda of equation 1
    beta: float = 1 / 9  # where smooth L1 turns from a square into a line: 1 in equation 3, 1/9 in later code, 0 is L1
    regions: int = 64  # of each image in a step, section 2.3: R = 128 from N = 2 images
    foreground_share: float = 0.25  # section 2.3
    foreground_iou: float = 0.5  # section 2.3
    background_iou: tuple[float, float] = (0.1, 0.5)  # section 2.3; (0.0, 0.5) takes in the easy background too
    report_accuracy: bool = False  # adds "accuracy" to the losses, for the curves; it is not to be summed with them
    score_threshold: float = 0.05  # the authors' code
    nms_iou: float = 0.3  # section 3: as R-CNN; torchvision has 0.5
    detections: int = 100  # of an image, at most

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        check_settings(
            self,
            rows={"pool_size": 2, "background_iou": 2},
            counts="pool_size hidden regions detections",
            shares="foreground_share foreground_iou background_iou score_threshold nms_iou",
            weights="box_weight beta",
        )


# --- the head ------------------------------------------------------------------------------------------------------


class RoIHead(nn.Module):
    """From a feature map and regions to class scores and boxes.

    Attributes:
        fc6, fc7: the two hidden layers. `head.fc6 = truncated_svd(head.fc6, 64)` makes one faster. With `batch_norm`,
            fc6 is a Linear (`fc6[0]`) and a BatchNorm1d.
        classifier: hidden -> L class scores (logits), background first.
        regressor: hidden -> deltas of B boxes, times `DELTA_WEIGHTS`.
        generator: which regions a training step learns from; store its state with the weights to repeat a training.
    """

    fc6: nn.Module  # a Linear; or a few modules in a row with `batch_norm` or after `truncated_svd`
    fc7: nn.Module

    def __init__(
        self,
        channels: int,
        stride: int,
        classes: int,
        settings: HeadSettings | None = None,
        generator: Generator | None = None,
    ) -> None:
        """Make a head with random weights.

        Args:
            channels: K of the feature map.
            stride: pixels of the image for one step on the map.
            classes: C, background not counted.
            settings: `HeadSettings()` if not given.
            generator: where the weights, and later the regions of each step, are drawn from; torch's own if not given.
        """
        super().__init__()
        self.settings = settings or HeadSettings()
        self.stride, self.classes, self.generator = stride, classes, generator
        rows, columns = self.settings.pool_size
        inputs, hidden = channels * rows * columns, self.settings.hidden
        fc6 = nn.Linear(inputs, hidden)
        self.fc6 = nn.Sequential(fc6, nn.BatchNorm1d(hidden)) if self.settings.batch_norm else fc6
        self.fc7 = nn.Linear(hidden, hidden)
        self.classifier = nn.Linear(hidden, classes + 1)
        self.regressor = nn.Linear(hidden, 4 * (1 if self.settings.class_agnostic else classes + 1))
        # The two last ones as in section 2.3: nearly "anything, right here", so that no region starts with a big loss.
        deviations = (math.sqrt(2 / inputs), math.sqrt(2 / hidden), 0.01, 0.001)
        for layer, std in zip((fc6, self.fc7, self.classifier, self.regressor), deviations, strict=True):
            nn.init.normal_(layer.get_parameter("weight"), std=std, generator=generator)
            nn.init.zeros_(layer.get_parameter("bias"))

    def forward(
        self, features: Float[Tensor, "N K h w"], regions: Proposals
    ) -> tuple[Float[Tensor, "R L"], Float[Tensor, "R B 4"]]:
        """Score regions; those of the first image come first.

        Args:
            features: one map for each image.
            regions: of each image, xyxy in pixels of the image.

        Returns:
            Class scores (logits), and deltas times `DELTA_WEIGHTS`.
        """
        s = self.settings
        if s.align:
            pooled = roi_align(features, regions, s.pool_size, 1 / self.stride, 2, s.aligned)  # (R, K, 7, 7)
        else:
            pooled = roi_pool(features, regions, s.pool_size, 1 / self.stride)
        hidden = F.relu(self.fc6(pooled.flatten(1)))  # (R, D)
        hidden = F.relu(self.fc7(hidden))
        return self.classifier(hidden), self.regressor(hidden).unflatten(1, (-1, 4))

    def losses(self, features: Float[Tensor, "N K h w"], proposals: Proposals, targets: Targets) -> dict[str, Tensor]:
        """Draw a mini-batch of regions from every image and compute the loss on it.

        Args:
            proposals: of each image, xyxy in pixels; may be none. Its objects' own boxes are added.
            targets: of each image, `boxes` (M, 4) and `labels` (M,) from 1 to C; M may be 0.

        Returns:
            `loss_classifier` and `loss_box_reg`, see `multi_task_loss`; their sum is to be made small. With
            `report_accuracy` also `accuracy`, the share of regions whose best score is that of their label.

        Raises:
            ValueError: for targets that cannot be learned from.
        """
        check_targets(targets, self.classes)
        s = self.settings
        batch = hierarchical_batch(
            proposals,
            targets,
            s.regions,
            s.foreground_share,
            s.foreground_iou,
            s.background_iou,
            DELTA_WEIGHTS,
            self.generator,
        )
        scores, deltas = self(features, [image.boxes for image in batch])
        labels = torch.cat([image.labels for image in batch])  # (R,), in the order of the regions
        goals = torch.cat([image.deltas for image in batch])  # (R, 4)
        losses = multi_task_loss(scores, deltas, labels, goals, s.box_weight, s.beta)
        if s.report_accuracy:
            losses["accuracy"] = (scores.argmax(dim=1) == labels).sum() / max(len(labels), 1)
        return losses

    @torch.no_grad()
    def detect(
        self, features: Float[Tensor, "N K h w"], proposals: Proposals, image_sizes: Sequence[tuple[int, int]]
    ) -> list[dict[str, Tensor]]:
        """Detect objects: for each image `boxes` (D, 4), `labels` (D,) and `scores` (D,), highest score first.

        Args:
            proposals: of each image, xyxy in pixels; none gives no detections.
            image_sizes: (height, width) of each image, without what it was padded with.
        """
        scores, deltas = self(features, proposals)
        counts = [len(regions) for regions in proposals]
        return [
            detections(*image, self.settings)
            for image in zip(scores.split(counts), deltas.split(counts), proposals, image_sizes, strict=True)
        ]


def multi_task_loss(
    scores: Float[Tensor, "R L"],
    deltas: Float[Tensor, "R B 4"],
    labels: Int[Tensor, " R"],
    goals: Float[Tensor, "R 4"],
    box_weight: float = 1.0,
    beta: float = 1 / 9,
) -> dict[str, Tensor]:
    """How wrong the head is about the class of regions, and about the box of those that are on an object (equation 1).

        L = -log p(label) + box_weight * [label >= 1] * sum over x, y, w, h of smooth_l1(delta - goal)

    Both parts are divided by R, *all* regions and not only those with a box: an image with few objects would
    otherwise weigh each of them more, and lambda would mean something else in every step.

    Args:
        scores: logits, background first.
        deltas: of each class (B = L), of which only the true class's enters; or of all classes together (B = 1).
        labels: 0 for background.
        goals: what `boxes.encode` gives for the region and its object; not looked at for background.
        box_weight: lambda.
        beta: below this difference, smooth L1 is a square; 0 is L1.

    Returns:
        `loss_classifier` and `loss_box_reg`, torchvision's names; both 0 when R is 0.
    """
    R = max(len(labels), 1)
    foreground = torch.nonzero(labels > 0).flatten()  # (F,)
    column = labels[foreground].clamp(max=deltas.shape[1] - 1)  # 0 where all classes share one box
    box_loss = F.smooth_l1_loss(deltas[foreground, column], goals[foreground], beta=beta, reduction="sum")
    return {
        "loss_classifier": F.cross_entropy(scores, labels, reduction="sum") / R,
        "loss_box_reg": box_weight * box_loss / R,
    }


def detections(
    scores: Float[Tensor, "R L"],
    deltas: Float[Tensor, "R B 4"],
    regions: Float[Tensor, "R 4"],
    image_size: tuple[int, int],
    settings: HeadSettings,
) -> dict[str, Tensor]:
    """From the head's output for one image to the answer. Every class of every region is a candidate of its own.

    Returns:
        `boxes` (D, 4) inside the image, `labels` (D,) from 1, `scores` (D,) as probabilities, highest first.

    Raises:
        FloatingPointError: if a score or delta is not a finite number.
    """
    if not (scores.isfinite().all() and deltas.isfinite().all()):
        raise FloatingPointError("class scores or deltas are not finite numbers (look at the image and the weights)")
    # In float32 even under mixed precision: bfloat16 has so few digits that good scores would all be 1.0.
    probability = scores.float().softmax(dim=1)[:, 1:]  # (R, C): background is no detection
    R, C = probability.shape
    corrected = boxes.decode(deltas, regions, DELTA_WEIGHTS)  # (R, B, 4)
    corrected = corrected[:, -C:].expand(R, C, 4).flatten(0, 1)  # (R * C, 4): without background's; shared if B = 1
    corrected = boxes.clip(corrected, image_size)
    labels = torch.arange(1, C + 1, device=scores.device).repeat(R)  # (R * C,)
    flat = probability.flatten()
    # Most candidates are background. Dropping them first makes suppression cheap.
    likely = torch.nonzero(flat > settings.score_threshold).flatten()
    likely = likely[boxes.remove_small(corrected[likely], 0.01)]  # what was cut down to nothing at the border
    kept = boxes.batched_nms(corrected[likely], flat[likely], labels[likely], settings.nms_iou)
    best = likely[kept[: settings.detections]]
    return {"boxes": corrected[best], "labels": labels[best], "scores": flat[best]}


def truncated_svd(layer: nn.Linear, rank: int) -> nn.Sequential:
    """Replace a fully connected layer by two thin ones that compute nearly the same (section 3.1).

    The weights u x v are U S V'; keeping only the `rank` largest singular values leaves rank * (u + v) numbers. No
    other pair of layers of that size comes closer (in the sum of squared errors).

    Args:
        rank: t. The paper keeps 1024 of 4096 for fc6 and 256 for fc7 of VGG16: a third less time, 0.3 points of mAP.

    Returns:
        V' scaled by S without a bias, then U with the bias of `layer`.
    """
    outputs, inputs = layer.weight.shape
    if not 1 <= rank <= min(outputs, inputs):
        raise ValueError(f"rank must be 1 to {min(outputs, inputs)} for a layer {inputs} -> {outputs}; got {rank}")
    U, S, V = torch.linalg.svd(layer.weight.detach(), full_matrices=False)  # (u, m), (m,), (m, v)
    first, second = nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs)
    first.weight = nn.Parameter(S[:rank, None] * V[:rank])  # (t, v)
    second.weight = nn.Parameter(U[:, :rank].contiguous())  # (u, t)
    second.bias = nn.Parameter(layer.bias.detach().clone())
    return nn.Sequential(first, second)


# --- the detector --------------------------------------------------------------------------------------------------


class FastRCNN(nn.Module):
    """Backbone and head, with torchvision's interface and proposals from outside."""

    def __init__(
        self, backbone: Backbone, classes: int, settings: HeadSettings | None = None, generator: Generator | None = None
    ) -> None:
        """Put a head with random weights on a backbone; see `RoIHead` for what the arguments mean."""
        super().__init__()
        self.backbone = backbone
        self.head = RoIHead(backbone.channels, backbone.stride, classes, settings, generator)

    def forward(
        self, images: Images, targets: Targets | None = None, proposals: Proposals | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Learn from images, or detect objects in them.

        Args:
            images: RGB, 0..1, of any sizes.
            targets: of each image, `boxes` and `labels`; needed in training only.
            proposals: of each image, xyxy in pixels, for example from selective search.

        Returns:
            In training the losses, see `RoIHead.losses`; in evaluation the detections, see `RoIHead.detect`.

        Raises:
            ValueError: if images, proposals or, in training, targets are missing, not one for each image, or bad.
        """
        if proposals is None or len(proposals) != len(images):
            raise ValueError(
                f"Fast R-CNN does not find its own proposals: give a (R, 4) tensor for each of the {len(images)} images"
            )
        if self.training and (targets is None or len(targets) != len(images)):
            raise ValueError(
                f"training needs targets, boxes and labels for each of the {len(images)} images; "
                "call model.eval() to detect objects"
            )
        check_proposals(proposals)
        features = self.backbone.features(pad_images(images, self.backbone))
        if self.training and targets is not None:
            return self.head.losses(features, proposals, targets)
        return self.head.detect(features, proposals, [(image.shape[1], image.shape[2]) for image in images])


def pad_images(images: Images, backbone: Backbone) -> Float[Tensor, "N 3 H W"]:
    """Put images of different sizes into one tensor: each at the top left, the rest in the colour of "nothing".

    Nothing is scaled and the corner stays where it was, so boxes stay valid. H and W are the next multiples of the
    backbone's stride, or a map that rounds down would lose the last rows and columns.

    Raises:
        ValueError: if they are no RGB images in 0..1.
    """
    check_images(images)
    H, W = (math.ceil(max(image.shape[d] for image in images) / backbone.stride) * backbone.stride for d in (1, 2))
    batch = backbone.normalise.mean[:, None, None].expand(len(images), 3, H, W).clone()
    for padded, image in zip(batch, images, strict=True):
        padded[:, : image.shape[1], : image.shape[2]] = image
    return batch
