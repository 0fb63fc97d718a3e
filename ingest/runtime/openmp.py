"""torch and faiss in one process on macOS, where each wheel brings an OpenMP of its own; Milvus Lite is a faiss, too.

The second of the two runtimes ends the process (`OMP: Error #15`) unless it is told to come in, and faiss then crashes
in its parallel loops (faiss-wheels/faiss-wheels #73, pytorch/pytorch #149201), so that it computes on one thread
wherever torch is loaded as well. On Linux the two get along, and nothing is done.
"""

from __future__ import annotations

import os
import sys
from typing import Any


def import_faiss() -> Any:
    """Import faiss, whether torch is there already or comes later."""
    let_both_in()
    import faiss

    share()
    return faiss


def let_both_in() -> None:
    """Let a second runtime in; read when it loads."""
    if sys.platform == "darwin":
        os.environ.setdefault("KMP_DUPLICATE_LIB_OK", "TRUE")


def share() -> None:
    """Keep faiss to one thread where torch is there, too; to be called when either has been imported."""
    faiss = sys.modules.get("faiss")
    if sys.platform == "darwin" and faiss is not None and "torch" in sys.modules:
        faiss.omp_set_num_threads(1)


def before_lite() -> None:
    """Import faiss before Milvus Lite does, which knows nothing of torch."""
    if sys.platform == "darwin":
        import_faiss()
