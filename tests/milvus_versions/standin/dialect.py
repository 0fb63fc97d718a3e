"""What differs between versions of Milvus, each rule with the source of its fact.

Paths are of the server's repository (github.com/milvus-io/milvus), numbers with # its issues and pull requests.
"not known" stands where the source leaves a doubt; there the stand-in accepts what any of them would.
"""

from __future__ import annotations

from dataclasses import dataclass

VERSIONS = ("2.3.5", "2.4.23", "2.5.27", "2.6.16", "3.0.0")


@dataclass(frozen=True, slots=True)
class Dialect:
    """One version, as `2.6.16`."""

    version: str

    def __str__(self) -> str:
        return self.version

    def since(self, *version: int) -> bool:
        """Tell whether this is that version or a later one."""
        return tuple(int(part) for part in self.version.split(".")) >= version

    @property
    def checks_scalars_for_nan(self) -> bool:
        """checkFloatFieldData, checkDoubleFieldData in internal/proxy/validate_util.go, since #32777."""
        return self.since(2, 4, 2)

    @property
    def has_nullable(self) -> bool:
        """FieldSchema.nullable of schema.proto; what is unknown to an older server's protobufs it passes over."""
        return self.since(2, 5)

    @property
    def has_templates(self) -> bool:
        """QueryRequest.expr_template_values of milvus.proto; likewise."""
        return self.since(2, 5)

    @property
    def resets_replicas(self) -> bool:
        """A load that names no number of replicas: the property `collection.replica.number`, else 1."""
        return self.since(2, 4, 13)

    @property
    def caches_aliases(self) -> bool:
        """A proxy answers from the old collection for a moment after an alias moved: #51780, fixed in 3.0.0."""
        return self.since(2, 4) and not self.since(3)

    @property
    def looks_for_aliases_in_default(self) -> bool:
        """DescribeAlias looks in the default database, whichever was named (seen with 2.3.5)."""
        return not self.since(2, 4)

    @property
    def limits_flushes(self) -> bool:
        """quotaAndLimits.flushRate: enabled, 0.1 a second and collection, in configs/milvus.yaml since 2.4."""
        return self.since(2, 4)

    @property
    def refuses_doubled_ids(self) -> bool:
        """An id twice in one upsert: CheckDuplicatePkExist in internal/proxy/task_upsert.go."""
        return self.since(2, 6)

    @property
    def lists_whole_jobs(self) -> bool:
        """ListImportTasks and GetImportState with id, rows and time: of the import jobs before 2.4's."""
        return not self.since(2, 4)
