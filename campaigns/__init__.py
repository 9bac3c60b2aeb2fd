"""Long campaigns that try to break the promises: one folder each, run as `python -m campaigns.<name>`."""
