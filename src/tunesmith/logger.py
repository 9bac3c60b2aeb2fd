"""`from tunesmith.logger import LoggerCallback, CSVLoggerCallback, JsonLoggerCallback, TBXLoggerCallback`."""

from tunesmith.hooks import LoggerCallback
from tunesmith.trackers import CSVLoggerCallback, JsonLoggerCallback, TBXLoggerCallback, TensorBoardLoggerCallback

__all__ = [
    "CSVLoggerCallback",
    "JsonLoggerCallback",
    "LoggerCallback",
    "TBXLoggerCallback",
    "TensorBoardLoggerCallback",
]
