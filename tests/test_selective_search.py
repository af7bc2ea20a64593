"""Selective search: each step against the paper's sentences written as loops, and what the whole promises."""

import subprocess
import sys
import warnings
from dataclasses import replace

import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.ndimage
import skimage.color
import skimage.data
import torch
from hypothesis import assume, given, settings
from selectivesearch import selective_search as package

from frcnn_lessons import selective_search as S
from frcnn_lessons.batch import check_image

MEASURES = ("CTSF", "TSF", "C", "T", "S", "F", "SF")
SPACES = ("rgb", "hsv", "lab", "rgi", "hue", "intensity")
SMALL = S.SearchSettings((S.Strategy(),), min_size=4)  # tiny pictures fall into more than one piece


def generator(seed=0):
    return np.random.default_rng(seed)


def noise(height, width, seed):
    return generator(seed).random((height, width, 3), dtype=np.float32)


def as_image(rgb):
    """(h, w, 3) array to the course's (3, H, W) tensor."""
    return torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)))


def numbered(labels):
    """The same regions with labels 0..R-1."""
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int64)


def patches(height, width, side, seed):
    """A label image of ragged patches: blocks, with one pixel in eight given to another label."""
    rng = generator(seed)
    y, x = np.indices((height, width)) // side
    labels = y * (width // side + 1) + x
    strays = rng.random((height, width)) < 1 / 8
    labels[strays] = rng.choice(labels.ravel(), strays.sum())
    return numbered(labels)


label_images = st.builds(patches, st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(0, 10_000))


@pytest.fixture(scope="module")
def astronaut():
    return torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1).float() / 255


# --- slow oracles ------------------------------------------------------------------------------------------------


def touching_slowly(labels):
    """Look from every pixel at its eight neighbours."""
    height, width = labels.shape
    pairs = set()
    for y in range(height):
        for x in range(width):
            for v in range(max(0, y - 1), min(height, y + 2)):
                for u in range(max(0, x - 1), min(width, x + 2)):
                    if labels[y, x] < labels[v, u]:
                        pairs.add((int(labels[y, x]), int(labels[v, u])))
    return sorted(pairs)


def histogram_slowly(values, bins):
    """Of the values (K, pixels) of one region: count one by one, then divide by the sum."""
    counts = np.zeros((len(values), bins))
    for k, row in enumerate(values):
        for value in row:
            counts[k, min(int(value * np.float32(bins)), bins - 1)] += 1
    return counts.ravel() / counts.sum()


def gradients_slowly(pixels):
    """(8 C, h, w): the response to a Gaussian derivative at each orientation, over the largest possible one."""
    offset = np.arange(-4, 5)
    weight = np.exp(-(offset**2) / 2) / np.exp(-(offset**2) / 2).sum()
    largest = (offset * weight)[offset > 0].sum()
    responses = []
    for c in range(pixels.shape[2]):
        channel = pixels[..., c].astype(np.float64)
        dx = scipy.ndimage.gaussian_filter(channel, 1.0, order=(0, 1), mode="nearest")
        dy = scipy.ndimage.gaussian_filter(channel, 1.0, order=(1, 0), mode="nearest")
        for step in range(8):
            angle = np.deg2rad(22.5 * step)
            responses.append(abs(np.cos(angle) * dx + np.sin(angle) * dy) / largest)
    return np.array(responses)


