"""Records a shop as a version of `ingest` leaves it: python tests/upgrade/record.py [COMMIT]; README.md says when."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from upgrade import baseline, nights, recording


def main(commit: str = baseline.COMMIT) -> None:
    """Fill a shop by the version at `commit`, and pack it into `recordings/`."""
    archive = Path(recording.__file__).parent / "recordings" / f"{commit}.tar.xz"
    with tempfile.TemporaryDirectory(prefix="ingest-record-") as place:
        cache, folder = Path(place) / "cache", Path(place) / "shop"
        cache.mkdir()
        folder.mkdir()
        with baseline.command_line(commit, cache, folder) as ingest:
            nights.fill(folder, ingest)
        recording.pack(folder, archive)
    print(f"{archive}: {archive.stat().st_size:,} bytes")  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
