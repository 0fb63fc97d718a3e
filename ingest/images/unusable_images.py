"""Images of products with several that are unusable for good, remembered beside the rows of those in use."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ingest.core.records import Reason
from ingest.images import urls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.core.records import ImageFile, Product
    from ingest.core.settings import Settings
    from ingest.images.cache.cache import ImageCache

EARLIER = " (found by an earlier run; --retry-failed tries again)"
"""The end of a detail that was not found in this run."""

_NOT_NOTED = frozenset({Reason.DISALLOWED})  # found again without a request
_LIMITS = ("max_image_bytes", "max_pixels", "min_side", "skip_blank")
_ACCESS = ("allow_host", "allow_private")
_DEPENDS_ON = dict.fromkeys((Reason.TOO_LARGE, Reason.TOO_SMALL, Reason.BLANK), _LIMITS) | {
    Reason.BLOCKED_ADDRESS: _ACCESS
}


class UnusableImages:
    """What is known of images that are unusable for good, by their URL or their bytes, whichever product has them.

    Only images of products with several are noted: the product's row in the index is that of the image in use. What an
    image fails by a limit, or by its host's address, counts while the `settings` of that are the same. With
    `retry_failed` nothing that was noted earlier counts.
    """

    def __init__(self, cache: ImageCache, settings: Settings) -> None:
        self._index = cache.index
        self._described: dict[tuple[str, ...], bytes] = {
            names: _describe(settings, names) for names in (_LIMITS, _ACCESS)
        }
        self._retries = settings.retry_failed

    def find_url(self, product: Product, url: str) -> tuple[Reason, str] | None:
        """Return why a product's URL is known to give no image; None if it has to be tried."""
        key = urls.key(url)
        return self._find([key]).get(key) if has_several(product) else None

    def find_bytes(self, images: Sequence[ImageFile]) -> dict[bytes, tuple[Reason, str]]:
        """Return why bytes are known to be no image, by their SHA-256."""
        return self._find([image.sha256 for image in images]) if images else {}

    def note_url(self, product: Product, url: str, reason: Reason, detail: str) -> None:
        """Note why a URL gave no image, if that lasts, and other images of the product are to be tried."""
        self._note(product, urls.key(url), reason, detail)

    def note_bytes(self, image: ImageFile, reason: Reason, detail: str) -> None:
        """Note why bytes are no image, likewise."""
        self._note(image.product, image.sha256, reason, detail)

    def rows(self, images: Sequence[str]) -> tuple[tuple[bytes, str, str], ...]:
        """Return what the index has noted of these URLs, for another process."""
        keys = [urls.key(image) for image in images]
        found = self._index.unusable(list(self._noted_as(keys)))
        return tuple((key, *why) for key, why in found.items())

    def _note(self, product: Product, key: bytes, reason: Reason, detail: str) -> None:
        is_new = not detail.endswith(EARLIER)
        if is_new and product.more_images and reason.passes_to_next_image and reason not in _NOT_NOTED:
            self._index.put_unusable([(self._under(key, _DEPENDS_ON.get(reason)), reason, detail)])

    def _find(self, keys: Sequence[bytes]) -> dict[bytes, tuple[Reason, str]]:
        if self._retries:
            return {}
        plain = self._noted_as(keys)
        found = self._index.unusable(list(plain))
        return {plain[key]: (Reason(failure), detail) for key, (failure, detail) in found.items()}

    def _noted_as(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return all keys that the index may have for these, each with what it stands for."""
        return {self._under(key, names): key for key in keys for names in (None, *self._described)}

    def _under(self, key: bytes, names: tuple[str, ...] | None) -> bytes:
        """Return the key of what depends on these settings."""
        return key if names is None else hashlib.sha256(key + self._described[names]).digest()


def _describe(settings: Settings, names: Sequence[str]) -> bytes:
    return " ".join(f"{name}={getattr(settings, name)}" for name in names).encode()


def has_several(product: Product) -> bool:
    """Return whether a product has, or had, more than one image to try."""
    return bool(product.more_images or product.position)