def similarity_slowly(regions, a, b, area, measures):
    """Equations 2, 4, 5 and 6, one number after the other."""
    total = 0.0
    if "C" in measures:
        total += sum(min(p, q) for p, q in zip(regions.colour[a], regions.colour[b], strict=True))
    if "T" in measures:
        total += sum(min(p, q) for p, q in zip(regions.texture[a], regions.texture[b], strict=True))
    if "S" in measures:
        total += 1 - (regions.sizes[a] + regions.sizes[b]) / area
    if "F" in measures:
        (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = regions.boxes[a], regions.boxes[b]
        around = (max(ax2, bx2) - min(ax1, bx1)) * (max(ay2, by2) - min(ay1, by1))
        total += 1 - (around - regions.sizes[a] - regions.sizes[b]) / area
    return total


# --- the steps ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", SPACES)
def test_every_channel_of_every_colour_space_uses_all_of_0_to_1_and_no_more(space):
    # The package's fault: histograms over 0..255 of channels in 0..1. A range that is too wide leaves bins empty.
    steps = np.linspace(0, 1, 18, dtype=np.float32)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(18, -1, 3)
    channels = S.colour_space(cube, space).reshape(18 * 18 * 18, -1)
    assert channels.min() >= 0
    assert channels.max() <= 1
    assert (channels.min(axis=0) < 0.01).all()
    assert (channels.max(axis=0) > 0.98).all()  # hue comes back to 0 at 1, so it never quite gets there


def test_hsv_and_lab_are_those_of_scikit_image():
    rgb = noise(20, 20, 0)
    assert S.colour_space(rgb, "hsv") == pytest.approx(skimage.color.rgb2hsv(rgb), abs=1e-4)
    lab = S.colour_space(rgb, "lab") * [100, 184.5, 202.4] - [0, 86.2, 107.9]
    assert lab == pytest.approx(skimage.color.rgb2lab(rgb), abs=0.5)  # OpenCV's Lab is interpolated


def test_a_shadow_changes_the_intensity_alone_in_rgi():
    # What the colour space is for: half the light leaves the shares of red and green as they are.
    bright = noise(6, 6, 0)
    lit, shaded = S.colour_space(bright, "rgi"), S.colour_space(bright / 2, "rgi")
    assert lit[..., :2] == pytest.approx(shaded[..., :2], abs=1e-5)
    assert lit[..., 2] == pytest.approx(2 * shaded[..., 2], abs=1e-5)


def test_initial_segments_are_numbered_without_gaps_and_no_smaller_than_asked_for(astronaut):
    pixels = S.working_copy(astronaut, 128 * 128)
    segments = S.initial_segments(pixels, scale=100, min_size=30)
    sizes = np.bincount(segments.ravel())
    assert segments.min() == 0
    assert sizes.min() >= 30
    assert S.initial_segments(pixels, scale=400, min_size=30).max() < segments.max(), "a larger scale, fewer segments"


def test_the_working_copy_shrinks_only_what_is_too_large():
    image = torch.rand(3, 40, 90, generator=torch.Generator().manual_seed(0))
    assert S.working_copy(image, 40 * 90).shape == (40, 90, 3)
    assert S.working_copy(image, 10 * 90).shape == (20, 45, 3)
    assert S.working_copy(torch.zeros(3, 1, 5000), 100).shape == (1, 707, 3)  # a side is never rounded to nothing
    assert np.array_equal(S.working_copy(image, 10**9), image.permute(1, 2, 0).numpy())


@given(labels=label_images, seed=st.integers(0, 1000))
def test_regions_are_described_as_a_loop_over_their_pixels_would(labels, seed):
    pixels = noise(*labels.shape, seed)
    regions = S.describe_segments(pixels, labels)
    responses = gradients_slowly(pixels)
    # A response that lies on the edge of a bin may fall to either side in float32.
    assume((abs(responses * 10 - np.round(responses * 10)) > 1e-5).all())
    for r in range(labels.max() + 1):
        y, x = np.nonzero(labels == r)
        assert regions.sizes[r] == len(x)
        assert regions.boxes[r].tolist() == [min(x), min(y), max(x) + 1, max(y) + 1]
        assert regions.colour[r] == pytest.approx(histogram_slowly(pixels[y, x].T, 25))
        assert regions.texture[r] == pytest.approx(histogram_slowly(responses[:, y, x], 10))


@given(labels=label_images)
def test_neighbours_are_those_that_a_loop_over_the_pixels_finds(labels):
    assert list(map(tuple, S.neighbours(labels).tolist())) == touching_slowly(labels)


@given(labels=label_images, seed=st.integers(0, 1000), measures=st.sampled_from(MEASURES))
def test_similarity_is_the_sum_that_the_paper_writes(labels, seed, measures):
    regions = S.describe_segments(noise(*labels.shape, seed), labels)
    a, b = np.indices((len(regions.sizes),) * 2).reshape(2, -1)
    values = S.similarity(regions, a, b, labels.size, measures)
    expected = [similarity_slowly(regions, i, j, labels.size, measures) for i, j in zip(a, b, strict=True)]
    assert values == pytest.approx(expected)
    different = a != b  # a region and itself would count its pixels twice
    assert values[different].min(initial=0) >= 0
    assert values[different].max(initial=0) <= len(measures) + 1e-9


def test_similarity_of_two_halves_can_be_checked_by_hand():
    # Left half black, right half white. No colour in common: C = 0. Together they are the picture: S = 1 - 1 = 0.
    # They fill the box around both: F = 1 - (32 - 32) / 32 = 1. Only the two columns at the edge have any texture.
    pixels = np.zeros((4, 8, 3), dtype=np.float32)
    pixels[:, 4:] = 1
    regions = S.describe_segments(pixels, (pixels[..., 0] > 0.5).astype(np.int64))
    one, two = np.array([0]), np.array([1])
    assert S.similarity(regions, one, two, 32, "C").item() == 0
    assert S.similarity(regions, one, two, 32, "S").item() == 0
    assert S.similarity(regions, one, two, 32, "F").item() == 1
    assert S.similarity(regions, one, two, 32, "T").item() == pytest.approx(1)  # the edge seen from both sides


@settings(max_examples=40)
@given(labels=label_images, seed=st.integers(0, 1000), measures=st.sampled_from(MEASURES))
def test_grouping_joins_the_pair_that_a_search_over_all_pairs_would_join(labels, seed, measures):
    # Nothing incremental here: after every merge the picture is described anew from its pixels and all pairs are
    # compared. Where several are equally good, any of them is right.
    pixels = noise(*labels.shape, seed)
    grouping = S.group(S.describe_segments(pixels, labels), S.neighbours(labels), measures)
    R = labels.max() + 1
    assert len(grouping.merges) == R - 1
    for j, (merge, value) in enumerate(zip(grouping.merges.tolist(), grouping.similarities, strict=True)):
        now = S.segments_after(labels, grouping.merges, j)
        names = np.unique(now)  # the number of each region that is left
        fresh = S.describe_segments(pixels, numbered(now))
        scores = {
            (int(names[a]), int(names[b])): similarity_slowly(fresh, a, b, labels.size, measures)
            for a, b in touching_slowly(numbered(now))
        }
        assert value == pytest.approx(max(scores.values()))
        assert value == pytest.approx(scores[min(merge), max(merge)])
        made = S.segments_after(labels, grouping.merges, j + 1) == R + j
        y, x = np.nonzero(made)
        assert grouping.regions.boxes[R + j].tolist() == [min(x), min(y), max(x) + 1, max(y) + 1]
        assert grouping.regions.sizes[R + j] == made.sum()


def test_equally_similar_pairs_are_joined_in_the_order_of_their_numbers():
    # Without a rule for ties the tree could differ between two runs or two machines.
    labels = np.repeat(np.arange(4)[None], 4, axis=0).repeat(4, axis=1)
    pixels = np.full((*labels.shape, 3), 0.5, dtype=np.float32)
    assert S.group(S.describe_segments(pixels, labels), S.neighbours(labels), "C").merges.tolist() == [
        [0, 1],
        [2, 3],
        [4, 5],
    ]


def test_segments_after_shows_the_tree_growing():
    labels = np.array([[0, 1, 2, 3]])
    merges = np.array([[1, 2], [0, 4], [3, 5]])
    frames = [S.segments_after(labels, merges, steps).tolist() for steps in range(4)]
    assert frames == [[[0, 1, 2, 3]], [[0, 4, 4, 3]], [[5, 5, 5, 3]], [[6, 6, 6, 6]]]


class Ones:
    """A generator whose numbers are all 1, so that the order is the hierarchy's alone."""

    def random(self, count):
        return np.ones(count)


@pytest.mark.usefixtures("unchecked")
def test_rank_puts_the_top_of_every_hierarchy_first_and_keeps_the_best_place_of_a_repeat():
    box = np.array([[0, 0, 9, 9], [0, 0, 5, 5], [4, 4, 9, 9]], dtype=np.float32)
    # Run A ends in box 0, made from boxes 1 and 2; run B in box 0, made from box 2.
    boxes, positions = box[[1, 2, 0, 2, 0]], np.array([3, 2, 1, 2, 1])
    assert S.rank(boxes, positions, Ones()).tolist() == box[[0, 2, 1]].tolist()


def test_rank_multiplies_the_position_by_a_random_number():
    boxes = np.arange(40, dtype=np.float32).reshape(10, 4)
    positions = np.arange(10, 0, -1)
    expected = boxes[np.argsort(generator(3).random(10) * positions)]
    assert np.array_equal(S.rank(boxes, positions, generator(3)), expected)


# --- the whole ---------------------------------------------------------------------------------------------------


def assert_sound(boxes, image):
    height, width = image.shape[1:]
    assert boxes.dtype == torch.float32
    assert len(boxes.unique(dim=0)) == len(boxes), "a box came twice"
    assert (boxes[:, 2:] > boxes[:, :2]).all(), "an empty box"
    assert boxes.min() >= 0
    assert boxes[:, 2].max() <= width
    assert boxes[:, 3].max() <= height
    assert [0, 0, width, height] in boxes.tolist(), "the whole image is the last region of every run"


@settings(max_examples=60)
@given(
    rgb=arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 7), st.integers(1, 7), st.just(3)),
        elements=st.sampled_from([np.float32(v) for v in (0, 0.25, 0.5, 1)]),
    ),
    space=st.sampled_from(SPACES),
    measures=st.sampled_from(MEASURES),
    working_pixels=st.sampled_from([1, 9, 10**6]),
    min_size=st.integers(1, 6),
)
def test_any_picture_however_small_gives_sound_boxes(rgb, space, measures, working_pixels, min_size):
    # One pixel, one row, one colour: no pair of neighbours, no texture, no hue.
    wanted = S.SearchSettings((S.Strategy(space, 10.0, measures),), min_size=min_size, working_pixels=working_pixels)
    image = as_image(rgb)
    assert_sound(S.proposals(image, wanted), image)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 2), (65, 40)])
