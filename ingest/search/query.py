"""What is asked for, and the unit vector it becomes: a text, a picture and a product, each with a weight."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ingest.core.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from ingest.core.contract import Space
    from ingest.core.settings import Settings
    from ingest.embedding.checkpoint import Checkpoint
    from ingest.embedding.clip import ClipEncoder
    from ingest.embedding.encoder import Encoder
    from ingest.embedding.preprocess import Preprocessing
    from ingest.images.decode.decoder import DecodeSandbox

_NO_DIRECTION = 1e-6
"""Shorter than this, what is left of weighted unit vectors is rounding."""


@dataclass(frozen=True, slots=True)
class Query:
    """One question: at least one of `text`, `image` (a file, or its bytes) and `product_id`.

    Each is a unit vector, and the query's is their sum by weight, scaled to unit length; a weight below zero leads
    away. `expression` is a Milvus filter, "" for none, `limit` how many hits are wanted at most.
    """

    text: str = ""
    image: Path | bytes | None = None
    product_id: str = ""
    text_weight: float = 1.0
    image_weight: float = 1.0
    product_weight: float = 1.0
    expression: str = ""
    limit: int = 10

    @property
    def needs_model(self) -> bool:
        """Whether something must be embedded; a product's vector is there already."""
        return bool(self.text) or self.image is not None


class QueryModel:
    """The model that the settings name, found when it is first needed and loaded when it first embeds."""

    def __init__(self, settings: Settings, batch: int = 1) -> None:
        self._settings = settings
        self._batch = batch

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """Where it is; raises ModelError where it cannot be had."""
        from ingest.embedding.checkpoint import resolve

        return resolve(self._settings.model, self._settings.model_revision)

    @cached_property
    def encoder(self) -> ClipEncoder:
        """What embeds; pictures are padded to `batch`."""
        from ingest.embedding.clip import ClipEncoder

        return ClipEncoder(self.checkpoint, self._settings.device, self._settings.dtype, self._batch)

    @property
    def preprocessing(self) -> Preprocessing:
        """What it wants done to pictures."""
        return self.checkpoint.preprocessing

    @property
    def space(self) -> Space:
        """The space its vectors lie in."""
        return self.checkpoint.space


def vectors(
    queries: Sequence[Query],
    model: QueryModel,
    find: Callable[[Sequence[str]], Mapping[str, NDArray[np.float32]]],
    sandbox: DecodeSandbox | None = None,
) -> list[NDArray[np.float32]]:
    """Return the queries' unit vectors, (dim,) float32 each; all their texts are embedded in one call.

    `find` gives the unit vectors of products by id; `sandbox` decodes what is not sound. Raises QueryError
    for a query that cannot be made.
    """
    texts = list(dict.fromkeys(query.text for query in queries if query.text))
    products = list(dict.fromkeys(query.product_id for query in queries if query.product_id))
    by_text = dict(zip(texts, text_vectors(model.encoder, texts), strict=True)) if texts else {}
    by_product = find(products) if products else {}
    rows = []
    for query in queries:
        parts = []
        if query.text:
            parts.append((by_text[query.text], query.text_weight))
        if query.image is not None:
            picture = image_vector(model.encoder, model.preprocessing, query.image, sandbox)
            parts.append((picture, query.image_weight))
        if query.product_id:
            parts.append((by_product[query.product_id], query.product_weight))
        rows.append(combine(parts))
    return rows


def combine(parts: Sequence[tuple[NDArray[np.float32], float]]) -> NDArray[np.float32]:
    """Return the unit vector along the weighted sum of unit vectors, (dim,) float32.

    Raises QueryError where there is none: no parts, parts that cancel out, or a model that gave no usable vector.
    """
    if not parts:
        raise QueryError("nothing is asked for; give a text, a picture or a product")
    if not all(math.isfinite(weight) for _, weight in parts):
        raise QueryError("a weight must be a finite number")
    total = np.sum([weight * vector.astype(np.float64) for vector, weight in parts], axis=0)
    if not np.isfinite(total).all():
        raise QueryError("the model gives no usable vector for this query; ask with another text or picture")
    length = float(np.linalg.norm(total))
    if length <= _NO_DIRECTION * max(abs(weight) for _, weight in parts):
        raise QueryError("nothing is left of the query: its weights are 0 or cancel out; give others")
    row: NDArray[np.float32] = (total / length).astype(np.float32)
    return row


def text_vector(encoder: Encoder, text: str) -> NDArray[np.float32]:
    """Return the unit vector of a text, (dim,) float32."""
    return combine([(text_vectors(encoder, [text])[0], 1.0)])


def text_vectors(encoder: Encoder, texts: Sequence[str]) -> NDArray[np.float32]:
    """Return the unit vectors of texts, (n, dim) float32, NaN where the model gives none; embedded in one call."""
    from ingest.embedding.encoder import normalize

    if not all(text.strip() for text in texts):
        raise QueryError("the text to search for is empty")
    return normalize(encoder.texts(texts))


def image_vector(
    encoder: Encoder, preprocessing: Preprocessing, image: Path | bytes, sandbox: DecodeSandbox | None = None
) -> NDArray[np.float32]:
    """Return the unit vector of a picture, (dim,) float32; raises QueryError where it cannot be decoded."""
    return combine([(image_vectors(encoder, [pixels(image, preprocessing, sandbox)])[0], 1.0)])


def image_vectors(encoder: Encoder, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Return the unit vectors of pictures that `pixels` made, (n, dim) float32, NaN where the model gives none."""
    from ingest.embedding.encoder import normalize

    return normalize(encoder.images(np.stack(pictures)))


def pixels(
    image: Path | bytes, preprocessing: Preprocessing, sandbox: DecodeSandbox | None = None
) -> NDArray[np.uint8]:
    """Decode a picture's file or bytes as catalog pictures are, (height, width, 3) uint8.

    What is not sound is decoded by the sandbox, where there is one. Raises QueryError where it is no picture.
    """
    if isinstance(image, bytes):
        with tempfile.TemporaryDirectory(prefix="ingest-") as folder:
            path = Path(folder, "picture")
            path.write_bytes(image)
            return _pixels(path, "the picture", preprocessing, sandbox)
    if not image.is_file():
        raise QueryError(f"{image}: no such file; --image takes the path of a picture")
    return _pixels(image, str(image), preprocessing, sandbox)


def _pixels(path: Path, name: str, preprocessing: Preprocessing, sandbox: DecodeSandbox | None) -> NDArray[np.uint8]:
    from ingest.images.decode.decoder import open_rgb
    from ingest.images.decode.errors import UndecodableError

    try:
        return preprocessing(open_rgb(path, sandbox))
    except UndecodableError as error:
        raise QueryError(f"{name}: {error.detail}") from error
    except OSError as error:
        raise QueryError(f"{name}: cannot be read ({error.strerror})") from error
