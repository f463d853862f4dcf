"""Fuzzing: functions that nothing they are given may upset, and what feeds them.

A target takes bytes and returns, whatever they are; an exception is a finding, and
so is a second of time or half a gigabyte of memory. Most targets read their input
as a script: what arrives, in which order, how much time passes, and what the
owner of the machine does meanwhile.

``make fuzz`` runs all of them for a while, ``python -m fuzz NAME`` one. Coverage
guides the search where atheris is installed. ``corpus/NAME`` has inputs that
together reach what is known to be reachable; the test suite replays them.
"""
