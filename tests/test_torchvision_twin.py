"""Our Faster R-CNN and torchvision's with the same weights: the same proposals, detections, losses and gradients."""

import copy
import inspect
import re
from dataclasses import replace

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.detection import FasterRCNN as TorchvisionFasterRCNN
from torchvision.models.detection.rpn import AnchorGenerator

from frcnn_lessons.datasets import ResizeShortSide
from frcnn_lessons.fast_rcnn import HeadSettings
from frcnn_lessons.faster_rcnn import FasterRCNN
from frcnn_lessons.rpn import RPNSettings
from frcnn_lessons.torchvision_twin import OUR_NAMES, copy_from_torchvision, copy_to_torchvision, torchvision_twin
from helpers.draws import generator
from helpers.tiny_scenes import HEAD_SMALL, LOSSES, RPN_SMALL, scene, tiny_backbone, tiny_model, total

pytestmark = pytest.mark.usefixtures("one_thread")

ALL = 100_000  # more anchors or regions than there are: both draw all of them, and nothing is left to chance


def random_pair(seed: int):
    """A model with random settings and lively weights, its twin, and images with targets."""
    draw = generator(seed)

    def choose(*options):
        return options[int(torch.randint(len(options), (), generator=draw))]

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=draw))

    stride = choose(4, 8, 16)
    rpn = RPNSettings(
        sizes=choose((16.0,), (12.0, 30.0), (20, 40, 61)),
        ratios=choose((1.0,), (0.4, 0.75), (0.5, 1.0, 2.0)),
        rounding=choose("none", "torchvision", "py-faster-rcnn"),
        offset=choose(0.0, 0.5),
        hidden=choose(None, 7),
        foreground_iou=choose(0.5, 0.7),
        background_iou=(0.0, choose(0.3, 0.5)),
        allow_crossing=True,
        regions=ALL,
        foreground_share=1.0,
        before_nms=(number(50, 400), number(20, 300)),
        after_nms=(number(10, 100), number(10, 60)),
        nms_iou=choose(0.5, 0.7, 0.9),
        min_size=choose(1e-3, 6.0),
    )
    head = HeadSettings(
        pool_size=choose((7, 7), (5, 8), (2, 3)),
        align=choose(False, True),
        hidden=choose(16, 40),
        batch_norm=choose(False, True),
        regions=ALL,
        foreground_share=1.0,
        foreground_iou=choose(0.5, 0.6),
        background_iou=(0.0, choose(0.3, 0.5)),
        score_threshold=choose(0.0, 0.05, 0.2),
        nms_iou=choose(0.3, 0.5),
        detections=number(3, 100),
    )
    classes = number(1, 6)
    model = FasterRCNN(tiny_backbone(seed, stride, choose(8, 12)), classes, rpn, head, draw)
    with torch.no_grad():  # as after a training: scores that differ, boxes that move
        model.rpn.head.objectness.weight.mul_(300)
        model.rpn.head.regressor.weight.mul_(30)
        model.head.classifier.weight.mul_(100)
        model.head.regressor.weight.mul_(1500)
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.add_(torch.rand(buffer.shape, generator=draw) * 0.1)

    images, targets = [], []
    for _ in range(number(1, 3)):
        height, width, objects = number(40, 120), number(40, 120), number(0, 3)
        image = torch.rand(3, height, width, generator=draw)
        low = torch.rand(objects, 2, generator=draw) * torch.tensor([width - 25.0, height - 25.0])
        gt_boxes = torch.cat([low, low + 8 + 16 * torch.rand(objects, 2, generator=draw)], dim=1)
        images.append(image)
        targets.append({"boxes": gt_boxes, "labels": torch.randint(1, classes + 1, (objects,), generator=draw)})
    return model, torchvision_twin(model), images, targets


