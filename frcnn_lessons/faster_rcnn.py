"""Faster R-CNN: the network proposes regions to itself, and one feature map serves both halves.

    images -> backbone -> feature map -+-> RPN -> proposals (P, 4) -.
    (N, 3, H, W)          (N, K, h, w) |                            v
                                       `--------------------> RoI pooling -> head -> classes, boxes

Fast R-CNN waits for selective search; here the regions cost one more convolution on a map that is there already. Both
halves are trained at once: the four losses are added up, and both send gradients into the backbone. One thing is left
out. The proposals are results of the network too, so the head's loss also depends on the RPN's weights *through the
coordinates*; that path is cut ("approximate joint training", section 3.2): proposals are handled as if they had come
from outside.

`torchvision_twin` builds torchvision's own Faster R-CNN with the same weights, which gives the same answers;
`copy_to_torchvision` and `copy_from_torchvision` carry weights between such a pair.

Source: Ren et al., "Faster R-CNN", 2015 (arXiv:1506.01497): sections 3.2 (training) and 3.3 (numbers).
Letters: N images, C classes, K channels of a map of h x w cells, P proposals, M ground-truth boxes, D detections.
"""

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torchvision.models.detection import FasterRCNN as TorchvisionFasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.models.detection.rpn import RPNHead as TorchvisionRPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import roi_align, roi_pool

from frcnn_lessons.backbones import Backbone
from frcnn_lessons.fast_rcnn import HeadSettings, Images, RoIHead, Targets, pad_images
from frcnn_lessons.rpn import RPN, RPNSettings

# The head of Fast R-CNN but for three numbers. The paper trains on one image a step, so all 128 regions are from it
# (Fast R-CNN, 2.3: 64 from each of two); and the RPN's proposals crowd around objects, so background that touches
# none is rare enough to be kept: the authors' code set the lower bound from 0.1 to 0 and has 0.3 in testing.
HEAD = HeadSettings(regions=128, background_iou=(0.0, 0.5))


# For the street scenes with `backbones.efficientnet_lite0`, found by trying. Vehicles lie and are 14 to 150 pixels
# large, four a scene at most: few anchors and regions are enough. At an IoU of 0.7 nearly half of them would have no
# anchor but their best one. Not the paper's are RoI align (a cell is 16 pixels, some cars are 30) and, as torchvision
# has both, that it is not `aligned` and that anchors across the border are trained on: so we can be compared with it.
STREETS_RPN = RPNSettings(
    sizes=(24, 48, 80, 128),
    ratios=(0.4, 0.75),
    allow_crossing=True,
    regions=128,
    foreground_iou=0.6,
    before_nms=(400, 300),
    after_nms=(128, 100),
)
STREETS_HEAD = HeadSettings(
    pool_size=(5, 8),
    align=True,
    hidden=192,
    regions=64,
    background_iou=(0.0, 0.5),
    nms_iou=0.4,
    score_threshold=0.01,
)


