"""JQL as the Jira sandbox reads it: clauses on issues, date literals in the account's zone, ORDER BY."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

MINUTE = 60_000
PERIODS = {"m": 1, "h": 60, "d": 1440, "w": 10080}
DATE_FORMATS = ("%Y-%m-%d %H:%M", "%Y/%m/%d %H:%M", "%Y-%m-%d", "%Y/%m/%d")
ALIASES = {
    "id": "key",
    "issue": "key",
    "issuekey": "key",
    "type": "issuetype",
    "updateddate": "updated",
    "createddate": "created",
    "due": "duedate",
}
DATE_FIELDS = ("updated", "created", "resolutiondate")
TEXT_FIELDS = ("summary", "description", "environment", "text")
EMPTY = ("empty", "null")

TOKEN = re.compile(
    r"\s*(?:(?P<op>>=|<=|!=|!~|[=<>~(),])|\"(?P<dq>(?:[^\"\\]|\\.)*)\"|'(?P<sq>(?:[^'\\]|\\.)*)'"
    r"|(?P<cf>cf\[\d+\])|(?P<word>[^\s\"'=<>!~(),\[\]]+))"
)


class JqlError(Exception):
    """The query cannot be read; the text is what Jira puts into `errorMessages`."""


class Token(NamedTuple):
    kind: str  # op, text (quoted), word
    text: str


Predicate = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Site:
    """What reading a query depends on."""

    now: datetime
    zone: ZoneInfo
    account: str
    projects: frozenset[str]
    fields: dict[str, str]  # every clause name in lower case -> the field's id
    key_of: Callable[[str], tuple[str, int] | None]  # an issue id or key -> (project, number)
    to_the_minute: bool = False  # whether epoch literals are cut down to the minute
    shift: int = 0  # milliseconds by which every literal is misread


@dataclass(frozen=True, slots=True)
class Jql:
    where: Predicate | None
    order: tuple[tuple[str, bool], ...]  # field, descending


def parse(text: str, site: Site) -> Jql:
    """Raises JqlError with Jira's words."""
    reader = _Reader(tuple(_tokens(text)), site)
    where = None if reader.at_order() else reader.either()
    order = reader.order()
    return Jql(where, order)


def _tokens(text: str) -> Iterator[Token]:
    place = 0
    text = text.rstrip()
    while place < len(text):
        found = TOKEN.match(text, place)
        if found is None:
            raise JqlError(
                f"Error in the JQL Query: The character '{text[place]}' is a reserved JQL character. "
                f"You must enclose it in a string. (line 1, character {place + 1})"
            )
        place = found.end()
        if found["op"] is not None:
            yield Token("op", found["op"])
        elif found["dq"] is not None or found["sq"] is not None:
            quoted = found["dq"] if found["dq"] is not None else found["sq"]
            yield Token("text", re.sub(r"\\(.)", r"\1", quoted))
        else:
            yield Token("word", found["cf"] or found["word"])


