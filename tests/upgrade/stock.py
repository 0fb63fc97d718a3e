"""A shop for upgrades: models, contracts, catalogs and images in which every format on disk is used.

Written by today's tests, filled by whichever version of `ingest` is to be upgraded from (`nights.py`).
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from safetensors.numpy import load_file, save_file
from support.checkpoints import write_clip
from support.http_server import Answer
from support.shop import write_csv

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from support.http_server import Server

CATALOG, IMAGES = "catalog", "catalog/images"
FIRST, SECOND = "models/first", "models/second"
NO_SERVER = "http://127.0.0.1:1/nobody-listens.jpg"

_WARES = 'catalog = "catalog"\nschema = "contract.toml"\n'
_OUTLET = 'catalog = "outlet.jsonl"\nexports = false\n'
_SETTINGS = """\
model = "models/second"
data = "data"
dtype = "float32"
batch_size = 4
decode_workers = 2
download_missing = true
allow_private = true
download_tries = 1
max_skipped = "90%"
"""
_CONTRACT = """\
version = 1
alias = "wares"
others = "dynamic"

[product_id]
max_length = 128

[embedding]
field = "vector"
metric = "IP"
index = "HNSW"
M = 8
efConstruction = 64
ef = 48

[collection]
shards = 1
partition_key = "brand"

[[fields]]
name = "title"
column = "name"
type = "VARCHAR"
max_length = 1024

[[fields]]
name = "price"
type = "DOUBLE"
default = nan

[[fields]]
name = "stock"
type = "INT64"
default = 0

[[fields]]
name = "weight"
type = "FLOAT"
default = -1.0

[[fields]]
name = "sale"
type = "BOOL"
default = false

[[fields]]
name = "brand"
type = "VARCHAR"
max_length = 64
default = "none"

