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

hits = client.search(
    ALIAS,
    data=[embedded["vector"]],
    anns_field=contract["vector_field"],
    filter=expression,
    limit=5,
    output_fields=["product_id", "title", "price"],
    search_params={"metric_type": contract["metric"], "params": {"ef": contract["ef"]}},
)
for hit in hits[0]:
    print(f"{hit['distance']:.3f}", hit["entity"]["product_id"], hit["entity"]["title"], hit["entity"]["price"])
