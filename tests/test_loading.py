"""Batches: every image once, one orientation at a time; flips take the proposals along; a seed repeats it all."""

import copy
import pickle
from multiprocessing import get_all_start_methods

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision import tv_tensors

from frcnn_lessons.checkpoints import generators_of
from frcnn_lessons.datasets.loading import OneOrientation, batches
from frcnn_lessons.datasets.sample import Sample
from frcnn_lessons.datasets.transforms import HorizontalFlip


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def sample(i, height, width):
    """An image that is i/100 grey, with one bright pixel column in its only box."""
    image = torch.full((3, height, width), i / 100)
    image[:, :, 2] = 1.0
    box = tv_tensors.BoundingBoxes(torch.tensor([[2.0, 1, 3, 5]]), format="XYXY", canvas_size=(height, width))
    return Sample(tv_tensors.Image(image), box, torch.tensor([1]), torch.tensor([False]), f"image {i}", (height, width))


WIDE, UPRIGHT = (10, 16), (16, 10)
SAMPLES = [sample(i, *(UPRIGHT if i % 3 == 0 else WIDE)) for i in range(11)]  # 4 upright, 7 wide
PROPOSALS = [torch.tensor([[2.0, 1, 3, 5], [0.0, 0, 1, 1]])[: i % 3] for i in range(11)]  # 0, 1 or 2 of an image


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(1, 7), st.integers(0, 3))
def test_a_pass_gives_every_image_once_and_never_mixes_orientations(wide, size, seed):
    order = OneOrientation(wide, size, seeded(seed))
    drawn = list(order)
    assert sorted(i for batch in drawn for i in batch) == list(range(len(wide)))
    assert all(len({wide[i] for i in batch}) == 1 for batch in drawn)
    assert max(map(len, drawn)) <= size
    # The schedule of the learning rate counts on it.
    assert len(drawn) == len(order)
    # No more than one batch of each orientation is short.
    assert sum(len(batch) < size for batch in drawn) <= 2


def test_each_pass_has_its_own_order_and_a_seed_repeats_them_all():
    order, again = OneOrientation([True] * 30, 4, seeded()), OneOrientation([True] * 30, 4, seeded())
    first, second = list(order), list(order)
    assert first != second
    assert [list(again), list(again)] == [first, second]


def test_wide_and_upright_batches_are_mixed_in_time():
    # All wide ones first would teach the network one half of the world after the other.
    wide = [True] * 40 + [False] * 40
    kinds = [wide[batch[0]] for batch in OneOrientation(wide, 4, seeded())]
    assert kinds != sorted(kinds)
    assert kinds != sorted(kinds, reverse=True)


def test_without_a_generator_images_come_in_order():
    loader = batches(SAMPLES, 4)
    assert [target["image_id"] for _, targets in loader for target in targets] == [f"image {i}" for i in range(11)]
    assert len(loader) == 3


def test_batches_have_the_parts_that_training_wants():
    images, targets = next(iter(batches(SAMPLES, 2)))
    assert [type(image) for image in images] == [Tensor, Tensor]
    assert targets[0].keys() >= {"boxes", "labels", "difficult", "image_id", "size"}
    images, targets, proposals = next(iter(batches(SAMPLES, 3, PROPOSALS)))
    assert [type(regions) for regions in proposals] == [Tensor] * 3
    assert [len(regions) for regions in proposals] == [0, 1, 2]  # an image without proposals keeps its place


def test_proposals_follow_their_image_through_the_shuffle():
    for _, targets, proposals in batches(SAMPLES, 4, PROPOSALS, generator=seeded()):
        for target, regions in zip(targets, proposals, strict=True):
            assert len(regions) == int(target["image_id"].split()[1]) % 3


def test_a_flip_takes_boxes_and_proposals_along():
    # Proposals that stayed behind would lie on the wrong half of every second image: a detector that still learns,
    # badly, and without a word.
    flips = []
    for images, targets, proposals in batches(SAMPLES, 4, PROPOSALS, generator=seeded(), flip=0.5):
        for image, target, regions in zip(images, targets, proposals, strict=True):
            x1, _, x2, _ = target["boxes"][0].tolist()
            assert (image[:, :, int(x1) : int(x2)] == 1).all()
            if len(regions):
                assert torch.equal(regions[0], target["boxes"][0])
            flips.append(x1 != 2)
    assert 0 < sum(flips) < len(flips)


