"""torch and faiss in one process on macOS, where each wheel has its own OpenMP runtime. Milvus Lite contains a faiss.

The second runtime ends the process (`OMP: Error #15`) unless it is allowed, and then faiss crashes in its parallel
loops (faiss-wheels/faiss-wheels#73, pytorch/pytorch#149201). So faiss uses one thread if torch is loaded, too. On Linux
there is no conflict, and nothing is done.
"""

from __future__ import annotations

import os
import sys
from typing import Any


def import_faiss() -> Any:
    """Import faiss, before or after torch."""
    let_both_in()
    import faiss

    share()
    return faiss


def let_both_in() -> None:
    """Allow a second OpenMP runtime; to be called before it loads."""
    if sys.platform == "darwin":
        os.environ.setdefault("KMP_DUPLICATE_LIB_OK", "TRUE")


def share() -> None:
    """Limit faiss to one thread if torch is imported, too; to be called after importing either."""
    faiss = sys.modules.get("faiss")
    if sys.platform == "darwin" and faiss is not None and "torch" in sys.modules:
        faiss.omp_set_num_threads(1)


def before_lite() -> None:
    """Import faiss before Milvus Lite does, which does not consider torch."""
    if sys.platform == "darwin":
        import_faiss()
