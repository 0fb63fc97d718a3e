"""Colour, pattern, material, light and background: turns the outlines of a product into an image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from .shapes import KINDS, Part, Tone

if TYPE_CHECKING:
    from .outlines import Outline

Floats = npt.NDArray[np.float32]
Rgb = tuple[int, int, int]

# Each colour with the accent its stripes, dots and checks are drawn in. The accent of white is a warm tan:
# a grey or a black one would make a white striped product look like a grey or a black striped one.
COLOURS: dict[str, tuple[Rgb, Rgb]] = {
    "red": ((206, 34, 42), (255, 226, 222)),
    "orange": ((243, 128, 22), (255, 238, 214)),
    "yellow": ((247, 208, 44), (255, 251, 222)),
    "green": ((44, 140, 66), (222, 245, 218)),
    "turquoise": ((48, 196, 196), (226, 252, 250)),
    "blue": ((34, 76, 190), (220, 230, 255)),
    "purple": ((122, 56, 168), (238, 222, 252)),
    "pink": ((244, 130, 178), (255, 236, 244)),
    "brown": ((116, 70, 40), (240, 222, 198)),
    "black": ((34, 34, 38), (214, 214, 218)),
    "grey": ((136, 140, 146), (236, 238, 240)),
    "white": ((244, 244, 240), (190, 152, 104)),
}
PATTERNS = ("plain", "striped", "dotted", "checked")
BACKDROPS: tuple[Rgb, ...] = (
    (222, 216, 206), (200, 211, 222), (208, 218, 202), (230, 208, 200), (214, 206, 226), (186, 190, 196),
    (228, 218, 188), (172, 186, 196), (196, 178, 160), (150, 166, 160),
)  # fmt: skip
SCENES = ("flat", "gradient", "glow", "table", "disc")
FIXED_TONES: dict[Tone, Rgb] = {"metal": (188, 192, 198), "wood": (176, 128, 82), "white": (238, 237, 232)}


@dataclass(frozen=True)
class Finish:
    """How a material takes the light: `gloss` and `grain` both run from 0 to 1."""

    gloss: float
    grain: float


FINISHES: dict[str, Finish] = {
    "ceramic": Finish(0.75, 0.0), "porcelain": Finish(0.9, 0.0), "enamel": Finish(0.6, 0.0),
    "glass": Finish(1.0, 0.0), "steel": Finish(0.8, 0.1), "cotton": Finish(0.0, 0.35),
    "linen": Finish(0.0, 0.6), "wool": Finish(0.0, 0.9), "canvas": Finish(0.05, 0.55),
    "leather": Finish(0.4, 0.3), "suede": Finish(0.05, 0.5),
    "nylon": Finish(0.3, 0.1), "polyester": Finish(0.25, 0.15), "velvet": Finish(0.2, 0.3),
    "paper": Finish(0.05, 0.15), "denim": Finish(0.0, 0.7),
}  # fmt: skip


@dataclass(frozen=True)
class View:
    """The product's place on the canvas: turned, scaled and moved; `matrix` maps unit coordinates to pixels."""

    matrix: npt.NDArray[np.float64]
    centre: npt.NDArray[np.float64]

    def pixels(self, outline: Outline) -> Outline:
        """Map unit coordinates (n, 2) to canvas pixels (n, 2)."""
        return (outline - 0.5) @ self.matrix.T + self.centre

    def unit(self, side: int) -> tuple[Floats, Floats]:
        """Return the unit coordinates u and v of every canvas pixel, two (side, side) float32 arrays."""
        inverse = np.linalg.inv(self.matrix).astype(np.float32)
        across = np.arange(side, dtype=np.float32) - np.float32(self.centre[0])
        down = (np.arange(side, dtype=np.float32) - np.float32(self.centre[1]))[:, None]
        u = inverse[0, 0] * across + inverse[0, 1] * down + np.float32(0.5)
        v = inverse[1, 0] * across + inverse[1, 1] * down + np.float32(0.5)
        return u, v


