"""Prints hits as a table (with thumbnails if the terminal can show them), JSON, CSV or a contact sheet."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ingest.cli import help_groups, options
from ingest.cli.output import column_widths
from ingest.cli.param_types import PathOrUrl
from ingest.core import display, escape, wording
from ingest.core.errors import ConfigError
from ingest.search import hit_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ingest.core.settings import Settings
    from ingest.search.backend import Hit
    from ingest.search.product_images import ProductImages

_SHOWN_CHARACTERS = 48
_LEAST_ID, _LEAST_TEXT = 24, 8  # columns of the terminal, where it is narrow
_UNLIMITED = 1000  # columns of a file
_TERMINAL_SIDE, _SHEET_SIDE = 160, 320  # pixels
_COLUMNS = 8  # width of a thumbnail in the terminal


def _flag(*names: str, **kwargs: Any) -> Callable[[help_groups.F], help_groups.F]:
    return click.option(*names, cls=help_groups.Grouped, group="Output", **kwargs)


_PATH = click.Path(path_type=Path)
places = help_groups.combine(
    help_groups.option(
        "Images", "--catalog", "-c", type=PathOrUrl(), metavar="PLACE",
        help="Catalog whose folder holds the images of the hits.",
    ),
    help_groups.option("Images", "--images-root", type=_PATH, help="Folder that holds the images of the hits."),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class HitsOutput:
    """How to print hits; `pictures` is None for thumbnails if the terminal can show them."""

    as_json: bool
    as_csv: bool
    html: Path | None
    pictures: bool | None

    def check(self) -> None:
        """Raise UsageError if two output formats are requested."""
        if self.as_json and self.as_csv:
            raise click.UsageError("Give one of --json and --csv.")


output = help_groups.bundle(
    "output",
    HitsOutput,
    options.as_json,
    _flag("--csv", "as_csv", is_flag=True, help="Print CSV with a header."),
    _flag("--html", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
          help="Write a contact sheet: one self-contained HTML file."),
    _flag(
        "--pictures/--no-pictures", default=None, show_default="if the terminal can show them",
        help="Thumbnails in the table; needs ingest[pictures].",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The hits of one query; `name` describes the query, `asked` is its image if it had one."""

    name: str
    hits: Sequence[Hit]
    asked: object = None


def show(found: Sequence[SearchResult], settings: Settings, output: HitsOutput, *, several: bool) -> None:
    """Print the hits; with `several`, the output names the query of each."""
    if output.html is not None:
        _write_sheet(found, settings, output.html)
    if output.as_json:
        content = [{"query": one.name, "hits": [_row(hit) for hit in one.hits]} for one in found]
        display.echo_json(content if several else content[0]["hits"])
    elif output.as_csv:
        _print_csv(found, several=several)
    elif output.html is not None:
        display.echo(f"{wording.quantity(sum(len(one.hits) for one in found), 'hit')} in {output.html}")
    else:
        _print_tables(found, settings, several=several, pictures=output.pictures)


def _row(hit: Hit) -> dict[str, Any]:
    return {"product_id": hit.product_id, "score": round(hit.score, 6) + 0.0, **hit_fields.beside_own(hit.metadata)}


def _print_csv(found: Sequence[SearchResult], *, several: bool) -> None:
    rows = [
        {**({"query": one.name} if several else {}), "rank": rank, **_row(hit)}
        for one in found
        for rank, hit in enumerate(one.hits, 1)
    ]
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["rank", "product_id", "score"]
    display.echo_csv(names, ([row.get(name, "") for name in names] for row in rows))


def _print_tables(found: Sequence[SearchResult], settings: Settings, *, several: bool, pictures: bool | None) -> None:
    console = display.console()
    shown = _renderable(pictures) if display.is_terminal() else None
    if not console.is_terminal:
        console = display.console(width=_UNLIMITED)
    with ExitStack() as stack:
        finder = _pictures(stack, settings) if shown else None
        for number, one in enumerate(found):
            if several:
                if number:
                    display.echo()
                console.print(one.name, style="bold")
            if not one.hits:
                display.echo("nothing found")
                continue
            table, left_out = _table(one.hits, finder, shown, console.width)
            console.print(table, soft_wrap=not console.is_terminal)
            if left_out:
                display.echo(f"(too narrow for {', '.join(left_out)}: --json shows all)")


