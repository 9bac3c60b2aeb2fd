"""pandas tables of trials and results. pandas is imported when a table is made."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from tunesmith.analysis.scores import best_rows
from tunesmith.analysis.trial_view import TrialView, filled_in
from tunesmith.stores import Reader
from tunesmith.stores.codec import parse_metrics
from tunesmith.trial import Mode

if TYPE_CHECKING:
    import pandas as pd

    from tunesmith.analysis.pareto import ParetoPoint

_COLUMNS = "trial, attempt, step, time_total_s, at, verdict, checkpoint, metrics"
_HEADINGS = ("trial", "attempt", "training_iteration", "time_total_s", "timestamp", "verdict", "checkpoint")
_CHUNK = 10_000
#: Not strict: the words NaN, Infinity and -Infinity become floats.
_decode_many = msgspec.json.Decoder(list[dict[str, float]], strict=False).decode


def import_pandas() -> Any:
    """The module pandas.

    Raises: ImportError that says how to install it.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError("Tables need pandas, which is not installed: pip install tunesmith[pandas]") from error
    return pandas


def trials_frame(reader: Reader, trials: Sequence[TrialView], best_of: tuple[str, Mode] | None = None) -> pd.DataFrame:
    """One row per trial: its last result, or that of the best finite value of a metric."""
    from tunesmith.space import flatten_config

    pandas = import_pandas()
    chosen = None if best_of is None else _best_results(reader, *best_of)
    rows = []
    for trial in trials:
        if trial.step == 0 or (chosen is not None and trial.index not in chosen):
            continue
        config, metrics, filled = (
            trial.config,
            trial.metrics,
            filled_in(trial.trial, experiment_id=reader.spec.experiment_id),
        )
        if chosen is not None:
            attempt, step, time_total_s, at, text = chosen[trial.index]
            if attempt != trial.trial.attempt:  # a clone has another config since
                config = reader.config_of(trial.index, attempt)
            date = time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(at))
            metrics = parse_metrics(text)
            filled |= {"training_iteration": step, "time_total_s": time_total_s, "timestamp": int(at), "date": date}
        row = metrics | {key: value for key, value in filled.items() if key not in metrics}
        row |= {"state": trial.state.value, "logdir": trial.logdir}
        row |= {f"config/{name}": value for name, value in flatten_config(config).items()}
        rows.append(row)
    return pandas.DataFrame(rows)


def pareto_frame(points: Sequence[ParetoPoint]) -> pd.DataFrame:
    """One row per point: metrics, then what else is known where no metric has that name, then `config/<name>`."""
    from tunesmith.space import flatten_config

    rows = []
    for point in points:
        facts = {"training_iteration": point.step, "trial_id": point.trial.trial_id}
        facts |= {"is_feasible": point.is_feasible, "checkpoint": point.checkpoint, "logdir": point.trial.logdir}
        row = point.metrics | {key: value for key, value in facts.items() if key not in point.metrics}
        rows.append(row | {f"config/{name}": value for name, value in flatten_config(point.config).items()})
    return import_pandas().DataFrame(rows)


def results_frame(reader: Reader, trial: int | None = None) -> pd.DataFrame:
    """One row per result that counts, of one trial or of all."""
    pandas = import_pandas()
    parts = []
    rows = reader.rows(_COLUMNS, trial=trial)
    while chunk := list(islice(rows, _CHUNK)):
        columns = list(zip(*chunk, strict=True))
        metrics = pandas.DataFrame(_metrics(columns.pop()))
        facts = pandas.DataFrame(dict(zip(_HEADINGS, columns, strict=True)))
        # What a trial reported under one of these names wins, as in last_result.
        facts = facts[[name for name in _HEADINGS if name not in metrics.columns]]
        parts.append(pandas.concat([facts, metrics], axis=1))
    if not parts:
        return pandas.DataFrame(columns=list(_HEADINGS))
    return parts[0] if len(parts) == 1 else pandas.concat(parts, ignore_index=True)


class TrialFrames(Mapping[str, Any]):
    """A trial's directory -> the table of its results, read when it is looked up."""

    def __init__(self, reader: Reader, trials: dict[str, int]) -> None:
        self._reader = reader
        self._trials = trials

    def __getitem__(self, logdir: str) -> pd.DataFrame:
        return results_frame(self._reader, self._trials[logdir])

    def __iter__(self) -> Iterator[str]:
        return iter(self._trials)

    def __len__(self) -> int:
        return len(self._trials)


def _best_results(reader: Reader, metric: str, mode: Mode) -> dict[int, tuple[Any, ...]]:
    best = best_rows(reader, metric, mode)
    by_seq = """SELECT trial, attempt, step, time_total_s, at, metrics FROM results
      WHERE seq IN (SELECT value FROM json_each(?))"""
    rows = reader.query(by_seq, (msgspec.json.encode(list(best.values())).decode(),))
    return {trial: tuple(rest) for trial, *rest in rows}


def _metrics(texts: Sequence[str]) -> list[dict[str, float]]:
    try:
        return _decode_many(f"[{','.join(texts)}]")
    except msgspec.DecodeError:
        return [parse_metrics(text) for text in texts]