def random_view(side: int, rng: np.random.Generator) -> View:
    """Place the product wholly on the canvas: turned up to 13 degrees, 70 to 85 percent of the side."""
    angle = np.radians(rng.uniform(-13, 13))
    scale = side * rng.uniform(0.70, 0.85)
    mirror = rng.choice((-1.0, 1.0))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = side * (0.5 + rng.uniform(-0.04, 0.04, 2))
    return View(turn @ np.diag([mirror, 1.0]) * scale, centre)


def accent_share(pattern: str, u: Floats, v: Floats, rng: np.random.Generator) -> Floats:
    """Return how much of the accent colour shows at each point of the product, 0 to 1, in the shape of `u`."""
    step = np.float32(rng.uniform(0.125, 0.155))
    shift = rng.uniform(0, step, 2).astype(np.float32)
    across: Floats = (u + shift[0]) / step
    down: Floats = (v + shift[1]) / step
    if pattern == "striped":
        return (down % 1 > 0.56).astype(np.float32)
    if pattern == "dotted":
        row = np.floor(down)
        x = (across + 0.5 * (row % 2)) % 1 - 0.5
        y = down % 1 - 0.5
        return (x * x + y * y < 0.29**2).astype(np.float32)
    if pattern == "checked":
        column = across * 0.8 % 1 > 0.5
        return (0.5 * column + 0.5 * (down * 0.8 % 1 > 0.5)).astype(np.float32)
    return np.zeros_like(u)


def tone_colour(tone: Tone, base: Floats) -> Floats:
    """Return the solid colour of a part (RGB float32, 0 to 255), mostly from the product's own colour."""
    if tone in FIXED_TONES:
        return np.array(FIXED_TONES[tone], dtype=np.float32)
    if tone == "dark":
        return base * np.float32(0.72) + np.float32(6)
    if tone == "light":
        return base * np.float32(0.82) + np.float32(46)
    if tone == "inside":
        return base * np.float32(0.42) + np.float32(14)
    return base


@cache
def parts_of(kind: str) -> tuple[Part, ...]:
    """Build the parts of a kind; the outlines never change, so they are built once."""
    return tuple(KINDS[kind]())


def part_mask(part: Part, view: View, side: int) -> Image.Image:
    """Draw the part's silhouette as an 8-bit mask of the whole canvas."""
    mask = Image.new("L", (side, side), 0)
    pen = ImageDraw.Draw(mask)
    pen.polygon([tuple(p) for p in view.pixels(part.outline).tolist()], fill=255)
    if part.hole is not None:
        pen.polygon([tuple(p) for p in view.pixels(part.hole).tolist()], fill=0)
    return mask


def relief(mask: Image.Image, reach: float) -> Floats:
    """Light a rounded edge from the upper left: -1 in shadow to 1 in light, by the blurred silhouette."""
    soft = mask.filter(ImageFilter.GaussianBlur(reach))
    step = max(1, round(reach))
    towards = np.asarray(ImageChops.offset(soft, -step, -step), dtype=np.float32)
    away = np.asarray(ImageChops.offset(soft, step, step), dtype=np.float32)
    return (towards - away) / np.float32(255)


def paint_part(picture: Image.Image, mask: Image.Image, colour: Floats, finish: Finish, grain: Floats) -> None:
    """Light `colour` (RGB, or a canvas of it) by the part's relief; paste it through the mask, in place."""
    side = picture.width
    found = mask.getbbox()
    if found is None:
        return
    margin = max(3, side // 24)
    left, top = max(0, found[0] - margin), max(0, found[1] - margin)
    right, bottom = min(side, found[2] + margin), min(side, found[3] + margin)
    small = mask.crop((left, top, right, bottom))
    height, width = bottom - top, right - left
    edge = relief(small, side * 0.022)
    slope = np.linspace(0.09, -0.09, width, dtype=np.float32) + np.linspace(
        0.06, -0.1, height, dtype=np.float32
    ).reshape(-1, 1)
    light = 1 + slope + np.where(edge > 0, 0.16, 0.34).astype(np.float32) * edge
    light += grain[top:bottom, left:right] * np.float32(finish.grain)
    if colour.ndim == 3:
        colour = colour[top:bottom, left:right]
    lit = colour * light[..., None]
    shine = np.clip(edge - 0.25, 0, 1) ** 1.5 * np.float32(0.75 * finish.gloss)
    lit += (255 - lit) * shine[..., None]
    patch = Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))
    picture.paste(patch, (left, top), small)


