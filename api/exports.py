"""/api/v1/exports: ask for a file of an entity's records, once or on a schedule, and download it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from starlette.responses import FileResponse, Response

from api.body import JsonAnswer, read_json
from api.context import Caller, Context, Platform, Reading, Writing, caller, opened, platform
from api.idempotency import fingerprint, idempotency_key, once
from api.launching import launch
from api.links_to_files import LinkTo, sign, signed_by
from hubblewave_pipelines.core.asset_keys import export_key
from hubblewave_pipelines.core.errors import Conflict, Fault, Gone, Invalid, NotFound
from hubblewave_pipelines.core.export_formats import (
    Format,
    media_type,
    parse_export_options,
)
from hubblewave_pipelines.core.export_request import ExportRequest, parse_export
from hubblewave_pipelines.core.file_names import content_disposition
from hubblewave_pipelines.core.given import Given
from hubblewave_pipelines.core.parameters import parse_paging, refuse_parameters
from hubblewave_pipelines.core.reading import Reading as Faults
from hubblewave_pipelines.storage import exports, work
from hubblewave_pipelines.storage.exports import ExportJob, NewExport
from hubblewave_pipelines.storage.refusals import refusing
from hubblewave_pipelines.storage.work import WorkRequest
