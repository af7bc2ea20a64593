"""The region proposal network: equal to torchvision's, and to loops that follow the paper literally."""

import math
import time
from fractions import Fraction

import hypothesis.strategies as st
import pytest
import torch
import torchvision.models.detection.rpn as theirs
from hypothesis import assume, given, settings
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.image_list import ImageList

from frcnn_lessons import boxes
from frcnn_lessons.anchors import anchor_grid, base_anchors
from frcnn_lessons.rpn import RPN, AnchorTargets, RPNHead, RPNSettings, anchor_targets, proposals, rpn_loss
from frcnn_lessons.sampling import BACKGROUND, FOREGROUND, IGNORED, sample
from helpers.draws import generator, random_boxes

# --- side by side with torchvision -----------------------------------------------------------------------------------


class Pair:
    """Our network and torchvision's with the same weights, on the same random maps, images and objects."""

    def __init__(self, seed):
        g = self.g = generator(seed)

        def whole(low, high):
            return int(torch.randint(low, high + 1, (), generator=g))

        channels, stride, images = whole(3, 12), (8, 16)[whole(0, 1)], whole(1, 3)
        sizes = tuple(float(s) for s in torch.randint(8, 100, (whole(1, 3),), generator=g))
        ratios = (0.3, 0.5, 1.0, 2.0)[: whole(1, 4)]
        before, after = (whole(20, 900), whole(20, 900)), (whole(5, 100), whole(5, 100))
        nms_iou, regions, share = whole(3, 9) / 10, whole(8, 256), whole(1, 3) / 4
        self.settings = RPNSettings(
            sizes, ratios, "torchvision", offset=0, allow_crossing=True, regions=regions, foreground_share=share,
            before_nms=before, nms_iou=nms_iou, after_nms=after,
        )  # fmt: skip
        self.ours = RPN(channels, stride, self.settings, generator(seed))
        generate = theirs.AnchorGenerator((sizes,), (ratios,))
        head = theirs.RPNHead(channels, len(sizes) * len(ratios))
        head.conv[0][0].load_state_dict(self.ours.head.conv.state_dict())
        head.cls_logits.load_state_dict(self.ours.head.objectness.state_dict())
        head.bbox_pred.load_state_dict(self.ours.head.regressor.state_dict())
        top_n = [{"training": train, "testing": test} for train, test in (before, after)]
        self.theirs = theirs.RegionProposalNetwork(generate, head, 0.7, 0.3, regions, share, *top_n, nms_iou)

        rows, columns = whole(4, 14), whole(4, 14)
        # Large numbers, as after training: with the first weights alone no box would leave its anchor.
        self.features = 30 * torch.randn(images, channels, rows, columns, generator=g)
        H, W = rows * stride, columns * stride
        self.sizes = [(whole(H // 2, H), whole(W // 2, W)) for _ in range(images)]  # the rest is padding
        self.padded = ImageList(torch.zeros(images, 3, H, W), self.sizes)
        self.targets = [{"boxes": random_boxes(whole(0, 4), w, h, g)} for h, w in self.sizes]


@pytest.mark.parametrize("seed", range(20))
def test_scores_deltas_anchors_proposals_and_losses_are_those_of_torchvision(seed):
    # Lesson 10 stands on this: what differs between the two detectors later is then not the RPN.
    pair = Pair(seed)
    for training in (True, False):
        pair.ours.train(training), pair.theirs.train(training)
        output = pair.ours(pair.features)
        objectness, deltas, anchors, _ = output
        found, scores = pair.ours.propose(output, pair.sizes)

        their_objectness, their_deltas = theirs.concat_box_prediction_layers(*pair.theirs.head([pair.features]))
        torch.testing.assert_close(objectness.flatten(), their_objectness.flatten())
        torch.testing.assert_close(deltas.flatten(0, 1), their_deltas)
        assert torch.equal(anchors, pair.theirs.anchor_generator(pair.padded, [pair.features])[0])
        decoded = pair.theirs.box_coder.decode(their_deltas, [anchors] * len(pair.sizes)).view(*deltas.shape)
        expected = pair.theirs.filter_proposals(decoded, their_objectness, pair.sizes, [len(anchors)])
        torch.testing.assert_close(found, expected[0], atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(scores, expected[1], atol=1e-4, rtol=1e-5)

    # The same anchors for both: those that ours draws are handed to their sampler.
    s, g = pair.settings, generator(seed)
    wanted = [
        anchor_targets(anchors, target["boxes"], size, allow_crossing=True)
        for target, size in zip(pair.targets, pair.sizes, strict=True)
    ]
    drawn = [sample(image.verdict, s.regions, s.foreground_share, g) for image in wanted]
    nothing = torch.zeros(len(anchors))
    masks = [[nothing.index_fill(0, chosen, 1) for chosen in kind] for kind in zip(*drawn, strict=True)]
    pair.theirs.fg_bg_sampler = lambda _: masks
    _, expected = pair.theirs.train()(pair.padded, {"0": pair.features}, pair.targets)
    losses = rpn_loss(objectness, deltas, wanted, drawn)
    torch.testing.assert_close(losses, expected, atol=1e-4, rtol=1e-4)

    # And the whole step, which draws the same once its generator stands where the other one began.
    pair.ours.generator.manual_seed(seed)
    torch.testing.assert_close(pair.ours.losses(output, pair.targets, pair.sizes), losses)
    pair.ours.generator.manual_seed(seed)
    torch.testing.assert_close(pair.ours(pair.features, pair.targets, pair.sizes).losses, losses)


def test_gradients_of_a_step_are_those_of_torchvision():
    pair = Pair(3)
    pair.features.requires_grad_()
    # As many as there are: both draw every anchor that is not ignored, whatever their generators say.
    everything = RPNSettings(**{**vars(pair.settings), "regions": 100_000})
    pair.ours.settings = everything
    pair.theirs.fg_bg_sampler.batch_size_per_image = 100_000
    sum(pair.ours(pair.features, pair.targets, pair.sizes).losses.values()).backward()
    gradient, pair.features.grad = pair.features.grad, None
    _, losses = pair.theirs.train()(pair.padded, {"0": pair.features}, pair.targets)
    sum(losses.values()).backward()
    assert gradient.abs().max() > 0
    torch.testing.assert_close(gradient, pair.features.grad)


# --- the head --------------------------------------------------------------------------------------------------------


def test_each_output_channel_speaks_for_its_own_anchor():
    # The question asked most often about this paper. Biases alone answer, so that each number says which channel it
    # came from; the position of the number says which anchor it is for.
    head = RPNHead(channels=5, anchors=3, generator=generator(0))
    with torch.no_grad():
        head.objectness.bias.copy_(torch.arange(3))
        head.regressor.bias.copy_(torch.arange(12))
    objectness, deltas = head(torch.zeros(2, 5, 4, 6))
    assert objectness.shape == (2, 4 * 6 * 3)
    assert objectness[1].tolist() == [0, 1, 2] * 24
    assert deltas[1].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]] * 24


def test_a_cell_is_answered_at_its_own_place_on_the_map():
    rpn = RPN(1, 10, RPNSettings(sizes=(4, 8), ratios=(1.0,)))
    for layer in (rpn.head.conv, rpn.head.objectness):
        torch.nn.init.ones_(layer.weight)
    rpn.head.conv.weight.data[:, :, [0, 0, 2, 2], [0, 2, 0, 2]] = 0
    features = torch.zeros(1, 1, 5, 7)
    features[0, 0, 3, 1] = 1.0
    objectness, _, anchors, _ = rpn(features)
    lit = anchors[objectness[0] > 0]
    centres = {tuple(centre) for centre in ((lit[:, :2] + lit[:, 2:]) / 2).tolist()}
    # Row 3, column 1, with its four neighbours: x is the column.
    assert centres == {(15, 35), (5, 35), (25, 35), (15, 25), (15, 45)}


def test_weights_begin_as_the_paper_says_and_repeat_with_the_generator():
    head = RPNHead(64, 9, hidden=128, generator=generator(7))
    assert head.conv.weight.shape == (128, 64, 3, 3)
    assert (head.objectness.out_channels, head.regressor.out_channels) == (9, 36)
    for layer in (head.conv, head.objectness, head.regressor):
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.1)
        assert layer.weight.mean().abs() < 0.001
        assert (layer.bias == 0).all()
    rpn = RPN(64, 16, RPNSettings(hidden=128), generator(7))
    again = RPN(64, 16, RPNSettings(hidden=128), generator(7))
    assert all(torch.equal(p, q) for p, q in zip(rpn.parameters(), again.parameters(), strict=True))
    assert not torch.equal(rpn.head.conv.weight, RPNHead(64, 9, 128, generator(8)).conv.weight)
    assert rpn.generator is not None
    assert {name.split(".")[0] for name in rpn.state_dict()} == {"head"}, "anchors follow from the settings"


def test_the_anchors_of_vgg16_on_800_x_800_are_the_papers():
    rpn = RPN(8, 16)
    features = torch.zeros(2, 8, 50, 50)
    objectness, deltas, anchors, losses = rpn(features)
    assert losses == {}, "there are no targets"
    assert anchors.shape == rpn.anchors(features).shape == (22_500, 4)
    assert (objectness.shape, deltas.shape) == ((2, 22_500), (2, 22_500, 4))


# --- targets ---------------------------------------------------------------------------------------------------------


def iou_exactly(a, b):
    """The overlap of two boxes with whole-numbered corners, as a fraction: no rounding blurs a tie."""
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a, b
    width, height = min(ax2, bx2) - max(ax1, bx1), min(ay2, by2) - max(ay1, by1)
    shared = int(max(width, 0)) * int(max(height, 0))
    return Fraction(shared, int((ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1)) - shared)


def targets_slowly(anchors, gt_boxes, image_size, high, low, allow_crossing, difficult):
    """Section 3.1.2 and 3.3, sentence by sentence, one anchor at a time. The oracle for `anchor_targets`."""
    height, width = image_size
    ordinary = [k for k in range(len(gt_boxes)) if not difficult[k]]
    used = [
        t
        for t, (x1, y1, x2, y2) in enumerate(anchors)
        if allow_crossing or (x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height)
    ]
    iou = {(t, k): iou_exactly(anchors[t], gt_boxes[k]) for t in used for k in range(len(gt_boxes))}
    verdict, matched = [IGNORED] * len(anchors), [-1] * len(anchors)
    for t in used:
        # "a positive label: (i) the anchors with the highest overlap with a ground-truth box, or (ii) above 0.7"
        highest = any(iou[t, k] > 0 and iou[t, k] == max(iou[s, k] for s in used) for k in ordinary)
        if highest or any(iou[t, k] >= high for k in ordinary):
            verdict[t] = FOREGROUND
            matched[t] = max(ordinary, key=lambda k: iou[t, k])
        # "a negative label if it is lower than 0.3 for all"; a difficult object counts among "all"
        elif all(iou[t, k] < low for k in range(len(gt_boxes))):
            verdict[t] = BACKGROUND
    return verdict, matched


@st.composite
def scenes(draw):
    """A small map with its shapes, objects with whole-numbered corners, an image size, and which are difficult."""
    map_size = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    shapes = draw(st.sampled_from([(4,), (8,), (4, 8)])), draw(st.sampled_from([(1.0,), (0.25, 1.0, 4.0)]))
    # Smaller than what the map covers, as an image in a padded batch is.
    image_size = (draw(st.integers(1, 4 * map_size[0])), draw(st.integers(1, 4 * map_size[1])))
    corner = [st.integers(0, 4 * map_size[1] - 1), st.integers(0, 4 * map_size[0] - 1)]
    found = draw(st.lists(st.tuples(*corner, st.integers(1, 10), st.integers(1, 10), st.booleans()), max_size=4))
    gt_boxes = torch.tensor([[x, y, x + w, y + h] for x, y, w, h, _ in found], dtype=torch.float32).reshape(-1, 4)
    return (shapes, map_size), gt_boxes, image_size, torch.tensor([hard for *_, hard in found], dtype=torch.bool)


def anchors_of(shapes, map_size):
    """Anchors whose corners are whole numbers."""
    return anchor_grid(base_anchors(*shapes), map_size, stride=4)


@given(scenes(), st.booleans())
def test_targets_agree_with_the_paper_read_literally(scene, allow_crossing):
    # Quarters as thresholds: binary floats hold them exactly, so that an overlap *at* one is decided the same way.
    (_, gt_boxes, image_size, difficult), anchors = scene, anchors_of(*scene[0])
    result = anchor_targets(anchors, gt_boxes, image_size, 0.75, (0.0, 0.25), allow_crossing, difficult)
    verdict, matched = targets_slowly(
        anchors.tolist(), gt_boxes.tolist(), image_size, 0.75, 0.25, allow_crossing, difficult.tolist()
    )
    assert result.verdict.tolist() == verdict
    assert result.matched.tolist() == matched
    found = result.verdict == FOREGROUND
    assert (result.deltas[~found] == 0).all()
    back = boxes.decode(result.deltas[found], anchors[found])
    torch.testing.assert_close(back, gt_boxes[result.matched[found]], atol=1e-4, rtol=1e-4)


@given(scenes())
def test_with_crossing_anchors_allowed_the_targets_are_those_of_torchvision(scene):
    (_, gt_boxes, image_size, _), anchors = scene, anchors_of(*scene[0])
    assume(len(gt_boxes) > 0)
    iou = boxes.iou(gt_boxes, anchors)
    # torchvision makes *every* anchor foreground for an object that none overlaps; `sampling.match` does not.
    assume((iou.max(dim=1).values > 0).all())
    matched = Matcher(0.7, 0.3, allow_low_quality_matches=True)(iou)
    result = anchor_targets(anchors, gt_boxes, image_size, allow_crossing=True)
    kinds = {Matcher.BELOW_LOW_THRESHOLD: BACKGROUND, Matcher.BETWEEN_THRESHOLDS: IGNORED}
    assert result.verdict.tolist() == [kinds.get(k, FOREGROUND) for k in matched.tolist()]
    assert result.matched.tolist() == matched.clamp(min=-1).tolist()
    found = matched >= 0
    expected = BoxCoder((1.0, 1.0, 1.0, 1.0)).encode_single(gt_boxes[matched[found]], anchors[found])
    torch.testing.assert_close(result.deltas[found], expected)


def test_an_anchor_that_crosses_the_border_does_not_win_an_object_and_go():
    # The best anchor for the object crosses the border. Were it chosen before such anchors are taken out (a common
    # mistake), the object would have no anchor at all and never be learned.
    anchors = torch.tensor([[-2.0, 0, 8, 10], [0, 0, 10, 20], [20, 20, 30, 30]])
    gt_boxes = torch.tensor([[0.0, 0, 8, 10]])
    assert anchor_targets(anchors, gt_boxes, (40, 40)).verdict.tolist() == [IGNORED, FOREGROUND, BACKGROUND]
    crossing = anchor_targets(anchors, gt_boxes, (40, 40), allow_crossing=True)
    assert crossing.verdict.tolist() == [FOREGROUND, IGNORED, BACKGROUND]


def test_without_objects_all_that_lies_inside_is_background():
    anchors = torch.tensor([[0.0, 0, 8, 8], [-1, 0, 7, 8]])
    for difficult in (None, torch.zeros(0, dtype=torch.bool)):
        result = anchor_targets(anchors, torch.zeros(0, 4), (40, 40), difficult=difficult)
        assert result.verdict.tolist() == [BACKGROUND, IGNORED]
        assert result.matched.tolist() == [-1, -1]
        assert (result.deltas == 0).all()


def test_an_image_smaller_than_every_anchor_teaches_nothing_and_does_not_fail():
    result = anchor_targets(anchor_grid(base_anchors(), (2, 2), 16), torch.tensor([[1.0, 1, 20, 20]]), (32, 32))
    assert (result.verdict == IGNORED).all()


def test_what_lies_on_a_difficult_object_is_neither_learned_nor_background():
    anchors = torch.tensor([[0.0, 0, 10, 10], [4, 0, 14, 10], [6, 0, 16, 10], [30, 30, 40, 40]])
    gt_boxes = torch.tensor([[0.0, 0, 10, 10], [30, 30, 40, 40]])
    difficult = torch.tensor([True, False])
    result = anchor_targets(anchors, gt_boxes, (40, 40), difficult=difficult)
    # IoU with the difficult one: 1, 6/14, 4/16. The third has no more of it than any background may.
    assert result.verdict.tolist() == [IGNORED, IGNORED, BACKGROUND, FOREGROUND]
    assert result.matched.tolist() == [-1, -1, -1, 1], "counted among all objects, not only the ordinary ones"
    # An anchor on an ordinary object is foreground even where a difficult one is just as near.
    both = anchor_targets(anchors, gt_boxes[[0, 0]], (40, 40), difficult=difficult)
    assert both.verdict.tolist() == [FOREGROUND, IGNORED, BACKGROUND, BACKGROUND]


@pytest.mark.parametrize("row", [[5.0, 5, 5, 9], [5, 5, 9, 5], [9, 9, 5, 5], [math.nan, 5, 9, 9]])
def test_an_object_without_width_or_height_is_refused_and_named(row):
    # Its deltas are the logarithm of 0: one such box, and every weight is NaN a step later.
    gt_boxes = torch.tensor([[0.0, 0, 8, 8], row])
    with pytest.raises(ValueError, match="row 1 is"):
        anchor_targets(base_anchors(), gt_boxes, (40, 40))


def test_thresholds_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="must rise"):
        anchor_targets(base_anchors(), torch.zeros(0, 4), (40, 40), foreground_iou=0.2)