def test_a_picture_of_one_colour_has_one_proposal(size):
    image = torch.full((3, *size), 0.3)
    assert S.proposals(image, S.FAST).tolist() == [[0, 0, size[1], size[0]]]


def test_a_rectangle_is_found_to_the_pixel():
    # Tight on all four sides: the package's boxes end one pixel early.
    image = torch.full((3, 80, 100), 0.2)
    image[:, 20:50, 30:70] = torch.tensor([0.9, 0.4, 0.1])[:, None, None]
    boxes = S.proposals(image, replace(SMALL, sigma=0.0))
    assert sorted(boxes.tolist()) == [[0, 0, 100, 80], [30, 20, 70, 50]]


def test_boxes_of_a_shrunk_picture_are_in_the_pixels_of_the_picture():
    image = torch.full((3, 800, 1000), 0.2)
    image[:, 200:500, 300:700] = torch.tensor([0.9, 0.4, 0.1])[:, None, None]
    boxes = S.proposals(image)
    assert_sound(boxes, image)
    off = (boxes - torch.tensor([300.0, 200.0, 700.0, 500.0])).abs().max(dim=1).values.min()
    assert off < 8, "two working pixels, each 3.5 pixels wide: one from shrinking, one from the blur"


@pytest.mark.parametrize(("preset", "runs"), [(S.SINGLE, 1), (S.FAST, 8), (S.QUALITY, 80)])
def test_the_presets_are_those_of_table_5(preset, runs):
    assert len(set(preset.strategies)) == len(preset.strategies) == runs


