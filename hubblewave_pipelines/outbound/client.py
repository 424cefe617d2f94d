"""The session over httpx: budget, signing, deadline, the retry matrix, and errors an admin can act on."""

import logging
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Self, TypeVar

import httpx
import msgspec

from hubblewave_pipelines.core.bucket import Quota
from hubblewave_pipelines.core.egress import Allow, check_url
from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import (
    BlockedTarget,
    ConnectionRefusedByPolicy,
    ForeignLink,
    PartialAnswer,
    QuotaSpent,
    VendorError,
    VendorRefused,
    VendorUnavailable,
)
from hubblewave_pipelines.outbound.addressing import Addresses
from hubblewave_pipelines.outbound.asked import SAFE, Asked, Limits
from hubblewave_pipelines.outbound.budget import Budget
from hubblewave_pipelines.outbound.dialling import DEADLINE, open_transport
from hubblewave_pipelines.outbound.inflating import inflated
from hubblewave_pipelines.outbound.judging import Verdict, of_cut, of_loss, of_status
from hubblewave_pipelines.outbound.looking_up import Lookup, system_lookup
from hubblewave_pipelines.outbound.manners import Manners
from hubblewave_pipelines.outbound.redaction import Redactor
from hubblewave_pipelines.outbound.session import Answer
from hubblewave_pipelines.outbound.signing import SignIn
from hubblewave_pipelines.outbound.vault import Vault

T = TypeVar("T")

logger = logging.getLogger(__name__)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEPT_BYTES = 64 * 1024  # of a refusal's body
_NAP = 0.5  # seconds between looks at whether the run is cancelled
_USER_AGENT = "HubbleWave-Connectors/1"

# httpx logs every URL, parameters included, at INFO: a key may be among them.
logging.getLogger("httpx").setLevel(logging.WARNING)


