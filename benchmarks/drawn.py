"""Catalogs of drawn products for benchmarks, and a collection of their own that may be dropped."""

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
    """Draw `count` products with pictures of `side` by `side` into the folder, if it has no catalog yet."""
    sys.path.insert(0, str(bench.ROOT / "scripts"))
    from sample_catalog.catalog import render

    if not (folder / "products.csv").exists():
        for _ in render(folder, count=count, seed=7, size=side, quality=85):
            pass


def schema(folder: Path) -> Path:
    """Write the shipped contract with an alias of its own, so that nobody's collection is touched."""
    shipped = (bench.ROOT / "schema" / "products.toml").read_text(encoding="utf-8")
    path = folder / "schema.toml"
    path.write_text(re.sub(r'(?m)^alias = ".*"', f'alias = "{ALIAS}"', shipped), encoding="utf-8")
    return path


def forget(uri: str) -> None:
    """Drop what a run with that contract has left on a server."""
    from pymilvus import MilvusClient, MilvusException

    with closing(MilvusClient(uri=uri)) as client:
        with suppress(MilvusException):  # there is none
            client.drop_alias(ALIAS)
        for name in client.list_collections():
            if name.startswith(f"{ALIAS}_"):
                client.drop_collection(name)
