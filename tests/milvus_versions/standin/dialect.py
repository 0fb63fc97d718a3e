"""The differences between versions of Milvus, each with its source.

Paths are of the server's repository (github.com/milvus-io/milvus), numbers with # its issues and pull requests. They
were read at 2.3.5, 2.4.13, 2.5.16, 2.6.20 and 3.0.0; for versions between them, the commits that made a change count.
"Not known" marks a doubt that is left: there the stand-in accepts what any version in question would.
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
        """Return whether this is that version or a later one."""
        return tuple(int(part) for part in self.version.split(".")) >= version

    @property
    def checks_scalars_for_nan(self) -> bool:
        """checkFloatFieldData, checkDoubleFieldData in internal/proxy/validate_util.go, since #32777."""
        return self.since(2, 4, 2)

    @property
    def has_nullable(self) -> bool:
        """FieldSchema.nullable of schema.proto; an older server ignores a field that its protobufs lack."""
        return self.since(2, 5)

    @property
    def has_templates(self) -> bool:
        """QueryRequest.expr_template_values of milvus.proto; an older server ignores them, and parses the braces."""
        return self.since(2, 5)

    @property
    def resets_replicas(self) -> bool:
        """A load that names no number of replicas: the property `collection.replica.number`, else 1.

        LoadCollection in internal/querycoordv2/services.go, read at 2.4.13.
        """
        return self.since(2, 4, 13)

    @property
    def keeps_aliases_by_name(self) -> bool:
        """A proxy's searches may go to an alias' old collection for a moment: its cache of leaders is keyed by name.

        #51780, in 3.0.0; its backports to 2.5 and 2.6, if any, came after the versions here.
        """
        return not self.since(3)

    @property
    def describes_from_cache(self) -> bool:
        """DescribeCollection from the proxy's cache (internal/proxy/service_provider.go).

        #42823 in 2.6, #43911 of August 2025 in 2.5. A missing collection then has code 0 in its status; in 3.0, 100.
        """
        return self.since(2, 5, 17)

    @property
    def passes_database_of_aliases(self) -> bool:
        """FillDatabase (internal/proxy/database_interceptor.go) knows DescribeAlias and ListAliases; 2.3.5's does not.

        There they look in the default database unless the request's body names another.
        """
        return self.since(2, 4)

    @property
    def keeps_collections_with_aliases(self) -> bool:
        """A collection with an alias is not dropped: #40143, in 2.5 by #40147 of February 2025.

        Not known of 2.4.23, which came after; 2.4.13 drops it and leaves the alias dangling, as 2.3.5 does.
        """
        return self.since(2, 5, 6)

    @property
    def limits_flushes(self) -> bool:
        """quotaAndLimits.flushRate: enabled, 0.1 a second and collection, in configs/milvus.yaml since 2.4."""
        return self.since(2, 4)

    @property
    def refuses_doubled_ids(self) -> bool:
        """An id twice in one upsert: CheckDuplicatePkExist in internal/proxy/task_upsert.go, #46035 for 2.6.7."""
        return self.since(2, 6, 7)

    @property
    def refuses_static_names(self) -> bool:
        """A typed field's name as a key of the dynamic field: verifyDynamicFieldData in internal/proxy/util.go, #38025.

        In 2.5.0; not known of 2.4.23.
        """
        return self.since(2, 5)

    @property
    def checks_rights_by_body(self) -> bool:
        """The database that a user needs rights in is the one in the request's body, else the metadata's: #50678.

        Before 3.0 the metadata's alone (GetCurDBNameFromContextOrDefault in privilege_interceptor.go).
        """
        return self.since(3)

    @property
    def has_jobs(self) -> bool:
        """Import jobs as rewritten for 2.4, to which older calls are translated (impl.go, convertToV1…)."""
        return self.since(2, 4)

    @property
    def has_rest_v2(self) -> bool:
        """`/v2/vectordb/…` on the port of gRPC (internal/distributed/proxy/httpserver/handler_v2.go): 2.4."""
        return self.since(2, 4)

    @property
    def groups(self) -> bool:
        """A query's `group_by_fields` (internal/proxy/task_query.go): 3.0; before, an unknown parameter."""
        return self.since(3)

    @property
    def codes_input_errors(self) -> bool:
        """Errors of the proxy that were plain (code 65535) have code 1100: read at 3.0.0.

        Not known of 2.6.16 for each: 2.6.20 has most of them; the code of a refusal decides nothing.
        """
        return self.since(3)
