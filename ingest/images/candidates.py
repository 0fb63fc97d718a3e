"""The first usable image of a product that has several: the next one if one is unusable for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.core.records import Decoded, ImageFile, Skipped, Stage
from ingest.images.resolver import has_scheme
from ingest.images.unusable_images import has_several

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeAlias

    from ingest.core.records import Product
    from ingest.images.cache.cache import ImageCache
    from ingest.images.decode.stage import Decoder
    from ingest.images.resolver import UnreadFile
    from ingest.images.unread_files import IsKnown
    from ingest.images.unusable_images import UnusableImages

    Located: TypeAlias = ImageFile | UnreadFile | Skipped


class FirstUsable:
    """Turns located images of a block into images; for each that is unusable for good, the product's next one.

    `read` turns each record of a block into an ImageFile or a Skipped, as the stage does, and `resolve` locates a
    product's image. With a `decoder`, images that were never decoded are decoded here, unless `is_known` says that
    nothing needs their pixels: whether an image can be used is not known before.
    """

    def __init__(
        self,
        cache: ImageCache,
        unusable: UnusableImages,
        fields: Iterable[str],
        resolve: Callable[[Product], Located],
        read: Callable[[Sequence[Located]], list[ImageFile | Skipped]],
        decoder: Decoder | None,
        is_known: IsKnown,
    ) -> None:
        self._cache = cache
        self._unusable = unusable
        self._fields = tuple(fields)
        self._resolve = resolve
        self._read = read
        self._decoder = decoder
        self._is_known = is_known

    def __call__(self, block: Sequence[Located]) -> list[ImageFile | Skipped]:
        """Return the records in order."""
        found = self._read(block)
        several = [
            at for at, record in enumerate(block) if not isinstance(record, Skipped) and has_several(record.product)
        ]
        if not several:
            return found
        checked = self._check([found[at] for at in several])
        for at, record in zip(several, checked, strict=True):
            located = block[at]
            assert not isinstance(located, Skipped)
            found[at] = self._fall_back(located.product, record)
        return found

    def _fall_back(self, product: Product, record: ImageFile | Skipped) -> ImageFile | Skipped:
        """Return a product's image, or that of its next one that is usable."""
        while isinstance(record, Skipped) and record.reason.passes_to_next_image and product.more_images:
            if has_scheme(product.image):
                self._unusable.note_url(product, product.image.strip(), record.reason, record.detail)
            product = product.with_next_image(self._fields)
            located = self._resolve(product)
            if isinstance(located, Skipped):
                return located  # `resolve` has tried all that were left
            product = located.product
            [record] = self._check(self._read([located]))
        return record

    def _check(self, images: Sequence[ImageFile | Skipped]) -> list[ImageFile | Skipped]:
        """Return the records; those whose bytes are no image as a Skipped."""
        files = [image for image in images if isinstance(image, ImageFile)]
        faults = self._unusable.find_bytes(files)
        seen = self._cache.index.seen([image.sha256 for image in files]) if self._decoder is not None else set()
        unseen = [image for image in files if image.decoded is None and image.sha256 not in seen | faults.keys()]
        decoded: dict[str, Decoded | Skipped] = {
            image.product.product_id: image.product.skipped(Stage.DECODE, *faults[image.sha256])
            for image in files if image.sha256 in faults
        }  # fmt: skip
        if self._decoder is not None and unseen:
            needed = [image for image, known in zip(unseen, self._is_known(unseen), strict=True) if not known]
            for image, outcome in zip(needed, self._decoder(needed), strict=True):
                assert isinstance(outcome, Decoded | Skipped)
                decoded[image.product.product_id] = outcome
        return [self._with(image, decoded) if isinstance(image, ImageFile) else image for image in images]

    def _with(self, image: ImageFile, decoded: dict[str, Decoded | Skipped]) -> ImageFile | Skipped:
        outcome = image.decoded or decoded.get(image.product.product_id)
        return outcome if isinstance(outcome, Skipped) else image._replace(decoded=outcome)
