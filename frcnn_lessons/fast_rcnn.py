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
or 1 when the classes share it), K channels of a map of h x w cells, D hidden features. Lesson 07.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from frcnn_lessons.backbones import Backbone
from frcnn_lessons.batch import (
    Detections,
    Images,
    ImageSizes,
    Losses,
    Proposals,
    Targets,
    admit,
    check_proposals,
    check_targets,
    need_proposals,
)
from frcnn_lessons.boxes import DELTA_WEIGHTS
from frcnn_lessons.rcnn import detections as best_of_each_class
from frcnn_lessons.roi_fast import roi_align_core, roi_pool_core
from frcnn_lessons.sampling import hierarchical_batch_core
from frcnn_lessons.settings import Count, Share, Weight, check_settings

SAMPLING_RATIO = 2  # RoI align looks at 2 x 2 points of a bin, as torchvision's detectors do


@dataclass(frozen=True)
class HeadSettings:
    """What can be chosen about a head, with the paper's values. Change one: `HeadSettings(class_agnostic=True)`."""

    pool_size: tuple[Count, Count] = (7, 7)  # rows and columns, section 2.1; vehicles are wide, (5, 8) suits them
    align: bool = False  # RoI align with 2 x 2 samples a bin in place of RoI pooling (lesson 06)
    aligned: bool = False  # and if so, with a cell's value at its centre; False as torchvision's own detectors
    hidden: Count = 4096  # D, VGG16's; a small backbone does well with 256
    batch_norm: bool = False  # after fc6, before its ReLU: a network that starts from random weights learns faster
    class_agnostic: bool = False  # one box for all classes in place of one a class
    box_weight: Weight = 1.0  # lambda of equation 1
    beta: Weight = 1 / 9  # where smooth L1 turns from a square into a line: 1 in equation 3, 1/9 in later code, 0 is L1
    regions: Count = 64  # of each image in a step, section 2.3: R = 128 from N = 2 images
    foreground_share: Share = 0.25  # section 2.3
    foreground_iou: Share = 0.5  # section 2.3
    background_iou: tuple[Share, Share] = (0.1, 0.5)  # section 2.3; (0.0, 0.5) takes in the easy background too
    report_accuracy: bool = False  # adds "accuracy" to the losses, for the curves; it is not to be summed with them
    score_threshold: Share = 0.05  # the authors' code
    nms_iou: Share = 0.3  # section 3: as R-CNN; torchvision has 0.5
    detections: Count = 100  # of an image, at most

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        check_settings(self)


