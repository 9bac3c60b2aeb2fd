"""Every figure of every kind of experiment: that it is made, what it says, and how large it is."""

import logging
import math
import random
import subprocess
import sys

import numpy as np
import pytest

import tunesmith as tune
from tunesmith.analysis.importance import Importance
from tunesmith.errors import ConfigError
from tunesmith.schedulers import ASHAScheduler
from tunesmith.trial import MetricConstraint, Mode, Objective, TrialStatus

from ..analysis.written import objective, store_simulation, write

pytest.importorskip("plotly")
from tunesmith import plots

NAN, INF = math.nan, math.inf
SPACE = {
    "lr": tune.loguniform(1e-5, 1e-1),
    "layers": tune.randint(1, 6),
    "batch": tune.choice([16, 32, 64]),
    "width": tune.sample_from(lambda _: 2 ** random.randint(4, 9)),
    "optimizer": tune.choice([{"name": "sgd", "momentum": tune.uniform(0.5, 1)}, {"name": "adam"}]),
}
BY_METRICS = {"metrics": ["loss", "size"], "modes": ["min", "min"]}
FIGURES = {
    "best": plots.best_so_far,
    "best over steps": lambda result, **how: plots.best_so_far(result, over="steps", **how),
    "best over time": lambda result, **how: plots.best_so_far(result, over="time", **how),
    "curves": plots.learning_curves,
    "curves over time": lambda result, **how: plots.learning_curves(result, over="time", **how),
    "parallel": plots.parallel_coordinates,
    "slices": plots.slices,
    "contour": plots.contour,
    "importance": plots.importance,
    "comparison": lambda result, **how: plots.comparison([result, result], **how),
    "front": lambda result: plots.pareto_front(result, **BY_METRICS),
    "front of 3": lambda result: plots.pareto_front(result, ["loss", "size", "accuracy"], ["min", "min", "max"]),
    "timeline": plots.timeline,
    "rungs": plots.rung_survival,
}
OF_A_METRIC = [name for name in FIGURES if not name.startswith(("front", "timeline", "rungs"))]


def curve(config, n_steps=9):
    good = abs(math.log10(config["lr"]) + 3) + config["layers"] / 10
    for step in range(1, n_steps + 1):
        if config["layers"] == 5 and step == 4:
            raise ValueError("too deep")
        loss = NAN if config["layers"] == 4 and step > 3 else good + 3 / step
        yield 1.0, {"loss": loss, "size": config["width"] / 100, "accuracy": 1 / (1 + good)}


def simulated(folder, n, **how):
    how = {"metric": "loss", "mode": "min", "search_alg": "random", "seed": 1, "charge_deciders": False, **how}
    return store_simulation(folder, tune.simulate(curve, SPACE, num_samples=n, num_workers=4, **how), SPACE)


def subtitle(figure):
    return figure.layout.title.subtitle.text


def said(figure):
    """The sentence of an empty figure."""
    assert not figure.data
    return figure.layout.annotations[0].text.replace("<br>", " ")


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return simulated(
        tmp_path_factory.mktemp("plots") / "many", 40, scheduler=ASHAScheduler(max_t=9, reduction_factor=3)
    )


# ---------------------------------------------------------------- any experiment


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_of_many_trials(many, name):
    figure = FIGURES[name](many)
    assert figure.data
    assert figure.layout.title.text.startswith("<b>")


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("n", [1, 5])
def test_figures_of_few_trials(tmp_path, n, mode):
    result = simulated(tmp_path / "e", n, mode=mode, seed=4)
    for name, figure in FIGURES.items():
        assert figure(result).data or name == "importance"


