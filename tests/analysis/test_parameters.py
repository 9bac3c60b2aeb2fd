import math

import numpy as np
import pytest

import tunesmith as tune
from tunesmith.analysis.objective_values import objective_values
from tunesmith.analysis.parameters import parameter_table
from tunesmith.errors import ConfigError
from tunesmith.trial import MetricConstraint, Mode, Objective

from .written import objective, write

NAN = math.nan
SPACE = {
    "lr": tune.loguniform(1e-5, 1e-1),
    "batch": tune.choice([64, 16, 32]),
    "width": tune.sample_from(lambda _: 1),
    "kind": tune.sample_from(lambda _: "a"),
    "optimizer": tune.choice(
        [{"name": "sgd", "momentum": tune.uniform(0, 1)}, {"name": "adam", "beta": tune.uniform(0, 1)}]
    ),
}
CONFIGS = [
    {"lr": 1e-3, "batch": 16, "width": 256, "kind": "b", "optimizer": {"name": "sgd", "momentum": 0.5}},
    {"lr": 1e-4, "batch": 64, "width": 4, "kind": "a", "optimizer": {"name": "adam", "beta": 0.25}},
    {"lr": 9.0, "batch": 32, "width": 8, "kind": "b", "optimizer": {"name": "sgd", "momentum": 0.75}},  # lr is outside
]


def table(folder):
    return parameter_table(write(folder, [[1]] * 3, space=SPACE, configs=CONFIGS).reader)


def test_numbers_stand_as_they_are_and_nan_where_they_take_no_part(tmp_path):
    found = table(tmp_path / "e")
    assert found.named("lr").values.tolist() == [1e-3, 1e-4, 9.0]
    assert np.array_equal(found.named("optimizer/momentum").values, [0.5, NAN, 0.75], equal_nan=True)
    assert np.array_equal(found.named("optimizer/1/beta").values, [NAN, 0.25, NAN], equal_nan=True)


def test_options_of_numbers_are_in_order(tmp_path):
    batch = table(tmp_path / "e").named("batch")
    assert (batch.options, batch.values.tolist()) == (("16", "32", "64"), [0, 2, 1])


def test_options_with_domains_are_named_by_their_words(tmp_path):
    optimizer = table(tmp_path / "e").named("optimizer")
    assert optimizer.options == ("sgd", "adam")
    assert np.array_equal(optimizer.values[:2], [0, 1])


def test_what_sample_from_drew_is_a_number_or_a_category(tmp_path):
    found = table(tmp_path / "e")
    assert (found.named("width").options, found.named("width").values.tolist()) == (None, [256, 4, 8])
    assert (found.named("kind").options, found.named("kind").values.tolist()) == (("a", "b"), [1, 0, 1])


def test_logarithmic_and_conditional_parameters_are_known(tmp_path):
    found = table(tmp_path / "e").parameters
    assert [parameter.name for parameter in found if parameter.is_log] == ["lr", "width"]
    assert [parameter.name for parameter in found if parameter.is_conditional] == [
        "optimizer/momentum",
        "optimizer/beta",
    ]


def test_an_unknown_parameter_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(ConfigError, match=r"Give one of lr, batch, .* Did you mean 'optimizer/momentum'"):
        table(tmp_path / "e").named("momentum")


def test_two_leaves_of_one_name_keep_the_numbers_of_their_options(tmp_path):
    space = {"m": tune.choice([{"lr": tune.uniform(0, 1)}, {"lr": tune.uniform(2, 3)}])}
    result = write(tmp_path / "e", [[1]], space=space, configs=[{"m": {"lr": 2.5}}])
    assert [parameter.name for parameter in parameter_table(result.reader).parameters] == ["m", "m/0/lr", "m/1/lr"]


# ---------------------------------------------------------------- several objectives


def reports(*pairs):
    return [[{"loss": loss, "size": size}] for loss, size in pairs]


def test_the_front_goes_by_the_modes(tmp_path):
    result = write(
        tmp_path / "e", reports((1, 1), (2, 5), (3, 4), (NAN, 9)), objective=objective(loss="min", size="max")
    )
    found = objective_values(result.reader)
    assert found.trial.tolist() == [0, 1, 2]
    assert found.is_best.tolist() == [True, True, False]
    assert found.values.tolist() == [[1, 1], [2, 5], [3, 4]]
    assert found.n_left_out == 1


def test_a_trial_that_breaks_a_constraint_is_on_no_front(tmp_path):
    bounded = Objective(("loss", "size"), (Mode.MIN, Mode.MIN), (MetricConstraint("size", True, 3.0),))
    found = objective_values(write(tmp_path / "e", reports((1, 5), (2, 3), (3, 2)), objective=bounded).reader)
    assert found.is_feasible.tolist() == [False, True, True]
    assert found.is_best.tolist() == [False, True, True]


def test_other_metrics_need_their_modes(tmp_path):
    reader = write(tmp_path / "e", reports((1, 1), (2, 5))).reader
    assert objective_values(reader, ["loss", "size"], ["min", "min"]).is_best.tolist() == [True, False]
    with pytest.raises(ConfigError, match="mode of 'size' is None"):
        objective_values(reader, ["loss", "size"])


def test_the_numbers_of_metrics_and_modes_must_agree(tmp_path):
    reader = write(tmp_path / "e", reports((1, 1))).reader
    with pytest.raises(ConfigError, match="2 metrics and 1 modes"):
        objective_values(reader, ["loss", "size"], ["min"])
