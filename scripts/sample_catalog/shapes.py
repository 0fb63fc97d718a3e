"""What each kind of product looks like: parts in the order they are painted, in the unit square."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from .outlines import Outline, box, ellipse, polygon, rounded, stroke, turned

if TYPE_CHECKING:
    from collections.abc import Callable

Tone = Literal["main", "plain", "dark", "light", "inside", "metal", "wood", "white"]


@dataclass(frozen=True)
class Part:
    """One painted piece. Only `main` carries the pattern; the other tones are solid."""

    outline: Outline
    tone: Tone = "main"
    hole: Outline | None = None


def mug() -> list[Part]:
    """Show a straight mug with a round handle and something dark in it."""
    body = rounded(
        (0.17, 0.2), (0.17, 0.2), (0.19, 0.8), (0.25, 0.86), (0.62, 0.86), (0.68, 0.8), (0.7, 0.2),
        (0.7, 0.2),
    )  # fmt: skip
    return [
        Part(ellipse(0.7, 0.5, 0.2, 0.2), "plain", ellipse(0.7, 0.5, 0.125, 0.125)),
        Part(body),
        Part(ellipse(0.435, 0.2, 0.263, 0.062), "light"),
        Part(ellipse(0.435, 0.205, 0.225, 0.043), "inside"),
    ]


def t_shirt() -> list[Part]:
    """Show a short-sleeved T-shirt laid flat."""
    body = rounded(
        (0.37, 0.12), (0.37, 0.12), (0.24, 0.18), (0.03, 0.38), (0.03, 0.38), (0.15, 0.52), (0.15, 0.52),
        (0.27, 0.42), (0.27, 0.42), (0.27, 0.9), (0.27, 0.9), (0.73, 0.9), (0.73, 0.9), (0.73, 0.42),
        (0.73, 0.42), (0.85, 0.52), (0.85, 0.52), (0.97, 0.38), (0.97, 0.38), (0.76, 0.18), (0.63, 0.12),
        (0.63, 0.12), (0.58, 0.2), (0.42, 0.2), rounds=2,
    )  # fmt: skip
    collar = [(0.37, 0.125), (0.41, 0.2), (0.5, 0.235), (0.59, 0.2), (0.63, 0.125)]
    return [
        Part(ellipse(0.5, 0.13, 0.125, 0.03), "inside"),
        Part(body),
        Part(stroke(collar, 0.038), "dark"),
        Part(stroke([(0.28, 0.872), (0.72, 0.872)], 0.012), "dark"),
    ]


def sneaker() -> list[Part]:
    """Show a low sneaker from the side, with a white sole, toe and laces."""
    upper = rounded(
        (0.06, 0.34), (0.06, 0.34), (0.04, 0.72), (0.04, 0.72), (0.96, 0.74), (0.96, 0.74), (0.97, 0.58),
        (0.82, 0.54), (0.62, 0.46), (0.46, 0.27), (0.42, 0.25), (0.36, 0.33), (0.26, 0.4), (0.16, 0.36),
        (0.1, 0.3),
    )  # fmt: skip
    laces = [((0.43, 0.36), (0.53, 0.29)), ((0.5, 0.43), (0.6, 0.36)), ((0.57, 0.49), (0.67, 0.42))]
    return [
        Part(rounded((0.3, 0.36), (0.4, 0.18), (0.46, 0.2), (0.64, 0.46), (0.5, 0.5)), "dark"),
        Part(upper),
        Part(rounded((0.76, 0.75), (0.78, 0.56), (0.88, 0.55), (0.99, 0.6), (0.98, 0.76)), "white"),
        Part(rounded((0.03, 0.42), (0.13, 0.42), (0.17, 0.72), (0.03, 0.72)), "dark"),
        Part(box(0.02, 0.7, 0.99, 0.81, 0.05), "white"),
        Part(stroke([(0.03, 0.765), (0.98, 0.765)], 0.014), "plain"),
        *[Part(stroke(ends, 0.03), "white") for ends in laces],
    ]


def lamp() -> list[Part]:
    """Show a table lamp with a wide shade on a wooden foot."""
    shade = rounded(
        (0.34, 0.08), (0.34, 0.08), (0.14, 0.52), (0.14, 0.52), (0.86, 0.52), (0.86, 0.52), (0.66, 0.08),
        (0.66, 0.08), rounds=2,
    )  # fmt: skip
    return [
        Part(box(0.475, 0.44, 0.525, 0.84, 0.01), "wood"),
        Part(turned((0.8, 0.03), (0.83, 0.1), (0.88, 0.2), (0.93, 0.2), (0.93, 0.2)), "wood"),
        Part(stroke([(0.63, 0.5), (0.63, 0.63)], 0.01), "metal"),
        Part(ellipse(0.63, 0.645, 0.018, 0.018), "metal"),
        Part(shade),
        Part(stroke([(0.345, 0.09), (0.655, 0.09)], 0.022), "dark"),
        Part(stroke([(0.155, 0.51), (0.845, 0.51)], 0.024), "dark"),
    ]


def backpack() -> list[Part]:
    """Show a backpack from the front, with a zipped pocket."""
    body = rounded(
        (0.2, 0.92), (0.2, 0.92), (0.18, 0.4), (0.22, 0.14), (0.4, 0.1), (0.6, 0.1), (0.78, 0.14),
        (0.82, 0.4), (0.8, 0.92), (0.8, 0.92),
    )  # fmt: skip
    return [
        Part(ellipse(0.5, 0.11, 0.1, 0.09), "dark", ellipse(0.5, 0.11, 0.06, 0.05)),
        Part(rounded((0.21, 0.3), (0.09, 0.4), (0.08, 0.84), (0.14, 0.88), (0.24, 0.86)), "dark"),
        Part(rounded((0.79, 0.3), (0.91, 0.4), (0.92, 0.84), (0.86, 0.88), (0.76, 0.86)), "dark"),
        Part(body),
        Part(stroke([(0.25, 0.42), (0.3, 0.2), (0.5, 0.165), (0.7, 0.2), (0.75, 0.42)], 0.018), "inside"),
        Part(box(0.27, 0.54, 0.73, 0.87, 0.06), "plain"),
        Part(stroke([(0.3, 0.63), (0.7, 0.63)], 0.018), "inside"),
        Part(box(0.64, 0.625, 0.672, 0.7, 0.012), "metal"),
    ]


def chair() -> list[Part]:
    """Show an upholstered chair on four wooden legs."""

    def leg(top: float, foot: float, length: float) -> Outline:
        return polygon((top - 0.025, 0.6), (top + 0.025, 0.6), (foot + 0.015, length), (foot - 0.015, length))

    return [
        Part(leg(0.34, 0.33, 0.86), "wood"),
        Part(leg(0.66, 0.67, 0.86), "wood"),
        Part(leg(0.24, 0.18, 0.96), "wood"),
        Part(leg(0.76, 0.82, 0.96), "wood"),
        Part(rounded((0.28, 0.05), (0.24, 0.12), (0.28, 0.54), (0.72, 0.54), (0.76, 0.12), (0.72, 0.05))),
        Part(rounded((0.26, 0.5), (0.17, 0.6), (0.17, 0.69), (0.83, 0.69), (0.83, 0.6), (0.74, 0.5), rounds=2)),
        Part(stroke([(0.18, 0.645), (0.82, 0.645)], 0.012), "dark"),
    ]


def teapot() -> list[Part]:
    """Show a round teapot with spout, handle and lid."""
    spout = rounded((0.3, 0.52), (0.14, 0.4), (0.1, 0.3), (0.02, 0.3), (0.06, 0.5), (0.18, 0.72), (0.34, 0.76))
    return [
        Part(ellipse(0.8, 0.54, 0.18, 0.19), "plain", ellipse(0.8, 0.54, 0.125, 0.13)),
        Part(spout, "plain"),
        Part(box(0.36, 0.8, 0.66, 0.87, 0.02), "dark"),
        Part(ellipse(0.51, 0.58, 0.31, 0.27)),
        Part(ellipse(0.51, 0.34, 0.18, 0.075, start=180, stop=360), "light"),
        Part(ellipse(0.51, 0.235, 0.045, 0.045), "dark"),
    ]


def vase() -> list[Part]:
    """Show a bellied vase with a narrow neck."""
    profile = (
        (0.06, 0.17), (0.1, 0.13), (0.22, 0.1), (0.32, 0.14), (0.4, 0.27), (0.5, 0.34), (0.6, 0.36),
        (0.72, 0.31), (0.84, 0.2), (0.9, 0.15), (0.94, 0.17),
    )  # fmt: skip
    return [
        Part(turned(*profile)),
        Part(ellipse(0.5, 0.065, 0.172, 0.04), "light"),
        Part(ellipse(0.5, 0.068, 0.135, 0.025), "inside"),
    ]


def umbrella() -> list[Part]:
    """Show an open umbrella with a hooked handle."""
    dome = ellipse(0.5, 0.5, 0.47, 0.4, start=180, stop=360)
    scallops = [ellipse(0.97 - 0.235 * i - 0.1175, 0.5, 0.1175, 0.045, start=0, stop=-180) for i in range(4)]
    canopy = Part(_joined(dome, *scallops))
    ribs = [[(0.5, 0.1), (0.5 + 0.6 * x, 0.22), (0.5 + x, 0.49)] for x in (-0.235, 0.0, 0.235)]
    handle = [(0.5, 0.45), (0.5, 0.84), (0.5, 0.95), (0.63, 0.97), (0.64, 0.84)]
    return [
        Part(stroke(handle, 0.034), "wood"),
        Part(stroke([(0.5, 0.04), (0.5, 0.14)], 0.022), "metal"),
        canopy,
        *[Part(stroke(rib, 0.01), "dark") for rib in ribs],
    ]


def cap() -> list[Part]:
    """Show a baseball cap from the side."""
    brim = rounded(
        (0.44, 0.66), (0.44, 0.66), (0.66, 0.57), (0.9, 0.62), (1.0, 0.74), (0.98, 0.79), (0.8, 0.74),
        (0.5, 0.76),
    )  # fmt: skip
    dome = rounded(
        (0.05, 0.72), (0.05, 0.72), (0.06, 0.36), (0.26, 0.18), (0.5, 0.18), (0.7, 0.32), (0.74, 0.64),
        (0.74, 0.64), (0.4, 0.7),
    )  # fmt: skip
    return [
        Part(dome),
        Part(stroke([(0.39, 0.215), (0.54, 0.4), (0.56, 0.66)], 0.012), "dark"),
        Part(stroke([(0.39, 0.215), (0.2, 0.36), (0.17, 0.69)], 0.012), "dark"),
        Part(ellipse(0.39, 0.205, 0.04, 0.024), "dark"),
        Part(brim, "plain"),
        Part(stroke([(0.06, 0.7), (0.4, 0.695), (0.74, 0.63)], 0.026), "dark"),
    ]


def cushion() -> list[Part]:
    """Show a square cushion with a piped edge and a button."""
    edge = rounded(
        (0.06, 0.06), (0.06, 0.06), (0.5, 0.13), (0.94, 0.06), (0.94, 0.06), (0.87, 0.5), (0.94, 0.94),
        (0.94, 0.94), (0.5, 0.87), (0.06, 0.94), (0.06, 0.94), (0.13, 0.5),
    )  # fmt: skip
    return [
        Part(0.5 + (edge - 0.5) * 1.05, "dark"),
        Part(edge),
        Part(ellipse(0.5, 0.5, 0.04, 0.04), "dark"),
    ]


def tote_bag() -> list[Part]:
    """Show a wide bag with two handles."""
    back = [(0.35, 0.44), (0.36, 0.16), (0.5, 0.06), (0.64, 0.16), (0.65, 0.44)]
    front = [(0.31, 0.46), (0.33, 0.2), (0.5, 0.12), (0.67, 0.2), (0.69, 0.46)]
    body = rounded(
        (0.14, 0.36), (0.14, 0.36), (0.14, 0.36), (0.1, 0.94), (0.1, 0.94), (0.9, 0.94), (0.9, 0.94),
        (0.86, 0.36), (0.86, 0.36), (0.86, 0.36), rounds=2,
    )  # fmt: skip
    return [
        Part(stroke(back, 0.035), "inside"),
        Part(body),
        Part(stroke([(0.14, 0.385), (0.86, 0.385)], 0.04), "dark"),
        Part(stroke(front, 0.042), "dark"),
    ]


def dress() -> list[Part]:
    """Show a sleeveless dress with a flared skirt and a belt."""
    bodice = rounded(
        (0.36, 0.05), (0.36, 0.05), (0.4, 0.05), (0.43, 0.18), (0.5, 0.22), (0.57, 0.18), (0.6, 0.05),
        (0.64, 0.05), (0.64, 0.05), (0.66, 0.22), (0.6, 0.42), (0.6, 0.42), (0.4, 0.42), (0.4, 0.42),
        (0.34, 0.22), rounds=2,
    )  # fmt: skip
    skirt = rounded(
        (0.4, 0.4), (0.4, 0.4), (0.26, 0.62), (0.1, 0.9), (0.1, 0.9), (0.3, 0.95), (0.5, 0.96), (0.7, 0.95),
        (0.9, 0.9), (0.9, 0.9), (0.74, 0.62), (0.6, 0.4), (0.6, 0.4), rounds=2,
    )  # fmt: skip
    folds = [[(0.46, 0.46), (0.4, 0.93)], [(0.54, 0.46), (0.61, 0.93)]]
    return [
        Part(bodice),
        Part(skirt),
        *[Part(stroke(fold, 0.01), "dark") for fold in folds],
        Part(box(0.385, 0.385, 0.615, 0.44, 0.015), "dark"),
    ]


def sock() -> list[Part]:
    """Show a sock with a ribbed cuff, heel and toe."""
    leg = rounded(
        (0.28, 0.06), (0.28, 0.06), (0.28, 0.06), (0.66, 0.06), (0.66, 0.06), (0.66, 0.06), (0.66, 0.5),
        (0.68, 0.78), (0.56, 0.94), (0.1, 0.95), (0.03, 0.86), (0.06, 0.74), (0.26, 0.62), (0.28, 0.5),
        rounds=2,
    )  # fmt: skip
    return [
        Part(leg),
        Part(rounded((0.665, 0.58), (0.69, 0.8), (0.6, 0.92), (0.47, 0.86), (0.52, 0.66)), "dark"),
        Part(
            rounded((0.2, 0.955), (0.07, 0.955), (0.02, 0.84), (0.08, 0.735), (0.19, 0.69), (0.23, 0.84)),
            "dark",
        ),
        Part(box(0.265, 0.04, 0.675, 0.15, 0.03), "dark"),
        *[Part(stroke([(x, 0.055), (x, 0.135)], 0.01), "plain") for x in (0.33, 0.4, 0.47, 0.54, 0.61)],
    ]


def bottle() -> list[Part]:
    """Show a bottle with a metal cap."""
    profile = (
        (0.16, 0.1), (0.2, 0.1), (0.25, 0.12), (0.31, 0.23), (0.42, 0.23), (0.9, 0.23), (0.94, 0.22),
        (0.94, 0.1),
    )  # fmt: skip
    return [
        Part(box(0.41, 0.02, 0.59, 0.14, 0.03), "metal"),
        Part(turned(*profile)),
        Part(box(0.385, 0.13, 0.615, 0.19, 0.015), "dark"),
    ]


def bowl() -> list[Part]:
    """Show a deep bowl, seen a little from above."""
    return [
        Part(box(0.33, 0.77, 0.67, 0.86, 0.02), "dark"),
        Part(
            _joined(
                ellipse(0.5, 0.33, 0.46, 0.48, start=0, stop=180),
                ellipse(0.5, 0.33, 0.46, 0.09, start=180, stop=360),
            )
        ),
        Part(ellipse(0.5, 0.33, 0.46, 0.12), "light"),
        Part(ellipse(0.5, 0.335, 0.41, 0.092), "inside"),
    ]


def _joined(*outlines: Outline) -> Outline:
    """Put several open curves one after another as one outline."""
    return np.concatenate(outlines)


KINDS: dict[str, Callable[[], list[Part]]] = {
    "mug": mug,
    "t-shirt": t_shirt,
    "sneaker": sneaker,
    "lamp": lamp,
    "backpack": backpack,
    "chair": chair,
    "teapot": teapot,
    "vase": vase,
    "umbrella": umbrella,
    "cap": cap,
    "cushion": cushion,
    "tote bag": tote_bag,
    "dress": dress,
    "sock": sock,
    "bottle": bottle,
    "bowl": bowl,
}
