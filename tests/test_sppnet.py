"""What SPPNet promises: one pass an image, the pyramid as a loop would pool it, and R-CNN's interface."""

import inspect

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from frcnn_lessons import backbones, boxes, rcnn, sppnet
from frcnn_lessons.datasets import streets
from frcnn_lessons.metrics import evaluate_voc
from helpers.draws import generator
from helpers.tiny_scenes import scene, tiny_backbone


def tiny_network(seed: int = 1, **options) -> sppnet.PyramidNetwork:
    return sppnet.PyramidNetwork(tiny_backbone(), classes=2, width=24, generator=generator(seed), **options)


def around(target, seed: int):
    """Twelve proposals near each object of an image, and twenty elsewhere."""
    rng = generator(seed)
    near = target["boxes"].repeat(12, 1)
    sides = (near[:, 2:] - near[:, :2]).repeat(1, 2)
    near = near + 0.1 * sides * torch.randn(near.shape, generator=rng)
    far = boxes.xywh_to_xyxy(10 + 40 * torch.rand(20, 4, generator=rng))
    return torch.cat([near, far])


def all_stages(network, images, targets, proposals, classes: int, steps: int):
    regions = [rcnn.make_regions(p, t, classes) for p, t in zip(proposals, targets, strict=True)]
    sppnet.fine_tune(network, images, regions, steps, learning_rate=0.003, generator=generator(2))
    features = [rcnn.describe(network, i, r.boxes) for i, r in zip(images, regions, strict=True)]
    svms = rcnn.train_svms(features, regions, generator=generator(3)).layer
    return sppnet.SPPNet(network, svms, rcnn.fit_box_regression(features, regions))


# --- the pyramid ---------------------------------------------------------------------------------------------------


def pool_slowly(features, region, levels, scale):
    """Region by region, bin by bin: the largest cell of each. The oracle for `pool_regions`."""
    K, height, width = features.shape
    # The cells nearest to the region's ends, halves up; both belong to it.
    left, top, right, bottom = (int(np.floor(value * scale + 0.5)) for value in region.tolist())
    values = []
    for n in levels:
        pooled = torch.zeros(K, n, n)
        for i in range(n):
            for j in range(n):
                rows, columns = bottom - top + 1, right - left + 1
                y1, y2 = top + i * rows // n, top - (-(i + 1) * rows // n)
                x1, x2 = left + j * columns // n, left - (-(j + 1) * columns // n)
                cells = features[:, max(y1, 0) : min(y2, height), max(x1, 0) : min(x2, width)]
                if cells.numel() > 0:
                    pooled[:, i, j] = cells.amax(dim=(1, 2))
        values.append(pooled.flatten())
    return torch.cat(values)


@given(seed=st.integers(0, 1000), enlarged=st.sampled_from([1.0, 2.0]), levels=st.sampled_from([(4, 2, 1), (3,)]))
def test_features_are_those_of_a_loop_over_regions_and_bins(seed, enlarged, levels):
    rng = generator(seed)
    image = torch.rand(3, 36, 52, generator=rng)
    regions = boxes.xywh_to_xyxy(torch.randint(0, 30, (4, 4), generator=rng).float())
    network = tiny_network(levels=levels, enlarged=enlarged)
    pooled, hidden = rcnn.describe(network, image, regions)
    with torch.no_grad():
        larger = nn.functional.interpolate(image[None], scale_factor=enlarged, mode="bilinear")
        features = network.backbone.features(larger)[0]
        expected = torch.stack([pool_slowly(features, region, levels, enlarged / 4) for region in regions])
        assert torch.equal(pooled, expected)
        assert torch.equal(hidden, network.hidden(expected))


def test_the_network_runs_once_an_image_however_many_regions():
    images, targets = scene()
    proposals = [around(target, 0) for target in targets]
    network, seen = tiny_network(), []
    network.backbone.stages.register_forward_hook(lambda _, arguments, __: seen.append(len(arguments[0])))
    sppnet.SPPNet(network, nn.Linear(24, 2))(images, proposals)
    assert seen == [1, 1]

    seen.clear()
    regions = [rcnn.make_regions(p, t, 2) for p, t in zip(proposals, targets, strict=True)]
    sppnet.fine_tune(network, images, regions, steps=5, generator=generator())
    assert seen == [1, 1], "five steps need the two images once"


def test_a_region_smaller_than_a_cell_has_features_and_no_region_has_none():
    image = scene()[0][0]
    network = tiny_network()
    assert rcnn.describe(network, image, torch.tensor([[17.0, 17, 18, 18]])).pooled.abs().sum() > 0
    empty = torch.zeros(0, 4)
    assert rcnn.describe(network, image, empty).pooled.shape == (0, 16 * 21)
    (answer,) = sppnet.SPPNet(network, nn.Linear(24, 2), nn.Linear(16 * 21, 8))([image], [empty])
    assert [tuple(answer[key].shape) for key in ("boxes", "labels", "scores")] == [(0, 4), (0,), (0,)]


# --- training ------------------------------------------------------------------------------------------------------


