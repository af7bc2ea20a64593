"""Draw all that is not a vehicle: skies, hills, buildings, the road, and the things that stand on pavements.

Much of it is there to be mistaken for a vehicle (kiosks, containers, bus shelters, garages, billboards, bicycles) or
to stand in front of one (lamp posts, trees, signs, people). It shares its paints with the vehicles.

Units as in `pen`: metres for things, pixels of the enlarged picture for places. Lesson 02.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Float32

from frcnn_lessons.datasets.streets.pen import Canvas, Colour, Pen, darker, lighter, mix
from frcnn_lessons.datasets.streets.vehicles import CHROME, DARK, GLASS, PALE_GLASS, TYRE, paint

LIT_WINDOW: Colour = (255, 216, 130)
METAL: Colour = (72, 78, 84)


@dataclass(frozen=True)
class Weather:
    """What the air does to a scene: sky from top to horizon, light, the colour of distance, and who is at home."""

    sky: tuple[Colour, Colour]
    light: tuple[float, float, float]
    haze: float
    lit_windows: float
    often: float


WEATHERS: tuple[Weather, ...] = (
    Weather(((84, 152, 222), (206, 230, 244)), (1.0, 1.0, 1.0), 0.35, 0.0, 0.26),  # noon
    Weather(((128, 178, 226), (253, 228, 196)), (1.0, 0.96, 0.9), 0.45, 0.05, 0.2),  # morning
    Weather(((160, 172, 186), (214, 218, 222)), (0.88, 0.9, 0.93), 0.5, 0.15, 0.18),  # overcast
    Weather(((94, 96, 158), (255, 178, 116)), (0.95, 0.82, 0.74), 0.45, 0.3, 0.16),  # sunset
    Weather(((198, 204, 208), (226, 229, 230)), (0.94, 0.96, 0.98), 0.75, 0.1, 0.08),  # fog
    Weather(((24, 34, 80), (126, 104, 150)), (0.56, 0.56, 0.74), 0.4, 0.5, 0.12),  # dusk
)
LEAVES: tuple[Colour, ...] = (
    (92, 142, 70),
    (66, 118, 66),
    (128, 158, 74),
    (214, 140, 56),
    (190, 90, 58),
    (112, 150, 96),
)
GRASS: tuple[Colour, ...] = ((124, 166, 90), (104, 146, 82), (168, 166, 98), (226, 232, 236))


def sky(canvas: Canvas, weather: Weather, horizon: float, rng: np.random.Generator) -> None:
    """A gradient from top to horizon, perhaps a sun or moon, perhaps clouds."""
    height, width = canvas.mask.shape
    share = np.clip(np.arange(height, dtype=np.float32) / np.float32(max(horizon, 1)), 0, 1)[:, None]
    top, bottom = (np.array(colour, dtype=np.float32) for colour in weather.sky)
    canvas.picture[:] = (top + (bottom - top) * share).astype(np.uint8)[:, None, :]
    pen = Pen(canvas, 0, 0, 1)
    if rng.random() < 0.4:
        x, y = rng.uniform(0.1, 0.9) * width, -rng.uniform(0.08, 0.6) * horizon
        radius = rng.uniform(0.025, 0.05) * height
        glow = lighter(weather.sky[1], 0.55)
        pen.disc(float(x), float(y), float(1.6 * radius), mix(weather.sky[1], glow, 0.35), glows=True)
        pen.disc(float(x), float(y), float(radius), glow, glows=True)
    for _ in range(rng.integers(0, 4)):
        x, y = rng.uniform(0, width), rng.uniform(0.08, 0.7) * horizon
        size = rng.uniform(0.03, 0.07) * width
        colour = mix(lighter(weather.sky[1], 0.5 * weather.light[0] ** 2), weather.sky[0], float(rng.uniform(0.0, 0.3)))
        for dx, dy, r in ((-1.3, 0.0, 0.55), (-0.5, 0.35, 0.8), (0.5, 0.2, 0.75), (1.3, 0.0, 0.5)):
            pen.disc(float(x + dx * size), float(-y + dy * size), float(r * size), colour, glows=True)
        pen.box(
            float(x - 1.8 * size), float(-y - 0.5 * size), float(x + 1.8 * size), float(-y), colour, 0.5 * size, True
        )


def hills(canvas: Canvas, horizon: float, weather: Weather, grass: Colour, rng: np.random.Generator) -> None:
    """Two ridges, the far one paler; sometimes a skyline of towers instead of the far one."""
    left, _, right, _ = canvas.extent
    height, width = canvas.mask.shape[0], right - left
    for distance in (1.0, 0.6):
        haze = min(0.95, (0.55 + weather.haze) * distance)
        pen = Pen(canvas, left, horizon, 1, haze=haze)
        rise = float(rng.uniform(0.05, 0.16)) * height * distance
        if distance == 1.0 and rng.random() < 0.5:
            x = 0.0
            while x < width:
                wide = float(rng.uniform(0.04, 0.1)) * width
                pen.box(x, -9, x + wide, rise * float(rng.uniform(0.5, 1.9)), (110, 118, 132))
                x += wide + float(rng.uniform(-0.2, 0.5)) * wide
            continue
        phases = rng.uniform(0, 2 * np.pi, 3)
        across = np.linspace(0, 1, 40)
        ridge = sum(np.sin((k + 1) * 2.3 * across + phases[k]) / (k + 1) for k in range(3))
        points = [(float(x * width), float(rise * (1 + 0.45 * y))) for x, y in zip(across, ridge, strict=True)]
        pen.shape([(0, -9), *points, (width, -9)], mix(grass, (70, 96, 110), 0.5))


def building(pen: Pen, rng: np.random.Generator, width: float, floors: int, lit_windows: float) -> None:
    """A house of so many floors: a shop, garages or a door below, windows above, a roof of some shape."""
    wall = mix(paint(rng), (222, 208, 188), float(rng.uniform(0.15, 0.65)))
    trim = lighter(wall, 0.45)
    storey = 3.0
    top = storey * floors + 0.5
    roof = rng.choice(["flat", "flat", "gable", "mansard"]) if floors <= 4 else "flat"
    slate = mix((120, 72, 62), (70, 76, 90), float(rng.random()))
    if roof == "gable":
        pen.shape([(-0.3, top), (width / 2, top + 0.28 * width), (width + 0.3, top)], slate)
    elif roof == "mansard":
        pen.shape([(-0.2, top), (0.6, top + 2.0), (width - 0.6, top + 2.0), (width + 0.2, top)], slate)
        for x in np.linspace(0.25 * width, 0.75 * width, 2):
            pen.box(float(x) - 0.5, top + 0.4, float(x) + 0.5, top + 1.6, trim)
            pen.box(float(x) - 0.35, top + 0.5, float(x) + 0.35, top + 1.45, GLASS)
    if rng.random() < 0.5:
        pen.box(0.2 * width, top, 0.2 * width + 0.7, top + 1.6 + (1.2 if roof != "flat" else 0), darker(slate, 0.85))
    pen.box(0, 0, width, top, wall)
    pen.box(0.93 * width, 0, width, top, darker(wall, 0.88))
    pen.box(-0.15, top - 0.3, width + 0.15, top, trim)

    columns = max(1, int(width / float(rng.uniform(1.9, 2.8))))
    pitch = width / columns
    wide = pitch * float(rng.uniform(0.42, 0.66))
    tall = float(rng.uniform(1.2, 1.9))
    frame = trim if rng.random() < 0.6 else darker(wall, 0.7)
    glass = mix(GLASS, pen.canvas.air, 0.25)
    for floor in range(1, floors):
        for column in range(columns):
            left, bottom = column * pitch + (pitch - wide) / 2, floor * storey + 0.8
            lit = rng.random() < lit_windows
            pen.box(left - 0.1, bottom - 0.12, left + wide + 0.1, bottom + tall + 0.1, frame)
            pen.box(left, bottom, left + wide, bottom + tall, LIT_WINDOW if lit else glass, glows=bool(lit))
            if rng.random() < 0.3:  # a curtain
                pen.box(left, bottom, left + 0.3 * wide, bottom + tall, lighter(wall, 0.6))
    _ground_floor(pen, rng, width, wall, lit_windows)


def _ground_floor(pen: Pen, rng: np.random.Generator, width: float, wall: Colour, lit_windows: float) -> None:
    lit = bool(rng.random() < 0.3 + lit_windows)
    sort = rng.choice(["shop", "shop", "garages", "door"])
    if sort == "shop":  # a long row of glass under a striped awning: not unlike a bus
        colour = paint(rng)
        pen.box(0.3, 0.5, width - 0.3, 2.2, darker(wall, 0.5))
        panes = max(2, int(width / 1.6))
        edges = np.linspace(0.4, width - 0.4, panes + 1)
        for left, right in pairwise(edges):
            pen.box(float(left) + 0.06, 0.6, float(right) - 0.06, 2.1, LIT_WINDOW if lit else PALE_GLASS, glows=lit)
        pen.box(0.2, 2.55, width - 0.2, 3.0, colour)
        pen.box(0.25 * width, 2.68, 0.75 * width, 2.87, lighter(colour, 0.7))
        stripes = max(4, int(width / 0.5))
        edges = np.linspace(0.2, width - 0.2, stripes + 1)
        for k in range(stripes):
            left, right = float(edges[k]), float(edges[k + 1])
            pen.shape(
                [(left, 2.55), (right, 2.55), (right, 2.0), (left, 2.0)], colour if k % 2 else lighter(colour, 0.75)
            )
    elif sort == "garages":
        doors = max(1, int(width / 3.0))
        for k in range(doors):
            left = (k + 0.5) * width / doors - 1.15
            colour = paint(rng)
            pen.box(left - 0.12, 0, left + 2.42, 2.45, lighter(wall, 0.4))
            pen.box(left, 0, left + 2.3, 2.3, colour)
            for y in (0.5, 1.0, 1.5):
                pen.box(left, y, left + 2.3, y + 0.07, darker(colour, 0.75))
            for x in (0.2, 0.72, 1.24, 1.76):
                pen.box(left + x, 1.7, left + x + 0.38, 2.08, LIT_WINDOW if lit else GLASS, glows=lit)
    else:
        door = paint(rng)
        x = float(rng.uniform(0.15, 0.6)) * width
        pen.box(x - 0.12, 0, x + 1.22, 2.5, lighter(wall, 0.45))
        pen.box(x, 0, x + 1.1, 2.38, door)
        pen.box(x + 0.2, 1.4, x + 0.9, 2.2, LIT_WINDOW if lit else GLASS, glows=lit)
        for left in (0.08 * width, 0.8 * width):
            if abs(left - x) > 1.6:
                pen.box(left - 0.1, 0.8, left + 1.3, 2.3, lighter(wall, 0.45))
                pen.box(left, 0.9, left + 1.2, 2.2, GLASS)


def road(
    canvas: Canvas, back: float, lanes: Sequence[tuple[float, float]], beyond: Colour, rng: np.random.Generator
) -> None:
    """Two pavements and the asphalt between them, dashed lines between the lanes.

    Args:
        back: y at which the far pavement begins.
        lanes: baseline of each and pixels a metre on it, far to near.
        beyond: colour of the ground on this side of the near pavement.
    """
    left, _, right, end = canvas.extent
    (kerb, bottom), (far_scale, near_scale) = edges(lanes), (lanes[0][1], lanes[-1][1])
    stone = mix((190, 184, 174), (150, 148, 148), float(rng.random()))
    asphalt = mix((104, 106, 112), (72, 74, 82), float(rng.random()))
    pen = Pen(canvas, 0, 0, 1)

    def stripe(upper: float, lower: float, colour: Colour) -> None:
        pen.box(left, -lower, right, -upper, colour)

    stripe(back, kerb, stone)
    slab = 1.1 * far_scale
    for x in np.arange(left - slab + rng.uniform(0, slab), right, slab):
        pen.line([(float(x), -kerb), (float(x) + 0.25 * (kerb - back), -back)], 2, darker(stone, 0.9))
    for far, near in pairwise(np.linspace(0, 1, 8).tolist()):  # nearer asphalt is a little lighter
        stripe(kerb + far * (bottom - kerb), kerb + near * (bottom - kerb), lighter(asphalt, 0.12 * near))
    stripe(kerb, kerb + 0.22 * far_scale, lighter(stone, 0.25))
    stripe(kerb + 0.22 * far_scale, kerb + 0.3 * far_scale, darker(asphalt, 0.7))
    for (upper, scale), (lower, _) in pairwise(lanes):
        y, dash = upper + 0.35 * (lower - upper), 2.2 * scale
        for x in np.arange(left - dash + rng.uniform(0, dash), right, 1.9 * dash):
            pen.box(float(x), -y, float(x) + dash, -y + 0.14 * scale, (232, 230, 222))
    stripe(bottom, bottom + 1.6 * near_scale, stone)
    stripe(bottom, bottom + 0.25 * near_scale, lighter(stone, 0.3))
    stripe(bottom + 1.6 * near_scale, end, beyond)


def edges(lanes: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Where a road's asphalt begins and ends, as y in the picture; `lanes` as for `road`."""
    (far, far_scale), (near, near_scale) = lanes[0], lanes[-1]
    return far - 0.6 * far_scale, near + 0.45 * near_scale


