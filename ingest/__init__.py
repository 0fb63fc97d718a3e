"""`ingest` keeps a Milvus collection of CLIP picture embeddings in step with a product catalog."""