def test_proposals_given_are_not_changed_by_a_flip():
    before = [regions.clone() for regions in PROPOSALS]
    for _ in range(2):
        list(batches(SAMPLES, 4, PROPOSALS, generator=seeded(), flip=1.0))
    assert all(torch.equal(a, b) for a, b in zip(before, PROPOSALS, strict=True))


def test_a_stored_state_repeats_order_and_flips_exactly():
    # What a resumed training does: the state that a checkpoint holds is that at the start of an epoch.
    generator = seeded()
    loader = batches(SAMPLES, 4, PROPOSALS, generator=generator, flip=0.5)

    def one_pass():
        return [(t["image_id"], t["boxes"].tolist()) for _, targets, _ in loader for t in targets]

    one_pass()
    state = generator.get_state()
    second = one_pass()
    third = one_pass()
    generator.set_state(state)
    assert [one_pass(), one_pass()] == [second, third]


def test_training_finds_the_generator_by_itself():
    generator = seeded()
    found = generators_of(torch.nn.Identity(), batches(SAMPLES, 4, generator=generator, flip=0.5))
    assert any(one is generator for one in found.values())


def test_nothing_is_drawn_from_the_global_generator():
    # `training.train` refuses to promise a resume otherwise.
    before = torch.get_rng_state()
    list(batches(SAMPLES, 4, PROPOSALS, generator=seeded(), flip=0.5))
    list(batches(SAMPLES, 4, PROPOSALS))
    assert torch.equal(before, torch.get_rng_state())


def test_workers_repeat_a_pass_too():
    def one_pass():
        loader = batches(SAMPLES, 4, PROPOSALS, generator=seeded(), flip=0.5, workers=2)
        return [(t["image_id"], t["boxes"].tolist()) for _, targets, _ in loader for t in targets]

    assert one_pass() == one_pass()


@pytest.mark.slow
@pytest.mark.skipif("fork" not in get_all_start_methods(), reason="what is compared with: forked workers")
@pytest.mark.parametrize("method", sorted({"spawn", "forkserver"} & set(get_all_start_methods())))
def test_workers_that_are_started_anew_give_what_forked_ones_give(method):
    # How workers start is the system's choice: spawn on macOS and Windows, forkserver from Python 3.14 on Linux.
    samples, proposals = [sample(i, 10, 16) for i in range(60)], [torch.tensor([[2.0, 1, 3, 5]])] * 60

    def one_pass(method):
        loader = batches(samples, 25, [one.clone() for one in proposals], generator=seeded(), flip=0.5, workers=1)
        loader.multiprocessing_context = method
        return [
            (t["image_id"], t["boxes"].tolist(), regions.tolist())
            for _, targets, proposals in loader
            for t, regions in zip(targets, proposals, strict=True)
        ]

    anew = one_pass(method)
    assert anew == one_pass("fork")
    flips = [boxes != [[2, 1, 3, 5]] for _, boxes, _ in anew]
    assert all(boxes == regions for _, boxes, regions in anew)
    assert 0 < sum(flips) < len(flips)


def test_a_copy_of_a_flip_goes_on_as_the_original_would():
    flip = HorizontalFlip(0.5, seeded(3))
    [flip.make_params([]) for _ in range(5)]
    copies = [copy.deepcopy(flip), pickle.loads(pickle.dumps(flip))]
    drawn = [[one.make_params([])["flip"] for _ in range(20)] for one in (flip, *copies)]
    assert drawn[0] == drawn[1] == drawn[2]
    assert {one.draws.generator().initial_seed() for one in copies} == {3}


def test_what_cannot_be_is_refused_with_a_sentence():
    with pytest.raises(ValueError, match="got 3 for 11 images"):
        batches(SAMPLES, 4, PROPOSALS[:3])
    with pytest.raises(ValueError, match="pass the generator"):
        batches(SAMPLES, 4, flip=0.5)
    with pytest.raises(ValueError, match="batch_size must be 1 or more"):
        batches(SAMPLES, 0, generator=seeded())