def test_fine_tuning_changes_the_head_and_nothing_below_the_pyramid():
    images, targets = scene()
    regions = [rcnn.make_regions(around(t, 0), t, 2) for t in targets]
    network = tiny_network().train()  # batch norm in training would move its statistics
    before = {name: value.clone() for name, value in network.state_dict().items()}
    losses = sppnet.fine_tune(network, images, regions, steps=30, learning_rate=0.01, generator=generator())
    changed = {
        name.split(".")[0] for name, value in network.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed == {"hidden", "classifier"}
    assert np.mean(losses[-5:]) < 0.5 * losses[0]


def test_fine_tuning_from_images_and_from_a_table_of_features_is_the_same():
    images, targets = scene()
    regions = [rcnn.make_regions(around(t, 0), t, 2) for t in targets]
    one, other = tiny_network(), tiny_network()
    losses = sppnet.fine_tune(one, images, regions, 5, generator=generator(2))
    table = torch.cat([rcnn.describe(other, i, r.boxes).pooled for i, r in zip(images, regions, strict=True)])
    labels = torch.cat([r.fine_tuning_labels() for r in regions])
    assert sppnet.fine_tune_head(other, table, labels, 5, generator=generator(2)) == losses
    assert sppnet.fine_tune(tiny_network(), images, regions, 5, generator=generator(9)) != losses


def street_scenes(split: str, count: int):
    """Street scenes, their objects, and boxes near them and elsewhere in place of selective search."""
    images, targets, proposals = [], [], []
    for index in range(count):
        drawn = streets.render(split, index)
        images.append(torch.from_numpy(drawn.image).permute(2, 0, 1).float() / 255)
        gt_boxes = torch.tensor([vehicle.box for vehicle in drawn.vehicles]).float().reshape(-1, 4)  # or none
        labels = torch.tensor([vehicle.label for vehicle in drawn.vehicles], dtype=torch.long)
        targets.append({"boxes": gt_boxes, "labels": labels})
        proposals.append(boxes.clip(around(targets[-1], index), images[-1].shape[1:]))
        proposals[-1] = proposals[-1][boxes.remove_small(proposals[-1], 1.0)]
    return images, targets, proposals


@pytest.mark.slow
def test_trained_on_a_handful_of_streets_it_beats_chance_by_far():
    network = sppnet.PyramidNetwork(backbones.efficientnet_lite0(), 3, enlarged=2, generator=generator())
    model = all_stages(network, *street_scenes("train", 14), classes=3, steps=100)
    images, targets, proposals = street_scenes("test", 8)
    trained = evaluate_voc(model(images, proposals), targets).mean_ap
    nn.init.normal_(model.svms.weight, generator=generator(5))
    chance = evaluate_voc(model(images, proposals), targets).mean_ap
    assert trained > 0.5
    assert trained > 2 * chance


# --- the interface -------------------------------------------------------------------------------------------------


def test_what_calls_rcnn_can_call_sppnet():
    for ours, theirs in ((sppnet.fine_tune, rcnn.fine_tune), (sppnet.SPPNet, rcnn.RCNN)):
        assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)
    images, targets = scene()
    proposals = [around(target, 0) for target in targets]
    model = all_stages(tiny_network(), images, targets, proposals, classes=2, steps=100)
    answers = model(images, proposals)
    assert [set(answer) for answer in answers] == [{"boxes", "labels", "scores"}] * 2
    assert evaluate_voc(answers, targets).mean_ap > 0.9, "on what it learned from"
    features = rcnn.describe(model.network, images[0], proposals[0])
    probabilities = model.answer(features, proposals[0], (60, 80), softmax=True)["scores"]
    assert ((probabilities > 0) & (probabilities <= 1)).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_it_runs_on_a_gpu_and_finds_what_the_processor_finds():
    images, targets = scene()
    proposals = [around(target, 0) for target in targets]
    for device in ("cpu", "cuda"):
        true = [{key: target[key].to(device) for key in ("boxes", "labels")} for target in targets]
        here, proposed = [i.to(device) for i in images], [p.to(device) for p in proposals]
        model = all_stages(tiny_network().to(device), here, true, proposed, classes=2, steps=100)
        answers = model(here, proposed)
        assert {value.device.type for answer in answers for value in answer.values()} == {device}
        answers = [{key: value.cpu() for key, value in answer.items()} for answer in answers]
        assert evaluate_voc(answers, targets).mean_ap > 0.9


@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_refused_in_the_words_of_the_gate():
    (image, _), (target, _) = scene()
    proposed = around(target, 0)
    model = sppnet.SPPNet(tiny_network(), nn.Linear(24, 2))
    regions = rcnn.make_regions(proposed, target, 2)
    for bad in (255 * image, (255 * image).byte()):
        for call in (
            lambda bad=bad: model([bad], [proposed]),
            lambda bad=bad: rcnn.describe(model.network, bad, proposed),
            lambda bad=bad: sppnet.fine_tune(model.network, [bad], [regions], steps=1),
        ):
            with pytest.raises(ValueError, match=r"images\[0\] must hold floats in 0..1"):
                call()
    with pytest.raises(ValueError, match=r"proposals\[0\] must hold floats; got torch.int64"):
        model([image], [proposed.long()])
    with pytest.raises(ValueError, match=r"give a \(R, 4\) tensor for each of the 1 images"):
        model([image], [])


def test_fine_tuning_without_an_object_says_what_is_missing():
    target = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    regions = rcnn.make_regions(torch.tensor([[0.0, 0, 8, 8]]), target, 2)
    with pytest.raises(ValueError, match="images with objects"):
        sppnet.fine_tune(tiny_network(), [torch.zeros(3, 16, 16)], [regions], steps=1)
