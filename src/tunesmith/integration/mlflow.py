"""`from tunesmith.integration.mlflow import MLflowLoggerCallback, setup_mlflow`."""

from tunesmith.trackers import MLflowLoggerCallback, mlflow_mixin, setup_mlflow

__all__ = ["MLflowLoggerCallback", "mlflow_mixin", "setup_mlflow"]
