"""A catalog of real photographs, in all sizes and modes, goes through the unchanged command.

The photographs are those in scikit-image's wheel, cut into pieces.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import skimage
from PIL import Image, ImageOps
from support.late import torch, transformers
from support.shop import Shop, copied_sample_model

from ingest.core import contract_file
from ingest.core.settings import MilvusSettings
from ingest.embedding.checkpoint import resolve
from ingest.embedding.clip import ClipEncoder
from ingest.milvus.connection import connect
from ingest.search.milvus_backend import SearchableCollection
from ingest.search.query import image_vector

if TYPE_CHECKING:
    from collections.abc import Iterator

PHOTOGRAPHS = [
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png",
    "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "page.png", "retina.jpg", "rocket.jpg",
]  # fmt: skip
PIECES = 4
UPRIGHT_IF_TURNED = 6  # EXIF orientation: the camera was held on its side


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("photographs")
    shop = Shop(folder / "shop", copied_sample_model(folder / "clip"))
    shop.images.mkdir()
    products = [{"product_id": path.stem, "image": f"images/{path.name}"} for path in pictures(shop.images)]
    shop.stock(products)
    summary = shop.run()
    assert (summary["products"], summary["embedded"]) == (len(PHOTOGRAPHS) * PIECES,) * 2
    assert summary["skipped"] == 0
    return shop


def pictures(folder: Path) -> Iterator[Path]:
    """Cut each photograph into pieces of many sizes and save them in many ways."""
    chance = np.random.default_rng(3)
    for number, name in enumerate(PHOTOGRAPHS):
        with Image.open(Path(skimage.data_dir, name)) as opened_file:
            photograph = opened_file.convert("RGB")
        for piece in range(PIECES):
            width, height = (int(side * chance.uniform(0.4, 0.9)) for side in photograph.size)
            left, top = (int(chance.integers(0, a - b)) for a, b in zip(photograph.size, (width, height), strict=True))
            cut = photograph.crop((left, top, left + width, top + height))
            scale = chance.uniform(0.2, 1.2)
            cut = cut.resize((int(width * scale) + 1, int(height * scale) + 1), Image.Resampling.LANCZOS)
            yield saved(cut, folder / f"{Path(name).stem}-{piece}", (number + piece) % 8)


def saved(picture: Image.Image, path: Path, way: int) -> Path:
    """Save a picture in one of eight ways that catalogs have."""
    exif = Image.Exif()
    exif[0x0112] = UPRIGHT_IF_TURNED
    suffix, made, options = [
        (".jpg", picture, {"quality": 90}),
        (".png", picture, {}),
        (".jpg", picture.convert("L"), {"quality": 85}),
        (".png", picture.quantize(128), {}),
        (".png", picture.convert("RGBA"), {}),
        (".jpg", picture.convert("CMYK"), {"quality": 95}),
        (".webp", picture, {"quality": 90}),
        (".jpg", picture.transpose(Image.Transpose.ROTATE_90), {"quality": 90, "progressive": True, "exif": exif}),
    ][way]
    made.save(path.with_suffix(suffix), **options)
    return path.with_suffix(suffix)


def test_every_photograph_finds_itself_first(shop: Shop) -> None:
    checkpoint = resolve(str(shop.model))
    encoder = ClipEncoder(checkpoint, "auto", "auto", batch=1)
    alias = contract_file.load(contract_file.default_path()).alias
    wrong = []
    with connect(MilvusSettings(str(shop.data / "milvus.db"), max_wait=0), existing=True) as connection:
        served = SearchableCollection(connection, alias)
        for path in sorted(shop.images.iterdir()):
            first = served.search(image_vector(encoder, checkpoint.preprocessing, path), 1)[0]
            if first.product_id != path.stem:
                wrong.append((path.stem, first.product_id, first.score))

    assert not wrong


def test_vectors_are_those_of_plain_transformers(shop: Shop) -> None:
    model = transformers.CLIPModel.from_pretrained(shop.model).eval()
    processor = transformers.CLIPImageProcessorPil.from_pretrained(shop.model)
    vectors = np.load(shop.npy)
    names = json.loads(shop.npy_ids.read_text(encoding="utf-8"))
    paths = {path.stem: path for path in shop.images.iterdir()}

    cosines = {}
    for name, vector in zip(names, vectors, strict=True):
        with Image.open(paths[name]) as picture:
            upright = ImageOps.exif_transpose(picture).convert("RGB")
        with torch.inference_mode():
            features = model.get_image_features(**processor(upright, return_tensors="pt"))
        plain = getattr(features, "pooler_output", features)[0].numpy()
        cosines[name] = float(vector @ plain / np.linalg.norm(plain))

    assert len(cosines) >= 50
    assert {name: cosine for name, cosine in cosines.items() if cosine < 0.999} == {}
