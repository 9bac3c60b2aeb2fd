"""`from tunesmith.integration.mlflow import MLflowLoggerCallback`."""

from tunesmith.trackers import MLflowLoggerCallback

__all__ = ["MLflowLoggerCallback"]
