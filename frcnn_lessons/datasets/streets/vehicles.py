"""Draw buses, trucks and cars from the side, in metres, each a little different.

Every function draws facing right from x = 0 (rear) to x = length (front), wheels on y = 0, so that nothing sticks out
of 0..length. The pen mirrors it for a vehicle that faces left. Lengths are shorter than in life, as in a picture
book, which keeps tall vehicles inside small images. Lesson 02.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from frcnn_lessons.datasets.streets.pen import Colour, Pen, darker, lighter, mix, smooth

# Painted things of every kind (vehicles, houses, awnings, signs) draw from this one list: colour alone tells nothing.
PAINT: tuple[Colour, ...] = (
    (196, 57, 48),  # red
    (226, 126, 52),  # orange
    (240, 192, 64),  # yellow
    (106, 153, 78),  # green
    (56, 122, 108),  # teal
    (66, 133, 190),  # blue
    (44, 72, 122),  # navy
    (128, 98, 158),  # violet
    (176, 88, 112),  # rose
    (132, 94, 70),  # brown
    (214, 186, 150),  # sand
    (238, 234, 224),  # white
    (168, 174, 180),  # silver
    (92, 98, 108),  # grey
    (52, 54, 62),  # black
    (140, 190, 196),  # light blue
)
GLASS: Colour = (70, 92, 112)
PALE_GLASS: Colour = (150, 184, 202)  # large panes, through which one sees the sky
TYRE: Colour = (34, 34, 38)
CHROME: Colour = (196, 200, 204)
DARK: Colour = (48, 50, 56)
LAMP: Colour = (255, 244, 196)
TAIL: Colour = (206, 44, 40)


@dataclass(frozen=True)
class Kind:
    """A sort of vehicle: its class name, its measures in metres and the function that draws it.

    A truck is only as high as its cargo, `height` at most and `least_height` at least.
    """

    name: str
    length: float
    height: float
    least_height: float
    draw: Callable[[Pen, np.random.Generator, float, float], None]


def paint(rng: np.random.Generator) -> Colour:
    """Pick a paint, slightly faded or darkened so that no two are quite the same."""
    colour = PAINT[rng.integers(len(PAINT))]
    target: Colour = (255, 255, 255) if rng.random() < 0.5 else (0, 0, 0)
    return mix(colour, target, float(rng.uniform(0, 0.18)))


def wheel(pen: Pen, x: float, radius: float, rim: Colour = CHROME) -> None:
    """A tyre with a rim, a hub and five bolts."""
    pen.disc(x, radius, radius, TYRE)
    pen.disc(x, radius, 0.62 * radius, rim)
    pen.disc(x, radius, 0.5 * radius, darker(rim, 0.82))
    for turn in np.arange(5) * 2 * np.pi / 5:
        pen.disc(
            x + 0.33 * radius * float(np.sin(turn)), radius + 0.33 * radius * float(np.cos(turn)), 0.09 * radius, DARK
        )
    pen.disc(x, radius, 0.16 * radius, darker(rim, 0.5))


def _pane(
    pen: Pen,
    left: float,
    bottom: float,
    right: float,
    top: float,
    lit: bool,
    glass: Colour = GLASS,
    radius: float = 0.08,
) -> None:
    """A window; by day with a slanted reflection, by night lit from inside."""
    if lit:
        pen.box(left, bottom, right, top, (250, 214, 130), radius, glows=True)
        return
    pen.box(left, bottom, right, top, glass, radius)
    width, lean = right - left, 0.35 * (top - bottom)
    if width > lean:
        x = left + 0.25 * width
        wide = min(0.25 * width, right - x - lean)
        pen.shape(
            [(x, bottom + 0.04), (x + wide, bottom + 0.04), (x + wide + lean, top - 0.04), (x + lean, top - 0.04)],
            lighter(glass, 0.25),
        )


def _is_dark(pen: Pen) -> bool:
    return sum(pen.canvas.light) < 2.1


def _end_lights(pen: Pen, length: float, height: float, size: float) -> None:
    """Headlights at the front, tail lights at the rear; they glow after dark."""
    dark = _is_dark(pen)
    pen.box(length - 1.2 * size, height, length - 0.02, height + 0.8 * size, LAMP, 0.3 * size, glows=dark)
    pen.box(0.02, height, 0.6 * size, height + size, TAIL, 0.1, glows=dark)


def _bus(pen: Pen, rng: np.random.Generator, length: float, height: float) -> None:
    """One or two rows of windows along the whole body, doors, a painted band and a destination sign."""
    body, band = paint(rng), paint(rng)
    two_decks = height > 3.6
    lit = _is_dark(pen)
    rear, front = 0.22 * length, 0.78 * length
    pen.box(0.3, 0.3, length - 0.3, 0.8, DARK)
    outline = [(0, 0.38), (0, 0.42), (0, height - 0.45), (0.05, height), (0.5, height), (length - 0.5, height)]
    outline += [(length - 0.1, height), (length, height - 0.6), (length, 0.5), (length, 0.38)]
    pen.shape(smooth(outline, 1), body)
    if rng.random() < 0.7:  # the painted band, along the skirt or rising towards the rear
        rise = float(rng.choice([0.0, 0.0, 0.45]))
        pen.shape([(0, 0.75), (length, 0.75), (length, 1.15), (0, 1.15 + rise)], band)
    if not two_decks:
        pen.box(0.18 * length, height - 0.2, 0.5 * length, height, darker(body, 0.85), 0.08)  # air conditioning
    pen.box(0.05, 0.38, length - 0.05, 0.55, darker(body, 0.6))

    pillars = int(rng.integers(4, 8))
    decks = [(1.4, 2.3), (2.85, 3.75)] if two_decks else [(1.4, height - 0.55)]
    door_at = [length - 1.75] + ([0.42 * length] if rng.random() < 0.6 else [])
    for deck, (bottom, top) in enumerate(decks):
        pen.box(0.25, bottom - 0.06, length - 0.04, top + 0.06, darker(body, 0.45), 0.15)  # one dark ribbon of glass
        edges = np.linspace(0.3, length - (1.85 if deck == 0 else 0.75), pillars + 1)
        for left, right in pairwise(edges):
            _pane(pen, float(left) + 0.05, bottom, float(right) - 0.05, top, lit, PALE_GLASS)
            if not lit and rng.random() < 0.35:  # a passenger
                x = float(left + right) / 2
                pen.disc(x, bottom + 0.32, 0.17, darker(GLASS, 0.5))
                pen.box(x - 0.24, bottom, x + 0.24, bottom + 0.18, darker(GLASS, 0.5), 0.08)
        pen.shape(  # windscreen
            [(length - 0.65, bottom - 0.1), (length - 0.02, bottom - 0.1), (length - 0.04, top), (length - 0.65, top)],
            lighter(PALE_GLASS, 0.25),
        )
    for x in door_at:
        top = decks[0][1]
        pen.box(x - 0.02, 0.45, x + 1.02, top + 0.04, darker(body, 0.5))
        _pane(pen, x + 0.04, 0.55, x + 0.47, top, lit, PALE_GLASS, 0.03)
        _pane(pen, x + 0.53, 0.55, x + 0.96, top, lit, PALE_GLASS, 0.03)
    pen.box(length - 1.6, height - 0.42, length - 0.3, height - 0.14, (30, 30, 34), 0.05)
    pen.box(length - 1.5, height - 0.36, length - 0.45, height - 0.2, (255, 176, 60), glows=True)
    if two_decks and rng.random() < 0.6:  # an advertisement between the decks
        poster = paint(rng)
        pen.box(0.2 * length, 2.4, 0.7 * length, 2.74, poster)
        pen.box(0.25 * length, 2.5, 0.5 * length, 2.64, lighter(poster, 0.6))
    _end_lights(pen, length, 0.62, 0.34)
    for x in (rear, front):
        pen.disc(x, 0.5, 0.64, darker(body, 0.35))
        wheel(pen, x, 0.52)


def _cab(pen: Pen, rng: np.random.Generator, start: float, length: float, colour: Colour) -> None:
    """The driver's cab between x = start and the front: flat-nosed or with a bonnet."""
    top = float(rng.uniform(2.6, 2.9))
    window = (start + 0.35, 1.55, length - 0.75, top - 0.35)
    if rng.random() < 0.85:  # cab over the engine
        outline = [(start, 0.5), (start, 0.6), (start, top - 0.2), (start + 0.1, top), (start + 0.4, top)]
        outline += [
            (length - 0.6, top),
            (length - 0.35, top),
            (length, 1.45),
            (length, 1.2),
            (length, 0.6),
            (length, 0.5),
        ]
        glass = [(length - 0.62, 1.5), (length - 0.1, 1.5), (length - 0.38, top - 0.3), (length - 0.62, top - 0.3)]
    else:  # a bonnet in front of the windscreen
        nose = length - 0.9
        outline = [
            (start, 0.5),
            (start, 0.6),
            (start, top - 0.2),
            (start + 0.1, top),
            (nose - 0.5, top),
            (nose - 0.4, top),
        ]
        outline += [(nose, 1.65), (nose + 0.1, 1.6), (length - 0.1, 1.45), (length, 1.2), (length, 0.6), (length, 0.5)]
        window = (start + 0.25, 1.6, nose - 0.45, top - 0.35)
        glass = [(nose - 0.38, 1.65), (nose - 0.08, 1.65), (nose - 0.4, top - 0.3), (nose - 0.45, top - 0.3)]
    pen.shape(smooth(outline, 1), colour)
    _pane(pen, *window, lit=False)
    pen.shape(glass, lighter(GLASS, 0.18))
    pen.line([(window[0] - 0.08, 0.7), (window[0] - 0.08, top - 0.3)], 0.04, darker(colour, 0.65))
    pen.line([(window[2] + 0.06, 0.7), (window[2] + 0.06, 1.5)], 0.04, darker(colour, 0.65))
    pen.box(window[0], 1.25, window[0] + 0.3, 1.33, darker(colour, 0.4))
    pen.box(start + 0.1, 0.5, length, 0.72, darker(colour, 0.5))
    if rng.random() < 0.5:
        pen.box(start + 0.1, 0.95, length - 0.2, 1.1, lighter(colour, 0.45))
    pen.box(length - 0.4, 0.8, length - 0.02, 1.08, LAMP, 0.1, glows=_is_dark(pen))


