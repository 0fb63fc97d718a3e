"""Numbers and times as people read them: counts that agree with their noun, scores, sizes, and times to the minute."""

from __future__ import annotations

from datetime import UTC, datetime

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def quantity(number: int, noun: str, plural: str = "") -> str:
    """Return a number and its noun: `1 row`, `2,000 rows`; `plural` is for nouns that do not just add an s."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def score(value: float) -> str:
    """Return a similarity with three places, and never `-0.000`."""
    return f"{value:z.3f}"


def size(number: float) -> str:
    """Return a number of bytes in the unit that suits it: `312 B`, `4.0 MiB`."""
    for unit in _UNITS:
        if abs(number) < 1024 or unit == _UNITS[-1]:
            break
        number /= 1024
    return f"{number:,.0f} {unit}" if unit == "B" else f"{number:,.1f} {unit}"


def minute(time: str) -> str:
    """Return an ISO 8601 time as `2026-11-28 05:01 UTC`; a text that is none unchanged."""
    try:
        parsed = datetime.fromisoformat(time)
        return f"{parsed.astimezone(UTC).isoformat(' ')[:16]} UTC" if parsed.tzinfo else time
    except (ValueError, OverflowError):
        return time
