"""Selective search: propose some hundred boxes that hold the objects of a picture, without learning anything.

The picture is cut into small even pieces. The two neighbouring pieces that look most alike are joined, then the next
two, until one piece is left. An object is, with luck, a branch of that tree, so the box around *every* region ever
made is a proposal. Other colour spaces and other measures of "alike" find objects that one run misses.

    image -> working_copy -> colour_space -> initial_segments -> describe, neighbours -> group -> rank
    (3, H, W)   (h, w, 3)      (h, w, C)         (h, w)           R regions, P pairs     2R-1     (N, 4)

Sources: Uijlings, van de Sande, Gevers, Smeulders, "Selective Search for Object Recognition", IJCV 2013 (sections 3
and 5); Felzenszwalb and Huttenlocher, "Efficient Graph-Based Image Segmentation", IJCV 2004, for the first pieces.
Letters: picture H x W, working copy h x w, C channels, R initial regions, P pairs of neighbours, Q pairs to compare,
J merges, M regions of all runs together, N proposals. Boxes are xyxy in pixels, edges. Lesson 03.
"""

import hashlib
import heapq
from dataclasses import dataclass
from itertools import groupby
from math import pi, sqrt
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray
from skimage.segmentation import felzenszwalb
from torch import Tensor

from frcnn_lessons.batch import OVERSHOOT, shape_hint
from frcnn_lessons.files import user_path, written_whole

ColourSpace = Literal["rgb", "hsv", "lab", "rgi", "hue", "intensity"]

COLOUR_BINS, ORIENTATIONS, TEXTURE_BINS = 25, 8, 10
VERSION = 1  # part of the cache's key: raise it when a change in this file changes the boxes


@dataclass(frozen=True)
class Strategy:
    """One run of the search (section 3.2): "hsv, C+T+S+F, k = 100" in the words of the paper's table 5."""

    colour_space: ColourSpace = "hsv"
    scale: float = 100.0  # k: larger means larger initial segments
    measures: str = "CTSF"  # what counts as alike: Colour, Texture, Size, Fill, or some of them


def every_strategy(spaces: list[ColourSpace], scales: list[float], measures: list[str]) -> tuple[Strategy, ...]:
    """All combinations of colour spaces, scales and measures."""
    return tuple(Strategy(space, scale, letters) for space in spaces for scale in scales for letters in measures)


@dataclass(frozen=True)
class SearchSettings:
    """What decides the boxes of a picture, all but their order."""

    strategies: tuple[Strategy, ...]
    sigma: float = 0.8  # blur before the segmentation (section 3.1), in working pixels
    min_size: int = 30  # of an initial segment, in working pixels
    # A larger picture is shrunk to this area first. Ours, not the paper's: the segmentation takes most of the time, and
    # nearly all objects are found in a small copy too. More finds the smallest ones; math.inf switches it off.
    working_pixels: float = 200 * 200

    def __post_init__(self) -> None:
        if not self.strategies:
            raise ValueError("settings need at least one strategy; SINGLE, FAST and QUALITY are those of the paper")


# The three rows of the paper's table 5: 1, 8 and 80 runs.
SINGLE = SearchSettings(every_strategy(["hsv"], [100.0], ["CTSF"]))
FAST = SearchSettings(every_strategy(["hsv", "lab"], [50.0, 100.0], ["CTSF", "TSF"]))
QUALITY = SearchSettings(
    every_strategy(["hsv", "lab", "rgi", "hue", "intensity"], [50.0, 100.0, 150.0, 300.0], ["CTSF", "TSF", "F", "S"])
)


class RegionRows(NamedTuple):
    """All that grouping needs to know about regions; row r of every array is region r."""

    sizes: Float64[ndarray, " R"]  # in pixels
    boxes: Float64[ndarray, "R 4"]
    colour: Float64[ndarray, "R D"]  # histograms; each row sums to 1
    texture: Float64[ndarray, "R E"]  # likewise


class Grouping(NamedTuple):
    """The tree. Regions 0..R-1 are the initial segments; region R + j is what merge j made; the last is the picture."""

    regions: RegionRows  # 2R - 1 rows
    merges: Int64[ndarray, "J 2"]  # the two regions of each merge, in order; J = R - 1
    similarities: Float64[ndarray, " J"]  # of those two


