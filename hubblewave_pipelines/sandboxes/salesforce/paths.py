"""The paths of the Salesforce sandbox; each handler's name is the operation that is counted."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from hubblewave_pipelines.sandboxes.salesforce import cells, replication, writing
from hubblewave_pipelines.sandboxes.salesforce.model import VERSIONS, SObject, full_id
from hubblewave_pipelines.sandboxes.salesforce.refusing import Refused

if TYPE_CHECKING:
    from hubblewave_pipelines.sandboxes.salesforce.stand_in import SalesforceSandbox

Handler = Callable[[Request], Awaitable[Response]]
_DATA = "/services/data/{version}"
_ROW = f"{_DATA}/sobjects/{{name}}/{{key}}"
_EXTERNAL = f"{_DATA}/sobjects/{{name}}/{{field}}/{{value}}"


def paths(org: "SalesforceSandbox") -> list[BaseRoute]:
    return [
        *_signing_in(org),
        *_describing(org),
        *_querying(org),
        *_writing_rows(org),
        *_collections(org),
        *_ingesting(org),
    ]


def _route(path: str, handler: Handler, *methods: str) -> BaseRoute:
    return Route(path, handler, methods=list(methods or ("GET",)))


def _signing_in(org: "SalesforceSandbox") -> list[BaseRoute]:
    async def token(request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
        url = str(request.base_url).rstrip("/")
        return JSONResponse(org.sessions.grant(form, org.clock.now(), url))

    async def userinfo(_: Request) -> Response:
        user = org.org.table("User").rows[org.sessions.user_id]
        return JSONResponse(
            {
                "user_id": user["Id"],
                "organization_id": org.sessions.org_id,
                "preferred_username": user["Username"],
                "name": user["Name"],
                "email": user["Email"],
                "zoneinfo": user["TimeZoneSidKey"],
            }
        )

    async def versions(_: Request) -> Response:
        return JSONResponse(
            [{"label": f"'{v}", "url": f"/services/data/v{v}", "version": v} for v in VERSIONS]
        )

    return [
        _route("/services/oauth2/token", token, "POST"),
        _route("/services/oauth2/userinfo", org.held(userinfo)),
        _route("/services/data", versions),
        _route("/services/data/", versions),
    ]


def _describing(org: "SalesforceSandbox") -> list[BaseRoute]:
    def brief(sobject: SObject) -> dict[str, Any]:
        return {
            "name": sobject.name,
            "label": sobject.name.removesuffix("__c"),
            "keyPrefix": sobject.prefix,
            "custom": sobject.name.endswith("__c"),
            "queryable": True,
            "createable": True,
            "updateable": True,
            "deletable": sobject.name != "User",
            "replicateable": sobject.replicateable,
            "retrieveable": True,
            "urls": {"sobject": f"/services/data/v60.0/sobjects/{sobject.name}"},
        }

    async def limits(_: Request) -> Response:
        return JSONResponse(org.limits())

    async def sobjects(_: Request) -> Response:
        found = [brief(sobject) for sobject in org.org.sobjects.values()]
        return JSONResponse({"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": found})

    async def describe(request: Request) -> Response:
        try:
            sobject = org.sobject(request.path_params["name"])
        except Refused:
            raise Refused(404, "NOT_FOUND", "The requested resource does not exist") from None
        fields = [field.described() for field in sobject.fields.values()]
        return JSONResponse({**brief(sobject), "fields": fields})

    async def updated(request: Request) -> Response:
        return JSONResponse(replication.updated(org.org, _sobject(org, request), request))

    async def deleted(request: Request) -> Response:
        return JSONResponse(replication.deleted(org.org, _sobject(org, request), request))

    about = f"{_DATA}/sobjects/{{name}}"
    return [
        *(_route(f"{_DATA}/limits{end}", org.held(limits)) for end in ("", "/")),
        *(_route(f"{_DATA}/sobjects{end}", org.held(sobjects)) for end in ("", "/")),
        _route(f"{about}/describe", org.held(describe)),
        *(_route(f"{about}/updated{end}", org.held(updated)) for end in ("", "/")),
        *(_route(f"{about}/deleted{end}", org.held(deleted)) for end in ("", "/")),
    ]


def _querying(org: "SalesforceSandbox") -> list[BaseRoute]:
    async def query(request: Request) -> Response:
        return org.queries.first(request, "query")

    async def query_all(request: Request) -> Response:
        return org.queries.first(request, "queryAll")

    async def query_more(request: Request) -> Response:
        return org.queries.more(request, request.path_params["locator"])

    async def query_job_create(request: Request) -> Response:
        return org.jobs.create(request, await org.body(request), org.clock.now())

    async def query_jobs(_: Request) -> Response:
        return org.jobs.list(org.clock.now())

    async def query_job(request: Request) -> Response:
        return org.jobs.read(request, org.clock.now())

    async def query_job_abort(request: Request) -> Response:
        return org.jobs.abort(request, await org.body(request), org.clock.now())

    async def query_job_delete(request: Request) -> Response:
        return org.jobs.delete(request, org.clock.now())

    async def query_job_results(request: Request) -> Response:
        return org.jobs.results(request, org.clock.now())

    async def query_job_pages(request: Request) -> Response:
        return org.jobs.pages(request, org.clock.now())

    job = f"{_DATA}/jobs/query/{{job}}"
    return [
        *(_route(f"{_DATA}/query{end}", org.held(query)) for end in ("", "/")),
        *(_route(f"{_DATA}/queryAll{end}", org.held(query_all)) for end in ("", "/")),
        _route(f"{_DATA}/query/{{locator}}", org.held(query_more)),
        _route(f"{_DATA}/queryAll/{{locator}}", org.held(query_more)),
        _route(f"{_DATA}/jobs/query", org.held(query_job_create), "POST"),
        _route(f"{_DATA}/jobs/query", org.held(query_jobs)),
        _route(job, org.held(query_job)),
        _route(job, org.held(query_job_abort), "PATCH"),
        _route(job, org.held(query_job_delete), "DELETE"),
        _route(f"{job}/results", org.held(query_job_results)),
        _route(f"{job}/resultPages", org.held(query_job_pages)),
    ]


def _writing_rows(org: "SalesforceSandbox") -> list[BaseRoute]:
    async def row_create(request: Request) -> Response:
        key = org.org.create(_sobject(org, request), await org.body(request), org.clock.now())
        return JSONResponse({"id": key, "success": True, "errors": []}, status_code=201)

    async def row_read(request: Request) -> Response:
        sobject = _sobject(org, request)
        row = org.org.row(sobject, request.path_params["key"])
        return org.record(sobject, row, request.path_params["version"])

    async def row_update(request: Request) -> Response:
        sobject, key = _sobject(org, request), request.path_params["key"]
        given = await org.body(request)
        writing.condition(request, org.org.row(sobject, key))
        org.org.edit(sobject, key, given, org.clock.now())
        return Response(status_code=204)

    async def row_delete(request: Request) -> Response:
        org.org.delete(_sobject(org, request), request.path_params["key"], org.clock.now())
        return Response(status_code=204)

    async def external_read(request: Request) -> Response:
        sobject, at = _sobject(org, request), request.path_params
        found = org.org.by_external(sobject, at["field"], at["value"])
        if not found:
            raise Refused(404, "NOT_FOUND", "The requested resource does not exist")
        if len(found) > 1:
            links = [
                f"/services/data/{at['version']}/sobjects/{sobject.name}/{r['Id']}" for r in found
            ]
            return JSONResponse(links, status_code=300)
        return org.record(sobject, found[0], at["version"])

    async def external_upsert(request: Request) -> Response:
        sobject, at = _sobject(org, request), request.path_params
        given = await org.body(request)
        key, created = writing.upsert(
            org.org, sobject, at["field"], at["value"], given, org.clock.now()
        )
        body = {"id": key, "success": True, "errors": [], "created": created}
        return JSONResponse(body, status_code=201 if created else 200)

    about = f"{_DATA}/sobjects/{{name}}"
    return [
        *(_route(f"{about}{end}", org.held(row_create), "POST") for end in ("", "/")),
        _route(_ROW, org.held(row_read)),
        _route(_ROW, org.held(row_update), "PATCH"),
        _route(_ROW, org.held(row_delete), "DELETE"),
        _route(_EXTERNAL, org.held(external_read)),
        _route(_EXTERNAL, org.held(external_upsert), "PATCH"),
    ]


def _collections(org: "SalesforceSandbox") -> list[BaseRoute]:
    async def collection_create(request: Request) -> Response:
        body, now = await org.body(request), org.clock.now()
        return JSONResponse(
            writing.collection(
                org.org, request, body, lambda s, record: (org.org.create(s, record, now), None)
            )
        )

    async def collection_update(request: Request) -> Response:
        body, now = await org.body(request), org.clock.now()

        def act(sobject: SObject, record: dict[str, Any]) -> tuple[str, None]:
            given = dict(record)
            key = str(given.pop("id", given.pop("Id", "")))
            org.org.edit(sobject, key, given, now)
            return full_id(key), None

        return JSONResponse(writing.collection(org.org, request, body, act))

    async def collection_upsert(request: Request) -> Response:
        body, now = await org.body(request), org.clock.now()
        name = request.path_params["field"]

        def act(sobject: SObject, record: dict[str, Any]) -> tuple[str, bool]:
            value = record.get(name)
            if not value:
                raise Refused(400, "MISSING_ARGUMENT", f"{name} not specified")
            return writing.upsert(org.org, sobject, name, str(value), record, now)

        return JSONResponse(writing.collection(org.org, request, body, act))

    async def collection_delete(request: Request) -> Response:
        now = org.clock.now()
        by_prefix = {s.prefix: s for s in org.org.sobjects.values()}
        records = [
            {
                "attributes": {"type": by_prefix[key[:3]].name if key[:3] in by_prefix else ""},
                "id": key,
            }
            for key in request.query_params.get("ids", "").split(",")
        ]

        def act(sobject: SObject, record: dict[str, Any]) -> tuple[str, None]:
            org.org.delete(sobject, record["id"], now)
            return full_id(record["id"]), None

        return JSONResponse(writing.collection(org.org, request, {"records": records}, act))

    async def collection_read(request: Request) -> Response:
        """Up to 2,000 by id, null for each that is not there."""
        sobject, body = _sobject(org, request), await org.body(request)
        ids, names = body.get("ids"), body.get("fields")
        if not isinstance(ids, list) or not isinstance(names, list):
            raise Refused(400, "JSON_PARSER_ERROR", "ids and fields must be lists")
        if len(ids) > writing.MOST_READ:
            raise Refused(400, "EXCEEDED_ID_LIMIT", "record limit reached")
        fields = [sobject.field_named(str(name)) for name in names]
        if None in fields:
            raise Refused(400, "INVALID_FIELD", f"No such column on {sobject.name}")
        found: list[Any] = []
        for key in ids:
            try:
                row = org.org.row(sobject, str(key))
            except Refused:
                found.append(None)
                continue
            known = [field for field in fields if field is not None]
            found += cells.records(sobject, known, [row], request.path_params["version"])
        return Response(cells.encoded(found), media_type="application/json;charset=UTF-8")

    path = f"{_DATA}/composite/sobjects"
    return [
        _route(path, org.held(collection_create), "POST"),
        _route(path, org.held(collection_update), "PATCH"),
        _route(path, org.held(collection_delete), "DELETE"),
        _route(f"{path}/{{name}}", org.held(collection_read), "POST"),
        _route(f"{path}/{{name}}/{{field}}", org.held(collection_upsert), "PATCH"),
    ]


def _ingesting(org: "SalesforceSandbox") -> list[BaseRoute]:
    async def ingest_create(request: Request) -> Response:
        return org.ingest.create(request, await org.body(request), org.clock.now())

    async def ingest_upload(request: Request) -> Response:
        return await org.ingest.upload(request)

    async def ingest_change(request: Request) -> Response:
        return org.ingest.change(request, await org.body(request), org.clock.now())

    async def ingest_job(request: Request) -> Response:
        return org.ingest.read(request, org.clock.now())

    async def ingest_delete(request: Request) -> Response:
        return org.ingest.delete(request)

    async def ingest_results(request: Request) -> Response:
        return org.ingest.results(request)

    job = f"{_DATA}/jobs/ingest/{{job}}"
    return [
        _route(f"{_DATA}/jobs/ingest", org.held(ingest_create), "POST"),
        _route(f"{job}/batches", org.held(ingest_upload), "PUT"),
        _route(job, org.held(ingest_change), "PATCH"),
        _route(job, org.held(ingest_job)),
        _route(job, org.held(ingest_delete), "DELETE"),
        _route(f"{job}/{{which}}", org.held(ingest_results)),
    ]


def _sobject(org: "SalesforceSandbox", request: Request) -> SObject:
    return org.sobject(request.path_params["name"])
