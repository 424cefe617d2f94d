"""A graph to show, and a platform whose imports do what a script says."""

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from hubblewave_pipelines.core.definition import to_stored
from hubblewave_pipelines.core.entity import Entity, Field, FieldKind, Relation, RelationKind
from hubblewave_pipelines.definitions.resources import Platform
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.defs_states import GraphRow
from hubblewave_pipelines.transfer.exports import ExportOutcome, ExportProgress
from hubblewave_pipelines.transfer.imports import ImportOutcome, ImportProgress


def entity(slug: str, name: str, *, fields: str = "name", target: str | None = None) -> Entity:
    """An entity with text fields, and a manyToOne to `target` when given."""
    relations = (
        (Relation("r" * 8, "home", RelationKind.MANY_TO_ONE, target, "homeId"),) if target else ()
    )
    return Entity(
        id="z" * 8,
        slug=slug,
        name=name,
        plural=f"{name}s",
        schema="t_aaaaaaaa",
        fields=tuple(
            Field((one + "b" * 8)[:8], one, FieldKind.TEXT, required=index == 0)
            for index, one in enumerate(fields.split())
        ),
        relations=relations,
        description=None,
    )


def graph_row(tenant: str, shown: Entity) -> GraphRow:
    return GraphRow(tenant, tenant.title(), shown.schema, shown.slug, to_stored(shown))


GRAPH = [
    graph_row("acme", entity("airports", "Airport", fields="code name")),
    graph_row("acme", entity("flights", "Flight", fields="number", target="Airport")),
    graph_row("other-one", entity("airports", "Airport")),
]


@dataclass
class Script:
    """What the scripted import does; the default succeeds with ten rows, one of them refused."""

    error: BaseException | None = None
    status: str = "partial"
    before_end: Callable[[], None] = lambda: None
    calls: list[UUID] = field(default_factory=list)

    def __call__(
        self,
        import_id: UUID,
        still_held: Callable[[], None],
        progress: Callable[[ImportProgress], None],
    ) -> ImportOutcome:
        self.calls.append(import_id)
        for tenth in range(0, 11, 2):
            progress(ImportProgress(tenth, 0, tenth * 10, 100))
        self.before_end()
        still_held()
        if self.error is not None:
            raise self.error
        return ImportOutcome(
            status=self.status,
            total=10,
            created=6,
            updated=2,
            unchanged=1,
            skipped=0,
            failed=1,
            entity_slug="airports",
            entity_name="Airport",
            columns=[("code", "text", "IATA"), ("name", "text", None)],
            first_errors=[(7, "code", "required", "code is required | always")],
        )


SCRIPTS: dict[str, Script] = {}  # by database URL: Dagster copies a resource before each run


class ScriptedPlatform(Platform):
    """The real database, and imports that do what their script says."""

    url: str

    @property
    def settings(self) -> Settings:  # type: ignore[override]
        return Settings(database_url=self.url)

    def run_import(
        self,
        tenant_id: UUID,
        import_id: UUID,
        *,
        run_id: str,
        still_held: Callable[[], None],
        progress: Callable[[ImportProgress], None],
    ) -> ImportOutcome:
        return SCRIPTS[self.url](import_id, still_held, progress)

    def run_export(
        self,
        tenant_id: UUID,
        export_id: UUID,
        *,
        run_id: str,
        still_held: Callable[[], None],
        progress: Callable[[ExportProgress], None],
    ) -> ExportOutcome:
        script = SCRIPTS[self.url]
        script.calls.append(export_id)
        progress(ExportProgress(5, 10))
        script.before_end()
        still_held()
        if script.error is not None:
            raise script.error
        return ExportOutcome(
            status="cancelled" if script.status == "cancelled" else "completed",
            rows=10,
            size=100,
            sha256="ab" * 32,
            path="/spool/exports/file.csv",
            delivered_to=None,
            format="csv",
            snapshot="1:1:",
            entity_name="Airport",
            columns=[("code", "text"), ("home.code", "text")],
        )
