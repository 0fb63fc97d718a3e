"""`ingest` keeps a Milvus collection of CLIP image embeddings up to date with a product catalog.

    summary = ingest.run("products.csv", uri="http://localhost:19530", download_missing=True)
    with ingest.connect("http://localhost:19530") as products:
        products.search("red mug", filter="price < 20", limit=5)

The functions take the flags of the commands as keywords: docs/python.md. Names are imported when they are first used.
"""

TYPE_CHECKING = False  # as in `typing`, which takes longer to import than all of this
if TYPE_CHECKING:
    from ingest.api.functions import embed, export, fetch, plan, run, verify
    from ingest.api.hit_list import Hits
    from ingest.api.loaded_encoder import LoadedEncoder, load_encoder
    from ingest.api.products import Products, connect
    from ingest.api.progress_events import ProgressEvent
    from ingest.api.results import RunSummary
    from ingest.core.errors import (
        BusyError,
        CatalogError,
        ClusterSizeError,
        ConfigError,
        ContractError,
        EngineError,
        ExportError,
        IngestError,
        InputError,
        InterruptedRunError,
        MilvusError,
        ModelError,
        NotLiveError,
        NoTorchError,
        PruneRefusedError,
        QueryError,
        StorageError,
        TooManySkippedError,
        VerificationError,
    )
    from ingest.search.backend import Hit
    from ingest.tasks.fetch import FetchResult
    from ingest.tasks.plan import Plan
    from ingest.tasks.verdict import Verdict

__all__ = [
    "BusyError",
    "CatalogError",
    "ClusterSizeError",
    "ConfigError",
    "ContractError",
    "EngineError",
    "ExportError",
    "FetchResult",
    "Hit",
    "Hits",
    "IngestError",
    "InputError",
    "InterruptedRunError",
    "LoadedEncoder",
    "MilvusError",
    "ModelError",
    "NoTorchError",
    "NotLiveError",
    "Plan",
    "Products",
    "ProgressEvent",
    "PruneRefusedError",
    "QueryError",
    "RunSummary",
    "StorageError",
    "TooManySkippedError",
    "Verdict",
    "VerificationError",
    "connect",
    "embed",
    "export",
    "fetch",
    "load_encoder",
    "plan",
    "run",
    "verify",
]

_PLACES = {
    "api.hit_list": ("Hits",),
    "api.loaded_encoder": ("LoadedEncoder", "load_encoder"),
    "api.products": ("Products", "connect"),
    "api.progress_events": ("ProgressEvent",),
    "api.results": ("RunSummary",),
    "api.functions": ("embed", "export", "fetch", "plan", "run", "verify"),
    "search.backend": ("Hit",),
    "tasks.fetch": ("FetchResult",),
    "tasks.plan": ("Plan",),
    "tasks.verdict": ("Verdict",),
}
"""Where the public names are; those that are missing here are errors."""

if not TYPE_CHECKING:  # a type checker would take every name for one that exists

    def __getattr__(name):  # noqa: ANN001, ANN202
        """Import a public name when it is first used (PEP 562)."""
        if name not in __all__:
            hint = f"; call ingest.connect(uri).{name}(…)" if name in ("search", "similar", "recommend") else ""
            raise AttributeError(f"module 'ingest' has no attribute {name!r}{hint}")
        from importlib import import_module

        place = next((place for place, names in _PLACES.items() if name in names), "core.errors")
        globals()[name] = found = getattr(import_module(f"ingest.{place}"), name)
        return found

    def __dir__():  # noqa: ANN202
        """Name what there is, for prompts that complete."""
        return sorted({*globals(), *__all__})
