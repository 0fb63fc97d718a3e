"""Draw docs/sample-searches.png: one row of images per search in the FAISS files of the sample catalog."""

from __future__ import annotations

import csv
from pathlib import Path

import click
from PIL import Image, ImageDraw, ImageFont

from ingest.core.settings import Settings
from ingest.search.faiss_backend import ExportedIndex
from ingest.search.query import Query, QueryModel
from ingest.search.search import answer_queries

QUERIES = ("red striped mug", "blue backpack", "dotted dress", "red lamp", "something checked")
SIDE, GAP, TEXT = 132, 8, 22
SHOWN = 6


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default="data", help="The data folder of a finished run.")
@click.option("--catalog", type=click.Path(path_type=Path), default="data/products.csv")
@click.option("--model", default="data/models/sample-clip")
@click.option("--output", type=click.Path(path_type=Path), default="docs/sample-searches.png")
def main(data: Path, catalog: Path, model: str, output: Path) -> None:
    """Draw one row of images per search."""
    with catalog.open(encoding="utf-8", newline="") as file:
        images = {row["product_id"]: catalog.parent / row["image"] for row in csv.DictReader(file)}
    settings = Settings(data=data, model=model, device="cpu", dtype="float32")
    queries = [Query(text=text, limit=SHOWN) for text in QUERIES]
    results = answer_queries(ExportedIndex(settings, ef=64), QueryModel(settings), queries)
    row_height = TEXT + SIDE + GAP
    sheet = Image.new("RGB", (SHOWN * (SIDE + GAP) + GAP, len(QUERIES) * row_height + GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (query, hits) in enumerate(zip(queries, results, strict=True)):
        top = GAP + number * row_height
        pen.text((GAP, top), f"ingest search “{query.text}”", "#333333", ImageFont.load_default(15))
        for column, hit in enumerate(hits):
            image = Image.open(images[hit.product_id]).resize((SIDE, SIDE))
            sheet.paste(image, (GAP + column * (SIDE + GAP), top + TEXT))
    sheet.save(output, optimize=True)
    click.echo(f"{output}: {len(QUERIES)} searches")


if __name__ == "__main__":
    main()
