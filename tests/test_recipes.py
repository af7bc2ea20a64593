"""The recipe for the street scenes fits them, and torchvision can be told the same."""

from pathlib import Path

import torch

from frcnn_lessons import boxes
from frcnn_lessons.anchors import anchor_grid, base_anchors
from frcnn_lessons.backbones import efficientnet_lite0
from frcnn_lessons.datasets import VOCDataset, streets
from frcnn_lessons.faster_rcnn import FasterRCNN
from frcnn_lessons.recipes import STREETS_HEAD, STREETS_RPN
from frcnn_lessons.torchvision_twin import torchvision_twin

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "streets-sample"


def test_the_anchors_fit_the_vehicles_and_the_lower_threshold_has_a_reason():
    base = base_anchors(STREETS_RPN.sizes, STREETS_RPN.ratios)
    best = []
    for sample in VOCDataset(SAMPLE, "train", streets.CLASSES):
        height, width = sample.image.shape[1:]
        anchors = anchor_grid(base, (-(-height // 16), -(-width // 16)), 16, STREETS_RPN.offset)
        best += boxes.iou(anchors, sample.boxes.as_subclass(torch.Tensor)).amax(dim=0).tolist()
    assert len(best) > 15
    share = {iou: sum(value >= iou for value in best) / len(best) for iou in (0.5, STREETS_RPN.foreground_iou, 0.7)}
    assert share[0.5] > 0.9, "shapes and sizes fit the vehicles"
    assert share[STREETS_RPN.foreground_iou] > 1.4 * share[0.7], "the reason why the paper's threshold was lowered"


def test_torchvision_can_be_told_all_of_it():
    generator = torch.Generator().manual_seed(0)
    model = FasterRCNN(efficientnet_lite0(pretrained=False), 3, STREETS_RPN, STREETS_HEAD, generator)
    assert torchvision_twin(model).roi_heads.nms_thresh == STREETS_HEAD.nms_iou