[[fields]]
name = "image"
type = "VARCHAR"
max_length = 4096
default = ""
"""

# What cells look like in real catalogs; `colour` and `note` are columns that the contract does not name.
_VALUES: Sequence[Mapping[str, str]] = (
    {"name": "Mug", "price": "19.90", "stock": "3", "weight": "0.1", "sale": "true", "brand": "Öz", "colour": "red"},
    {"name": "", "price": "", "stock": "", "weight": "", "sale": "", "brand": "", "colour": "", "note": ""},
    {"name": 'Two lines\n"quoted", 100 %', "price": "-0", "stock": "12.0", "sale": "No", "note": " padded "},
    {"name": "日本語 😀 \u200b", "price": "1e-7", "stock": "-9223372036854775808", "weight": "3.4e38", "sale": "1"},
    {"name": "\\ / ' ; --", "price": ".5", "stock": " 9223372036854775807 ", "weight": "-0.0", "brand": "a'b\"c"},
    {"name": "é" * 512, "price": "1.7976931348623157e308", "stock": "+7", "weight": "16777217", "note": "x" * 300},
)
_UNUSUAL_IDS = (
    "p0001", "a/b\\c", "CON", "-dash", "quote'\"", "100%", "日本語", "😀", "  padded  ", "0012", "NaN", "None", "1e3",
    ".hidden", "tilde~1", "dot.", "two words", "x" * 128, "é" * 64,
)  # fmt: skip
_LEAVES = {"leaves": 2, "leaves later": 4}  # from which night on
_LOSES_ITS_URL = {"URL breaks": 2, "URL breaks later": 4}
_COLUMNS = ("product_id", "image", "name", "price", "stock", "weight", "sale", "brand", "colour", "note")


def write_models(folder: Path) -> None:
    """Write two checkpoints of dim 16 that differ in their projection of images; their weights pack well."""
    for seed, name in enumerate((FIRST, SECOND)):
        write_clip(folder / name)
        path = folder / name / "model.safetensors"
        weights = {key: np.asarray(np.round(values * 8) / 8) for key, values in load_file(path).items()}
        projection = np.random.default_rng(seed).normal(0, 0.3, weights["visual_projection.weight"].shape)
        weights["visual_projection.weight"] = projection.astype(np.float32)
        save_file(weights, path, metadata={"format": "pt"})


def write_settings(folder: Path, more: str = "") -> None:
    """Write `ingest.toml`, with a contract of all types, and `outlet.toml`, with the shipped one."""
    (folder / "contract.toml").write_text(_CONTRACT, encoding="utf-8")
    for name, own in (("ingest.toml", _WARES), ("outlet.toml", _OUTLET)):
        (folder / name).write_text(own + _SETTINGS + more, encoding="utf-8")


def write_images(folder: Path) -> None:
    """Write the local images, one of each kind that is decoded in a way of its own."""
    images = folder / IMAGES
    images.mkdir(parents=True)
    turned = Image.Exif()
    turned[0x0112] = 6
    for name, content in {
        "mug.jpg": drawn(1, "JPEG"),
        "grey.png": drawn(2, "PNG", lambda image: image.convert("L")),
        "clear.png": drawn(3, "PNG", _half_clear),
        "turned.jpg": drawn(4, "JPEG", exif=turned),
        "ink.jpg": drawn(5, "JPEG", lambda image: image.convert("CMYK")),
        "palette.gif": drawn(6, "GIF"),
        "sharp.webp": drawn(7, "WEBP", lossless=True),
        "naïve café.jpg": drawn(8, "JPEG"),
        "breaks.jpg": drawn(9, "JPEG"),
        "breaks later.jpg": drawn(10, "JPEG"),
        "redrawn.png": drawn(11, "PNG"),
        "cut.jpg": drawn(12, "JPEG")[:300],
        "text.jpg": b"no image at all",
    }.items():
        (images / name).write_bytes(content)
    (folder / "outside.jpg").write_bytes(drawn(13, "JPEG"))


def serve_images(server: Server) -> None:
    """Script the answers for the fetched images: with and without validators, redirected, secret, and failures."""
    for number in range(len(_UNUSUAL_IDS)):
        headers = {"ETag": f'"{number}"', "Last-Modified": "Mon, 02 Feb 2026 00:00:00 GMT"} if number % 2 else {}
        server.serve(f"/{number}", Answer(drawn(100 + number, ("JPEG", "PNG")[number % 2]), headers=headers))
    server.serve("/same", Answer(drawn(1, "JPEG")))
    server.serve("/moved", Answer(status=302, headers={"Location": server.url("/0")}))
    server.serve("/page", Answer(b"<html>not found</html>", headers={"Content-Type": "image/jpeg"}))


def stock(folder: Path, server: Server, night: int) -> None:
    """Write the catalogs of a night: on the second and on the fourth, products break, change, leave and come."""
    (folder / "catalog").mkdir(exist_ok=True)
    rows = _wares(server.url, night)
    for name, part in (("north.csv", rows[::2]), ("south.csv", rows[1::2])):
        write_csv(folder / "catalog" / name, [{column: row.get(column, "") for column in _COLUMNS} for row in part])
    lines = [json.dumps(row, ensure_ascii=False) for row in _outlet(server.url)]
    (folder / "outlet.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if night == 2:
        (folder / IMAGES / "breaks.jpg").write_bytes(b"overwritten")
    if night == 4:
        (folder / IMAGES / "breaks later.jpg").write_bytes(b"overwritten")
        (folder / IMAGES / "redrawn.png").write_bytes(drawn(14, "PNG"))


def drawn(seed: int, kind: str, change: Callable[[Image.Image], Image.Image] | None = None, **options: Any) -> bytes:
    """Draw coarse coloured squares, 48 × 40 pixels, as a file."""
    squares = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    image = Image.fromarray(squares.repeat(8, 0).repeat(8, 1))
    stream = io.BytesIO()
    (change(image) if change else image).save(stream, kind, **options)
    return stream.getvalue()


def _half_clear(image: Image.Image) -> Image.Image:
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def _wares(url: Callable[[str], str], night: int) -> list[dict[str, str]]:
    local = ("mug.jpg", "mug.jpg", "grey.png", "clear.png", "turned.jpg", "ink.jpg", "palette.gif", "sharp.webp",
             "naïve café.jpg", "breaks.jpg", "breaks later.jpg", "redrawn.png")  # fmt: skip
    images = {f"P{number:04d}": f"images/{name}" for number, name in enumerate(local, 1)}
    images |= {product_id: url(f"/{number}?sig=s3cret") for number, product_id in enumerate(_UNUSUAL_IDS)}
    images |= {"shares by url": url("/same"), "redirected": url("/moved")}
    images |= {"leaves": "images/mug.jpg", "leaves later": url("/1"), "URL breaks": url("/2")}
    images["URL breaks later"] = url("/3")
    rows = [
        {"product_id": product_id, "image": image, **_VALUES[number % len(_VALUES)]}
        for number, (product_id, image) in enumerate(images.items())
    ]
    for row in rows:
        row["name"] = row["name"] or f"Product {row['product_id']}"
    rows = [row for row in rows if night < _LEAVES.get(row["product_id"], night + 1)]
    for row in rows:
        if night >= _LOSES_ITS_URL.get(row["product_id"], night + 1):
            row["image"] = url("/gone")
        if row["product_id"] == "P0003" and night >= 4:
            row["price"] = "21"
    if night >= 4:
        rows.append({"product_id": "comes later", "image": "images/grey.png", "name": "New", "price": "5"})
    return rows + _skipped(url)


def _skipped(url: Callable[[str], str]) -> list[dict[str, str]]:
    images = {
        "": "images/mug.jpg", "y" * 129: "images/mug.jpg", "tab\tin id": "images/mug.jpg", "no image": "",
        "missing": "images/none.jpg", "outside": "../outside.jpg", "cut": "images/cut.jpg", "text": "images/text.jpg",
        "page": url("/page"), "not found": url("/gone"), "refused": NO_SERVER, "ftp": "ftp://127.0.0.1/a.jpg",
    }  # fmt: skip
    rows = [{"product_id": product_id, "image": image, "name": "Skipped"} for product_id, image in images.items()]
    rows.append({"product_id": "P0001", "image": "images/mug.jpg", "name": "Twice"})
    rows.append({"product_id": "no title", "image": "images/mug.jpg", "name": ""})
    rows.append({"product_id": "bad price", "image": "images/mug.jpg", "name": "Skipped", "price": "1,299"})
    return rows


def _outlet(url: Callable[[str], str]) -> list[dict[str, Any]]:
    """Return rows whose cells have types of their own, in dynamic columns too."""
    return [
        {"product_id": 4711, "image": f"{IMAGES}/mug.jpg", "title": "Whole", "price": 3, "pieces": 2, "new": True},
        {"product_id": "O-2", "image": f"{IMAGES}/clear.png", "price": 0.1, "ratio": 1e-9, "huge": 2**70, "no": None},
        {"product_id": "O-3", "image": url("/same"), "colour": "blue", "sizes": ["S", 1.5], "depth": {"b": 1, "a": []}},
        {"product_id": "O-4", "image": f"{IMAGES}/sharp.webp", "price": "7", "title": 12, "brand": "🦊", "zero": -0.0},
        {"product_id": "O-5", "image": f"{IMAGES}/none.jpg", "title": "Skipped"},
    ]
