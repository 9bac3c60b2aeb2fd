"""What figures say in words, and that their marks agree with the results."""

import math
import re

import numpy as np
import pytest

import tunesmith as tune
from tunesmith import plots
from tunesmith.analysis.importance import Importance
from tunesmith.api import load
from tunesmith.events import SessionStarted
from tunesmith.space import Space
from tunesmith.stores import create_store
from tunesmith.trial import MetricConstraint, Mode, Objective, TrialStatus

from ..analysis.written import attempt, spec_of, store_simulation, write
from ..stores.store_samples import make_trial, write_folds

pytest.importorskip("plotly")

BOUNDED = Objective(("loss",), (Mode.MIN,), (MetricConstraint("lat", True, 20.0),))


def subtitle(figure):
    return figure.layout.title.subtitle.text.replace("<br>", " ")


# ---------------------------------------------------------------- the best


def draws_the_best(result):
    """That every line of the best ends at `best`, and the black curve is its trial's."""
    best = result.best
    ends = [plots.best_so_far(result, over=over).data[-1].y[-1] for over in ("trials", "steps", "time")]
    ends.append(plots.comparison([result]).data[0].y[-1])
    assert ends == [best.value] * 4
    assert plots.learning_curves(result).data[-1].legendgroup == "best"
    assert set(plots.learning_curves(result).data[-1].customdata) == {best.trial.index}


def test_the_best_of_a_figure_keeps_the_constraints_as_best_does(tmp_path):
    slow_when_good = [{"loss": 0.1, "lat": 50}, {"loss": 0.5, "lat": 10}]
    slow_at_last = [{"loss": 0.3, "lat": 10}, {"loss": 0.6, "lat": 30}]
    result = write(tmp_path / "e", [slow_when_good, slow_at_last, [{"loss": 0.2, "lat": 30}]], objective=BOUNDED)
    draws_the_best(result)
    hollow, dots, _ = plots.best_so_far(result).data
    assert (hollow.name, hollow.marker.symbol, list(hollow.x)) == ("breaks a constraint", "circle-open", [2])
    assert list(dots.y) == [0.5, 0.3]


def test_one_lucky_fold_sets_no_best(tmp_path):
    write_folds(tmp_path / "e", [[1.0, 3.0], [0.1], [4.0, 6.0]], space={"tree": {}, "grids": []})
    result = load(tmp_path / "e")
    draws_the_best(result)
    hollow, dots, _ = plots.best_so_far(result).data
    assert (hollow.name, hollow.marker.symbol, list(hollow.x), list(hollow.y)) == (
        "fewer folds", "circle-open", [1], [0.1],
    )  # fmt: skip
    assert list(dots.x) == [0, 2]


def test_an_infinitely_good_report_is_no_best(tmp_path):
    draws_the_best(write(tmp_path / "e", [[-math.inf, 1.0], [2.0]]))


def test_the_best_curve_is_drawn_among_hundreds(tmp_path):
    """It is neither of the 100 with the best values, since those break the bound, nor of the spread."""
    series = [[{"loss": i / 1000, "lat": 10 if i == 333 else 50}] for i in range(900)]
    draws_the_best(write(tmp_path / "e", series, objective=BOUNDED))


# ---------------------------------------------------------------- what is left out

TWO = {"a": tune.uniform(0, 1), "b": tune.uniform(0, 1)}
OVER_PARAMETERS = [plots.slices, plots.parallel_coordinates, plots.contour]


def two_parameters(folder, series, **spec):
    configs = [{"a": i / len(series), "b": (7 * i % len(series)) / len(series)} for i in range(len(series))]
    return write(folder, series, space=TWO, configs=configs, **spec)


@pytest.mark.parametrize("draw", [plots.best_so_far, *OVER_PARAMETERS])
def test_trials_without_a_finite_value_are_said(tmp_path, draw):
    result = two_parameters(tmp_path / "e", [[math.nan], [math.nan], [1.0], [2.0]])
    words = subtitle(draw(result))
    assert "2 without a finite value" in words
    assert ("4 trials" if draw is plots.best_so_far else "2 trials") in words


def test_failed_trials_that_are_drawn_as_crosses_are_not_called_left_out(tmp_path):
    states = [TrialStatus.FAILED, TrialStatus.COMPLETED]
    result = two_parameters(tmp_path / "e", [[], [1.0]], states=states)
    assert "without" not in subtitle(plots.best_so_far(result))
    assert "without" not in subtitle(plots.slices(result))
    assert "1 without a finite value" in subtitle(plots.parallel_coordinates(result))


