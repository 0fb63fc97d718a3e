"""Find products by text: the vector from `ingest serve`, the search in Milvus. Only needs pymilvus.

python search.py "red striped mug" 'category == "mugs" and price < 20'
"""

import json
import os
import sys
import urllib.request

from pymilvus import MilvusClient

SERVE = os.environ.get("SERVE", "http://127.0.0.1:8900")
MILVUS = os.environ.get("MILVUS", "http://127.0.0.1:19530")
ALIAS = os.environ.get("ALIAS", "products")

words = sys.argv[1] if len(sys.argv) > 1 else "red striped mug"
expression = sys.argv[2] if len(sys.argv) > 2 else "price < 20"

request = urllib.request.Request(
    f"{SERVE}/v1/embed",
    data=json.dumps({"text": words}).encode(),
    headers={"Content-Type": "application/json", "Authorization": f"Bearer {os.environ.get('INGEST_SERVE_TOKEN', '')}"},
)
with urllib.request.urlopen(request) as answer:
    embedded = json.load(answer)

client = MilvusClient(MILVUS, token=os.environ.get("MILVUS_TOKEN", ""))
contract = json.loads(client.describe_collection(ALIAS)["properties"]["ingest.contract"])
if embedded["fingerprint"] != contract["fingerprint"]:
    sys.exit("the service's model is not the collection's: their fingerprints differ")

group = contract.get("group")  # a field that products of one item share, if the schema names one


def nearest(limit: int, without: list[str]) -> list:
    """Return the nearest products that are of none of the items in `without`, best first."""
    rest = f" and {group} not in {json.dumps(without, ensure_ascii=False)}" if without else ""
    [hits] = client.search(
        ALIAS,
        data=[embedded["vector"]],
        anns_field=contract["vector_field"],
        filter=f"({expression}){rest}",
        limit=limit,
        output_fields=["product_id", "title", "price", *([group] if group else [])],
        search_params={"metric_type": contract["metric"], "params": {"ef": max(contract["ef"], limit)}},
    )
    return hits


limit, items, others, found = 5, {}, {}, []
asked = 2 * limit + 8 if group else limit  # more than are shown, because some are of one item
while True:
    hits = nearest(asked, list(items))
    for hit in hits:
        item, product_id = hit["entity"].get(group), hit["entity"]["product_id"]
        (items if item else others).setdefault(item or product_id, hit)
    found = sorted([*items.values(), *others.values()], key=lambda hit: -hit["distance"])[:limit]
    if not group or len(found) == limit or len(hits) < asked:
        break
    asked = min(4 * asked, 16_384)

for hit in found:
    print(f"{hit['distance']:.3f}", hit["entity"]["product_id"], hit["entity"]["title"], hit["entity"]["price"])
