"""The examples of docs/simulation.md run, in their order, as they stand there."""

import re
from pathlib import Path

import tunesmith as tune
from tunesmith.executors.simulated import SimulatedExecutor, SimulatedStep

PAGE = Path(__file__).parents[2] / "docs" / "simulation.md"


def test_the_examples_on_the_page_run_and_say_what_it_says(tmp_path, capsys):
    examples = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    names = {}
    exec(examples[0], names)
    assert len(capsys.readouterr().out.splitlines()) == 2

    def script(config, first_step):
        return (SimulatedStep(seconds, {"loss": loss}) for seconds, loss in names["curve"](config))

    names["experiment"] = tune.run(
        lambda config: None, config=names["space"], metric="loss", mode="min", num_samples=40, seed=1,
        search_alg="random", storage_path=tmp_path, verbose=0, executor=SimulatedExecutor(script, n_workers=4),
    )  # fmt: skip
    for example in examples[1:]:
        exec(example, names)
    names["experiment"].reader.close()
    said = capsys.readouterr().out
    assert "AsyncHyperBandScheduler on 40 recorded trials, 4 at a time:\nsteps " in said
    assert "as recorded" in said
    assert "no improvement: the best, loss " in said
    assert "FIFOScheduler on 40 recorded trials" in said
