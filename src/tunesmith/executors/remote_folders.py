"""Checkpoints at an fsspec URL (s3://, gs://, abfs://, hdfs://, sftp://, file://): put there, fetched, removed.

An experiment whose checkpoints lie at a URL has a file `checkpoints_at.json` in its folder that says so.
"""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path
from typing import Any

from tunesmith.errors import ConfigError, TunesmithError

_POINTER = "checkpoints_at.json"


def check_url(url: str) -> str:
    """The URL without a slash at its end. Raises: ConfigError where it is none that fsspec knows here."""
    _filesystem(url)
    return url.rstrip("/")


def write_pointer(folder: Path, url: str) -> None:
    """Note where the experiment's checkpoints lie. Args: url: of all of them, this experiment's name included."""
    draft = folder / f".{_POINTER}.{uuid.uuid4().hex}"
    draft.write_text(json.dumps({"url": url}))
    draft.replace(folder / _POINTER)


def fetch_if_elsewhere(folder: Path, path: str) -> Path:
    """The checkpoint's folder here, fetched first where it lies at a URL and is not here.

    Args: folder: of the experiment; path: relative to it. Raises: TunesmithError where it cannot be fetched.
    """
    here, pointer = folder / path, folder / _POINTER
    if not here.exists() and pointer.exists():
        download(f"{json.loads(pointer.read_text())['url']}/{path}", here)
    return here


def upload(folder: Path, url: str) -> None:
    """Copy the folder to the URL. Raises: TunesmithError."""
    filesystem, where = _filesystem(url)
    try:
        filesystem.makedirs(where, exist_ok=True)
        filesystem.put(f"{folder}/", f"{where}/", recursive=True)
    except Exception as error:
        raise TunesmithError(f"The checkpoint could not be written to {url}: {error}") from error


def download(url: str, folder: Path) -> None:
    """Make the folder from what lies at the URL, whole or not at all. Raises: TunesmithError."""
    if folder.is_dir():
        return
    filesystem, where = _filesystem(url)
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = folder.parent / f".{folder.name}.{uuid.uuid4().hex}"
    try:
        filesystem.get(f"{where}/", f"{draft}/", recursive=True)
        draft.rename(folder)
    except Exception as error:
        if not folder.is_dir():  # else somebody else fetched it meanwhile
            raise TunesmithError(f"The checkpoint at {url} could not be fetched: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def remove(url: str) -> None:
    """Delete what lies there; nothing where it is gone. Raises: TunesmithError."""
    filesystem, where = _filesystem(url)
    try:
        filesystem.rm(where, recursive=True)
    except FileNotFoundError:
        pass
    except Exception as error:
        raise TunesmithError(f"{url} could not be removed: {error}") from error


def _filesystem(url: str) -> tuple[Any, str]:
    """The file system, and the path in it."""
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise ConfigError("A URL for checkpoints needs fsspec: pip install 'tunesmith[remote]'.") from error
    if "://" not in url:
        raise ConfigError(f"checkpoint_url is {url!r}. Give a URL such as 's3://bucket/folder'.")
    try:
        found: tuple[Any, str] = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise ConfigError(f"checkpoint_url is {url!r}, which cannot be used here: {error}") from error
    return found
