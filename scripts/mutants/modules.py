"""The modules that decide what is kept, written, deleted or served, and the tests that must notice a fault in each.

The tests that are quickest to fail come first.
"""

from __future__ import annotations

_PLANS = "tests/collection/test_plan_and_apply.py"
_DOWNLOADS = ["tests/unit/images/http", "tests/faults/test_hostile_server.py"]
_STORE = ["tests/unit/store/test_local.py", "tests/unit/store/test_maintenance.py"]

TESTS: dict[str, list[str]] = {
    "sync/diff.py": ["tests/unit/sync/test_diff.py", _PLANS],
    "sync/guard.py": ["tests/unit/sync/test_guard.py", _PLANS],
    "sync/inventory.py": ["tests/unit/sync/test_inventory.py", _PLANS],
    "sync/prune.py": [_PLANS, "tests/e2e/test_run.py"],
    "pipeline/promote.py": [_PLANS, "tests/collection/test_collections.py", "tests/e2e/test_what_is_served.py"],
    "milvus/alias.py": ["tests/collection/test_collections.py", _PLANS],
    "milvus/reader.py": ["tests/unit/milvus", "tests/collection"],
    "milvus/writer.py": ["tests/unit/milvus/test_writer.py", _PLANS],
    "images/cache/cache.py": ["tests/unit/images/cache", "tests/unit/images"],
    "images/cache/files.py": ["tests/unit/images/cache", "tests/unit/images"],
    "images/http/downloader.py": _DOWNLOADS,
    "images/http/addresses.py": ["tests/unit/images/http/test_addresses.py", *_DOWNLOADS],
    "store/local.py": _STORE,
    "store/shard_folders.py": _STORE,
    "store/key_index.py": ["tests/unit/store/test_key_index.py", *_STORE],
    "runtime/hash_index.py": ["tests/unit/runtime", "tests/unit/store"],
    "server/open_connections.py": ["tests/unit/server/test_open_connections.py"],
}