def _truck(pen: Pen, rng: np.random.Generator, length: float, height: float) -> None:
    """A cab in front, a gap, and cargo on a chassis: a box, a tank, a tipper, a flatbed or a container."""
    colour = paint(rng)
    cargo = colour if rng.random() < 0.6 else paint(rng)  # many firms paint both alike
    cab = length - float(rng.uniform(1.9, 2.2))
    end = cab - 0.25  # daylight shows between cargo and cab
    pen.box(0.1, 0.62, length - 0.4, 0.9, DARK)
    pen.box(0.42 * length, 0.42, 0.42 * length + 1.0, 0.85, (110, 114, 120), 0.15)  # fuel tank
    _cab(pen, rng, cab, length, colour)
    floor = 0.98
    sort = rng.choice(["box", "box", "tank", "tipper", "flatbed", "container"])
    if sort == "box":
        pen.box(0, floor - 0.08, end, height, cargo, 0.08)
        pen.box(0, floor - 0.08, end, floor + 0.06, darker(cargo, 0.6))
        pen.box(0, height - 0.12, end, height, lighter(cargo, 0.35), 0.06)
        logo = paint(rng)
        middle = (floor + height) / 2
        look = rng.integers(3)
        if look == 0:
            pen.box(0.2 * end, middle - 0.4, 0.7 * end, middle + 0.4, logo, 0.3)
            pen.box(0.3 * end, middle - 0.1, 0.6 * end, middle + 0.1, lighter(logo, 0.7))
        elif look == 1:
            pen.shape(
                [(0, floor + 0.1), (0.5 * end, floor + 0.1), (0.85 * end, height - 0.15), (0.3 * end, height - 0.15)],
                logo,
            )
        else:
            pen.disc(0.5 * end, middle, 0.6, logo)
            pen.disc(0.5 * end, middle, 0.3, lighter(logo, 0.7))
    elif sort == "tank":
        top = min(height, 2.9)
        pen.box(0.0, floor + 0.02, end, top, cargo, 0.75)
        pen.box(0.3, top - 0.5, end - 0.3, top - 0.28, lighter(cargo, 0.5), 0.1)
        pen.box(0.25, floor + 0.12, end - 0.25, floor + 0.4, darker(cargo, 0.72), 0.1)
        for x in (0.3 * end, 0.65 * end):
            pen.line([(x, floor + 0.05), (x, top - 0.02)], 0.07, darker(cargo, 0.6))
            pen.box(x - 0.2, top - 0.03, x + 0.2, top + 0.14, DARK)
    elif sort == "tipper":
        rim = float(rng.uniform(2.2, 2.5))
        heap = mix((150, 118, 84), (110, 110, 112), float(rng.random()))
        pen.shape(
            smooth([(0.3, rim - 0.2), (0.3 * end, rim + 0.55), (0.6 * end, rim + 0.5), (end - 0.2, rim - 0.2)]), heap
        )
        pen.shape([(0.35, floor - 0.05), (end - 0.1, floor - 0.05), (end, rim), (0, rim)], cargo)
        pen.shape([(0, rim), (end, rim), (end, rim - 0.16), (0.05, rim - 0.16)], darker(cargo, 0.65))
        for x in np.linspace(0.2 * end, 0.85 * end, 4):
            pen.line([(float(x), floor), (float(x), rim - 0.1)], 0.1, darker(cargo, 0.75))
    elif sort == "flatbed":
        pen.box(0, floor - 0.06, end, floor + 0.16, darker(cargo, 0.7))
        pen.box(end - 0.14, floor, end, 2.4, darker(cargo, 0.6))
        if rng.random() < 0.5:  # logs
            wood: Colour = (150, 108, 70)
            for row in range(3):
                y = floor + 0.36 + 0.36 * row
                pen.box(0.1, y - 0.17, end - 0.25, y + 0.17, mix(wood, (92, 62, 40), 0.3 * row), 0.15)
            for x in (0.2 * end, 0.75 * end):
                pen.box(x, floor, x + 0.12, 2.3, DARK)
        else:  # crates
            x = 0.1
            while x < end - 1.2:
                wide, tall = float(rng.uniform(0.8, 1.3)), float(rng.uniform(0.7, 1.4))
                crate = paint(rng)
                pen.box(x, floor + 0.16, x + wide, floor + 0.16 + tall, crate)
                pen.line([(x + 0.08, floor + 0.24), (x + wide - 0.08, floor + 0.08 + tall)], 0.09, darker(crate, 0.7))
                x += wide + 0.05
    else:
        _ribbed_box(pen, 0, floor - 0.04, end, min(height, 3.1), cargo)
    front = length - 1.05
    for x in (0.14 * length, 0.14 * length + 1.15, front):
        pen.disc(x, 0.5, 0.6, DARK)
        wheel(pen, x, 0.5)
    pen.box(0.02, 0.75, 0.22, 0.95, TAIL, glows=_is_dark(pen))


