"""Reads single operands and option values of the command lines."""

from __future__ import annotations

import ipaddress
from math import inf, nan

from twisted.python import usage

from curvecp_tx.errors import BadName
from curvecp_tx.wire.names import encode_server_name, parse_extension

MAX_DIGITS = 9
"""Digits of a number, as with the reference: no typing error takes longer."""


def parse_number(text: str, low: int, high: int, what: str) -> int:
    """Read a decimal number within bounds.

    :raises usage.UsageError: if it is none, or is out of bounds.
    """
    digits = text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS
    if not digits or not low <= int(text) <= high:
        raise usage.UsageError(f"{what} must be an integer between {low} and {high}")
    return int(text)


def parse_seconds(text: str, what: str, *, zero: bool = False) -> float:
    """Read a positive, finite number of seconds.

    :param zero: whether 0 will do as well.
    :raises usage.UsageError: if it is none.
    """
    seconds = _parse_float(text)
    if 0 < seconds < inf or (zero and seconds == 0):
        return seconds
    raise usage.UsageError(
        f"{what} must be {'0 or ' if zero else ''}a positive number of seconds"
    )


def parse_rate(text: str, what: str) -> float:
    """Read how often something may happen in a second: positive and finite.

    :raises usage.UsageError: if it is not.
    """
    rate = _parse_float(text)
    if not 0 < rate < inf:
        raise usage.UsageError(f"{what} must be a positive number")
    return rate


def _parse_float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return nan


def parse_ip(text: str) -> str:
    """Check an IPv4 or IPv6 address.

    :raises usage.UsageError: if it is none.
    """
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise usage.UsageError("ip must be an IPv4 or IPv6 address") from None


def parse_name(text: str) -> str:
    """Check a server name.

    :raises usage.UsageError: if it is too long.
    """
    try:
        encode_server_name(text)
    except BadName:
        raise usage.UsageError(
            "sname must be at most 255 bytes, at most 63 bytes between dots"
        ) from None
    return text


def parse_extension_operand(text: str) -> bytes:
    """Read a server's extension.

    :raises usage.UsageError: if it is not 32 hexadecimal digits.
    """
    extension = parse_extension(text)
    if extension is None:
        raise usage.UsageError("ext must be exactly 32 hex characters")
    return extension
