"""Bytes and values: the formats of packets, messages, frames and names.

Nothing here keeps state, knows the time or holds a key that matters.
"""