# --- the loss --------------------------------------------------------------------------------------------------------


def loss_slowly(objectness, deltas, targets, sampled, box_weight, beta, locations):
    """Equation 1, one anchor at a time."""
    class_sum, box_sum, drawn = 0.0, 0.0, 0
    for n, (foreground, background) in enumerate(sampled):
        for t in foreground.tolist() + background.tolist():
            p = 1 / (1 + math.exp(-objectness[n, t].item()))
            drawn += 1
            if t in foreground.tolist():
                class_sum -= math.log(p)
                for d in range(4):
                    x = abs(deltas[n, t, d].item() - targets[n].deltas[t, d].item())
                    box_sum += 0.5 * x * x / beta if x < beta else x - 0.5 * beta
            else:
                class_sum -= math.log(1 - p)
    return class_sum / max(drawn, 1), box_weight * box_sum / (locations or max(drawn, 1))


def random_step(seed, images, anchors, foreground, background):
    """An answer of the network, made-up targets, and which anchors were drawn, in float64."""
    g = generator(seed)
    objectness = torch.randn(images, anchors, generator=g, dtype=torch.float64)
    deltas = torch.randn(images, anchors, 4, generator=g, dtype=torch.float64)
    targets, sampled = [], []
    for _ in range(images):
        order = torch.randperm(anchors, generator=g)
        chosen, rest = order[:foreground], order[foreground:][:background]
        verdict = torch.full((anchors,), -1)
        verdict[chosen], verdict[rest] = FOREGROUND, BACKGROUND
        goals = torch.randn(anchors, 4, generator=g, dtype=torch.float64)
        targets.append(AnchorTargets(verdict, torch.zeros(anchors, dtype=torch.long), goals))
        sampled.append((chosen, rest))
    return objectness, deltas, targets, sampled


