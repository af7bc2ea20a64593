"""Faster R-CNN: what flows where, training it, and torchvision's own with the same weights."""

import copy
import math
from dataclasses import replace

import pytest
import torch
import torchvision
from tiny_scenes import HEAD_SMALL, RPN_SMALL, generator, scene, tiny_backbone
from torch import nn
from torch.utils.data import DataLoader
from torchvision.models.detection.rpn import AnchorGenerator

from frcnn_lessons.backbones import Backbone
from frcnn_lessons.fast_rcnn import HeadSettings
from frcnn_lessons.faster_rcnn import HEAD, FasterRCNN, copy_from_torchvision, copy_to_torchvision, torchvision_twin
from frcnn_lessons.metrics import evaluate_coco
from frcnn_lessons.rpn import RPNSettings
from frcnn_lessons.training import Settings, predict, train

LOSSES = {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"}

pytestmark = pytest.mark.usefixtures("one_thread")


def tiny_model(seed: int = 0, classes: int = 2, rpn: RPNSettings = RPN_SMALL, head: HeadSettings = HEAD_SMALL):
    return FasterRCNN(tiny_backbone(seed), classes, rpn, head, generator(seed))


def nothing() -> dict[str, torch.Tensor]:
    return {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}


def total(losses: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack([losses[name] for name in sorted(LOSSES)]).sum()


# --- end to end, by hand ---------------------------------------------------------------------------------------------


class FakeBackbone(Backbone):
    """The mean colour of each 4 x 4 block: a map that can be checked by eye, made in no time."""

    def __init__(self) -> None:
        super().__init__([nn.AvgPool2d(4)], stride=4, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)


def colour_detector() -> FasterRCNN:
    """An object is where something is colourful; it is as large as the anchor; its class is its strongest colour."""
    rpn = RPNSettings(sizes=(12,), ratios=(1.0,), before_nms=(50, 50), after_nms=(1, 1))
    model = FasterRCNN(FakeBackbone(), 3, rpn, HeadSettings(pool_size=(1, 1), hidden=3, detections=1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.rpn.head.conv.weight[:, :, 1, 1] = torch.eye(3)  # hand the cell on as it is
        model.rpn.head.objectness.weight[:] = 8.0  # black is -1 in each colour and stops at the ReLU
        model.head.fc6.weight[:] = torch.eye(3)
        model.head.fc7.weight[:] = torch.eye(3)
        model.head.classifier.weight[1:] = 8 * torch.eye(3)
    return model.eval()


def test_images_of_different_sizes_go_in_and_the_right_boxes_come_out():
    # One block of 4 x 4 pixels is coloured in each: the anchor of that cell, 12 x 12 around its centre, is the answer.
    images = [torch.zeros(3, 40, 60), torch.zeros(3, 36, 24), torch.zeros(3, 30, 50)]
    images[0][0, 16:20, 24:28] = 1.0  # red, centre (26, 18)
    images[1][2, 0:4, 20:24] = 1.0  # blue, centre (22, 2): its anchor reaches outside and is clipped
    images[2][1, 20:24, 8:12] = 1.0
    found = colour_detector()(images)
    assert [image["labels"].tolist() for image in found] == [[1], [3], [2]]
    assert torch.stack([image["boxes"][0] for image in found]).tolist() == [
        [20.0, 12.0, 32.0, 24.0],
        [16.0, 0.0, 24.0, 8.0],
        [4.0, 16.0, 16.0, 28.0],
    ]
    assert all(image["scores"][0] > 0.99 for image in found)


def test_a_batch_gives_what_its_images_give_alone():
    # Exactly so only where padding cannot be seen: a convolution that reaches the border sees zeros there when the
    # image is alone, but what earlier layers made of the padding when it is in a batch. Here it stays zero.
    images = [torch.rand(3, *size, generator=generator(i)) for i, size in enumerate([(40, 60), (36, 24), (48, 44)])]
    model = colour_detector()
    for alone, together in zip([model([image])[0] for image in images], model(images), strict=True):
        for name in ("boxes", "labels", "scores"):
            torch.testing.assert_close(together[name], alone[name])


def test_images_of_one_size_give_in_a_batch_what_they_give_alone():
    model = tiny_model().eval()
    images = [torch.rand(3, 64, 48, generator=generator(i)) for i in range(3)]
    for alone, together in zip([model([image])[0] for image in images], model(images), strict=True):
        for name in ("boxes", "labels", "scores"):
            torch.testing.assert_close(together[name], alone[name], rtol=1e-4, atol=1e-4)


def test_detections_lie_inside_their_own_image_and_not_in_the_padding():
    images = [torch.rand(3, 30, 90), torch.rand(3, 80, 34)]
    for image, found in zip(
        images, tiny_model(head=replace(HEAD_SMALL, score_threshold=0.0)).eval()(images), strict=True
    ):
        assert len(found["boxes"]) > 0
        assert (found["boxes"] >= 0).all()
        assert (found["boxes"][:, 2:] <= torch.tensor([image.shape[2], image.shape[1]])).all()


# --- training --------------------------------------------------------------------------------------------------------


def test_the_losses_have_torchvisions_names_and_images_without_objects_are_fine():
    images, targets = scene()
    for batch in (targets, [targets[0], nothing()], [nothing(), nothing()]):
        losses = tiny_model()(images, batch)
        assert losses.keys() == LOSSES
        assert all(value.isfinite() and value.ndim == 0 for value in losses.values())
        total(losses).backward()
    assert losses["loss_box_reg"] == losses["loss_rpn_box_reg"] == 0, "without objects there are no boxes to learn"


def gradients(model: FasterRCNN, *names: str) -> dict[str, bool]:
    """Which parts get a gradient from these losses."""
    model.zero_grad()
    losses = model(*scene())
    torch.stack([losses[name] for name in names]).sum().backward()
    parts = {"backbone": model.backbone, "rpn": model.rpn, "head": model.head}
    return {part: any(p.grad is not None for p in module.parameters()) for part, module in parts.items()}


def test_each_half_learns_from_its_own_losses_and_the_backbone_from_both():
    # "Approximate joint training": the head's loss must not reach the RPN through the coordinates of the proposals.
    model = tiny_model()
    assert gradients(model, "loss_objectness", "loss_rpn_box_reg") == {"backbone": True, "rpn": True, "head": False}
    assert gradients(model, "loss_classifier", "loss_box_reg") == {"backbone": True, "rpn": False, "head": True}


def test_the_same_seed_gives_the_same_training_step_and_torchs_own_generator_is_not_touched():
    models = [tiny_model(3), tiny_model(3), tiny_model(3)]
    models[2].rpn.generator.manual_seed(99)
    before = torch.get_rng_state()
    first, again, other = (total(model(*scene())).item() for model in models)
    assert first == again
    assert first != other
    assert torch.equal(before, torch.get_rng_state())


def test_the_head_has_the_papers_numbers_unless_told_otherwise():
    model = FasterRCNN(tiny_backbone(), 20, head_settings=replace(HEAD, hidden=8))
    assert (model.rpn.settings, HEAD.regions, HEAD.background_iou) == (RPNSettings(), 128, (0.0, 0.5))
    assert FasterRCNN(FakeBackbone(), 1).head.settings == HEAD


def test_training_without_a_target_for_each_image_is_refused():
    images, targets = scene()
    for given in (None, targets[:1]):
        with pytest.raises(ValueError, match="each of the 2 images"):
            tiny_model()(images, given)


def loader(images, targets, batch_size=2, seed=0) -> DataLoader:
    return DataLoader(
        list(zip(images, targets, strict=True)),
        batch_size,
        shuffle=True,
        collate_fn=lambda batch: tuple(map(list, zip(*batch, strict=True))),
        generator=generator(seed),
    )


@pytest.mark.parametrize(("align", "at_least"), [(False, {"AP50": 1.0}), (True, {"AP50": 1.0, "AP75": 1.0, "AP": 0.9})])
def test_two_images_are_learned_by_heart(align, at_least):
    # The least that a detector must be able to do; a sign or an axis wrong anywhere, and it cannot.
    data = loader(*scene())
    model = tiny_model(head=replace(HEAD_SMALL, pool_size=(5, 5), hidden=64, align=align, nms_iou=0.5))
    train(model, data, Settings(150, 0.005, "adamw", schedule="cosine", warmup_steps=5, clip_norm=5.0))
    scores = evaluate_coco(*predict(model, data))
    assert {name: scores[name] >= wanted for name, wanted in at_least.items()} == dict.fromkeys(at_least, True)


@pytest.mark.parametrize("wrong", ["image", "learning rate"])
def test_a_training_that_diverges_stops_and_names_images_and_boxes(wrong):
    images, targets = scene()
    if wrong == "image":
        images[1][0, 5, 5] = math.nan
    rate = 1e8 if wrong == "learning rate" else 0.001
    model = tiny_model()
    with pytest.raises(FloatingPointError) as caught:
        train(model, loader(images, targets), Settings(10, rate, schedule="constant"))
    assert "scene_1 with boxes [[10.0, 12.0, 34.0, 32.0], [40.0, 30.0, 64.0, 56.0]]" in str(caught.value)
    assert all(value.isfinite().all() for value in model.state_dict().values()), "the bad step was made"


def test_half_precision_computes_nearly_the_same_and_hands_out_float32():
    images, targets = scene()
    model = tiny_model()
    reference = model(images, targets)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    model.rpn.generator.set_state(tiny_model().rpn.generator.get_state())
    with torch.autocast("cpu", torch.bfloat16):
        losses = model(images, targets)
        found = model.eval()(images)
    for name in LOSSES:
        assert losses[name].dtype == torch.float32
        assert losses[name].item() == pytest.approx(reference[name].item(), rel=0.1, abs=0.02)
    assert all(image["boxes"].dtype == image["scores"].dtype == torch.float32 for image in found)
    total(losses).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_stored_and_loaded_weights_give_the_same_detections():
    model, other = tiny_model(1).eval(), tiny_model(2).eval()
    other.load_state_dict(model.state_dict())
    images, _ = scene()
    for a, b in zip(model(images), other(images), strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_what_the_cpu_gives():
    images, targets = scene()
    model = tiny_model()
    twin = copy.deepcopy(model).cuda()
    on_gpu = (
        [image.cuda() for image in images],
        [{**t, "boxes": t["boxes"].cuda(), "labels": t["labels"].cuda()} for t in targets],
    )
    expected, losses = model(images, targets), twin(*on_gpu)
    assert all(losses[name].item() == pytest.approx(expected[name].item(), rel=1e-3, abs=1e-4) for name in LOSSES)
    assert twin.eval()(on_gpu[0])[0]["boxes"].is_cuda


# --- torchvision -----------------------------------------------------------------------------------------------------

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
        model.head.classifier.weight.mul_(20)
        model.head.regressor.weight.mul_(300)
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
