"""A detector from a few plain words, and from a file that says them itself.

A file of weights is of no use to a stranger: which network, which anchors, what is class 3, at which size are images
to be shown? `Description` says all of it in plain values. `build_detector` makes the network from it, with random
weights or ImageNet's; a checkpoint holds it beside the weights, so that `load_detector(path)` needs nothing else.

`choose_anchors` looks up from the boxes of a training set what the paper chose for PASCAL VOC by hand.

A loaded detector is called as `model(images)`, whatever it is: R-CNN, SPPNet and Fast R-CNN do not find their own
proposals, so `WithProposals` runs selective search for them.

Sources: the papers of each detector; `torchvision` is Faster R-CNN as torchvision's own class builds it. Lesson 12.
Letters: M boxes of a training set, C classes.
"""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN as TorchvisionFasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

from frcnn_lessons import backbones
from frcnn_lessons.backbones import Backbone
from frcnn_lessons.batch import Detections, Images, Losses, Targets
from frcnn_lessons.checkpoints import DETECTOR_PARTS, CheckpointError, check_weights, read_checkpoint, write_checkpoint
from frcnn_lessons.fast_rcnn import SAMPLING_RATIO, FastRCNN, HeadSettings
from frcnn_lessons.faster_rcnn import HEAD, FasterRCNN
from frcnn_lessons.files import user_path
from frcnn_lessons.rcnn import RCNN, RegionNetwork
from frcnn_lessons.rpn import RPNSettings
from frcnn_lessons.sampling import learnable
from frcnn_lessons.selective_search import proposals as selective_search
from frcnn_lessons.settings import Count, Whole, check_settings
from frcnn_lessons.sppnet import PyramidNetwork, SPPNet

DetectorName = Literal["faster", "fast", "rcnn", "sppnet", "faster-four-step", "torchvision"]
BackboneName = Literal["efficientnet_lite0", "vgg16", "resnet50", "mini"]

NEED_PROPOSALS = ("fast", "rcnn", "sppnet")
WITH_SVMS = ("rcnn", "sppnet")  # they learn in stages, by methods of their own
MAX_PROPOSALS = 500  # the most promising of an image: SINGLE makes some 300 of a photograph


@dataclass(frozen=True)
class Description:
    """All that has to be known to build a detector anew, but its weights.

    Attributes:
        detector, backbone: by name; `resnet50` has stride 32 and 2,048 channels here, as in torchvision's classifier.
        classes: C names; the label of the first is 1.
        short_side, long_side: pixels; every image is resized before the detector sees it (`ResizeShortSide`).
        frozen_stages, frozen_norm: what of the backbone does not learn, see `Backbone.freeze`.
        rpn: of `faster`, `faster-four-step` and `torchvision`.
        head: of these and `fast`.
        window: the side of R-CNN's windows in pixels; the paper has 227.
    """

    detector: DetectorName
    backbone: BackboneName
    classes: tuple[str, ...]
    short_side: Count = 600
    long_side: Count = 1000
    frozen_stages: Whole = 0
    frozen_norm: bool = False
    rpn: RPNSettings = field(default_factory=RPNSettings)
    head: HeadSettings = HEAD
    window: Count = 96

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        check_settings(self)
        names = self.classes
        if not names or not all(type(name) is str and name for name in names) or len(set(names)) < len(names):
            raise ValueError(f"classes must be one or more different names; got {names!r}")


@dataclass(frozen=True)
class Detector:
    """A trained detector and what belongs to it.

    Attributes:
        model: in evaluation; `model(images)` gives `boxes`, `labels` and `scores` of each image.
        classes: C names; the label of the first is 1.
        short_side, long_side: pixels; an image is resized to them first.
        about: plain values for people to read: `detector`, `backbone`, and what the training wrote, such as `ap50`.
    """

    model: nn.Module
    classes: tuple[str, ...]
    short_side: int
    long_side: int
    about: dict[str, Any]


# --- from words to a network --------------------------------------------------------------------------------------