def test_more_strategies_only_add_boxes(astronaut):
    small = S.SearchSettings(S.FAST.strategies[:1], working_pixels=96 * 96)
    large = replace(small, strategies=S.FAST.strategies[:3])
    some, more = (set(map(tuple, S.proposals(astronaut, chosen).tolist())) for chosen in (small, large))
    assert some < more


def test_photographs_give_sound_boxes_in_a_number_worth_having(astronaut):
    boxes = S.proposals(astronaut)
    assert_sound(boxes, astronaut)
    assert 200 < len(boxes) < 1000


def test_one_seed_gives_one_order_and_another_seed_the_same_boxes_in_another(astronaut):
    wanted = replace(S.SINGLE, working_pixels=96 * 96)
    first, again, other = (S.proposals(astronaut, wanted, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert sorted(first.tolist()) == sorted(other.tolist())
    assert torch.equal(S.proposals(astronaut, wanted), S.proposals(astronaut, wanted, generator(0)))


def test_the_search_leaves_the_image_and_the_global_generators_alone(astronaut):
    before, numpy_state, torch_state = astronaut.clone(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    S.proposals(astronaut, replace(S.SINGLE, working_pixels=64 * 64))
    assert torch.equal(astronaut, before)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((3, 4, 4), dtype=np.float32), "got ndarray"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), "image.float() / 255"),
        (torch.zeros(3, 4, 4, dtype=torch.float64), "got torch.float64"),
        (torch.zeros(1, 4, 4), "(1, 4, 4) (grey?"),
        (torch.zeros(4, 4), "(4, 4) (grey? use image.expand(3, -1, -1))"),
        (torch.zeros(4, 4, 3), "(4, 4, 3) (channels last? use image.permute(2, 0, 1))"),
        (torch.zeros(60, 80, 4), "(60, 80, 4) (channels last? use image.permute(2, 0, 1))"),
        (torch.zeros(60, 80, 1), "(60, 80, 1) (channels last? use image.permute(2, 0, 1))"),
        (torch.zeros(4, 60, 80), "(4, 60, 80) (with alpha? use image[:3])"),
        (torch.zeros(1, 3, 60, 80), "(1, 3, 60, 80) (a batch? give one image, batch[0])"),
        (torch.zeros(3, 0, 4), "(3, 0, 4)"),
        (torch.full((3, 4, 4), torch.nan), "nan"),
        (torch.tensor([0.0, torch.nan, 1.0]).expand(2, 4, 3).permute(2, 0, 1), "nan"),
        (torch.full((3, 4, 4), 2.0), "from 2 to 2"),
        (torch.full((3, 4, 4), -0.5), "-0.5"),
        (torch.full((3, 4, 4), torch.inf), "inf"),
    ],
)
def test_what_is_no_image_is_refused_with_a_reason(image, words):
    with pytest.raises((TypeError, ValueError)) as refusal:
        S.proposals(image)
    assert words in str(refusal.value)
    assert "float32 tensor (3, H, W), RGB, 0..1" in str(refusal.value)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("by", [1e-7, 1e-4, 1e-3])
