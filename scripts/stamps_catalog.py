"""A catalog of Debian's tuxpaint-stamps-default, as a shop's spreadsheet would have it: semicolons, captions, folders.

    python scripts/stamps_catalog.py FOLDER

FOLDER has the unpacked package's `stamps`; `stamps.csv` is written into it, one row for each of its 796 photographs.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

HEADER = ("Artikelnummer", "Bezeichnung", "Kategorie", "Foto", "Deutsch", "Français")
LANGUAGES = ("de", "fr")


def main(folder: Path) -> None:
    """Write the catalog of a folder."""
    images = sorted((folder / "stamps").rglob("*.png"))
    with (folder / "stamps.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(HEADER)
        for image in images:
            place = image.relative_to(folder)
            english, others = captions(image.with_suffix(".txt"))
            name = place.with_suffix("").as_posix().removeprefix("stamps/")
            category = " > ".join(place.parent.parts[1:])
            writer.writerow([name, english, category, place.as_posix(), *(others.get(one, "") for one in LANGUAGES)])
    print(f"{folder / 'stamps.csv'}: {len(images)} photographs")


def captions(path: Path) -> tuple[str, dict[str, str]]:
    """Return the English caption of a stamp, and those in other languages."""
    if not path.is_file():
        return "", {}
    first, *lines = path.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
    pairs = (line.partition("=")[::2] for line in lines)
    return first.strip(), {language.partition(".")[0]: caption.strip() for language, caption in pairs}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
