"""Settings that were found by trying, for the data that the course trains on and for a reader's own.

The modules of the detectors hold the papers' numbers as their defaults; what suits small pictures of vehicles stands
here (lesson 10), what `frcnn-lessons train` begins with for data that nobody has seen, and what a published tagging
service was trained with. Lesson 12.
"""

from dataclasses import dataclass, replace

from frcnn_lessons.detectors import BackboneName, DetectorName
from frcnn_lessons.fast_rcnn import HeadSettings
from frcnn_lessons.rpn import RPNSettings
from frcnn_lessons.schedule import Settings

# For the street scenes with `backbones.efficientnet_lite0`, found by trying. Vehicles lie and are 14 to 150 pixels
# large, four a scene at most: few anchors and regions are enough. At an IoU of 0.7 more than half would have no
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
# Fast R-CNN's head on the proposals of selective search, which fit less well than those of an RPN.
STREETS_FAST_HEAD = HeadSettings(
    pool_size=(4, 6),
    align=True,
    aligned=True,
    hidden=192,
    foreground_iou=0.4,
    background_iou=(0.0, 0.4),
    nms_iou=0.4,
    score_threshold=0.01,
)
STREETS_TRAINING = Settings(
    epochs=5,
    learning_rate=7e-4,
    optimiser="adamw",
    weight_decay=1e-4,
    schedule="cosine",
    warmup_steps=20,
    clip_norm=5.0,
)


@dataclass(frozen=True)
class Recipe:
    """A whole training, but for what the data say: the classes and, with `anchors_from_data`, the anchors.

    Attributes:
        short_side, long_side: what images are resized to, in pixels.
        batch_size: images a step, for which the learning rate of `training` is meant.
        anchors_from_data: `detectors.choose_anchors` replaces sizes and ratios of `rpn`.
        augment: training images are varied, see `datasets.transforms.Augment`.
    """

    detector: DetectorName
    backbone: BackboneName
    short_side: int
    long_side: int
    rpn: RPNSettings
    head: HeadSettings
    training: Settings
    batch_size: int = 2
    anchors_from_data: bool = False
    augment: bool = False


# For data that nobody has seen yet; no number is the paper's by principle. A pretrained network, a rate that an
# adaptive optimiser bears anywhere, RoI align for small objects, background that touches nothing taken in.
OWN_DATA = Recipe(
    "faster",
    "efficientnet_lite0",
    short_side=400,
    long_side=667,
    rpn=RPNSettings(allow_crossing=True, regions=128, foreground_iou=0.6, before_nms=(1000, 500), after_nms=(300, 100)),
    head=HeadSettings(
        align=True, aligned=True, hidden=512, regions=64, background_iou=(0.0, 0.5), nms_iou=0.45, score_threshold=0.01
    ),
    training=Settings(
        epochs=12,
        learning_rate=5e-4,
        optimiser="adamw",
        weight_decay=1e-4,
        schedule="cosine",
        warmup_steps=100,
        clip_norm=5.0,
    ),
    anchors_from_data=True,
)

# The best that was found for PASCAL VOC within an hour of two cores: `tests/benchmarks/voc.py`, table in lesson 12. A
# third of the objects fill the picture: without anchors of 400, seven in ten of these have none with an IoU of 0.6.
VOC = replace(
    OWN_DATA,
    rpn=replace(OWN_DATA.rpn, sizes=(32, 64, 128, 256, 400), ratios=(0.5, 1.0, 2.0)),
    training=replace(OWN_DATA.training, epochs=16),
    anchors_from_data=False,
    augment=True,
)

# torchvision's Faster R-CNN as a published tagging service configured it: 22 classes and background, initial weights
# N(0, 0.01) and N(0, 0.001) for boxes (`detectors.torchvision_detector`), the rate falling once an epoch. It does not
# say how long it was trained, nor with how many images a step.
TAGGING = Recipe(
    "torchvision",
    "resnet50",
    short_side=400,
    long_side=600,
    rpn=RPNSettings(
        sizes=(128, 256, 512),
        ratios=(0.5, 1.0, 2.0),
        foreground_iou=0.7,
        background_iou=(0.0, 0.3),
        before_nms=(6000, 6000),
        nms_iou=0.7,
        after_nms=(2000, 300),
    ),
    head=HeadSettings(
        pool_size=(7, 7),
        align=True,
        hidden=4096,
        regions=128,
        foreground_share=0.25,
        foreground_iou=0.5,
        background_iou=(0.0, 0.5),
        nms_iou=0.5,
    ),
    training=Settings(
        epochs=20,
        learning_rate=0.001,
        optimiser="sgd",
        momentum=0.9,
        weight_decay=0.0005,
        schedule="cosine by epoch",
        final_learning_rate=1e-5,
    ),
)
