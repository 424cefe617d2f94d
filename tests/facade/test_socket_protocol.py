"""Laws of the protocol's state machine: whatever a client says, an answer of the protocol; nothing
runs before the acknowledgement; an id runs once at a time; what was stopped stays silent."""

import asyncio
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from api.subscriptions.outbox import MOST_WAITING, Lane, Outbox
from api.subscriptions.protocol import Authorise, Close, Code, Conversation, Start, Stop, close

ids = st.sampled_from(["1", "2", "é", ""])
scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
anything = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
payloads = st.fixed_dictionaries(
    {}, optional={"query": scalars, "variables": anything, "operationName": scalars}
)
messages = st.one_of(
    st.fixed_dictionaries({"type": st.just("connection_init")}),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["ping", "pong"])}, optional={"payload": anything}
    ),
    st.fixed_dictionaries({"type": st.just("complete"), "id": ids}),
    st.fixed_dictionaries(
        {"type": st.just("subscribe"), "id": ids, "payload": st.just({"query": "{ a }"})}
    ),
    st.fixed_dictionaries({"type": st.just("subscribe"), "id": ids | scalars, "payload": payloads}),
    anything,
).map(json.dumps)


@settings(max_examples=60)
@given(st.lists(messages | st.text(), max_size=30), st.integers(0, 30))
def test_any_conversation_follows_the_rules(said: list[str], acknowledged_after: int) -> None:
    conversation, running, asked = Conversation(), set(), False
    for number, text in enumerate(said):
        if asked and number >= acknowledged_after and not conversation.acknowledged:
            conversation.acknowledge({})
        match conversation.receive(text):
            case Start(operation, payload):
                assert conversation.acknowledged
                assert operation not in running
                assert isinstance(payload["query"], str)
                running.add(operation)
            case Stop(operation):
                running.remove(operation)
                assert not conversation.ended(operation)
            case Authorise():
                assert not asked
                asked = True
            case Close(code, reason):
                assert code in Code
                assert len(reason.encode()) <= 123
                return
        assert conversation.running == running


@given(st.text(max_size=300))
def test_a_reason_fits_a_close_frame(reason: str) -> None:
    assert len(close(Code.BAD_REQUEST, reason).reason.encode()) <= 123


def test_operations_take_turns_and_a_full_lane_takes_no_more() -> None:
    async def run() -> None:
        outbox = Outbox()
        quick, full = Lane("q", "q"), Lane("f", "f")
        taken = 0
        while outbox.offer(full, "x"):
            taken += 1
        assert taken == MOST_WAITING
        outbox.finish(full, "the end")
        assert outbox.offer(quick, "y")
        await outbox.answer("pong")
        heard: list[Any] = [await outbox.take() for _ in range(3)]
        assert heard == [("pong", None), ("fx}", None), ("qy}", None)]
        rest = [await outbox.take() for _ in range(MOST_WAITING)]
        assert rest == [("fx}", None)] * (MOST_WAITING - 1) + [("the end", full)]
        assert outbox.size == 0
        assert outbox.offer(quick, "z")
        outbox.close(quick)
        assert outbox.size == 0

    asyncio.run(run())
