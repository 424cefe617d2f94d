"""The log of a process: one JSON object per line on standard output."""

import logging

import msgspec
import structlog

from hubblewave_pipelines.core.errors import Misconfigured

# Without the values of local variables: they hold credentials and records.
_TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def _encoded(event: object, **_: object) -> bytes:
    return msgspec.json.encode(event, enc_hook=repr)


def configure_log(level: str) -> None:
    """One JSON object per line on standard output. Raises Misconfigured for an unknown level."""
    levels = logging.getLevelNamesMapping()
    if level not in levels:
        raise Misconfigured(
            f"HUBBLEWAVE_LOG_LEVEL is {level}; use one of DEBUG, INFO, WARNING, ERROR."
        )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            _TRACEBACKS,
            structlog.processors.JSONRenderer(serializer=_encoded),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(levels[level]),
        logger_factory=structlog.BytesLoggerFactory(),
        cache_logger_on_first_use=True,
    )