@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 12), st.integers(0, 6), st.integers(0, 6),
       st.sampled_from([1.0, 10.0]), st.sampled_from([1.0, 1 / 9]), st.sampled_from([None, 4]))  # fmt: skip
def test_the_loss_is_equation_1_read_literally(seed, images, anchors, foreground, background, weight, beta, locations):
    step = random_step(seed, images, anchors, foreground, background)
    losses = rpn_loss(*step, weight, beta, locations)
    expected = loss_slowly(*step, weight, beta, locations)
    assert (losses["loss_objectness"].item(), losses["loss_rpn_box_reg"].item()) == pytest.approx(expected)


def test_gradients_of_the_loss_are_right_and_reach_only_what_was_drawn():
    objectness, deltas, targets, sampled = random_step(1, 2, 8, 2, 3)
    objectness.requires_grad_(), deltas.requires_grad_()

    def total(objectness, deltas):
        return sum(rpn_loss(objectness, deltas, targets, sampled).values())

    assert torch.autograd.gradcheck(total, (objectness, deltas))
    total(objectness, deltas).backward()
    for n, (foreground, background) in enumerate(sampled):
        assert set(torch.nonzero(objectness.grad[n]).flatten().tolist()) == {*foreground.tolist(), *background.tolist()}
        assert set(torch.nonzero(deltas.grad[n])[:, 0].tolist()) == set(foreground.tolist()), "background has no box"


