"""Outlines in the unit square: closed polygons as float64 arrays of shape (points, 2), y pointing down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

Outline = npt.NDArray[np.float64]
Point = tuple[float, float]


def polygon(*points: Point) -> Outline:
    """Return the corners as an array."""
    return np.array(points, dtype=np.float64)


def rounded(*points: Point, rounds: int = 3) -> Outline:
    """Cut the corners of a polygon `rounds` times (Chaikin); give a corner twice to keep it sharper."""
    outline = polygon(*points)
    for _ in range(rounds):
        following = np.roll(outline, -1, axis=0)
        cut = np.stack([0.75 * outline + 0.25 * following, 0.25 * outline + 0.75 * following], axis=1)
        outline = cut.reshape(-1, 2)
    return outline


def _softened(path: Outline, rounds: int = 3) -> Outline:
    """Cut the inner corners of an open path; both ends stay where they are."""
    for _ in range(rounds):
        near = 0.75 * path[:-1] + 0.25 * path[1:]
        far = 0.25 * path[:-1] + 0.75 * path[1:]
        inner = np.stack([near, far], axis=1).reshape(-1, 2)[1:-1]
        path = np.concatenate([path[:1], inner, path[-1:]])
    return path


def ellipse(x: float, y: float, across: float, down: float, *, start: float = 0, stop: float = 360) -> Outline:
    """Make an ellipse by centre and half axes, or the slice of it between two angles (degrees, clockwise)."""
    angle = np.radians(np.linspace(start, stop, 49))
    return np.stack([x + across * np.cos(angle), y + down * np.sin(angle)], axis=1)


def box(left: float, top: float, right: float, bottom: float, radius: float = 0.02) -> Outline:
    """Make a rectangle with round corners."""
    corners = [
        (right - radius, bottom - radius, 0.0),
        (left + radius, bottom - radius, 90.0),
        (left + radius, top + radius, 180.0),
        (right - radius, top + radius, 270.0),
    ]
    return np.concatenate([ellipse(x, y, radius, radius, start=at, stop=at + 90)[::8] for x, y, at in corners])


def stroke(points: Sequence[Point], width: float, soft: bool = True) -> Outline:
    """Draw a line of even width along the points, its corners softened unless told otherwise."""
    path = polygon(*points)
    if soft and len(path) > 2:
        path = _softened(path)
    along = np.gradient(path, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    aside = np.stack([-along[:, 1], along[:, 0]], axis=1) * width / 2
    return np.concatenate([path + aside, (path - aside)[::-1]])


def turned(*profile: Point, axis: float = 0.5) -> Outline:
    """Make a body of revolution seen from the side: `profile` lists (y, radius) from top to bottom."""
    right = _softened(polygon(*[(axis + radius, y) for y, radius in profile]))
    left = np.stack([2 * axis - right[:, 0], right[:, 1]], axis=1)
    return np.concatenate([right, left[::-1]])