def _ribbed_box(pen: Pen, left: float, bottom: float, right: float, top: float, colour: Colour) -> None:
    """A shipping container: a frame around ribs."""
    pen.box(left, bottom, right, top, colour)
    for x in np.arange(left + 0.3, right - 0.15, 0.3):
        pen.box(float(x), bottom + 0.2, float(x) + 0.12, top - 0.2, darker(colour, 0.8))
    for y in (bottom, top - 0.14):
        pen.box(left, y, right, y + 0.14, darker(colour, 0.68))


# Outlines of car bodies and their windows for a car 1 long and 1 high, rear at the left.
# fmt: off
_SALOON = (
    [(0, .22), (0, .26), (0, .56), (.02, .64), (.14, .68), (.20, .70), (.31, .98), (.36, 1.0), (.56, 1.0), (.61, .98),
     (.74, .69), (.80, .66), (.95, .58), (1.0, .50), (1.0, .26), (1.0, .22)],
    [[(.245, .70), (.335, .93), (.435, .93), (.435, .70)], [(.455, .70), (.455, .93), (.575, .93), (.68, .70)]],
)
_HATCHBACK = (
    [(0, .22), (0, .26), (0, .58), (.02, .66), (.10, .92), (.14, 1.0), (.22, 1.0), (.56, 1.0), (.62, .97), (.76, .68),
     (.82, .64), (.96, .56), (1.0, .48), (1.0, .26), (1.0, .22)],
    [[(.09, .68), (.16, .92), (.37, .92), (.37, .68)], [(.39, .68), (.39, .92), (.58, .92), (.70, .68)]],
)
_ESTATE = (
    [(0, .22), (0, .26), (0, .60), (.01, .70), (.05, .96), (.09, 1.0), (.20, 1.0), (.58, 1.0), (.63, .97), (.75, .69),
     (.81, .66), (.96, .58), (1.0, .50), (1.0, .26), (1.0, .22)],
    [[(.05, .70), (.09, .92), (.23, .92), (.23, .70)], [(.25, .70), (.25, .92), (.43, .92), (.43, .70)],
     [(.45, .70), (.45, .92), (.59, .92), (.69, .70)]],
)
_VAN = (
    [(0, .18), (0, .22), (0, .90), (.01, 1.0), (.06, 1.0), (.62, 1.0), (.68, .99), (.86, .60), (.90, .56), (.98, .50),
     (1.0, .42), (1.0, .22), (1.0, .18)],
    [[(.06, .60), (.06, .88), (.30, .88), (.30, .60)], [(.33, .60), (.33, .88), (.53, .88), (.53, .60)],
     [(.56, .60), (.56, .88), (.66, .88), (.79, .60)]],
)
# fmt: on


