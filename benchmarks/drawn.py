"""Catalogs of drawn products, and a collection that benchmarks may drop."""

from __future__ import annotations

import re
import sys
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import bench

if TYPE_CHECKING:
    from pathlib import Path

ALIAS = "ingest_benchmark"
MODEL = bench.ROOT / "data" / "models" / "sample-clip"


def draw(folder: Path, count: int, side: int) -> None:
    """Draw `count` products with images of `side` by `side` pixels into the folder, unless it has a catalog."""
    sys.path.insert(0, str(bench.ROOT / "scripts"))
    from sample_catalog.catalog import render

    if not (folder / "products.csv").exists():
        for _ in render(folder, count=count, seed=7, size=side, quality=85):
            pass


def schema(folder: Path) -> Path:
    """Write the shipped contract with another alias, so that no collection of the user's is touched."""
    shipped = (bench.ROOT / "schema" / "products.toml").read_text(encoding="utf-8")
    path = folder / "schema.toml"
    path.write_text(re.sub(r'(?m)^alias = ".*"', f'alias = "{ALIAS}"', shipped), encoding="utf-8")
    return path


def forget(uri: str) -> None:
    """Drop the collections of earlier runs with that contract."""
    from pymilvus import MilvusClient, MilvusException

    with closing(MilvusClient(uri=uri)) as client:
        with suppress(MilvusException):  # there is none
            client.drop_alias(ALIAS)
        for name in client.list_collections():
            if name.startswith(f"{ALIAS}_"):
                client.drop_collection(name)