class FasterRCNN(nn.Module):
    """Backbone, region proposal network and head, with torchvision's interface.

    Attributes:
        backbone: image -> feature map.
        rpn: feature map -> proposals, see `rpn.RPN`.
        head: feature map and proposals -> detections, see `fast_rcnn.RoIHead`.
    """

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        rpn_settings: RPNSettings | None = None,
        head_settings: HeadSettings | None = None,
        generator: Generator | None = None,
    ) -> None:
        """Put an RPN and a head with random weights on a backbone.

        Args:
            classes: C, background not counted.
            rpn_settings: `RPNSettings()` if not given.
            head_settings: `HEAD` if not given.
            generator: where the weights, and later the anchors and regions of each step, are drawn from; torch's own
                if not given.
        """
        super().__init__()
        self.backbone = backbone
        self.rpn = RPN(backbone.channels, backbone.stride, rpn_settings, generator)
        self.head = RoIHead(backbone.channels, backbone.stride, classes, head_settings or HEAD, generator)

    def forward(self, images: Images, targets: Targets | None = None) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Learn from images, or detect objects in them.

        Args:
            images: RGB, 0..1, of any sizes.
            targets: of each image, `boxes` (M, 4) and `labels` (M,) from 1 to C, and, if any are, `difficult` (M,); M
                may be 0. Needed in training only.

        Returns:
            In training the losses `loss_objectness`, `loss_rpn_box_reg`, `loss_classifier` and `loss_box_reg`, to be
            added up (an `accuracy`, if the settings ask for it, is not). In evaluation for each image `boxes` (D, 4),
            `labels` (D,) and `scores` (D,), highest score first.

        Raises:
            ValueError: if targets are missing in training, or not one for each image.
        """
        if self.training and (targets is None or len(targets) != len(images)):
            raise ValueError(
                f"training needs targets, boxes and labels for each of the {len(images)} images; "
                "call model.eval() to detect objects"
            )
        features = self.backbone.features(pad_images(images, self.backbone))  # (N, K, h, w)
        image_sizes = [(image.shape[1], image.shape[2]) for image in images]
        anchors = self.rpn.anchors(features)  # (T, 4)
        objectness, deltas = self.rpn(features)  # (N, T), (N, T, 4)
        proposals, _ = self.rpn.propose(objectness, deltas, anchors, image_sizes)  # (P, 4) each; no gradient
        if self.training and targets is not None:
            rpn_losses = self.rpn.losses(objectness, deltas, anchors, targets, image_sizes)
            return rpn_losses | self.head.losses(features, proposals, targets)
        return self.head.detect(features, proposals, image_sizes)


# --- torchvision's Faster R-CNN, with the same weights ---------------------------------------------------------------


def torchvision_twin(model: FasterRCNN, detect_only: bool = False) -> TorchvisionFasterRCNN:
    """Build torchvision's Faster R-CNN with the backbone, anchors, settings and weights of ours.

    In evaluation both give the same detections. In training they give the same losses for the same anchors and
    regions; which these are each draws for itself, torchvision from torch's global generator. It knows of no difficult
    objects: leave them out of its targets. (And for an object that no anchor touches at all, torchvision calls *every*
    anchor foreground; ours calls none.) Images are normalised and padded as ours does it, and not resized.

    Args:
        detect_only: the twin is not to be trained, so settings that matter in training alone may be any.

    Raises:
        ValueError: for settings that torchvision has no place for; the message says which would do.
    """
    r, h = model.rpn.settings, model.head.settings
    _check_torchvision_can(r, h, detect_only)
    backbone: Any = copy.deepcopy(model.backbone)
    mean, std = backbone.normalise.mean.tolist(), backbone.normalise.std.tolist()
    backbone.normalise = nn.Identity()  # torchvision normalises first and pads with 0 then, which is the mean
    backbone.out_channels = backbone.channels

    # Any shapes anywhere in the cell: torchvision only shifts them from cell to cell.
    anchor_generator = AnchorGenerator((r.sizes,), (r.ratios,))
    anchor_generator.cell_anchors = [model.rpn.base + r.offset * backbone.stride]
    rpn_head = TorchvisionRPNHead(backbone.channels, len(model.rpn.base))
    rpn_head.conv[0][0] = copy.deepcopy(model.rpn.head.conv)
    rpn_head.cls_logits = copy.deepcopy(model.rpn.head.objectness)
    rpn_head.bbox_pred = copy.deepcopy(model.rpn.head.regressor)
    box_head = TwoMLPHead(1, 1)
    box_head.fc6, box_head.fc7 = copy.deepcopy(model.head.fc6), copy.deepcopy(model.head.fc7)
    box_predictor = FastRCNNPredictor(1, 1)
    box_predictor.cls_score = copy.deepcopy(model.head.classifier)
    box_predictor.bbox_pred = copy.deepcopy(model.head.regressor)

    theirs = TorchvisionFasterRCNN(
        backbone,
        rpn_anchor_generator=anchor_generator,
        rpn_head=rpn_head,
        rpn_pre_nms_top_n_train=r.before_nms[0],
        rpn_pre_nms_top_n_test=r.before_nms[1],
        rpn_post_nms_top_n_train=r.after_nms[0],
        rpn_post_nms_top_n_test=r.after_nms[1],
        rpn_nms_thresh=r.nms_iou,
        rpn_fg_iou_thresh=r.foreground_iou,
        rpn_bg_iou_thresh=r.background_iou[1],
        rpn_batch_size_per_image=r.regions,
        rpn_positive_fraction=r.foreground_share,
        box_head=box_head,
        box_predictor=box_predictor,
        box_score_thresh=h.score_threshold,
        box_nms_thresh=h.nms_iou,
        box_detections_per_img=h.detections,
        box_fg_iou_thresh=h.foreground_iou,
        box_bg_iou_thresh=h.background_iou[1],
        box_batch_size_per_image=h.regions,
        box_positive_fraction=h.foreground_share,
    )
    theirs.rpn.min_size = r.min_size
    theirs.roi_heads.box_roi_pool = _Pool(h, 1 / backbone.stride)
    theirs.transform = _NoResize(1, 1, mean, std, size_divisible=backbone.stride)
    return theirs.train(model.training)


def copy_to_torchvision(model: FasterRCNN, theirs: TorchvisionFasterRCNN) -> None:
    """Copy all weights of our detector into a Faster R-CNN of torchvision; see `copy_from_torchvision`."""
    with torch.no_grad():
        for ours, other in _pairs(model, theirs):
            other.copy_(ours)


def copy_from_torchvision(model: FasterRCNN, theirs: TorchvisionFasterRCNN) -> None:
    """Copy all weights of a Faster R-CNN of torchvision into our detector.

    Both must have the same backbone, with one feature map, and as many anchors, classes and hidden features. Tensors
    go by their order, not by name: two authors, two sets of names, one order of layers. Settings are not copied.

    Args:
        theirs: as `torchvision_twin` makes it, or one of your own with torchvision's `TwoMLPHead`.

    Raises:
        ValueError: if there are more tensors on one side, or two have different shapes; nothing is copied then.
    """
    with torch.no_grad():
        for ours, other in _pairs(model, theirs):
            ours.copy_(other)


def _pairs(model: FasterRCNN, theirs: TorchvisionFasterRCNN) -> list[tuple[Tensor, Tensor]]:
    """The tensors that belong together: ours, theirs. Left out are mean and deviation of the colours, which
    torchvision keeps with its settings, and the counters of batch norm, which nothing here reads.
    """

    def weights(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in module.state_dict().items():
            if "normalise." not in name and not name.endswith("num_batches_tracked"):
                yield name, tensor

    ours, others = list(weights(model)), list(weights(theirs))
    for (name, tensor), (other_name, other) in zip(ours, others, strict=False):
        if tensor.shape != other.shape:
            raise ValueError(
                f"our {name} is {tuple(tensor.shape)} but torchvision's {other_name} is {tuple(other.shape)}: "
                "build both with the same backbone, anchors, classes and hidden features"
            )
    if len(ours) != len(others):
        raise ValueError(
            f"our detector has {len(ours)} tensors, torchvision's {len(others)}: "
            "build both with the same backbone and two hidden layers"
        )
    return [(tensor, other) for (_, tensor), (_, other) in zip(ours, others, strict=True)]


def _check_torchvision_can(r: RPNSettings, h: HeadSettings, detect_only: bool) -> None:
    """Refuse settings that would silently mean something else in torchvision."""
    wanted: list[tuple[str, Any, Any]] = [("HeadSettings.class_agnostic", h.class_agnostic, False)]
    if not detect_only:
        wanted += [
            ("RPNSettings.allow_crossing", r.allow_crossing, True),
            ("RPNSettings.background_iou", r.background_iou, (0.0, r.background_iou[1])),
            ("RPNSettings.normalise", r.normalise, "sampled"),
            ("RPNSettings.box_weight", r.box_weight, 1.0),
            ("RPNSettings.beta", r.beta, 1 / 9),
            ("HeadSettings.background_iou", h.background_iou, (0.0, h.background_iou[1])),
            ("HeadSettings.box_weight", h.box_weight, 1.0),
            ("HeadSettings.beta", h.beta, 1 / 9),
        ]
    wrong = [f"{name}={have!r} (use {want!r})" for name, have, want in wanted if have != want]
    if wrong:
        raise ValueError(
            f"torchvision's Faster R-CNN cannot be told {', '.join(wrong)}"
            + ("" if detect_only or h.class_agnostic else "; or pass detect_only=True if it is not to be trained")
        )


class _NoResize(GeneralizedRCNNTransform):
    """Normalise and pad only: in this course the data set does the resizing."""

    def resize(self, image: Tensor, target: Any = None) -> tuple[Tensor, Any]:
        return image, target


class _Pool(nn.Module):
    """torchvision's RoI align or RoI pooling at a known scale.

    Its `MultiScaleRoIAlign` guesses the scale from the sizes of image and map (wrongly, if an image is mostly padding)
    and has no RoI pooling.
    """

    def __init__(self, settings: HeadSettings, scale: float) -> None:
        super().__init__()
        self.pool = partial(roi_align, sampling_ratio=2, aligned=settings.aligned) if settings.align else roi_pool
        self.size, self.scale = settings.pool_size, scale

    def forward(self, features: dict[str, Tensor], regions: list[Tensor], _: list[tuple[int, int]]) -> Tensor:
        return self.pool(features["0"], regions, self.size, self.scale)
