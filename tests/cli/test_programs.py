"""Programs that know nothing of tunesmith are tuned, with early stopping and checkpoints."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.cli.conftest import Shell

pytestmark = pytest.mark.processes

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"
_EARLY = ("--metric", "loss", "--mode", "min", "--scheduler", "asha", "--grace-period", "1", "--max-t", "9")

#: The loss of trial k is k at every step, so all but the first are stopped at the first rung.
_ASHA = (*_EARLY, "--reduction-factor", "3", "-p", "k=grid(0,1,2,3)", "-q", "--max-concurrent", "1")


def _example(language: str) -> str:
    """The example of docs/cli.md."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    return found


def _bash_script(shell: Shell) -> list[str]:
    shell.write("train.sh", _example("bash"))
    shell.write(
        "train_one_epoch",
        """#!/bin/sh
echo epoch >&2
[ -z "$4" ] || cat "$4/model" >&2
echo a model > "$6/model"
echo "$2"
""",
        mode=0o755,
    )
    return ["bash", "train.sh", "{k}"]


def _c_program(shell: Shell) -> list[str]:
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    program = shell.write("train.c", _example("c"))
    model = shell.write(
        "model.c",
        r"""#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
double train_one_epoch(void) {
  struct timespec pause = {0, 60000000};
  nanosleep(&pause, NULL);
  fprintf(stderr, "epoch\n");
  return atof(strchr(getenv("TUNESMITH_CONFIG"), ':') + 1);
}
""",
    )
    subprocess.run(["cc", "-Wall", "-Werror", "-o", str(shell.folder / "train"), program, model], check=True)
    return ["./train"]


def _python_script(shell: Shell) -> list[str]:
    shell.write("train.py", _example("python"))
    shell.write(
        "my_model.py",
        """import time
class Model:
    def __init__(self, k):
        self.k = k
    def train_one_epoch(self):
        time.sleep(0.06)
        print("epoch")
        return self.k
    def save(self, path):
        open(path, "w").close()
""",
    )
    return ["python", "train.py"]


@pytest.mark.parametrize("program", [_bash_script, _c_program, _python_script])
def test_an_example_that_imports_nothing_is_tuned_and_poor_trials_end_early(shell: Shell, program) -> None:
    shell("run", "--name", "e", *_ASHA, "--", *program(shell))
    trials = shell.json("trials", "e")
    assert [trial["status"] for trial in trials] == ["COMPLETED", *["STOPPED"] * 3]
    assert trials[0]["step"] == 9
    assert all(trial["step"] < 9 for trial in trials[1:])
    seconds = [trial["time_total_s"] for trial in trials]
    assert seconds[0] > max(seconds[1:]) > 0.005  # counted from the start of the attempt, whoever reports
    assert Path(trials[0]["log"]).read_text().count("epoch\n") >= 9
    assert all(0 < Path(trial["log"]).read_text().count("epoch\n") < 9 for trial in trials[1:])
    assert shell.json("best", "e")["config"] == {"k": 0}


def test_a_python_script_reports_by_the_function_and_ends_in_one_line(shell: Shell) -> None:
    shell.write(
        "train.py",
        """import sys, tunesmith
k = float(sys.argv[1])
for step in range(1, 4):
    tunesmith.report(loss=k)
print('{"loss": 100}')
""",
    )
    shell("run", "--name", "e", *_ASHA, "--", "python", "train.py", "{k}")
    trials = shell.json("trials", "e")
    assert [(trial["status"], trial["step"]) for trial in trials] == [("COMPLETED", 3), *[("STOPPED", 1)] * 3]
    assert trials[0]["metrics"] == {"loss": 0.0}
    log = Path(trials[1]["log"]).read_text()
    assert log.startswith("The trial ends here: rank 2 of 2 at rung 1") and "Traceback" not in log
    assert "The JSON line at the end of the output is not stored" in Path(trials[0]["log"]).read_text()


