"""`hubblewave export` and `hubblewave import`: files out of and into the running platform."""

import json as jsons
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from hubblewave_pipelines.commands.answer import (
    ApiRefusal,
    AsJson,
    DataDir,
    print_json,
    refusals,
)
from hubblewave_pipelines.commands.client import (
    Key,
    TenantSlug,
    Url,
    api_client,
    as_document,
    ask,
    download,
    follow,
)
from hubblewave_pipelines.core.export_formats import Compression, Format, format_of

Unique = Annotated[
    str | None, typer.Option(help="Fields that make two rows the same: code,region.")
]
Strategy = Annotated[str | None, typer.Option(help="Of duplicates: skip, update, merge, error.")]
_PARTIAL = 3  # exit code: some rows were refused


def _request(
    entity: str,
    file: Path,
    asked: dict[str, Any],
    format: Format | None,
    options: dict[str, Any],
) -> dict[str, Any]:
    named = format_of(file.name)
    chosen = format or (named[0] if named else Format.CSV)
    compression = named[1] if named else Compression.NONE
    given = {**options, "compression": compression.value}
    body = {"entity": entity, "format": chosen.value, "options": given, **asked}
    return {name: value for name, value in body.items() if value is not None}


def export(
    entity: Annotated[str, typer.Argument(help="Name or plural of the entity.")],
    file: Annotated[Path, typer.Argument(help="Where to; its ending says the format.")],
    where: Annotated[str | None, typer.Option(help='JSON filter: {"origin": "JFK"}.')] = None,
    fields: Annotated[str | None, typer.Option(help="Columns: code,name,airline.name.")] = None,
    sort: Annotated[str | None, typer.Option(help="Order: -total,name.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many rows.")] = None,
    format: Annotated[Format | None, typer.Option(help="Default: by the file's ending.")] = None,
    delimiter: Annotated[str | None, typer.Option(help="Of csv.")] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Leave cells that a spreadsheet would evaluate.")
    ] = False,
    url: Url = None,
    api_key: Key = None,
    tenant: TenantSlug = "default",
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """Export an entity's records to a file."""
    with refusals(json), api_client(data_dir, url, api_key, tenant) as client:
        filtered = as_document(where, "--where")
        asked = {"where": filtered, "fields": fields, "sort": sort, "limit": limit}
        options = {"raw": raw, "delimiter": delimiter}
        body = _request(entity, file, asked, format, options)
        job = ask(client, "POST", "/api/v1/exports", json=body)
        path = f"/api/v1/exports/{job['id']}"
        try:
            job = follow(client, path, f"{entity} -> {file.name}", quiet=json)
        except KeyboardInterrupt:
            ask(client, "POST", f"{path}/cancel")
            raise
        if job["status"] != "completed":
            error = job["error"] or {}
            raise ApiRefusal(
                str(error.get("code", "export.cancelled")),
                str(error.get("detail", f"The export is {job['status']}.")),
            )
        download(client, f"{path}/download", file)
        if json:
            print_json(job)
        else:
            Console().print(
                f"{job['totalRecords']:,} rows, {job['fileSize']:,} bytes -> {file}",
                highlight=False,
                soft_wrap=True,
                markup=False,
            )


def import_file(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The file.")],
    entity: Annotated[str, typer.Argument(help="Name or plural of the entity.")],
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", help="column=field, repeated: only these columns. Default: by name."),
    ] = None,
    unique: Unique = None,
    strategy: Strategy = None,
    options: Annotated[str | None, typer.Option(help="Further options as JSON.")] = None,
    watch: Annotated[
        bool, typer.Option("--watch/--no-watch", help="Follow it to its end, or only start it.")
    ] = True,
    rejects: Annotated[
        Path | None, typer.Option(help="Where refused rows go, with their reasons.")
    ] = None,
    url: Url = None,
    api_key: Key = None,
    tenant: TenantSlug = "default",
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """Import a file into an entity. Exit code 3 when some rows were refused."""
    with refusals(json), api_client(data_dir, url, api_key, tenant) as client:
        form: dict[str, str] = {"entity": entity}
        if map_:
            form["mapping"] = jsons.dumps([_pair(text) for text in map_])
        given = _options(as_document(options, "--options"), unique, strategy)
        if given:
            form["options"] = jsons.dumps(given)
        with file.open("rb") as content:
            job = ask(
                client,
                "POST",
                "/api/v1/imports",
                files={"file": (file.name, content)},
                data=form,
                timeout=None,
            )
        path = f"/api/v1/imports/{job['id']}"
        if watch:
            job = follow(client, path, f"{file.name} -> {entity}", quiet=json)
        if rejects is not None and job["failedRecords"]:
            download(client, f"{path}/rejects", rejects)
        if json:
            print_json(job)
        else:
            _tell(job, path, rejects)
        if job["status"] in ("failed", "cancelled"):
            raise typer.Exit(1)
        if job["status"] == "partial":
            raise typer.Exit(_PARTIAL)


def watch(
    folder: Annotated[str, typer.Argument(help="A directory, or a URL such as s3://bucket/in/.")],
    entity: Annotated[str, typer.Argument(help="Name or plural of the entity.")],
    pattern: Annotated[str, typer.Option(help="Names of the files.")] = "*",
    unique: Unique = None,
    strategy: Strategy = None,
    url: Url = None,
    api_key: Key = None,
    tenant: TenantSlug = "default",
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """Import every file that arrives in a directory, once, from now on."""
    with refusals(json), api_client(data_dir, url, api_key, tenant) as client:
        place = folder if "://" in folder else f"file://{Path(folder).resolve()}/"
        options = _options(None, unique, strategy)
        body = {"entity": entity, "url": place, "pattern": pattern, "options": options}
        made = ask(client, "POST", "/api/v1/import-watches", json=body)
        if json:
            print_json(made)
        else:
            sys.stdout.write(
                f"{made['url']} is watched: /api/v1/import-watches/{made['id']} tells what arrived.\n"
            )


def _options(
    more: dict[str, Any] | None, unique: str | None, strategy: str | None
) -> dict[str, Any]:
    """An import's options as the API takes them."""
    named = {
        "uniqueFields": None if unique is None else unique.split(","),
        "duplicateStrategy": strategy,
    }
    return {**(more or {}), **{name: value for name, value in named.items() if value is not None}}


def _pair(text: str) -> dict[str, str]:
    source, equals, target = text.rpartition("=")
    if not equals or not source or not target:
        raise ApiRefusal("request.malformed", f"--map {text!r} must be column=field.")
    return {"sourceField": source, "targetField": target}


def _tell(job: dict[str, Any], path: str, rejects: Path | None) -> None:
    counts = ", ".join(
        f"{job[f'{word}Records']:,} {word}"
        for word in ("created", "updated", "unchanged", "skipped", "failed")
    )
    lines = [f"{job['status']}: {counts}  {job['runUrl'] or ''}"]
    if job["error"]:
        lines.append(str(job["error"].get("detail", "")))
    if job["failedRecords"]:
        where = str(rejects) if rejects else f"--rejects FILE, or GET {path}/rejects"
        lines.append(f"The refused rows with their reasons: {where}")
    sys.stdout.write("\n".join(lines) + "\n")
