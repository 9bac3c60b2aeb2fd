"""`tunesmith export`: trials or results as CSV, JSON lines or Parquet."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from tunesmith.cli.output import masked, plain, print_json, warn
from tunesmith.cli.places import experiment_argument, json_option, open_experiment, storage_option

if TYPE_CHECKING:
    from tunesmith.stores import Reader

_FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@click.command("export", short_help="Trials or results as CSV, JSON lines or Parquet.")
@experiment_argument
@click.option("-o", "--output", metavar="FILE", help="Where to; the output where it is left out.")
@click.option("--format", "kind", type=click.Choice(["csv", "jsonl", "parquet"]), help="By the file's name, else csv.")
@click.option("--what", type=click.Choice(["trials", "results"]), default="trials", show_default=True)
@click.option("--force", is_flag=True, help="Overwrite the file.")
@storage_option
@json_option
def command(
    experiment: str | None,
    output: str | None,
    kind: str | None,
    what: str,
    force: bool,
    storage: str | None,
    as_json: bool,
) -> None:
    """Write a row for each trial (its config and its last report), or for each result.

    In CSV a text that a spreadsheet would take for a formula gets an apostrophe in front; JSON lines and Parquet have
    every value as it is. Passwords and the like in configs are *** in all of them. --json prints JSON lines; with -o
    it says as JSON what was written.

    \b
    Examples:
      tunesmith export my_experiment -o trials.csv
      tunesmith export my_experiment --what results -o results.parquet
      tunesmith export --format jsonl | jq .
    """
    if as_json and output is None and kind not in (None, "jsonl"):
        raise click.UsageError(f"--json prints JSON lines. Leave out --format {kind}, or give -o FILE.")
    is_json = as_json and output is None
    chosen = kind or ("jsonl" if is_json else _FORMATS.get(Path(output or "").suffix.lower(), "csv"))
    if chosen == "parquet":
        _check_parquet(output)
    if output is not None and Path(output).exists() and not force:
        raise click.UsageError(f"{output} is there already. Give --force to overwrite it.")
    make = trial_rows if what == "trials" else result_rows
    reader = open_experiment(experiment, storage)
    try:
        # Twice through the rows rather than all of them in memory: there may be millions.
        columns = list(dict.fromkeys(name for row in make(reader) for name in row))
        n_rows = _write(chosen, output, make(reader), columns)
    finally:
        reader.close()
    if output is not None:
        _say_done(output, n_rows, columns, as_json=as_json)


def trial_rows(reader: Reader) -> Iterator[dict[str, Any]]:
    """One flat row for each trial: facts, `config/<name>`, `metrics/<name>`."""
    from tunesmith.space import flatten_config

    for trial in reader.trials():
        row: dict[str, Any] = {
            "trial": trial.index,
            "trial_id": trial.trial_id,
            "status": trial.status.value,
            "step": trial.step,
            "best_value": trial.best_value,
            "best_step": trial.best_step,
            "time_total_s": trial.time_total_s,
            "attempt": trial.attempt,
            "n_failures": trial.n_failures,
            "reason": trial.reason,
        }
        row |= {f"config/{name}": value for name, value in flatten_config(masked(trial.config)).items()}
        yield row | {f"metrics/{name}": value for name, value in (trial.metrics or {}).items()}


def result_rows(reader: Reader) -> Iterator[dict[str, Any]]:
    """One flat row for each result that counts."""
    for result in reader.results():
        row = {
            "trial": result.trial,
            "attempt": result.attempt,
            "step": result.step,
            "time_total_s": result.time_total_s,
            "at": result.at,
            "verdict": result.verdict,
            "checkpoint": result.checkpoint,
        }
        yield row | {f"metrics/{name}": value for name, value in result.metrics.items()}


def guarded(value: Any) -> Any:
    """A cell that no spreadsheet runs: texts that begin like a formula get an apostrophe; numbers are as they are."""
    if isinstance(value, bool | int | float):
        return plain(value)
    text = "" if value is None else value if isinstance(value, str) else json.dumps(plain(value))
    return f"'{text}" if text.startswith(_FORMULA) else text


def _write(kind: str, output: str | None, rows: Iterator[dict[str, Any]], columns: Sequence[str]) -> int:
    """Write the rows, and return how many there were."""
    if kind == "parquet":
        return _write_parquet(Path(str(output)), list(rows), columns)
    n_rows = 0
    with _opened(output) as file:
        writer = csv.writer(file, lineterminator="\n")
        if kind == "csv":
            writer.writerow([guarded(column) for column in columns])
        for row in rows:
            n_rows += 1
            if kind == "csv":
                writer.writerow([guarded(row.get(column)) for column in columns])
            else:
                file.write(json.dumps(plain(row), ensure_ascii=False) + "\n")
    return n_rows


@contextmanager
def _opened(output: str | None) -> Iterator[IO[str]]:
    """The output; a file is complete or not there."""
    if output is None:
        yield sys.stdout
        return
    draft = Path(f"{output}.{os.getpid()}.part")
    try:
        with draft.open("x", newline="", encoding="utf-8") as file:
            yield file
        draft.replace(output)
    except OSError as error:
        raise click.UsageError(f"{output} cannot be written: {error.strerror}.") from None
    finally:
        draft.unlink(missing_ok=True)


def _check_parquet(output: str | None) -> None:
    if output is None:
        raise click.UsageError("Parquet goes to a file: give -o results.parquet.")
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "Parquet needs pyarrow, which is not installed: pip install 'tunesmith[parquet]'. CSV and JSON lines need "
            "nothing."
        ) from error


def _write_parquet(path: Path, rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> int:
    """A column of one kind keeps it; where kinds differ, all its values are texts."""
    import pyarrow
    import pyarrow.parquet

    arrays = {}
    for column in columns:
        values = [row.get(column) for row in rows]
        try:
            arrays[column] = pyarrow.array(values)
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, pyarrow.ArrowNotImplementedError):
            arrays[column] = pyarrow.array(
                [None if v is None else v if isinstance(v, str) else json.dumps(plain(v)) for v in values]
            )
    draft = Path(f"{path}.{os.getpid()}.part")
    try:
        pyarrow.parquet.write_table(pyarrow.table(arrays), draft)
        draft.replace(path)
    except OSError as error:
        raise click.UsageError(f"{path} cannot be written: {error}.") from None
    finally:
        draft.unlink(missing_ok=True)
    return len(rows)


def _say_done(output: str, n_rows: int, columns: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        print_json({"path": Path(output).absolute(), "n_rows": n_rows, "columns": list(columns)})
    else:
        warn(f"{output}: {n_rows} rows, {len(columns)} columns")
