"""The errors of a Milvus server, as its answers carry them.

`error_code` is from before servers had codes, and is still sent beside them (merr.Status in
pkg/util/merr/utils.go, oldCode): clients look at both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymilvus.grpc_gen import common_pb2

if TYPE_CHECKING:
    from milvus_versions.standin.dialect import Dialect

# Of pkg/util/merr/errors.go, which gives each the same number in all versions that have it.
RATE_LIMIT = 8
COLLECTION_NOT_FOUND, COLLECTION_NOT_LOADED = 100, 101
REPLICA_NOT_FOUND = 400
INDEX_NOT_FOUND = 700
DATABASE_NOT_FOUND = 800
PARAMETER_INVALID = 1100
ALIAS_NOT_FOUND, ALIAS_CONFLICT, ALIAS_TAKEN = 1600, 1601, 1602
FIELD_NAME_INVALID = 1701
IMPORT_FAILED = 2100
UNEXPECTED = 65535

_OLD = {
    RATE_LIMIT: common_pb2.RateLimit,
    COLLECTION_NOT_FOUND: common_pb2.CollectionNotExists,
    INDEX_NOT_FOUND: common_pb2.IndexNotExist,
    PARAMETER_INVALID: common_pb2.IllegalArgument,
}


class RefusalError(Exception):
    """A request that the server refuses, with its code and reason."""

    def __init__(self, code: int, reason: str, old: int | None = None, *, retriable: bool = False) -> None:
        super().__init__(reason)
        self.code = code
        self.old = _OLD.get(code, common_pb2.UnexpectedError) if old is None else old
        self.retriable = retriable

    def status(self) -> common_pb2.Status:
        """Return it as a status in the server's answer."""
        return common_pb2.Status(
            code=self.code, error_code=self.old, reason=str(self), detail=str(self), retriable=self.retriable
        )


def invalid(reason: str) -> RefusalError:
    """Return merr.WrapErrParameterInvalidMsg."""
    return RefusalError(PARAMETER_INVALID, f"{reason}: invalid parameter")


def plain(dialect: Dialect, reason: str) -> RefusalError:
    """Return an error that had no code (fmt.Errorf) in older versions, and later that of a wrong parameter."""
    return invalid(reason) if dialect.codes_input_errors else RefusalError(UNEXPECTED, reason)
