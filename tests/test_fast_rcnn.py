"""Fast R-CNN against its paper read literally, and against torchvision on the same tensors."""

import math

import hypothesis.strategies as st
import pytest
import torch
import torchvision
from hypothesis import given
from torch import nn
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss

from frcnn_lessons import boxes
from frcnn_lessons.backbones import Backbone
from frcnn_lessons.batch import pad_images
from frcnn_lessons.boxes import DELTA_WEIGHTS
from frcnn_lessons.fast_rcnn import (
    FastRCNN,
    HeadSettings,
    RoIHead,
    detections,
    multi_task_loss,
    truncated_svd,
)
from helpers import tiny_scenes
from helpers.draws import generator

SMALL = HeadSettings(pool_size=(3, 3), hidden=32)

pytestmark = pytest.mark.usefixtures("one_thread")


def three_convolutions() -> Backbone:
    """Stride 4: enough to tell colours and edges apart, in no time."""
    layers = [nn.Conv2d(3, 12, 3, 2, 1), nn.ReLU(), nn.Conv2d(12, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 1, 1)]
    for i, layer in enumerate(layers[::2]):
        nn.init.kaiming_normal_(layer.weight, generator=generator(i))
        nn.init.zeros_(layer.bias)
    return Backbone([nn.Sequential(*layers, nn.ReLU())], stride=4, channels=16, mean=(0.5,) * 3, std=(0.25,) * 3)


def tiny_model(classes: int = 2, seed: int = 0, **settings) -> FastRCNN:
    options = {"pool_size": (3, 3), "hidden": 32} | settings
    return FastRCNN(three_convolutions(), classes, HeadSettings(**options), generator(seed))


def boxes_about(count: int, seed: int, size: tuple[int, int] = (60, 80)) -> torch.Tensor:
    """Boxes of at least 4 pixels a side; some reach outside the image."""
    height, width = size
    spot = torch.rand(count, 4, generator=generator(seed))
    low = spot[:, :2] * torch.tensor([width, height]) - 6
    return torch.cat([low, low + 4 + spot[:, 2:] * 30], dim=1)


def scene() -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]], list[torch.Tensor]]:
    """The scene of two images that several tests share, with proposals around its objects and away from them."""
    images, targets = tiny_scenes.scene()
    proposals = []
    for seed, (image, target) in enumerate(zip(images, targets, strict=True)):
        near = target["boxes"].repeat(12, 1) + 4 * torch.randn(24, 4, generator=generator(seed + 2))
        height, width = image.shape[1:]
        proposals.append(torch.cat([near, boxes_about(40, seed + 4, (height, width))]))
    return images, targets, proposals


# --- the loss ----------------------------------------------------------------------------------------------------


def loss_slowly(scores, deltas, labels, goals, box_weight, beta):
    """Equations 1 to 3, one region and one coordinate at a time. The oracle for `multi_task_loss`."""
    classification, localisation = 0.0, 0.0
    for score, delta, label, goal in zip(
        scores.tolist(), deltas.tolist(), labels.tolist(), goals.tolist(), strict=True
    ):
        classification += math.log(sum(math.exp(s) for s in score)) - score[label]
        if label >= 1:
            own = delta[label] if len(delta) > 1 else delta[0]
            for d, g in zip(own, goal, strict=True):
                x = abs(d - g)
                localisation += 0.5 * x**2 / beta if x < beta else x - 0.5 * beta
    return classification / len(labels), box_weight * localisation / len(labels)


@given(
    regions=st.integers(1, 12),
    classes=st.integers(1, 4),
    agnostic=st.booleans(),
    box_weight=st.sampled_from([1.0, 10.0]),
    beta=st.sampled_from([0.0, 1 / 9, 1.0]),  # 0 is L1
    seed=st.integers(0, 1000),
)
def test_the_loss_agrees_with_the_equations_read_literally(regions, classes, agnostic, box_weight, beta, seed):
    draw = generator(seed)
    scores = torch.randn(regions, classes + 1, generator=draw)
    deltas = torch.randn(regions, 1 if agnostic else classes + 1, 4, generator=draw)
    goals = torch.randn(regions, 4, generator=draw)
    labels = torch.randint(0, classes + 1, (regions,), generator=draw)
    losses = multi_task_loss(scores, deltas, labels, goals, box_weight, beta)
    expected = loss_slowly(scores, deltas, labels, goals, box_weight, beta)
    got = losses["loss_classifier"].item(), losses["loss_box_reg"].item()
    assert got == pytest.approx(expected, rel=1e-5, abs=1e-6)


