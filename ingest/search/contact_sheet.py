"""A contact sheet: hits with their images as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from ingest.core import escape, wording
from ingest.search import hit_fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ingest.search.backend import Hit

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1e; --quiet: #5f6368; --paper: #fff; --card: #f4f4f2; --line: #d9d9d6 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececea; --quiet: #a9adb3; --paper: #161618; --card: #222225; --line: #3a3a3e }
}
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 100rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.4 system-ui, sans-serif }
header { display: flex; gap: .75rem; align-items: center; margin: 1.5rem 0 .75rem }
header img { width: 4rem; height: 4rem; object-fit: contain; background: #fff; border-radius: .4rem }
h1, h2 { font-size: 1.25rem; margin: 0; overflow-wrap: anywhere }
h2, dd { unicode-bidi: plaintext }
p { margin: 0; color: var(--quiet) }
ol { list-style: none; margin: 0; padding: 0; display: grid; gap: .75rem;
  grid-template-columns: repeat(auto-fill, minmax(min(9.5rem, 100%), 1fr)) }
li { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; overflow: hidden; min-width: 0 }
li > img, li > .none { display: grid; place-items: center; width: 100%; aspect-ratio: 1; object-fit: contain;
  background: #fff; color: #5f6368 }
dl { margin: .5rem .6rem .6rem; font-size: .8125rem; overflow-wrap: anywhere }
dt { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) }
dd { margin: 0; color: var(--quiet) }
dd.product_id, dd.title { color: var(--ink); font-weight: 600 }
"""


class Section:
    """A query's hits, with their images as JPEGs in the same order, b"" for none.

    `heading` describes the query; `query_image` is its own image as a JPEG, b"" for none.
    """

    def __init__(self, heading: str, hits: Sequence[Hit], images: Sequence[bytes], query_image: bytes = b"") -> None:
        self._heading = heading
        self._hits = hits
        self._images = images
        self._query_image = query_image

    def html(self) -> Iterable[str]:
        """Yield its markup."""
        count = wording.quantity(len(self._hits), "product") if self._hits else "nothing found"
        query = f'<img src="{_uri(self._query_image)}" alt="the query\'s image">' if self._query_image else ""
        heading = f"<h2>{escape.html_text(self._heading)}</h2>"
        yield f"<section><header>{query}<div>{heading}<p>{count}</p></div></header><ol>"
        for hit, image in zip(self._hits, self._images, strict=True):
            title = escape.html_text(str(hit.metadata.get("title") or hit.product_id))
            shown = f'<img src="{_uri(image)}" alt="{title}">' if image else '<span class="none">no image</span>'
            yield f"<li>{shown}<dl>{''.join(_facts(hit))}</dl></li>"
        yield "</ol></section>"


def page(sections: Iterable[Section]) -> str:
    """Return the whole page: it has no scripts and loads nothing."""
    body = "\n".join(line for section in sections for line in section.html())
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>ingest search</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>Search results</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _facts(hit: Hit) -> Iterable[str]:
    own = [("score", wording.score(hit.score)), ("product_id", hit.product_id)]
    facts: list[tuple[str, object]] = [*own, *hit_fields.beside_own(hit.metadata).items()]
    for name, value in facts:
        if value not in (None, "") and name != "image":
            label = escape.html_text(name)
            yield f'<dt>{label}</dt><dd class="{label}">{escape.html_text(str(value))}</dd>'


def _uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