def build_detector(
    description: Description, generator: torch.Generator | None = None, pretrained: bool = False
) -> nn.Module:
    """Make the detector that is described.

    Args:
        generator: where weights and, in training, anchors and regions are drawn from; torch's own if not given. The
            larger backbones, and torchvision's detector in training, draw from torch's own in any case.
        pretrained: start the backbone from ImageNet weights (`mini` has none). VGG16 and ResNet-50 download them.

    Returns:
        A network in training mode with the description as `model.description`, which its checkpoints hold. R-CNN and
        SPPNet still have to be given the weights of their stages.

    Raises:
        ConnectionError: the weights cannot be downloaded.
    """
    d, classes = description, len(description.classes)
    backbone = _backbone(d.backbone, generator, pretrained).freeze(d.frozen_stages, d.frozen_norm)
    model: nn.Module
    if d.detector == "torchvision":
        model = torchvision_detector(backbone, classes, d.rpn, d.head, d.short_side, d.long_side, generator)
    elif d.detector == "fast":
        model = FastRCNN(backbone, classes, d.head, generator)
    elif d.detector == "rcnn":
        padding = 16 * d.window / 227  # the paper's share of context
        network = RegionNetwork(backbone, classes, d.window, padding, generator=generator)
        model = RCNN(network, *_last_stages(network, classes))
    elif d.detector == "sppnet":
        pyramid = PyramidNetwork(backbone, classes, generator=generator)
        model = SPPNet(pyramid, *_last_stages(pyramid, classes))
    else:
        model = FasterRCNN(backbone, classes, d.rpn, d.head, generator)
    model.description = asdict(description)  # type: ignore[assignment]  # (mypy takes what a module holds for a tensor)
    return model


def _backbone(name: BackboneName, generator: torch.Generator | None, pretrained: bool) -> Backbone:
    if name == "mini":
        return backbones.mini(generator)
    if name == "efficientnet_lite0":
        return backbones.efficientnet_lite0(pretrained)
    weights = "DEFAULT" if pretrained else None
    return backbones.vgg16(weights) if name == "vgg16" else backbones.resnet50(weights, stride=32)


def _last_stages(network: RegionNetwork | PyramidNetwork, classes: int) -> tuple[nn.Linear, nn.Linear]:
    """Places for what `train_svms` and `fit_box_regression` will fit."""
    hidden: Any = network.hidden[0]
    return nn.Linear(hidden.out_features, classes), nn.Linear(hidden.in_features, 4 * classes)


def torchvision_detector(
    backbone: Backbone,
    classes: int,
    rpn: RPNSettings,
    head: HeadSettings,
    short_side: int,
    long_side: int,
    generator: torch.Generator | None = None,
) -> TorchvisionFasterRCNN:
    """Torchvision's own Faster R-CNN: its anchors, its RoI align, its initial weights, as its users configure it.

    (`torchvision_twin` is the other way round: torchvision's class made to compute what ours does.) What torchvision
    has no argument for is not looked at in the settings: `offset`, `rounding`, `allow_crossing` and the like.
    Fully connected layers and class scores start at N(0, 0.01), boxes at N(0, 0.001).
    """
    mean, std = backbone.normalise.mean.tolist(), backbone.normalise.std.tolist()
    stages: Any = backbone
    stages.normalise = nn.Identity()  # torchvision normalises and resizes by itself
    stages.out_channels = backbone.channels
    box_head = TwoMLPHead(backbone.channels * math.prod(head.pool_size), head.hidden)
    box_predictor = FastRCNNPredictor(head.hidden, classes + 1)  # with background
    for layer in (box_head.fc6, box_head.fc7, box_predictor.cls_score, box_predictor.bbox_pred):
        nn.init.normal_(layer.weight, std=0.001 if layer is box_predictor.bbox_pred else 0.01, generator=generator)
        nn.init.zeros_(layer.bias)
    return _TorchvisionFasterRCNN(
        stages,
        min_size=short_side,
        max_size=long_side,
        image_mean=mean,
        image_std=std,
        rpn_anchor_generator=AnchorGenerator((rpn.sizes,), (rpn.ratios,)),
        box_roi_pool=MultiScaleRoIAlign(["0"], head.pool_size, SAMPLING_RATIO),
        box_head=box_head,
        box_predictor=box_predictor,
        **torchvision_settings(rpn, head),
    )


def torchvision_settings(rpn: RPNSettings, head: HeadSettings) -> dict[str, Any]:
    """What torchvision's Faster R-CNN calls the settings of ours; of two in a tuple the first is for training."""
    return {
        "rpn_pre_nms_top_n_train": rpn.before_nms[0],
        "rpn_pre_nms_top_n_test": rpn.before_nms[1],
        "rpn_post_nms_top_n_train": rpn.after_nms[0],
        "rpn_post_nms_top_n_test": rpn.after_nms[1],
        "rpn_nms_thresh": rpn.nms_iou,
        "rpn_fg_iou_thresh": rpn.foreground_iou,
        "rpn_bg_iou_thresh": rpn.background_iou[1],
        "rpn_batch_size_per_image": rpn.regions,
        "rpn_positive_fraction": rpn.foreground_share,
        "box_score_thresh": head.score_threshold,
        "box_nms_thresh": head.nms_iou,
        "box_detections_per_img": head.detections,
        "box_fg_iou_thresh": head.foreground_iou,
        "box_bg_iou_thresh": head.background_iou[1],
        "box_batch_size_per_image": head.regions,
        "box_positive_fraction": head.foreground_share,
    }


