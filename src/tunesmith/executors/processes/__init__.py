"""One process per trial, forked from a template that has loaded the user's code. See docs/adr/0003-processes.md."""

from tunesmith.executors.processes.executor import ProcessExecutor

__all__ = ["ProcessExecutor"]