def test_a_contour_says_where_one_of_the_two_takes_no_part(tmp_path):
    space = {"a": tune.uniform(0, 1), "k": tune.choice([{"x": tune.uniform(0, 1)}, {"name": "none"}])}
    configs = [Space(space).sample(1, i) for i in range(12)]
    n = sum("x" in config["k"] for config in configs)
    result = write(tmp_path / "e", [[float(i)] for i in range(12)], space=space, configs=configs)
    words = subtitle(plots.contour(result, "a", "k/x"))
    assert f"{n} trials · in {12 - n} others one of the two takes no part" in words


def test_what_counts_as_the_worst_in_a_model_is_said(tmp_path):
    states = [TrialStatus.FAILED, *[TrialStatus.COMPLETED] * 19]
    result = two_parameters(tmp_path / "e", [[], [math.nan], *([float(i)] for i in range(18))], states=states)
    assert "2 of them failed or diverged and count as the worst" in subtitle(plots.importance(result))
    assert "in the surface 2 that failed or diverged count as the worst" in subtitle(plots.contour(result))


def test_trials_that_failed_before_the_first_rung_did_not_reach_it(tmp_path):
    """Ten of 40 fail at step 1; the scheduler decides from step 3 on."""

    def curve(config):
        for step in range(1, 10):
            if config["a"] < 0.25 and step == 2:
                raise ValueError("diverged")
            yield 1.0, {"loss": config["a"] + 1 / step}

    scheduler = tune.schedulers.ASHAScheduler(max_t=9, grace_period=3, reduction_factor=3)
    space = {"a": tune.grid_search([i / 40 for i in range(40)])}
    ran = tune.simulate(curve, space, metric="loss", mode="min", scheduler=scheduler, num_samples=1, num_workers=4)
    words = subtitle(plots.rung_survival(store_simulation(tmp_path / "e", ran, space)))
    assert words == "30 of 40 trials reached the first rung"


def test_trials_that_did_not_report_reached_no_step(tmp_path):
    result = write(tmp_path / "e", [[1.0], [], [1.0, 2.0]])
    assert subtitle(plots.rung_survival(result)) == "2 of 3 trials reached training_iteration 1"


def test_hollow_dots_of_slices_say_what_they_are(tmp_path):
    series = [[{"loss": 1, "lat": 10}], [{"loss": 2, "lat": 50}], [{"loss": 3, "lat": 10}]]
    states = [TrialStatus.COMPLETED, TrialStatus.COMPLETED, TrialStatus.STOPPED]
    figure = plots.slices(two_parameters(tmp_path / "e", series, states=states, objective=BOUNDED))
    assert list(figure.data[0].marker.symbol) == ["circle", "circle-open", "circle-open"]
    assert "hollow: not trained to the end or breaks a constraint" in subtitle(figure)


# ---------------------------------------------------------------- hovering

CHOICES = {"batch": tune.choice([16, 32, 64]), "kind": tune.choice(["a&b", "<lambda>"])}


def of_choices(folder):
    configs = [Space(CHOICES).sample(1, i) for i in range(8)]
    return write(folder, [[float(i + 1)] for i in range(8)], space=CHOICES, configs=configs)


def test_hovering_over_a_choice_shows_its_option(tmp_path):
    """The dots lie beside their place, so that equal ones can be told apart."""
    result = of_choices(tmp_path / "e")
    batch, kind = plots.slices(result).data
    assert list(batch.text) == [str(trial.config["batch"]) for trial in result]
    assert set(kind.text) == {"a&amp;b", "&lt;lambda&gt;"}
    assert "%{x" not in batch.hovertemplate
    dots = plots.contour(result, "batch", "kind").data[-1]
    assert dots.text[0] == f"batch {batch.text[0]}<br>kind {kind.text[0]}"
    assert "%{x" not in dots.hovertemplate


