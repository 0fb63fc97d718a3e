"""`ingest.connect`: the products of a collection, searched from Python."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import weakref
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack

from ingest.api import keywords as kinds
from ingest.api.call import reword_errors
from ingest.api.hit_list import Hits
from ingest.api.image_forms import to_rgb
from ingest.api.keyword_settings import Keywords, settings_of, shows
from ingest.core.errors import MilvusError, ModelError, QueryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.api.image_forms import ImageLike
    from ingest.core.settings import Settings
    from ingest.search.backend import Hit
    from ingest.search.milvus_backend import SearchableCollection
    from ingest.search.query import QueryModel

log = logging.getLogger(__name__)

CONNECT = Keywords("connect", kinds.ConnectKeywords, "uri")
MAX_LIMIT = 1000  # as the commands'


class Products:
    """The collection that the alias serves; a context manager that closes the connection.

    For any number of threads. It stays with its collection if the alias moves to another: connect again for that. The
    model is loaded by the first search for a text or an image.
    """

    def __init__(self, settings: Settings, *, names_model: bool) -> None:
        """Connect. Unless the settings name the model, the collection's own is taken."""
        from ingest.search.milvus_backend import open_collection

        # A relative path in them must mean the same when the program has changed its folder.
        self._settings = replace(settings, data=settings.data.absolute(), images_root=_absolute(settings.images_root),
                                 catalog=_absolute(settings.catalog))  # fmt: skip
        self._names_model = names_model
        self._model: QueryModel | None = None
        self._embedding = threading.Lock()
        self._process = os.getpid()
        with ExitStack() as stack:
            self._collection = stack.enter_context(open_collection(settings, reading=True))
            # Also when it is collected, or the program ends: later, nothing can be closed any more.
            self._finalizer = weakref.finalize(self, _close, stack.pop_all(), self._process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a Milvus Lite file is free for others then."""
        self._finalizer()

    @property
    def collection(self) -> str:
        """The name of the collection behind the alias."""
        return self._collection.name

    @property
    def contract(self) -> dict[str, Any]:
        """What the collection says of itself: its model, fields and index."""
        return dict(self._collection.contract)

    def __len__(self) -> int:
        """Count the products."""
        return reword_errors(self._open().count)

    def search(
        self,
        text: str | None = None,
        *,
        image: ImageLike | None = None,
        product: str | None = None,
        filter: str = "",  # noqa: A002  the flag's name
        limit: int = 10,
        text_weight: float = 1.0,
        image_weight: float = 1.0,
        product_weight: float = 1.0,
    ) -> Hits:
        """Find the products nearest to a text, an image, another product, or a combination of these.

        `image` is a path, a URL, the bytes of a file, an image of Pillow or an array of uint8. Each part becomes a unit
        vector, and the query is their weighted sum; a negative weight leads away. `filter` is a Milvus expression.
        Raises QueryError for a query that cannot run, ModelError if the model is not the collection's.
        """

        def find() -> Hits:
            from ingest.search.query import Query
            from ingest.search.search import answer_queries

            collection = self._open()
            _check(limit, text=text, product=product, filter=filter)
            if text is None and image is None and product is None:
                raise QueryError("the query is empty; give a text, an image or a product")
            if text is not None and not text.strip():
                raise QueryError("the text to search for is empty")
            query = Query(
                text or "", None if image is None else self._upright(image), product or "",
                text_weight, image_weight, product_weight, filter, limit,
            )  # fmt: skip
            with self._embedding if query.needs_model else nullcontext():
                [found] = answer_queries(collection, self._query_model(), [query])
            return self._hits(found, filter)

        return reword_errors(find)

    def similar(
        self,
        product: str,
        *,
        filter: str = "",  # noqa: A002  the flag's name
        limit: int = 10,
        diverse: bool = False,
        balance: float | None = None,
        same: str = "",
        other: str = "",
    ) -> Hits:
        """Find products like one; those with the same image are left out. As `recommend` otherwise."""
        return self.recommend(
            [product], filter=filter, limit=limit, diverse=diverse, balance=balance, same=same, other=other
        )

    def recommend(
        self,
        products: Sequence[str],
        *,
        filter: str = "",  # noqa: A002  the flag's name
        limit: int = 10,
        diverse: bool = False,
        balance: float | None = None,
        same: str = "",
        other: str = "",
    ) -> Hits:
        """Find products like several, a basket, by the mean of their vectors; no model is needed.

        With `diverse` the results are also unlike one another; `balance` is then from 1, similarity only, to 0,
        diversity only, 0.5 by default. `same` and `other` name a field whose value must equal the given products', or
        differ. Raises QueryError for a product that is missing.
        """

        def find() -> Hits:
            from ingest.search import recommend

            collection = self._open()
            ids = list(dict.fromkeys([products] if isinstance(products, str) else products))
            if not ids:
                raise QueryError("the basket is empty; give at least one product id")
            _check(limit, filter=filter, same=same, other=other)
            for product in ids:
                _check(limit, product=product)
            if balance is not None and not (diverse and 0 <= balance <= 1):
                raise QueryError("balance is a number from 0 to 1, and works with diverse=True only")
            lambda_ = (0.5 if balance is None else balance) if diverse else None
            options = recommend.RecommendOptions(limit, lambda_, same, other, filter)
            return self._hits(recommend.like(collection, ids, options), filter)

        return reword_errors(find)

    def __repr__(self) -> str:
        """Name the alias, the collection and the server."""
        state = "" if self._finalizer.alive else ", closed"
        return f"Products({self._collection.alias} → {self._collection.name}, at {self._shown}{state})"

    @property
    def _shown(self) -> str:
        from ingest.milvus.uris import split_user

        return split_user(self._settings.milvus_uri)[0]

    def _open(self) -> SearchableCollection:
        if not self._finalizer.alive:
            raise MilvusError(f"the connection to {self._shown} is closed; call ingest.connect again")
        if self._process != os.getpid():  # gRPC's threads stayed in the other process: a call would never return
            raise MilvusError(f"the connection to {self._shown} was made by another process; connect again in this one")
        return self._collection

    def _hits(self, hits: Sequence[Hit], expression: str) -> Hits:
        """Return the hits; warns of names in the filter that no product may have."""
        from ingest.search.unknown_fields import warnings

        for warning in warnings(self._collection, expression, hits):
            log.warning("filter: %s", warning)
        return Hits(hits, self._settings)

    def _upright(self, image: ImageLike) -> Any:
        """Return the image of a query as RGB; a URL is downloaded, by the rules for the catalog's."""
        from ingest.images.urls import host
        from ingest.search.product_images import fetch_image

        if not isinstance(image, str) or not host(image):
            return to_rgb(image, "image")
        with tempfile.TemporaryDirectory(prefix="ingest-") as folder:
            return to_rgb(fetch_image(image, self._settings, Path(folder)), "image")

    def _query_model(self) -> QueryModel:
        from ingest.search.query import QueryModel

        if self._model is None:
            self._model = QueryModel(self._settings if self._names_model else self._with_own_model())
        return self._model

    def _with_own_model(self) -> Settings:
        """Return the settings with the model that the collection was built with; a local one has only a name there."""
        contract = self._collection.contract
        model, revision = str(contract["model"]), str(contract["revision"])
        if revision.startswith("sha256:"):
            raise ModelError(
                f"the collection behind {self._collection.alias} was built with {model}, a model in a local folder; "
                "name the folder: ingest.connect(..., model='…')"
            )
        return replace(self._settings, model=model, model_revision=revision)


@shows(CONNECT)
def connect(uri: kinds.AnyPath | None = None, **keywords: Unpack[kinds.ConnectKeywords]) -> Products:
    """Connect to Milvus, and open the collection that the alias serves.

    `uri` is an http(s):// address or a Milvus Lite file, by default milvus.db in the data folder. `model` is by default
    the collection's own. The data folder and `catalog` say where the images of hits are, for notebooks.

    Raises MilvusError if Milvus cannot be reached or serves no collection of ingest's.
    """

    def open_products() -> Products:
        values = CONNECT.read(keywords if uri is None else {"uri": uri, **keywords})
        return Products(settings_of(values), names_model="model" in values)

    return reword_errors(open_products)


def _check(limit: int, **texts: object) -> None:
    """Raise QueryError for a limit that is none, and for what is no text: ids of pandas are numbers easily."""
    if not hasattr(limit, "__index__") or not 1 <= limit <= MAX_LIMIT:
        raise QueryError(f"limit is {limit!r}; give a whole number from 1 to {MAX_LIMIT:,}")
    if wrong := next((name for name, text in texts.items() if not isinstance(text, str | None)), None):
        raise QueryError(f"{wrong} is of type {type(texts[wrong]).__name__}; give a text")


def _close(stack: ExitStack, process: int) -> None:
    if process == os.getpid():
        stack.close()


def _absolute(place: Any) -> Any:
    return place.absolute() if isinstance(place, Path) else place
