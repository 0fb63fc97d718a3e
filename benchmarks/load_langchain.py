"""The part of load.py for langchain-milvus, in its own Python: add_embeddings, 1,000 at a time, and a flush.

python benchmarks/load_langchain.py FOLDER URI
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_milvus import Milvus


def main() -> None:
    """Load the folder's vectors, and print the figures as JSON."""
    folder, uri = Path(sys.argv[1]), sys.argv[2]
    vectors = np.load(folder / "vectors.npy")
    texts = [f"Product {number}" for number in range(len(vectors))]
    ids = [f"P{number:07d}" for number in range(len(vectors))]
    metadatas = [
        {"category": "mugs", "colour": "red", "price": n % 97 + 0.5, "brand": "Acme", "image": f"{n}.jpg"}
        for n in range(len(vectors))
    ]
    index = {"index_type": "HNSW", "metric_type": "IP", "params": {"M": 16, "efConstruction": 200}}
    sink = Milvus(
        embedding_function=DeterministicFakeEmbedding(size=vectors.shape[1]), connection_args={"uri": uri},
        collection_name="langchain_load", index_params=index, auto_id=False, drop_old=True,
    )  # fmt: skip
    started, cpu = time.monotonic(), time.process_time()
    sink.add_embeddings(texts, vectors.tolist(), metadatas, batch_size=1000, ids=ids)
    sink.client.flush("langchain_load")
    seconds, cpu = time.monotonic() - started, time.process_time() - cpu
    sink.client.drop_collection("langchain_load")
    rate = len(vectors) / seconds
    print(json.dumps({"seconds": round(seconds, 2), "rows_per_s": round(rate, 1), "cpu_seconds": round(cpu, 2)}))


if __name__ == "__main__":
    main()