def test_a_program_that_ignores_its_stop_is_terminated_with_its_children(shell: Shell) -> None:
    shell.write(
        "deaf.sh",
        'echo "{\\"loss\\": $1}" >> "$TUNESMITH_REPORT_FILE"; echo $$ > pid_$1; sleep 600 & echo $! >> pid_$1; wait\n',
    )
    shell(
        *(
            "run",
            "--name",
            "e",
            "--metric",
            "loss",
            "--mode",
            "min",
            "-p",
            "k=grid(1)",
            "--stop",
            "training_iteration=1",
        ),
        *("-q", "--", "sh", "deaf.sh", "{k}"),
    )
    (trial,) = shell.json("trials", "e")
    assert (trial["status"], trial["step"]) == ("COMPLETED", 1)
    for pid in map(int, (shell.folder / "pid_1").read_text().split()):
        assert not Path(f"/proc/{pid}").exists()


HOSTILE = [
    "a b",
    "; touch pwned",
    "$(touch pwned)",
    "`touch pwned`",
    "--help",
    "{lr}",
    "*",
    "'\"\\",
    "ü\n2",
    "${args}",
    "",
]


def test_each_value_is_one_argument_whatever_it_holds(shell: Shell) -> None:
    shell.write("echo.py", "import json, sys\nprint(json.dumps(sys.argv[1:]))\nprint('{\"n\": 1}')\n")
    shell.write("space.py", f"space = {{'v': __import__('tunesmith').grid_search({HOSTILE!r}), 'lr': 1}}\n")
    shell(
        *("run", "--name", "e", "--space", "space.py:space", "-q", "--"),
        *("python", "echo.py", "{v}", "x={v}y", "{{}}", "${args}", "$HOME"),
    )
    trials = shell.json("trials", "e")
    assert [trial["config"]["v"] for trial in trials] == HOSTILE
    for trial in trials:
        value = trial["config"]["v"]
        expected = [value, f"x={value}y", "{}", f"--v={value}", "--lr=1", "$HOME"]
        seen = Path(trial["log"]).read_text().splitlines()[0]
        assert __import__("json").loads(seen) == expected
        assert trial["metrics"] == {"n": 1}
    assert not (shell.folder / "pwned").exists()


def test_the_last_json_line_of_the_output_is_the_report_of_a_program_that_only_prints(shell: Shell) -> None:
    script = 'print(\'{"loss": 9}\\nchatter\\n{"loss": 0.25, "name": "x", "acc": 0.5}\\n{"level": 3}\\nbye\')'
    shell(
        "run",
        "--name",
        "e",
        "--metric",
        "loss",
        "--mode",
        "min",
        "-p",
        "a=1",
        "-q",
        "--",
        "python",
        "-c",
        script.replace("{", "{{").replace("}", "}}"),
    )
    assert shell.json("trials", "e")[0]["metrics"] == {"loss": 0.25, "acc": 0.5}


def test_a_failure_shows_the_exit_code_and_the_end_of_the_output(shell: Shell) -> None:
    script = "for i in range(100): print('line', i)\nraise SystemExit('bad lr')"
    shell("run", "--name", "e", "-p", "a=1", "-q", "--", "python", "-c", script, code=1)
    (trial,) = shell.json("trials", "e")
    assert trial["status"] == "FAILED"
    assert trial["reason"] == "python ended with exit code 1: bad lr"
    assert "line 99" in trial["error"] and "line 1\n" not in trial["error"] and "Traceback" not in trial["error"]


def test_death_by_a_signal_is_named(shell: Shell) -> None:
    shell("run", "--name", "e", "-p", "a=1", "-q", "--", "sh", "-c", "kill -SEGV $$", code=1)
    assert shell.json("trials", "e")[0]["reason"] == "sh ended with signal SIGSEGV; it printed nothing"


BAD_LINES = {
    "not json": "Line 1 of the report file: It is not JSON",
    '{"loss": "low"}': "Line 1 of the report file: Metric 'loss'",
    '{"loss": 1, "step": 0}': "Line 1 of the report file: The step",
    "[1]": "Line 1 of the report file: It is no JSON object",
    '{"loss": 1, "checkpoint": "nowhere"}': "There is no checkpoint at",
}


