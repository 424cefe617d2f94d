"""Writing issues: create, bulk create, edit, transitions, delete, properties."""

import json
from collections import deque
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from hubblewave_pipelines.sandboxes.jira import catalog, shapes
from hubblewave_pipelines.sandboxes.jira.refusing import Refused, throttled
from hubblewave_pipelines.sandboxes.jira.signing import private

if TYPE_CHECKING:
    from hubblewave_pipelines.sandboxes.jira.site import Jira

ISSUE = "issue"
MOST = 50
PER_ISSUE, PER_ISSUE_SPAN = 20, timedelta(seconds=2)


def routes(site: "Jira") -> list[BaseRoute]:
    desk = Writes(site)
    one = "/rest/api/{version:str}/issue/{key}"
    base = "/rest/api/{version:str}"
    return [
        Route(f"{base}/issue", private(site, desk.create), methods=["POST"]),
        Route(f"{base}/issue/bulk", private(site, desk.create_many), methods=["POST"]),
        Route(f"{base}/bulk/issues/fields", private(site, desk.edit_many), methods=["POST"]),
        Route(f"{base}/bulk/queue/{{task}}", private(site, desk.task), methods=["GET"]),
        Route(one, private(site, desk.edit), methods=["PUT"]),
        Route(one, private(site, desk.delete), methods=["DELETE"]),
        Route(f"{one}/transitions", private(site, desk.transitions), methods=["GET"]),
        Route(f"{one}/transitions", private(site, desk.move), methods=["POST"]),
        Route(f"{one}/properties/{{name}}", private(site, desk.get_property), methods=["GET"]),
        Route(f"{one}/properties/{{name}}", private(site, desk.set_property), methods=["PUT"]),
    ]


