"""The two-driver race: several drivers on one folder; there is always one owner, and the fenced write nothing."""
