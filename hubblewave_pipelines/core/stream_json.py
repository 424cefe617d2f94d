"""Streams, check reports and connector types as JSON: what the API shows and rows keep."""

from datetime import timedelta
from typing import Any

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.stream import CheckReport, ConnectorType, Stream, StreamField


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()


def field_json(field: StreamField) -> dict[str, Json]:
    return {
        "name": field.name,
        "type": field.kind.value,
        "label": field.label,
        "nullable": field.nullable,
        "creatable": field.creatable,
        "updatable": field.updatable,
        "computed": field.computed,
        "externalId": field.external_id,
        "unique": field.unique,
        "maxLength": field.max_length,
        "scale": field.scale,
        "choices": list(field.choices),
        "refersTo": list(field.refers_to),
    }


def stream_json(stream: Stream) -> dict[str, Json]:
    """`fields` is empty where the system was asked for its streams only."""
    return {
        "name": stream.name,
        "label": stream.label,
        "key": stream.key,
        "cursor": stream.cursor,
        "cursorGranularitySeconds": _seconds(stream.cursor_granularity),
        "deletes": stream.deletes.value,
        "creatable": stream.creatable,
        "updatable": stream.updatable,
        "deletable": stream.deletable,
        "compareAndSet": stream.compare_and_set.value,
        "notes": list(stream.notes),
        "fields": [field_json(field) for field in stream.fields],
    }


def report_json(report: CheckReport) -> dict[str, Json]:
    return {
        "level": report.level.value,
        "findings": [
            {"what": each.what, "level": each.level.value, "detail": each.detail}
            for each in report.findings
        ],
        "clockSkewSeconds": _seconds(report.clock_skew),
        "timeZone": report.time_zone,
    }


def type_json(known: ConnectorType) -> dict[str, Any]:
    return {
        "name": known.name,
        "title": known.title,
        "config": known.config,
        "credentials": known.credentials,
        "capabilities": known.capabilities,
    }
