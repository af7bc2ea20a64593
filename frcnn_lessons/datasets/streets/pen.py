"""Draw flat shapes in metres on a picture, and remember which pixels an object covers.

The street scenes are drawn four times too large, without anti-aliasing, and shrunk at the end: edges come out smooth,
and the mask of an object agrees with its picture to the quarter of a pixel.

Units: metres for shapes (x to the right from the object's left end, y up from the ground), pixels of the enlarged
picture for places, as a level camera sees them: a canvas alone knows its tilt. Colours are RGB, 0..255. Lesson 02.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import cos, sin

import cv2
import numpy as np
from jaxtyping import Int32, UInt8

Colour = tuple[int, int, int]
Points = Sequence[tuple[float, float]]

ENLARGED = 4  # the picture is drawn this many times too large
_SUBPIXEL_BITS = 4  # OpenCV takes coordinates as fixed-point numbers with this many binary places
ONE = 1 << _SUBPIXEL_BITS  # a pixel in those numbers


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Go from the first colour (share 0) to the second (share 1)."""
    return tuple(round(a + (b - a) * share) for a, b in zip(first, second, strict=True))  # type: ignore[return-value]


def darker(colour: Colour, factor: float = 0.8) -> Colour:
    """Keep this share of a colour's brightness."""
    return mix((0, 0, 0), colour, factor)


def lighter(colour: Colour, share: float = 0.3) -> Colour:
    """Move a colour this far towards white."""
    return mix(colour, (255, 255, 255), share)


def smooth(points: Points, rounds: int = 2) -> list[tuple[float, float]]:
    """Round a closed outline by cutting its corners (Chaikin 1974): each round doubles the points.

    A cut takes a quarter of each edge, so long edges lose more at their ends; put two points close together where a
    corner should stay sharp.
    """
    outline = np.asarray(points, dtype=np.float64)
    for _ in range(rounds):
        following = np.roll(outline, -1, axis=0)
        cut = np.stack([0.75 * outline + 0.25 * following, 0.25 * outline + 0.75 * following], axis=1)
        outline = cut.reshape(-1, 2)
    return [(float(x), float(y)) for x, y in outline]


@dataclass
class Canvas:
    """The enlarged picture, and the light in which everything on it is seen.

    Attributes:
        picture: (H, W, 3), RGB, drawn on in place.
        light: what daylight leaves of red, green and blue; (1, 1, 1) at noon.
        air: the colour that far things fade into.
        tilt: of the camera, in radians; the street turns clockwise about the middle of the picture.
        mask: (H, W), 255 where something was drawn since `start_mask`.
        corners: (n, 2) of each thing drawn since then, in pixels times `ONE`, outside the picture too.
    """

    picture: UInt8[np.ndarray, "H W 3"]
    light: tuple[float, float, float]
    air: Colour
    tilt: float = 0.0
    mask: UInt8[np.ndarray, "H W"] = field(init=False)
    corners: list[Int32[np.ndarray, "n 2"]] = field(init=False)

    def __post_init__(self) -> None:
        """Begin with an empty mask."""
        self.mask = np.zeros(self.picture.shape[:2], dtype=np.uint8)
        self.corners = []

    def start_mask(self) -> None:
        """Forget what was drawn so far."""
        self.mask[:] = 0
        self.corners = []

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """x1, y1, x2, y2 of all that the camera can see of the level street: fill it, and no corner stays empty."""
        height, width = self.mask.shape
        more_x, more_y = 1 + height / 2 * abs(sin(self.tilt)), 1 + width / 2 * abs(sin(self.tilt))
        return -more_x, -more_y, width + more_x, height + more_y

    def turned(self, x: float, y: float) -> tuple[float, float]:
        """Where the tilted camera sees a place of the level street."""
        height, width = self.mask.shape
        x, y = x - width / 2, y - height / 2
        return width / 2 + cos(self.tilt) * x - sin(self.tilt) * y, height / 2 + sin(self.tilt) * x + cos(self.tilt) * y

    def leaves_picture(self) -> bool:
        """Whether something drawn since `start_mask` goes on beyond the border, by a pixel of the final picture."""
        height, width = self.mask.shape
        corners = np.concatenate(self.corners) / ONE
        return bool((corners < -ENLARGED).any() or (corners > (width + ENLARGED, height + ENLARGED)).any())

    def shadow(self, x: float, y: float, half_width: float, half_height: float, strength: float = 0.5) -> None:
        """Darken a soft ellipse around (x, y), all in pixels; it counts as ground, not as part of an object."""
        height, width = self.mask.shape
        x, y = self.turned(x, y)
        left, right = max(0, int(x - half_width)), min(width, int(x + half_width) + 1)
        top, bottom = max(0, int(y - half_height)), min(height, int(y + half_height) + 1)
        if left >= right or top >= bottom:
            return
        across = (np.arange(left, right, dtype=np.float32) - np.float32(x)) / np.float32(half_width)
        down = (np.arange(top, bottom, dtype=np.float32) - np.float32(y)) / np.float32(half_height)
        depth = np.clip(1.6 * (1 - across[None, :] ** 2 - down[:, None] ** 2), 0, 1)  # (h, w), 0 at the rim
        patch = self.picture[top:bottom, left:right]
        patch[:] = (patch * (1 - np.float32(strength) * depth[..., None])).astype(np.uint8)

    def shade_mask(self, above: float = 1.08, below: float = 0.82) -> None:
        """Light what the mask covers from above: brightness goes from `above` at its top to `below` at its bottom."""
        left, top, width, height = cv2.boundingRect(self.mask)
        if width == 0:
            return
        rows, columns = slice(top, top + height), slice(left, left + width)
        factor = np.linspace(above, below, height, dtype=np.float32)[:, None, None]
        lit = np.clip(self.picture[rows, columns] * factor, 0, 255).astype(np.uint8)
        cv2.copyTo(lit, self.mask[rows, columns], self.picture[rows, columns])