class Writes:
    def __init__(self, site: "Jira") -> None:
        self.site = site
        self._written: dict[str, deque[datetime]] = {}

    async def create(self, request: Request) -> Response:
        body = await _body(request)
        with self.site.stage.lock:
            return JSONResponse(self._created(request, body), 201)

    def _created(self, request: Request, body: dict[str, Any]) -> dict[str, str]:
        fields = body.get("fields") or {}
        errors: dict[str, str] = {}
        project = fields.get("project") or {}
        key = next(
            (
                k
                for k, (number, _) in catalog.PROJECTS.items()
                if k == project.get("key") or number == str(project.get("id"))
            ),
            None,
        )
        if key is None:
            errors["project"] = "valid project is required"
        if not fields.get("summary"):
            errors["summary"] = "You must specify a summary of the issue."
        if not fields.get("issuetype"):
            errors["issuetype"] = "issue type is required"
        values = self._values({n: v for n, v in fields.items() if n != "project"}, errors)
        if errors:
            raise Refused(400, **errors)
        properties = {p["key"]: p["value"] for p in body.get("properties") or ()}
        values = {**values, "project": key, "properties": properties}
        number = self.site.create(ISSUE, values, self.site.clock.now())
        row = self.site.issues.rows[number]
        form = self.site.form(request)
        version = request.path_params["version"]
        return {
            "id": number,
            "key": shapes.key_of(row),
            "self": f"{form.base}/rest/api/{version}/issue/{number}",
        }

    async def create_many(self, request: Request) -> Response:
        updates = (await _body(request)).get("issueUpdates") or []
        if len(updates) > MOST:
            raise Refused(400, f"The maximum number of issues in a bulk create is {MOST}.")
        made, errors = [], []
        with self.site.stage.lock:
            for place, update in enumerate(updates):
                try:
                    made.append(self._created(request, update))
                except Refused as refused:
                    wrong = {"errorMessages": list(refused.messages), "errors": refused.errors}
                    errors.append(
                        {"status": 400, "elementErrors": wrong, "failedElementNumber": place}
                    )
        return JSONResponse({"issues": made, "errors": errors}, 201 if made or not updates else 400)

    async def edit(self, request: Request) -> Response:
        body = await _body(request)
        with self.site.stage.lock:
            number = self._known(request)
            if (refused := self._too_often(number)) is not None:
                return refused
            errors: dict[str, str] = {}
            values = self._values(body.get("fields") or {}, errors)
            for name, steps in (body.get("update") or {}).items():
                values.update(self._updated(number, name, steps, errors))
            if errors:
                raise Refused(400, **errors)
            self.site.edit(ISSUE, number, values, self.site.clock.now())
            if request.query_params.get("returnIssue") != "true":
                return Response(status_code=204)
            row = self.site.issues.rows[number]
            every = [field.id for field in catalog.FIELDS]
            return JSONResponse(shapes.issue(row, self.site.form(request), every))

    def _updated(
        self, number: str, name: str, steps: list[dict[str, Any]], errors: dict[str, str]
    ) -> dict[str, Any]:
        if name == "comment":
            return {}  # comments are not kept; writing one moves `updated`
        held = self.site.issues.rows[number].get(name)
        many = list(held) if isinstance(held, (list, tuple)) else []
        for step in steps:
            for verb, value in step.items():
                if verb == "set":
                    return self._values({name: value}, errors)
                shown = value.get("value") if isinstance(value, dict) else value
                many = [*many, shown] if verb == "add" else [one for one in many if one != shown]
        return {name: many}

    async def edit_many(self, request: Request) -> Response:
        """The same values for many issues, done at once although a task is given."""
        body = await _body(request)
        keys = [str(key) for key in body.get("selectedIssueIdsOrKeys") or ()]
        if len(keys) > 1_000:
            raise Refused(400, "At most 1000 issues can be edited at once.")
        edited = body.get("editedFieldsInput") or {}
        values: dict[str, Any] = {}
        for entry in edited.get("labelsFields") or ():
            values["labels"] = [label["name"] for label in entry.get("labels") or ()]
        if "priority" in edited:
            numbers = {number: name for name, number in catalog.PRIORITIES.items()}
            values["priority"] = numbers.get(str(edited["priority"].get("priorityId")), "Medium")
        with self.site.stage.lock:
            known = [number for number in map(self.site.key, keys) if number]
            for number in known:
                self.site.edit(ISSUE, number, values, self.site.clock.now())
            task = str(10_641 + len(self.site.tasks))
            self.site.tasks[task] = {
                "taskId": task,
                "status": "COMPLETE",
                "progressPercent": 100,
                "processedAccessibleIssues": [int(number) for number in known],
                "totalIssueCount": len(keys),
                "invalidOrInaccessibleIssueCount": len(keys) - len(known),
            }
        return JSONResponse({"taskId": task}, 201)

    async def task(self, request: Request) -> Response:
        found = self.site.tasks.get(request.path_params["task"])
        if found is None:
            raise Refused(404, "Task not found.")
        return JSONResponse(found)

    async def delete(self, request: Request) -> Response:
        with self.site.stage.lock:
            self.site.delete(ISSUE, self._known(request), self.site.clock.now())
        return Response(status_code=204)

    async def transitions(self, request: Request) -> Response:
        with self.site.stage.lock:
            self._known(request)
            form = self.site.form(request)
        found = [
            {"id": number, "name": name, "to": shapes.named("status", name, form)}
            for name, number in catalog.TRANSITIONS.items()
        ]
        return JSONResponse({"expand": "transitions", "transitions": found})

    async def move(self, request: Request) -> Response:
        body = await _body(request)
        wanted = str((body.get("transition") or {}).get("id"))
        status = next(
            (name for name, number in catalog.TRANSITIONS.items() if number == wanted), None
        )
        if status is None:
            raise Refused(
                400,
                f"It seems that you have tried to perform a workflow operation ({wanted}) that is not valid for the current state of this issue.",
            )
        with self.site.stage.lock:
            number = self._known(request)
            if (refused := self._too_often(number)) is not None:
                return refused
            errors: dict[str, str] = {}
            values = self._values(body.get("fields") or {}, errors)
            if errors:
                raise Refused(400, **errors)
            self.site.edit(ISSUE, number, {**values, "status": status}, self.site.clock.now())
        return Response(status_code=204)

    async def get_property(self, request: Request) -> Response:
        with self.site.stage.lock:
            held = self.site.issues.rows[self._known(request)]["properties"]
        name = request.path_params["name"]
        if name not in held:
            raise Refused(404, f"The property with key '{name}' does not exist.")
        return JSONResponse({"key": name, "value": held[name]})

    async def set_property(self, request: Request) -> Response:
        value = json.loads(await request.body())
        with self.site.stage.lock:
            number = self._known(request)
            held = self.site.issues.rows[number]["properties"]
            name = request.path_params["name"]
            self.site.edit(
                ISSUE, number, {"properties": {**held, name: value}}, self.site.clock.now()
            )
        return Response(status_code=200 if name in held else 201)

    def _too_often(self, number: str) -> Response | None:
        """429 for an issue that is written more than twenty times in two seconds."""
        now = self.site.clock.now()
        times = self._written.setdefault(number, deque(maxlen=PER_ISSUE))
        if len(times) == PER_ISSUE and now - times[0] < PER_ISSUE_SPAN:
            return throttled(now, 2, "jira-per-issue-on-write")
        times.append(now)
        return None

    def _known(self, request: Request) -> str:
        number = self.site.key(request.path_params["key"])
        if number is None:
            raise Refused(404, "Issue does not exist or you do not have permission to see it.")
        return number

    def _values(self, fields: dict[str, Any], errors: dict[str, str]) -> dict[str, Any]:
        """JSON as clients send it -> values as rows hold them. What cannot be set goes to `errors`."""
        found: dict[str, Any] = {}
        for name, value in fields.items():
            field = catalog.BY_ID.get(name)
            if field is None or not field.editable or name == "project":
                errors[name] = (
                    f"Field '{name}' cannot be set. It is not on the appropriate screen, or unknown."
                )
                continue
            try:
                found[name] = None if value is None else self._value(field, value)
            except (KeyError, TypeError, ValueError):
                errors[name] = f"Specify a valid value for {field.name}"
        return found

    def _value(self, field: catalog.IssueField, value: Any) -> Any:
        match field.kind:
            case "rich":
                return shapes.text_of(value)
            case "number":
                return float(value)
            case "user":
                return value.get("accountId") or value["name"]
            case "users":
                return [one.get("accountId") or one["name"] for one in value]
            case "named":
                held = catalog.NAMED[field.id]
                numbers = {number: name for name, number in held.items()}
                name = value.get("name") or numbers[str(value["id"])]
                held[name]  # raises KeyError for a name that there is not
                return name
            case "option":
                return _choice(field, value)
            case "options":
                return [_choice(field, one) for one in value]
            case "cascade":
                return (_choice(field, value), (value.get("child") or {}).get("value"))
            case "labels":
                return [str(one) for one in value]
            case "parent":
                number = self.site.key(str(value.get("id") or value["key"]))
                if number is None:
                    raise KeyError(value)
                return (number, shapes.key_of(self.site.issues.rows[number]))
            case _:
                if not isinstance(value, str):
                    raise TypeError(value)
                return value


def _choice(field: catalog.IssueField, value: dict[str, Any]) -> str:
    found = value.get("value") or field.choices[int(value["id"]) - 10900]
    if found not in field.choices:
        raise KeyError(found)
    return str(found)


async def _body(request: Request) -> dict[str, Any]:
    raw = await request.body()
    try:
        found = json.loads(raw)
    except ValueError as error:
        raise Refused(
            400, "Invalid request payload. Refer to the REST API documentation."
        ) from error
    if not isinstance(found, dict):
        raise Refused(400, "Invalid request payload. Refer to the REST API documentation.")
    return found
