"""Twisted meets the core: ports, pipes, programs, endpoints."""
