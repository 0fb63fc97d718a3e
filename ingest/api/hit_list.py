"""The hits of a query: a list that is shown as a table, in a notebook with the products' images."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, overload

from ingest.core import escape, notebook
from ingest.core.wording import score
from ingest.search import hit_fields

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from ingest.core.settings import Settings
    from ingest.search.backend import Hit

_SIDE = 96  # pixels of an image in a notebook
_WITH_IMAGES = 50  # hits: their images take some 2 kB each of the notebook's file
_SHOWN = 60  # hits in a table
_CHARACTERS = 40
_COLUMNS = 160  # of a log


class Hits(Sequence["Hit"]):
    """The products that were found, best first. Images are shown if they are on this machine; nothing is downloaded."""

    def __init__(self, hits: Iterable[Hit], settings: Settings) -> None:
        self._hits = tuple(hits)
        self._settings = settings

    @overload
    def __getitem__(self, index: int) -> Hit: ...

    @overload
    def __getitem__(self, index: slice) -> Hits: ...

    def __getitem__(self, index: int | slice) -> Hit | Hits:
        """Return one hit, or some."""
        return Hits(self._hits[index], self._settings) if isinstance(index, slice) else self._hits[index]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._hits)

    def __eq__(self, other: object) -> bool:
        """Compare with other hits."""
        return isinstance(other, Hits) and self._hits == other._hits

    __hash__ = None  # type: ignore[assignment]  # metadata is a dict

    @property
    def ids(self) -> list[str]:
        """The product ids."""
        return [hit.product_id for hit in self._hits]

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return what the command prints with `--json`: product_id, score and the metadata of each."""
        return [
            {"product_id": hit.product_id, "score": round(hit.score, 6) + 0.0, **hit_fields.beside_own(hit.metadata)}
            for hit in self._hits
        ]

    def to_pandas(self) -> pd.DataFrame:
        """Return a DataFrame with the same columns."""
        import pandas as pd

        return pd.DataFrame(self.to_dicts(), columns=["product_id", "score", *self._names()])

    def __repr__(self) -> str:
        """Show a table."""
        if not self._hits:
            return "Hits(nothing found)"
        names = ["score", "product_id", *self._names(but="image")]
        rows = [names, *([self._cell(row.get(name)) for name in names] for row in self._rows())]
        widths = [max(len(row[column]) for row in rows) for column in range(len(names))]
        numbers = [all(isinstance(row.get(name), int | float | None) for row in self._rows()) for name in names]

        def line(row: Sequence[str]) -> str:
            cells = zip(row, widths, numbers, strict=True)
            return "  ".join(
                cell.rjust(width) if number else cell.ljust(width) for cell, width, number in cells
            ).rstrip()

        # As wide as the terminal, if there is one.
        most = shutil.get_terminal_size((_COLUMNS, 0)).columns
        lines = (text if len(text) <= most else f"{text[: most - 1]}…" for text in map(line, rows))
        return "\n".join([*lines, *self._rest()])

    def _repr_html_(self) -> str:
        """Show a table with images; it loads nothing."""
        if not self._hits:
            return "<p>nothing found</p>"
        names = ["score", "product_id", *self._names(but="image")]
        images = self._images()
        head = ["", *names] if any(images) else names
        rows = [[row.get(name) for name in names] for row in self._rows()]
        if any(images):
            rows = [[image, *row] for image, row in zip(images, rows, strict=True)]
        return notebook.table(head, rows) + "".join(f"<p>{line}</p>" for line in self._rest())

    def _rows(self) -> Iterable[dict[str, Any]]:
        for hit in self._hits[:_SHOWN]:
            yield {"score": score(hit.score), "product_id": hit.product_id, **hit_fields.beside_own(hit.metadata)}

    def _rest(self) -> list[str]:
        return [f"… and {len(self) - _SHOWN:,} more"] if len(self) > _SHOWN else []

    def _names(self, but: str = "") -> list[str]:
        metadata = (hit_fields.beside_own(hit.metadata) for hit in self._hits)
        return [name for name in dict.fromkeys(name for one in metadata for name in one) if name != but]

    def _cell(self, value: object) -> str:
        text = "" if value is None else escape.line(str(value))
        return text if len(text) <= _CHARACTERS else f"{text[: _CHARACTERS - 1]}…"

    def _images(self) -> list[bytes]:
        """Return a small JPEG of each hit that is shown, b"" where there is none here."""
        from ingest.images.decode.sandbox import Sandbox
        from ingest.search.product_images import ProductImages, jpeg, thumbnail

        found = []
        with ExitStack() as stack:
            images, sandbox = stack.enter_context(ProductImages(self._settings)), stack.enter_context(Sandbox())
            for hit in self._hits[:_WITH_IMAGES]:
                path = images.path(hit.product_id, str(hit.metadata.get("image") or ""))
                small = None if path is None else thumbnail(path, _SIDE, sandbox)
                found.append(b"" if small is None else jpeg(small))
        return found + [b""] * (min(len(self), _SHOWN) - len(found))
