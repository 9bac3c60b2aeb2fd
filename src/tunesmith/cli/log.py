"""`tunesmith log`: what a trial printed."""

from __future__ import annotations

import codecs
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from tunesmith.cli import exit_codes
from tunesmith.cli.output import print_json, say, warn
from tunesmith.cli.places import complete_names, json_option, open_experiment, storage_option

if TYPE_CHECKING:
    from tunesmith.stores import Reader

_BLOCK = 1 << 16
_POLL_S = 0.3
_MAX_INDEX = 2**63 - 1  #: that the store can be asked for


@click.command("log", short_help="What a trial printed.")
@click.argument("arguments", nargs=-1, metavar="[EXPERIMENT] TRIAL", shell_complete=complete_names)
@click.option("-n", "--tail", type=click.IntRange(0), help="Only the last so many lines.")
@click.option("-f", "--follow", is_flag=True, help="Go on as the trial prints, until it is over.")
@click.option("--raw", is_flag=True, help="Print control characters as they are, colours among them.")
@storage_option
@json_option
def command(
    arguments: tuple[str, ...], tail: int | None, follow: bool, raw: bool, storage: str | None, as_json: bool
) -> int:
    """Print what TRIAL (its number) has printed: its output and its errors.

    \b
    Examples:
      tunesmith log 3
      tunesmith log my_experiment 3 --tail 20
      tunesmith log my_experiment 3 --follow
    """
    if not 1 <= len(arguments) <= 2:
        raise click.UsageError("Give the number of a trial, and an experiment before it if it is not the newest.")
    name, number = (None, arguments[0]) if len(arguments) == 1 else arguments
    if not number.isdecimal() or not number.isascii():
        raise click.UsageError(f"{number!r} is not the number of a trial, such as 3.")
    if as_json and follow:
        raise click.UsageError("--json is one document. Leave out --follow.")
    reader = open_experiment(name, storage)
    try:
        try:
            trial = reader.trial(min(int(number), _MAX_INDEX))
        except KeyError:
            raise click.UsageError(f"There is no trial {number}; there are {reader.n_trials()}.") from None
        path = reader.folder / "logs" / f"{trial.index:05d}.log"
        if as_json:
            print_json({"trial": trial.index, "path": path, "lines": list(_lines(path, tail))})
        if not path.exists() and not follow:
            warn(
                f"tunesmith: trial {trial.index} has no log at {path}: it has not started, or runs on another machine."
            )
            return exit_codes.NOTHING
        if as_json:
            return exit_codes.OK
        if follow:
            _follow(reader, trial.index, path, tail=tail, raw=raw)
            return exit_codes.OK
        for line in _lines(path, tail):
            _say(line, raw=raw)
        return exit_codes.OK
    finally:
        reader.close()


def _open(path: Path) -> BinaryIO:
    """The file, unless it is a link that somebody put there."""
    return os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb")


def _lines(path: Path, tail: int | None) -> Iterator[str]:
    """The lines of the log, or the last of them. None where there is no log yet."""
    try:
        file = _open(path)
    except FileNotFoundError:
        return
    with file:
        if tail is not None:
            _seek_tail(file, tail)
        for line in file:
            yield line.decode(errors="replace").rstrip("\n")


def _seek_tail(file: BinaryIO, n_lines: int) -> None:
    """Put the file to where its last lines begin, reading from its end."""
    position = file.seek(0, os.SEEK_END)
    n_wanted = n_lines + 1  # a file ends with a line break, which begins no line
    if n_lines == 0:
        return
    while position > 0:
        start = max(0, position - _BLOCK)
        file.seek(start)
        block = file.read(position - start)
        if position == file.seek(0, os.SEEK_END) and not block.endswith(b"\n"):
            n_wanted -= 1
        for i in range(len(block) - 1, -1, -1):
            if block[i] == 10:
                n_wanted -= 1
                if n_wanted == 0:
                    file.seek(start + i + 1)
                    return
        position = start
    file.seek(0)


def _say(line: str, *, raw: bool) -> None:
    say(line if raw else _visible(line), is_raw=raw)


def _visible(line: str) -> str:
    """The line with what could steer a terminal written out; of a progress bar its last state."""
    from tunesmith.callbacks.text import clean

    return clean(line.rstrip("\r").rsplit("\r", 1)[-1].expandtabs())


class _Follower:
    """Reads a file that grows, complete line by complete line; letters and lines may arrive in parts."""

    def __init__(self, path: Path, tail: int | None) -> None:
        self._path = path
        self._offset = 0
        self._decoder = _new_decoder()
        self.rest = ""  #: the beginning of a line that is not complete
        if tail is not None and path.exists():
            with _open(path) as file:
                _seek_tail(file, tail)
                self._offset = file.tell()

    def new_lines(self) -> Iterator[str]:
        """The lines completed since the last call. None where there is no file yet."""
        try:
            file = _open(self._path)
        except FileNotFoundError:
            return
        with file:
            if file.seek(0, os.SEEK_END) < self._offset:  # it was cut in the middle: begin where it ends now
                self._offset, self._decoder, self.rest = file.tell(), _new_decoder(), ""
            file.seek(self._offset)
            while data := file.read(_BLOCK):
                self._offset += len(data)
                *lines, self.rest = (self.rest + self._decoder.decode(data)).split("\n")
                yield from lines


def _new_decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")(errors="replace")


def _follow(reader: Reader, trial: int, path: Path, *, tail: int | None, raw: bool) -> None:
    """Print the end of the log and what is added to it, until the trial is over or its driver is gone."""
    follower = _Follower(path, tail)
    while True:
        is_over = reader.trial(trial).status.is_over or reader.driver() is None
        for line in follower.new_lines():
            _say(line, raw=raw)
        sys.stdout.flush()
        if is_over:
            if follower.rest:
                _say(follower.rest, raw=raw)
            return
        time.sleep(_POLL_S)
