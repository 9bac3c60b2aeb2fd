"""Notebooks: what is shown there, in HTML that nothing foreign gets into, and in a real kernel."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from callback_worlds import GrowingWorld, hostile_view, trial, view

import tunesmith as tune
from tunesmith.callbacks import CLIReporter, JupyterNotebookReporter, default_reporter
from tunesmith.callbacks.notebook_reporter import html_line
from tunesmith.callbacks.screen import styled_line
from tunesmith.events import EndReason
from tunesmith.trial import TrialStatus

EVIL = "<img src=x onerror=alert(1)>\"'&"
ALLOWED = {"p", "b", "pre", "span", "table", "thead", "tbody", "tr", "th", "td"}


class Tags(HTMLParser):
    """The tags and attributes of a text, and what it reads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: set[tuple[str, tuple[str, ...]]] = set()
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


def harmless(text: str) -> Tags:
    """The parsed text, after a look at it: no tag and no attribute but ours."""
    tags = Tags(text)
    assert {tag for tag, _ in tags.seen} <= ALLOWED
    assert {name for _, names in tags.seen for name in names} <= {"style"}
    return tags


class Page:
    """Stands for IPython: keeps what is displayed, and what replaced it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.outputs: list[list[str]] = []
        shown = SimpleNamespace(HTML=lambda text: text, display=self.display)
        shell = SimpleNamespace(kernel=object())
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell, display=shown))
        monkeypatch.setitem(sys.modules, "IPython.display", shown)

    def display(self, text: str, display_id: bool = False) -> Any:
        output = [text]
        self.outputs.append(output)
        return SimpleNamespace(update=output.append) if display_id else None


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Page:
    return Page(monkeypatch)


def drawn(reporter: JupyterNotebookReporter, *views: Any, verbose: int = 3) -> None:
    reporter.start(Path("nowhere"), verbose)
    for seen in views:
        reporter.update(seen, [])
    reporter.finish(views[-1])
    reporter.close()


def test_one_output_is_drawn_over_and_ends_as_the_summary(page: Page) -> None:
    world = GrowingWorld(n_total=6)
    drawn(JupyterNotebookReporter(max_report_frequency=0), world.view_at(15), world.view_at(400))
    (output,) = page.outputs
    first, middle, *_, last = [harmless(text).words for text in output]
    assert first == "Starting ..."
    assert "RUNNING" in middle and "trials" in middle
    assert "finished, every trial is over" in last and "look at it" in last


def test_without_overwrite_each_report_is_left_standing(page: Page) -> None:
    drawn(JupyterNotebookReporter(False, ["loss"], max_report_frequency=0), view(trial(0)), view(trial(0), trial(1)))
    assert [len(output) for output in page.outputs] == [1, 1, 1]


def test_nothing_is_shown_where_silence_was_asked_for(page: Page) -> None:
    drawn(JupyterNotebookReporter(), view(trial(0)), verbose=0)
    assert page.outputs == []


def test_nothing_foreign_becomes_html_on_the_live_display(page: Page) -> None:
    error = f"Traceback:\n{EVIL}: {EVIL}"
    hostile = view(
        trial(0, TrialStatus.FAILED, config={EVIL: EVIL}, error=error, reason=EVIL, n_failures=1),
        trial(1, TrialStatus.STOPPED, config={EVIL: 1}, reason=EVIL),
        name=EVIL, folder=f"/tmp/{EVIL}", scheduler_lines=(EVIL,), end_status=EndReason.FAILED, end_detail=EVIL,
    )  # fmt: skip
    drawn(JupyterNotebookReporter(), hostile, hostile_view())
    texts = [harmless(text) for output in page.outputs for text in output]
    assert any(EVIL in tags.words for tags in texts)


def test_styles_become_rules_and_the_default_colour_is_the_pages_own() -> None:
    assert html_line(styled_line("a<b", "bold green")) == '<span style="color:#2e9e5b;font-weight:bold">a&lt;b</span>'
    assert html_line(styled_line("plain", "default")) == "plain"
    mixed = styled_line("ab", "dim")
    mixed.append("c", "red")
    assert html_line(mixed) == '<span style="opacity:0.75">ab</span><span style="color:#d9534f;opacity:0.75">c</span>'
    assert html_line(styled_line("dim", "dim")) == '<span style="opacity:0.75">dim</span>'


def test_reporter_is_chosen_by_the_place(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(default_reporter()) is JupyterNotebookReporter
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))  # a script that imports it
    assert type(default_reporter()) is CLIReporter


def test_outside_a_notebook_it_writes_lines(capsys: pytest.CaptureFixture[str]) -> None:
    drawn(JupyterNotebookReporter(), view(trial(0)))
    assert "1 running" in capsys.readouterr().out


# ---------------------------------------------------------------- results


def hostile(config: dict[str, Any]) -> None:
    if config["n"] == 1:
        raise ValueError(EVIL)
    tune.report({"loss": config["n"], EVIL: 1.0})


def test_nothing_foreign_becomes_html_in_results() -> None:
    space = {"n": tune.grid_search([0, 1, 2]), EVIL: EVIL}
    result = tune.run(
        hostile, config=space, metric="loss", mode="min", name=EVIL.replace("/", ""), verbose=0, executor="inline",
        raise_on_failed_trial=False,
    )  # fmt: skip
    text = harmless(result._repr_html_()).words
    assert "The best by loss (min), 2 of 3 trials" in text and "1 trial failed, the first: ValueError" in text
    assert text.count(EVIL) >= 5
    for one in result.trials:
        assert EVIL in harmless(one._repr_html_()).words


def test_results_without_a_metric_or_without_trials_have_html_too() -> None:
    result = tune.run(lambda config: {"a": 1}, config={"x": 1}, verbose=0, executor="inline")
    assert "The first trials, 1 of 1 trial" in harmless(result._repr_html_()).words
    result = tune.minimize(lambda config: None, {"x": 1}, num_samples=1, verbose=0, executor="inline")
    assert "No trial has a result." in harmless(result._repr_html_()).words


# ---------------------------------------------------------------- a real kernel

RUN = """
import pathlib, time
import tunesmith as tune