def test_nothing_drawn_is_a_loss_of_0_and_not_of_nan():
    objectness, deltas, targets, _ = random_step(0, 1, 5, 0, 0)
    nothing = torch.zeros(0, dtype=torch.long)
    losses = rpn_loss(objectness.requires_grad_(), deltas.requires_grad_(), targets, [(nothing, nothing)])
    assert [value.item() for value in losses.values()] == [0, 0]
    sum(losses.values()).backward()  # an image without anchors in a batch of one must not stop a training
    assert (objectness.grad == 0).all()


def test_both_normalisations_nearly_agree_on_a_map_like_the_papers():
    # lambda = 10 over 2,500 locations is 1/250; 1 over the 256 anchors drawn is 1/256: 2.4 % apart.
    features = torch.randn(1, 8, 50, 50, generator=generator(0))
    target = [{"boxes": torch.tensor([[100.0, 100, 300, 260], [400, 400, 700, 600]])}]
    losses = {}
    for kind, weight in (("sampled", 1.0), ("paper", 10.0)):
        rpn = RPN(8, 16, RPNSettings(normalise=kind, box_weight=weight), generator(0))
        losses[kind] = rpn(features, target, [(800, 800)]).losses
    assert losses["paper"]["loss_objectness"] == losses["sampled"]["loss_objectness"]
    ratio = losses["paper"]["loss_rpn_box_reg"] / losses["sampled"]["loss_rpn_box_reg"]
    assert ratio.item() == pytest.approx(256 / 250)