def proposals(
    image: Float32[Tensor, "3 H W"],
    settings: SearchSettings = SINGLE,
    generator: np.random.Generator | None = None,
    cache: Path | str | None = None,
) -> Float32[Tensor, "N 4"]:
    """Boxes that may hold an object, the most promising first; take the first n where n are wanted.

    Args:
        image: RGB, 0..1; what is no such image is refused with a TypeError or ValueError.
        settings: SINGLE gives some 300 boxes a photograph, FAST 1,500 and QUALITY 7,000. In time they are to each other
            about as 1 : 4 : 16.
        generator: for the random part of the order (see `rank`); by default a fresh one with seed 0, so that a
            picture's boxes do not depend on which pictures came before it.
        cache: a folder to keep results in, made if need be; None keeps nothing. One file a picture and settings,
            named by the content of both. It holds no order, so any generator can use it. A damaged file is replaced.

    Returns:
        Different boxes inside the image, none of them empty; the whole image is always one of them.
    """
    _check_image(image)
    path = None if cache is None else user_path(cache) / f"{_key(image, settings)}.npz"
    found = None if path is None else _stored(path)
    boxes, positions = found or search(image, settings)
    if path is not None and found is None:
        with written_whole(path) as temporary:
            np.savez(temporary, boxes=boxes, positions=positions)
    return torch.from_numpy(rank(boxes, positions, generator or np.random.default_rng(0)))


def search(
    image: Float32[Tensor, "3 H W"], settings: SearchSettings
) -> tuple[Float32[ndarray, "M 4"], Int64[ndarray, " M"]]:
    """Run every strategy.

    Returns:
        boxes: of every region that any run made, in pixels of `image`; the same box may come several times.
        positions: place in the hierarchy of its run, from 1 for the whole picture to 2R - 1 for an initial segment.
    """
    rgb = working_copy(image, settings.working_pixels)
    boxes, positions = [], []
    # Runs that differ in their measures alone share segments and histograms: the dear part.
    for (space, scale), runs in groupby(settings.strategies, key=lambda run: (run.colour_space, run.scale)):
        pixels = colour_space(rgb, space)
        segments = initial_segments(pixels, scale, settings.sigma, settings.min_size)
        regions, pairs = describe_segments(pixels, segments), neighbours(segments)
        for run in runs:
            boxes.append(group(regions, pairs, run.measures).regions.boxes)
            positions.append(np.arange(len(boxes[-1]), 0, -1))
    (h, w), (H, W) = rgb.shape[:2], image.shape[1:]
    enlarge = np.array([W / w, H / h, W / w, H / h])
    return (np.concatenate(boxes) * enlarge).astype(np.float32), np.concatenate(positions)


def rank(
    boxes: Float32[ndarray, "M 4"], positions: Int64[ndarray, " M"], generator: np.random.Generator
) -> Float32[ndarray, "N 4"]:
    """Put the boxes of all runs in one order and drop repeats (section 3.3).

    A region late in the hierarchy is more likely an object, so position i gets the value RND * i, RND uniform in
    0..1, and the lowest value comes first. Without RND the largest boxes of every run would all stand in front.
    A box found more than once keeps its best place.
    """
    order = np.argsort(generator.random(len(boxes)) * positions, kind="stable")
    _, first = np.unique(boxes[order], axis=0, return_index=True)
    return boxes[order][np.sort(first)]


# --- from the image to regions ---------------------------------------------------------------------------------


def working_copy(image: Float32[Tensor, "3 H W"], working_pixels: float) -> Float32[ndarray, "h w 3"]:
    """The picture with channels last, shrunk to `working_pixels` if it has more; never enlarged."""
    rgb = np.ascontiguousarray(image.detach().cpu().clamp(0, 1).numpy().transpose(1, 2, 0))  # resizing overshoots
    H, W = rgb.shape[:2]
    shrink = min(1.0, sqrt(working_pixels / (H * W)))
    h, w = max(1, round(H * shrink)), max(1, round(W * shrink))
    return rgb if (h, w) == (H, W) else cv2.resize(rgb, (w, h), interpolation=cv2.INTER_AREA)


