"""Snickers: SNI in front of Docker containers, the front door of a small host."""

__version__ = "0.1.0"
