"""How an instance says no."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

NO_RECORD = ("No Record found", "Record doesn't exist or ACL restricts the record retrieval")


def failure(message: str, detail: str = "") -> dict[str, Any]:
    return {"error": {"message": message, "detail": detail}, "status": "failure"}


class Refused(Exception):
    def __init__(self, status: int, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.body = failure(message, detail)


async def refused(_: Request, error: Refused) -> Response:
    return JSONResponse(error.body, error.status)
