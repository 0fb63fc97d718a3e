"""What the benchmarks share: two flags, a description of the machine, medians, and the JSON they write."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Figure: TypeAlias = str | float
Row: TypeAlias = "Mapping[str, Figure]"

ROOT = Path(__file__).parents[1]


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with --quick and --json; the program's docstring is its help."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="take less than a minute")
    made.add_argument("--json", type=Path, metavar="FILE", help="write rows and ratios to this file")
    return made


def machine(*packages: str) -> dict[str, Any]:
    """Return what the figures depend on: processor, cores, versions of Python and packages, and the date."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in packages},
        "date": datetime.now(UTC).date().isoformat(),
    }


def median(rows: Iterable[Row], name: str, **which: Figure) -> float:
    """Return the median of `name` over the rows that have the values `which`."""
    chosen = (row for row in rows if all(row.get(key) == value for key, value in which.items()))
    return statistics.median(float(row[name]) for row in chosen)


def finish(
    benchmark: str,
    rows: Sequence[Row],
    ratios: Row,
    path: Path | None,
    packages: Sequence[str] = (),
) -> None:
    """Print the rows as a table, then the ratios, and write both to `path` if given."""
    if rows:
        names = list(dict.fromkeys(name for row in rows for name in row))
        cells = [[_shown(row.get(name, "")) for name in names] for row in rows]
        widths = [max(len(name), *(len(line[at]) for line in cells)) for at, name in enumerate(names)]
        for line in (names, *cells):
            print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    for name, value in ratios.items():
        print(f"{name} = {_shown(value)}")
    if path:
        found = {"benchmark": benchmark, "machine": machine(*packages), "rows": rows, "ratios": ratios}
        path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _shown(value: object) -> str:
    return f"{value:,.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor()
    lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
