"""What the transforms promise: image and boxes move together, and a run can be repeated."""

import pickle

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.transforms import v2

from frcnn_lessons.datasets import AnnotatedObject, HorizontalFlip, ResizeShortSide, Sample, VOCDataset
from frcnn_lessons.datasets.transforms import Augment, resized_size
from frcnn_lessons.datasets.voc import write_annotation


def painted(height, width, boxes):
    """A black image with each box filled white: where the boxes must be after any transform can be seen in it."""
    image = torch.zeros(3, height, width)
    for x1, y1, x2, y2 in boxes:
        image[:, y1:y2, x1:x2] = 1
    return Sample(
        tv_tensors.Image(image),
        tv_tensors.BoundingBoxes(
            torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), format="XYXY", canvas_size=(height, width)
        ),
        torch.arange(1, len(boxes) + 1),
        torch.zeros(len(boxes), dtype=torch.bool),
        "painted",
        (height, width),
    )


def white_extent(image):
    rows, columns = (image[0] > 0.5).any(dim=1).nonzero(), (image[0] > 0.5).any(dim=0).nonzero()
    return [columns.min().item(), rows.min().item(), columns.max().item() + 1, rows.max().item() + 1]


@pytest.mark.parametrize(
    ("size", "short", "cap", "expected"),
    [
        ((375, 500), 600, 1000, (600, 800)),  # scale 1.6
        ((500, 375), 600, 1000, (800, 600)),
        ((300, 900), 600, 1000, (333, 1000)),  # 600/300 = 2 would make 1800: the cap wins with 1000/900
        ((375, 500), 400, 600, (400, 533)),
        ((333, 500), 400, 600, (400, 600)),  # 400/333 would make 600.6; 600/500 = 1.2 makes 399.6
        ((600, 1000), 600, 1000, (600, 1000)),
        ((1, 5000), 600, 1000, (1, 1000)),  # 0.2 pixels high, but never none
    ],
)
def test_the_size_follows_the_papers_rule(size, short, cap, expected):
    assert resized_size(*size, short, cap) == expected


@pytest.mark.parametrize("size", [(500, 375), (333, 500), (97, 61)])
def test_white_stays_white(size):
    # Smoothing adds up weights that make 1.0000001, and an image of the course lies in 0..1.
    image, *_ = ResizeShortSide(60, 90)(painted(*size, [(0, 0, size[1], size[0])]))
    assert isinstance(image, tv_tensors.Image)
    assert image.min() > 0.999999
    assert image.max() <= 1


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 1000), st.integers(1, 1500))
def test_one_limit_is_met_and_none_is_passed(height, width, short, cap):
    new = resized_size(height, width, short, cap)
    assert max(new) <= cap
    assert min(new) <= short
    assert min(new) == short or max(new) == cap
    for got, old in zip(new, (height, width), strict=True):  # proportions, up to half a pixel
        scale = min(short / min(height, width), cap / max(height, width))
        assert got == 1 or abs(got - old * scale) <= 0.5 + 1e-6


@pytest.mark.parametrize("bad", [(0, 5, 5, 5), (5, -1, 5, 5), (5, 5, 0, 5), (5, 5, 5, 0)])
def test_a_size_of_nothing_is_refused(bad):
    with pytest.raises(ValueError, match="at least 1"):
        resized_size(*bad)


def test_resizing_moves_the_boxes_with_the_image():
    sample = painted(30, 40, [(8, 6, 20, 15)])
    resized = ResizeShortSide(60, 1000)(sample)
    assert resized.image.shape == (3, 60, 80)
    assert resized.boxes.tolist() == [[16, 12, 40, 30]]
    assert white_extent(resized.image) == [16, 12, 40, 30]  # seen in the pixels, not only computed
    assert resized.boxes.canvas_size == (60, 80)
    assert (resized.size, resized.image_id) == ((30, 40), "painted")
    assert isinstance(resized, Sample)
    assert sample.boxes.tolist() == [[8, 6, 20, 15]], "the sample that was passed in changed"


def test_rounding_to_whole_pixels_stretches_the_boxes_by_the_same_factors():
    resized = ResizeShortSide(400, 600)(painted(333, 500, [(0, 0, 500, 333)]))
    assert resized.boxes.tolist() == [[0, 0, 600, 400]]  # the full image stays the full image


def test_flipping_moves_the_boxes_with_the_image():
    flip = HorizontalFlip(1.0, torch.Generator())
    flipped = flip(painted(30, 40, [(8, 6, 20, 15)]))
    assert flipped.boxes.tolist() == [[20, 6, 32, 15]]  # 40 - 20 and 40 - 8: no pixel lost, x1 still left of x2
    assert white_extent(flipped.image) == [20, 6, 32, 15]
    twice = flip(flipped)
    assert torch.equal(twice.image, painted(30, 40, [(8, 6, 20, 15)]).image)


