"""A detector comes back from its file as it was, whatever it is, and a file that is none is refused. Lesson 12."""

from dataclasses import asdict, replace

import pytest
import torch

from frcnn_lessons import detectors
from frcnn_lessons.anchors import base_anchors
from frcnn_lessons.boxes import iou
from frcnn_lessons.checkpoints import CheckpointError
from frcnn_lessons.detectors import Description, WithProposals, build_detector, choose_anchors, load_detector
from frcnn_lessons.rpn import RPNSettings
from helpers.draws import generator, random_boxes
from helpers.tiny_scenes import HEAD_SMALL, RPN_SMALL, scene

TINY = Description("faster", "mini", ("red", "blue"), 64, 96, rpn=RPN_SMALL, head=replace(HEAD_SMALL, pool_size=(7, 7)))


@pytest.mark.parametrize("name", ["faster", "fast", "rcnn", "sppnet", "faster-four-step", "torchvision"])
def test_each_detector_comes_back_from_its_file_and_detects_the_same(tmp_path, name):
    torch.manual_seed(0)
    model = build_detector(replace(TINY, detector=name), generator())
    model.description["about"] = {"ap50": 0.25}
    detectors.save_detector(tmp_path / "best.pth", model)
    detector = load_detector(tmp_path / "best.pth")
    assert detector.classes == ("red", "blue")
    assert (detector.short_side, detector.long_side) == (64, 96)
    assert detector.about == {"detector": name, "backbone": "mini", "ap50": 0.25}
    images, _ = scene()
    before = WithProposals(model) if name in detectors.NEED_PROPOSALS else model
    for expected, got in zip(before.eval()(images), detector.model(images), strict=True):
        assert len(expected["boxes"]) > 0
        assert torch.equal(expected["boxes"], got["boxes"])
        assert torch.equal(expected["scores"], got["scores"])
        assert 0 <= got["scores"].min() <= got["scores"].max() <= 1


@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "vgg16", "resnet50"])
def test_each_backbone_is_built_by_name(backbone):
    model = build_detector(replace(TINY, backbone=backbone, frozen_stages=2, frozen_norm=True))
    channels = {"efficientnet_lite0": 112, "vgg16": 512, "resnet50": 2048}
    assert model.backbone.channels == channels[backbone]
    assert not any(p.requires_grad for p in model.backbone.stages[:2].parameters())
    assert any(p.requires_grad for p in model.backbone.stages[2:].parameters())


def test_torchvisions_detector_leaves_difficult_objects_out():
    model = build_detector(replace(TINY, detector="torchvision"), generator())
    images, targets = scene()
    first_only = [{"boxes": target["boxes"][:1], "labels": target["labels"][:1]} for target in targets]
    with_difficult = [{**target, "difficult": torch.tensor([False, True])} for target in targets]
    losses = []
    for of_images in (targets, first_only, with_difficult):
        torch.manual_seed(0)
        losses.append(model(images, of_images))
    assert all(torch.equal(losses[2][name], losses[1][name]) for name in losses[1])
    assert not torch.equal(losses[2]["loss_classifier"], losses[0]["loss_classifier"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"detector": "yolo"}, "detector must be one of faster"),
        ({"backbone": "none"}, "backbone must be one of"),
        ({"classes": ("a", "a")}, "different names"),
        ({"classes": ()}, "classes"),
        ({"rpn": {"sizes": (-1,)}}, "sizes must be above 0"),
        ({"rpn": None}, "does not say how"),
        ({"strange": 1}, "strange"),
        ({"short_side": "64"}, "short_side must be an integer"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_description_that_makes_no_sense_is_refused(tmp_path, change, words):
    model = build_detector(TINY, generator())
    model.description |= change
    detectors.save_detector(tmp_path / "odd.pth", model)
    with pytest.raises(CheckpointError, match=r"odd\.pth does not say how its detector is built") as caught:
        load_detector(tmp_path / "odd.pth")
    assert words in str(caught.value)


def test_weights_of_another_network_and_a_file_of_another_kind_are_refused(tmp_path):
    model = build_detector(TINY, generator())
    model.description |= asdict(replace(TINY, classes=("a", "b", "c")))
    detectors.save_detector(tmp_path / "other.pth", model)
    with pytest.raises(CheckpointError, match=r"another model: head\.classifier.weight"):
        load_detector(tmp_path / "other.pth")
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="must hold description, model"):
        load_detector(tmp_path / "weights.pth")


def test_every_box_within_the_percentiles_has_an_anchor_of_iou_a_half():
    boxes = random_boxes(400, 500, 300, generator(3))
    sizes, ratios = choose_anchors(boxes)
    centred = boxes - (boxes[:, :2] + boxes[:, 2:]).repeat(1, 2) / 2
    best = iou(centred, base_anchors(sizes, ratios)).amax(dim=1)
    sides = centred[:, 2:] - centred[:, :2]
    size, ratio = sides.prod(dim=1).sqrt(), sides[:, 1] / sides[:, 0]
    for inner in (size, ratio):  # of 400 boxes the 20 smallest and the 20 largest are outside
        low, high = inner.sort().values[[20, -21]]
        best = torch.where((inner < low) | (inner > high), 1.0, best)
    assert best.min() > 0.49, "two digits are kept of an anchor"
    assert len(sizes) <= 5
    assert len(ratios) <= 7


def test_anchors_of_boxes_of_one_shape_are_that_shape():
    boxes = torch.tensor([[0.0, 0, 40, 10], [100, 100, 140, 110]])
    assert choose_anchors(boxes) == ((20.0,), (0.25,))
    RPNSettings(*choose_anchors(boxes))
    with pytest.raises(ValueError, match="it has none"):
        choose_anchors(boxes[:0])
