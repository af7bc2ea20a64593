"""Settings that were found by trying, for the data that the course trains on.

The modules of the detectors hold the papers' numbers as their defaults; what suits small pictures of vehicles stands
here. Lesson 10.
"""

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