def test_what_resizing_overshoots_is_taken_as_the_gate_takes_it(space, by):
    # Dark pixels below 0 make a saturation of minus a thousand, which is no bin of a histogram.
    image = as_image(noise(20, 24, 0).round())
    image[:, :10] *= 1 + by
    image[:, 10:] -= by
    check_image(image)
    settings = S.SearchSettings((S.Strategy(space),))
    assert torch.equal(S.proposals(image, settings), S.proposals(image.clamp(0, 1), settings))
    with pytest.raises(ValueError, match="normalised, or bytes as floats"):
        S.proposals(image * 1.01 - 0.005)


@pytest.mark.usefixtures("unchecked")
def test_settings_that_cannot_work_are_refused_with_a_reason():
    image = torch.rand(3, 20, 20, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="at least one strategy"):
        S.SearchSettings(())
    with pytest.raises(ValueError, match="unknown colour space 'cmyk'; choose from rgb, hsv"):
        S.proposals(image, S.SearchSettings((S.Strategy("cmyk"),)))
    for measures in ("", "CX", "ctsf"):
        with pytest.raises(ValueError, match="letters CTSF"):
            S.proposals(image, S.SearchSettings((S.Strategy(measures=measures),)))


# --- the cache ---------------------------------------------------------------------------------------------------


