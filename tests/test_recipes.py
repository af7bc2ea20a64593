"""The recipe for the street scenes fits them, and torchvision can be told the same; the service's is as published."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torchvision.models.detection import FasterRCNN as TorchvisionFasterRCNN
from torchvision.ops import MultiScaleRoIAlign

from frcnn_lessons import boxes
from frcnn_lessons.anchors import anchor_grid, base_anchors
from frcnn_lessons.backbones import IMAGENET_MEAN, efficientnet_lite0
from frcnn_lessons.datasets import VOCDataset, streets
from frcnn_lessons.detectors import Description, build_detector
from frcnn_lessons.faster_rcnn import FasterRCNN
from frcnn_lessons.recipes import STREETS_HEAD, STREETS_RPN, TAGGING
from frcnn_lessons.schedule import make_optimiser, make_schedule
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


def tagging_service(backbone: str, hidden: int) -> torch.nn.Module:
    """The detector of the tagging service: 22 classes, random weights."""
    classes = tuple(f"class {i}" for i in range(22))
    r = TAGGING
    head = replace(r.head, hidden=hidden)
    described = Description(r.detector, backbone, classes, r.short_side, r.long_side, rpn=r.rpn, head=head)
    torch.manual_seed(0)
    return build_detector(described, torch.Generator().manual_seed(0))


def test_the_tagging_service_is_configured_as_published():
    model = tagging_service("mini", TAGGING.head.hidden)
    assert isinstance(model, TorchvisionFasterRCNN)
    assert (model.transform.min_size, model.transform.max_size) == ((400,), 600)
    assert model.rpn.anchor_generator.sizes == ((128, 256, 512),)
    assert model.rpn.anchor_generator.aspect_ratios == ((0.5, 1.0, 2.0),)
    assert model.rpn._pre_nms_top_n == {"training": 6000, "testing": 6000}
    assert model.rpn._post_nms_top_n == {"training": 2000, "testing": 300}
    assert model.rpn.nms_thresh == 0.7
    heads = model.roi_heads
    assert isinstance(heads.box_roi_pool, MultiScaleRoIAlign)
    assert heads.box_roi_pool.output_size == (7, 7)
    assert (heads.box_head.fc6.out_features, heads.box_head.fc7.out_features) == (4096, 4096)
    sampler, matcher = heads.fg_bg_sampler, heads.proposal_matcher
    assert (sampler.batch_size_per_image, sampler.positive_fraction) == (128, 0.25)
    assert (matcher.high_threshold, matcher.low_threshold) == (0.5, 0.5)
    assert heads.box_predictor.cls_score.out_features == 22 + 1
    assert heads.box_predictor.bbox_pred.out_features == 4 * (22 + 1)

    predictor = heads.box_predictor
    for layer, std in (
        (model.rpn.head.conv[0][0], 0.01),
        (model.rpn.head.cls_logits, 0.01),
        (model.rpn.head.bbox_pred, 0.01),
        (heads.box_head.fc6, 0.01),
        (heads.box_head.fc7, 0.01),
        (predictor.cls_score, 0.01),
        (predictor.bbox_pred, 0.001),
    ):
        weights = layer.weight.detach()
        assert float(weights.std()) == pytest.approx(std, rel=5 / math.sqrt(weights.numel())), layer
        assert float(weights.mean().abs()) < 5 * std / math.sqrt(weights.numel())
        assert not layer.bias.any()


def test_the_backbones_of_the_tagging_service_have_512_and_2048_channels():
    assert TAGGING.backbone == "resnet50"
    for backbone, channels in (("vgg16", 512), ("resnet50", 2048)):
        model = tagging_service(backbone, hidden=4)
        assert model.backbone.out_channels == channels
        assert model.roi_heads.box_head.fc6.in_features == channels * 7 * 7
        # torchvision normalises, and only once.
        assert model.transform.image_mean == pytest.approx(IMAGENET_MEAN)
        assert isinstance(model.backbone.normalise, torch.nn.Identity)
        stride = model.backbone.stride
        assert model.backbone(torch.zeros(1, 3, 64, 96)).shape == (1, channels, 64 // stride, 96 // stride)


def test_the_tagging_service_learns_as_published():
    t = TAGGING.training
    assert (t.optimiser, t.learning_rate, t.momentum, t.weight_decay) == ("sgd", 0.001, 0.9, 0.0005)
    assert (t.warmup_steps, t.clip_norm, t.precision) == (0, None, "float32")
    optimiser = make_optimiser([torch.nn.Parameter(torch.zeros(1))], t)
    schedule = make_schedule(optimiser, t, t.epochs * 7)
    rates = []
    for _ in range(t.epochs * 7):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    oracle = [1e-5 + (0.001 - 1e-5) * (1 + math.cos(math.pi * epoch / t.epochs)) / 2 for epoch in range(t.epochs)]
    assert rates == pytest.approx([rate for rate in oracle for _ in range(7)])
    assert optimiser.param_groups[0]["lr"] == pytest.approx(1e-5)
