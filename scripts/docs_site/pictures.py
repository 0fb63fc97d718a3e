"""The pictures in the documentation: the page over the sample catalog, in chromium, and what five searches find.

`python -m docs_site.pictures`, or `make pictures`. Look at them before you commit them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = {
    "page.png": ("?q=red+striped+mug", "Red striped enamel mug", 1200, 800),
    "collection.png": ("?tab=collection", "different images", 1200, 1060),
}
"""The address of each picture, what it must show, its width and its height in pixels."""
INGEST = [sys.executable, "-m", "ingest"]
CHROMIUM = (
    "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--lang=en-GB",
    "--force-color-profile=srgb", "--virtual-time-budget=20000",
)  # fmt: skip


def main() -> None:
    """Fill a collection from the sample in a folder of its own, serve it, and take the pictures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for one in ("products.csv", "images", "models"):
            copy = shutil.copytree if (ROOT / "data" / one).is_dir() else shutil.copy2
            (folder / "data").mkdir(exist_ok=True)
            copy(ROOT / "data" / one, folder / "data" / one)
        shutil.copy2(ROOT / "ingest.toml", folder)
        subprocess.run([*INGEST, "run", "--quiet"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        with serving(folder) as address:
            for picture, (query, expected, width, height) in PAGES.items():
                address_of_it = f"{address}{query}"
                shown = subprocess.run(
                    [*CHROMIUM, "--dump-dom", address_of_it], check=True, capture_output=True, text=True
                )
                if expected not in shown.stdout:
                    raise RuntimeError(f"{query} does not show {expected}")
                shot = [f"--window-size={width},{height}", f"--screenshot={DOCS / picture}", address_of_it]
                subprocess.run([*CHROMIUM, *shot], check=True, stderr=subprocess.DEVNULL)
        drawn = [sys.executable, str(ROOT / "scripts" / "draw_sample_searches.py"), "--data", str(folder / "data")]
        subprocess.run(drawn, cwd=ROOT, check=True)
    for picture in PAGES:
        print(f"docs/{picture}")


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Run `ingest serve` on a free port; yield its address, and stop it at the end."""
    service = subprocess.Popen([*INGEST, "serve", "--port", "0"], cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        assert service.stderr is not None
        found = next(filter(None, (re.search(r"serving at (\S+)", line) for line in service.stderr)))
        yield found[1]
    finally:
        service.terminate()
        service.wait()


if __name__ == "__main__":
    main()
