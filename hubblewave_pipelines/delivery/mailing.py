"""Letters to the operators about webhooks that were disabled and deliveries that were given up, by SMTP.

They are beside the event and the log, and in nobody's way: a mail server that is away or hangs delays
letters only.
"""

import asyncio
import json
import smtplib
import ssl
import unicodedata
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from urllib.parse import unquote, urlsplit

import structlog

from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage import alert_mails
from hubblewave_pipelines.storage.alert_mails import Alert
from hubblewave_pipelines.storage.database import AsyncDatabase

_log = structlog.get_logger("hubblewave.mail")
_SECONDS = 20.0
_BATCH = 20
_FIRST_WAIT, _LONGEST_WAIT = 60.0, 4 * 3600.0
_SUBJECT = 150


class Mailing:
    """Sends what `storage.alert_mails` holds. Off unless the settings name a server and somebody to
    write to."""

    def __init__(self, settings: Settings, database: AsyncDatabase) -> None:
        self._settings = settings
        self._database = database
        self.on = settings.smtp_url is not None and bool(settings.alert_emails)

    async def round(self) -> bool:
        """Send what is due; whether more may wait."""
        if not self.on:
            return False
        async with self._database.transaction() as tx:
            due = await tx.all(alert_mails.take(_BATCH))
        for alert in due:
            try:
                await asyncio.to_thread(self._send, alert)
            except Exception as error:  # noqa: BLE001 - logged; letters must not end the worker
                expected = isinstance(error, OSError | smtplib.SMTPException)
                _log.warning(
                    "not mailed",
                    alert=str(alert.event_id),
                    detail=_reason(error),
                    last=alert.last,
                    exc_info=None if expected else error,
                )
                wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (alert.attempt - 1))
                async with self._database.transaction() as tx:
                    await tx.run(alert_mails.put_off(alert.event_id, wait))
                return False  # the server's fault, most likely: the others would fare no better
            async with self._database.transaction() as tx:
                await tx.run(alert_mails.sent(alert.event_id))
        return len(due) == _BATCH

    def _send(self, alert: Alert) -> None:
        assert self._settings.smtp_url is not None
        server = urlsplit(self._settings.smtp_url.get_secret_value())
        host, user = server.hostname or "", unquote(server.username or "")
        trusted = ssl.create_default_context()
        if server.scheme == "smtps":
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                host, server.port or 465, timeout=_SECONDS, context=trusted
            )
        else:
            smtp = smtplib.SMTP(host, server.port or 587, timeout=_SECONDS)
        with smtp:
            smtp.ehlo()
            if server.scheme == "smtp" and smtp.has_extn("starttls"):
                smtp.starttls(context=trusted)
                smtp.ehlo()
            elif server.scheme == "smtp" and user:
                raise smtplib.SMTPNotSupportedError("no STARTTLS: the password was not sent")
            if user:
                smtp.login(user, unquote(server.password or ""))
            smtp.send_message(letter(alert, self._settings))


def letter(alert: Alert, settings: Settings) -> EmailMessage:
    """The letter about an event: what happened, to which webhook, and what to do."""
    data = json.loads(alert.data)
    name = _line(str(data.get("name", "")))
    if alert.type == "webhook.disabled":
        subject = f"Webhook {name} was disabled ({data.get('reason')})"
        what = _DISABLED.get(str(data.get("reason")), "")
        todo = (
            f"What waits for it is held. Mend it, then: POST /api/v1/webhooks/{data.get('webhookId')}"
            "/enable, which sends what was held."
        )
    else:
        subject = f"Webhook {name} has {data.get('count')} dead letters"
        what = f"The newest was given up because of: {data.get('newest', {}).get('reason')}."
        todo = "See them with `hubblewave deadletters list`, send them again with `redrive`."
    message = EmailMessage()
    message["Subject"] = f"[HubbleWave {alert.tenant}] {subject}"[:_SUBJECT]
    message["From"] = settings.alert_from
    message["To"] = ", ".join(settings.alert_emails)
    message["Date"] = format_datetime(alert.occurred_at)
    message["Message-ID"] = make_msgid(idstring=str(alert.event_id), domain="hubblewave")
    message["Auto-Submitted"] = "auto-generated"
    lines = (f"Tenant: {alert.tenant}", f"Webhook: {name}", "", what, todo, "")
    message.set_content("\n".join((*lines, json.dumps(data, indent=2, ensure_ascii=False), "")))
    return message


_DISABLED = {
    "gone": "Its receiver answered 410: it wants no more.",
    "failing": "It had no success for days.",
    "transform": "Its transform failed every time.",
}


def _line(text: str) -> str:
    """Text that people chose, fit for a header: no line breaks or other controls."""
    kinds = ((unicodedata.category(character), character) for character in text)
    breaks = ("Zl", "Zp")
    return "".join(" " if k in breaks or k.startswith("C") else c for k, c in kinds)[:80]


def _reason(error: Exception) -> str:
    """What went wrong, without what the server said: it may quote what it was sent."""
    code = getattr(error, "smtp_code", None)
    return type(error).__name__ if code is None else f"{type(error).__name__} {code}"