def colour_space(rgb: Float32[ndarray, "h w 3"], name: ColourSpace) -> Float32[ndarray, "h w C"]:
    """Convert to a colour space, each channel scaled so that its *true* range is 0..1.

    OpenCV's hue runs to 360, and the a of Lab from -86 to 98 for the colours a screen can show. Histograms over any
    other range leave bins empty and make all regions look alike.
    """
    intensity = rgb.mean(axis=2, keepdims=True)  # (h, w, 1)
    if name in ("rgb", "intensity"):
        return rgb if name == "rgb" else intensity
    if name == "rgi":  # the shares of red and of green, which a shadow leaves alone, and the intensity
        shares = rgb[..., :2] / np.maximum(3 * intensity, 1e-6)
        return np.concatenate([shares, intensity], axis=2)
    if name == "lab":
        low, high = np.array([[0, -86.2, -107.9], [100, 98.3, 94.5]], dtype=np.float32)
        return np.clip((cv2.cvtColor(rgb, cv2.COLOR_RGB2Lab) - low) / (high - low), 0, 1)
    if name in ("hsv", "hue"):
        hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV) / np.array([360, 1, 1], dtype=np.float32)
        return hsv if name == "hsv" else hsv[..., :1]
    raise ValueError(f"unknown colour space {name!r}; choose from rgb, hsv, lab, rgi, hue and intensity")


def initial_segments(
    pixels: Float32[ndarray, "h w C"], scale: float = 100.0, sigma: float = 0.8, min_size: int = 30
) -> Int64[ndarray, "h w"]:
    """Cut the picture into small even pieces, numbered 0..R-1 (Felzenszwalb and Huttenlocher).

    Pixels are in 0..1, to which scikit-image adapts `scale`. For the settings see `Strategy` and `SearchSettings`.
    """
    if pixels.shape[:2] == (1, 1):  # scikit-image's code needs two pixels to compare
        return np.zeros((1, 1), dtype=np.int64)
    return felzenszwalb(pixels, scale=scale, sigma=sigma, min_size=min_size).astype(np.int64)


def describe_segments(pixels: Float32[ndarray, "h w C"], segments: Int64[ndarray, "h w"]) -> RegionRows:
    """Size, box and histograms of every segment."""
    label, R = segments.ravel(), segments.max() + 1
    y, x = np.indices(segments.shape).reshape(2, -1)
    left_top, right_bottom = np.full((2, R), x.size), np.zeros((2, R), dtype=x.dtype)
    for axis, coordinate in enumerate([x, y]):
        np.minimum.at(left_top[axis], label, coordinate)
        np.maximum.at(right_bottom[axis], label, coordinate + 1)  # pixel x reaches from edge x to edge x + 1
    sizes, boxes = np.bincount(label).astype(np.float64), np.concatenate([left_top, right_bottom]).T.astype(np.float64)
    return RegionRows(sizes, boxes, colour_histograms(pixels, segments), texture_histograms(pixels, segments))


def colour_histograms(pixels: Float32[ndarray, "h w C"], segments: Int64[ndarray, "h w"]) -> Float64[ndarray, "R D"]:
    """25 bins a channel, D = 25 C (section 3.2)."""
    return _histograms(pixels.transpose(2, 0, 1), COLOUR_BINS, segments)


def texture_histograms(pixels: Float32[ndarray, "h w C"], segments: Int64[ndarray, "h w"]) -> Float64[ndarray, "R E"]:
    """Gaussian derivatives (sigma = 1) in 8 orientations, 10 bins each, for every channel: E = 80 C (section 3.2).

    Orientations are 22.5 degrees apart, so light to dark counts as dark to light does. The bins reach from no response
    to the strongest that there can be, an edge from 0 to 1.
    """
    offset = np.arange(-4, 5)
    blur = np.exp(-(offset**2) / 2)
    blur /= blur.sum()
    slope = offset * blur  # the derivative of that Gaussian
    dx = cv2.sepFilter2D(pixels, -1, slope, blur, borderType=cv2.BORDER_REPLICATE).reshape(pixels.shape)
    dy = cv2.sepFilter2D(pixels, -1, blur, slope, borderType=cv2.BORDER_REPLICATE).reshape(pixels.shape)
    angles = np.arange(ORIENTATIONS, dtype=np.float32) * (pi / ORIENTATIONS)
    # The derivative in any direction is a mixture of these two.
    along = np.abs(np.multiply.outer(np.cos(angles), dx) + np.multiply.outer(np.sin(angles), dy))  # (8, h, w, C)
    share = along.transpose(3, 0, 1, 2).reshape(-1, *segments.shape) / np.float32(slope[slope > 0].sum())
    return _histograms(share, TEXTURE_BINS, segments)


