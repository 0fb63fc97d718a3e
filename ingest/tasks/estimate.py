"""What a catalog of a given size costs: bytes, memory, nodes and hours. Pure arithmetic, each figure with its formula.

Sources: HNSW's links, https://github.com/facebookresearch/faiss/wiki/Guidelines-to-choose-an-index and the paper
(https://arxiv.org/abs/1603.09320, 4.2.3); the share of a query node's memory that Milvus fills,
https://milvus.io/docs/v2.0.x/limitations.md; DiskANN's shares and degree, https://milvus.io/docs/disk_index.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

GB = 10**9
LOADED_SHARE = 0.9
"""The share of a query node's memory that Milvus fills at most."""
NODE_GB = 64
"""The memory of one query node, for the number of nodes."""
RUN_BYTES = 260
"""What a run holds of each row of the collection: benchmarks/million.py, its last part."""
_LEVEL_BYTES = 12  # per vector in FAISS: 4 for its level, 8 for the offset of its links
_DISKANN_MEMORY, _DISKANN_DEGREE, _SECTOR = 0.25, 56, 4096  # PQ codes 1/8 and cache 1/8 of the vectors
_DIGESTS = 32 + 64
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class CatalogSize:
    """The input of an estimate: sizes in bytes per product, rates in images per second, 0 if unknown.

    `text_bytes` is the size of a row's id and metadata; `bandwidth` is in bits per second.
    """

    products: int
    dim: int
    m: int
    picture_bytes: float
    text_bytes: float
    bandwidth: float
    decoded_per_s: float
    embedded_per_s: float


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, its unit, and its formula."""

    value: float
    unit: str
    formula: str


def hnsw_bytes(dim: int, m: int, width: int = 4) -> float:
    """Return the bytes per vector of an HNSW index: numbers of `width` bytes, 2 M links below, M/(M-1) levels above."""
    return width * dim + 8 * m + 4 * m / (m - 1) + _LEVEL_BYTES


def diskann_disk_bytes(dim: int) -> float:
    """Return the bytes per vector of DiskANN on disk: the vector and its links, whole nodes in a sector."""
    node = 4 * dim + 4 * (_DISKANN_DEGREE + 1)
    return _SECTOR / (_SECTOR // node) if node <= _SECTOR else _SECTOR * math.ceil(node / _SECTOR)


def figures(catalog: CatalogSize) -> dict[str, Figure]:
    """Return what a catalog costs, by name; hours at an unknown rate are left out."""
    n, dim, m = catalog.products, catalog.dim, catalog.m
    scalars = n * (catalog.text_bytes + _DIGESTS)
    memory = (n * hnsw_bytes(dim, m) + scalars) / LOADED_SHARE
    half = (n * hnsw_bytes(dim, m, 2) + scalars) / LOADED_SHARE
    diskann = (n * 4 * dim * _DISKANN_MEMORY + scalars) / LOADED_SHARE
    found = {
        "products": Figure(n, "", "N: rows of the catalog"),
        "vectors": Figure(n * 4 * dim / GB, "GB", f"N × 4 × dim, dim = {dim}"),
        "hnsw": Figure(n * hnsw_bytes(dim, m) / GB, "GB", f"N × (4 dim + 8 M + 4 M/(M−1) + 12), M = {m}"),
        "query_memory": Figure(
            memory / GB, "GB", f"(hnsw + N × {catalog.text_bytes + _DIGESTS:.0f} bytes of id, text and digests) / 0.9"
        ),
        "query_nodes": Figure(math.ceil(memory / GB / NODE_GB), f"of {NODE_GB} GB", f"⌈query_memory / {NODE_GB} GB⌉"),
        "half_precision_memory": Figure(half / GB, "GB", "as query_memory, with 2 dim for 4 dim"),
        "diskann_memory": Figure(diskann / GB, "GB", "(vectors × (1/8 + 1/8) + id, text and digests) / 0.9"),
        "diskann_disk": Figure(
            n * diskann_disk_bytes(dim) / GB,
            "GB",
            "N × 4,096 / ⌊4,096 / (4 dim + 4 × 57)⌋",
        ),
        "mmap_disk": Figure(n * hnsw_bytes(dim, m) / GB, "GB", "hnsw, on the query nodes' disks"),
        "run_memory": Figure(n * RUN_BYTES / GB, "GB", f"N × {RUN_BYTES} bytes of ids and digests"),
        "store_disk": Figure(n * (4 * dim + _KEY_BYTES) / GB, "GB", "N × (4 dim + 32)"),
        "cache_disk": Figure(n * catalog.picture_bytes / GB, "GB", f"N × {catalog.picture_bytes:.0f} bytes per image"),
    }
    if catalog.bandwidth:
        hours = n * catalog.picture_bytes * 8 / catalog.bandwidth / 3600
        found["download"] = Figure(hours, "hours", f"cache_disk × 8 / {catalog.bandwidth / 1e6:,.1f} Mbit/s")
    for name, rate in (("decode", catalog.decoded_per_s), ("embed", catalog.embedded_per_s)):
        if rate:
            found[name] = Figure(n / rate / 3600, "hours", f"N / {rate:,.1f} images/s")
    return found


def advice(found: Mapping[str, Figure], memory: float) -> str:
    """Return what to do instead of the FAISS files if they need more than this machine's `memory` bytes, or ""."""
    if found["hnsw"].value * GB <= memory:
        return ""
    return (
        f"The FAISS files need more than the {memory / GB:,.0f} GB of this machine, to be built and to be searched:\n"
        "pass --no-exports and search in Milvus; ingest export --parquet hands out the\n"
        "vectors in a file that other programs read in parts."
    )


