"""A mail server on a real socket: keeps the letters it is sent, or refuses them, as a test says."""

import asyncio
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.plugins.receiver import Served


class Mailbox(Served):
    """`refusal`, such as "451 try later", is what it says to a letter while it is set."""

    def __init__(self, refusal: str | None = None) -> None:
        super().__init__()
        self.refusal = refusal
        self.letters: list[EmailMessage] = []
        self.receivers: list[list[str]] = []
        self.asked = 0

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.asked += 1
        if self.refusal is not None:
            return self.refusal
        content = envelope.content
        assert isinstance(content, bytes)
        letter = message_from_bytes(content, policy=default)
        assert isinstance(letter, EmailMessage)
        self.receivers.append(list(envelope.rcpt_tos))
        self.letters.append(letter)
        return "250 OK"

    async def _listen(self) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        return await loop.create_server(
            lambda: SMTP(self, hostname="localhost", loop=loop), "127.0.0.1", 0
        )