class RoIHead(nn.Module):
    """From a feature map and regions to class scores and boxes.

    Attributes:
        fc6, fc7: the two hidden layers. `head.fc6 = truncated_svd(head.fc6, 64)` makes one faster, and those of VGG16
            come with ImageNet weights (`vgg_head`). With `batch_norm`, fc6 is a Linear and a BatchNorm1d.
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
            channels, stride: of the feature map, see `Backbone`.
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
        # fc6 and fc7 as PyTorch's own layers, at a sixth of He's variance: 0.02 more AP on streets and photographs. The
        # last two as in section 2.3: nearly "anything, right here", so that no region starts with a big loss.
        deviations = (math.sqrt(1 / 3 / inputs), math.sqrt(1 / 3 / hidden), 0.01, 0.001)
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
            pooled = roi_align_core(features, regions, s.pool_size, 1 / self.stride, SAMPLING_RATIO, s.aligned)
        else:
            pooled = roi_pool_core(features, regions, s.pool_size, 1 / self.stride)  # (R, K, 7, 7)
        hidden = F.relu(self.fc6(pooled.flatten(1)))  # (R, D)
        hidden = F.relu(self.fc7(hidden))
        return self.classifier(hidden), self.regressor(hidden).unflatten(1, (-1, 4))

    def losses(self, features: Float[Tensor, "N K h w"], proposals: Proposals, targets: Targets) -> Losses:
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
        check_proposals(proposals)
        check_targets(targets, self.classes)
        return self.losses_core(features, proposals, targets)

    def losses_core(self, features: Float[Tensor, "N K h w"], proposals: Proposals, targets: Targets) -> Losses:
        """`losses`, of proposals and targets that have been checked."""
        s = self.settings
        batch = hierarchical_batch_core(
            proposals,
            targets,
            regions_per_image=s.regions,
            foreground_share=s.foreground_share,
            foreground_iou=s.foreground_iou,
            background_iou=s.background_iou,
            weights=DELTA_WEIGHTS,
            generator=self.generator,
        )
        scores, deltas = self(features, [of_image.boxes for of_image in batch])
        labels = torch.cat([of_image.labels for of_image in batch])  # (R,), in the order of the regions
        goals = torch.cat([of_image.deltas for of_image in batch])  # (R, 4)
        losses = multi_task_loss(scores, deltas, labels, goals, s.box_weight, s.beta)
        if s.report_accuracy:
            losses["accuracy"] = (scores.argmax(dim=1) == labels).sum() / max(len(labels), 1)
        return losses

    @torch.no_grad()
    def detect(
        self, features: Float[Tensor, "N K h w"], proposals: Proposals, image_sizes: ImageSizes
    ) -> list[Detections]:
        """Detect objects: for each image `boxes` (D, 4), `labels` (D,) and `scores` (D,), highest score first.

        Args:
            proposals: of each image, xyxy in pixels; none gives no detections.
            image_sizes: (height, width) of each image, without what it was padded with.
        """
        scores, deltas = self(features, proposals)
        counts = [len(regions) for regions in proposals]
        of_images = zip(scores.split(counts), deltas.split(counts), proposals, image_sizes, strict=True)
        return [detections(s, d, regions, size, self.settings) for s, d, regions, size in of_images]


def multi_task_loss(
    scores: Float[Tensor, "R L"],
    deltas: Float[Tensor, "R B 4"],
    labels: Int[Tensor, " R"],
    goals: Float[Tensor, "R 4"],
    box_weight: float = 1.0,
    beta: float = 1 / 9,
) -> Losses:
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
    R, labels = max(len(labels), 1), labels.long()
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
) -> Detections:
    """From the head's output for one image to the answer. Every class of every region is a candidate of its own.

    Returns:
        `boxes` (D, 4) inside the image, `labels` (D,) from 1, `scores` (D,) as probabilities, highest first.

    Raises:
        FloatingPointError: if a score or delta is not a finite number.
    """
    if not (scores.isfinite().all() & deltas.isfinite().all()):
        # NaN scores are below every threshold: there would be no detections, and no word about why.
        raise FloatingPointError("class scores or deltas are not finite numbers (look at the image and the weights)")
    # In float32 even under mixed precision: bfloat16 has so few digits that good scores would all be 1.0.
    probability = scores.float().softmax(dim=1)
    classes = slice(1, None)  # background is no detection
    return best_of_each_class(
        regions,
        probability[:, classes],  # (R, C)
        deltas if deltas.shape[1] == 1 else deltas[:, classes],  # (R, C, 4), or (R, 1, 4) if the classes share a box
        image_size,
        score_threshold=settings.score_threshold,
        nms_iou=settings.nms_iou,
        limit=settings.detections,
        weights=DELTA_WEIGHTS,
    )


def truncated_svd(layer: nn.Linear, rank: int) -> nn.Sequential:
    """Replace a fully connected layer by two thin ones that compute nearly the same (section 3.1).

    Of the u x v weights, U S V', only the `rank` largest singular values are kept, rank * (u + v) numbers: S V' without
    a bias, then U with that of `layer`. The paper keeps 1024 of 4096 for fc6 and 256 for fc7 of VGG16.
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
    ) -> Losses | list[Detections]:
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
        proposals = need_proposals("Fast R-CNN", images, proposals)
        batch = admit(images, self.backbone, targets, proposals, self.head.classes, self.training)
        features = self.backbone.features(batch.pixels)  # (N, K, h, w)
        if batch.targets is not None:
            return self.head.losses_core(features, batch.proposals, batch.targets)
        return self.head.detect(features, batch.proposals, batch.sizes)
