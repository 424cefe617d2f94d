"""What the Jira sandbox says of itself: server, account, fields, projects, create metadata, OAuth."""

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from hubblewave_pipelines.sandboxes.jira import catalog, shapes
from hubblewave_pipelines.sandboxes.jira.refusing import Refused
from hubblewave_pipelines.sandboxes.jira.signing import private

if TYPE_CHECKING:
    from hubblewave_pipelines.sandboxes.jira.site import Jira

GRANT_SECONDS = 3600


def routes(site: "Jira") -> list[BaseRoute]:
    desk = Administration(site)
    base = "/rest/api/{version:str}"
    meta = f"{base}/issue/createmeta/{{project}}/issuetypes"
    return [
        Route(f"{base}/serverInfo", desk.server_info),
        Route(f"{base}/myself", private(site, desk.myself)),
        Route(f"{base}/field", private(site, desk.fields)),
        Route(f"{base}/mypermissions", private(site, desk.permissions)),
        Route(f"{base}/project", private(site, desk.projects)),
        Route(f"{base}/project/search", private(site, desk.project_pages)),
        Route(f"{base}/project/{{key}}", private(site, desk.project)),
        Route(f"{base}/issuetype", private(site, desk.types)),
        Route(f"{base}/users/search", private(site, desk.users)),
        Route(meta, private(site, desk.project_types)),
        Route(f"{meta}/{{type}}", private(site, desk.type_fields)),
        Route("/oauth/token", desk.token, methods=["POST"]),
        Route("/oauth/token/accessible-resources", desk.resources),
    ]


class Administration:
    def __init__(self, site: "Jira") -> None:
        self.site = site

    async def server_info(self, request: Request) -> Response:
        cloud = self.site.cloud
        return JSONResponse(
            {
                "baseUrl": self.site.form(request).base,
                "version": "1001.0.0-SNAPSHOT" if cloud else "9.17.0",
                "versionNumbers": [1001, 0, 0] if cloud else [9, 17, 0],
                "deploymentType": "Cloud" if cloud else "Server",
                "buildNumber": 100289,
                "serverTime": shapes.stamp(
                    shapes.milliseconds(self.site.clock.now()), self.site.zone
                ),
                "serverTitle": "Sandbox",
            }
        )

    async def myself(self, request: Request) -> Response:
        found = shapes.person(catalog.ACCOUNT, self.site.form(request))
        return JSONResponse({**found, "emailAddress": catalog.EMAIL, "locale": "en_AU"})

    async def fields(self, _: Request) -> Response:
        odd = [
            {
                "id": "issuekey",
                "key": "issuekey",
                "name": "Key",
                "custom": False,
                "clauseNames": ["id", "issue", "issuekey", "key"],
            },
            {
                "id": "thumbnail",
                "key": "thumbnail",
                "name": "Images",
                "custom": False,
                "clauseNames": [],
            },
        ]
        return JSONResponse([*odd, *(field.as_json() for field in catalog.FIELDS)])

    async def permissions(self, request: Request) -> Response:
        asked = request.query_params.get("permissions", "BROWSE_PROJECTS").split(",")
        return JSONResponse(
            {"permissions": {name: {"key": name, "havePermission": True} for name in asked}}
        )

    async def projects(self, request: Request) -> Response:
        return JSONResponse([self._project(request, key) for key in catalog.PROJECTS])

    async def project_pages(self, request: Request) -> Response:
        start = int(request.query_params.get("startAt", 0))
        limit = min(int(request.query_params.get("maxResults", 50)), 50)
        keys = list(catalog.PROJECTS)
        page = [self._project(request, key) for key in keys[start : start + limit]]
        return JSONResponse(
            {
                "startAt": start,
                "maxResults": limit,
                "total": len(keys),
                "isLast": start + limit >= len(keys),
                "values": page,
            }
        )

    async def project(self, request: Request) -> Response:
        return JSONResponse(self._project(request, self._key(request.path_params["key"])))

    def _key(self, given: str) -> str:
        for key, (number, _) in catalog.PROJECTS.items():
            if given in (key, number):
                return key
        raise Refused(404, f"No project could be found with key '{given}'.")

    def _project(self, request: Request, key: str) -> dict[str, Any]:
        form = self.site.form(request)
        number, name = catalog.PROJECTS[key]
        types = [shapes.named("issuetype", kind, form) for kind in catalog.TYPES]
        return {
            "id": number,
            "key": key,
            "name": name,
            "projectTypeKey": "software",
            "issueTypes": types,
        }

    async def types(self, request: Request) -> Response:
        form = self.site.form(request)
        return JSONResponse([shapes.named("issuetype", kind, form) for kind in catalog.TYPES])

    async def users(self, request: Request) -> Response:
        start = int(request.query_params.get("startAt", 0))
        limit = int(request.query_params.get("maxResults", 50))
        form = self.site.form(request)
        people = [shapes.person(account, form) for account in catalog.PEOPLE]
        return JSONResponse(people[start : start + limit])

    async def project_types(self, request: Request) -> Response:
        form = self.site.form(request)
        self._key(request.path_params["project"])
        found = [shapes.named("issuetype", kind, form) for kind in catalog.TYPES]
        return JSONResponse(self._listed("issueTypes", found))

    async def type_fields(self, request: Request) -> Response:
        self._key(request.path_params["project"])
        form = self.site.form(request)
        found = [
            {
                "fieldId": field.id,
                "key": field.id,
                "name": field.name,
                "required": field.id in ("summary", "issuetype", "project"),
                "schema": field.schema,
                **(
                    {
                        "allowedValues": [
                            shapes.option(field, value, form) for value in field.choices
                        ]
                    }
                    if field.choices
                    else {}
                ),
            }
            for field in catalog.FIELDS
            if field.editable
        ]
        return JSONResponse(self._listed("fields", found))

    def _listed(self, name: str, found: list[Any]) -> dict[str, Any]:
        member = name if self.site.cloud else "values"
        return {"startAt": 0, "maxResults": 200, "total": len(found), member: found}

    async def token(self, request: Request) -> Response:
        """Refresh tokens rotate: the old one is dead once it has been used."""
        raw = await request.body()
        if "json" in request.headers.get("content-type", ""):
            given = json.loads(raw)
        else:
            given = {name: values[0] for name, values in parse_qs(raw.decode()).items()}
        if (given.get("client_id"), given.get("client_secret")) != catalog.CLIENT:
            return JSONResponse(
                {"error": "access_denied", "error_description": "Unauthorized"}, 401
            )
        old = given.get("refresh_token")
        if given.get("grant_type") != "refresh_token" or old not in self.site.refresh_tokens:
            wrong = {
                "error": "invalid_grant",
                "error_description": "Unknown or invalid refresh token.",
            }
            return JSONResponse(wrong, 403)
        self.site.refresh_tokens.discard(str(old))
        access, fresh = str(uuid4()), str(uuid4())
        self.site.refresh_tokens.add(fresh)
        self.site.grants[access] = self.site.clock.now() + timedelta(seconds=GRANT_SECONDS)
        return JSONResponse(
            {
                "access_token": access,
                "expires_in": GRANT_SECONDS,
                "refresh_token": fresh,
                "scope": "read:jira-work offline_access",
                "token_type": "Bearer",
            }
        )

    async def resources(self, request: Request) -> Response:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if given not in self.site.grants:
            return JSONResponse({"code": 401, "message": "Unauthorized"}, 401)
        base = str(request.base_url).rstrip("/")
        return JSONResponse(
            [{"id": catalog.CLOUD_ID, "url": base, "name": "sandbox", "scopes": ["read:jira-work"]}]
        )