class _TorchvisionFasterRCNN(TorchvisionFasterRCNN):
    """Does not learn difficult objects: torchvision knows of none."""

    def forward(self, images: Images, targets: Targets | None = None) -> Losses | list[Detections]:
        if targets is not None:
            targets = [
                {**target, "boxes": target["boxes"][learned], "labels": target["labels"][learned]}
                for target in targets
                for learned in [learnable(target["boxes"], target.get("difficult"))]
            ]
        return super().forward(images, targets)


class WithProposals(nn.Module):
    """R-CNN, SPPNet or Fast R-CNN with selective search before it: `model(images)` is enough.

    The scores of R-CNN and SPPNet are margins of SVMs; they are brought to 0..1 by 1 / (1 + exp(-margin)), so that 0.5
    is where the SVM itself draws the line. Their order stays.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @torch.no_grad()
    def forward(self, images: Images) -> list[Detections]:
        """Detect objects in images: RGB, 0..1, of any sizes."""
        device = next(self.model.parameters()).device
        proposals = [find_proposals(image).to(device) for image in images]
        found = self.model([image.to(device) for image in images], proposals=proposals)
        if isinstance(self.model, RCNN):
            found = [{**of_image, "scores": of_image["scores"].sigmoid()} for of_image in found]
        return found


def find_proposals(image: Float[Tensor, "3 H W"], cache: Path | None = None) -> Float[Tensor, "R 4"]:
    """The proposals of selective search that these detectors learn from and look at, R at most MAX_PROPOSALS."""
    return selective_search(image.as_subclass(Tensor).cpu(), cache=cache)[:MAX_PROPOSALS]


# --- from a file to a detector ------------------------------------------------------------------------------------


def save_detector(path: Path | str, model: nn.Module) -> None:
    """Write the weights of a detector that `build_detector` made, and its description, whole or not at all."""
    write_checkpoint(user_path(path), {"description": model.description, "model": model.state_dict()})


def load_detector(path: Path | str) -> Detector:
    """Read a detector from a file of `save_detector`, or from a checkpoint of its training. Nothing in it is run.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is damaged, is no such file, or does not say which detector it is of.
    """
    content = read_checkpoint(path, DETECTOR_PARTS)
    stored = content["description"]
    try:
        about = stored.get("about", {})
        named = {name: value for name, value in stored.items() if name != "about"}
        described = Description(
            **{**named, "rpn": RPNSettings(**stored["rpn"]), "head": HeadSettings(**stored["head"])}
        )
        model = build_detector(described, torch.Generator())
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} does not say how its detector is built ({error}); use a file that `frcnn-lessons train` or "
            "detectors.save_detector wrote"
        ) from error
    check_weights(Path(path), content["model"], model)
    model.load_state_dict(content["model"])
    if described.detector in NEED_PROPOSALS:
        model = WithProposals(model)
    return Detector(
        model.eval(),
        described.classes,
        described.short_side,
        described.long_side,
        {"detector": described.detector, "backbone": described.backbone, **about},
    )


# --- anchors for a data set ---------------------------------------------------------------------------------------


def choose_anchors(boxes: Float[Tensor, "M 4"]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Sizes and ratios of anchors that suit the boxes of a training set.

    From the 5th to the 95th percentile of the boxes' sizes (square roots of their areas) and of their height / width,
    as few values as leave no gap wider than a factor of 2, evenly spread on a logarithmic scale. So if a box of that
    range and the best anchor for it lie around one centre, their sides differ by so little that IoU is 0.5 or more.

    Args:
        boxes: of all images of the set, xyxy in pixels of the images *as the detector sees them*, resized; M from 1.

    Returns:
        sizes, ratios: both ascending, rounded to two digits, for `RPNSettings`.
    """
    if len(boxes) == 0:
        raise ValueError("anchors are chosen from the boxes of a training set, and it has none; add annotated images")
    width, height = (boxes[:, 2:] - boxes[:, :2]).double().unbind(dim=1)  # (M,), (M,)
    return _spread((width * height).sqrt()), _spread(height / width)


def _spread(values: Float[Tensor, " M"]) -> tuple[float, ...]:
    """Middles of as few equal stretches as cover the values, on a logarithmic scale, each a factor of 2 or less."""
    low, high = values.log2().quantile(values.new_tensor([0.05, 0.95])).tolist()
    count = max(1, math.ceil(high - low - 1e-6))
    middles = [2 ** (low + (i + 0.5) * (high - low) / count) for i in range(count)]
    return tuple(float(f"{middle:.2g}") for middle in middles)