def tree(pen: Pen, rng: np.random.Generator) -> None:
    """A round, a pointed or a slender tree, 4 to 7 metres high."""
    leaf = mix(LEAVES[rng.integers(len(LEAVES))], (60, 90, 60), float(rng.uniform(0, 0.3)))
    trunk = mix((104, 76, 56), (70, 58, 52), float(rng.random()))
    high = float(rng.uniform(4.0, 7.0))
    crown = 0.55 * high
    pen.shape([(-0.2, 0), (0.2, 0), (0.12, 0.6 * high), (-0.12, 0.6 * high)], trunk)
    if rng.random() < 0.25:  # a conifer
        leaf = mix((56, 104, 74), (84, 130, 90), float(rng.random()))
        for k in range(3):
            y, half = 1.2 + k * 0.24 * high, (1.5 - 0.38 * k)
            pen.shape([(-half, y), (half, y), (0, y + 0.42 * high)], mix(leaf, darker(leaf, 0.75), 0.3 * k))
        return
    for dx, dy, r in (
        (-0.9, 0.9, 0.9),
        (0.9, 0.9, 0.9),
        (0, 0.55, 0.9),
        (0, 1.6, 1.15),
        (-0.5, 1.2, 1.0),
        (0.55, 1.3, 1.0),
    ):
        pen.disc(dx, crown + dy * 0.75, r, darker(leaf, 0.84))
    for dx, dy, r in ((-0.7, 1.25, 0.62), (0.5, 1.75, 0.7), (0.75, 1.0, 0.42), (-0.2, 2.1, 0.5)):
        pen.disc(dx, crown + dy * 0.75, r, leaf)
    pen.disc(-0.25, crown + 1.7, 0.38, lighter(leaf, 0.2))


