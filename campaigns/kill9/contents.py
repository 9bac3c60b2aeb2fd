"""What a trial of the campaign saves in a checkpoint, so that a half one cannot pass for a whole one."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

N_WEIGHT_BYTES = 20_000


def loss_at(x: float, step: int) -> float:
    """The value that a trial with this config reports at this step, exactly."""
    return (0.1 + x) / step


def write_checkpoint(folder: str, *, trial: int, step: int) -> None:
    """Two weight files and, last, a list of their digests."""
    digests = {}
    for name in ("weights.bin", "optimizer.bin"):
        data = random.Random(f"{trial}/{step}/{name}").randbytes(N_WEIGHT_BYTES)
        Path(folder, name).write_bytes(data)
        digests[name] = hashlib.sha256(data).hexdigest()
    Path(folder, "meta.json").write_text(json.dumps({"trial": trial, "step": step, "digests": digests}))


def read_checkpoint(folder: str, *, trial: int) -> tuple[int, str | None]:
    """The step it was saved at, and what is wrong with it (None: it is whole and this trial's)."""
    try:
        meta = json.loads(Path(folder, "meta.json").read_text())
        if meta["trial"] != trial:
            return 0, f"{folder} is trial {meta['trial']}'s, not {trial}'s"
        for name, digest in meta["digests"].items():
            if hashlib.sha256(Path(folder, name).read_bytes()).hexdigest() != digest:
                return 0, f"{folder}/{name} has another content than was saved"
        return int(meta["step"]), None
    except (OSError, ValueError, KeyError) as error:
        return 0, f"{folder} is no whole checkpoint: {type(error).__name__}: {error}"
