"""Compose a street scene: what stands where, how much of it can be seen, and the truth about it to the pixel.

A leading vehicle gets a height and a place of its own, anywhere in the picture; lanes before and behind it follow from
how high the camera stands, and the other vehicles find places on them. Then everything is painted from far to near, and
each thing takes away from what can be seen of the vehicles behind it.

Conventions: boxes are xyxy in pixels, at pixel edges (width = x2 - x1). Places inside this module are pixels of the
enlarged picture before the camera is tilted (see `pen`). Lesson 02.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from frcnn_lessons.datasets.sample import DataError
from frcnn_lessons.datasets.streets import scenery
from frcnn_lessons.datasets.streets.pen import ENLARGED, Canvas, Colour, Pen
from frcnn_lessons.datasets.streets.scenery import GRASS, WEATHERS, Weather
from frcnn_lessons.datasets.streets.vehicles import KINDS, Kind

CLASSES = ("bus", "truck", "car")  # labels 1, 2, 3; 0 is background
SPLITS = {"train": 300, "val": 60, "test": 100}
HEIGHT_SHARES = (0.125, 0.69)  # smallest and largest height of a vehicle, as a share of the image's
_SEED = 1311


@dataclass(frozen=True, eq=False)
class Vehicle:
    """One vehicle of a scene, known by its pixels.

    Attributes:
        label: 1..3, the place in `CLASSES` plus one.
        facing: "Left" or "Right", as PASCAL VOC's `pose`.
        silhouette: (H, W), True where the vehicle is, whatever stands in front of it; at least half the pixel.
        seen: (H, W), the part of the silhouette that nothing hides.
        truncated: whether it goes on beyond the border of the image.
    """

    label: int
    facing: str
    silhouette: Bool[np.ndarray, "H W"]
    seen: Bool[np.ndarray, "H W"]
    truncated: bool

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The extent of what can be seen of it, xyxy."""
        columns, rows = np.flatnonzero(self.seen.any(axis=0)), np.flatnonzero(self.seen.any(axis=1))
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1

    @property
    def visible(self) -> float:
        """The share of the silhouette that can be seen, 0..1."""
        return float(self.seen.sum() / self.silhouette.sum())

    @property
    def occluded(self) -> bool:
        """Whether more than a twentieth is hidden, as PASCAL VOC counts it."""
        return self.visible < 0.95

    @property
    def difficult(self) -> bool:
        """Whether nobody could be blamed for missing it: two thirds hidden, or hardly any pixels."""
        x1, y1, x2, y2 = self.box
        return self.visible < 0.35 or min(x2 - x1, y2 - y1) < 14

    @property
    def extreme_points(self) -> tuple[tuple[float, float], ...]:
        """Its topmost, leftmost, lowest and rightmost point in sight, each (x, y), on the edges of the box."""
        x1, y1, x2, y2 = self.box

        def middle(line: Bool[np.ndarray, " n"]) -> float:
            inside = np.flatnonzero(line)
            return float(inside[len(inside) // 2]) + 0.5

        return (
            (middle(self.seen[y1]), float(y1)),
            (float(x1), middle(self.seen[:, x1])),
            (middle(self.seen[y2 - 1]), float(y2)),
            (float(x2), middle(self.seen[:, x2 - 1])),
        )


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture and what is in it.

    Attributes:
        image_id: split and number, `train_007`; the name of its files.
        image: (H, W, 3), RGB.
        vehicles: those of which at least a tenth can be seen, far ones first.
    """

    image_id: str
    image: UInt8[np.ndarray, "H W 3"]
    vehicles: tuple[Vehicle, ...]


@dataclass
class _Street:
    """Where things go in one enlarged picture, in its pixels, before the camera is tilted.

    `lanes` holds the baseline of each lane, far to near, and the pixels a metre on it; `roads` says which of them lie
    on one road.
    """

    width: int
    height: int
    lanes: list[tuple[float, float]]
    roads: list[range]

    def of(self, road: range) -> list[tuple[float, float]]:
        """The lanes of a road."""
        return self.lanes[road.start : road.stop]


@dataclass
class _Placed:
    kind: Kind
    lane: int
    x: float
    facing: str

    def extent(self, street: _Street) -> tuple[float, float, float, float]:
        """Its box in the enlarged picture, not clipped."""
        ground, scale = street.lanes[self.lane]
        return self.x, ground - self.kind.height * scale, self.x + self.kind.length * scale, ground

    def clipped(self, street: _Street) -> tuple[float, float, float, float]:
        """The part of that box inside the picture."""
        x1, y1, x2, y2 = self.extent(street)
        return max(x1, 0), max(y1, 0), min(x2, street.width), min(y2, street.height)


def render(split: str, index: int) -> Scene:
    """Draw one scene; it depends on nothing but its split and number.

    Args:
        split: a key of `SPLITS`.
        index: 0 .. SPLITS[split] - 1.

    Raises:
        DataError: there is no such scene.
    """
    if split not in SPLITS or not 0 <= index < SPLITS[split]:
        known = ", ".join(f"{name} 0..{count - 1}" for name, count in SPLITS.items())
        raise DataError(f"there is no street scene {split!r} {index}; there are {known}")
    rng = np.random.default_rng([_SEED, list(SPLITS).index(split), index])
    image, vehicles = _compose(rng)
    while vehicles and all(vehicle.difficult for vehicle in vehicles):  # a picture with nothing to find: once more
        image, vehicles = _compose(rng)
    return Scene(f"{split}_{index:03d}", image, vehicles)


def _compose(rng: np.random.Generator) -> tuple[UInt8[np.ndarray, "H W 3"], tuple[Vehicle, ...]]:
    """Draw a picture; returns it, and its vehicles as `Scene` wants them."""
    height, width = _image_size(rng)
    weather = WEATHERS[rng.choice(len(WEATHERS), p=[weather.often for weather in WEATHERS])]
    tilt = np.deg2rad(np.clip(rng.normal(0, 2.5), -5, 5))  # few people hold a camera level
    picture = np.zeros((height * ENLARGED, width * ENLARGED, 3), np.uint8)
    canvas = Canvas(picture, weather.light, weather.sky[1], float(tilt))
    count = int(rng.choice(5, p=[0.08, 0.2, 0.26, 0.26, 0.2]))
    lead = _any_kind(rng)
    street, lead_lane = _lay_out(rng, canvas, lead)
    placed = _place_vehicles(rng, street, lead, lead_lane, count)

    _draw_background(rng, canvas, street, weather)
    vehicles: list[Vehicle] = []
    for road in street.roads:
        for vehicle in placed:
            if vehicle.lane in road:
                vehicles = _draw_vehicle(rng, canvas, street, vehicle, weather, vehicles)
        vehicles = _draw_foreground(rng, canvas, street, road, vehicles)

    small = cv2.resize(canvas.picture, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    image = scenery.weathered(small, rng).astype(np.uint8)
    return image, tuple(v for v in vehicles if v.visible >= 0.1)


def _image_size(rng: np.random.Generator) -> tuple[int, int]:
    """Height and width: short side 128..192, sides 1:1.1 to 1:1.6, a quarter of the images upright."""
    short = int(rng.integers(128, 193))
    long = min(256, round(short * float(rng.uniform(1.1, 1.6))))
    return (long, short) if rng.random() < 0.25 else (short, long)


def _any_kind(rng: np.random.Generator) -> Kind:
    """Pick a class first, then a kind of it. Cars are picked more often, as they more often find no place."""
    name = CLASSES[rng.choice(3, p=[0.34, 0.36, 0.30])]
    kinds = [kind for kind in KINDS if kind.name == name]
    return kinds[rng.integers(len(kinds))]


def _lay_out(rng: np.random.Generator, canvas: Canvas, lead: Kind) -> tuple[_Street, int]:
    """Choose how near the street is, so that the leading vehicle gets a height of its own, and where its lanes lie.

    The leading vehicle may stand anywhere in the picture. What a metre measures grows from lane to lane as it does for
    a camera some metres above the road.

    Returns:
        The street, and the number of the leading vehicle's lane.
    """
    height, width = canvas.mask.shape
    low, high = HEIGHT_SHARES
    share = np.exp(rng.uniform(np.log(low), np.log(high)))
    scale = min(share * height / lead.height, 1.2 * width / lead.length)
    scale = max(scale, low * height / lead.least_height)
    tall = lead.height * scale
    baseline = float(rng.uniform(0.7 * tall, height + 0.2 * tall))
    camera = float(rng.uniform(4, 11))  # metres above the road

    lanes, gaps = [(baseline, scale)], list[float]()
    for _ in range(int(rng.integers(0, 4))):  # away from the camera
        gap = _gap(rng)
        near, near_scale = lanes[0]
        far_scale = near_scale * camera / (camera + gap)
        if 3.1 * far_scale < low * height or near - gap * far_scale < 0.12 * height:
            break
        lanes.insert(0, (near - gap * far_scale, far_scale))
        gaps.insert(0, gap)
    lead_lane = len(lanes) - 1
    for _ in range(int(rng.integers(0, 3))):  # and towards it
        gap = _gap(rng)
        far, far_scale = lanes[-1]
        near_scale = far_scale * (1 + gap / camera)
        if 1.6 * near_scale > high * height or far + gap * far_scale > height + 0.7 * near_scale:
            break
        lanes.append((far + gap * far_scale, near_scale))
        gaps.append(gap)
    starts = [0, *(lane + 1 for lane, gap in enumerate(gaps) if gap > 2), len(lanes)]
    return _Street(width, height, lanes, [range(*ends) for ends in pairwise(starts)]), lead_lane


def _gap(rng: np.random.Generator) -> float:
    """Metres of road, seen foreshortened, between two lanes: side by side, or of two roads with something between."""
    return float(rng.uniform(1.4, 1.8) if rng.random() < 0.6 else rng.uniform(2.6, 4.5))


def _place_vehicles(rng: np.random.Generator, street: _Street, lead: Kind, lead_lane: int, count: int) -> list[_Placed]:
    """Put up to `count` vehicles on the lanes, the leading one first; returned far to near.

    A vehicle has at least half of its area in the picture, keeps its distance in its lane, and leaves a part of
    those behind it in sight. One that finds no place in 60 tries stays away.
    """
    low, high = (share * street.height for share in HEIGHT_SHARES)
    directions = ["Right" if rng.random() < 0.5 else "Left" for _ in street.lanes]
    most_hidden = 0.85 if rng.random() < 0.25 else 0.2
    placed: list[_Placed] = []
    for _ in range(60):
        if len(placed) == count:
            break
        kind = _any_kind(rng) if placed else lead
        lane = int(rng.integers(len(street.lanes))) if placed else lead_lane
        scale = street.lanes[lane][1]
        if kind.least_height * scale < low or kind.height * scale > high:
            continue
        length = kind.length * scale
        if rng.random() < 0.8 and length < street.width:
            x = float(rng.uniform(0, street.width - length))
        else:
            x = float(rng.uniform(-0.6 * length, street.width - 0.4 * length))
        candidate = _Placed(kind, lane, x, directions[lane])
        x1, y1, x2, y2 = candidate.clipped(street)
        inside = (x2 - x1) * (y2 - y1) / (length * kind.height * scale)
        if inside > 0.4 and all(_hidden(street, candidate, other) < most_hidden for other in placed):
            placed.append(candidate)
    return sorted(placed, key=lambda vehicle: vehicle.lane)


def _hidden(street: _Street, one: _Placed, other: _Placed) -> float:
    """Which share of the far one's box the near one's covers; 1 for two in one lane that do not keep their distance."""
    far, near = sorted((one, other), key=lambda vehicle: vehicle.lane)
    far_x1, far_y1, far_x2, far_y2 = far.clipped(street)
    near_x1, near_y1, near_x2, near_y2 = near.clipped(street)
    shared = min(far_x2, near_x2) - max(far_x1, near_x1)
    if far.lane == near.lane:
        return float(shared > -0.4 * street.lanes[far.lane][1])
    covered = max(0, shared) * max(0, min(far_y2, near_y2) - max(far_y1, near_y1))
    return covered / ((far_x2 - far_x1) * (far_y2 - far_y1))


def _draw_background(rng: np.random.Generator, canvas: Canvas, street: _Street, weather: Weather) -> None:
    """Everything behind the vehicles."""
    left, top, right, _ = canvas.extent
    scale = street.lanes[0][1]
    kerb, _ = scenery.edges(street.of(street.roads[0]))
    back = kerb - 1.2 * scale  # where pavement and houses meet
    grass = GRASS[rng.integers(len(GRASS))]
    far = 0.4 * weather.haze
    if back > top:
        _draw_distance(rng, canvas, back, scale, weather, grass)

    end = back  # of what is drawn so far
    for road in street.roads:
        lanes = street.of(road)
        scenery.road(canvas, max(end, scenery.edges(lanes)[0] - 1.2 * lanes[0][1]), lanes, grass, rng)
        end = scenery.edges(lanes)[1]
    pavement = (
        scenery.kiosk, scenery.bus_shelter, scenery.billboard, scenery.bicycle,
        scenery.bench, scenery.person, scenery.person, scenery.planter,
        scenery.lamp_post, scenery.tree, scenery.advertising_column, scenery.container,
    )  # fmt: skip
    for _ in range(int(rng.integers(0, 4))):
        thing = pavement[rng.integers(len(pavement))]
        x, y = left + float(rng.uniform(-0.1, 1.0)) * (right - left), kerb - float(rng.uniform(0.15, 0.6)) * 1.2 * scale
        thing(Pen(canvas, x, y, 0.8 * scale, haze=0.4 * far), rng)


def _draw_distance(
    rng: np.random.Generator, canvas: Canvas, back: float, scale: float, weather: Weather, grass: Colour
) -> None:
    """What lies beyond the street: sky, hills, and a row of houses, trees or works that stand on y = back."""
    left, _, right, _ = canvas.extent
    scenery.sky(canvas, weather, back, rng)
    scenery.hills(canvas, back, weather, grass, rng)
    far = 0.4 * weather.haze
    Pen(canvas, 0, back, 1, haze=far).box(left, -1.5 * scale, right, 0.35 * scale, grass)

    place = rng.choice(["town", "suburb", "park", "works"])
    house_scale = scale * float(rng.uniform(0.6, 0.85))
    if place in ("town", "suburb"):
        x = left - float(rng.uniform(0, 5)) * house_scale
        while x < right:
            width = float(rng.uniform(5, 11))
            floors = int(rng.integers(2, 6) if place == "town" else rng.integers(1, 4))
            pen = Pen(canvas, x, back, house_scale, haze=far * float(rng.uniform(0.5, 1.0)))
            scenery.building(pen, rng, width, floors, weather.lit_windows)
            gap = float(rng.uniform(0, 0.4)) if place == "town" else float(rng.uniform(1, 6))
            x += (width + gap) * house_scale
    elif place == "works":
        x = left - float(rng.uniform(0, 4)) * house_scale
        while x < right:
            thing = (scenery.container, scenery.billboard, scenery.fence)[rng.integers(3)]
            thing(Pen(canvas, x, back, 1.15 * house_scale, haze=far), rng)
            x += float(rng.uniform(6, 10)) * 1.15 * house_scale
    trees = {"town": 1, "suburb": 3, "park": 7, "works": 2}[str(place)]
    for x in np.sort(rng.uniform(left, right, int(rng.integers(0, trees + 1)))):
        scenery.tree(Pen(canvas, float(x), back, scale * float(rng.uniform(0.6, 0.9)), haze=far), rng)


def _draw_vehicle(
    rng: np.random.Generator,
    canvas: Canvas,
    street: _Street,
    placed: _Placed,
    weather: Weather,
    behind: list[Vehicle],
) -> list[Vehicle]:
    """Draw one vehicle over those behind it; returns them, with what it hides taken away, and itself."""
    kind, lane = placed.kind, placed.lane
    ground, scale = street.lanes[lane]
    length = kind.length * scale
    canvas.shadow(placed.x + length / 2, ground, 0.56 * length, 0.42 * scale, 0.6)

    haze = 0.1 * weather.haze * (len(street.lanes) - 1 - lane)
    pen = Pen(canvas, placed.x, ground, scale, kind.length if placed.facing == "Left" else None, haze)
    behind = _hide(canvas, behind, partial(kind.draw, pen, rng, kind.length, kind.height))
    canvas.shade_mask()
    silhouette = _covered(canvas)
    label = CLASSES.index(kind.name) + 1
    return [*behind, Vehicle(label, placed.facing, silhouette, silhouette, canvas.leaves_picture())]


def _draw_foreground(
    rng: np.random.Generator, canvas: Canvas, street: _Street, road: range, vehicles: list[Vehicle]
) -> list[Vehicle]:
    """Put some things on the near pavement of a road, in front of its vehicles."""
    things = (
        scenery.lamp_post, scenery.lamp_post, scenery.lamp_post, scenery.lamp_post, scenery.tree, scenery.sign,
        scenery.traffic_light, scenery.person, scenery.person, scenery.planter, scenery.advertising_column,
    )  # fmt: skip
    (_, bottom), (_, scale) = scenery.edges(street.of(road)), street.lanes[road[-1]]
    for _ in range(int(rng.choice(4, p=[0.5, 0.33, 0.14, 0.03]))):
        thing = things[rng.integers(len(things))]
        x, y = float(rng.uniform(0.02, 0.98)) * street.width, bottom + float(rng.uniform(0.3, 1.2)) * scale
        canvas.shadow(x, y, 0.7 * scale, 0.2 * scale, 0.35)
        vehicles = _hide(canvas, vehicles, partial(thing, Pen(canvas, x, y, scale), rng))
    return vehicles


def _hide(canvas: Canvas, vehicles: list[Vehicle], draw: Callable[[], None]) -> list[Vehicle]:
    """Draw something in front of vehicles; returns them with less to be seen. The canvas's mask holds the thing."""
    canvas.start_mask()
    draw()
    left_over = ~_covered(canvas)
    return [replace(vehicle, seen=vehicle.seen & left_over) for vehicle in vehicles]


def _covered(canvas: Canvas) -> Bool[np.ndarray, "h w"]:
    """The canvas's mask at the final size: pixels of which at least half is covered."""
    height, width = canvas.mask.shape
    small = cv2.resize(canvas.mask, (width // ENLARGED, height // ENLARGED), interpolation=cv2.INTER_AREA)
    return small >= 128
