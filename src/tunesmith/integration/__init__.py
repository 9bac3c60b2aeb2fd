"""The import paths that code written for Ray Tune knows; what they name lives in `tunesmith.trackers`."""
