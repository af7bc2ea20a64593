"""Faster R-CNN: what flows where, training it, and torchvision's own with the same weights."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from frcnn_lessons.backbones import Backbone
from frcnn_lessons.fast_rcnn import HeadSettings
from frcnn_lessons.faster_rcnn import HEAD, FasterRCNN
from frcnn_lessons.metrics import evaluate_coco
from frcnn_lessons.rpn import RPNSettings
from frcnn_lessons.training import Settings, predict, train
from helpers.draws import generator
from helpers.tiny_scenes import HEAD_SMALL, LOSSES, nothing, scene, tiny_backbone, tiny_model, total

pytestmark = pytest.mark.usefixtures("one_thread")


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


@pytest.mark.slow
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
    for name in LOSSES:
        assert losses[name].item() == pytest.approx(expected[name].item(), rel=1e-3, abs=1e-4), name
    assert twin.eval()(on_gpu[0])[0]["boxes"].is_cuda