# --- a training step -------------------------------------------------------------------------------------------------

SMALL = RPNSettings(sizes=(16, 32), ratios=(0.5, 1.0), before_nms=(200, 100), after_nms=(50, 20), report_accuracy=True)


@given(st.integers(0, 10_000), st.lists(st.integers(0, 3), min_size=1, max_size=3), st.booleans())
@settings(max_examples=40)
def test_every_batch_gives_finite_losses_and_proposals_inside_the_images(seed, objects, training):
    g = generator(seed)
    rpn = RPN(4, 8, SMALL, g).train(training)
    sizes = [tuple(torch.randint(10, 65, (2,), generator=g).tolist()) for _ in objects]
    targets = [{"boxes": random_boxes(k, w, h, g)} for k, (h, w) in zip(objects, sizes, strict=True)]
    features = 20 * torch.randn(len(objects), 4, 8, 8, generator=g)
    output = rpn(features, targets, sizes)
    losses = output.losses
    assert losses.keys() == {"loss_objectness", "loss_rpn_box_reg", "accuracy"}
    assert all(value.isfinite() for value in losses.values())
    assert 0 <= losses["accuracy"] <= 1
    if not any(objects):
        assert losses["loss_rpn_box_reg"] == 0
    found, scores = rpn.propose(output, sizes)
    for regions, probability, (height, width) in zip(found, scores, sizes, strict=True):
        assert len(regions) == len(probability) <= (50 if training else 20)
        assert not regions.requires_grad
        assert (regions[:, :2] >= 0).all()
        assert (regions[:, 2:] <= torch.tensor([width, height])).all()
        assert (probability.diff() <= 0).all()
        assert boxes.iou(regions, regions).fill_diagonal_(0).max() <= 0.7 if len(regions) else True