def test_figures_of_trials_that_fail_and_report_what_is_not_finite(tmp_path):
    series = [[], [NAN], [INF, -INF], [{"size": 1.0}], [{"loss": 2.0, "size": 1.0, "accuracy": INF}, NAN]]
    states = [TrialStatus.FAILED] * 3 + [TrialStatus.STOPPED, TrialStatus.COMPLETED]
    space = {"a": tune.uniform(0, 1), "b": tune.choice(["x", "y"])}
    configs = [{"a": i / 4, "b": "x"} for i in range(5)]
    result = write(tmp_path / "e", series, space=space, configs=configs, states=states)
    for figure in FIGURES.values():
        figure(result).to_json()


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize(
    "series",
    [[], [[], []], [[dict.fromkeys(("loss", "size", "accuracy"), NAN)]]],
    ids=["none", "no report", "no number"],
)
def test_where_nothing_is_known_an_empty_figure_says_so(tmp_path, name, series):
    space = {"a": tune.uniform(0, 1), "b": tune.uniform(0, 1)}
    result = write(tmp_path / "e", series, space=space, configs=[{"a": 0.5, "b": 0.5}] * len(series))
    figure = FIGURES[name](result)
    if name == "rungs" and series and series[0]:
        assert figure.data
    else:
        assert said(figure)


def test_the_sentence_counts_the_trials(tmp_path):
    result = write(tmp_path / "e", [[], []], states=[TrialStatus.FAILED, TrialStatus.RUNNING])
    assert said(plots.best_so_far(result)) == "No trial has reported anything yet (1 running, 1 failed)."


def test_one_that_was_cut_off_says_so(tmp_path):
    from tunesmith.events import SessionStarted
    from tunesmith.stores import create_store

    from ..analysis.written import spec_of
    from ..stores.store_samples import make_trial, run_of, start

    with create_store(tmp_path / "e", spec_of()) as store:
        records = [SessionStarted(1, 1e9, ()), start(0), *run_of(0, [{"loss": 1.0}])]
        store.append(records, [make_trial(0, step=1, metrics={"loss": 1.0})])
        assert "still running" in subtitle(plots.best_so_far(tune.load(tmp_path / "e")))
    assert "cut off while it ran" in subtitle(plots.best_so_far(tune.load(tmp_path / "e")))


@pytest.mark.parametrize("name", OF_A_METRIC)
def test_an_unknown_metric_is_refused_with_those_there_are(many, name):
    with pytest.raises(ConfigError, match="Give one of accuracy, loss, size"):
        FIGURES[name](many, metric="los", mode="min")


@pytest.mark.parametrize("name", OF_A_METRIC)
def test_another_metric_can_be_asked_for(many, name):
    assert FIGURES[name](many, metric="accuracy", mode="max").data


def test_of_several_objectives_the_first_is_drawn_and_said(tmp_path):
    result = write(tmp_path / "e", [[{"loss": 1, "size": 2}]] * 2, objective=objective(loss="min", size="max"))
    assert "first of 2 objectives, metric= chooses" in subtitle(plots.best_so_far(result))
    assert plots.pareto_front(result).data


def test_what_is_no_result_is_refused():
    with pytest.raises(ConfigError, match="was asked for of str"):
        plots.best_so_far("results/e")


# ---------------------------------------------------------------- each kind


def test_the_line_and_the_dots_are_the_history(many):
    figure = plots.best_so_far(many)
    dots, line, crosses = figure.data
    assert line.y[-1] == many.best.value
    assert len(dots.x) == 40
    assert set(crosses.x) == {trial.index for trial in many if trial.state is TrialStatus.FAILED}


def test_far_outliers_lie_beyond_the_axis_and_are_counted(tmp_path):
    figure = plots.best_so_far(write(tmp_path / "e", [[-1.0 - i / 10] for i in range(30)] + [[1e30]]))
    assert "1 poor value lies beyond the axis" in subtitle(figure)
    assert figure.layout.yaxis.range[1] < 10


def test_values_that_span_decades_are_shown_on_a_logarithmic_axis(tmp_path):
    figure = plots.best_so_far(write(tmp_path / "e", [[1.0], [0.1], [0.001]]))
    assert figure.layout.yaxis.type == "log"


def test_a_trial_that_breaks_a_constraint_is_hollow(tmp_path):
    bounded = Objective(("loss",), (Mode.MIN,), (MetricConstraint("size", True, 5.0),))
    result = write(tmp_path / "e", [[{"loss": 2, "size": 1}], [{"loss": 1, "size": 9}]], objective=bounded)
    figure = plots.best_so_far(result)
    assert [trace.name for trace in figure.data] == ["breaks a constraint", "trial", "best so far"]
    assert "size <= 5" in subtitle(figure).replace("&lt;", "<")


