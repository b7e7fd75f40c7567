"""The control socket and the ``snickers`` command."""
