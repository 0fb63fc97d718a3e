"""Libraries that take so long to import that nothing may import them before it needs them."""

HEAVY = {
    "torch",
    "transformers",
    "pymilvus",
    "faiss",
    "pandas",
    "numpy",
    "requests",
    "rich",
    "ray",
    "pyarrow",
    "PIL",
    "fastapi",
    "pydantic",
    "starlette",
    "uvicorn",
    "prometheus_client",
    "matplotlib",
}