SIZES = (10**6, 10**7, 10**8, 10**9, 10**10)
TYPICAL = CatalogSize(0, 512, 16, 30_000, 200, 1e9, 0, 1000)
"""The catalog of the sizing table in docs/scaling.md: ViT-B/32, 30 kB per image, 200 bytes of text, 1 Gbit/s."""
_COLUMNS = (
    "products", "vectors", "hnsw", "query_memory", "query_nodes", "half_precision_memory", "diskann_memory",
    "diskann_disk", "store_disk", "cache_disk", "download", "embed",
)  # fmt: skip


def table() -> str:
    """Return the sizing table of docs/scaling.md, in Markdown."""
    heads = [name.replace("_", " ") for name in _COLUMNS]
    lines = [f"| {' | '.join(heads)} |", "|" + " ---: |" * len(heads)]
    for size in SIZES:
        made = figures(replace(TYPICAL, products=size))
        lines.append(f"| {' | '.join(display(made[name]).removesuffix(f' of {NODE_GB} GB') for name in _COLUMNS)} |")
    return "\n".join(lines)


def display(figure: Figure) -> str:
    """Return a figure as it is printed: three digits, in kB to PB or seconds to days."""
    value, unit = figure.value, figure.unit
    if unit == "GB":
        value, unit = _scaled(value, ((1e-6, "kB"), (1e-3, "MB"), (1, "GB"), (1e3, "TB"), (1e6, "PB")))
    elif unit == "hours":
        if 0 < value < 1 / 3600:
            return "under 1 s"
        value, unit = _scaled(value, ((1 / 3600, "s"), (1 / 60, "min"), (1, "hours"), (24, "days")))
    else:
        return f"{value:,.0f} {unit}".strip()
    digits = max(0, 2 - math.floor(math.log10(value))) if 1e-3 < value < 100 else 0
    return f"{value:,.{digits}f} {unit}"


def _scaled(value: float, units: tuple[tuple[float, str], ...]) -> tuple[float, str]:
    size, unit = next(((size, unit) for size, unit in reversed(units) if value >= size), units[0])
    return value / size, unit