def _car(pen: Pen, rng: np.random.Generator, length: float, height: float) -> None:
    """A saloon, hatchback, estate or van: a low bonnet, a glass house on top."""
    colour = paint(rng)
    if height > 1.85:
        outline, windows = _VAN
    else:
        outline, windows = (_SALOON, _HATCHBACK, _ESTATE)[rng.integers(3)]

    def scaled(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(x * length, y * height) for x, y in points]

    body = smooth(scaled(outline), 2)
    pen.shape(body, colour)
    belt = windows[0][0][1] * height  # lower edge of the windows
    pen.box(0.03, 0.3, length - 0.03, 0.5, darker(colour, 0.62), 0.08)  # sill and bumpers
    pen.box(0.12, belt - 0.14, length * 0.72, belt - 0.07, lighter(colour, 0.4))  # light on the shoulder
    for window in windows:
        pen.shape(scaled(window), PALE_GLASS)
        (_, y1), (x2, y2) = scaled([window[0], window[2]])
        lean = 0.3 * (y2 - y1)
        pen.shape(
            [(x2 - 0.42, y1 + 0.02), (x2 - 0.2, y1 + 0.02), (x2 - 0.2, y2 - 0.02), (x2 - 0.42 + lean, y2 - 0.02)],
            lighter(PALE_GLASS, 0.3),
        )
    if rng.random() < 0.6:  # the driver
        seat = windows[-1][0][0] * length + 0.32
        pen.disc(seat, belt + 0.2, 0.13, darker(GLASS, 0.45))
    for window in windows:
        door = window[-1][0] * length if window is not windows[-1] else window[0][0] * length
        pen.line([(door + 0.04, 0.45), (door + 0.04, belt)], 0.03, darker(colour, 0.62))
        pen.box(door - 0.28, belt - 0.26, door - 0.08, belt - 0.2, darker(colour, 0.5))
    _end_lights(pen, length, belt - 0.34, 0.22)
    radius = 0.33 if height < 1.85 else 0.37
    rim = CHROME if rng.random() < 0.7 else (96, 98, 104)
    for x in (0.2 * length, 0.79 * length):
        pen.disc(x, radius, radius + 0.09, darker(colour, 0.3))
        wheel(pen, x, radius, rim)


KINDS: tuple[Kind, ...] = (
    Kind("bus", 8.2, 3.1, 3.1, _bus),
    Kind("bus", 9.2, 3.2, 3.2, _bus),
    Kind("bus", 8.0, 4.3, 4.3, _bus),
    Kind("truck", 5.8, 2.9, 2.55, _truck),
    Kind("truck", 7.0, 3.3, 2.55, _truck),
    Kind("truck", 7.8, 3.4, 2.55, _truck),
    Kind("car", 4.0, 1.6, 1.55, _car),
    Kind("car", 4.3, 1.6, 1.55, _car),
    Kind("car", 4.1, 1.75, 1.7, _car),
    Kind("car", 4.8, 2.1, 2.05, _car),
)
