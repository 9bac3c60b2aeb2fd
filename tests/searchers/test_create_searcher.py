import pytest

from tunesmith.errors import ConfigError
from tunesmith.searchers import SEARCHERS, create_searcher


@pytest.mark.parametrize("name", sorted(SEARCHERS))
def test_every_name_makes_its_searcher(name):
    assert type(create_searcher(name)) is SEARCHERS[name]


def test_unknown_keywords_are_named():
    with pytest.raises(ConfigError, match=r"'grid' does not know points, seed\. It takes n_points, max_values"):
        create_searcher("grid", seed=1, points=3, n_points=2)


def test_unknown_name_is_answered_with_the_names_there_are():
    with pytest.raises(ConfigError, match=r"no searcher 'randon'.*grid.*random.*Did you mean 'random'"):
        create_searcher("randon")
