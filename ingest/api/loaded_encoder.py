"""`ingest.load_encoder`: the model alone, for texts and images in memory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Unpack

from ingest.api import keywords as kinds
from ingest.api.call import reword_errors
from ingest.api.image_forms import check_list, to_rgb
from ingest.api.keyword_settings import Keywords, settings_of, shows
from ingest.core.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from ingest.api.image_forms import ImageLike
    from ingest.embedding.checkpoint import Checkpoint
    from ingest.embedding.clip import ClipEncoder

ENCODER = Keywords("load_encoder", kinds.EncoderKeywords, "model")
_TEXTS = 256  # embedded in one call


class LoadedEncoder:
    """A CLIP or SigLIP that embeds texts and images in one space: the inner product of two rows is their cosine.

    The same model embeds a catalog to the same vectors. For any number of threads.
    """

    def __init__(self, checkpoint: Checkpoint, encoder: ClipEncoder) -> None:
        """Load the model."""
        self._checkpoint = checkpoint
        self._encoder = encoder
        self._size = encoder.size()

    @property
    def dim(self) -> int:
        """The length of its vectors."""
        return self._checkpoint.space.dim

    @property
    def fingerprint(self) -> str:
        """The embedding space, 16 hex digits: vectors may be compared only if they have the same."""
        return self._checkpoint.space.fingerprint

    def texts(self, texts: Iterable[str]) -> NDArray[np.float32]:
        """Embed n texts into (n, dim) float32, rows of unit length; a text longer than the model reads is cut.

        Raises QueryError for an empty text.
        """
        from ingest.runtime.parallel import batched
        from ingest.search import query

        def embed() -> NDArray[np.float32]:
            check_list(texts, "text")
            return self._whole([query.text_vectors(self._encoder, some) for some in batched(texts, _TEXTS)], "text")

        return reword_errors(embed)

    def images(self, images: Iterable[ImageLike]) -> NDArray[np.float32]:
        """Embed n images into (n, dim) float32, rows of unit length.

        Each is a path, the bytes of a file, an image of Pillow, or an array of uint8: (height, width) grey,
        (height, width, 3) RGB or (height, width, 4) RGBA. They may come from a generator: few are in memory at once.
        Raises QueryError, which names the number of an image that cannot be decoded.
        """
        from ingest.images.decode.sandbox import Sandbox
        from ingest.runtime.parallel import batched, parallel_map
        from ingest.search import query

        def embed() -> NDArray[np.float32]:
            check_list(images, "image")
            cores = os.cpu_count() or 1
            with Sandbox() as sandbox:

                def pixels(numbered: tuple[int, ImageLike]) -> NDArray[np.uint8]:
                    number, image = numbered
                    return self._checkpoint.preprocessing(to_rgb(image, f"image {number}", sandbox))

                decoded = parallel_map(pixels, enumerate(images), workers=cores, ahead=self._size.batch)
                vectors = parallel_map(
                    lambda some: query.image_vectors(self._encoder, some), batched(decoded, self._size.batch),
                    workers=self._size.lanes, ahead=self._size.lanes,
                )  # fmt: skip
                return self._whole(list(vectors), "image")

        return reword_errors(embed)

    def __repr__(self) -> str:
        """Name the model, its dim and its device."""
        return f"LoadedEncoder({self._checkpoint.space.model}, dim {self.dim}, on {self._encoder.devices[0]})"

    def _whole(self, parts: Sequence[NDArray[np.float32]], what: str) -> NDArray[np.float32]:
        import numpy as np

        rows = np.concatenate([np.empty((0, self.dim), np.float32), *parts])
        if bad := next(iter(np.flatnonzero(~np.isfinite(rows).all(axis=1)).tolist()), None):
            raise QueryError(f"{what} {bad}: the model gives no usable vector; leave it out, or try --dtype float32")
        return rows


@shows(ENCODER)
def load_encoder(model: kinds.AnyPath | None = None, **keywords: Unpack[kinds.EncoderKeywords]) -> LoadedEncoder:
    """Load a model: a hub id or a folder.

    Raises ModelError if it is unavailable or cannot be loaded, NoTorchError if torch is not installed.
    """

    def load() -> LoadedEncoder:
        settings = settings_of(ENCODER.read(keywords if model is None else {"model": model, **keywords}))
        from ingest.embedding.checkpoint import resolve
        from ingest.embedding.clip import ClipEncoder
        from ingest.embedding.device import check_device

        check_device(settings.device)
        checkpoint = resolve(settings.model, settings.model_revision)
        return LoadedEncoder(
            checkpoint, ClipEncoder(checkpoint, settings.device, settings.dtype, settings.batch)
        )  # fmt: skip

    return reword_errors(load)