class _Reader:
    def __init__(self, tokens: Sequence[Token], site: Site) -> None:
        self.tokens = tokens
        self.site = site
        self.place = 0

    def peek(self, ahead: int = 0) -> Token:
        at = self.place + ahead
        return self.tokens[at] if at < len(self.tokens) else Token("end", "")

    def take(self) -> Token:
        token = self.peek()
        self.place += 1
        return token

    def word(self, *words: str) -> bool:
        """Takes the word if it is next."""
        token = self.peek()
        if token.kind == "word" and token.text.lower() in words:
            self.place += 1
            return True
        return False

    def at_order(self) -> bool:
        return self.peek().kind == "end" or (
            self.peek().text.lower() == "order" and self.peek(1).text.lower() == "by"
        )

    def either(self) -> Predicate:
        parts = [self.both()]
        while self.word("or"):
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else lambda issue: any(part(issue) for part in parts)

    def both(self) -> Predicate:
        parts = [self.one()]
        while self.word("and"):
            parts.append(self.one())
        return parts[0] if len(parts) == 1 else lambda issue: all(part(issue) for part in parts)

    def one(self) -> Predicate:
        if self.word("not"):
            inner = self.one()
            return lambda issue: not inner(issue)
        if self.peek() == Token("op", "("):
            self.take()
            inner = self.either()
            self.close()
            return inner
        return self.clause()

    def close(self) -> None:
        if self.take() != Token("op", ")"):
            raise JqlError("Error in the JQL Query: Expecting ')' before the end of the query.")

    def field(self) -> str:
        token = self.take()
        if token.kind not in ("word", "text"):
            raise JqlError(
                "Error in the JQL Query: Expecting a field name at the end of the query."
            )
        name = token.text.lower()
        name = ALIASES.get(name, name)
        if name in self.site.fields:
            return self.site.fields[name]
        raise JqlError(
            f"Field '{token.text}' does not exist or you do not have permission to view it."
        )

    def clause(self) -> Predicate:
        field = self.field()
        if self.word("is"):
            negative = self.word("not")
            if not self.word(*EMPTY):
                raise JqlError("Error in the JQL Query: Expecting EMPTY or NULL after IS.")
            return _negated(negative, lambda issue: issue.get(field) in (None, "", []))
        negative = self.word("not")
        if self.word("in"):
            return _negated(negative, self.among(field))
        operator = self.take()
        if negative or operator.kind != "op" or operator.text in "(),":
            raise JqlError(
                "Error in the JQL Query: Expecting operator but got "
                f"'{operator.text}'. The valid operators are '=', '!=', '<', '>', '<=', '>=', "
                "'~', '!~', 'IN', 'NOT IN', 'IS' and 'IS NOT'."
            )
        return self.comparison(field, operator.text, self.value())

    def among(self, field: str) -> Predicate:
        if self.take() != Token("op", "("):
            raise JqlError("Error in the JQL Query: Expecting '(' after IN.")
        parts = [self.comparison(field, "=", self.value())]
        while self.peek() == Token("op", ","):
            self.take()
            parts.append(self.comparison(field, "=", self.value()))
        self.close()
        return lambda issue: any(part(issue) for part in parts)

    def value(self) -> Token:
        token = self.take()
        if token.kind not in ("word", "text"):
            raise JqlError("Error in the JQL Query: Expecting a value at the end of the query.")
        if token.kind == "word" and self.peek() == Token("op", "("):
            self.take()
            self.close()
            return Token("function", token.text.lower())
        return token

    def comparison(self, field: str, operator: str, value: Token) -> Predicate:
        if operator in ("~", "!~"):
            needle = value.text.lower().strip('*"')
            return _negated(
                operator == "!~", lambda issue: needle in str(issue.get(field) or "").lower()
            )
        if field in DATE_FIELDS:
            bound = self.instant(field, value)
            return lambda issue: _compare(issue.get(field), operator, bound)
        if field == "key":
            return self.key(operator, value)
        if field == "project" and value.text.upper() not in self.site.projects:
            raise JqlError(f"The value '{value.text}' does not exist for the field 'project'.")
        wanted = self.site.account if value == ("function", "currentuser") else value.text
        if value.kind == "word" and wanted.lower() in EMPTY:
            return _negated(operator == "!=", lambda issue: issue.get(field) in (None, "", []))
        if operator in ("=", "!="):
            lowered = wanted.lower()
            return _negated(operator == "!=", lambda issue: _holds(issue.get(field), lowered))
        try:
            number = float(wanted)
        except ValueError as error:
            raise JqlError(
                f"The operator '{operator}' is not supported by the '{field}' field."
            ) from error
        return lambda issue: _compare(issue.get(field), operator, number)

    def key(self, operator: str, value: Token) -> Predicate:
        """Keys compare by their number within ONE project, whatever the value was written as."""
        found = self.site.key_of(value.text)
        if found is None:
            raise JqlError(
                f"An issue with key '{value.text}' does not exist for field 'key'."
                if not value.text.isdigit()
                else f"A value with ID '{value.text}' does not exist for the field 'key'."
            )
        project, number = found
        if operator in ("=", "!="):
            return _negated(
                operator == "!=", lambda issue: (issue["project"], issue["number"]) == found
            )
        return lambda issue: (
            issue["project"] == project and _compare(issue["number"], operator, number)
        )

    def instant(self, field: str, value: Token) -> int:
        """Milliseconds. Literals have the precision of a minute and are of the account's zone."""
        text = value.text.strip()
        now = int(self.site.now.timestamp() * 1000)
        if value.kind == "function" and value.text == "now":
            return now
        if value.kind == "word" and re.fullmatch(r"-?\d{1,17}", text):
            given = int(text) + self.site.shift
            return given // MINUTE * MINUTE if self.site.to_the_minute else given
        if re.fullmatch(r"[-+]?(\d+[mhdw]\s*)+", text):
            minutes = sum(int(n) * PERIODS[unit] for n, unit in re.findall(r"(\d+)([mhdw])", text))
            shifted = now + (-minutes if text.startswith("-") else minutes) * MINUTE
            return shifted // MINUTE * MINUTE
        for form in DATE_FORMATS:
            try:
                local = datetime.strptime(text, form)  # noqa: DTZ007 -- the zone is the account's
            except ValueError:
                continue
            return int(local.replace(tzinfo=self.site.zone).timestamp() * 1000)
        raise JqlError(
            f"Date value '{text}' for field '{field}' is invalid. Valid formats include: "
            "'yyyy/MM/dd HH:mm', 'yyyy-MM-dd HH:mm', 'yyyy/MM/dd', 'yyyy-MM-dd', "
            "or a period format e.g. '-5d', '4w 2d'."
        )

    def order(self) -> tuple[tuple[str, bool], ...]:
        if self.peek().kind == "end":
            return ()
        if not (self.word("order") and self.word("by")):
            raise JqlError(
                f"Error in the JQL Query: Expecting either 'OR' or 'AND' but got '{self.peek().text}'."
            )
        order: list[tuple[str, bool]] = []
        while True:
            field = self.field()
            descending = self.word("desc")
            if not descending:
                self.word("asc")
            order.append((field, descending))
            if self.peek() != Token("op", ","):
                break
            self.take()
        if self.peek().kind != "end":
            raise JqlError(f"Error in the JQL Query: Unexpected '{self.peek().text}' in ORDER BY.")
        if len(order) > 7:
            raise JqlError("The maximum number of ORDER BY fields is 7.")
        return tuple(order)


def _negated(negative: bool, inner: Predicate) -> Predicate:
    return (lambda issue: not inner(issue)) if negative else inner


def _holds(held: Any, lowered: str) -> bool:
    if isinstance(held, list):
        return any(str(one).lower() == lowered for one in held)
    return held is not None and str(held).lower() == lowered


def _compare(held: Any, operator: str, bound: float) -> bool:
    if held is None or isinstance(held, (str, list)):
        return False
    match operator:
        case "=":
            return bool(held == bound)
        case "!=":
            return bool(held != bound)
        case ">":
            return bool(held > bound)
        case ">=":
            return bool(held >= bound)
        case "<":
            return bool(held < bound)
        case _:
            return bool(held <= bound)