def backdrop(base: Rgb, side: int, rng: np.random.Generator) -> Image.Image:
    """Make a quiet studio background whose colour stays away from the product's own."""
    tones = rng.permutation(np.array(BACKDROPS, dtype=np.float32))
    apart = np.abs(tones - np.array(base, dtype=np.float32)).sum(axis=1)
    tone = tones[np.argmax(apart > 90)] + rng.uniform(-8, 8, 3).astype(np.float32)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / np.float32(side)
    scene = rng.choice(SCENES)
    light = np.ones((side, side), dtype=np.float32)
    if scene == "gradient":
        light += np.float32(0.12) * (0.5 - y)
    elif scene == "glow":
        light += np.float32(0.1) - np.float32(0.35) * ((x - 0.5) ** 2 + (y - 0.45) ** 2)
    elif scene == "table":
        light += np.where(y > rng.uniform(0.62, 0.76), -0.09, 0.03).astype(np.float32)
    elif scene == "disc":
        light += np.where((x - 0.5) ** 2 + (y - 0.5) ** 2 < rng.uniform(0.34, 0.42) ** 2, 0.07, 0).astype(np.float32)
    return Image.fromarray(np.clip(tone * light[..., None], 0, 255).astype(np.uint8))


def cast_shadow(picture: Image.Image, silhouette: Image.Image) -> None:
    """Add a soft drop shadow to the lower right, in place."""
    side = picture.width
    step = round(side * 0.022)
    soft = ImageChops.offset(silhouette, step, round(step * 1.4)).filter(ImageFilter.GaussianBlur(side * 0.022))
    picture.paste((40, 36, 44), (0, 0), soft.point([round(0.42 * level) for level in range(256)]))


def draw(kind: str, colour: str, pattern: str, material: str, size: int, rng: np.random.Generator) -> Image.Image:
    """Make one drawing, RGB of `size` by `size` pixels; `rng` decides everything else."""
    side = size * (2 if size >= 128 else 3)  # painted larger and reduced, so that edges are smooth
    main, accent = COLOURS[colour]
    finish = FINISHES[material]
    # Varies more in lightness than in hue: white, grey and black would get a tint.
    shade = rng.uniform(-8, 8) + rng.uniform(-2.5, 2.5, 3)
    base = np.clip(np.array(main) + shade, 0, 255).astype(np.float32)
    view = random_view(side, rng)
    picture = backdrop(main, side, rng)
    masks = [(part, part_mask(part, view, side)) for part in parts_of(kind)]
    silhouette = Image.new("L", (side, side), 0)
    for _, mask in masks:
        silhouette = ImageChops.lighter(silhouette, mask)
    cast_shadow(picture, silhouette)
    share = accent_share(pattern, *view.unit(side), rng)[..., None]
    surface = base + share * (np.array(accent, dtype=np.float32) - base)
    cells = -(-side // 2)
    grain = rng.normal(0, 0.06, (cells, cells)).astype(np.float32).repeat(2, 0).repeat(2, 1)[:side, :side]
    for part, mask in masks:
        tone = surface if part.tone == "main" else tone_colour(part.tone, base)
        paint_part(picture, mask, tone, finish, grain)
    return picture.resize((size, size), Image.Resampling.BOX)