def _histograms(
    values: Float32[ndarray, "K h w"], bins: int, segments: Int64[ndarray, "h w"]
) -> Float64[ndarray, "R K*{bins}"]:
    """For each region K histograms side by side, each of `bins` bins over 0..1; together they sum to 1.

    Region, kind of value and bin are written as one number, so that one `bincount` fills every histogram.
    """
    K, R = len(values), segments.max() + 1
    bin_of = np.minimum((values * bins).astype(np.int64), bins - 1)  # (K, h, w); 1.0 is in the last bin
    cell = (segments * K + np.arange(K)[:, None, None]) * bins + bin_of  # (K, h, w)
    counts = np.bincount(cell.ravel(), minlength=R * K * bins).reshape(R, K * bins)
    return counts / counts.sum(axis=1, keepdims=True)


def neighbours(segments: Int64[ndarray, "h w"]) -> Int64[ndarray, "P 2"]:
    """The pairs (a, b), a < b, of segments that touch at a side or a corner of a pixel; sorted."""
    touching = [
        (segments[:, :-1], segments[:, 1:]),  # right
        (segments[:-1], segments[1:]),  # below
        (segments[:-1, :-1], segments[1:, 1:]),  # below right
        (segments[:-1, 1:], segments[1:, :-1]),  # below left
    ]
    R = segments.max() + 1
    codes = np.concatenate([(np.minimum(a, b) * R + np.maximum(a, b))[a != b] for a, b in touching])
    return np.stack(np.divmod(np.unique(codes), R), axis=1)  # numbers sort faster than pairs


# --- from regions to the tree ----------------------------------------------------------------------------------


def similarity(
    regions: RegionRows, a: Int64[ndarray, " Q"], b: Int64[ndarray, " Q"], area: float, measures: str = "CTSF"
) -> Float64[ndarray, " Q"]:
    """How alike regions a[q] and b[q] are: the sum of the chosen measures, each between 0 and 1 (equations 1, 3 to 6).

    Args:
        a, b: rows of `regions`; they may share entries.
        area: of the picture, in the pixels that `regions.sizes` counts.
        measures: letters of CTSF.
            C: what the colour histograms share (equation 1).
            T: what the texture histograms share (equation 3).
            S: small regions first, so that no region swallows the picture bit by bit (equation 4).
            F: how well the two fill the box around both; low if they hardly touch (equation 5).
    """
    if not measures or set(measures) - set("CTSF"):
        raise ValueError(f"measures must be one or more of the letters CTSF; got {measures!r}")
    total = np.zeros(len(a))
    if "C" in measures:
        total += np.minimum(regions.colour[a], regions.colour[b]).sum(axis=1)
    if "T" in measures:
        total += np.minimum(regions.texture[a], regions.texture[b]).sum(axis=1)
    covered = regions.sizes[a] + regions.sizes[b]  # (Q,)
    if "S" in measures:
        total += 1 - covered / area
    if "F" in measures:
        box_a, box_b = regions.boxes[a], regions.boxes[b]
        sides = np.maximum(box_a[:, 2:], box_b[:, 2:]) - np.minimum(box_a[:, :2], box_b[:, :2])  # (Q, 2)
        total += 1 - (sides.prod(axis=1) - covered) / area
    return total


