import pytest

from tunesmith.errors import ConfigError
from tunesmith.schedulers import SCHEDULERS, ASHAScheduler, FIFOScheduler, create_scheduler

#: What those need that cannot do without arguments.
NEEDS = {
    "pbt": {"hyperparam_mutations": {"lr": [0.1, 0.2]}},
    "pb2": {"hyperparam_bounds": {"lr": [0.1, 0.2]}},
    "pbt_replay": {"policy_file": [(0, {"lr": 0.1})]},
}


@pytest.mark.parametrize("name", sorted(SCHEDULERS))
def test_every_name_makes_its_scheduler(name):
    assert type(create_scheduler(name, **NEEDS.get(name, {}))) is SCHEDULERS[name]


def test_keywords_reach_the_scheduler():
    with pytest.raises(ConfigError, match="max_t is 9"):
        create_scheduler("asha", max_t=9, grace_period=10)
    assert isinstance(create_scheduler("async_hyperband", metric="loss", mode="min"), ASHAScheduler)
    assert isinstance(create_scheduler("fifo"), FIFOScheduler)


def test_unknown_keywords_are_named():
    with pytest.raises(ConfigError, match=r"'asha' does not know max_steps, perturb\. It takes time_attr, metric"):
        create_scheduler("asha", perturb=1, max_steps=3, max_t=4)


def test_unknown_name_is_answered_with_the_names_there_are():
    with pytest.raises(ConfigError, match=r"no scheduler 'ahsa'.*asha, .*async_hyperband.*Did you mean 'asha'"):
        create_scheduler("ahsa")