@pytest.fixture
def picture():
    return as_image(noise(12, 15, 0))


def test_the_cache_gives_what_a_search_gives_without_searching(picture, tmp_path, monkeypatch):
    fresh = S.proposals(picture, SMALL, generator(5))
    assert torch.equal(S.proposals(picture, SMALL, generator(5), cache=tmp_path / "new"), fresh)
    monkeypatch.delattr(S, "search")
    assert torch.equal(S.proposals(picture, SMALL, generator(5), cache=tmp_path / "new"), fresh)
    # The order is not part of it: another seed reads the same file.
    assert not torch.equal(S.proposals(picture, SMALL, generator(6), cache=tmp_path / "new"), fresh)


def test_another_picture_or_setting_never_gets_the_boxes_of_the_first(picture, tmp_path, monkeypatch):
    changed = picture.clone()
    changed[0, 0, 0] += 1e-3
    S.proposals(picture, SMALL, cache=tmp_path)
    S.proposals(changed, SMALL, cache=tmp_path)
    S.proposals(picture.reshape(3, 15, 12), SMALL, cache=tmp_path)  # the same bytes in another shape
    S.proposals(picture, replace(SMALL, sigma=0.9), cache=tmp_path)
    S.proposals(picture, replace(SMALL, strategies=(S.Strategy(measures="TSF"),)), cache=tmp_path)
    monkeypatch.setattr(S, "VERSION", S.VERSION + 1)
    S.proposals(picture, SMALL, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 6


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "npy", "pickle", "other arrays"])
def test_a_damaged_file_is_replaced_by_a_whole_one(picture, tmp_path, damage):
    fresh = S.proposals(picture, SMALL, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    match damage:
        case "empty":
            path.write_bytes(b"")
        case "cut":
            path.write_bytes(whole[: len(whole) // 2])
        case "text":
            path.write_text("no boxes here")
        case "npy":
            with path.open("wb") as file:
                np.save(file, np.zeros(3))
        case "pickle":  # never unpickled: that would run whatever is in it
            np.savez(path, boxes=np.array([{"a": 1}], dtype=object), positions=np.zeros(1, dtype=np.int64))
        case "other arrays":
            np.savez(path, boxes=np.zeros((3, 4)), positions=np.zeros(2))
    assert torch.equal(S.proposals(picture, SMALL, cache=tmp_path), fresh)
    with np.load(path, allow_pickle=False) as stored:
        assert stored["boxes"].shape == (len(stored["positions"]), 4)
    assert list(tmp_path.iterdir()) == [path]


@settings(max_examples=40)
@given(data=st.data())
def test_a_flipped_byte_anywhere_never_changes_the_boxes(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    picture = as_image(noise(12, 15, 0))
    fresh = S.proposals(picture, SMALL, cache=folder)
    (path,) = folder.iterdir()
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    assert torch.equal(S.proposals(picture, SMALL, cache=folder), fresh)


@pytest.mark.slow
def test_two_processes_may_fill_one_cache_at_once(picture, tmp_path):
    torch.save(picture, tmp_path / "picture.pt")
    code = """
import sys, torch
from frcnn_lessons import selective_search as S
from frcnn_lessons.batch import check_image
image = torch.load(sys.argv[1], weights_only=True)
for measures in ["C", "T", "S", "F", "CTSF"] * 4:
    print(len(S.proposals(image, S.SearchSettings((S.Strategy(measures=measures),), min_size=4), cache=sys.argv[2])))
"""
    command = [sys.executable, "-c", code, str(tmp_path / "picture.pt"), str(tmp_path / "c")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert answers[0] == answers[1]
    assert len(list((tmp_path / "c").iterdir())) == 5


# --- the package `selectivesearch` 0.4, beside ours --------------------------------------------------------------


@pytest.fixture(scope="module")
def crop():
    """A part of the astronaut that is small enough for the package's loops over pixels."""
    return np.ascontiguousarray(skimage.data.astronaut()[40:200, 130:290])


@pytest.fixture(scope="module")
def of_package(crop):
    """What the package finds in it, and the regions with their histograms inside it."""
    from selectivesearch import selectivesearch as inside

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        labelled, found = package(crop, scale=100, sigma=0.8, min_size=20)
        return labelled, found, inside._extract_regions(labelled)


def test_the_package_puts_hue_and_saturation_into_one_bin_and_ours_spreads_them(crop, of_package):
    # Its bins reach from 0 to 255; hue and saturation lie in 0..1 (its value channel is in 0..255, and spreads).
    histograms = np.array([region["hist_c"] for region in of_package[2].values()]).reshape(-1, 3, 25)
    assert (histograms[:, :2, 0] == 1).all()
    assert (histograms[:, :2, 1:] == 0).all()

    hsv = S.colour_space(S.working_copy(as_image(crop.astype(np.float32) / 255), 10**6), "hsv")
    ours = S.colour_histograms(hsv, of_package[0][..., 3].astype(np.int64)).reshape(-1, 3, 25)
    assert ours.sum(axis=(1, 2)) == pytest.approx(1)
    used = np.count_nonzero(ours.sum(axis=0), axis=1)  # bins of each channel, over the whole picture
    assert used[0] > 15, "there is hardly any blue or green in this part of it"
    assert used[1:].tolist() == [25, 25]
    assert np.median(np.count_nonzero(ours, axis=2)) > 3, "and several in a single region"


def test_the_package_loses_most_of_its_texture_and_ours_none(crop, of_package):
    # Its local binary patterns are 0..255, counted in bins over 0..1: only patterns 0 and 1 are. A whole histogram
    # has a mass of 3 by its normalisation, 1 a channel.
    regions = of_package[2].values()
    sizes = np.array([region["size"] for region in regions])
    mass = np.array([region["hist_t"].sum() / 3 for region in regions])
    assert 0.03 < np.average(mass, weights=sizes) < 0.1

    rgb = S.working_copy(as_image(crop.astype(np.float32) / 255), 10**6)
    ours = S.texture_histograms(rgb, of_package[0][..., 3].astype(np.int64))
    assert ours.sum(axis=1) == pytest.approx(1)
    assert np.median(np.count_nonzero(ours, axis=1)) > 60, "of 240 bins"


def test_the_package_repeats_boxes_and_ends_them_a_pixel_early(of_package):
    labelled, found, _ = of_package
    rects = [region["rect"] for region in found]
    assert len(set(rects)) < len(rects)
    for region in found[: len(np.unique(labelled[..., 3]))]:  # the initial ones come first
        y, x = np.nonzero(np.isin(labelled[..., 3], region["labels"]))
        left, top, width, height = region["rect"]
        assert (left, top) == (x.min(), y.min())
        assert (width, height) == (x.max() - x.min(), y.max() - y.min()), "the number of pixels is one more"


def test_the_package_gives_a_box_without_width_where_ours_has_one_pixel():
    # One column of another colour, one pixel wide.
    rgb = np.zeros((24, 24, 3), dtype=np.uint8)
    rgb[:, 0] = 255
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, found = package(rgb, scale=1, sigma=0.0, min_size=1)
    assert 0 in [region["rect"][2] for region in found]
    boxes = S.proposals(as_image(rgb.astype(np.float32) / 255), S.SearchSettings((S.Strategy("rgb", 1.0),), 0.0, 1))
    assert [0, 0, 1, 24] in boxes.tolist()


def test_the_package_numbers_its_regions_with_floats(of_package):
    labels = [label for region in of_package[1] for label in region["labels"]]
    assert all(isinstance(label, float) for label in labels)
