"""Options that say how the files of a catalog are written."""

from __future__ import annotations

import click

from ingest.cli.help_groups import combine, option

_FORMATS = ("csv", "tsv", "excel", "json", "jsonl", "parquet", "google", "shopify", "woocommerce")

how_written = combine(
    option(
        "Catalog",
        "--format",
        type=click.Choice(["auto", *_FORMATS]),
        metavar="FORMAT",
        help=f"Format of the catalog, if it is not recognised: {', '.join(_FORMATS)}.",
    ),
    option(
        "Catalog",
        "--delimiter",
        metavar="CHAR",
        help="Between cells of text: comma, semicolon, tab, pipe, or the character.",
    ),
    option("Catalog", "--encoding", metavar="NAME", help="Encoding of text, such as utf-8 or windows-1252."),
    option(
        "Catalog",
        "--quotes",
        type=click.Choice(["auto", "doubled", "backslash"]),
        help='How a quote within a quoted cell is written: "" or \\".',
    ),
    option(
        "Catalog",
        "--decimal",
        type=click.Choice(["auto", "point", "comma"]),
        help="Decimal sign of numbers that are written as text.",
    ),
    option(
        "Catalog", "--variants", is_flag=True, help="Make each variant of a Shopify or WooCommerce product a product."
    ),
)
"""How the files of a catalog are written, where that is not recognised."""