def test_a_line_that_is_no_report_fails_the_trial_and_says_which(shell: Shell) -> None:
    script = "import os, sys, time; open(os.environ['TUNESMITH_REPORT_FILE'], 'a').write(sys.argv[1] + chr(10))"
    shell.write("space.py", f"space = {{'line': __import__('tunesmith').grid_search({list(BAD_LINES)!r})}}")
    shell("run", "--name", "e", "--space", "space.py:space", "-q", "--", "python", "-c", script, "{line}", code=1)
    for trial in shell.json("trials", "e"):
        assert BAD_LINES[trial["config"]["line"]] in trial["error"]


def test_checkpoints_are_saved_with_a_report_and_found_by_the_next_attempt(shell: Shell) -> None:
    shell.write(
        "train.sh",
        """set -eu
start=0
if [ -n "${TUNESMITH_CHECKPOINT_DIR:-}" ]; then start=$(cat "$TUNESMITH_CHECKPOINT_DIR/epoch"); fi
echo "starts at $start of $TUNESMITH_START_STEP"
for epoch in $(seq $((start + 1)) 4); do
  mkdir -p "$TUNESMITH_TRIAL_DIR/saved"; echo "$epoch" > "$TUNESMITH_TRIAL_DIR/saved/epoch"
  tunesmith report loss=$((10 - epoch)) --checkpoint "$TUNESMITH_TRIAL_DIR/saved"
  if [ "$epoch" = 2 ] && [ "$start" = 0 ]; then echo crash; exit 7; fi
done
""",
    )
    shell(
        *("run", "--name", "e", "-p", "a=1", "--metric", "loss", "--mode", "min", "--max-failures", "1", "-q"),
        *("--", "sh", "train.sh"),
    )
    (trial,) = shell.json("trials", "e")
    assert (trial["status"], trial["step"], trial["attempt"], trial["n_failures"]) == ("COMPLETED", 4, 2, 1)
    log = (shell.folder / "results/e/logs/00000.log").read_text()
    assert "starts at 0 of 0" in log and "starts at 2 of 2" in log
    best = shell.json("best", "e")
    assert (best["step"], best["value"]) == (4, 6.0)
    assert (Path(best["checkpoint"]) / "epoch").read_text() == "4\n"


REFUSED = {
    "loss=": "loss is '', which is no number",
    "loss=2 --step 5 training_iteration=6": "has step=5 and training_iteration=6",
    "loss=2 --checkpoint saved": "There is no checkpoint at",  # in the working directory it would be any trial's
}


def test_a_refused_report_fails_the_script_that_ends_with_its_status(shell: Shell) -> None:
    (shell.folder / "saved").mkdir()
    shell.write("saved/model", "of any trial")
    shell.write("space.py", f"space = {{'words': __import__('tunesmith').grid_search({list(REFUSED)!r})}}")
    shell.write("train.sh", "tunesmith report loss=1 training_iteration=3 || exit\ntunesmith report $1 || exit\n")
    shell("run", "--name", "e", "--space", "space.py:space", "-q", "--", "sh", "train.sh", "{words}", code=1)
    for trial in shell.json("trials", "e"):
        assert (trial["status"], trial["step"]) == ("FAILED", 3)
        assert trial["reason"].startswith("sh ended with exit code 2: tunesmith report: ")
        assert REFUSED[trial["config"]["words"]] in trial["reason"]


def test_a_program_that_looks_for_its_stop_file_learns_of_ctrl_c_before_any_signal(shell: Shell) -> None:
    shell.write(
        "train.sh",
        """trap 'echo terminated' TERM
echo '{"loss": 1}' >> "$TUNESMITH_REPORT_FILE"
until [ -e "$TUNESMITH_STOP_FILE" ]; do sleep 0.05; done
echo saved
""",
    )
    command = ("--name", "e", "-p", "a=1", "--grace", "10m", "-q", "--", "sh", "train.sh")  # signals in 5 minutes
    process = shell.start("run", *command, start_new_session=True)
    _wait_for(lambda: shell_steps(shell) >= 1)
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    (trial,) = shell.json("trials", "e")
    assert trial["status"] == "INTERRUPTED"
    assert Path(trial["log"]).read_text() == "saved\n"


