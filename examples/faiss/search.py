"""Find products similar to a product in the exported files, with only faiss and json: no server, no ingest.

python search.py data/indexes P0017
"""

import json
import sys
from pathlib import Path

import faiss

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "data/indexes")
wanted = sys.argv[2] if len(sys.argv) > 2 else "P0017"

[path] = folder.glob("hnsw_clip_*.faiss")
index = faiss.read_index(str(path))
product_ids = json.loads(path.with_name(f"{path.stem}_product_ids.json").read_text(encoding="utf-8"))
faiss.ParameterSpace().set_index_parameter(index, "efSearch", 64)  # the contract's ef

vector = index.reconstruct(product_ids.index(wanted)).reshape(1, -1)  # unit length, so scores are cosines
scores, rows = index.search(vector, 6)
for score, row in zip(scores[0], rows[0], strict=True):
    if row >= 0 and product_ids[row] != wanted:
        print(f"{score:.3f}", product_ids[row])
