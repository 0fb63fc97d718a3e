"""The modules that decide what is kept, written, deleted or served, and the tests that must notice a fault in each.

Files of tests, or single tests (`file.py::test_name`). Those that are quickest to fail come first.
"""

from __future__ import annotations

_PLANS = "tests/collection/test_plan_and_apply.py"
_CARRY_OVER = "tests/collection/test_carry_over.py"
_COLLECTIONS = "tests/collection/test_collections.py"
_CACHE = ["tests/unit/images/cache/test_cache.py", "tests/unit/images/test_resolver.py"]
_DOWNLOADS = ["tests/unit/images/http", "tests/faults/test_hostile_server.py"]
_STORE = ["tests/unit/store/test_local.py", "tests/unit/store/test_maintenance.py"]
_REPLICAS = "tests/milvus_versions/test_replicas_and_aliases.py"

TESTS: dict[str, list[str]] = {
    "sync/diff.py": ["tests/unit/sync/test_diff.py"],
    "sync/guard.py": ["tests/unit/sync/test_guard.py"],
    "sync/high_water.py": ["tests/unit/sync/test_high_water.py"],
    "sync/inventory.py": ["tests/unit/sync/test_inventory.py", "tests/unit/sync/test_diff.py"],
    "sync/prune.py": ["tests/unit/sync/test_prune.py", _PLANS],
    "sync/served.py": ["tests/unit/sync/test_served.py", _CARRY_OVER],
    "pipeline/promote.py": ["tests/collection/test_promotion.py", _COLLECTIONS, _PLANS, _CARRY_OVER],
    "pipeline/switch_losses.py": [_CARRY_OVER],
    "pipeline/carry_over.py": [_CARRY_OVER],
    "pipeline/first_write.py": ["tests/collection/test_first_write.py", _CARRY_OVER],
    "milvus/alias.py": [
        _COLLECTIONS,
        f"{_REPLICAS}::test_an_alias_in_a_database_is_looked_up_on_every_version",
        f"{_REPLICAS}::test_an_alias_is_not_noted_as_served_before_it_answers_from_its_new_collection",
        f"{_REPLICAS}::test_an_alias_that_goes_on_answering_from_the_old_collection_is_an_error_and_nothing_is_dropped",
        f"{_REPLICAS}::test_a_user_who_may_not_create_the_second_alias_is_told_so_and_rolls_back_all_the_same",
        "tests/collection/test_previous_alias.py",
    ],
    "milvus/reader.py": ["tests/unit/milvus/test_reader.py", "tests/collection/test_read_back.py", _CARRY_OVER],
    "milvus/writer.py": ["tests/unit/milvus/test_writer.py", _PLANS],
    "images/cache/cache.py": _CACHE,
    "images/cache/files.py": ["tests/unit/images/cache/test_files.py", *_CACHE],
    "images/cache/sources.py": ["tests/unit/images/cache/test_sources.py", "tests/unit/images/cache/test_cache.py"],
    "images/unread_files.py": [
        "tests/unit/images/test_unread_files.py",
        "tests/unit/images/test_already_present.py",
        "tests/unit/images/test_quality.py",
        "tests/unit/images/test_resolver.py",
        "tests/unit/images/cache/test_statistics.py",
    ],
    "images/http/downloader.py": _DOWNLOADS,
    "images/http/addresses.py": ["tests/unit/images/http/test_addresses.py"],
    "store/local.py": _STORE,
    "store/shard_folders.py": _STORE,
    "store/key_index.py": ["tests/unit/store/test_key_index.py", *_STORE],
    "store/concurrent_shards.py": [
        "tests/unit/store/test_concurrent_shards.py",
        "tests/unit/store/test_object_storage.py",
    ],
    "runtime/hash_index.py": ["tests/unit/runtime/test_hash_index.py"],
    "server/open_connections.py": ["tests/unit/server/test_open_connections.py"],
}