@given(regions=st.integers(1, 200), classes=st.integers(1, 20), seed=st.integers(0, 1000))
def test_the_loss_and_its_gradients_equal_torchvisions(regions, classes, seed):
    draw = generator(seed)
    scores = torch.randn(regions, classes + 1, generator=draw, requires_grad=True)
    deltas = torch.randn(regions, classes + 1, 4, generator=draw, requires_grad=True)
    goals = torch.randn(regions, 4, generator=draw)
    labels = torch.randint(0, classes + 1, (regions,), generator=draw)
    ours = tuple(multi_task_loss(scores, deltas, labels, goals).values())
    theirs = fastrcnn_loss(scores, deltas.flatten(1), [labels], [goals])
    assert torch.allclose(torch.stack(ours), torch.stack(theirs), rtol=1e-6, atol=1e-6)
    our_gradients = torch.autograd.grad(sum(ours), [scores, deltas])
    for a, b in zip(our_gradients, torch.autograd.grad(sum(theirs), [scores, deltas]), strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-7)


def test_background_regions_and_other_classes_boxes_get_no_gradient():
    # A published walk-through averages the box loss over background rows too, which pulls all boxes towards 0.
    deltas = torch.randn(3, 3, 4, generator=generator(), requires_grad=True)
    losses = multi_task_loss(torch.zeros(3, 3), deltas, torch.tensor([0, 2, 1]), torch.full((3, 4), 5.0))
    losses["loss_box_reg"].backward()
    touched = deltas.grad.abs().sum(dim=2) > 0  # (R, B)
    assert touched.tolist() == [[False] * 3, [False, False, True], [False, True, False]]


def test_more_background_lowers_the_box_loss_because_all_regions_are_counted():
    scores, deltas, goals = torch.zeros(4, 2), torch.zeros(4, 2, 4), torch.ones(4, 4)
    alone = multi_task_loss(scores[:1], deltas[:1], torch.tensor([1]), goals[:1])["loss_box_reg"]
    among = multi_task_loss(scores, deltas, torch.tensor([1, 0, 0, 0]), goals)["loss_box_reg"]
    assert among.item() == pytest.approx(alone.item() / 4)


# --- from scores to detections -------------------------------------------------------------------------------------


def torchvision_detections(scores, deltas, regions, image_size, settings):
    heads = RoIHeads(
        None, None, None, 0.5, 0.5, 64, 0.25, DELTA_WEIGHTS,
        settings.score_threshold, settings.nms_iou, settings.detections,
    )  # fmt: skip
    found, found_scores, found_labels = heads.postprocess_detections(scores, deltas.flatten(1), [regions], [image_size])
    return {"boxes": found[0], "scores": found_scores[0], "labels": found_labels[0]}


@given(
    regions=st.integers(0, 60),
    classes=st.integers(1, 6),
    threshold=st.sampled_from([0.0, 0.05, 0.4]),
    nms_iou=st.sampled_from([0.3, 0.5, 0.7]),
    most=st.sampled_from([3, 100]),
    seed=st.integers(0, 1000),
)
def test_detections_equal_torchvisions_on_the_same_tensors(regions, classes, threshold, nms_iou, most, seed):
    settings = HeadSettings(score_threshold=threshold, nms_iou=nms_iou, detections=most)
    draw = generator(seed)
    scores = 2 * torch.randn(regions, classes + 1, generator=draw)
    deltas = 2 * torch.randn(regions, classes + 1, 4, generator=draw)
    rows = boxes_about(regions, seed)
    ours = detections(scores, deltas, rows, (60, 80), settings)
    theirs = torchvision_detections(scores, deltas, rows, (60, 80), settings)
    assert ours["labels"].tolist() == theirs["labels"].tolist()
    assert torch.allclose(ours["scores"], theirs["scores"], atol=1e-6)
    assert torch.allclose(ours["boxes"], theirs["boxes"], atol=1e-4)


