"""Places for the names of points, so that no name lies on another, on a point or outside the axes."""

from __future__ import annotations

from collections.abc import Sequence

Box = tuple[float, float, float, float]
"""left, bottom, right, top, in inches."""

# Where a name stands relative to its point, best first: (horizontal, vertical) in -1, 0, 1.
_SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))


def place_names(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    frame: Box,
    *,
    radius: float,
    taken: Sequence[Box] = (),
) -> list[Box | None]:
    """A box for each name beside its point; None for a name that fits nowhere.

    Args:
        points: in inches.
        sizes: width and height of each name in inches.
        frame: what no name may leave.
        radius: of a point; names keep clear of all points.
        taken: boxes that are not free.
    """
    dots = [(x - radius, y - radius, x + radius, y + radius) for x, y in points]
    placed: list[Box] = list(taken)
    boxes: list[Box | None] = []
    for (x, y), (width, height) in zip(points, sizes, strict=True):
        found = None
        for reach in (radius, 2.2 * radius, 4.0 * radius):
            candidates = [_beside(x, y, width, height, reach, side) for side in _SIDES]
            found = next((box for box in candidates if _free(box, frame, dots, placed)), None)
            if found is not None:
                placed.append(found)
                break
        boxes.append(found)
    return boxes


def _beside(x: float, y: float, width: float, height: float, reach: float, side: tuple[int, int]) -> Box:
    across, up = side
    slant = 0.7 if across and up else 1.0
    gap = (reach * slant + 0.015) if across else 0.0
    lift = reach * slant if up else 0.0
    left = x + gap if across > 0 else x - gap - width if across < 0 else x - width / 2
    bottom = y + lift if up > 0 else y - lift - height if up < 0 else y - height / 2
    return left, bottom, left + width, bottom + height


def _free(box: Box, frame: Box, dots: Sequence[Box], placed: Sequence[Box]) -> bool:
    inside = box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]
    return inside and not any(_meet(box, other) for other in (*dots, *placed))


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
