"""`ingest search`: products similar to a text, an image, another product, or a combination."""

from __future__ import annotations

import logging
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ingest.cli import help_groups, options, typed_flags
from ingest.cli.output import hits, terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.core.settings import Settings
    from ingest.search.backend import SearchBackend
    from ingest.search.milvus_backend import SearchableCollection
    from ingest.search.query_file import NamedQuery

log = logging.getLogger(__name__)


def _query(*names: str, **kwargs: Any) -> Callable[[help_groups.F], help_groups.F]:
    return click.option(*names, cls=help_groups.Grouped, group="Query", **kwargs)


def _weight(name: str) -> Callable[[help_groups.F], help_groups.F]:
    text = f"Weight of the {name}; a negative weight searches away from it."
    return _query(f"--{name}-weight", type=float, default=1.0, show_default=True, metavar="W", help=text)


filter_option = _query("--filter", "-f", "expression", default="", metavar="EXPRESSION",
                       help="Milvus filter, such as 'price < 20 and category == \"mug\"'.")  # fmt: skip
limit_option = _query(
    "--limit", "-n", type=click.IntRange(1, 1000), default=10, show_default=True, help="Number of results."
)


@dataclass(frozen=True, slots=True)
class QueryOptions:
    """What to search for, where, and how many results to return."""

    text_option: str | None
    image: str | None
    product: str | None
    text_weight: float
    image_weight: float
    product_weight: float
    queries: Path | None
    expression: str
    limit: int
    backend: str


_query_options = help_groups.bundle(
    "query",
    QueryOptions,
    _query("--text", "text_option", metavar="TEXT", help="Same as the argument TEXT."),
    _query("--image", "-i", metavar="FILE|URL", help="Image file or URL."),
    _query("--product", "-p", metavar="ID", help="Product id; the product itself is not in the results."),
    _weight("text"),
    _weight("image"),
    _weight("product"),
    _query(
        "--queries", type=click.Path(path_type=Path), metavar="FILE",
        help="File with many queries: CSV, TSV or JSON Lines with text, image, product_id, filter, limit",
    ),
    filter_option,
    limit_option,
    _query(
        "--backend", type=click.Choice(["milvus", "faiss"]), default="milvus", show_default=True,
        help="Search the collection or the exported FAISS files.",
    ),
)  # fmt: skip


@click.command("search", cls=help_groups.Command)
@click.argument("words", metavar="[TEXT]…", nargs=-1)
@_query_options
@options.requests
@hits.places
@options.model
@options.contract
@options.milvus
@options.data
@options.config_option
@hits.output
@click.pass_context
def command(
    ctx: click.Context, /, *, words: tuple[str, ...], query: QueryOptions, output: hits.HitsOutput, **values: Any
) -> None:
    """Find products by text, image, product, or a combination.

    \b
    Examples:
      ingest search "red striped mug"
      ingest search --image photo.jpg --filter 'price < 20'
      ingest search --product P0017 --json
      ingest search --image shoe.jpg --text "in red" --text-weight 0.4
      ingest search --queries queries.csv --html found.html

    Each part becomes a unit vector. The weighted sum is the query. Several words are one text, also without quotes.
    """  # noqa: D301  Click needs the character itself
    text = _text(" ".join(words) if words else None, query)
    for part, given in (("text", text), ("image", query.image), ("product", query.product)):
        if given is None and query.queries is None:
            typed_flags.refuse(ctx, f"works with --{part} only.", f"{part}_weight")
    output.check()
    terminal.log_to_stderr()
    if len(words) == 1 and Path(words[0]).is_file():
        log.warning("%s is searched for as a text; to search by this image: --image %s", *words, *words)
    settings = options.settings(values)
    with ExitStack() as stack:
        fetch = _fetcher(stack, settings)
        queries = _queries(text, query, fetch)
        backend = _milvus(stack, settings) if query.backend == "milvus" else _files(settings)
        hits.show(_answered(backend, settings, queries), settings, output, several=query.queries is not None)


def _text(text: str | None, query: QueryOptions) -> str | None:
    """Return the text to search for, from the argument or --text; raise UsageError for options that do not fit."""
    if text is not None and query.text_option is not None:
        raise click.UsageError("Give TEXT or --text TEXT, not both.")
    text = text if text is not None else query.text_option
    if (query.queries is None) == (text is None and query.image is None and query.product is None):
        raise click.UsageError("Give TEXT, --image, --product or a combination; or --queries FILE.")
    if query.expression and query.backend == "faiss":
        raise click.UsageError("--filter works with --backend milvus only; the FAISS files have no metadata.")
    return text


def _queries(text: str | None, query: QueryOptions, fetch: Callable[[str], Path]) -> list[NamedQuery]:
    from ingest.core.errors import QueryError
    from ingest.core.redaction import redact
    from ingest.images.urls import host
    from ingest.search.query import Query
    from ingest.search.query_file import NamedQuery, read_queries

    asked = Query(
        text_weight=query.text_weight, image_weight=query.image_weight, product_weight=query.product_weight,
        expression=query.expression, limit=query.limit,
    )  # fmt: skip
    if query.queries is not None:
        return read_queries(query.queries, asked, fetch)
    if text is not None and not text.strip():
        raise QueryError("the text to search for is empty")
    image = query.image
    path = None if image is None else fetch(image) if host(image) else Path(image)
    named = None if image is None else redact(image)
    name = " + ".join(part for part in (text, named, query.product) if part)
    return [NamedQuery(name, replace(asked, text=text or "", image=path, product_id=query.product or ""))]


def _answered(place: SearchBackend, settings: Settings, several: list[NamedQuery]) -> list[hits.SearchResult]:
    from ingest.search.milvus_backend import SearchableCollection
    from ingest.search.query import QueryModel
    from ingest.search.search import answer_queries

    found = answer_queries(place, QueryModel(settings), [asked.query for asked in several])
    shown = [hits.SearchResult(asked.name, one, asked.query.image) for asked, one in zip(several, found, strict=True)]
    if isinstance(place, SearchableCollection):
        for asked, one in zip(several, shown, strict=True):
            note_unknown(place, asked.query.expression, one)
    return shown


def note_unknown(served: SearchableCollection, expression: str, found: hits.SearchResult) -> None:
    """Warn about names in a filter that neither the contract nor a hit has."""
    from ingest.search.unknown_fields import warnings

    for warning in warnings(served, expression, found.hits):
        log.warning("--filter: %s", warning)


def _fetcher(stack: ExitStack, settings: Settings) -> Callable[[str], Path]:
    """Return a function that downloads an image by its URL, into a folder that is removed when the command ends."""

    def fetch(url: str) -> Path:
        from ingest.search.product_images import fetch_image

        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ingest-"))
        return fetch_image(url, settings, Path(folder))

    return fetch


def _milvus(stack: ExitStack, settings: Settings) -> SearchBackend:
    from ingest.search.milvus_backend import open_collection

    return stack.enter_context(open_collection(settings, reading=True))


def _files(settings: Settings) -> SearchBackend:
    from ingest.core import contract_file
    from ingest.search.faiss_backend import ExportedIndex

    contract = contract_file.load(settings.schema)
    return ExportedIndex(settings, contract.index.ef, contract.group)
