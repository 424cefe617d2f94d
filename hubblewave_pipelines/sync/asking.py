"""Checks and discoveries: a connector is asked once, and what it says is kept in the row that asked."""

from collections.abc import Callable
from uuid import UUID

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import JobFailed, VendorError
from hubblewave_pipelines.core.stream import CheckReport, Finding, Level
from hubblewave_pipelines.core.stream_json import report_json, stream_json
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage import connector_asks, connectors
from hubblewave_pipelines.storage.connector_asks import Ask
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.sync.connecting import Connected, connected, note, passes


def run_ask(
    database: Database,
    settings: Settings,
    tenant_id: UUID,
    ask_id: UUID,
    *,
    run_id: str,
    still_held: Callable[[], None],
) -> Ask:
    """Answer one ask; returns it settled, as completed or, with what the system said, as failed.

    A check completes also when it finds that nothing works: that is what it was asked for. Raises
    JobFailed when the ask is over or gone.
    """
    with database.transaction(tenant_id) as tx:
        ask = tx.one(connector_asks.start_ask(tenant_id, ask_id, run_id))
    if ask is None:
        raise JobFailed("This check or discovery is over, or there is none.")
    try:
        with connected(database, settings, tenant_id, ask.connector_id, still=still_held) as found:
            result = _checked(database, found) if ask.kind == "check" else _discovered(found, ask)
    except VendorError as error:
        if ask.kind == "discover":
            return _settle(database, ask, error={"code": error.code, "detail": error.detail})
        report = CheckReport((Finding("connection", Level.ERROR, error.detail),))
        result = _kept(database, ask, report)
    except JobFailed as error:
        _settle(database, ask, error={"code": error.code, "detail": error.detail})
        raise
    return _settle(database, ask, result=result)


def _checked(database: Database, found: Connected) -> Json:
    try:
        report = found.connector.check()
    except VendorError as error:
        if passes(error):
            note(database, found.stored, error)
        raise
    stored = found.stored
    with database.transaction(stored.tenant_id) as tx:
        if report.level is Level.ERROR:
            worst = next(each for each in report.findings if each.level is Level.ERROR)
            code = f"check.{worst.what}"
            tx.run(connectors.note_trouble(stored.tenant_id, stored.id, code, worst.detail))
        else:
            tx.run(connectors.note_works(stored.tenant_id, stored.id))
        result = {**report_json(report), "requests": found.session.requests}
        tx.run(connectors.note_check(stored.tenant_id, stored.id, result))
    return result


def _kept(database: Database, ask: Ask, report: CheckReport) -> Json:
    result = {**report_json(report), "requests": None}
    with database.transaction(ask.tenant_id) as tx:
        tx.run(connectors.note_check(ask.tenant_id, ask.connector_id, result))
    return result


def _discovered(found: Connected, ask: Ask) -> Json:
    streams = (
        list(found.connector.discover())
        if ask.stream is None
        else [found.connector.describe(ask.stream)]
    )
    return {
        "streams": [stream_json(stream) for stream in streams],
        "requests": found.session.requests,
    }


def _settle(
    database: Database, ask: Ask, *, result: Json = None, error: dict[str, str] | None = None
) -> Ask:
    with database.transaction(ask.tenant_id) as tx:
        ended = tx.one(connector_asks.end_ask(ask.tenant_id, ask.id, result=result, error=error))
        tx.run(connector_asks.forget_older(ask))
    if ended is None:
        raise JobFailed("The check or discovery was settled by another run.")
    return ended
