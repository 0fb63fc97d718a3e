"""Images in the forms that Python programs have: a path, the bytes of a file, Pillow's image or a numpy array."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ingest.core.errors import QueryError
from ingest.core.redaction import redact

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    from ingest.images.decode.decoder import DecodeSandbox

ImageLike: TypeAlias = "str | PathLike[str] | bytes | Image | NDArray[Any]"
"""A path, a file's bytes, an image of Pillow, or an array of uint8: (h, w) grey, (h, w, 3) RGB or (h, w, 4) RGBA."""


def to_rgb(image: ImageLike, name: str, sandbox: DecodeSandbox | None = None) -> Image:
    """Return an image as catalog images are decoded: RGB, sRGB, upright, on white. `name` is for messages.

    Damaged files are decoded in the sandbox, if there is one. Raises QueryError for what is no image.
    """
    from ingest.images.decode.errors import UndecodableError

    try:
        return _decode(image, name, sandbox)
    except UndecodableError as error:
        raise QueryError(f"{name}: {error.detail}") from error
    except OSError as error:
        raise QueryError(f"{name}: cannot be read ({error.strerror or error})") from error


def check_list(values: object, what: str) -> None:
    """Raise QueryError for a single text or image in place of several: a text is a sequence of texts, too."""
    if isinstance(values, str | bytes | PathLike) or not isinstance(values, Iterable) or getattr(values, "ndim", 4) < 4:
        raise QueryError(f"one {what} in place of several; give a list: [{what}]")


def _decode(image: ImageLike, name: str, sandbox: DecodeSandbox | None) -> Image:
    import numpy as np
    from PIL import Image as pillow  # noqa: N813  a module

    from ingest.images.decode import decoder

    if isinstance(image, bytes):
        with tempfile.TemporaryDirectory(prefix="ingest-") as folder:
            path = Path(folder, "image")
            path.write_bytes(image)
            return decoder.open_rgb(path, sandbox)
    if isinstance(image, str | PathLike):
        path = Path(image).expanduser()
        if not path.is_file():
            raise QueryError(f"{name}: {redact(str(image))}: no such file")
        return decoder.open_rgb(path, sandbox)
    if isinstance(image, pillow.Image):
        return decoder.upright_rgb(image)
    if isinstance(image, np.ndarray):
        is_image = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))
        if image.dtype != np.uint8 or not is_image or not image.size:
            shape = " × ".join(map(str, image.shape))
            raise QueryError(
                f"{name}: an array of {image.dtype}, {shape}; give uint8, height × width, × 3 for RGB or × 4 for RGBA"
            )
        return decoder.upright_rgb(pillow.fromarray(image))
    raise QueryError(f"{name}: of type {type(image).__name__}; give a path, bytes, an image of Pillow or an array")
