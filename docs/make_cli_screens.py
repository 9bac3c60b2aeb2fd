"""Runs a small experiment, looks at it in terminals of 80 and 200 columns (tmux), and puts the screens into cli.md."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DOCS = Path(__file__).parent
ROWS = 60
SCRIPT = """
import json, math, sys
lr, opt, layers = float(sys.argv[1]), sys.argv[2], int(sys.argv[3])
if layers == 4 and opt == "sgd":
    sys.exit("out of memory: 4 layers do not fit")
import os, time
with open(os.environ["TUNESMITH_REPORT_FILE"], "a") as reports:
    for step in range(1, 10):
        loss = 0.1 * abs(math.log10(lr) + 2.5) + 0.05 * (opt == "sgd") + 0.02 * abs(layers - 2) + 1 / (3 * step)
        print(json.dumps({"loss": loss, "accuracy": 1 - loss / 2}), file=reports, flush=True)
        time.sleep(0.05)
        if os.path.exists(os.environ["TUNESMITH_STOP_FILE"]):
            break
"""
RUN = (
    *("run", "--name", "digits", "-q", "-n", "12", "--seed", "4", "--metric", "loss", "--mode", "min"),
    *("--scheduler", "asha", "--max-t", "9", "-p", "lr=loguniform(1e-5,1e-1)", "-p", "opt=choice(adam,sgd)"),
    *("-p", "layers=randint(1,5)", "--", sys.executable, "train.py", "{lr}", "{opt}", "{layers}"),
)
COMMANDS = ("tunesmith ls", "tunesmith trials digits --sort best_value", "tunesmith show digits")


def main() -> None:
    """Run, look, write."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "train.py").write_text(SCRIPT)
        environment = {**os.environ, "TUNESMITH_RESULTS": f"{folder}/results"}
        subprocess.run([sys.executable, "-m", "tunesmith", *RUN], cwd=folder, env=environment, check=False)
        page = (DOCS / "cli.md").read_text()
        for columns in (80, 200):
            text = screen(folder, columns).replace(str(folder), "/home/me")
            block = f"<!-- screen {columns} -->\n\n```text\n{text}\n```\n\n<!-- end -->"
            page = re.sub(rf"<!-- screen {columns} -->.*?<!-- end -->", lambda _, b=block: b, page, flags=re.DOTALL)
        (DOCS / "cli.md").write_text(page)


def screen(folder: Path, columns: int) -> str:
    """What a terminal so wide shows after the commands."""
    shown = "; ".join(f"echo '$ {command}'; {command}; echo" for command in COMMANDS)
    tunesmith = f'tunesmith() {{ "{sys.executable}" -m tunesmith "$@"; }}'
    script = (
        f"cd {folder}; export TUNESMITH_RESULTS={folder}/results; {tunesmith}; {shown}; touch {folder}/done; sleep 60"
    )
    session = f"tunesmith-doc-{os.getpid()}-{columns}"
    (folder / "done").unlink(missing_ok=True)
    tmux = ["tmux", "-L", session]
    size = ["-x", str(columns), "-y", str(ROWS)]
    subprocess.run([*tmux, "new-session", "-d", "-s", session, *size, "bash", "-c", script], check=True)
    try:
        deadline = time.monotonic() + 60
        while not (folder / "done").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.3)
        shot = subprocess.run(
            [*tmux, "capture-pane", "-p", "-t", session], check=True, capture_output=True, text=True
        ).stdout
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)
    return "\n".join(line.rstrip() for line in shot.rstrip().splitlines())


if __name__ == "__main__":
    main()