def lamp_post(pen: Pen, rng: np.random.Generator) -> None:
    """A street lamp, 5 to 6.5 metres high, its arm to one side."""
    high, side = float(rng.uniform(5.0, 6.5)), float(rng.choice([-1.0, 1.0]))
    pen.box(-0.16, 0, 0.16, 0.7, METAL)
    pen.box(-0.08, 0, 0.08, high, METAL)
    pen.line([(0, high - 0.1), (0.5 * side, high + 0.15), (1.3 * side, high + 0.1)], 0.13, METAL)
    pen.box(min(0.9 * side, 1.6 * side), high - 0.08, max(0.9 * side, 1.6 * side), high + 0.14, METAL, 0.08)
    pen.box(
        min(1.0 * side, 1.5 * side), high - 0.14, max(1.0 * side, 1.5 * side), high - 0.04, (255, 240, 190), glows=True
    )


def sign(pen: Pen, rng: np.random.Generator) -> None:
    """A traffic sign on a pole: round, triangular or square."""
    colour = paint(rng)
    pen.box(-0.06, 0, 0.06, 2.6, (128, 132, 136))
    sort = rng.integers(3)
    if sort == 0:
        pen.disc(0, 2.6, 0.42, colour)
        pen.disc(0, 2.6, 0.28, (244, 242, 236))
    elif sort == 1:
        pen.shape([(-0.48, 2.2), (0.48, 2.2), (0, 3.02)], colour)
        pen.shape([(-0.26, 2.34), (0.26, 2.34), (0, 2.78)], (244, 242, 236))
    else:
        pen.box(-0.4, 2.2, 0.4, 3.0, colour, 0.08)
        pen.box(-0.25, 2.5, 0.25, 2.7, (244, 242, 236))