def test_a_class_agnostic_head_moves_a_region_alike_for_every_class():
    draw = generator()
    scores, deltas, rows = torch.randn(9, 4, generator=draw), torch.randn(9, 1, 4, generator=draw), boxes_about(9, 0)
    one = detections(scores, deltas, rows, (60, 80), SMALL)
    repeated = detections(scores, deltas.expand(9, 4, 4), rows, (60, 80), SMALL)
    assert all(torch.equal(one[key], repeated[key]) for key in one)


def test_boxes_of_two_classes_in_one_place_both_stay():
    # Suppression across classes, as a published walk-through does it, loses the car in front of the bus.
    scores = torch.tensor([[-9.0, 2, 2.1]])
    found = detections(scores, torch.zeros(1, 3, 4), torch.tensor([[5.0, 5, 25, 25]]), (40, 40), SMALL)
    assert found["labels"].tolist() == [2, 1]
    assert torch.allclose(found["boxes"], torch.tensor([[5.0, 5, 25, 25]]).expand(2, 4))


def test_deltas_are_scaled_by_the_size_of_the_region():
    # Deltas of 1 (10 in the head's units) move by one width, not by one pixel.
    deltas = torch.tensor([[[0.0, 0, 0, 0], [10, 0, 0, 5 * math.log(2)]]])
    found = detections(torch.tensor([[0.0, 5]]), deltas, torch.tensor([[10.0, 20, 30, 40]]), (100, 100), SMALL)
    assert torch.allclose(found["boxes"], torch.tensor([[30.0, 10, 50, 50]]), atol=1e-4)


# --- the head ------------------------------------------------------------------------------------------------------


def test_the_head_equals_torchvisions_layers_with_the_same_weights():
    head = RoIHead(16, 4, 3, SMALL, generator())
    features = torch.rand(2, 16, 15, 20, generator=generator(1))
    regions = [boxes_about(7, 1), boxes_about(5, 2)]
    scores, deltas = head(features, regions)

    box_head = torchvision.models.detection.faster_rcnn.TwoMLPHead(16 * 9, 32)
    box_head.load_state_dict({name: head.state_dict()[name] for name in box_head.state_dict()})
    predictor = torchvision.models.detection.faster_rcnn.FastRCNNPredictor(32, 4)
    predictor.cls_score, predictor.bbox_pred = head.classifier, head.regressor
    pooled = torchvision.ops.roi_pool(features, regions, (3, 3), 1 / 4)
    expected_scores, expected_deltas = predictor(box_head(pooled))
    assert torch.allclose(scores, expected_scores, atol=1e-5)
    assert torch.allclose(deltas.flatten(1), expected_deltas, atol=1e-5)


def test_roi_align_takes_the_place_of_pooling_when_asked_for():
    features = torch.rand(1, 16, 15, 20, generator=generator(1))
    regions = [boxes_about(7, 1)]
    head = RoIHead(16, 4, 3, HeadSettings(pool_size=(3, 3), hidden=32, align=True), generator())
    seen = []
    head.fc6.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    head(features, regions)
    aligned = torchvision.ops.roi_align(features, regions, (3, 3), 1 / 4, sampling_ratio=2)
    assert torch.allclose(seen[0], aligned.flatten(1), atol=1e-5)


def test_each_label_and_goal_belongs_to_its_region(monkeypatch):
    # "Labels and regions in a different order" is a published mistake: the loss falls, the detector learns nonsense.
    images, targets, proposals = scene()
    model = tiny_model(background_iou=(0.0, 0.5))
    pooled: list[torch.Tensor] = []
    taught: list[tuple[torch.Tensor, torch.Tensor]] = []
    forward = RoIHead.forward

    def listen(self, features, regions):
        pooled.extend(regions)
        return forward(self, features, regions)

    def loss(scores, deltas, labels, goals, *rest):
        taught.append((labels, goals))
        return multi_task_loss(scores, deltas, labels, goals, *rest)

    monkeypatch.setattr(RoIHead, "forward", listen)
    monkeypatch.setattr("frcnn_lessons.fast_rcnn.multi_task_loss", loss)
    model(images, targets, proposals)

    labels, goals = taught[0]
    offset = 0
    for regions, target in zip(pooled, targets, strict=True):
        overlap = boxes.iou(regions, target["boxes"])
        best, which = overlap.max(dim=1)
        expected = torch.where(best >= 0.5, target["labels"][which], 0)
        part = slice(offset, offset + len(regions))
        assert labels[part].tolist() == expected.tolist()
        on_object = expected > 0
        assert on_object.any()
        restored = boxes.decode(goals[part][on_object], regions[on_object], DELTA_WEIGHTS)
        assert torch.allclose(restored, target["boxes"][which[on_object]], atol=1e-3)
        offset += len(regions)
    assert offset == len(labels)


