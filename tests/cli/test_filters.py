"""`trials --where` and `--sort`: right answers, and nothing of the text reaches the database as SQL."""

from __future__ import annotations

import math

import pytest

import tunesmith as tune
from tunesmith.cli.filters import Names, Sql, column_of, names_in, parse_sort, parse_where
from tunesmith.errors import ConfigError, StoreError
from tunesmith.stores import Reader, open_reader

ODD_NAME = "w'x\"\\ü."
LOSSES = [0.5, 0.1, math.nan, math.inf, 0.3, -math.inf]


def _train(config):
    tune.report({"loss": LOSSES[config["i"]], "val/acc": config["i"] / 10, "lr": 7})


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    space = {"i": tune.grid_search(list(range(6))), "opt": {"name": "adam", "lr": 0.5}, "lr": 1, ODD_NAME: "it's"}
    result = tune.run(
        _train,
        config=space,
        metric="loss",
        mode="min",
        storage_path=tmp_path_factory.mktemp("r"),
        verbose=0,
        executor="inline",
        seed=1,
    )
    return open_reader(result.folder)


def selected(reader: Reader, where: str, *sort: str) -> list[int]:
    names = names_in(reader)
    condition, order = parse_where(where, names), parse_sort(sort, names)
    sql = f"SELECT trial FROM trials WHERE {condition.text} ORDER BY {order.text}"
    return [index for (index,) in reader.query(sql, condition.values + order.values)]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("loss < 0.4", [1, 4, 5]),
        ("loss > 0.4", [0, 3]),
        ("not loss < 0.4", [0, 2, 3]),
        ("loss == None", [2]),
        ("loss != None", [0, 1, 3, 4, 5]),
        ("loss != 0.5", [1, 3, 4, 5]),
        ("not loss == 0.5", [1, 2, 3, 4, 5]),
        ("loss == best_value", [0, 1, 4]),
        ("loss != best_value", []),
        ("0.1 <= loss < 0.5", [1, 4]),
        ("loss < 0.4 and i != 1 or trial == 0", [0, 4, 5]),
        ("status == 'COMPLETED'", [0, 1, 2, 3, 4, 5]),
        ("status in ('FAILED', 'STOPPED')", []),
        ("i not in [0, 1, 2, 3]", [4, 5]),
        ("'PLET' in status and i == 3", [3]),
        ("opt/name == 'adam' and config['opt/lr'] == 0.5 and i == 2", [2]),
        ("metrics['val/acc'] >= 0.4", [4, 5]),
        ("val/acc >= 0.4", [4, 5]),
        ("metrics.lr == 7 and config.lr == 1 and i == 0", [0]),
        (f'config[{ODD_NAME!r}] == "it\'s" and i == 0', [0]),
        ("status < 5", []),
        ("i > -1 and i == +2 or i == -1", [2]),
        ("best_value < 1e300 and step == 1", [0, 1, 4]),
    ],
)
def test_a_condition_selects_these_trials(reader: Reader, where: str, expected: list[int]) -> None:
    assert selected(reader, where) == expected


def test_sorting_puts_what_has_no_value_last(reader: Reader) -> None:
    assert selected(reader, "1 == 1", "loss") == [5, 1, 4, 0, 3, 2]
    assert selected(reader, "1 == 1", "-loss") == [3, 0, 4, 1, 5, 2]
    assert selected(reader, "i < 4", "opt/name", "-i") == [3, 2, 1, 0]


HYDRA = Names(
    frozenset({"model.lr", "opt/lr", "layers/0/size", "weight-decay", "lambda", "a b"}), frozenset({"val-loss"})
)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("model.lr", '$."model.lr"'),
        ("config.model.lr", '$."model.lr"'),
        ("opt.lr", '$."opt"."lr"'),
        ("config.opt/lr", '$."opt"."lr"'),
        ("layers/0/size", '$."layers"[0]."size"'),
        ("weight-decay", '$."weight-decay"'),
        ("val-loss", '$."val-loss"'),
        ("metrics.val-loss", '$."val-loss"'),
    ],
)
def test_names_that_others_write_are_understood_everywhere(text: str, path: str) -> None:
    assert path in parse_where(f"{text} < 1", HYDRA).values
    assert path in parse_sort([f"-{text}"], HYDRA).values
    assert path in column_of(text, HYDRA).values


@pytest.mark.parametrize("name", ["lambda", "a b", "config.lambda"])
def test_a_name_that_is_no_word_is_sorted_by_and_shown_as_it_is(name: str) -> None:
    assert parse_sort([name], HYDRA).values[0] == column_of(name, HYDRA).values[0]
    with pytest.raises(ConfigError, match=r'config\["lambda"\]'):
        parse_where(f"{name} < 1", HYDRA)
    with pytest.raises(ConfigError, match=r'Did you mean config\["lambda"\]'):
        parse_where("lambdaa < 1", HYDRA)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("1; DROP TABLE results", "cannot be read"),
        ("loss < 1 --", "cannot be read"),
        ("loss < 1 /* x */", "cannot be read"),
        ("load_extension('x') == 1", "not understood"),
        ("__import__('os').system('x')", "not understood"),
        ("(lambda: 1)() == 1", "not understood"),
        ("loss", "expected a condition"),
        ("loss is None", "`is` is not known"),
        ("sqlite_master == 1", "there is no 'sqlite_master'"),
        ("seq == 1", "there is no 'seq'"),
        ("losss < 1", "Did you mean loss"),
        ("lr == 1", "is a parameter and a metric"),
        ("config.loss == 1", "there is no 'loss'"),
        ("other.loss == 1", "Write config.loss or metrics.loss"),
        ("i == 1 or " * 500 + "i == 2", "more than 4,000"),
        ("(" * 300 + "i" + ")" * 300 + " == 1", "cannot be read"),
        (" or ".join(["i==1"] * 200), "too many parts"),
        ("not " * 50 + "i == 1", "too many parts"),
        ("i == 1j", "not understood"),
    ],
)
def test_anything_else_is_refused(reader: Reader, where: str, words: str) -> None:
    with pytest.raises(ConfigError) as found:
        parse_where(where, names_in(reader))
    assert words in str(found.value)


EVIL = "x') OR 1=1; DROP TABLE results; --"


def test_names_and_values_are_bound_never_written_into_the_statement() -> None:
    names = Names(frozenset({EVIL}), frozenset({EVIL + "m"}))
    for where in (f"config[{EVIL!r}] == {EVIL!r}", f"metrics[{EVIL + 'm'!r}] in ({EVIL!r}, 2)"):
        found = parse_where(where, names)
        assert "DROP" not in found.text and "'" not in found.text.replace("'Infinity'", "").replace(
            "'-Infinity'", ""
        ).replace("'NaN'", "")
        assert EVIL in found.values
    assert isinstance(parse_sort([f"-config[{EVIL!r}]"], names), Sql)


def test_a_reader_could_not_write_anyway(reader: Reader) -> None:
    with pytest.raises(StoreError):
        reader.query("DELETE FROM results")
