"""A contract to read and to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.core.contract_file import load

if TYPE_CHECKING:
    from pathlib import Path

    from ingest.core.contract import Contract

GOOD = """
version = 1
alias = "products"
others = "dynamic"
[product_id]
max_length = 128
[embedding]
field = "embedding"
metric = "IP"
index = "HNSW"
M = 16
efConstruction = 200
ef = 64
[[fields]]
name = "title"
type = "VARCHAR"
max_length = 64
default = ""
[[fields]]
name = "price"
type = "DOUBLE"
default = nan
"""


def loaded(folder: Path, text: str = GOOD) -> Contract:
    """Return the contract that a file with this text gives."""
    path = folder / "products.toml"
    path.write_text(text, encoding="utf-8")
    return load(path)
