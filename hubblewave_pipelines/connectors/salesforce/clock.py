"""Salesforce's clock, from the Date of its answers: marks and spans are never made of our own."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from hubblewave_pipelines.outbound.session import Answer


class ServerClock:
    """Knows nothing until it has seen an answer."""

    def __init__(self) -> None:
        self.skew: timedelta | None = None  # Salesforce's clock less ours

    def see(self, answer: Answer) -> Answer:
        """The same answer, its Date noted."""
        date = answer.headers.get("date")
        if date is not None:
            try:
                self.skew = parsedate_to_datetime(date) - answer.at
            except ValueError:
                return answer  # a proxy's invention; the next answer has another
        return answer

    def now(self) -> datetime | None:
        return None if self.skew is None else datetime.now(UTC) + self.skew
