"""A connection by RFC: opened late, never used again after an exception, its errors put in an admin's words."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from hubblewave_pipelines.core.errors import (
    InDoubt,
    Unauthorized,
    VendorError,
    VendorRefused,
    VendorUnavailable,
)

Logon = Callable[[], Mapping[str, str]]
_FAILED = ("E", "A", "X")
# dates and times stay texts: SAP's initial ones are no dates
_CONFIG = {"dtime": False, "rstrip": False, "return_import_params": False}


@dataclass(frozen=True, slots=True)
class Message:
    """One line of a BAPI's RETURN."""

    type: str
    id: str
    number: str
    text: str
    field: str = ""

    @property
    def failed(self) -> bool:
        return self.type in _FAILED


class Rfc:
    """Calls of one system. `pyrfc` reopens a connection silently when a call fails, with an empty
    unit of work on the other side: so the one that raised is closed and forgotten at once.
    """

    def __init__(self, module: ModuleType, parameters: Mapping[str, str], logon: Logon) -> None:
        self._module = module
        self._parameters = parameters
        self._logon = logon
        self._open: Any = None
        self._lock = threading.Lock()
        self.calls = 0

    def call(self, function: str, **parameters: Any) -> dict[str, Any]:
        """One call that reads. Asked once more on a new connection when the first one was lost."""
        with self._lock:
            try:
                return self._call(function, parameters)
            except VendorUnavailable:
                return self._call(function, parameters)

    def close(self) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            try:
                opened.close()
            except self._module.RFCError:
                return  # it was broken already

    def ping(self) -> None:
        with self._lock:
            self._guarded("RFC_PING", lambda connection: connection.ping())

    def unit(self, calls: Sequence[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
        """BAPIs as one unit of work: all are called, and committed when no RETURN has E or A.

        Raises VendorRefused (rolled back; the messages in its detail), VendorUnavailable (nothing
        was committed: the unit went with its connection) or InDoubt (the commit was sent and its
        answer lost: look the records up by their keys, never call again).
        """
        with self._lock:
            self.close()  # a unit begins on a connection on which nothing else was done
            results = []
            for function, parameters in calls:
                result = self._call(function, parameters)
                failed = [one for one in messages(result) if one.failed]
                if failed:
                    self._roll_back()
                    raise VendorRefused(f"{function}: {'; '.join(told(one) for one in failed)}")
                results.append(result)
            try:
                ending = self._call("BAPI_TRANSACTION_COMMIT", {"WAIT": "X"})
            except VendorError as error:
                raise InDoubt(
                    f"The commit after {calls[-1][0]} was sent and its answer lost: {error.detail}"
                ) from error
            broken = [one for one in messages(ending) if one.failed]
            if broken:
                raise InDoubt(f"The commit reports {'; '.join(told(one) for one in broken)}")
            return results

    def _roll_back(self) -> None:
        try:
            self._call("BAPI_TRANSACTION_ROLLBACK", {})
        except VendorError:
            return  # the unit went with its connection

    def _call(self, function: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = self._guarded(
            function, lambda connection: connection.call(function, **parameters)
        )
        return result

    def _guarded(self, what: str, act: Callable[[Any], Any]) -> Any:
        try:
            if self._open is None:
                self._open = self._module.Connection(
                    config=dict(_CONFIG), **self._parameters, **self._logon()
                )
            self.calls += 1
            return act(self._open)
        except self._module.RFCError as error:
            self.close()
            raise self._told(what, error) from error

    def _told(self, what: str, error: Exception) -> VendorError:
        module = self._module
        key = str(getattr(error, "key", "") or type(error).__name__)
        said = f"{what}: {key}"
        if isinstance(error, module.LogonError):
            return Unauthorized(
                f"{said}. Check the user, its password and the client; the user must be of type"
                " Communication or System and not locked (SU01)."
            )
        if isinstance(error, module.ABAPApplicationError):
            return VendorRefused(f"{said}.{_ADVICE.get(key, '')}")
        if isinstance(error, module.CommunicationError):
            return VendorUnavailable(
                f"{said}: the system was not reached, or the connection was lost."
            )
        return VendorRefused(f"{said}: the call failed in the system (see ST22).")


_ADVICE = {
    "NOT_AUTHORIZED": " The user needs S_TABU_NAM (or S_TABU_DIS) for the table and S_RFC for the"
    " function group.",
    "TABLE_NOT_AVAILABLE": " There is no such table or view, or it is not active.",
    "FU_NOT_FOUND": " The system has no such function module.",
}


def messages(result: Mapping[str, Any]) -> list[Message]:
    """What RETURN says, whether it is one structure or a table."""
    given = result.get("RETURN") or ()
    lines = [given] if isinstance(given, Mapping) else given
    found = []
    for line in lines:
        kind = str(line.get("TYPE", "")).strip()
        if kind:
            found.append(
                Message(
                    kind,
                    str(line.get("ID", line.get("CODE", ""))).strip(),
                    str(line.get("NUMBER", "")).strip(),
                    str(line.get("MESSAGE", "")).strip(),
                    str(line.get("FIELD", "")).strip(),
                )
            )
    return found


def told(message: Message) -> str:
    field = f" ({message.field})" if message.field else ""
    return f"{message.type} {message.id} {message.number} {message.text}{field}".strip()
