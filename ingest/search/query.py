"""A query, and the unit vector it becomes: of a text, an image and a product, each with a weight."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ingest.core.errors import QueryError
from ingest.core.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray
    from PIL.Image import Image

    from ingest.core.contract import Space
    from ingest.core.settings import Settings
    from ingest.embedding.checkpoint import Checkpoint
    from ingest.embedding.clip import ClipEncoder
    from ingest.embedding.encoder import Encoder
    from ingest.embedding.preprocess import Preprocessing
    from ingest.images.decode.decoder import DecodeSandbox

_NO_DIRECTION = 1e-6
"""A weighted sum of unit vectors that is shorter than this is a rounding error."""


@dataclass(frozen=True, slots=True)
class Query:
    """At least one of `text`, `image` (a file, its bytes, or an upright RGB image) and `product_id`.

    Each has a unit vector, and the query's is their weighted sum, scaled to unit length; a weight below 0 leads away
    from it. `expression` is a Milvus filter, "" for none; `limit` is the maximum number of hits.
    """

    text: str = ""
    image: Path | bytes | Image | None = None
    product_id: str = ""
    text_weight: float = 1.0
    image_weight: float = 1.0
    product_weight: float = 1.0
    expression: str = ""
    limit: int = 10

    @property
    def needs_model(self) -> bool:
        """Whether something must be embedded; a product's vector exists already."""
        return bool(self.text) or self.image is not None

    def vector(
        self,
        text: NDArray[np.float32] | None = None,
        image: NDArray[np.float32] | None = None,
        product: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Return the query's unit vector, (dim,) float32, from those of its parts, None for a part that it lacks.

        Raises QueryError as `combine` does.
        """
        parts = ((text, self.text_weight), (image, self.image_weight), (product, self.product_weight))
        return combine([(vector, weight) for vector, weight in parts if vector is not None])


class QueryModel:
    """The model that the settings name, located when it is first needed and loaded when it first embeds."""

    def __init__(self, settings: Settings, batch: int = 1) -> None:
        self._settings = settings
        self._batch = batch

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The model's checkpoint; raises ModelError if it is unavailable."""
        from ingest.embedding.checkpoint import resolve

        return resolve(self._settings.model, self._settings.model_revision)

    @cached_property
    def encoder(self) -> ClipEncoder:
        """The model, loaded; batches of images are padded to `batch`."""
        from ingest.embedding.clip import ClipEncoder

        return ClipEncoder(self.checkpoint, self._settings.device, self._settings.dtype, self._batch)

    @property
    def preprocessing(self) -> Preprocessing:
        """How images are prepared for the model."""
        return self.checkpoint.preprocessing

    @property
    def space(self) -> Space:
        """The embedding space of its vectors."""
        return self.checkpoint.space


def vectors(
    queries: Sequence[Query],
    model: QueryModel,
    find: Callable[[Sequence[str]], Mapping[str, NDArray[np.float32]]],
    sandbox: DecodeSandbox | None = None,
) -> list[NDArray[np.float32]]:
    """Return the queries' unit vectors, (dim,) float32 each; all their texts are embedded in one call.

    `find` returns the unit vectors of products by id; `sandbox` decodes damaged images. Raises QueryError for a query
    that has no vector.
    """
    texts = list(dict.fromkeys(query.text for query in queries if query.text))
    products = list(dict.fromkeys(query.product_id for query in queries if query.product_id))
    by_text = dict(zip(texts, text_vectors(model.encoder, texts), strict=True)) if texts else {}
    by_product = find(products) if products else {}
    rows = []
    for query in queries:
        image = None
        if query.image is not None:
            image = image_vector(model.encoder, model.preprocessing, query.image, sandbox)
        rows.append(query.vector(by_text.get(query.text), image, by_product.get(query.product_id)))
    return rows


def combine(parts: Sequence[tuple[NDArray[np.float32], float]]) -> NDArray[np.float32]:
    """Return the unit vector along the weighted sum of unit vectors, (dim,) float32.

    Raises QueryError if there is none: no parts, parts that cancel out, or a vector with NaN.
    """
    if not parts:
        raise QueryError("the query is empty; give a text, an image or a product")
    if not all(math.isfinite(weight) for _, weight in parts):
        raise QueryError("a weight must be a finite number")
    total = np.sum([weight * vector.astype(np.float64) for vector, weight in parts], axis=0)
    if not np.isfinite(total).all():
        raise QueryError("the model has no usable vector for this query; use another text or image")
    length = float(np.linalg.norm(total))
    if length <= _NO_DIRECTION * max(abs(weight) for _, weight in parts):
        raise QueryError("the query has no direction: its weights are 0, or its parts cancel out; change the weights")
    row: NDArray[np.float32] = (total / length).astype(np.float32)
    return row


def text_vector(encoder: Encoder, text: str) -> NDArray[np.float32]:
    """Return the unit vector of a text, (dim,) float32."""
    return combine([(text_vectors(encoder, [text])[0], 1.0)])


def text_vectors(encoder: Encoder, texts: Sequence[str]) -> NDArray[np.float32]:
    """Return the unit vectors of texts, (n, dim) float32, NaN if the model has none; embedded in one call."""
    from ingest.embedding.encoder import normalize

    if not all(text.strip() for text in texts):
        raise QueryError("the text to search for is empty")
    return normalize(encoder.texts(texts))


def image_vector(
    encoder: Encoder, preprocessing: Preprocessing, image: Path | bytes | Image, sandbox: DecodeSandbox | None = None
) -> NDArray[np.float32]:
    """Return the unit vector of an image, (dim,) float32; raises QueryError if it cannot be decoded."""
    return combine([(image_vectors(encoder, [pixels(image, preprocessing, sandbox)])[0], 1.0)])


def image_vectors(encoder: Encoder, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Return the unit vectors of images as `pixels` returns them, (n, dim) float32, NaN if the model has none."""
    from ingest.embedding.encoder import normalize

    return normalize(encoder.images(np.stack(images)))


def pixels(
    image: Path | bytes | Image, preprocessing: Preprocessing, sandbox: DecodeSandbox | None = None
) -> NDArray[np.uint8]:
    """Decode an image's file or bytes as catalog images are decoded, (height, width, 3) uint8.

    A damaged one is decoded in the sandbox, if there is one. Raises QueryError if it is not an image.
    """
    if isinstance(image, bytes):
        with tempfile.TemporaryDirectory(prefix="ingest-") as folder:
            path = Path(folder, "image")
            path.write_bytes(image)
            return _pixels(path, "the image", preprocessing, sandbox)
    if not isinstance(image, Path):
        return preprocessing(image)
    if not image.is_file():
        raise QueryError(f"{redact(str(image))}: no such file; --image takes the path of an image")
    return _pixels(image, redact(str(image)), preprocessing, sandbox)


def _pixels(path: Path, name: str, preprocessing: Preprocessing, sandbox: DecodeSandbox | None) -> NDArray[np.uint8]:
    from ingest.images.decode.decoder import open_rgb
    from ingest.images.decode.errors import UndecodableError

    try:
        return preprocessing(open_rgb(path, sandbox))
    except UndecodableError as error:
        raise QueryError(f"{name}: {error.detail}") from error
    except OSError as error:
        raise QueryError(f"{name}: cannot be read ({error.strerror})") from error
