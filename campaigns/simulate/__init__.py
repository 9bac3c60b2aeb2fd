"""Whole experiments on a virtual clock, with faults: the real state machine, loop and deciders in a simulated world.

A world is drawn from a seed (`plan`). Its executor (`executor`), store (`stores`) and disk (`disk`) inject seeded
faults; drivers crash, are taken over, are interrupted and go on (`campaign`). A ledger (`ledger`) notes what really
happened, and a witness (`witness`) that shares no code with the state machine checks each committed record and each
pass against it. `planted` holds the bugs that must be found; `continuity` plays interrupted
experiments beside uninterrupted ones.
"""
