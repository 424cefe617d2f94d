"""The form of an import: which entity, what the file is, and its JSON parts."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated

from fastapi import Depends

from api.body import parse
from api.context import Caller, caller
from api.uploads import Upload
from hubblewave_pipelines.core.entity import Entity, Json
from hubblewave_pipelines.core.errors import Fault, Invalid, MalformedRequest
from hubblewave_pipelines.core.import_options import parse_options
from hubblewave_pipelines.core.reading import Reading as Faults
from hubblewave_pipelines.core.reading import suggestion
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.transfer.apart import inspect, limits_of
from hubblewave_pipelines.transfer.formats import Source

FORM = frozenset({"entity", "mapping", "options"})
Uploading = Annotated[Caller, Depends(caller("write"))]
# Files are looked into by these threads alone: a slow one never keeps other work waiting.
LOOKERS = ThreadPoolExecutor(2, thread_name_prefix="look-into-file")


def json_field(upload: Upload, name: str) -> Json:
    text = upload.fields.get(name, "")
    if not text.strip():
        return None
    try:
        return parse(text.encode())
    except MalformedRequest as error:
        detail = error.detail.replace("The body", name, 1)
        raise Invalid(detail, faults=[Fault("format", detail, parameter=name)]) from error


def entity_of(upload: Upload, found: Caller) -> Entity:
    name = upload.fields.get("entity", "").strip()
    entity = found.catalog.named(name) or found.catalog.at_path(name)
    if entity is not None:
        return entity
    if not name:
        code, detail = "required", "name the entity that the file fills"
    else:
        hint = suggestion(name[:60], [e.name for e in found.catalog])
        code, detail = "unknown", f'there is no entity "{name[:60]}"{hint}'
    raise Invalid(
        "The import cannot be accepted.", faults=[Fault(code, detail, parameter="entity")]
    )


async def understood(upload: Upload, settings: Settings) -> Source:
    """What the file is, found out with bounded memory and time. Raises ImportFailed."""
    options = parse_options(json_field(upload, "options"), Faults())
    look = partial(inspect, upload.path, upload.file_name, options, limits_of(settings))
    return await asyncio.get_running_loop().run_in_executor(LOOKERS, look)
