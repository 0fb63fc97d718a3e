"""The commands against Milvus as people run it, by a stand-in server for each version."""
