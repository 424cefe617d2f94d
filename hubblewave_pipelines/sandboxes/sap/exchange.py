"""One request to a service and its reply, whether it came alone or as a part of a batch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hubblewave_pipelines.sandboxes.sap.bodies import error


@dataclass(frozen=True, slots=True)
class Ask:
    """`path` is what follows the service root, still percent-encoded, without a slash in front."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    base: str  # scheme and host, as links spell them


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    def adding(self, **headers: str) -> "Reply":
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return replace(self, headers={**self.headers, **named})


class Refused(Exception):
    """The service answers with an OData error."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def refusal(version: int, refused: Refused) -> Reply:
    return Reply(
        refused.status,
        error(version, refused.code, str(refused)),
        {"content-type": "application/json"},
    )
