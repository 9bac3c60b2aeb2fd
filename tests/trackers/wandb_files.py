"""Reads what W&B writes in offline mode, record by record: LevelDB's log format with one protobuf message a record."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import NamedTuple

from wandb.proto.wandb_internal_pb2 import Record  # here: importing W&B makes temporary folders

_BLOCK, _HEADER = 32768, 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


class OfflineRun(NamedTuple):
    """One `offline-run-*` folder."""

    id: str
    name: str
    group: str
    project: str
    config: dict
    history: list  #: (W&B's step, row) in the order of the file
    summary: dict
    exit_codes: list
    artifacts: list  #: (name, aliases)
    axis: dict  #: glob or name of a metric -> its step metric


def messages(path: Path) -> list[bytes]:
    """The records of a `.wandb` file."""
    data, position, found, parts = path.read_bytes(), _HEADER, [], b""
    assert data[:4] == b":W&B"
    while position + _HEADER <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < _HEADER:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + _HEADER])
        if kind not in (_FULL, _FIRST, _MIDDLE, _LAST):
            break  # zeros: the file was not closed
        body = data[position + _HEADER : position + _HEADER + length]
        position += _HEADER + length
        parts = body if kind in (_FULL, _FIRST) else parts + body
        if kind in (_FULL, _LAST):
            found.append(parts)
    return found


def read_run(folder: Path) -> OfflineRun:
    """What the offline run in this folder recorded."""
    facts = dict.fromkeys(("id", "name", "group", "project"), "")  # of a file that was cut off at its beginning
    config, history, summary, exit_codes, artifacts, axis = {}, [], {}, [], [], {}
    [path] = folder.glob("*.wandb")
    for message in messages(path):
        record = Record()
        record.ParseFromString(message)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            facts = {"id": run.run_id, "name": run.display_name, "group": run.run_group, "project": run.project}
            config |= _values(run.config.update)
        elif kind == "config":
            config |= _values(record.config.update)
        elif kind == "history":
            row = _values(record.history.item)
            history.append((record.history.step.num, {k: v for k, v in row.items() if not k.startswith("_")}))
        elif kind == "summary":
            summary |= _values(record.summary.update)
        elif kind == "exit":
            exit_codes.append(record.exit.exit_code)
        elif kind == "artifact":
            artifacts.append((record.artifact.name, list(record.artifact.aliases)))
        elif kind == "metric" and record.metric.step_metric:
            axis[record.metric.glob_name or record.metric.name] = record.metric.step_metric
    return OfflineRun(**facts, config=config, history=history, summary=summary, exit_codes=exit_codes,
                      artifacts=artifacts, axis=axis)  # fmt: skip


def read_runs(folder: Path) -> list[OfflineRun]:
    """All offline runs below `<folder>/wandb`, by id and then in the order in which they were begun."""
    folders = sorted((folder / "wandb").glob("offline-run-*"), key=lambda path: path.stat().st_ctime_ns)
    return sorted((read_run(path) for path in folders), key=lambda run: run.id)


def _values(items) -> dict:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
