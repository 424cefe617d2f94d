"""What a Jira has to keep in step: the stream of issues and its fields, and the short lists of projects and people."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from hubblewave_pipelines.connectors.jira.config import Config
from hubblewave_pipelines.connectors.jira.values import NAMED, kind_of
from hubblewave_pipelines.core.entity import FieldKind
from hubblewave_pipelines.core.errors import PartialAnswer, UnknownStream
from hubblewave_pipelines.core.stream import DeleteStrategy, Stream, StreamField
from hubblewave_pipelines.outbound.session import Session

ISSUES = "issues"
KEY, CURSOR, NAME = "id", "updated", "key"
_FIXED = frozenset(
    {
        "created",
        "updated",
        "status",
        "resolution",
        "resolutiondate",
        "project",
        "creator",
        "votes",
        "watches",
        "worklog",
        "comment",
        "attachment",
        "issuelinks",
        "subtasks",
        "aggregateprogress",
        "progress",
        "lastViewed",
        "workratio",
        "statuscategorychangedate",
        "statusCategory",
    }
)
_HIDDEN = frozenset({"issuekey", "thumbnail"})  # no members of `fields` in an answer
_NOTES = (
    "Jira has no feed of deleted issues: deletes show by listing all ids.",
    "People are account ids (Data Center: user names), options their values, projects and parents"
    " their keys, statuses, types and priorities their names. Renaming a status, an option or a user"
    " does not move `updated`: such fields are marked as computed.",
)


class Catalog:
    def __init__(self, config: Config, session: Session) -> None:
        self._config = config
        self._session = session
        self._schemas: Mapping[str, Mapping[str, Any]] | None = None

    def streams(self) -> list[Stream]:
        return [self._stream(())]

    def describe(self, name: str) -> Stream:
        """One request. Raises UnknownStream."""
        if name != ISSUES:
            raise UnknownStream(f"Jira has no stream {name}; it has {ISSUES}.")
        answer = self._session.request("GET", f"{self._config.api}/field")
        body: Any = answer.json()
        if not isinstance(body, list):
            raise PartialAnswer("Jira's list of fields is no list.")
        known = {str(field["id"]): field for field in body if field.get("id") not in _HIDDEN}
        self._schemas = {name: field.get("schema") or {} for name, field in known.items()}
        fields = [self._field(name, field) for name, field in sorted(known.items())]
        first = [
            StreamField(KEY, FieldKind.TEXT, "Id", nullable=False, unique=True),
            StreamField(NAME, FieldKind.TEXT, "Key", nullable=False, unique=True),
        ]
        return self._stream((*first, *(field for field in fields if field.name not in (KEY, NAME))))

    def schemas(self) -> Mapping[str, Mapping[str, Any]]:
        """How each field's values look; asked for again where nobody has yet."""
        if self._schemas is None:
            self.describe(ISSUES)
        return self._schemas or {}

    def _stream(self, fields: Sequence[StreamField]) -> Stream:
        return Stream(
            name=ISSUES,
            key=KEY,
            fields=tuple(fields),
            label="Issues",
            cursor=CURSOR,
            cursor_granularity=timedelta(milliseconds=1),
            deletes=DeleteStrategy.SNAPSHOT,
            creatable=True,
            updatable=True,
            deletable=True,
            notes=_NOTES,
        )

    def _field(self, name: str, field: Mapping[str, Any]) -> StreamField:
        schema = field.get("schema") or {}
        custom = bool(field.get("custom"))
        named = schema.get("type") in NAMED or schema.get("items") in NAMED
        open_to_writes = name not in _FIXED
        return StreamField(
            name=name,
            kind=kind_of(name, schema, adf=self._config.adf and self._config.cloud),
            label=str(field.get("name") or name),
            nullable=name
            not in ("created", "updated", "project", "issuetype", "status", "summary"),
            creatable=open_to_writes or name == "project",
            updatable=open_to_writes,
            computed=named or schema.get("type") in ("option", "option-with-child", "project"),
            external_id=custom and str(schema.get("custom", "")).endswith(":textfield"),
            refers_to=(ISSUES,) if schema.get("type") == "issuelink" else (),
        )
