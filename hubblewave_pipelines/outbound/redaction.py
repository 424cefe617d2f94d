"""Secrets out of texts: log lines and errors may quote what systems say, but never a credential."""

import base64
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

_SHORTEST = 4  # characters; replacing shorter ones would blacken ordinary words
HIDDEN = "***"


class Redactor:
    """Knows the secrets of one connection, also in the forms they take on the wire."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: set[str] = set()
        self._longest_first: tuple[str, ...] = ()
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Secrets that came later: access tokens, rotated refresh tokens."""
        for secret in secrets:
            if len(secret) >= _SHORTEST:
                coded = base64.b64encode(secret.encode()).decode()
                self._known |= {secret, quote(secret, safe=""), quote_plus(secret), coded}
                self._known |= {line for line in secret.splitlines() if len(line) >= 16}
        self._longest_first = tuple(sorted(self._known, key=len, reverse=True))

    def __call__(self, text: str) -> str:
        for secret in self._longest_first:
            if secret in text:
                text = text.replace(secret, HIDDEN)
        return text
