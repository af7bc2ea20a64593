"""torchvision's Faster R-CNN with the backbone, settings and weights of ours: the proof that ours is right.

`torchvision_twin` builds it, and both give the same answers; `copy_to_torchvision` and `copy_from_torchvision` carry
weights between such a pair. `OUR_NAMES` says of each argument of torchvision's class what it is called here. Lesson 10.
"""

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN as TorchvisionFasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.models.detection.rpn import RPNHead as TorchvisionRPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import roi_align, roi_pool

from frcnn_lessons.detectors import torchvision_settings
from frcnn_lessons.fast_rcnn import SAMPLING_RATIO, HeadSettings
from frcnn_lessons.faster_rcnn import FasterRCNN
from frcnn_lessons.rpn import RPNSettings

# The 29 arguments of torchvision's constructor, in its order, and where ours keeps the same thing.
OUR_NAMES = {
    "backbone": "FasterRCNN(backbone)",
    "num_classes": "FasterRCNN(classes) + 1, for background",
    "min_size": "ResizeShortSide(short)",
    "max_size": "ResizeShortSide(cap)",
    "image_mean": "Backbone.normalise.mean",
    "image_std": "Backbone.normalise.std",
    "rpn_anchor_generator": "RPNSettings.sizes, RPNSettings.ratios",
    "rpn_head": "RPN.head",
    "rpn_pre_nms_top_n_train": "RPNSettings.before_nms[0]",
    "rpn_pre_nms_top_n_test": "RPNSettings.before_nms[1]",
    "rpn_post_nms_top_n_train": "RPNSettings.after_nms[0]",
    "rpn_post_nms_top_n_test": "RPNSettings.after_nms[1]",
    "rpn_nms_thresh": "RPNSettings.nms_iou",
    "rpn_fg_iou_thresh": "RPNSettings.foreground_iou",
    "rpn_bg_iou_thresh": "RPNSettings.background_iou[1]",
    "rpn_batch_size_per_image": "RPNSettings.regions",
    "rpn_positive_fraction": "RPNSettings.foreground_share",
    "rpn_score_thresh": "none: a fixed number of the best",
    "box_roi_pool": "HeadSettings.pool_size, HeadSettings.align",
    "box_head": "RoIHead.fc6, RoIHead.fc7",
    "box_predictor": "RoIHead.classifier, RoIHead.regressor",
    "box_score_thresh": "HeadSettings.score_threshold",
    "box_nms_thresh": "HeadSettings.nms_iou",
    "box_detections_per_img": "HeadSettings.detections",
    "box_fg_iou_thresh": "HeadSettings.foreground_iou",
    "box_bg_iou_thresh": "HeadSettings.background_iou[1]",
    "box_batch_size_per_image": "HeadSettings.regions",
    "box_positive_fraction": "HeadSettings.foreground_share",
    "bbox_reg_weights": "none: always (10, 10, 5, 5)",
}


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
        box_head=box_head,
        box_predictor=box_predictor,
        **torchvision_settings(r, h),
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
        align = partial(roi_align, sampling_ratio=SAMPLING_RATIO, aligned=settings.aligned)
        self.pool = align if settings.align else roi_pool
        self.size, self.scale = settings.pool_size, scale

    def forward(self, features: dict[str, Tensor], regions: list[Tensor], _: list[tuple[int, int]]) -> Tensor:
        return self.pool(features["0"], regions, self.size, self.scale)
