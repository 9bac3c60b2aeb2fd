import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.callbacks.estimate import Workload, time_left_s


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        pytest.param(Workload(durations_s=(), n_total=10), None, id="nothing is known before a trial is over"),
        pytest.param(Workload(durations_s=(9, 9), n_total=10), None, id="nor with two"),
        pytest.param(Workload(durations_s=(10, 10, 10), n_total=13), 100, id="mean times what is left"),
        pytest.param(Workload(durations_s=(10, 20, 30), n_total=13, n_parallel=4), 50, id="shared by the slots"),
        pytest.param(Workload(durations_s=(1, 1, 28), n_total=13), 100, id="early-stopped ones count as they come"),
        pytest.param(Workload(durations_s=(10,) * 3, n_total=4, n_parallel=8), 10, id="one trial fills one slot"),
        pytest.param(Workload(durations_s=(10,) * 3, spent_s=(4,), n_total=4), 6, id="a running trial has done a part"),
        pytest.param(
            Workload(durations_s=(10, 10, 40), spent_s=(20,), n_total=4), 20, id="one that outlived most is a long one"
        ),
        pytest.param(
            Workload(durations_s=(10,) * 3, spent_s=(50,), n_total=4),
            10,
            id="one that outlived all needs the mean again",
        ),
        pytest.param(
            Workload(durations_s=(10,) * 3, spent_s=(1, 9, 9), n_total=6, n_parallel=3),
            9,
            id="the longest one bounds it",
        ),
        pytest.param(Workload(durations_s=(10,) * 3, n_total=3), 0, id="nothing left"),
        pytest.param(Workload(durations_s=(10,) * 5, n_total=3), 0, id="more over than there are samples"),
        pytest.param(
            Workload(durations_s=(10,) * 3, n_total=13, elapsed_s=30, time_budget_s=60), 30, id="the budget caps it"
        ),
        pytest.param(
            Workload(durations_s=(), n_total=13, elapsed_s=30, time_budget_s=60),
            30,
            id="the budget is known from the start",
        ),
        pytest.param(Workload(durations_s=(), elapsed_s=90, time_budget_s=60), 0, id="a budget that is overdrawn"),
        pytest.param(Workload(durations_s=(10,) * 9), None, id="endless and unlimited"),
        pytest.param(Workload(durations_s=(10,) * 9, elapsed_s=1, time_budget_s=60), 59, id="endless with a budget"),
        pytest.param(
            Workload(durations_s=(10,) * 3, elapsed_s=30, n_steps=60, max_total_steps=100), 20, id="steps at their pace"
        ),
        pytest.param(Workload(durations_s=(), elapsed_s=30, n_steps=60, max_total_steps=100), None, id="pace unknown"),
        pytest.param(Workload(durations_s=(), n_steps=100, max_total_steps=100), 0, id="steps used up"),
    ],
)
def test_time_left(work, expected):
    assert time_left_s(work) == (None if expected is None else pytest.approx(expected))


times = st.lists(st.floats(0, 1e6), max_size=20).map(tuple)


@given(times, times, st.none() | st.integers(0, 100), st.integers(0, 50), st.none() | st.floats(0, 1e6))
def test_time_left_is_never_negative_and_never_beyond_the_budget(durations_s, spent_s, n_total, n_parallel, budget_s):
    work = Workload(
        durations_s=durations_s, spent_s=spent_s, n_total=n_total, n_parallel=n_parallel, time_budget_s=budget_s
    )
    left_s = time_left_s(work)
    assert left_s is None or left_s >= 0
    assert budget_s is None or (left_s is not None and left_s <= budget_s)