def test_wide_windows_and_a_shared_box_change_only_the_shapes_they_should():
    head = RoIHead(16, 4, 3, HeadSettings(pool_size=(2, 5), hidden=32, class_agnostic=True), generator())
    scores, deltas = head(torch.rand(1, 16, 15, 20), [boxes_about(7, 1)])
    assert head.fc6.in_features == 16 * 2 * 5
    assert scores.shape == (7, 4)
    assert deltas.shape == (7, 1, 4)


def test_batch_norm_looks_at_all_regions_in_training_and_at_each_alone_in_evaluation():
    # Otherwise a detection would depend on what else was proposed in the image.
    head = tiny_model(batch_norm=True).head
    features, regions = torch.rand(1, 16, 15, 20, generator=generator()), boxes_about(6, 1)
    head(features, [regions])
    assert head.fc6[1].running_mean.abs().sum() > 0, "it has not seen the regions"
    assert not torch.allclose(head(features, [regions])[0][:3], head(features, [regions[:3]])[0])
    head.eval()
    torch.testing.assert_close(head(features, [regions])[0][:3], head(features, [regions[:3]])[0])


# --- the detector --------------------------------------------------------------------------------------------------


def test_hidden_layers_begin_as_pytorchs_own_and_the_last_two_as_in_the_paper():
    head = RoIHead(16, 16, 3, HeadSettings(hidden=256), generator(0))
    deviations = [nn.Linear(16 * 49, 256).weight.std().item(), nn.Linear(256, 256).weight.std().item(), 0.01, 0.001]
    for layer, deviation in zip((head.fc6, head.fc7, head.classifier, head.regressor), deviations, strict=True):
        assert layer.weight.std().item() == pytest.approx(deviation, rel=0.05)
        assert not layer.bias.any()


@pytest.mark.parametrize("part", ["loss_classifier", "loss_box_reg"])
def test_each_loss_teaches_the_backbone_through_the_pooling(part):
    # A published walk-through detaches the pooled features: its backbone never learns, and nothing says so.
    images, targets, proposals = scene()
    model = tiny_model()
    model(images, targets, proposals)[part].backward()
    for name, parameter in model.backbone.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("settings", [{}, {"class_agnostic": True, "beta": 0.0, "box_weight": 10.0}])