def test_a_step_repeats_with_its_generator_and_leaves_torchs_own_alone():
    features = torch.randn(1, 4, 20, 20, generator=generator(0))
    target = [{"boxes": torch.tensor([[20.0, 20, 60, 50]])}]
    rpn = RPN(4, 8, RPNSettings(sizes=(16, 32), regions=20), generator(0))
    state, global_state = rpn.generator.get_state(), torch.get_rng_state()
    arguments = rpn(features), target, [(160, 160)]
    first, second = rpn.losses(*arguments), rpn.losses(*arguments)
    rpn.generator.set_state(state)
    assert rpn.losses(*arguments) == first
    assert second != first, "another step draws other anchors"
    assert torch.equal(torch.get_rng_state(), global_state)


def test_anchors_in_the_padding_are_not_trained_on():
    # An image of 80 x 80 in a batch padded to 160 x 160. What the network says about the padding must not matter.
    rpn = RPN(4, 8, RPNSettings(sizes=(16, 32), regions=100_000), generator(0))
    features = torch.randn(1, 4, 20, 20, generator=generator(0))
    output, target = rpn(features), [{"boxes": torch.tensor([[20.0, 20, 60, 50]])}]
    clean = rpn.losses(output, target, [(80, 80)])
    beyond = (output.anchors[:, 2] > 80) | (output.anchors[:, 3] > 80)
    output = output._replace(objectness=output.objectness.masked_fill(beyond, 50.0))
    torch.testing.assert_close(rpn.losses(output, target, [(80, 80)]), clean)
    assert rpn.losses(output, target, [(160, 160)])["loss_objectness"] > 1


def test_difficult_objects_reach_the_targets():
    rpn = RPN(4, 8, RPNSettings(sizes=(16, 32), regions=100_000), generator(0))
    features = torch.randn(1, 4, 20, 20, generator=generator(0))
    output = rpn(features)
    boxes_of_image = torch.tensor([[20.0, 20, 60, 50]])
    plain, hard, none = (
        rpn.losses(output, [target], [(160, 160)])
        for target in (
            {"boxes": boxes_of_image},
            {"boxes": boxes_of_image, "difficult": torch.tensor([True])},
            {"boxes": boxes_of_image[:0]},
        )
    )
    assert plain["loss_rpn_box_reg"] > 0
    assert hard["loss_rpn_box_reg"] == 0
    assert hard["loss_objectness"] != none["loss_objectness"], "what lies on it is no background either"


