"""A file and what is asked of it -> the job that imports it, or everything that is wrong with it."""

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from hubblewave_pipelines.core.entity import Catalog, Entity, Json
from hubblewave_pipelines.core.errors import Invalid
from hubblewave_pipelines.core.import_options import check_unique_fields, parse_options
from hubblewave_pipelines.core.mapping import as_json, folded, parse_mapping
from hubblewave_pipelines.core.reading import Reading
from hubblewave_pipelines.storage.imports import NewImport
from hubblewave_pipelines.transfer.formats import Source


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file in the spool: what it is called, its bytes, and who wants it imported."""

    path: Path
    name: str
    size: int
    sha256: bytes
    tenant_id: UUID
    by: UUID


def accepted(
    file: Arrival,
    source: Source,
    *,
    entity: Entity,
    catalog: Catalog,
    mapping: Json,
    options: Json,
    new_id: UUID,
) -> NewImport:
    """The job of a file that was looked into; `mapping` and `options` as clients give them.

    Raises Invalid with every fault of both at once.
    """
    faults = Reading()
    chosen = parse_options(options, faults)
    maps = parse_mapping(
        folded(mapping, options, entity, source.columns, faults),
        entity=entity,
        catalog=catalog,
        header=source.columns,
        reading=faults,
        more=source.open,
    )
    check_unique_fields(chosen, maps, faults)
    if faults.faults:
        raise Invalid("The import cannot be accepted.", faults=faults.faults)
    return NewImport(
        id=new_id,
        tenant_id=file.tenant_id,
        entity_id=entity.id,
        entity_name=entity.name,
        file_name=file.name,
        file_size=file.size,
        file_type=source.format.value,
        file_sha256=file.sha256,
        spool_path=str(file.path.resolve()),
        mapping=as_json(maps),
        options=chosen.as_json(),
        detected=source.as_json(),
        created_by=file.by,
    )
