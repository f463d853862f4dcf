"""Messages and byte streams: the reliable half of CurveCP, without I/O.

Time is an argument (``now``: seconds as a float, monotonic), and so is
randomness (a callable from a number of bytes to as many random bytes).
"""
