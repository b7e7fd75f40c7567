"""The former name of `snickers.control.socketfile`; it must never have anything of its own."""

from snickers.control.socketfile import ControlUnavailable

__all__ = ["ControlUnavailable"]