def test_curves_mark_the_rungs_and_the_best_trial(many):
    figure = plots.learning_curves(many)
    assert [shape.x0 for shape in figure.layout.shapes] == [1, 3]
    assert figure.data[-1].legendgroup == "best"
    assert {trace.legendgroup for trace in figure.data} == {"stopped", "failed", "completed", "best"}


def test_rungs_in_steps_are_not_marked_over_time(many):
    assert not plots.learning_curves(many, over="time").layout.shapes


def test_parallel_axes_have_a_place_for_what_takes_no_part(many):
    dimensions = {dimension.label: dimension for dimension in plots.parallel_coordinates(many).data[0].dimensions}
    assert list(dimensions) == ["lr", "layers", "batch", "width", "optimizer", "momentum", "loss"]
    assert dimensions["momentum"].ticktext[0] == "none"
    assert "none" not in dimensions["optimizer"].ticktext
    assert min(dimensions["momentum"].values) == dimensions["momentum"].range[0]


def test_slices_have_a_panel_for_each_parameter(many):
    figure = plots.slices(many)
    assert [figure.layout[f"xaxis{end}"].title.text for end in ("", 2, 3, 4, 5, 6)] == [
        "lr", "layers", "batch", "width", "optimizer", "optimizer/momentum",
    ]  # fmt: skip
    assert figure.layout.xaxis.type == "log"
    assert list(figure.layout.xaxis3.ticktext) == ["16", "32", "64"]
    assert plots.slices(many, params=["batch"]).layout.xaxis.title.text == "batch"


@pytest.mark.parametrize("draw", [plots.slices, plots.parallel_coordinates])
def test_an_unknown_parameter_is_refused_with_those_there_are(many, draw):
    with pytest.raises(ConfigError, match=r"No parameter 'rate' varies. Give one of lr, layers, batch"):
        draw(many, params=["rate"])


def test_more_parameters_than_fit_are_said(tmp_path):
    space = {f"p{i}": tune.uniform(0, 1) for i in range(14)}
    configs = [dict.fromkeys(space, 0.25 * i) for i in range(3)]
    result = write(tmp_path / "e", [[1], [2], [3]], space=space, configs=configs)
    assert "the first 12 of 14 parameters" in subtitle(plots.slices(result))
    assert "the first 10 of 14 parameters" in subtitle(plots.parallel_coordinates(result))


def test_a_contour_is_of_the_two_most_important_or_those_asked_for(many):
    assert plots.contour(many, "batch", "width").layout.title.text == "<b>loss over batch and width</b>"
    by_importance = list(many.importance().shares)[:2]
    assert plots.contour(many).layout.title.text == f"<b>loss over {by_importance[0]} and {by_importance[1]}</b>"
    with pytest.raises(ConfigError, match="both 'lr'"):
        plots.contour(many, "lr", "lr")


def test_filled_contours_keep_off_the_shared_colour_axis(many):
    """With one, plotly.js does not end drawing them."""
    surface = plots.contour(many, "lr", "width").data[0]
    assert (surface.type, surface.coloraxis) == ("contour", None)


def test_importance_shows_the_numbers(many):
    found = many.importance()
    assert isinstance(found, Importance)
    assert list(plots.importance(many).data[0].x) == list(found.shares.values())


def test_a_front_is_of_two_or_three_metrics(many):
    with pytest.raises(ConfigError, match="2 or 3 metrics, not of 1"):
        plots.pareto_front(many)


def test_a_front_of_three_has_readable_ticks(many):
    figure = plots.pareto_front(many, ["loss", "accuracy", "size"], ["min", "max", "min"])
    assert figure.layout.scene.yaxis.type == "linear"
    assert len(figure.layout.scene.yaxis.ticktext) >= 3


