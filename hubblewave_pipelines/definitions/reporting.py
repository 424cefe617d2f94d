"""An import's outcome as Dagster shows it: counts, schema, lineage, refusals. Never row data.

Anyone who may open the Dagster UI sees this, whatever their tenant.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from hubblewave_pipelines.core.asset_keys import entity_key, import_key, rejected_key
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.work import WorkRequest
from hubblewave_pipelines.transfer.imports import ImportOutcome

CHECK = "rejected_share"
_SHOWN_REFUSALS = 20
Metadata = Mapping[str, Any]


def slugs_of(request: WorkRequest) -> tuple[str, str]:
    """Tenant and entity slug, from the import's asset key."""
    _, tenant, entity = request.asset_key
    return tenant, entity


def import_metadata(request: WorkRequest, outcome: ImportOutcome, settings: Settings) -> Metadata:
    """Of the import asset: what happened to the file's rows."""
    return {
        "dagster/row_count": outcome.total,
        **_counts(outcome),
        "dagster/column_schema": dg.TableSchema(
            columns=[
                dg.TableColumn(name=source, type="text")
                for source in dict.fromkeys(s for _, _, s in outcome.columns if s is not None)
            ]
        ),
        "refused": dg.MetadataValue.md(_refusals(outcome)),
        "import": _link(settings, request),
    }


def entity_metadata(request: WorkRequest, outcome: ImportOutcome, settings: Settings) -> Metadata:
    """Of the entity asset: what this import did to the table, and where each column comes from."""
    source = dg.AssetKey(import_key(*slugs_of(request)))
    return {
        "dagster/row_count": outcome.created + outcome.updated + outcome.unchanged,
        **_counts(outcome),
        "dagster/column_schema": dg.TableSchema(
            columns=[dg.TableColumn(name=name, type=str(kind)) for name, kind, _ in outcome.columns]
        ),
        "dagster/column_lineage": dg.TableColumnLineage(
            {
                name: [dg.TableColumnDep(asset_key=source, column_name=column)]
                for name, _, column in outcome.columns
                if column is not None
            }
        ),
        "import": _link(settings, request),
    }


def rejected_metadata(request: WorkRequest, outcome: ImportOutcome, settings: Settings) -> Metadata:
    """Of the asset of rows set aside."""
    return {
        "dagster/row_count": outcome.failed,
        "refused": dg.MetadataValue.md(_refusals(outcome)),
        "errors": dg.MetadataValue.url(f"{_url(settings, request)}/errors"),
        "rejects": dg.MetadataValue.url(f"{_url(settings, request)}/rejects"),
    }


def rejected_share(
    request: WorkRequest, outcome: ImportOutcome, settings: Settings
) -> dg.AssetCheckResult:
    """Warns when more rows were refused than the setting allows."""
    share = outcome.failed / outcome.total if outcome.total else 0.0
    return dg.AssetCheckResult(
        check_name=CHECK,
        asset_key=dg.AssetKey(request.asset_key),
        passed=share <= settings.reject_warn_share,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"share": share, "warn_above": settings.reject_warn_share, "rows": outcome.failed},
    )


def downstream_events(
    request: WorkRequest, outcome: ImportOutcome, settings: Settings
) -> list[dg.AssetMaterialization]:
    """What the run also made: the entity's table and the rows set aside."""
    slugs = slugs_of(request)
    return [
        dg.AssetMaterialization(
            asset_key=entity_key(*slugs), metadata=entity_metadata(request, outcome, settings)
        ),
        dg.AssetMaterialization(
            asset_key=rejected_key(*slugs), metadata=rejected_metadata(request, outcome, settings)
        ),
    ]


def _counts(outcome: ImportOutcome) -> Metadata:
    return {
        "created": outcome.created,
        "updated": outcome.updated,
        "unchanged": outcome.unchanged,
        "skipped": outcome.skipped,
        "rejected": outcome.failed,
        "status": outcome.status,
    }


def _refusals(outcome: ImportOutcome) -> str:
    """A table of where and why; the refused values stay behind the API's access control."""
    if not outcome.first_errors:
        return "No row was refused."
    lines = ["| row | field | code | reason |", "|---|---|---|---|"]
    lines += [
        f"| {row} | {_cell(field)} | {_cell(code)} | {_cell(message)} |"
        for row, field, code, message in outcome.first_errors[:_SHOWN_REFUSALS]
    ]
    if outcome.failed > _SHOWN_REFUSALS:
        lines.append(f"\nThe first refusals of {outcome.failed}; the rest are behind the link.")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _url(settings: Settings, request: WorkRequest) -> str:
    return f"{settings.api_url}/api/v1/imports/{request.ref_id}"


def _link(settings: Settings, request: WorkRequest) -> dg.UrlMetadataValue:
    return dg.MetadataValue.url(_url(settings, request))
