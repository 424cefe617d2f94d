"""A `pyrfc` without SAP's SDK: the surface of pyrfc 3.3.1 over tables in memory, with the traps of the real one.

`installed(system)` puts it where `import pyrfc` finds it. What it does as the real thing does:
RFC_READ_TABLE gives rows in another order on each call, pads cells to their offsets, refuses rows
wider than 512 and lines of OPTIONS over 72 characters; a call that raises reopens the connection
silently, with an empty unit of work.
"""

import random
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from types import ModuleType
from typing import Any

from hubblewave_pipelines.connectors.sap import rfc_engine

Row = dict[str, Any]
WIDTH = 512
LINE = 72


class RFCError(Exception):
    """Of all."""


class RFCLibError(RFCError):
    def __init__(self, message: str = "", code: int = 0, key: str = "") -> None:
        super().__init__(message)
        self.message, self.code, self.key = message, code, key


class CommunicationError(RFCLibError):
    """The connection is gone."""


class LogonError(RFCLibError):
    """Wrong user or password."""


class ABAPApplicationError(RFCLibError):
    """An exception that a function module raises."""


class ABAPRuntimeError(RFCLibError):
    """A short dump."""


class ExternalRuntimeError(RFCLibError):
    """Of the library itself."""


@dataclass(frozen=True, slots=True)
class Col:
    name: str
    type: str  # ABAP's letter
    width: int
    data: str = "CHAR"  # dictionary type
    key: bool = False
    decimals: int = 0
    domain: str = ""


@dataclass(slots=True)
class FakeSystem:
    """`tables` by name: columns and committed rows. `fail` is asked before and after each call."""

    tables: dict[str, tuple[list[Col], list[Row]]] = field(default_factory=dict)
    password: str = "Welcome1"
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    fail: Callable[[str, str], Exception | None] = lambda name, when: None
    after: Callable[[str], None] = lambda name: None  # what others do between two calls
    made: int = 0  # connections
    collation: Callable[[str], Any] = str
    time: str = "20260115 130000"


class Connection:
    """One conversation; `_unit` is what BAPIs did in it and nobody has committed."""

    system: FakeSystem

    def __init__(self, config: Mapping[str, Any] | None = None, **params: str) -> None:
        self.config, self.params = dict(config or {}), params
        if params.get("passwd") != self.system.password:
            raise LogonError("Name or password is incorrect", 2, "RFC_LOGON_FAILURE")
        self._dice = random.Random(7)
        self.system.made += 1
        self._open()

    def _open(self) -> None:
        self.alive = True
        self._unit: list[tuple[str, Row]] = []

    def ping(self) -> None:
        self.call("RFC_PING")

    def close(self) -> None:
        self.alive = False
        self._unit = []

    def reset_server_context(self) -> None:
        self._unit = []

    def get_connection_attributes(self) -> dict[str, str]:
        return {"sysId": "HW1", "client": self.params.get("client", "100")}

    def get_function_description(self, name: str) -> Any:
        return _FUNCTIONS[name]

    def call(self, func_name: str, options: Mapping[str, Any] | None = None, **params: Any) -> Row:
        if not self.alive:
            raise ExternalRuntimeError("An invalid handle was passed", 13, "RFC_INVALID_HANDLE")
        self.system.calls.append((func_name, params))
        try:
            self._raise(func_name, "before")
            function = _FUNCTIONS.get(func_name)
            if function is None:
                raise ABAPApplicationError("no such function", 5, "FU_NOT_FOUND")
            result = function(self, params)
            self._raise(func_name, "after")
        except RFCError:
            self._open()  # as the real one does, silently
            raise
        self.system.after(func_name)
        return result

    def _raise(self, name: str, when: str) -> None:
        error = self.system.fail(name, when)
        if error is not None:
            raise error


def _nothing(_: Connection, __: Row) -> Row:
    return {}


def _time(connection: Connection, _: Row) -> Row:
    day, hour = connection.system.time.split()
    return {"ECHOTEXT": "", "RESPTEXT": f"SAP R/3 Rel. 758   Sysid: HW1      Date: {day}   Time: {hour}   Logon_Data: 100/X/E"}  # fmt: skip


