"""Refusals in Salesforce's form: a list of {message, errorCode, fields}, or an OAuth error."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response


class Refused(ValueError):
    """An answer other than 2xx, also to a control request. `fields` only where Salesforce names them."""

    def __init__(self, status: int, code: str, message: str, fields: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.fields = tuple(fields)

    def as_json(self) -> dict[str, object]:
        named = {"fields": list(self.fields)} if self.fields else {}
        return {"message": self.message, "errorCode": self.code, **named}

    def in_result(self) -> dict[str, object]:
        """As one item of a collection's outcome."""
        return {"statusCode": self.code, "message": self.message, "fields": list(self.fields)}


class GrantRefused(Exception):
    """A refusal of the token endpoint, always 400."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error
        self.description = description


async def refused(_: Request, error: Refused) -> Response:
    return JSONResponse([error.as_json()], status_code=error.status)


async def grant_refused(_: Request, error: GrantRefused) -> Response:
    body = {"error": error.error, "error_description": error.description}
    return JSONResponse(body, status_code=400)


def malformed(message: str) -> Refused:
    return Refused(400, "MALFORMED_QUERY", message)


def invalid_field(message: str) -> Refused:
    return Refused(400, "INVALID_FIELD", message)


def not_found() -> Refused:
    return Refused(404, "NOT_FOUND", "The requested resource does not exist")


def invalid_type(name: str) -> Refused:
    return Refused(400, "INVALID_TYPE", f"sObject type '{name}' is not supported.")