def _table(hits: Sequence[Hit], finder: ProductImages | None, shown: Any, width: int) -> tuple[Any, list[str]]:
    """Return a table of hits, and the columns that it has no room for: a narrow terminal cuts texts, a file none."""
    from rich.cells import cell_len
    from rich.table import Table

    rows = [hit_fields.beside_own(hit.metadata) for hit in hits]
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name != "image"]
    cells = {name: ["" if row.get(name) is None else str(row[name]) for row in rows] for name in names}
    cells = {
        "score": [wording.score(hit.score) for hit in hits],
        "product_id": [hit.product_id for hit in hits],
        **cells,
    }
    numbers = {name for name in names if all(isinstance(row.get(name), int | float | None) for row in rows)} | {"score"}
    columns = []
    for name, texts in cells.items():
        natural = min(max(cell_len(escape.line(text)) for text in (name, *texts)), _SHOWN_CHARACTERS)
        least = natural if name in numbers else _LEAST_ID if name == "product_id" else _LEAST_TEXT
        columns.append(column_widths.Column(name, natural, min(natural, least)))
    picture_width = _COLUMNS + column_widths.GAP if finder else 0
    widths, left_out = column_widths.fit(columns, width - picture_width)
    table = Table(box=None, pad_edge=False, header_style="bold")
    if finder is not None:
        table.add_column("", width=_COLUMNS)
    for (name, _, _), column_width in zip(columns, widths, strict=False):
        justify: Any = "right" if name in numbers else "left"
        table.add_column(name, justify=justify, no_wrap=True, width=column_width)
    for at, hit in enumerate(hits):
        pictures = [] if finder is None else [_small(finder, hit, shown)]
        table.add_row(*pictures, *[cells[column.name][at] for column in columns[: len(widths)]])
    return table, left_out


def _small(finder: ProductImages, hit: Hit, shown: Any) -> Any:
    from ingest.search.product_images import thumbnail

    path = finder.path(hit.product_id, str(hit.metadata.get("image") or ""))
    image = None if path is None else thumbnail(path, _TERMINAL_SIDE)
    return "" if image is None else shown(image, width=_COLUMNS, height="auto")


def _renderable(wanted: bool | None) -> Any:
    """Return the class that draws an image in this terminal, or None if there is none or it is not wanted."""
    if wanted is False or not display.terminal_columns():
        return None
    logging.getLogger("textual_image").setLevel(logging.ERROR)  # it warns about a terminal that does not answer
    try:
        from textual_image import renderable  # queries the terminal on import
    except ImportError as error:
        if wanted:
            raise ConfigError("--pictures: needs textual-image; pip install 'ingest[pictures]'") from error
        return None
    # Half-character cells show too little to use them without being asked.
    sharp = renderable.Image in (renderable.SixelImage, renderable.TGPImage)
    return renderable.Image if sharp or wanted else None


def _pictures(stack: ExitStack, settings: Settings) -> ProductImages:
    from ingest.search.product_images import ProductImages

    return stack.enter_context(ProductImages(settings))


def _write_sheet(found: Sequence[SearchResult], settings: Settings, path: Path) -> None:
    from ingest.runtime.atomic_files import atomic_write
    from ingest.search import contact_sheet
    from ingest.search.product_images import jpeg, thumbnail

    with ExitStack() as stack:
        finder = _pictures(stack, settings)

        def small(place: Path | None) -> bytes:
            image = None if place is None else thumbnail(place, _SHEET_SIDE)
            return b"" if image is None else jpeg(image)

        sections = []
        for one in found:
            places = [finder.path(hit.product_id, str(hit.metadata.get("image") or "")) for hit in one.hits]
            asked = small(one.asked) if isinstance(one.asked, Path) else b""
            sections.append(contact_sheet.Section(one.name, one.hits, [small(place) for place in places], asked))
        content = contact_sheet.page(sections).encode()
    with atomic_write(path) as file:
        file.write(content)