class Pen:
    """Draws one object in metres at its place on a canvas.

    Args:
        canvas: where to draw.
        x, y: pixels of the object's left end and of the ground it stands on.
        scale: pixels a metre.
        mirrored_length: the object's length in metres if it is to be drawn mirrored, with its x axis from right to
            left; None otherwise.
        haze: 0 for near things, towards 1 for things that fade into the air.
    """

    def __init__(
        self, canvas: Canvas, x: float, y: float, scale: float, mirrored_length: float | None = None, haze: float = 0.0
    ) -> None:
        self.canvas = canvas
        self.scale, self.haze = scale, haze
        step = scale if mirrored_length is None else -scale  # pixels to the right for a metre along the object
        left_end = x if mirrored_length is None else x + mirrored_length * scale
        self._origin = tuple(ONE * place for place in canvas.turned(left_end, y))
        self._along = ONE * step * cos(canvas.tilt), ONE * step * sin(canvas.tilt)
        self._up = ONE * scale * sin(canvas.tilt), -ONE * scale * cos(canvas.tilt)

    def _pixel(self, x: float, y: float) -> tuple[int, int]:
        (x0, y0), (along_x, along_y), (up_x, up_y) = self._origin, self._along, self._up
        return round(x0 + x * along_x + y * up_x), round(y0 + x * along_y + y * up_y)

    def _seen(self, colour: Colour, glows: bool) -> tuple[int, int, int]:
        """What a colour looks like in the canvas's light and through its air."""
        light = (1.0, 1.0, 1.0) if glows else self.canvas.light
        near = tuple(min(255, round(c * f)) for c, f in zip(colour, light, strict=True))
        return mix(near, self.canvas.air, self.haze)  # type: ignore[arg-type]

    def shape(self, points: Points, colour: Colour, glows: bool = False) -> None:
        """Fill a polygon."""
        corners = np.array([self._pixel(x, y) for x, y in points], dtype=np.int32)
        self.canvas.corners.append(corners)
        cv2.fillPoly(self.canvas.picture, [corners], self._seen(colour, glows), cv2.LINE_8, _SUBPIXEL_BITS)
        cv2.fillPoly(self.canvas.mask, [corners], 255, cv2.LINE_8, _SUBPIXEL_BITS)

    def box(
        self,
        left: float,
        bottom: float,
        right: float,
        top: float,
        colour: Colour,
        radius: float = 0,
        glows: bool = False,
    ) -> None:
        """Fill a rectangle, its corners rounded by `radius`."""
        if radius == 0:
            self.shape([(left, bottom), (right, bottom), (right, top), (left, top)], colour, glows)
            return
        radius = min(radius, (right - left) / 2, (top - bottom) / 2)
        centres = [
            (right - radius, top - radius),
            (left + radius, top - radius),
            (left + radius, bottom + radius),
            (right - radius, bottom + radius),
        ]
        turns = np.linspace(0, np.pi / 2, 5)
        outline = [
            (
                float(cx + radius * np.cos(turn + corner * np.pi / 2)),
                float(cy + radius * np.sin(turn + corner * np.pi / 2)),
            )
            for corner, (cx, cy) in enumerate(centres)
            for turn in turns
        ]
        self.shape(outline, colour, glows)

    def disc(self, x: float, y: float, radius: float, colour: Colour, glows: bool = False) -> None:
        """Fill a circle."""
        size = round(radius * self.scale * ONE)
        centre = self._pixel(x, y)
        self.canvas.corners.append(np.array([centre], dtype=np.int32) + size * np.array([[-1, -1], [1, 1]], np.int32))
        cv2.circle(self.canvas.picture, centre, size, self._seen(colour, glows), -1, cv2.LINE_8, _SUBPIXEL_BITS)
        cv2.circle(self.canvas.mask, centre, size, 255, -1, cv2.LINE_8, _SUBPIXEL_BITS)

    def line(self, points: Points, width: float, colour: Colour) -> None:
        """Draw an open line, `width` metres thick and never thinner than a quarter of a pixel of the final picture."""
        corners = np.array([self._pixel(x, y) for x, y in points], dtype=np.int32)
        thick = max(1, round(width * self.scale))
        cv2.polylines(
            self.canvas.picture, [corners], False, self._seen(colour, False), thick, cv2.LINE_8, _SUBPIXEL_BITS
        )
        cv2.polylines(self.canvas.mask, [corners], False, 255, thick, cv2.LINE_8, _SUBPIXEL_BITS)