def traffic_light(pen: Pen, rng: np.random.Generator) -> None:
    """Three lamps on a pole, one of them lit."""
    pen.box(-0.08, 0, 0.08, 2.5, METAL)
    pen.box(-0.24, 2.3, 0.24, 3.5, (40, 42, 46), 0.1)
    lit = rng.integers(3)
    for k, colour in enumerate(((90, 210, 120), (250, 190, 70), (236, 70, 60))):
        pen.disc(0, 2.5 + 0.4 * k, 0.15, colour if k == lit else darker(colour, 0.35), glows=bool(k == lit))


def person(pen: Pen, rng: np.random.Generator) -> None:
    """Somebody walking, 1.6 to 1.85 metres tall."""
    tall = float(rng.uniform(1.6, 1.85))
    coat, trousers = paint(rng), darker(paint(rng), 0.6)
    skin = mix((238, 200, 170), (112, 76, 56), float(rng.random()))
    step = float(rng.uniform(0.08, 0.28))
    pen.shape(
        [(-0.14, 0.85), (0.14, 0.85), (step + 0.08, 0), (step - 0.1, 0), (0, 0.65), (0.1 - step, 0), (-step - 0.08, 0)],
        trousers,
    )
    pen.box(-0.24, 0.75, 0.24, tall - 0.3, coat, 0.16)
    pen.disc(0, tall - 0.16, 0.17, skin)
    pen.shape(
        [(-0.17, tall - 0.14), (-0.14, tall + 0.02), (0.14, tall + 0.02), (0.17, tall - 0.12)], darker(skin, 0.35)
    )