@pytest.mark.parametrize("seed", range(20))
def test_proposals_and_detections_equal_torchvisions(seed):
    model, twin, images, _ = random_pair(seed)
    model.eval(), twin.eval()
    seen: dict[str, list[torch.Tensor]] = {}
    model.head.register_forward_pre_hook(lambda _, inputs: seen.update(ours=inputs[1]))
    twin.rpn.register_forward_hook(lambda _, __, output: seen.update(theirs=output[0]))
    with torch.no_grad():
        ours, theirs = model(images), twin(images)
    assert sum(len(image["boxes"]) for image in ours) > 0, "nothing was compared"
    for a, b in zip(seen["ours"], seen["theirs"], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a["labels"], b["labels"])
        torch.testing.assert_close(a["boxes"], b["boxes"], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(a["scores"], b["scores"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("seed", range(20))
def test_losses_and_gradients_equal_torchvisions(seed):
    model, twin, images, targets = random_pair(seed)
    model.train(), twin.train()
    ours, theirs = model(images, targets), twin(images, targets)
    assert ours.keys() == theirs.keys()
    for name in LOSSES:
        assert ours[name].item() == pytest.approx(theirs[name].item(), rel=1e-4, abs=1e-4), name
    total(ours).backward()
    total(theirs).backward()
    pairs = [
        (model.backbone.stages[0][0], twin.backbone.stages[0][0]),
        (model.rpn.head.conv, twin.rpn.head.conv[0][0]),
        (model.head.fc7, twin.roi_heads.box_head.fc7),
    ]
    for a, b in pairs:
        scale = b.weight.grad.abs().max().item()
        torch.testing.assert_close(a.weight.grad, b.weight.grad, rtol=1e-3, atol=1e-3 * scale)


def hand_made_torchvision() -> torchvision.models.detection.FasterRCNN:
    """As somebody would write it who does not know this course: other names, torchvision's own parts throughout."""
    draw = tiny_backbone(5)
    backbone = nn.Sequential(*copy.deepcopy(draw.stages))
    backbone.out_channels = draw.channels
    return torchvision.models.detection.FasterRCNN(
        backbone,
        min_size=64,
        max_size=96,
        image_mean=[0.5, 0.45, 0.4],
        image_std=[0.25, 0.2, 0.3],
        rpn_anchor_generator=AnchorGenerator(((16, 32),), ((0.5, 1.0),)),
        rpn_pre_nms_top_n_test=100,
        rpn_post_nms_top_n_test=30,
        box_roi_pool=torchvision.ops.MultiScaleRoIAlign(["0"], 7, 2),
        num_classes=4,
        box_score_thresh=0.0,
    )


def model_for_hand_made(classes: int = 3) -> FasterRCNN:
    rpn = RPNSettings(
        sizes=(16, 32), ratios=(0.5, 1.0), rounding="torchvision", offset=0, before_nms=(100, 100), after_nms=(30, 30)
    )
    return FasterRCNN(
        tiny_backbone(7), classes, rpn, HeadSettings(align=True, hidden=1024, score_threshold=0.0, nms_iou=0.5)
    )


def test_weights_from_anybodys_torchvision_model_give_its_detections():
    torch.manual_seed(0)  # torchvision draws its weights from the global generator
    theirs, model = hand_made_torchvision().eval(), model_for_hand_made().eval()
    image = torch.rand(3, 64, 96, generator=generator())  # a size that torchvision leaves as it is
    copy_from_torchvision(model, theirs)
    with torch.no_grad():
        ours, expected = model([image])[0], theirs([image])[0]
    assert len(expected["boxes"]) > 20
    assert torch.equal(ours["labels"], expected["labels"])
    torch.testing.assert_close(ours["boxes"], expected["boxes"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours["scores"], expected["scores"], rtol=1e-4, atol=1e-4)


def test_weights_go_to_torchvision_and_come_back():
    model, other = tiny_model(1), tiny_model(2)
    twin = torchvision_twin(other, detect_only=True)
    copy_to_torchvision(model, twin)
    copy_from_torchvision(other, twin)
    for (name, a), b in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b) or name.endswith("num_batches_tracked"), name


def test_a_twin_has_weights_of_its_own():
    model = tiny_model()
    before = copy.deepcopy(model.state_dict())
    twin = torchvision_twin(model, detect_only=True)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.backbone.normalise.mean.tolist() == pytest.approx([0.5, 0.45, 0.4])


def test_weights_of_another_architecture_are_refused_and_nothing_is_copied():
    theirs, model = hand_made_torchvision(), model_for_hand_made(classes=5)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"head.classifier.weight is \(6, 1024\).*cls_score.weight is \(4, 1024\)"):
        copy_from_torchvision(model, theirs)
    theirs.roi_heads.box_predictor = nn.Identity()
    with pytest.raises(ValueError, match="tensors, torchvision's"):
        copy_from_torchvision(model_for_hand_made(), theirs)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("rpn", "head", "named"),
    [
        ({"allow_crossing": False}, {}, r"allow_crossing=False \(use True\)"),
        ({"background_iou": (0.1, 0.3)}, {}, r"RPNSettings.background_iou=\(0.1, 0.3\) \(use \(0.0, 0.3\)\)"),
        ({"normalise": "paper", "box_weight": 10.0}, {}, "normalise='paper'.*box_weight=10.0"),
        ({}, {"background_iou": (0.1, 0.5)}, "HeadSettings.background_iou"),
        ({}, {"box_weight": 2.0, "beta": 1.0}, "HeadSettings.box_weight=2.0.*HeadSettings.beta=1.0"),
    ],
)
def test_settings_that_would_mean_something_else_to_torchvision_are_refused(rpn, head, named):
    settings = replace(RPN_SMALL, **{"allow_crossing": True, **rpn}), replace(HEAD_SMALL, **head)
    with pytest.raises(ValueError, match=named):
        torchvision_twin(tiny_model(rpn=settings[0], head=settings[1]))
    # They matter to the training only.
    model = tiny_model(rpn=settings[0], head=settings[1]).eval()
    images, _ = scene()
    for a, b in zip(model(images), torchvision_twin(model, detect_only=True)(images), strict=True):
        torch.testing.assert_close(a["boxes"], b["boxes"], rtol=1e-4, atol=1e-4)


def test_one_box_for_all_classes_is_more_than_torchvision_can():
    with pytest.raises(ValueError, match="class_agnostic=True"):
        torchvision_twin(tiny_model(head=replace(HEAD_SMALL, class_agnostic=True)), detect_only=True)


def test_every_argument_of_torchvisions_class_has_a_name_of_ours_that_exists():
    arguments = inspect.signature(TorchvisionFasterRCNN.__init__).parameters.values()
    named = [p.name for p in arguments if p.name != "self" and p.kind is not p.VAR_KEYWORD]
    assert list(OUR_NAMES) == named
    model, resize = tiny_model(0), ResizeShortSide()
    ours = {
        "RPNSettings": model.rpn.settings,
        "HeadSettings": model.head.settings,
        "RPN": model.rpn,
        "RoIHead": model.head,
        "Backbone": model.backbone,
    }
    places = [place for place in OUR_NAMES.values() if not place.startswith("none")]
    for owner, path in re.findall(r"(\w+)\.([\w.]+)", " ".join(places)):
        thing = ours[owner]
        for name in path.split("."):
            thing = getattr(thing, name)
    for name in re.findall(r"ResizeShortSide\((\w+)\)", " ".join(places)):
        assert hasattr(resize, name)
    assert len(places) == 27
