"""Compose a street scene: what stands where, how much of it can be seen, and the truth about it to the pixel.

The street decides first how near it is, so that a leading vehicle gets a height of its own; the other vehicles share
its scale. Then everything is painted from far to near, and each thing takes away from what can be seen of the vehicles
behind it.

Conventions: boxes are xyxy in pixels, at pixel edges (width = x2 - x1). Places inside this module are pixels of the
enlarged picture (see `pen`). Lesson 02.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from frcnn_lessons.datasets.sample import DataError
from frcnn_lessons.datasets.streets import scenery
from frcnn_lessons.datasets.streets.pen import ENLARGED, Canvas, Pen
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
        """The extent of the silhouette inside the image, xyxy."""
        columns, rows = np.flatnonzero(self.silhouette.any(axis=0)), np.flatnonzero(self.silhouette.any(axis=1))
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
        """The silhouette's topmost, leftmost, lowest and rightmost point, each (x, y), on the edges of the box."""
        x1, y1, x2, y2 = self.box

        def middle(line: Bool[np.ndarray, " n"]) -> float:
            inside = np.flatnonzero(line)
            return float(inside[len(inside) // 2]) + 0.5

        return (
            (middle(self.silhouette[y1]), float(y1)),
            (float(x1), middle(self.silhouette[:, x1])),
            (middle(self.silhouette[y2 - 1]), float(y2)),
            (float(x2), middle(self.silhouette[:, x2 - 1])),
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
    """Where things go in one enlarged picture, in its pixels.

    `lanes` holds the baseline of each lane, far to near, and `scales` the pixels a metre on it.
    """

    width: int
    height: int
    kerb: float
    bottom: float
    lanes: list[float]
    scales: list[float]


@dataclass
class _Placed:
    kind: Kind
    lane: int
    x: float
    facing: str

    def extent(self, street: _Street) -> tuple[float, float, float, float]:
        """Its box in the enlarged picture, not clipped."""
        scale, ground = street.scales[self.lane], street.lanes[self.lane]
        return self.x, ground - self.kind.height * scale, self.x + self.kind.length * scale, ground


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

    height, width = _image_size(rng)
    weather = WEATHERS[rng.choice(len(WEATHERS), p=[weather.often for weather in WEATHERS])]
    canvas = Canvas(np.zeros((height * ENLARGED, width * ENLARGED, 3), np.uint8), weather.light, weather.sky[1])
    count = int(rng.choice(5, p=[0.08, 0.2, 0.26, 0.26, 0.2]))
    lead = _any_kind(rng)
    street = _lay_out(rng, canvas, lead)
    placed = _place_vehicles(rng, street, lead, count)

    _draw_background(rng, canvas, street, weather)
    vehicles: list[Vehicle] = []
    for vehicle in placed:
        vehicles = _draw_vehicle(rng, canvas, street, vehicle, weather, vehicles)
    vehicles = _draw_foreground(rng, canvas, street, vehicles)

    picture = cv2.resize(canvas.picture, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    image = scenery.weathered(picture, rng).astype(np.uint8)
    return Scene(f"{split}_{index:03d}", image, tuple(v for v in vehicles if v.visible >= 0.1))


def _image_size(rng: np.random.Generator) -> tuple[int, int]:
    """Height and width: short side 128..192, sides 1:1.1 to 1:1.6, a quarter of the images upright."""
    short = int(rng.integers(128, 193))
    long = min(256, round(short * float(rng.uniform(1.1, 1.6))))
    return (long, short) if rng.random() < 0.25 else (short, long)


def _any_kind(rng: np.random.Generator) -> Kind:
    """Pick a class first, then a kind of it. Cars are picked more often, as they more often find no place."""
    name = CLASSES[rng.choice(3, p=[0.31, 0.31, 0.38])]
    kinds = [kind for kind in KINDS if kind.name == name]
    return kinds[rng.integers(len(kinds))]


def _lay_out(rng: np.random.Generator, canvas: Canvas, lead: Kind) -> _Street:
    """Choose how near the street is, so that the leading vehicle gets a height of its own, and where its lanes lie."""
    height, width = canvas.mask.shape
    low, high = HEIGHT_SHARES
    share = np.exp(rng.uniform(np.log(1.25 * low), np.log(high)))
    scale = min(share * height / lead.height, 1.2 * width / lead.length)
    scale = max(scale, low * height / lead.least_height)
    near = float(rng.uniform(0.25, 1.1)) * scale + float(rng.uniform(0, 0.06)) * height
    bottom = height - min(near, 0.2 * height)
    lanes, scales = [bottom - 0.45 * scale], [scale]
    for _ in range(int(rng.integers(1, 4))):
        far_scale = 0.86 * scales[0]
        baseline = lanes[0] - 1.5 * far_scale
        if baseline < 0.42 * height:
            break
        lanes.insert(0, baseline)
        scales.insert(0, far_scale)
    kerb = lanes[0] - 0.6 * scales[0]
    return _Street(width, height, kerb, bottom, lanes, scales)


def _place_vehicles(rng: np.random.Generator, street: _Street, lead: Kind, count: int) -> list[_Placed]:
    """Put up to `count` vehicles on the lanes, the leading one on the nearest; returned far to near.

    A vehicle has at least half of its length in the picture, keeps its distance in its lane, and leaves a part of
    those behind it in sight. One that finds no place in 60 tries stays away.
    """
    low, high = (share * street.height for share in HEIGHT_SHARES)
    directions = ["Right" if rng.random() < 0.5 else "Left" for _ in street.lanes]
    most_hidden = 0.85 if rng.random() < 0.2 else 0.3
    placed: list[_Placed] = []
    for _ in range(60):
        if len(placed) == count:
            break
        kind = _any_kind(rng) if placed else lead
        lane = int(rng.integers(len(street.lanes))) if placed else len(street.lanes) - 1
        scale = street.scales[lane]
        if kind.least_height * scale < low or kind.height * scale > high:
            continue
        length = kind.length * scale
        if rng.random() < 0.8 and length < street.width:
            x = float(rng.uniform(0, street.width - length))
        else:
            x = float(rng.uniform(-0.48 * length, street.width - 0.52 * length))
        candidate = _Placed(kind, lane, x, directions[lane])
        if all(_hidden(street, candidate, other) < most_hidden for other in placed):
            placed.append(candidate)
    return sorted(placed, key=lambda vehicle: vehicle.lane)


def _hidden(street: _Street, one: _Placed, other: _Placed) -> float:
    """Which share of the far one's box the near one's covers; 1 for two in one lane that do not keep their distance."""
    far, near = sorted((one, other), key=lambda vehicle: vehicle.lane)
    far_x1, far_y1, far_x2, far_y2 = far.extent(street)
    near_x1, near_y1, near_x2, _ = near.extent(street)
    far_x1, far_x2 = max(far_x1, 0), min(far_x2, street.width)
    shared = min(far_x2, near_x2) - max(far_x1, near_x1)
    if far.lane == near.lane:
        return float(shared > -0.4 * street.scales[far.lane])
    return max(0, shared) * max(0, far_y2 - max(far_y1, near_y1)) / ((far_x2 - far_x1) * (far_y2 - far_y1))


def _draw_background(rng: np.random.Generator, canvas: Canvas, street: _Street, weather: Weather) -> None:
    """Everything behind the vehicles."""
    scale = street.scales[0]
    back = street.kerb - 1.2 * scale  # where pavement and houses meet
    grass = GRASS[rng.integers(len(GRASS))]
    scenery.sky(canvas, weather, back, rng)
    scenery.hills(canvas, back, weather, grass, rng)
    far = 0.4 * weather.haze
    Pen(canvas, 0, back, 1, haze=far).box(0, -1.5 * scale, street.width, 0.35 * scale, grass)

    place = rng.choice(["town", "town", "suburb", "park", "works"])
    house_scale = scale * float(rng.uniform(0.6, 0.85))
    if place in ("town", "suburb"):
        x = -float(rng.uniform(0, 5)) * house_scale
        while x < street.width:
            width = float(rng.uniform(5, 11))
            floors = int(rng.integers(2, 6) if place == "town" else rng.integers(1, 4))
            pen = Pen(canvas, x, back, house_scale, haze=far * float(rng.uniform(0.5, 1.0)))
            scenery.building(pen, rng, width, floors, weather.lit_windows)
            gap = float(rng.uniform(0, 0.4)) if place == "town" else float(rng.uniform(1, 6))
            x += (width + gap) * house_scale
    elif place == "works":
        x = -float(rng.uniform(0, 4)) * house_scale
        while x < street.width:
            thing = (scenery.container, scenery.billboard, scenery.fence)[rng.integers(3)]
            thing(Pen(canvas, x, back, 1.15 * house_scale, haze=far), rng)
            x += float(rng.uniform(6, 10)) * 1.15 * house_scale
    trees = {"town": 1, "suburb": 3, "park": 7, "works": 2}[str(place)]
    for x in np.sort(rng.uniform(0, street.width, int(rng.integers(0, trees + 1)))):
        scenery.tree(Pen(canvas, float(x), back, scale * float(rng.uniform(0.6, 0.9)), haze=far), rng)

    scenery.road(canvas, street.kerb, street.bottom, street.lanes, scale, rng)
    pavement = (
        scenery.kiosk, scenery.bus_shelter, scenery.billboard, scenery.bicycle,
        scenery.bench, scenery.person, scenery.person, scenery.planter,
        scenery.lamp_post, scenery.tree, scenery.advertising_column, scenery.container,
    )  # fmt: skip
    for _ in range(int(rng.integers(1, 5))):
        thing = pavement[rng.integers(len(pavement))]
        x, y = float(rng.uniform(-0.1, 1.0)) * street.width, back + float(rng.uniform(0.4, 0.85)) * 1.2 * scale
        thing(Pen(canvas, x, y, 0.8 * scale, haze=0.4 * far), rng)


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
    scale, ground = street.scales[lane], street.lanes[lane]
    length = kind.length * scale
    canvas.shadow(placed.x + length / 2, ground, 0.56 * length, 0.42 * scale, 0.6)

    haze = 0.1 * weather.haze * (len(street.lanes) - 1 - lane)
    pen = Pen(canvas, placed.x, ground, scale, kind.length if placed.facing == "Left" else None, haze)
    behind = _hide(canvas, behind, partial(kind.draw, pen, rng, kind.length, kind.height))
    canvas.shade_mask()
    silhouette = _covered(canvas)
    truncated = bool(placed.x < -ENLARGED or placed.x + length > street.width + ENLARGED)
    label = CLASSES.index(kind.name) + 1
    return [*behind, Vehicle(label, placed.facing, silhouette, silhouette, truncated)]


def _draw_foreground(
    rng: np.random.Generator, canvas: Canvas, street: _Street, vehicles: list[Vehicle]
) -> list[Vehicle]:
    """Put some things on the near pavement, in front of the vehicles."""
    things = (
        scenery.lamp_post, scenery.lamp_post, scenery.tree, scenery.sign,
        scenery.traffic_light, scenery.person, scenery.person, scenery.planter,
        scenery.advertising_column,
    )  # fmt: skip
    scale = street.scales[-1]
    for _ in range(int(rng.choice(4, p=[0.4, 0.36, 0.18, 0.06]))):
        thing = things[rng.integers(len(things))]
        x = float(rng.uniform(0.02, 0.98)) * street.width
        y = min(street.bottom + 0.3 * scale, street.height - 2.0 * ENLARGED)
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
