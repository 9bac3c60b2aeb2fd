"""A trial with two CPUs computes on two, one with one on one, wherever its libraries were imported.

Measured as the CPU time of all threads per CPU time of the busiest one: 2 where two share the work, 1 where one does
it, however busy the machine is.
"""

from __future__ import annotations

import textwrap

import pytest

from .harness import output_of, start_script

pytestmark = [pytest.mark.processes, pytest.mark.timeout(240)]

WORK = {
    "numpy": (
        "import numpy as np, numpy",
        """
        a = np.ones((1200, 1200))
        a @ a
        begin()
        for _ in range(4):
            a @ a
        """,
    ),
    "sklearn": (
        "import numpy as np\nfrom sklearn.ensemble import HistGradientBoostingRegressor",
        """
        x = np.random.default_rng(0).random((4_000, 20))
        HistGradientBoostingRegressor(max_iter=2).fit(x, x[:, 0])
        begin()
        HistGradientBoostingRegressor(max_iter=6).fit(x, x[:, 0])
        """,
    ),
    "torch": (
        "import torch",
        """
        a = torch.ones(1200, 1200)
        a @ a
        begin()
        for _ in range(4):
            a @ a
        assert torch.get_num_threads() == n_cpus, torch.get_num_threads()
        """,
    ),
}

SCRIPT = """
import os, sys
import tunesmith as tune
{outside}

def train(config):
    {inside}
    before = {{}}
    n_cpus = config["n_cpus"]
    def cpu_by_thread():
        found = {{}}
        for thread in os.listdir("/proc/self/task"):
            fields = open(f"/proc/self/task/{{thread}}/schedstat").read().split()
            found[thread] = int(fields[0])
        return found
    def begin():
        before.update(cpu_by_thread())
    {work}
    used = [n - before.get(thread, 0) for thread, n in cpu_by_thread().items()]
    tune.report(n_computing=sum(used) / max(used))

for n_cpus in (2, 1):
    result = tune.run(
        train, config={{"n_cpus": n_cpus}}, resources_per_trial={{"cpu": n_cpus}}, local_dir={folder!r}, verbose=0,
        num_samples={n_trials}, max_concurrent_trials=1, capacity={{"cpu": 2}},
    )
    print(*[round(trial.metrics["n_computing"], 2) for trial in result.trials])
"""


@pytest.mark.parametrize("where", ["in the template", "in the function"])
@pytest.mark.parametrize("library", WORK)
def test_a_trial_computes_on_as_many_cpus_as_it_has(tmp_path, library, where):
    pytest.importorskip(library)
    imports, work = WORK[library]
    is_inside = where == "in the function"
    script = SCRIPT.format(
        outside="" if is_inside else imports,
        inside=textwrap.indent(imports, "    ").strip() if is_inside else "",
        work=textwrap.indent(textwrap.dedent(work), "    ").strip(),
        folder=str(tmp_path / "r"),
        n_trials=3 if is_inside else 1,  # those that import, and a later one that finds it in the template
    )
    code, out, err = output_of(start_script(tmp_path / "script.py", script), within_s=200)
    assert code == 0, err
    with_two, with_one = [[float(word) for word in line.split()] for line in out.splitlines()]
    print(library, where, with_two, with_one)
    assert min(with_two) > 1.3, out
    assert max(with_one) < 1.2, out