def test_mixed_precision_ends_where_losses_and_pixels_begin():
    # bfloat16 has three digits: 500.0 and 503.0 are the same pixel, and thousands of scores are ties.
    rpn = RPN(32, 16, generator=generator(0))
    features = torch.randn(1, 32, 20, 20, generator=generator(0))
    target = [{"boxes": torch.tensor([[40.0, 40, 200, 160]])}]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = rpn(features, target, [(320, 320)])
        objectness, deltas, _, losses = output
        assert rpn.head(features)[0].dtype == torch.bfloat16
        found, scores = rpn.propose(output, [(320, 320)])
    assert {x.dtype for x in (objectness, deltas, *losses.values(), found[0], scores[0])} == {torch.float32}
    sum(losses.values()).backward()
    assert rpn.head.conv.weight.grad.isfinite().all()


def test_it_learns_one_image_by_heart_in_a_second():
    # Three objects on a map of random numbers. If a target, a channel or the loss were about another anchor than the
    # proposal layer thinks, this would not come out.
    g = generator(0)
    rpn = RPN(16, 8, RPNSettings(sizes=(16, 32), hidden=64, report_accuracy=True), g)
    features = torch.randn(1, 16, 16, 20, generator=g)
    gt_boxes = torch.tensor([[10.0, 12, 42, 30], [60, 50, 100, 90], [110, 20, 130, 50]])
    optimiser = torch.optim.Adam(rpn.parameters(), lr=0.01)
    start = time.perf_counter()
    for _ in range(150):
        losses = rpn(features, [{"boxes": gt_boxes}], [(128, 160)]).losses
        accuracy = losses.pop("accuracy")  # no loss
        total = sum(losses.values())
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    assert total < 0.05
    assert accuracy > 0.99
    found, scores = rpn.eval().propose(rpn(features), [(128, 160)])
    overlap = boxes.iou(gt_boxes, found[0][:6])
    assert (overlap.max(dim=1).values > 0.8).all(), f"{overlap}, {scores[0][:6]}"
    assert (scores[0][:3] > 0.9).all()
    assert time.perf_counter() - start < 20, "generous: a busy machine; about one second on an idle one"


# --- the proposal layer ----------------------------------------------------------------------------------------------


def overlap_slowly(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def proposals_slowly(objectness, deltas, anchors, image_size, before_nms, after_nms, nms_iou, min_size):
    """The proposal layer, one box at a time, in Python's own numbers."""
    height, width = image_size
    candidates = []
    order = sorted(range(len(objectness)), key=lambda t: -objectness[t])
    for t in order[:before_nms]:
        (x1, y1, x2, y2), (dx, dy, dw, dh) = anchors[t], deltas[t]
        w, h = (x2 - x1) * math.exp(min(dw, math.log(1000 / 16))), (y2 - y1) * math.exp(min(dh, math.log(1000 / 16)))
        x, y = (x1 + x2) / 2 + dx * (x2 - x1), (y1 + y2) / 2 + dy * (y2 - y1)
        x1, x2 = (min(max(edge, 0), width) for edge in (x - w / 2, x + w / 2))
        y1, y2 = (min(max(edge, 0), height) for edge in (y - h / 2, y + h / 2))
        if x2 - x1 >= min_size and y2 - y1 >= min_size:
            candidates.append(((x1, y1, x2, y2), 1 / (1 + math.exp(-objectness[t]))))
    kept = []
    for box, score in candidates:
        if all(overlap_slowly(box, other) <= nms_iou for other, _ in kept):
            kept.append((box, score))
    return kept[:after_nms]


@given(st.integers(0, 10_000), st.integers(0, 60), st.integers(1, 70), st.integers(1, 30), st.sampled_from([0.3, 0.7]),
       st.sampled_from([1e-3, 4.0, 16.0]))  # fmt: skip
def test_the_proposal_layer_agrees_with_loops_that_follow_the_paper(seed, count, before, after, nms_iou, min_size):
    # In float64 on both sides: a rounding could otherwise put an overlap on the other side of the threshold.
    g = generator(seed)
    anchors = random_boxes(count, 60, 60, g).double() - 10  # some begin outside
    objectness = 3 * torch.randn(count, generator=g, dtype=torch.float64)
    deltas = torch.randn(count, 4, generator=g, dtype=torch.float64) * torch.tensor([0.3, 0.3, 0.5, 0.5])
    options = (40, 50), before, after, nms_iou, min_size
    found, scores = proposals(objectness, deltas, anchors, *options)
    expected = proposals_slowly(objectness.tolist(), deltas.tolist(), anchors.tolist(), *options)
    assert len(found) == len(expected)
    torch.testing.assert_close(found, torch.tensor([box for box, _ in expected], dtype=torch.float64).reshape(-1, 4))
    torch.testing.assert_close(scores, torch.tensor([score for _, score in expected], dtype=torch.float64))


def test_boxes_are_moved_before_they_are_compared():
    # Two anchors in one place whose deltas lead to two objects, and two apart that find the same one. Suppression on
    # the anchors (a mistake that looks harmless) would lose an object and keep a double.
    anchors = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60], [56, 50, 66, 60]])
    deltas = torch.tensor([[0.0, 0, 0, 0], [2, 0, 0, 0], [0, 0, 0, 0], [-0.6, 0, 0, 0]])
    found, _ = proposals(torch.tensor([4.0, 3, 2, 1]), deltas, anchors, (100, 100))
    torch.testing.assert_close(found, torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [50, 50, 60, 60]]))


