"""Local files that the index does not know yet: read once, and decoded on the same occasion if that is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.core.records import ImageFile, Skipped
from ingest.core.redaction import redact
from ingest.images.decode.base import ReadFile
from ingest.images.decode.errors import UndecodableError
from ingest.images.decode.on_threads import read_block
from ingest.images.resolver import UnreadFile, unreadable
from ingest.images.unusable_images import has_several

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from ingest.images.cache.cache import ImageCache
    from ingest.images.decode.stage import Decoder
    from ingest.images.reading import FileFacts
    from ingest.images.unusable_images import UnusableImages

    IsKnown: TypeAlias = Callable[[Sequence[ImageFile]], Sequence[bool]]


def none_is_known(images: Sequence[ImageFile]) -> list[bool]:
    """Answer for an empty store and an empty collection."""
    return [False] * len(images)


class UnreadFiles:
    """Turns each UnreadFile of a block into its ImageFile, or a Skipped; passes other records through.

    With a `decoder`, images of which `is_known` says False are decoded too. An `unusable` one of a product with several
    gets no row: that is kept for the one in use. For any number of threads. Raises StorageError if the machine is at
    fault, as `resolver.unreadable` says.
    """

    def __init__(
        self,
        cache: ImageCache,
        decoder: Decoder | None = None,
        is_known: IsKnown = none_is_known,
        unusable: UnusableImages | None = None,
    ) -> None:
        self._unusable = unusable
        self._cache = cache
        self._decoder = decoder
        self._is_known = is_known

    def __call__(self, block: Sequence[ImageFile | UnreadFile | Skipped]) -> list[ImageFile | Skipped]:
        """Return the records in order."""
        files = [record for record in block if isinstance(record, UnreadFile)]
        found = iter(self._find(files)) if files else iter(())
        return [next(found) if isinstance(record, UnreadFile) else record for record in block]

    def _find(self, files: list[UnreadFile]) -> list[ImageFile | Skipped]:
        known = self._cache.find_local([(file.product.product_id, file.path) for file in files])
        read = iter(self._read([file for file, entry in zip(files, known, strict=True) if entry is None]))
        found: list[ImageFile | Skipped] = []
        for file, entry in zip(files, known, strict=True):
            if entry is None:
                found.append(next(read))
            elif isinstance(entry, OSError | ValueError):
                found.append(_skip(file, entry))
            else:
                assert entry.sha256 is not None, "the row of a file has its digest"
                found.append(ImageFile(file.product, file.path, entry.sha256))
        return found

    def _read(self, files: list[UnreadFile]) -> list[ImageFile | Skipped]:
        paths = [file.path for file in files]
        if self._decoder is None:
            results = [ReadFile(facts, None) for facts in read_block(paths)[0]]
        else:
            results = list(self._decoder.files.read(paths, lambda facts: self._wanted(files, facts)))
        read = [(file, result.facts) for file, result in zip(files, results, strict=True)]
        images = [_image(file, facts) for file, facts in read]
        bad = self._bad(images, results)
        self._cache.record_local(
            (file.product.product_id, file.path, facts)
            for file, facts in read
            if not isinstance(facts, OSError) and file.product.product_id not in bad
        )
        if self._decoder is None:
            return images
        outcomes = [(image, result.outcome) for image, result in zip(images, results, strict=True)
                    if isinstance(image, ImageFile) and result.outcome is not None]  # fmt: skip
        decoded = {image.product.product_id: record for image, record in self._decoder.record(outcomes)}
        return [
            image._replace(decoded=decoded.get(image.product.product_id)) if isinstance(image, ImageFile) else image
            for image in images
        ]

    def _bad(self, images: Sequence[ImageFile | Skipped], results: Sequence[ReadFile]) -> set[str]:
        """Return the products with several images whose files here are no images."""
        several = [
            (image, result)
            for image, result in zip(images, results, strict=True)
            if isinstance(image, ImageFile) and has_several(image.product)
        ]
        known = self._unusable.find_bytes([image for image, _ in several]) if self._unusable else {}
        return {
            image.product.product_id
            for image, result in several
            if image.sha256 in known or isinstance(result.outcome, UndecodableError)
        }

    def _wanted(self, files: list[UnreadFile], read: Sequence[FileFacts | OSError]) -> list[bool]:
        """Return which files to decode: those that could be read, and whose image is not known."""
        found = (_image(file, facts) for file, facts in zip(files, read, strict=True) if not isinstance(facts, OSError))
        images = [image for image in found if isinstance(image, ImageFile)]
        known = zip(images, self._is_known(images), strict=True)
        unknown = {image.product.product_id for image, is_known in known if not is_known}
        return [file.product.product_id in unknown for file in files]


def _image(file: UnreadFile, facts: FileFacts | OSError) -> ImageFile | Skipped:
    if isinstance(facts, OSError):
        return _skip(file, facts)
    return ImageFile(file.product, file.path, facts.sha256)


def _skip(file: UnreadFile, error: OSError | ValueError) -> Skipped:
    return unreadable(file.product, redact(str(file.path)), error)