def planter(pen: Pen, rng: np.random.Generator) -> None:
    """A tub with a bush, about a metre high."""
    tub, leaf = paint(rng), LEAVES[rng.integers(len(LEAVES))]
    for x, r in ((-0.5, 0.4), (0, 0.55), (0.5, 0.42)):
        pen.disc(x, 0.85, r, darker(leaf, 0.85))
    pen.disc(-0.15, 1.0, 0.3, leaf)
    pen.shape([(-0.7, 0), (0.7, 0), (0.85, 0.65), (-0.85, 0.65)], tub)
    pen.box(-0.9, 0.55, 0.9, 0.7, darker(tub, 0.8))


def advertising_column(pen: Pen, rng: np.random.Generator) -> None:
    """A thick round column with posters: wide enough to hide half a car."""
    body = paint(rng)
    pen.box(-0.75, 0, 0.75, 3.1, body)
    pen.box(-0.85, 0, 0.85, 0.35, darker(body, 0.6))
    pen.box(-0.9, 3.0, 0.9, 3.3, darker(body, 0.6))
    pen.shape([(-0.7, 3.3), (0.7, 3.3), (0, 4.0)], darker(body, 0.6))
    poster = paint(rng)
    pen.box(-0.55, 0.8, 0.6, 2.6, poster)
    pen.box(-0.4, 1.9, 0.45, 2.3, lighter(poster, 0.6))
    pen.disc(0.05, 1.35, 0.35, lighter(poster, 0.4))


def kiosk(pen: Pen, rng: np.random.Generator) -> None:
    """A booth with a counter window and an awning; box-shaped and painted like a van."""
    body, trim = paint(rng), paint(rng)
    pen.box(0, 0, 3.4, 2.5, body)
    pen.box(0, 0, 3.4, 0.25, darker(body, 0.6))
    pen.box(0.4, 1.1, 2.4, 2.0, GLASS)
    pen.box(0.3, 0.95, 2.5, 1.1, lighter(body, 0.5))
    pen.box(2.6, 0.2, 3.2, 2.1, darker(body, 0.75))
    for k in range(6):
        left = 0.2 + 0.4 * k
        pen.shape(
            [(left, 2.15), (left + 0.4, 2.15), (left + 0.4, 1.8), (left, 1.8)], trim if k % 2 else (240, 238, 230)
        )
    pen.box(-0.15, 2.45, 3.55, 2.75, trim)


def container(pen: Pen, rng: np.random.Generator) -> None:
    """A shipping container on the ground, perhaps another on top: the cargo of a truck without the truck."""
    for level in range(2 if rng.random() < 0.4 else 1):
        colour, bottom = paint(rng), 2.5 * level
        pen.box(0, bottom, 6.0, bottom + 2.45, colour)
        for x in np.arange(0.3, 5.7, 0.4):
            pen.box(float(x), bottom + 0.2, float(x) + 0.16, bottom + 2.25, darker(colour, 0.8))
        pen.box(0, bottom, 6.0, bottom + 0.15, darker(colour, 0.65))
        pen.box(0, bottom + 2.3, 6.0, bottom + 2.45, darker(colour, 0.65))


