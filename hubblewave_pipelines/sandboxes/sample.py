"""Seeded values as they are met in real systems: names, texts and numbers, the awkward ones included."""

import random
from datetime import date, datetime, timedelta
from decimal import Decimal

FIRST = (
    "Ada Bjørn Chloé Dmitri Eleni François Grace Hồng İpek João Kateřina Łukasz María Noël Óscar "
    "Petra Quentin Renée Søren Tōru Úrsula Víctor Wei Ximena Yūki Zoë Aarav Siobhán O'Neill"
).split()
LAST = (
    "Müller Nguyễn O'Brien García Åström Kowalski Ivanova Tanaka Şahin d'Angelo Smith-Jones Öztürk "
    "Peña Ødegård Čapek Van\u00a0Dijk 王 Haddad Müller-Lüdenscheidt Li Fernández Rossi Cohen Patel Kim"
).split()
COMPANY = (
    "Acme Globex Initech Umbrella Stark Wayne Tyrell Cyberdyne Aperture Vandelay Hooli Massive "
    "Café\u00a0Central Nordström Weiß Żubr 株式会社サクラ Ångström Société Sławomir"
).split()
FORM = ("Inc.", "GmbH", "S.A.", "Ltd", "AB", "& Sons", "Kft.", "株式会社", "LLC", "Pty Ltd")
CITY = (
    "Zürich", "São Paulo", "Kraków", "Reykjavík", "東京", "Montréal", "Nürnberg", "Boston",
    "A Coruña", "Kyiv", "St. John's", "Malmö", "New York", "Θεσσαλονίκη", "Łódź", "القاهرة",
)  # fmt: skip
COUNTRY = ("CH", "BR", "PL", "IS", "JP", "CA", "DE", "US", "ES", "UA", "SE", "GR", "EG")
INDUSTRY = ("Agriculture", "Banking", "Energy", "Healthcare", "Retail", "Technology", "Utilities")
_TEXTS = (
    "Called twice; will call back.",
    'He said: "send it, please"\nand hung up.',
    "line one\r\nline two\n\nline four",
    "tab\there, comma, semicolon; pipe | and 'quotes'",
    "NA",
    "null",
    "=1+1",
    "  spaces around  ",
    "emoji 👩‍🚀 and combining e\u0301, line\u2028separator, next\u0085line",
    "<b>bold</b> & co. \\ backslash %41",
    "0001",
    "1e5",
)
_FACES = "🙂🚀漢"


class Sample:
    """Values from one seeded dice; the same calls in the same order give the same values."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice

    def first(self) -> str:
        return self.dice.choice(FIRST)

    def last(self) -> str:
        return self.dice.choice(LAST)

    def company(self) -> str:
        return f"{self.dice.choice(COMPANY)} {self.dice.choice(LAST)} {self.dice.choice(FORM)}"

    def city(self) -> str:
        return self.dice.choice(CITY)

    def country(self) -> str:
        return self.dice.choice(COUNTRY)

    def text(self, longest: int = 2_000) -> str:
        """A note: mostly one of the awkward texts, seldom a very long one."""
        if self.dice.random() < 0.02:
            words = " ".join(self.dice.choice(_TEXTS) for _ in range(longest // 20))
            return (words + self.dice.choice(_FACES))[:longest]
        return self.dice.choice(_TEXTS)[:longest]

    def phone(self) -> str:
        number = self.dice.randrange(10**7, 10**8)
        return f"+{self.dice.randrange(1, 99)} {str(number)[:3]} {str(number)[3:]}"

    def email(self, name: str) -> str:
        plain = "".join(letter for letter in name.lower() if letter.isascii() and letter.isalnum())
        return f"{plain or 'user'}{self.dice.randrange(10_000)}@example.com"

    def amount(self, digits: int = 9, scale: int = 2) -> Decimal:
        """Money, also negative, zero and as large as the digits allow."""
        edge = self.dice.random()
        if edge < 0.02:
            return Decimal(0)
        largest = 10 ** (digits + scale) - 1
        units = largest if edge > 0.99 else self.dice.randrange(largest)
        return Decimal(-units if edge > 0.95 else units).scaleb(-scale)

    def day(self, around: date, spread: int = 3_000) -> date:
        """A date, now and then a leap day, the epoch or the last day of a century."""
        if self.dice.random() < 0.03:
            return self.dice.choice(
                (date(2024, 2, 29), date(1970, 1, 1), date(1999, 12, 31), date(4000, 12, 31))
            )
        return around + timedelta(days=self.dice.randrange(-spread, spread // 10))

    def instant(self, before: datetime, spread_seconds: int) -> datetime:
        """A whole second within so many seconds before."""
        return before.replace(microsecond=0) - timedelta(
            seconds=self.dice.randrange(spread_seconds)
        )

    def maybe(self, value: str, *, missing: float = 0.1) -> str | None:
        """The value, or null."""
        return None if self.dice.random() < missing else value
