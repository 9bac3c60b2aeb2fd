"""Each command's output as text and as JSON, its exit status, and what it loads."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Shell, make_shell

import tunesmith as tune
from tunesmith.cli import exit_codes
from tunesmith.cli.export import guarded
from tunesmith.cli.group import COMMANDS
from tunesmith.cli.main import main
from tunesmith.cli.tracker_options import make_trackers

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"


def _train(config):
    if config["i"] == 3:
        raise ValueError("\x1b[2Jbad config")
    for step in (1, 2):
        tune.report(loss=config["i"] + 1 / step, note=float("nan"))
    print(f"trial {config['i']}\x1b[31m red\nprogress 1\rprogress 2\nlast")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """With two experiments, and a folder that is none."""
    shell = make_shell(tmp_path_factory.mktemp("shell"))
    for name, tag in (("first", "=1+1"), ("second", "plain")):
        tune.run(
            _train,
            name=name,
            config={"i": tune.grid_search([0, 1, 2, 3]), "tag": tag},
            metric="loss",
            mode="min",
            storage_path=shell.folder / "results",
            verbose=0,
            raise_on_failed_trial=False,
            seed=1,
        )
    foreign = shell.folder / "results" / "foreign"
    foreign.mkdir()
    (foreign / "experiment.db").write_bytes(b"This is somebody's diary.\n" * 100)
    os.utime(foreign / "experiment.db", (1, 1))
    return shell


@pytest.fixture
def here(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """The same for commands called within this process."""
    monkeypatch.setenv("TUNESMITH_RESULTS", str(shell.folder / "results"))
    monkeypatch.chdir(shell.folder)
    return shell


def called(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    found = main(arguments)
    output, errors = capsys.readouterr()
    assert found == code, output + errors
    return output if code == 0 else output + errors


def called_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> object:
    return json.loads(called(capsys, *arguments, "--json"), parse_constant=lambda word: pytest.fail(word))


def test_ls_lists_the_newest_first_and_says_what_cannot_be_read(here, capsys) -> None:
    lines = called(capsys, "ls").splitlines()
    assert lines[0].split() == ["name", "status", "trials", "best", "metric", "started", "trainable"]
    assert [line.split()[0] for line in lines[1:]] == ["second", "first", "foreign"]
    assert "unreadable" in lines[3]
    found = called_json(capsys, "ls")
    assert found["experiments"][0] | {"started_at": 0, "ended_at": 0, "folder": ""} == {
        "name": "second",
        "folder": "",
        "status": "finished",
        "n_trials": 4,
        "n_wanted": 4,
        "states": {"COMPLETED": 3, "FAILED": 1},
        "metric": "loss",
        "mode": "min",
        "best": 0.5,
        "best_trial": 0,
        "started_at": 0,
        "ended_at": 0,
        "trainable": "_train",
    }
    assert called_json(capsys, "ls", "-n", "1")["n_more"] == 2


def test_show_is_the_summary_and_names_the_failure(here, capsys) -> None:
    output = called(capsys, "show", "first")
    assert output.startswith("first: finished, every trial is over")
    assert "best        loss 0.5 at step 2 of trial 0" in output
    assert "1 trial: ValueError: \\x1b[2Jbad config (trial 3)" in output and "\x1b" not in output
    found = called_json(capsys, "show", "first")
    assert (found["n_results"], found["seed"], found["driver"]) == (6, 1, None)
    assert found["best"]["config"] == {"i": 0, "tag": "=1+1"}


def test_best_is_of_the_metric_asked_for(here, capsys) -> None:
    assert called(capsys, "best", "first").startswith("loss 0.5 at step 2 of trial 0\nconfig = {'i': 0")
    found = called_json(capsys, "best", "first", "--metric", "loss", "--mode", "max")
    assert (found["value"], found["step"], found["trial"]) == (3.0, 1, 2)
    assert [entry["trial"] for entry in called_json(capsys, "best", "first", "--top", "2")] == [0, 1]
    assert called(capsys, "best", "first", "--top", "2").splitlines()[1].split()[:3] == ["0", "0.5", "2"]
    assert "has no result" in called(capsys, "best", "first", "--metric", "note", "--mode", "min", code=4)
    assert "Did you mean 'loss'" in called(capsys, "best", "first", "--metric", "los", "--mode", "min", code=2)


def test_trials_are_filtered_sorted_and_cut(here, capsys) -> None:
    output = called(capsys, "trials", "first")
    assert re.search(r"^_train_\w+_00000 +COMPLETED", output, re.MULTILINE) and "\x1b" not in output
    found = called_json(capsys, "trials", "first", "-w", "loss < 2 and status != 'FAILED'", "-s", "-loss")
    assert [trial["trial"] for trial in found] == [1, 0]
    assert found[0]["metrics"] == {"loss": 1.5, "note": "NaN"}
    columns = called(capsys, "trials", "first", "-c", "trial,i,reason", "-w", "trial == 3")
    assert columns.splitlines()[1].split(maxsplit=2) == ["3", "3", "ValueError: \\x1b[2Jbad config"]
    assert "... and 2 more" in called(capsys, "trials", "first", "-n", "2")
    assert "cannot be read" in called(capsys, "trials", "first", "-w", "1; DROP TABLE results", code=2)


def test_log_prints_what_a_trial_printed_without_steering_the_terminal(here, capsys) -> None:
    assert called(capsys, "log", "first", "1") == "trial 1\\x1b[31m red\nprogress 2\nlast\n"
    assert called(capsys, "log", "first", "1", "--raw") == "trial 1\x1b[31m red\nprogress 1\rprogress 2\nlast\n"
    assert called(capsys, "log", "1", "--tail", "1") == "last\n"
    assert called(capsys, "log", "first", "1", "--follow").endswith("last\n")
    assert called_json(capsys, "log", "first", "1", "-n", "1")["lines"] == ["last"]
    assert "There is no trial 7" in called(capsys, "log", "first", "7", code=2)
    assert "is not the number" in called(capsys, "log", "first", "../../x", code=2)


def test_tail_of_a_log_reads_from_its_end(tmp_path: Path) -> None:
    from tunesmith.cli.log import _lines

    lines = [f"line {i} " + "x" * (i % 50) for i in range(20_000)]
    for text in ("\n".join(lines), "\n".join(lines) + "\n"):
        path = tmp_path / "log"
        path.write_text(text)
        for n in (0, 1, 3, 5_000, 19_999, 20_000, 30_000):
            assert list(_lines(path, n)) == (lines[-n:] if n else [])


def test_export_guards_cells_in_csv_and_keeps_values_in_json_lines(here, capsys, tmp_path) -> None:
    rows = list(csv.DictReader(io.StringIO(called(capsys, "export", "first"))))
    assert rows[0]["config/tag"] == "'=1+1"
    assert (rows[0]["metrics/loss"], rows[0]["metrics/note"]) == ("0.5", "NaN")
    exact = [json.loads(line) for line in called(capsys, "export", "first", "--format", "jsonl").splitlines()]
    assert exact[0]["config/tag"] == "=1+1"
    assert len(called(capsys, "export", "first", "--what", "results").splitlines()) == 7
    target = tmp_path / "out.jsonl"
    assert called_json(capsys, "export", "first", "-o", str(target))["n_rows"] == 4
    assert len(target.read_text().splitlines()) == 4
    assert "--force" in called(capsys, "export", "first", "-o", str(target), code=2)
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_a_text_that_a_spreadsheet_would_run_gets_an_apostrophe_and_a_number_does_not(text: str) -> None:
    assert guarded(text) == f"'{text}"
    assert (guarded(-1.5), guarded("a=1"), guarded(None), guarded(float("-inf"))) == (-1.5, "a=1", "", "-Infinity")


def test_parquet_is_written_or_what_is_missing_is_said(here, capsys, tmp_path, monkeypatch) -> None:
    target = tmp_path / "out.parquet"
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install 'tunesmith[parquet]'" in called(capsys, "export", "first", "-o", str(target), code=2)
    assert not target.exists()
    monkeypatch.undo()
    parquet = pytest.importorskip("pyarrow.parquet")
    main(["export", str(here.folder / "results/first"), "-o", str(target)])
    assert parquet.read_table(target).column("metrics/loss").to_pylist()[:3] == [0.5, 1.5, 2.5]


def test_compare_ranks_and_shows_where_the_best_configs_differ(here, capsys) -> None:
    output = called(capsys, "compare", "first", "second")
    assert output.splitlines()[0].split()[:3] == ["name", "best", "metric"]
    assert output.splitlines()[-1].split() == ["tag", "=1+1", "plain"]
    assert [fact["name"] for fact in called_json(capsys, "compare", "first", "second")] == ["first", "second"]
    assert "two experiments" in called(capsys, "compare", "first", code=2)


def test_plot_writes_a_page(here, capsys, tmp_path) -> None:
    pytest.importorskip("plotly")
    target = tmp_path / "figure.html"
    assert called_json(capsys, "plot", "first", "-k", "slices", "-o", str(target))["path"] == str(target)
    assert target.stat().st_size > 1000
    assert called(capsys, "plot", "first", "-k", "comparison", "--with", "second", "-o", str(target)) == f"{target}\n"
    assert "belong together" in called(capsys, "plot", "first", "-k", "comparison", code=2)


def test_doctor_finds_this_machine_fit(here, capsys) -> None:
    found = {finding["name"]: finding for finding in called_json(capsys, "doctor")}
    assert found["sqlite"]["status"] == found["folder"]["status"] == "ok"
    assert "foreign" in found["experiments"]["words"]
    assert re.match(r"ok +python", called(capsys, "doctor"))


def test_a_foreign_file_is_refused_and_left_alone(here, capsys) -> None:
    path = here.folder / "results/foreign/experiment.db"
    before = path.read_bytes()
    assert "not a tunesmith store" in called(capsys, "show", "foreign", code=2)
    assert path.read_bytes() == before


def test_an_unknown_experiment_is_named_with_what_may_be_meant(here, capsys) -> None:
    assert "Did you mean first" in called(capsys, "show", "firsd", code=2)
    assert "See `tunesmith ls`" in called(capsys, "show", "../../etc", code=2)


@pytest.mark.parametrize("shell_name", ["bash", "zsh", "fish"])
def test_completion_is_a_script(capsys, shell_name: str) -> None:
    assert "_TUNESMITH_COMPLETE" in called(capsys, "completion", shell_name)
    assert "_TUNESMITH_COMPLETE" in called_json(capsys, "completion", shell_name)["script"]


def test_the_shell_completes_commands_and_names_of_experiments(shell: Shell) -> None:
    def completed(words: str) -> list[str]:
        extra = {"_TUNESMITH_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        argv = [str(shell.folder / "bin" / "tunesmith")]
        output = subprocess.run(argv, env=shell.environment(**extra), capture_output=True, text=True, check=True).stdout
        return [line.partition(",")[2] for line in output.splitlines()]

    assert completed("tunesmith tr") == ["trials"]
    assert completed("tunesmith show fi") == ["first"]


@pytest.mark.parametrize("command", list(COMMANDS))
def test_help_of_every_command_has_examples_and_fits_80_columns(capsys, monkeypatch, command: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = called(capsys, command, "--help").splitlines()
    assert any("xamples:" in line for line in lines)
    assert [line for line in lines if len(line) > 80] == []
    assert any("--json" in line for line in lines)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["ls", "--nonsense"],
        ["run"],
        ["run", "a", "b"],
        ["run", "nonsense"],
        ["run", "no_such_module_here:f"],
        ["run", "no_such_file.py:f"],
        ["run", "-p", "lr=evil(1)", "--", "true"],
        ["run", "-p", "lr=1", "--metric", "loss", "--", "true"],
        ["run", "-p", "lr=1", "--time-budget", "soon", "--", "true"],
        ["run", "-p", "lr=1", "--max-t", "3", "--scheduler", "no_such", "--", "true"],
        ["run", "no_such.yaml"],
        ["run", "-p", "lr=1", "--tracker", "no_such", "--", "true"],
        ["run", "-p", "lr=1", "--tracker", "csv:path=x", "--", "true"],
        ["run", "-p", "lr=1", "--tracker", "wandb:digits", "--", "true"],
        ["run", "-p", "lr=1", "--tracker", "wandb:api_key=x", "--", "true"],
        ["resume", "first"],
        ["log"],
        ["report", "loss"],
        ["report", "loss=low"],
        ["report", "--steps", "1", "loss=1"],
    ],
)
def test_wrong_usage_is_status_2_with_a_word_on_what_is_wrong(here, capsys, arguments) -> None:
    assert len(called(capsys, *arguments, code=2)) > 20
    assert sorted(path.name for path in (here.folder / "results").iterdir()) == ["first", "foreign", "second"]


def test_report_outside_a_trial_stores_nothing_and_says_so(capsys) -> None:
    assert "not inside a trial" in called(capsys, "report", "loss=1", code=4)


def test_ls_and_report_load_nothing_that_is_slow(shell: Shell) -> None:
    code = "import sys; from tunesmith.cli.main import main; main({arguments}); print(*sys.modules, file=sys.stderr)"
    slow = {"pandas", "numpy", "scipy", "wandb", "plotly", "yaml", "ray", "asyncio", "rich.console", "tunesmith.api"}
    for arguments, also in ((["ls"], set()), (["report", "loss=1"], {"click", "msgspec", "apsw"})):
        argv = [sys.executable, "-c", code.format(arguments=arguments)]
        errors = subprocess.run(argv, env=shell.environment(), capture_output=True, text=True, check=True).stderr
        assert not (slow | also) & set(errors.splitlines()[-1].split())


def test_output_into_a_closed_pipe_is_no_error(shell: Shell) -> None:
    argv = f'"{sys.executable}" -m tunesmith export first --what results | head -1; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", argv], env=shell.environment(), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0"
    assert "Traceback" not in done.stderr


def test_a_python_function_is_run_by_file_and_resumed_with_more(shell: Shell, tmp_path: Path) -> None:
    shell = make_shell(tmp_path)
    shell.write("helper.py", "def square(x):\n    return x * x\n")
    shell.write(
        "model.py",
        "from helper import square\nSHIFT = 1\ndef train(config):\n    return {'loss': square(config['x']) + SHIFT}\n",
    )
    found = shell.json("run", "model.py:train", "-p", "x=grid(1,2)", "--metric", "loss", "--mode", "min", "--name", "e")
    assert (found["n_trials"], found["best"]["value"], found["trainable"]) == (2, 2, "train")
    found = shell.json("resume", "e", "-n", "2")
    assert (found["status"], found["n_trials"]) == ("finished", 4)
    assert shell.json("resume", "e")["n_wanted"] == 4  # what a resume asked for holds from then on


def test_what_a_run_is_followed_by_is_followed_again_at_a_resume(tmp_path: Path) -> None:
    shell = make_shell(tmp_path)
    shell.write("model.py", "def train(config):\n    return {'loss': config['x']}\n")
    shell.json("run", "model.py:train", "-p", "x=grid(1,2)", "--name", "e", "--tracker", "csv", "--tracker", "json")
    shell.json("resume", "e", "-n", "2")
    for name in ("progress.csv", "result.json"):
        assert len(list((tmp_path / "results" / "e").rglob(name))) == 4, name


def test_a_sweep_names_the_project_in_wandb(capsys) -> None:
    of_sweep = {"project": "digits", "entity": "us"}
    [tracker] = make_trackers(["wandb:mode=offline,log_config=true,entity=them"], of_sweep=of_sweep)
    where = {name: tracker.identity()[name] for name in ("project", "entity", "mode")}
    assert where == {"project": "digits", "entity": "them", "mode": "offline"}
    assert make_trackers([], of_sweep=of_sweep) == []
    assert "--tracker wandb" in capsys.readouterr().err


def test_a_sweep_file_is_run(tmp_path: Path) -> None:
    shell = make_shell(tmp_path)
    shell.write("train.py", "import sys\nprint('{\"loss\": %s}' % sys.argv[1].partition('=')[2])\n")
    shell.write(
        "sweep.yaml",
        "program: train.py\nmethod: grid\nmetric: {name: loss}\nparameters: {a: {values: [3, 1, 2]}}\nrun_cap: 5\n",
    )
    found = shell.json("run", "sweep.yaml", "--name", "e")
    assert (found["status"], found["n_trials"], found["best"]["value"]) == ("finished", 3, 1)


def test_the_exit_codes_in_the_docs_are_those_of_the_program() -> None:
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", DOCS.read_text(), re.MULTILINE)}
    assert documented == {value for name, value in vars(exit_codes).items() if name.isupper()}


def test_every_variable_in_the_docs_is_given_to_programs_and_the_other_way_round() -> None:
    from tunesmith.trialside import current, program_files

    given = {
        value
        for module in (current, program_files)
        for name, value in vars(module).items()
        if name.endswith("_VARIABLE")
    }
    assert set(re.findall(r"^\| `(TUNESMITH_\w+)` \|", DOCS.read_text(), re.MULTILINE)) == given