def bus_shelter(pen: Pen, rng: np.random.Generator) -> None:
    """A roof on posts with glass panes, a bench and a poster: a row of windows without wheels."""
    frame = paint(rng)
    pen.box(0.1, 0.35, 4.1, 2.25, mix(GLASS, pen.canvas.air, 0.45))
    for x in (0.0, 1.4, 2.8, 4.1):
        pen.box(x, 0, x + 0.12, 2.4, darker(frame, 0.6))
    pen.box(-0.2, 2.3, 4.5, 2.55, frame, 0.1)
    pen.box(0.4, 0.5, 2.6, 0.62, (140, 100, 70))
    poster = paint(rng)
    pen.box(2.95, 0.4, 4.0, 2.1, lighter(poster, 0.7))
    pen.box(3.05, 0.55, 3.9, 1.5, poster)


def billboard(pen: Pen, rng: np.random.Generator) -> None:
    """A large poster on two legs."""
    poster, ink = paint(rng), paint(rng)
    pen.box(0.6, 0, 0.8, 1.6, METAL)
    pen.box(4.2, 0, 4.4, 1.6, METAL)
    pen.box(0, 1.5, 5.0, 4.1, (238, 236, 230))
    pen.box(0.15, 1.65, 4.85, 3.95, poster)
    pen.disc(1.3, 2.8, 0.7, ink)
    pen.box(2.3, 3.0, 4.5, 3.4, lighter(poster, 0.65))
    pen.box(2.3, 2.3, 3.9, 2.6, lighter(poster, 0.45))


def bicycle(pen: Pen, rng: np.random.Generator) -> None:
    """Two wheels, but no vehicle of ours."""
    colour = paint(rng)
    for x in (0.35, 1.4):
        pen.disc(x, 0.34, 0.34, TYRE)
        pen.disc(x, 0.34, 0.26, lighter(pen.canvas.air, 0.2))
        pen.disc(x, 0.34, 0.06, CHROME)
    pen.line([(0.35, 0.34), (0.7, 0.8), (1.25, 0.8), (0.85, 0.3), (0.35, 0.34)], 0.08, colour)
    pen.line([(1.4, 0.34), (1.22, 0.95), (1.4, 1.0)], 0.08, colour)
    pen.line([(0.85, 0.3), (0.68, 0.92)], 0.08, colour)
    pen.box(0.5, 0.9, 0.85, 0.98, DARK)


def bench(pen: Pen, rng: np.random.Generator) -> None:
    """A park bench."""
    wood = mix((160, 116, 76), (110, 80, 60), float(rng.random()))
    for x in (0.2, 1.6):
        pen.box(x, 0, x + 0.12, 0.9, METAL)
    for y in (0.42, 0.62, 0.8):
        pen.box(0, y, 1.9, y + 0.11, wood)


def fence(pen: Pen, rng: np.random.Generator) -> None:
    """Eight metres of boards or railings."""
    colour = mix(paint(rng), (150, 130, 110), 0.5)
    gap = float(rng.choice([0.0, 0.22]))
    for x in np.arange(0, 8, 0.4):
        pen.box(float(x), 0, float(x) + 0.38 - gap, 1.2, colour if round(x / 0.4) % 2 else darker(colour, 0.9))
    pen.box(0, 0.9, 8, 1.0, darker(colour, 0.75))


def weathered(picture: Float32[np.ndarray, "H W 3"], rng: np.random.Generator) -> Float32[np.ndarray, "H W 3"]:
    """Give a finished picture what a camera adds: a colour cast, blotches, grain, now and then a soft focus."""
    height, width = picture.shape[:2]
    cast = rng.uniform(0.95, 1.05, 3).astype(np.float32) * np.float32(rng.uniform(0.9, 1.08))
    coarse = rng.normal(0, 1, (height // 12, width // 12, 1)).astype(np.float32)
    blotches = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)[..., None]
    grain = rng.standard_normal((height, width, 3), dtype=np.float32)
    if rng.random() < 0.25:
        picture = cv2.GaussianBlur(picture, (3, 3), 0.7)
    strength = np.float32(rng.uniform(2.0, 5.0))
    return np.clip(picture * cast + 3 * blotches + strength * grain, 0, 255).astype(np.float32)
