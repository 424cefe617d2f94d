"""The law of rate limits: exact in every window, honest about the wait."""

from hypothesis import given
from hypothesis import strategies as st

from hubblewave_pipelines.core.limits import PLAN_LIMITS, SLOTS, Bucket, Limit, plan_limits

limits = st.builds(
    Limit,
    name=st.just("test"),
    requests=st.integers(1, 20),
    block_ms=st.sampled_from([10, 500, 5_000]),
    window_ms=st.sampled_from([100, 1_000, 60_000]),
)
gaps = st.lists(
    st.one_of(st.integers(0, 5), st.integers(0, 500), st.integers(0, 70_000)), max_size=120
)


@given(limit=limits, gaps=gaps)
def test_no_window_holds_more_than_the_limit_unless_a_block_was_served(
    limit: Limit, gaps: list[int]
) -> None:
    bucket, now, admitted = Bucket(), 1_700_000_000_000, list[int]()
    for gap in gaps:
        now += gap
        allowance = bucket.take(limit, now)
        if not allowance.admitted:
            admitted.clear()  # what follows the block starts afresh
            continue
        admitted.append(now)
        inside = [at for at in admitted if at > now - limit.window_ms]
        assert len(inside) <= limit.requests
        assert 0 <= allowance.remaining <= limit.requests - len(inside)


@given(limit=limits, gaps=gaps)
def test_who_stays_inside_the_limit_is_never_refused(limit: Limit, gaps: list[int]) -> None:
    bucket, now, sent = Bucket(), 1_700_000_000_000, list[int]()
    span = limit.window_ms + limit.slot_ms
    for gap in gaps:
        now += gap
        if len([at for at in sent if at > now - span]) < limit.requests:
            sent.append(now)
            assert bucket.take(limit, now).admitted


@given(limit=limits, extra=st.integers(0, 3))
def test_a_block_lasts_as_long_as_it_says_and_then_the_plan_is_whole_again(
    limit: Limit, extra: int
) -> None:
    bucket, now = Bucket(), 5_000_000
    for _ in range(limit.requests):
        assert bucket.take(limit, now).admitted
    refused = bucket.take(limit, now)
    assert refused.retry_ms == limit.block_ms
    assert bucket.take(limit, now + limit.block_ms - 1).retry_ms == 1
    again = bucket.take(limit, now + limit.block_ms + extra)
    assert again.admitted
    assert again.remaining == limit.requests - 1


@given(limit=limits, gaps=gaps)
def test_after_the_reset_a_place_is_free(limit: Limit, gaps: list[int]) -> None:
    bucket, now = Bucket(), 5_000_000
    for gap in gaps:
        now += gap
        allowance = bucket.take(limit, now)
        if allowance.admitted and allowance.remaining == 0:
            assert bucket.take(limit, now + allowance.reset_ms).admitted
            return


def test_a_bucket_stays_small_whatever_the_plan() -> None:
    bucket, limit = Bucket(), Limit("big", 10**9, 1_000)
    for now in range(0, 200_000, 7):
        assert bucket.take(limit, now).admitted
    assert len(bucket._slots) <= SLOTS + 2


def test_the_plans_are_those_of_the_contract() -> None:
    shown = {
        name: (limit.requests, limit.window_ms, limit.block_ms)
        for name, limit in PLAN_LIMITS.items()
    }
    assert shown == {
        "free": (100, 60_000, 60_000),
        "professional": (1_000, 60_000, 30_000),
        "enterprise": (10_000, 60_000, 10_000),
    }
    assert plan_limits({"free": 5})["free"].requests == 5
    assert plan_limits({"free": 5})["enterprise"] == PLAN_LIMITS["enterprise"]
