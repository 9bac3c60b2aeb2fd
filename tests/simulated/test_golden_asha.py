"""ASHA with interleaved workers, decision by decision.

After a change on purpose: `python tests/simulated/scripts.py > tests/simulated/golden/asha.txt`, and say why.
"""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from .scripts import asha_run, compact

HERE = Path(__file__).parent
GOLDEN = (HERE / "golden" / "asha.txt").read_text()


def test_the_run_is_the_golden_one_bit_by_bit():
    assert compact(asha_run().log) == GOLDEN


def test_a_second_run_in_one_process_is_the_same():
    assert [repr(record) for record in asha_run().log] == [repr(record) for record in asha_run().log]


@pytest.mark.parametrize("hash_seed", ["0", "1", "4711"])
def test_the_run_is_the_same_in_any_process(hash_seed):
    done = subprocess.run(
        [sys.executable, str(HERE / "scripts.py")],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == GOLDEN


def test_another_seed_gives_another_run():
    assert compact(asha_run(seed=8).log) != GOLDEN


def test_a_trial_sees_others_come_between_its_own_reports():
    reporters = [line.split()[1].split(".")[0] for line in GOLDEN.splitlines() if line.startswith("report")]
    assert any(a != b for a, b in pairwise(reporters))
    assert GOLDEN.count("STOPPED") >= 4
    assert GOLDEN.count("COMPLETED") >= 2
