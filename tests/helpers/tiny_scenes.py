"""What the tests of whole detectors train in milliseconds: two images with two rectangles each, a tiny backbone."""

import math

import torch
from torch import nn

from frcnn_lessons.backbones import Backbone
from frcnn_lessons.fast_rcnn import HeadSettings
from frcnn_lessons.faster_rcnn import FasterRCNN
from frcnn_lessons.rpn import RPNSettings
from helpers.draws import generator

RPN_SMALL = RPNSettings(sizes=(12, 24), ratios=(0.5, 1.0), regions=64, before_nms=(200, 100), after_nms=(60, 30))
HEAD_SMALL = HeadSettings(pool_size=(3, 3), hidden=32, regions=32, background_iou=(0.0, 0.5))


LOSSES = {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"}


def tiny_backbone(seed: int = 0, stride: int = 4, channels: int = 16) -> Backbone:
    """One convolution with batch norm for each halving, and one more."""
    layers: list[nn.Module] = []
    draw, inputs = generator(seed), 3
    for step in [2] * int(math.log2(stride)) + [1]:
        convolution = nn.Conv2d(inputs, channels, 3, step, 1, bias=False)
        nn.init.kaiming_normal_(convolution.weight, generator=draw)
        layers.append(nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU()))
        inputs = channels
    return Backbone(layers, stride, channels, mean=(0.5, 0.45, 0.4), std=(0.25, 0.2, 0.3))


def tiny_model(seed: int = 0, classes: int = 2, rpn: RPNSettings = RPN_SMALL, head: HeadSettings = HEAD_SMALL):
    return FasterRCNN(tiny_backbone(seed), classes, rpn, head, generator(seed))


def nothing() -> dict[str, torch.Tensor]:
    return {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}


def total(losses: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack([losses[name] for name in sorted(LOSSES)]).sum()


def scene(seed: int = 0):
    """Two images of different sizes, a red (1) and a blue (2) rectangle in each, on grey noise."""
    images, targets = [], []
    for i, (height, width) in enumerate([(60, 80), (72, 66)]):
        gt_boxes = torch.tensor([[8.0, 10, 32, 30], [38, 28, 62, 54]]) + 2 * i
        image = 0.5 + 0.02 * torch.randn(3, height, width, generator=generator(seed + i))
        for colour, (x1, y1, x2, y2) in zip((0, 2), gt_boxes.int().tolist(), strict=True):
            image[:, y1:y2, x1:x2] = 0.1
            image[colour, y1:y2, x1:x2] = 0.9
        images.append(image.clamp(0, 1))
        targets.append({"boxes": gt_boxes, "labels": torch.tensor([1, 2]), "image_id": f"scene_{i}"})
    return images, targets
