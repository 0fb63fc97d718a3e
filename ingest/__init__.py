"""`ingest` keeps a Milvus collection of CLIP image embeddings up to date with a product catalog."""