def group(initial: RegionRows, pairs: Int64[ndarray, "P 2"], measures: str = "CTSF") -> Grouping:
    """Join the two most similar neighbours until one region is left (algorithm 1).

    All R initial regions must hang together by `pairs` of neighbours. Of equally similar pairs (see `similarity` for
    the measures) the one with the lowest numbers goes first.
    """
    R, area = len(initial.sizes), initial.sizes.sum()
    regions = RegionRows(*(np.concatenate([rows, np.zeros((R - 1, *rows.shape[1:]))]) for rows in initial))
    near: list[set[int]] = [set() for _ in range(2 * R - 1)]
    for a, b in pairs.tolist():
        near[a].add(b)
        near[b].add(a)

    values = similarity(regions, pairs[:, 0], pairs[:, 1], area, measures)
    queue = [(-value, a, b) for value, (a, b) in zip(values.tolist(), pairs.tolist(), strict=True)]
    heapq.heapify(queue)  # its front is the lowest entry: hence the minus
    merges: list[tuple[int, int]] = []
    similarities, merged = [], set[int]()
    while len(merges) < R - 1:
        value, a, b = heapq.heappop(queue)
        if a in merged or b in merged:
            continue  # one of them is part of something larger by now; cheaper to skip here than to search and remove
        new = R + len(merges)
        merges.append((a, b))
        similarities.append(-value)
        merged |= {a, b}
        join_regions(regions, a, b, new)

        near[new] = (near[a] | near[b]) - merged
        others = sorted(near[new])
        values = similarity(regions, np.array(others, dtype=np.int64), np.full(len(others), new), area, measures)
        for other, value in zip(others, values.tolist(), strict=True):
            near[other].add(new)
            heapq.heappush(queue, (-value, other, new))
    return Grouping(regions, np.array(merges, dtype=np.int64).reshape(-1, 2), np.array(similarities, dtype=np.float64))


def join_regions(regions: RegionRows, a: int, b: int, new: int) -> None:
    """Fill row `new` from rows a and b, without a look at the pixels: that is what makes the grouping quick."""
    sizes, boxes = regions.sizes, regions.boxes
    sizes[new] = sizes[a] + sizes[b]
    boxes[new] = np.concatenate([np.minimum(boxes[a, :2], boxes[b, :2]), np.maximum(boxes[a, 2:], boxes[b, 2:])])
    for histograms in (regions.colour, regions.texture):  # equation 2
        histograms[new] = (sizes[a] * histograms[a] + sizes[b] * histograms[b]) / sizes[new]


def segments_after(segments: Int64[ndarray, "h w"], merges: Int64[ndarray, "J 2"], steps: int) -> Int64[ndarray, "h w"]:
    """What the label image looks like after the first `steps` merges, for pictures of the tree as it grows."""
    R = segments.max() + 1
    region_of = np.arange(R)
    for j, pair in enumerate(merges[:steps]):
        region_of[np.isin(region_of, pair)] = R + j
    return region_of[segments]


def _check_image(image: Tensor) -> None:
    wanted = "an image is a float32 tensor (3, H, W), RGB, 0..1"
    if not isinstance(image, Tensor):
        raise TypeError(f"{wanted}; got {type(image).__name__}")
    if image.dtype != torch.float32:
        raise TypeError(f"{wanted}; got {image.dtype} (bytes? use image.float() / 255)")
    if image.ndim != 3 or image.shape[0] != 3 or image.numel() == 0:
        raise ValueError(f"{wanted}; got {tuple(image.shape)}{shape_hint(image)}")
    low, high = image.detach().aminmax()  # both are NaN if any pixel is
    if not (low >= -OVERSHOOT and high <= 1 + OVERSHOOT):
        raise ValueError(f"{wanted}; this one goes from {low:g} to {high:g} (normalised, or bytes as floats?)")


def _key(image: Float32[Tensor, "3 H W"], settings: SearchSettings) -> str:
    digest = hashlib.sha256(repr((VERSION, tuple(image.shape), settings)).encode())
    digest.update(np.ascontiguousarray(image.detach().cpu().numpy()).tobytes())
    return digest.hexdigest()


def _stored(path: Path) -> tuple[Float32[ndarray, "M 4"], Int64[ndarray, " M"]] | None:
    """What `search` returned, if `path` holds it whole."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            boxes, positions = stored["boxes"], stored["positions"]
    except Exception:  # not there, or damaged in one of many ways (the zip's checksums see to it): made again
        return None
    whole = boxes.shape == (len(positions), 4) and boxes.dtype == np.float32 and positions.dtype == np.int64
    return (boxes, positions) if whole else None