def test_hovering_over_an_attempt_shows_how_long_it_took(tmp_path):
    records = [SessionStarted(1, 1e9, ())]
    records += [*attempt(0, 1, 0, 4, "RETURNED", "COMPLETED"), *attempt(1, 1, 5, 8, "RETURNED", "COMPLETED")]
    with create_store(tmp_path / "e", spec_of()) as store:
        store.append(records, [make_trial(i, status=TrialStatus.COMPLETED) for i in range(2)])
    (bars,) = plots.timeline(load(tmp_path / "e")).data
    assert list(bars.base) == [0, 5]
    assert [length for _, _, length in bars.customdata] == [4, 3]
    assert "from %{base:.4g} s, for %{customdata[2]:.4g} s" in bars.hovertemplate


def test_ticks_of_parallel_axes_stand_as_they_are(tmp_path):
    """Plotly reads tags in the labels of these axes, but not in their ticks."""
    figure = plots.parallel_coordinates(of_choices(tmp_path / "e"))
    assert list(figure.data[0].dimensions[1].ticktext) == ["a&b", "<lambda>"]


# ---------------------------------------------------------------- importance


def test_the_axis_of_importance_holds_the_pairs(tmp_path):
    space = {name: tune.uniform(0, 1) for name in "abc"}
    configs = [Space(space).sample(1, i) for i in range(400)]
    series = [[float((c["a"] > 0.5) != (c["b"] > 0.5))] for c in configs]
    figure = plots.importance(write(tmp_path / "e", series, space=space, configs=configs))
    assert figure.data[1].x[0] > 0.4
    assert figure.layout.xaxis.range[1] > figure.data[1].x[0]


def test_ticks_of_small_shares_differ(tmp_path, monkeypatch):
    found = Importance("loss", {"a": 0.004}, {"a": 0.001}, {}, n_trials=9, n_diverged=0, n_left_out=0, fit=0.5)
    monkeypatch.setattr("tunesmith.analysis.importance.importance", lambda *_, **__: found)
    ticks = plots.importance(two_parameters(tmp_path / "e", [[1.0]])).layout.xaxis.ticktext
    assert ticks[:3] == ("0%", "0.1%", "0.2%")


def test_names_that_are_shortened_alike_have_bars_of_their_own(tmp_path):
    layer = {"attention": {"dropout_probability": tune.uniform(0, 1)}}
    space = {"model": {"encoder": {"layers": [layer, layer, layer]}}}
    configs = [Space(space).sample(1, i) for i in range(40)]
    values = [[layer["attention"]["dropout_probability"] for layer in c["model"]["encoder"]["layers"]] for c in configs]
    result = write(tmp_path / "e", [[3 * a + b] for a, b, _ in values], space=space, configs=configs)
    figure = plots.importance(result)
    assert list(figure.data[0].y) == [0, 1, 2]
    ticks = figure.layout.yaxis.ticktext
    assert len(set(ticks[:3])) == 3
    assert [place in tick for place, tick in zip(("/0/", "/1/"), ticks, strict=False)] == [True, True]
    assert figure.data[0].customdata[0][0] == "model/encoder/layers/0/attention/dropout_probability"


def test_importance_says_what_its_model_is_worth(tmp_path):
    told = plots.importance(two_parameters(tmp_path / "e", [[float(i)] for i in range(40)]))
    assert re.search(r"the model explains \d\d% of the variance of unseen trials", subtitle(told))
    rng = np.random.default_rng(0)
    noise = plots.importance(two_parameters(tmp_path / "noise", [[v] for v in rng.normal(size=40).tolist()]))
    assert "no better than chance on unseen trials: do not read this" in subtitle(noise)
    assert noise.data[0].marker.color != told.data[0].marker.color


# ---------------------------------------------------------------- choices with many options


def test_a_surface_covers_all_options(tmp_path):
    space = {"p": tune.choice([f"o{i}" for i in range(100)]), "a": tune.uniform(0, 1)}
    configs = [Space(space).sample(1, i) for i in range(30)]
    result = write(tmp_path / "e", [[c["a"]] for c in configs], space=space, configs=configs)
    assert list(plots.contour(result, "p", "a").data[0].x) == list(range(100))


def test_too_many_options_for_a_surface_are_said(tmp_path):
    space = {name: tune.choice([f"o{i}" for i in range(200)]) for name in "pq"}
    configs = [Space(space).sample(1, i) for i in range(9)]
    result = write(tmp_path / "e", [[float(i)] for i in range(9)], space=space, configs=configs)
    assert "too many options for a surface: 200 by 200" in subtitle(plots.contour(result, "p", "q"))