def test_it_learns_two_images_by_heart_in_seconds(settings):
    images, targets, proposals = scene()
    model = tiny_model(background_iou=(0.0, 0.5), hidden=64, **settings)
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 160)
    for _ in range(160):
        loss = sum(model(images, targets, proposals).values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    model.eval()

    def overlaps() -> torch.Tensor:
        """IoU of each object with the best sure detection, which must be of its class."""
        best = []
        for found, target in zip(model(images, proposals=proposals), targets, strict=True):
            sure = found["scores"] > 0.5
            overlap, which = boxes.iou(target["boxes"], found["boxes"][sure]).max(dim=1)
            assert found["labels"][sure][which].tolist() == target["labels"].tolist()
            best.append(overlap)
        return torch.cat(best)

    regressed = overlaps()
    assert (regressed > 0.7).all()
    nn.init.zeros_(model.head.regressor.weight)
    nn.init.zeros_(model.head.regressor.bias)
    assert regressed.mean() > overlaps().mean() + 0.1, "box regression adds to what the proposals have"


def test_lambda_and_beta_of_the_settings_reach_the_loss():
    images, targets, proposals = scene()
    smooth = tiny_model()(images, targets, proposals)
    line = tiny_model(box_weight=10.0, beta=0.0)(images, targets, proposals)  # the same weights and regions
    assert torch.equal(line["loss_classifier"], smooth["loss_classifier"])
    # L1 lies above smooth L1, by beta / 2 at most for each of the four coordinates.
    assert 0 < line["loss_box_reg"] / 10 - smooth["loss_box_reg"] <= 4 * (1 / 9) / 2


def test_accuracy_is_reported_beside_the_losses_when_asked_for(monkeypatch):
    # Not by default: whoever sums the dict, as one does with torchvision's, must get the loss.
    images, targets, proposals = scene()
    assert tiny_model()(images, targets, proposals).keys() == {"loss_classifier", "loss_box_reg"}
    model = tiny_model(report_accuracy=True, background_iou=(0.0, 0.5))
    taught = []
    monkeypatch.setattr(
        "frcnn_lessons.fast_rcnn.multi_task_loss",
        lambda *tensors: taught.append(tensors) or multi_task_loss(*tensors),
    )
    accuracy = model(images, targets, proposals)["accuracy"]
    scores, _, labels, *_ = taught[0]
    right = sum(row.index(max(row)) == label for row, label in zip(scores.tolist(), labels.tolist(), strict=True))
    assert accuracy.item() == pytest.approx(right / len(labels))
    assert not accuracy.requires_grad


def test_the_same_generator_gives_the_same_weights_and_the_same_steps():
    images, targets, proposals = scene()
    state = torch.get_rng_state()

    def run(seed: int) -> list[float]:
        model = tiny_model(seed=seed, regions=8)
        return [sum(model(images, targets, proposals).values()).item() for _ in range(3)]

    first = run(1)
    torch.manual_seed(99)  # what others draw from torch's own generator must not matter
    assert run(1) == first
    assert run(2) != first
    assert len(set(first)) == 3, "every step draws its own regions"
    torch.set_rng_state(state)


def test_a_training_step_touches_no_global_randomness():
    images, targets, proposals = scene()
    model = tiny_model()
    state = torch.get_rng_state()
    model(images, targets, proposals)
    assert torch.equal(torch.get_rng_state(), state)


def test_images_without_objects_or_proposals_or_both_can_be_learned_from():
    images, targets, proposals = scene()
    none = torch.zeros(0, 4)
    no_objects = {"boxes": none, "labels": torch.zeros(0, dtype=torch.long)}
    cases = [
        ([targets[0], no_objects], proposals),
        ([no_objects, no_objects], proposals),
        (targets, [none, proposals[1]]),
        ([no_objects, no_objects], [none, none]),
    ]
    for some_targets, some_proposals in cases:
        model = tiny_model(background_iou=(0.0, 0.5))
        losses = model(images, some_targets, some_proposals)
        sum(losses.values()).backward()
        assert all(torch.isfinite(loss) for loss in losses.values())
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
        if not any(len(target["labels"]) for target in some_targets):
            assert losses["loss_box_reg"] == 0
    assert losses["loss_classifier"] == 0, "no region at all is no loss, not 0 / 0"


def test_an_image_without_proposals_has_no_detections():
    images, _, proposals = scene()
    model = tiny_model(score_threshold=0.0).eval()
    found = model(images, proposals=[torch.zeros(0, 4), proposals[1]])
    assert {key: tuple(value.shape) for key, value in found[0].items()} == {
        "boxes": (0, 4), "labels": (0,), "scores": (0,),
    }  # fmt: skip
    assert found[0]["labels"].dtype == torch.long
    assert len(found[1]["labels"]) > 0


def test_detections_stay_inside_their_own_image_and_carry_no_graph():
    # In a batch, images are padded; a box may not reach into the padding. And results kept for a whole
    # data set must not keep every feature map alive.
    images, _, proposals = scene()
    model = tiny_model(score_threshold=0.0).eval()
    with torch.no_grad():
        model.head.regressor.weight.mul_(2000)
    for image, found in zip(images, model(images, proposals=proposals), strict=True):
        assert (found["boxes"] >= 0).all()
        assert found["boxes"][:, 2].max() <= image.shape[2]
        assert found["boxes"][:, 3].max() <= image.shape[1]
        assert 0 < len(found["boxes"]) <= 100
        assert not found["boxes"].requires_grad
        assert not found["scores"].requires_grad
        assert found["scores"].tolist() == sorted(found["scores"].tolist(), reverse=True)


def test_images_are_padded_to_the_stride_with_the_colour_of_nothing():
    backbone = three_convolutions()
    images = [torch.rand(3, 5, 9), torch.rand(3, 8, 6)]
    batch, sizes, *_ = pad_images(images, backbone)
    assert sizes == [(5, 9), (8, 6)]
    assert batch.shape == (2, 3, 8, 12)
    for padded, image in zip(batch, images, strict=True):
        _, height, width = image.shape
        assert torch.equal(padded[:, :height, :width], image)
        rest = backbone.normalise(padded[None])[0].clone()
        rest[:, :height, :width] = 0
        assert (rest == 0).all(), "what is no image is 0 for the network"


def test_bfloat16_trains_and_detects():
    images, targets, proposals = scene()
    model = tiny_model()
    with torch.autocast("cpu", torch.bfloat16):
        losses = model(images, targets, proposals)
        found = model.eval()(images, proposals=proposals)
    sum(losses.values()).backward()
    assert all(loss.dtype == torch.float32 and torch.isfinite(loss) for loss in losses.values())
    assert found[0]["scores"].dtype == torch.float32


@pytest.mark.usefixtures("unchecked")
def test_missing_proposals_targets_and_wrong_labels_are_named():
    images, targets, proposals = scene()
    model = tiny_model()
    with pytest.raises(ValueError, match=r"does not find its own proposals: give .* each of the 2 images"):
        model(images, targets)
    with pytest.raises(ValueError, match="each of the 2 images"):
        model(images, targets, proposals[:1])
    with pytest.raises(ValueError, match=r"training needs targets.*model\.eval\(\)"):
        model(images, proposals=proposals)
    for wrong in (0, 3):
        targets[1]["labels"] = torch.tensor([1, wrong])
        with pytest.raises(ValueError, match=rf"targets\[1\] .*: labels must be 1 to 2 .*got \[1, {wrong}\]"):
            model(images, targets, proposals)


# --- truncated SVD -------------------------------------------------------------------------------------------------


@given(rank=st.integers(1, 20), seed=st.integers(0, 1000))
def test_truncated_svd_loses_exactly_the_smallest_singular_values(rank, seed):
    layer = nn.Linear(30, 20)
    nn.init.normal_(layer.weight, generator=generator(seed))
    thin = truncated_svd(layer, rank)
    product = thin[1].weight @ thin[0].weight  # (20, 30)
    singular = torch.linalg.svdvals(layer.weight)
    # Eckart and Young: the squared error is the sum of the squares left out, and no rank-t matrix does better.
    assert (product - layer.weight).norm().item() == pytest.approx(singular[rank:].norm().item(), rel=1e-3, abs=1e-4)
    assert sum(p.numel() for p in thin.parameters()) == rank * (20 + 30) + 20
    x = torch.randn(5, 30, generator=generator(seed))
    assert torch.allclose(thin(x), x @ product.T + layer.bias, atol=1e-4)


def test_a_compressed_head_of_full_rank_detects_the_same_and_leaves_the_layer_alone():
    images, _, proposals = scene()
    model = tiny_model(score_threshold=0.2).eval()
    before = model(images, proposals=proposals)
    full = model.head.fc6
    kept = full.weight.detach().clone()
    model.head.fc6 = truncated_svd(full, 32)
    after = model(images, proposals=proposals)
    assert torch.allclose(before[0]["scores"], after[0]["scores"], atol=1e-4)
    assert torch.equal(full.weight, kept)


@pytest.mark.parametrize("rank", [0, 21])
def test_a_rank_that_the_layer_does_not_have_is_refused(rank):
    with pytest.raises(ValueError, match=f"rank must be 1 to 20 for a layer 30 -> 20; got {rank}"):
        truncated_svd(nn.Linear(30, 20), rank)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_learns_and_finds_what_the_processor_does():
    images, targets, proposals = scene()
    losses = []
    for device in ("cpu", "cuda"):
        here, proposed = [i.to(device) for i in images], [p.to(device) for p in proposals]
        true = [{key: target[key].to(device) for key in ("boxes", "labels")} for target in targets]
        # All regions, so that both learn from the same ones.
        model = tiny_model(regions=500, foreground_share=1.0).to(device).train()
        optimiser = torch.optim.SGD(model.parameters(), 0.05)
        for _ in range(10):
            optimiser.zero_grad()
            loss = sum(model(here, true, proposals=proposed).values())
            loss.backward()
            optimiser.step()
        losses.append(loss.item())
        assert model.eval()(here, proposals=proposed)[0]["boxes"].device.type == device
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