@pytest.mark.parametrize(
    ("modes", "corners"),
    [("min min", [(1, 3), (2, 3), (2, 2)]), ("max max", [(1, 3), (1, 2), (2, 2)])],
)
def test_the_line_of_a_front_bounds_what_was_reached(tmp_path, modes, corners):
    front = [(1, 3), (2, 2)]
    result = write(tmp_path / "e", [[{"loss": a, "size": b}] for a, b in front])
    line = plots.pareto_front(result, ["loss", "size"], modes.split()).data[0]
    (x0, x1), (y0, y1) = line.x, line.y
    corner = (x1, y0) if line.line.shape == "hv" else (x0, y1)
    assert [(x0, y0), corner, (x1, y1)] == corners


def test_the_timeline_has_a_bar_for_each_attempt(many):
    figure = plots.timeline(many)
    assert sum(len(trace.x) for trace in figure.data) == 40
    assert {trace.name for trace in figure.data} == {"completed", "stopped", "failed"}
    assert list(figure.layout.yaxis.ticktext) == ["1", "2", "3", "4"]


def test_rungs_are_counted(many):
    figure = plots.rung_survival(many)
    assert list(figure.data[0].x) == ["1", "3", "9"]
    assert figure.data[-1].text[0] == "40"


def test_experiments_are_compared_by_name(many, tmp_path):
    other = simulated(tmp_path / "other", 10)
    figure = plots.comparison({"asha": many, "none": other})
    assert [trace.name for trace in figure.data] == ["asha", "none"]
    assert [trace.x[-1] for trace in figure.data] == [many.reader.n_results(), other.reader.n_results()]
    assert [trace.name for trace in plots.comparison([many, other]).data] == ["many", "other"]
    assert [trace.name for trace in plots.comparison([many, many]).data] == ["many (1)", "many (2)"]


def test_experiments_of_contrary_modes_are_not_compared(many, tmp_path):
    with pytest.raises(ConfigError, match="is to be min in one experiment and max in 'other'"):
        plots.comparison({"many": many, "other": simulated(tmp_path / "other", 3, mode="max")})


def test_nothing_to_compare_is_refused():
    with pytest.raises(ConfigError, match="nothing to compare"):
        plots.comparison([])


@pytest.mark.parametrize("draw", [plots.best_so_far, plots.learning_curves])
def test_an_unknown_budget_is_refused(many, draw):
    with pytest.raises(ConfigError, match=r"over is 'epochs'\. Give "):
        draw(many, over="epochs")


def test_names_are_not_read_as_tags(tmp_path):
    name = "<b>x & y"
    result = write(tmp_path / "e", [[{name: 1.0}]], objective=Objective((name,), (Mode.MIN,)))
    assert plots.best_so_far(result).layout.yaxis.title.text == "&lt;b&gt;x &amp; y"


# ---------------------------------------------------------------- many trials


def test_figures_of_2000_trials_stay_small_and_say_what_they_leave_out(tmp_path):
    rng = np.random.default_rng(0)
    space = {"lr": tune.loguniform(1e-4, 1), "k": tune.choice(["a", "b"])}
    configs = [{"lr": float(10 ** rng.uniform(-4, 0)), "k": "ab"[i % 2]} for i in range(2000)]
    series = [list(rng.random(10) + config["lr"]) for config in configs]
    result = write(tmp_path / "e", series, space=space, configs=configs)
    figures = {name: FIGURES[name](result) for name in ("best", "curves", "parallel", "slices", "comparison", "rungs")}
    assert {name: len(figure.to_json()) < 1e6 for name, figure in figures.items()} == dict.fromkeys(figures, True)
    assert "200 of 2,000 trials: the best 100 and a spread" in subtitle(figures["curves"])
    assert "200 of 2,000 trials: the best 100 and a spread" in subtitle(figures["parallel"])


# ---------------------------------------------------------------- what is needed


def test_importing_tunesmith_and_its_figures_loads_no_plotly():
    script = (
        "import sys, tunesmith, tunesmith.plots; "
        "print([name for name in sys.modules if name.startswith(('plotly', 'kaleido'))])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout == "[]\n"


def test_without_plotly_the_extra_to_install_is_named(many, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with pytest.raises(ImportError, match=r"pip install tunesmith\[plots\]"):
        plots.best_so_far(many)


def test_reading_for_a_figure_logs_nothing(many, caplog):
    with caplog.at_level(logging.WARNING):
        plots.best_so_far(many)
    assert not caplog.records
