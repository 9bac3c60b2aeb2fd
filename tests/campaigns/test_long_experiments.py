"""Small samples of the campaigns on long experiments: `make soak`, `make resume`."""

from __future__ import annotations

from pathlib import Path

from campaigns.resume.__main__ import measure
from campaigns.soak.__main__ import soak


def test_memory_descriptors_and_threads_do_not_grow_with_the_trials(tmp_path: Path) -> None:
    marks, files_per_trial = soak(600, is_real=False, has_asha=True, seed=1, folder=tmp_path)
    assert len(marks) == 10
    first, last = marks[0], marks[-1]
    assert last.n_descriptors - first.n_descriptors <= 2
    assert last.n_threads == first.n_threads
    # So few trials are less than the allocator's own steps: this bound only tells a leak of whole reports.
    assert last.rss_bytes - first.rss_bytes < 20 * 2**20
    assert files_per_trial <= 2


def test_a_long_experiment_goes_on_without_a_suggestion_made_twice(tmp_path: Path) -> None:
    figures = measure(200, 20, tmp_path)
    assert figures.n_results == 4000
    assert figures.n_suggested_again == 0
    assert figures.resume_s < 5
