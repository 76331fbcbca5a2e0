from hypothesis import given
from hypothesis import strategies as st

from roomful.server.token_bucket import TokenBucket, TokenBuckets


def test_a_burst_of_a_seconds_worth_is_allowed_and_no_more() -> None:
    bucket = TokenBucket(3, now=100.0)
    assert [bucket.take(100.0) for _ in range(5)] == [True, True, True, False, False]
    assert [bucket.take(100.5) for _ in range(2)] == [True, False]


def test_rest_is_not_saved_beyond_a_second() -> None:
    bucket = TokenBucket(3, now=0.0)
    assert sum(bucket.take(1_000.0) for _ in range(10)) == 3


@given(st.integers(1, 50), st.lists(st.floats(0, 3), max_size=200))
def test_in_no_stretch_of_time_is_more_allowed_than_the_rate_and_a_burst(
    rate: int, pauses: list[float]
) -> None:
    now, taken = 0.0, 0
    bucket = TokenBucket(rate, now)
    for pause in pauses:
        now += pause
        taken += bucket.take(now)
        assert taken <= rate * (now + 1) + 1e-6


@given(st.integers(1, 5), st.lists(st.tuples(st.integers(0, 9), st.floats(0, 0.4)), max_size=200))
def test_many_are_bounded_each_as_if_alone_and_forgotten_after_a_rest(
    rate: int, comings: list[tuple[int, float]]
) -> None:
    now = 0.0
    buckets, alone = TokenBuckets(rate), [TokenBucket(rate, 0.0) for _ in range(10)]
    came: list[tuple[float, int]] = []
    for who, pause in comings:
        now += pause
        came.append((now, who))
        assert buckets.take(who, now) == alone[who].take(now)
        assert len(buckets) <= len({each for at, each in came if at > now - 1.001})