def test_ctrl_c_ends_the_program_and_the_same_experiment_is_resumed(shell: Shell) -> None:
    shell.write(
        "train.sh",
        """for epoch in $(seq 1 400); do
  [ -e go ] && exit 0
  tunesmith report loss=1 || exit
done
""",
    )
    command = ("--name", "e", "-p", "a=1", "--metric", "loss", "--mode", "min", "-q", "--", "sh", "train.sh")
    process = shell.start("run", *command, start_new_session=True)
    _wait_for(lambda: shell_steps(shell) >= 2)
    os.kill(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, output + errors
    assert "Press Ctrl-C again" in errors
    assert shell.json("show", "e")["status"] == "interrupted"
    assert shell.json("trials", "e")[0]["status"] == "INTERRUPTED"
    shell.write("go", "")
    shell("resume", "e", "-q")
    assert shell.json("trials", "e")[0]["status"] == "COMPLETED"


def shell_steps(shell: Shell) -> int:
    from tunesmith.errors import TunesmithError
    from tunesmith.stores import open_reader

    try:
        reader = open_reader(shell.folder / "results/e")
    except TunesmithError:
        return 0
    try:
        return reader.n_results()
    finally:
        reader.close()


def _wait_for(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_second_driver_is_refused_or_takes_over_and_is_stopped_from_another_terminal(shell: Shell) -> None:
    shell.write("train.sh", "while sleep 0.05; do tunesmith report loss=1 || exit; done\n")
    command = ("--name", "e", "-p", "a=1", "--metric", "loss", "--mode", "min", "-q", "--", "sh", "train.sh")
    process = shell.start("run", *command, start_new_session=True)
    _wait_for(lambda: shell_steps(shell) >= 1)
    (listed,) = shell.json("ls")["experiments"]
    assert listed["status"] == "running"
    shell("run", *command, code=3)
    assert f"process {process.pid} on host" in shell.errors
    successor = shell.start("run", "--takeover", *command, start_new_session=True)
    process.communicate(timeout=60)
    assert process.returncode == 3  # fenced off
    n_before = shell_steps(shell)
    _wait_for(lambda: shell_steps(shell) > n_before)
    assert shell.json("stop", "e") == {"name": "e", "status": "interrupted", "is_stopped": True}
    successor.communicate(timeout=60)
    assert successor.returncode == 130
    assert "is not running" in shell("stop", "e", code=4)


def test_the_best_configs_of_a_program_are_run_again(shell: Shell) -> None:
    shell.write(
        "train.py",
        """
import json, os, random, sys
noise = random.Random(int(os.environ["TUNESMITH_SEED"])).gauss(0, 0.01)
with open(os.environ["TUNESMITH_REPORT_FILE"], "a") as reports:
    for step in (1, 2):
        print(json.dumps({"loss": float(sys.argv[1]) + noise + 1 / step}), file=reports, flush=True)
""",
    )
    words = ("-p", "x=grid(0,1,2)", "--metric", "loss", "--mode", "min", "--", "python", "train.py", "{x}")
    shell("run", "-q", "--name", "e", *words)
    found = shell.json("confirm", "e", "--top", "2", "--repeats", "2")
    assert [one["config"] for one in found["configs"]] == [{"x": 0}, {"x": 1}]
    assert [(len(set(one["values"])), one["step"]) for one in found["configs"]] == [(2, 2), (2, 2)]
    assert found["lead"]["by"] == pytest.approx(1.0, abs=0.1)
    assert "Take the first" in shell("confirm", "e", "--top", "2", "--repeats", "2", "-q")
    assert "not started by `tunesmith run`" in (shell("confirm", "e-confirm", code=2), shell.errors)[1]
