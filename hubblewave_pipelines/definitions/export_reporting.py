"""An export's outcome as Dagster shows it: the file, its rows and columns. Never row data."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from hubblewave_pipelines.core.asset_keys import entity_key
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.work import WorkRequest
from hubblewave_pipelines.transfer.exports import ExportOutcome


def export_metadata(
    request: WorkRequest, outcome: ExportOutcome, settings: Settings
) -> Mapping[str, Any]:
    """Of the export asset: what the file is, and where each of its columns comes from."""
    entity = dg.AssetKey(entity_key(*request.asset_key[1:3]))
    own = [(name, kind) for name, kind in outcome.columns if "." not in name]
    return {
        "dagster/row_count": outcome.rows,
        "path": dg.MetadataValue.path(outcome.path),
        "delivered_to": outcome.delivered_to or "nowhere",
        "format": outcome.format,
        "bytes": outcome.size,
        "sha256": outcome.sha256,
        "snapshot": outcome.snapshot,
        "dagster/column_schema": dg.TableSchema(
            columns=[dg.TableColumn(name=name, type=kind) for name, kind in outcome.columns]
        ),
        "dagster/column_lineage": dg.TableColumnLineage(
            {name: [dg.TableColumnDep(asset_key=entity, column_name=name)] for name, _ in own}
        ),
        "export": dg.MetadataValue.url(f"{settings.api_url}/api/v1/exports/{request.ref_id}"),
    }