def test_a_wild_guess_is_clipped_and_one_beyond_the_image_dropped():
    anchors = torch.tensor([[0.0, 0, 10, 10]]).repeat(3, 1)
    deltas = torch.tensor([[0.0, 0, 1000, 1000], [100, 0, 0, 0], [0, 0, -50, -50]])
    found, scores = proposals(torch.zeros(3), deltas, anchors, (30, 40))
    assert found.tolist() == [[0, 0, 40, 30]]
    assert scores.tolist() == [0.5]


def test_training_and_testing_have_numbers_of_their_own():
    rpn = RPN(4, 8, RPNSettings(sizes=(8,), ratios=(1.0,), before_nms=(90, 60), after_nms=(30, 10), nms_iou=1.0))
    step = rpn(torch.randn(1, 4, 10, 10)), [(80, 80)]
    assert len(rpn.train().propose(*step)[0][0]) == 30
    assert len(rpn.eval().propose(*step)[0][0]) == 10


def test_no_gradient_flows_back_through_proposals():
    # Section 3.2: approximate joint training.
    rpn = RPN(4, 8, SMALL)
    found, scores = rpn.propose(rpn(torch.randn(1, 4, 8, 8)), [(64, 64)])
    assert len(found[0]) > 0
    assert not found[0].requires_grad
    assert not scores[0].requires_grad


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["objectness", "deltas"])
def test_a_training_that_has_diverged_says_so(value, where):
    step = {"objectness": torch.zeros(3), "deltas": torch.zeros(3, 4), "anchors": torch.ones(3, 4).cumsum(1)}
    step[where][1] = value
    with pytest.raises(FloatingPointError, match="finite numbers"):
        proposals(**step, image_size=(40, 40))


@pytest.mark.usefixtures("unchecked")
def test_answers_about_other_anchors_are_refused():
    # Made with other sizes, every number after the first cell would silently be about something else.
    with pytest.raises(ValueError, match="same anchors"):
        proposals(torch.zeros(4), torch.zeros(4, 4), torch.ones(3, 4).cumsum(1), (40, 40))
    objectness, deltas, targets, sampled = random_step(0, 2, 6, 2, 2)
    with pytest.raises(ValueError, match="2 images with 5 anchors"):
        rpn_loss(objectness[:, :5], deltas[:, :5], targets, sampled)
    with pytest.raises(ValueError, match="sampled for 1"):
        rpn_loss(objectness, deltas, targets, sampled[:1])


def test_a_target_for_each_image_is_asked_for():
    rpn = RPN(4, 8, SMALL)
    output = rpn(torch.zeros(2, 4, 8, 8))
    with pytest.raises(ValueError, match="each of the 2 images"):
        rpn.losses(output, [{"boxes": torch.zeros(0, 4)}], [(64, 64)] * 2)


@pytest.mark.usefixtures("unchecked")
def test_a_misspelt_normalisation_is_refused():
    with pytest.raises(ValueError, match="sampled"):
        RPNSettings(normalise="Paper")
