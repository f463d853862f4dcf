"""Benchmarks: ours and the reference, alternating, in the same run.

``make bench`` runs them all; ``python -m benchmarks bulk --megabytes 32`` one. The
figures of one machine say little; the ratio says more, and the median of several
rounds more than one.
"""
