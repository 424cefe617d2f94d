"""Signatures: PyPI's standardwebhooks accepts ours, and refuses any that was tampered with."""

import hashlib
import hmac
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from hubblewave_pipelines.core.signature import new_secret, secret_fault, sign

OLD, NEW = new_secret(), new_secret()


def signed(keys: list[str], body: bytes, message: str = "0190-a") -> dict[str, str]:
    now = int(datetime.now(UTC).timestamp())
    return sign(keys, event="contact.created", delivery="d-1", message=message, timestamp=now, body=body)  # fmt: skip


def accepted(secret: str, body: bytes, headers: dict[str, str]) -> bool:
    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


@given(body=st.dictionaries(st.text(), st.text()), at=st.integers(0), flip=st.integers(1, 127))
def test_W13_any_changed_byte_fails(body: dict[str, str], at: int, flip: int) -> None:
    sent = json.dumps(body).encode()
    headers = signed([OLD], sent)
    assert accepted(OLD, sent, headers)
    changed = bytearray(sent)
    changed[at % len(sent)] ^= flip
    assert not accepted(OLD, bytes(changed), headers)


def test_W13_ids_and_times_are_part_of_what_is_signed() -> None:
    headers = signed([OLD], b"{}")
    assert not accepted(OLD, b"{}", {**headers, "webhook-id": "0190-b"})
    later = str(int(headers["webhook-timestamp"]) + 1)
    assert not accepted(OLD, b"{}", {**headers, "webhook-timestamp": later})
    for bad in ("a.b", "."):
        with pytest.raises(ValueError, match="dot"):
            signed([OLD], b"{}", message=bad)


def test_W12_a_capture_of_six_minutes_ago_is_refused() -> None:
    then = int(datetime.now(UTC).timestamp()) - 360
    headers = sign([OLD], event="e.x", delivery="d", message="m", timestamp=then, body=b"{}")
    assert not accepted(OLD, b"{}", headers)


def test_W14_during_a_rotation_both_secrets_verify_and_the_single_header_is_the_old_ones() -> None:
    headers = signed([OLD, NEW], b'{"a":1}')
    assert accepted(OLD, b'{"a":1}', headers)
    assert accepted(NEW, b'{"a":1}', headers)
    expected = hmac.new(OLD.encode(), b'{"a":1}', hashlib.sha256).hexdigest()
    assert headers["X-HubbleWave-Signature"] == f"sha256={expected}"
    after = signed([NEW], b"{}")
    assert not accepted(OLD, b"{}", after)
    assert accepted(NEW, b"{}", after)


@pytest.mark.parametrize(
    "secret",
    ["x" * 16, "a-secret-of-their-own-0123456789", OLD],
    ids=["plain", "long", "ours"],  # ours differs each time, and test processes must agree
)
def test_a_secret_of_any_form_signs(secret: str) -> None:
    assert secret_fault(secret) is None
    assert signed([secret], b"{}")["webhook-signature"].startswith("v1,")


@pytest.mark.parametrize(
    "secret",
    ["", "short", "x" * 257, "with a space in it", "ümläut-secret-0123", "line\nbreak-secret-01",
     "whsec_not/base64!", "whsec_c2hvcnQ=aaaaaa", "whsec_c2hvcnRzaG9ydA=="],
)  # fmt: skip
def test_a_secret_that_cannot_be_used_is_explained(secret: str) -> None:
    assert secret_fault(secret)