def test_flips_come_from_the_generator_alone():
    def flips(seed):
        flip = HorizontalFlip(0.5, torch.Generator().manual_seed(seed))
        return [flip(painted(4, 4, [(0, 0, 1, 1)])).boxes[0, 0].item() for _ in range(200)]

    before = torch.get_rng_state()
    assert flips(0) == flips(0)
    assert flips(0) != flips(1)
    assert 70 < sum(x == 3 for x in flips(0)) < 130
    assert torch.equal(torch.get_rng_state(), before)
    assert all(
        HorizontalFlip(0.0, torch.Generator())(painted(4, 4, [(0, 0, 1, 1)])).boxes[0, 0] == 0 for _ in range(50)
    )
    with pytest.raises(ValueError, match="p must lie in"):
        HorizontalFlip(1.5, torch.Generator())


def test_an_image_without_objects_passes_through():
    resized = HorizontalFlip(1.0, torch.Generator())(ResizeShortSide(60, 100)(painted(30, 40, [])))
    assert resized.boxes.shape == (0, 4)
    assert resized.image.shape == (3, 60, 80)


@pytest.fixture
def streets(tmp_path):
    """Sixteen images of a VOC folder, each with one box at the left border."""
    for k in range(16):
        (tmp_path / "JPEGImages").mkdir(exist_ok=True)
        Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(tmp_path / "JPEGImages" / f"{k:02}.png")
        write_annotation(
            tmp_path / "Annotations" / f"{k:02}.xml",
            f"{k:02}.png",
            (8, 8),
            [AnnotatedObject("car", (0.0, 0.0, 2.0, 2.0))],
        )
    return tmp_path


def test_worker_processes_flip_differently_in_each_epoch_and_alike_in_each_run(streets):
    # Each worker has a copy of the generator. Left alone, all copies would draw the same numbers, in every epoch.
    def two_epochs(seed):
        dataset = VOCDataset(streets, transform=HorizontalFlip(0.5, torch.Generator().manual_seed(0)))
        loader = DataLoader(
            dataset, batch_size=8, num_workers=2, collate_fn=list, generator=torch.Generator().manual_seed(seed)
        )
        return [[sample.boxes[0, 0].item() for batch in loader for sample in batch] for _ in range(2)]

    first, second = two_epochs(1)
    assert first[:8] != first[8:], "both workers drew the same"
    assert first != second, "both epochs drew the same"
    assert [first, second] == two_epochs(1)


def test_torchvisions_own_transforms_take_a_sample():
    sample = painted(30, 40, [(8, 6, 20, 15), (0, 0, 2, 1)])
    resized = v2.Resize((60, 80))(sample)
    assert resized.boxes.tolist() == [[16, 12, 40, 30], [0, 0, 4, 2]]
    assert white_extent(v2.RandomHorizontalFlip(p=1)(painted(30, 40, [(8, 6, 20, 15)])).image) == [20, 6, 32, 15]

    without_tiny = v2.SanitizeBoundingBoxes(min_size=3, labels_getter=lambda whole: (whole.labels, whole.difficult))
    chain = v2.Compose([ResizeShortSide(60, 1000), v2.RandomHorizontalFlip(p=1), without_tiny])
    result = chain(sample)
    assert isinstance(result, Sample)
    assert result.boxes.tolist() == [[40, 12, 64, 30]]
    assert result.labels.tolist() == [1]
    assert result.difficult.tolist() == [False]
    assert result.image_id == "painted"


# --- Augment ------------------------------------------------------------------------------------------------------


def objects(*boxes) -> Sample:
    """A gray image of 60 x 80 pixels with these objects white."""
    image = torch.full((3, 60, 80), 0.5)
    for x1, y1, x2, y2 in boxes:
        image[:, y1:y2, x1:x2] = 1.0
    return Sample(
        tv_tensors.Image(image),
        tv_tensors.BoundingBoxes(torch.tensor(boxes, dtype=torch.float32), format="XYXY", canvas_size=(60, 80)),
        torch.arange(1, len(boxes) + 1),
        torch.arange(len(boxes)) % 2 == 1,
        "made",
        (60, 80),
    )


def test_boxes_follow_a_varied_image_and_labels_their_boxes():
    sample, augment, whole = objects((5, 5, 25, 25), (40, 20, 70, 50)), Augment(torch.Generator().manual_seed(0)), 0
    sizes = set()
    for _ in range(200):
        changed = augment(sample)
        height, width = changed.image.shape[1:]
        sizes.add((height, width))
        assert len(changed.boxes) == len(changed.labels) == len(changed.difficult)
        assert (changed.difficult == (changed.labels == 2)).all(), "a label has lost its object"
        for x1, y1, x2, y2 in changed.boxes.tolist():
            assert 0 <= x1 < x2 <= width
            assert 0 <= y1 < y2 <= height
            inside = changed.image[:, round(y1) : round(y2), round(x1) : round(x2)].mean()
            whole += bool(inside > changed.image.mean() - 1e-3)  # the object, not what is around it
    assert len(sizes) > 20
    assert whole > 300
    assert torch.equal(sample.image, objects((5, 5, 25, 25), (40, 20, 70, 50)).image), "it changed its input"


def test_what_is_varied_is_drawn_from_its_own_generator():
    sample, before = objects((5, 5, 25, 25)), torch.get_rng_state()
    one, same, other = (Augment(torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    first, again, others = ([augment(sample).image for _ in range(5)] for augment in (one, same, other))
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, others))
    assert torch.equal(torch.get_rng_state(), before)
    copied = pickle.loads(pickle.dumps(one))
    assert torch.equal(copied(sample).image, one(sample).image)