def _table(connection: Connection, name: str) -> tuple[list[Col], list[Row]]:
    if name not in connection.system.tables:
        raise ABAPApplicationError("", 5, "TABLE_NOT_AVAILABLE")
    return connection.system.tables[name]


def _fields(connection: Connection, params: Row) -> Row:
    columns, _ = _table(connection, params["TABNAME"])
    return {
        "DFIES_TAB": [
            {
                "FIELDNAME": c.name,
                "KEYFLAG": "X" if c.key else "",
                "DATATYPE": c.data,
                "INTTYPE": c.type,
                "LENG": f"{c.width:06}",
                "OUTPUTLEN": f"{c.width:06}",
                "DECIMALS": c.decimals,
                "FIELDTEXT": c.name.title(),
                "DOMNAME": c.domain,
            }
            for c in columns
        ]
    }


def _read_table(connection: Connection, params: Row) -> Row:
    columns, rows = _table(connection, params["QUERY_TABLE"])
    if any(
        c.type == "g" for c in columns if c.name in {line["FIELDNAME"] for line in params["FIELDS"]}
    ):
        raise ABAPRuntimeError("ASSIGN_TYPE_CONFLICT", 3, "ASSIGN_TYPE_CONFLICT")
    wanted = [line["FIELDNAME"] for line in params.get("FIELDS", ())] or [c.name for c in columns]
    chosen = [next(c for c in columns if c.name == name) for name in wanted]
    lines = [line["TEXT"] for line in params.get("OPTIONS", ())]
    if any(len(line) > LINE for line in lines):
        raise ExternalRuntimeError("TEXT longer than 72", 22, "RFC_CONVERSION_FAILURE")
    offset, told = 0, []
    for c in chosen:
        told.append({"FIELDNAME": c.name, "OFFSET": f"{offset:06}", "LENGTH": f"{c.width:06}", "TYPE": c.type, "FIELDTEXT": c.name.title()})  # fmt: skip
        offset += c.width
    if params.get("NO_DATA") == "X":
        return {"FIELDS": told, "DATA": []}
    if offset > WIDTH:
        raise ABAPApplicationError("", 5, "DATA_BUFFER_EXCEEDED")
    matches = _Where(" ".join(lines), connection.system).whole()
    found = [row for row in rows if matches(row)]
    connection._dice.shuffle(found)
    data = [{"WA": "".join(_padded(c, row[c.name]) for c in chosen)} for row in found]
    return {"FIELDS": told, "DATA": data}


def _padded(column: Col, value: Any) -> str:
    if column.type == "P":
        text = f"{abs(Decimal(value)):.{column.decimals}f}" + ("-" if Decimal(value) < 0 else " ")
        return text.rjust(column.width)
    if column.type in ("I", "s", "b"):
        return (f"{abs(int(value))}" + ("-" if int(value) < 0 else " ")).rjust(column.width)
    return str(value).ljust(column.width)