def train(config):
    for step in range(n_steps):
        tune.report(loss=config["x"] + 1 / (step + 1))
        pathlib.Path(folder, "begun").touch()
        time.sleep(pause_s)

result = tune.run(train, config={"x": tune.uniform(0, 1)}, metric="loss", mode="min", num_samples=2, name=name,
                  search_alg="random", storage_path=folder, resources_per_trial={"cpu": 0.5})
"""
LEFT = """
import os, signal, threading, psutil
print("threads", [t.name for t in threading.enumerate() if "tunesmith" in t.name])
print("processes", [p.name() for p in psutil.Process().children(recursive=True)])
print("handler is ours", "tunesmith" in str(getattr(signal.getsignal(signal.SIGINT), "__module__", "")))
"""


class Notebook:
    """Cells run one after the other in a real kernel."""

    def __init__(self, folder: Path) -> None:
        nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
        pytest.importorskip("ipykernel")
        self.cells = nbformat.v4.new_notebook()
        self._new_cell = nbformat.v4.new_code_cell
        self.client = nbclient.NotebookClient(self.cells, timeout=60, resources={"metadata": {"path": str(folder)}})

    async def run(self, code: str, *, interrupt_at: Path | None = None) -> list[Any]:
        """The outputs of a cell; interrupted once the file is there."""
        self.cells.cells.append(self._new_cell(code))
        place = len(self.cells.cells) - 1
        task = asyncio.create_task(self.client.async_execute_cell(self.cells.cells[place], place))
        if interrupt_at is not None:
            until = time.monotonic() + 30
            while not interrupt_at.exists() and not task.done():
                assert time.monotonic() < until, "no trial began"
                await asyncio.sleep(0.05)
            await self.client.km.interrupt_kernel()
        return list((await task).outputs)


def in_kernel(folder: Path, work: Any) -> Any:
    notebook = Notebook(folder)

    async def whole() -> Any:
        async with notebook.client.async_setup_kernel():
            return await work(notebook)

    return asyncio.run(whole())


@pytest.fixture
def kernel_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    return tmp_path


def htmls(outputs: list[Any]) -> list[str]:
    return [harmless(o.data["text/html"]).words for o in outputs if "text/html" in o.get("data", {})]


def printed(outputs: list[Any]) -> str:
    return "".join(output.text for output in outputs if output.output_type == "stream")


@pytest.mark.processes
def test_a_real_notebook_shows_one_live_output_and_is_clean_after_an_interrupt(kernel_folder: Path) -> None:
    facts = f"folder = {str(kernel_folder)!r}; name = 'cell'"

    async def work(notebook: Notebook) -> list[list[Any]]:
        begun = kernel_folder / "begun"
        return [
            await notebook.run(f"{facts}; n_steps, pause_s = 1000, 0.2\n{RUN}", interrupt_at=begun),
            await notebook.run(LEFT),
            await notebook.run(f"n_steps, pause_s = 3, 0\n{RUN}\nresult"),
            await notebook.run(LEFT),
        ]

    interrupted, left, finished, left_at_the_end = in_kernel(kernel_folder, work)
    (live,) = htmls(interrupted)  # drawn over, not under
    assert "cell: interrupted, after" in live and "go on" in live
    assert all(output.output_type != "error" for output in [*interrupted, *finished])
    clean = "threads []\nprocesses []\nhandler is ours False\n"
    assert printed(left) == clean and printed(left_at_the_end) == clean
    summary, shown = htmls(finished)
    assert re.search(r"cell: finished, every trial is over", summary) and "2 completed" in summary
    assert "The best by loss (min), 2 of 2 trials" in shown
