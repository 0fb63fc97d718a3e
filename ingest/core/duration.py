"""Durations as users write them: `30s`, `90 m`, `0.5h`, `7d`, `2w`."""

from __future__ import annotations

import re

from ingest.core.errors import ConfigError

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_duration(text: str, option: str) -> float:
    """Return a duration in seconds; raises ConfigError, naming the option."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([smhdw])", text.strip())
    if match is None:
        raise ConfigError(f"{option} {text}: not a duration; write a number and s, m, h, d or w, such as 7d")
    return float(match[1]) * _SECONDS[match[2]]