class _Where:
    """The WHERE clause of Open SQL, as far as RFC_READ_TABLE is asked."""

    def __init__(self, text: str, system: FakeSystem) -> None:
        self.tokens = re.findall(r"'(?:[^']|'')*'|[()]|[^\s()']+", text)
        self.system = system
        self.at = 0

    def whole(self) -> Callable[[Row], bool]:
        if not self.tokens:
            return lambda row: True
        found = self._or()
        if self.at != len(self.tokens):
            raise ABAPApplicationError("", 5, "OPTION_NOT_VALID")
        return found

    def _next(self) -> str:
        if self.at >= len(self.tokens):
            raise ABAPApplicationError("", 5, "OPTION_NOT_VALID")
        self.at += 1
        return self.tokens[self.at - 1]

    def _is(self, word: str) -> bool:
        if self.at < len(self.tokens) and self.tokens[self.at] == word:
            self.at += 1
            return True
        return False

    def _or(self) -> Callable[[Row], bool]:
        parts = [self._and()]
        while self._is("OR"):
            parts.append(self._and())
        return lambda row: any(part(row) for part in parts)

    def _and(self) -> Callable[[Row], bool]:
        parts = [self._test()]
        while self._is("AND"):
            parts.append(self._test())
        return lambda row: all(part(row) for part in parts)

    def _test(self) -> Callable[[Row], bool]:
        if self._is("("):
            inner = self._or()
            if not self._is(")"):
                raise ABAPApplicationError("", 5, "OPTION_NOT_VALID")
            return inner
        name, sign, literal = self._next(), self._next(), self._next()
        quoted = literal.startswith("'")
        value: Any = literal[1:-1].replace("''", "'") if quoted else Decimal(literal)
        order = self.system.collation if quoted else Decimal

        def told(row: Row) -> Any:
            return order(str(row[name]).rstrip() if quoted else row[name])

        wanted = order(value)
        compare: dict[str, Callable[[Row], bool]] = {
            "=": lambda row: bool(told(row) == wanted),
            "<>": lambda row: bool(told(row) != wanted),
            ">": lambda row: bool(told(row) > wanted),
            ">=": lambda row: bool(told(row) >= wanted),
            "<": lambda row: bool(told(row) < wanted),
            "<=": lambda row: bool(told(row) <= wanted),
        }
        if sign not in compare:
            raise ABAPApplicationError("", 5, "OPTION_NOT_VALID")
        return compare[sign]


def _create(connection: Connection, params: Row) -> Row:
    """A BAPI that makes a customer, in the unit of work; it refuses a name of `?` in its RETURN."""
    if params["NAME1"] == "?":
        return {"RETURN": [{"TYPE": "W", "ID": "F2", "NUMBER": "001", "MESSAGE": "careful"}, {"TYPE": "E", "ID": "F2", "NUMBER": "042", "MESSAGE": "Name is not valid", "FIELD": "NAME1"}]}  # fmt: skip
    connection._unit.append(("KNA1", {"MANDT": "100", **params}))
    return {"CUSTOMER": params["KUNNR"], "RETURN": {"TYPE": "S", "ID": "F2", "NUMBER": "174", "MESSAGE": "done"}}  # fmt: skip


def _commit(connection: Connection, params: Row) -> Row:
    for table, row in connection._unit:
        connection.system.tables[table][1].append(row)
    connection._unit = []
    return {"RETURN": {"TYPE": "", "MESSAGE": ""}}


def _rollback(connection: Connection, _: Row) -> Row:
    connection._unit = []
    return {"RETURN": {"TYPE": "", "MESSAGE": ""}}


_FUNCTIONS: dict[str, Callable[[Connection, Row], Row]] = {
    "RFC_PING": _nothing,
    "STFC_CONNECTION": _time,
    "DDIF_FIELDINFO_GET": _fields,
    "RFC_READ_TABLE": _read_table,
    "Z_CUSTOMER_CREATE": _create,
    "BAPI_TRANSACTION_COMMIT": _commit,
    "BAPI_TRANSACTION_ROLLBACK": _rollback,
}
_SURFACE = (
    RFCError, RFCLibError, CommunicationError, LogonError,
    ABAPApplicationError, ABAPRuntimeError, ExternalRuntimeError,
)  # fmt: skip


@contextmanager
def installed(system: FakeSystem, name: str = "pyrfc") -> Iterator[ModuleType]:
    """`import pyrfc` finds this one for as long as the context lasts."""
    module = ModuleType(name)
    vars(module)["Connection"] = type("Connection", (Connection,), {"system": system})
    vars(module).update({one.__name__: one for one in _SURFACE})
    names = rfc_engine.MODULES
    before = {each: sys.modules.get(each) for each in names}
    sys.modules.update({each: None for each in names})  # type: ignore[misc]
    sys.modules[name] = module
    try:
        yield module
    finally:
        for each, kept in before.items():
            if kept is None:
                sys.modules.pop(each, None)
            else:
                sys.modules[each] = kept