class HttpSession:
    """The `Session` that everything uses. Safe to share between threads; close it after use."""

    def __init__(
        self,
        base_url: str,
        vault: Vault,
        budget: Budget,
        allow: Allow,
        *,
        manners: Manners | None = None,
        limits: Limits | None = None,
        sleep: Callable[[float], None] = time.sleep,
        still: Callable[[], None] = lambda: None,
        lookup: Lookup = system_lookup,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`still` is asked while waiting and between attempts, and raises to end the run.

        Raises ConnectionRefusedByPolicy when the policy keeps us from the base URL.
        """
        self.manners = manners or Manners()
        self.limits = limits or Limits()
        try:
            target = check_url(base_url, allow)
        except BlockedTarget as error:
            raise ConnectionRefusedByPolicy(
                f"baseUrl: {error.detail} Let the operator add it to HUBBLEWAVE_EGRESS_ALLOW if it is"
                " meant."
            ) from error
        self._addresses = Addresses(base_url, rebase_links=self.manners.rebase_links)
        self.base_url = self._addresses.base_url
        self._allow = allow
        self._budget = budget
        self._sleep, self._still = sleep, still
        self._redact = Redactor()
        self._count = threading.Lock()
        self._requests = self._retries = 0
        self._quota: Quota | None = None
        limit = self.limits
        self._client = httpx.Client(
            transport=open_transport(
                allow, plain=target.plain, connections=limit.connections, lookup=lookup, tls=tls
            ),
            timeout=httpx.Timeout(limit.read, connect=limit.connect, pool=limit.total),
            headers={
                "Accept": "application/json",
                "User-Agent": _USER_AGENT,
                "Accept-Encoding": "gzip",
            },
            follow_redirects=False,
            trust_env=False,
        )
        path = self.manners.token_path
        token_url = None if path is None else path if "://" in path else self._addresses.url(path)
        self._sign_in = SignIn(vault, token_url, self._ask_token, self._redact)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    @property
    def requests(self) -> int:
        return self._requests

    @property
    def retries(self) -> int:
        return self._retries

    def redacted(self, text: str) -> str:
        return self._redact(text)

    def credential(self, name: str) -> str | None:
        return self._sign_in.given(name)

    def wait(self, seconds: float) -> None:
        """Raises what `still` raises as soon as the run is cancelled."""
        until = time.monotonic() + seconds
        self._still()
        while seconds > 0:
            nap = min(_NAP, seconds)
            self._sleep(nap)
            self._still()
            # A machine that slept through the wait has waited; a fake clock only counts naps.
            seconds = min(seconds - nap, max(0.0, until - time.monotonic()))

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Json | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        accept: tuple[int, ...] = (),
        safe: bool | None = None,
        timeout: float | None = None,
    ) -> Answer:
        asked = self._asked(method, path, params, headers, accept, safe)
        asked.total = timeout or self.limits.total
        asked.content = content
        if json is not None:
            asked.content = msgspec.json.encode(json)
            asked.headers.setdefault("Content-Type", "application/json")
        return self._exchanged(asked, self._whole)

    @contextmanager
    def _streaming(self, asked: Asked) -> Iterator["_Streamed"]:
        streamed = self._exchanged(asked, lambda response, asked: _Streamed(response, asked.shown))
        try:
            yield streamed
        finally:
            streamed.response.close()

    def stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AbstractContextManager["_Streamed"]:
        return self._streaming(self._asked(method, path, params, headers, (), None))

    def _asked(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        accept: tuple[int, ...],
        safe: bool | None,
    ) -> Asked:
        url = self._addresses.url(path, params)
        safe = method in SAFE if safe is None else safe
        return Asked(method, url, dict(headers or {}), None, accept, safe, self.limits.total)

    # -- one exchange over all its attempts ------------------------------------------------------

    def _exchanged(self, asked: Asked, read: Callable[[httpx.Response, Asked], T]) -> T:
        """What `read` makes of the first answer that is one. `read` closes the response, or keeps it."""
        while True:
            self._keep_reserve()
            self._pause(asked, self._budget.take())
            signed = self._sign_in.signed()
            asked.attempt += 1
            started = time.monotonic()
            try:
                response = self._sent(asked, signed.headers, signed.params)
            except httpx.TransportError as error:
                self._heed(asked, of_loss(asked, error), error)
                continue
            status = response.status_code
            logger.debug(
                "%s answered %d in %.3f s (attempt %d)",
                self._redact(asked.shown),
                status,
                time.monotonic() - started,
                asked.attempt,
            )
            self._quota = self.manners.quota(response.headers) or self._quota
            if 200 <= status < 300 or status in asked.accept:
                try:
                    return read(response, asked)
                except (httpx.TransportError, PartialAnswer) as error:
                    response.close()
                    self._heed(asked, of_cut(asked, error), error)
                    continue
            try:
                self._refused(asked, response, signed.generation)
            finally:
                response.close()

    def _sent(
        self, asked: Asked, headers: Mapping[str, str], params: Mapping[str, str]
    ) -> httpx.Response:
        url = self._addresses.url(asked.url, params) if params else asked.url
        request = self._client.build_request(
            asked.method, url, headers={**asked.headers, **headers}, content=asked.content
        )
        with self._count:
            self._requests += 1
            self._retries += asked.attempt > 1
        token = DEADLINE.set(time.monotonic() + asked.total)
        try:
            return self._client.send(request, stream=True)
        except BlockedTarget as error:
            raise ConnectionRefusedByPolicy(
                f"{error.detail} Let the operator add it to HUBBLEWAVE_EGRESS_ALLOW if it is meant."
            ) from error
        finally:
            DEADLINE.reset(token)

    def _whole(self, response: httpx.Response, asked: Asked) -> Answer:
        """Raises PartialAnswer, httpx.TransportError, VendorRefused for a body over the limit."""
        token = DEADLINE.set(time.monotonic() + asked.total)
        try:
            body = self._body(response, self.limits.max_body)
        finally:
            DEADLINE.reset(token)
            response.close()
        headers = dict(response.headers)
        answer = Answer(response.status_code, headers, body, datetime.now(UTC), asked.url)
        if body and response.is_success and "json" in headers.get("content-type", ""):
            answer.json()  # a body cut off where no length was announced shows here only
        return answer

    def _body(self, response: httpx.Response, most: int) -> bytes:
        body = bytearray()
        for block in inflated(response.iter_raw(), response.headers.get("content-encoding", "")):
            body += block
            if len(body) > most:
                raise VendorRefused(
                    f"An answer is over the limit of {most} bytes: ask for smaller pages."
                )
        return bytes(body)

    # -- what came instead of an answer ----------------------------------------------------------

    def _heed(self, asked: Asked, verdict: Verdict, cause: Exception | None = None) -> None:
        """Wait as the verdict says before the next attempt, or raise its error when there is none."""
        failed, policy = verdict.error, self.limits.retries
        failed.detail = self._redact(failed.detail)
        failed.args = (failed.detail,)
        wait = policy.wait(asked.attempt, random.random())  # noqa: S311 - jitter
        wait = max(wait, verdict.wish or 0.0)
        if verdict.slow:
            self._budget.slow_down(wait)
        if not verdict.again or asked.attempt >= policy.max_attempts:
            raise failed from cause
        asked.failed = failed
        if not verdict.slow:  # else the budget says how long
            self._pause(asked, wait)

    def _refused(self, asked: Asked, response: httpx.Response, generation: int) -> None:
        """Returns when the request may be sent again, at once or after the wait done here."""
        status, headers = response.status_code, response.headers
        if status in _REDIRECTS and "location" in headers:
            self._redirect(asked, response)
        elif status == 401 and not asked.renewed and self._sign_in.refused(generation):
            asked.renewed = True
        else:
            body = self._refusal(response)
            self._heed(asked, of_status(asked, status, headers, body, self.manners))

    def _refusal(self, response: httpx.Response) -> bytes:
        """As much of a refusal's body as comes, for the connector to read."""
        try:
            blocks = inflated(response.iter_raw(), response.headers.get("content-encoding", ""))
            body = b""
            for block in blocks:
                body += block
                if len(body) >= _KEPT_BYTES:
                    break
        except (httpx.TransportError, VendorError):
            return b""  # the status has been said, which is what counts
        return body[:_KEPT_BYTES]

    def _redirect(self, asked: Asked, response: httpx.Response) -> None:
        asked.hops += 1
        if not asked.safe or asked.hops > 3:
            raise ForeignLink(
                f"{asked.shown}: the system redirects: put its new address into baseUrl."
            )
        asked.url = self._addresses.redirected(asked.url, response.headers["location"])
        asked.attempt -= 1

    def _pause(self, asked: Asked, wait: float) -> None:
        if wait <= 0:
            return
        if asked.waited + wait > self.limits.patience:
            failed = asked.failed or QuotaSpent(
                f"{asked.shown}: the system has asked for a pause, or others use up what the connection"
                " may ask."
            )
            failed.retry_after = wait
            raise failed
        asked.waited += wait
        self.wait(wait)

    def _keep_reserve(self) -> None:
        """Stop before the system's own quota is spent to the last request: people need it, too."""
        reserve = self._budget.pace.reserve
        quota = self._quota
        if self.manners.quota_reserved and quota and quota.left_for_others(reserve):
            self._quota = None  # whoever comes later asks again how much is left
            raise QuotaSpent(
                f"The system has {quota.remaining:.0f} of {quota.limit:.0f} requests left, and"
                f" {reserve:.0%} of them are reserved for others.",
                retry_after=3600.0,
            )

    def _ask_token(self, url: str, form: Mapping[str, str]) -> Answer:
        """One answer of the token endpoint, without retries where an answer is lost: the next run asks anew."""
        try:
            target = check_url(url, self._allow)
            self._still()
            with self._count:
                self._requests += 1
            token = DEADLINE.set(time.monotonic() + 30.0)
            try:
                request = self._client.build_request("POST", target.url, data=dict(form))
                response = self._client.send(request, stream=True)
                try:
                    body = self._body(response, _KEPT_BYTES)
                finally:
                    response.close()
            finally:
                DEADLINE.reset(token)
        except BlockedTarget as error:
            raise ConnectionRefusedByPolicy(f"tokenUrl: {error.detail}") from error
        except (httpx.TransportError, PartialAnswer) as error:
            raise VendorUnavailable("The token endpoint did not answer.") from error
        return Answer(response.status_code, dict(response.headers), body, datetime.now(UTC), url)


class _Streamed:
    def __init__(self, response: httpx.Response, shown: str) -> None:
        self.response = response
        self.status = response.status_code
        self.headers: Mapping[str, str] = dict(response.headers)
        self._shown = shown

    def blocks(self) -> Iterator[bytes]:
        try:
            yield from inflated(
                self.response.iter_raw(), self.response.headers.get("content-encoding", "")
            )
        except httpx.TransportError as error:
            raise PartialAnswer(f"{self._shown}: the answer broke off.") from error
