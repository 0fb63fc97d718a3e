"""Draws a product catalog: `products.csv` and one JPEG image for each product."""

from __future__ import annotations

from pathlib import Path

import click
from sample_catalog.catalog import render


@click.command(context_settings={"show_default": True})
@click.option("--count", type=click.IntRange(min=1), default=300, help="How many products to draw.")
@click.option("--seed", type=click.IntRange(min=0), default=7, help="The same seed draws the same catalog.")
@click.option("--size", type=click.IntRange(min=16), default=320, help="Side of the square images, in pixels.")
@click.option("--quality", type=click.IntRange(1, 95), default=85, help="JPEG quality.")
@click.option("--workers", type=click.IntRange(min=1), default=None, help="Processes (default: one per core).")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data"),
    help="The folder to write products.csv and images/ to.",
)
def main(*, count: int, seed: int, size: int, quality: int, workers: int | None, output: Path) -> None:
    """Draw a catalog of COUNT products, in groups of the same kind, colour and pattern.

    Every combination that appears is drawn at least three times (another view, background, material, brand
    and price), so that a search for it has several right answers. A catalog of more than 2,300 products
    has all combinations, and repeats them until it is full.
    """
    for done in render(output, count=count, seed=seed, size=size, quality=quality, workers=workers):
        if done % 5000 == 0 and done < count:
            click.echo(f"{done} of {count} images drawn", err=True)
    click.echo(f"{count} products in {output / 'products.csv'}")


if __name__ == "__main__":
    main()
