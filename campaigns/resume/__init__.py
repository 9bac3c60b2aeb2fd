"""How long an experiment of many reports takes to go on, and to look at."""
