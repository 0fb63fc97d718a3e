"""Draw docs/sample-searches.png: searches in the sample catalog's FAISS files, each with a row of images."""

from __future__ import annotations

import csv
from pathlib import Path

import click
from PIL import Image, ImageDraw, ImageFont

from ingest import search
from ingest.embedding.checkpoint import resolve
from ingest.embedding.clip import ClipEncoder

QUERIES = ("red striped mug", "blue backpack", "dotted dress", "red lamp", "something checked")
SIDE, GAP, TEXT = 132, 8, 22
SHOWN = 6


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default="data", help="The data folder of a finished run.")
@click.option("--catalog", type=click.Path(path_type=Path), default="data/products.csv")
@click.option("--model", default="data/models/sample-clip")
@click.option("--output", type=click.Path(path_type=Path), default="docs/sample-searches.png")
def main(data: Path, catalog: Path, model: str, output: Path) -> None:
    """Draw some searches, each with a row of images."""
    with catalog.open(encoding="utf-8", newline="") as file:
        pictures = {row["product_id"]: catalog.parent / row["image"] for row in csv.DictReader(file)}
    checkpoint = resolve(model)
    encoder = ClipEncoder(checkpoint, "cpu", "float32", batch=1)
    row_height = TEXT + SIDE + GAP
    sheet = Image.new("RGB", (SHOWN * (SIDE + GAP) + GAP, len(QUERIES) * row_height + GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for number, query in enumerate(QUERIES):
        top = GAP + number * row_height
        pen.text((GAP, top), f"ingest search “{query}”", "#333333", ImageFont.load_default(15))
        hits = search.in_faiss(data / "indexes", search.text_vector(encoder, query), None, SHOWN, ef=64)
        for column, hit in enumerate(hits):
            picture = Image.open(pictures[hit.product_id]).resize((SIDE, SIDE))
            sheet.paste(picture, (GAP + column * (SIDE + GAP), top + TEXT))
    sheet.save(output, optimize=True)
    click.echo(f"{output}: {len(QUERIES)} searches")


if __name__ == "__main__":
    main()
