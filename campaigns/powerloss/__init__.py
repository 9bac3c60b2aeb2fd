"""Power loss: what the disk may hold afterwards, and whether the store and the checkpoints stand it.

A workload runs once over recording layers (`recorder`); the recorded operations are folded into a model of the disk
(`disk`), which at any prefix can be rebuilt as it may be found after a power loss; `verify` opens what was rebuilt
with a fresh store and compares it with what was acknowledged. `planted` holds the bugs that must be found.
"""
