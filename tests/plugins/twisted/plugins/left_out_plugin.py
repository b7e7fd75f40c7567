"""Tells trial of the reporter in ``tests/left_out.py``, under the name ``plain``."""

from twisted.plugin import IPlugin
from twisted.trial.itrial import IReporter
from zope.interface import provider


@provider(IPlugin, IReporter)
class Plain:
    """What trial reads of a reporter before it loads it."""

    name = "Plain closing lines"
    description = "A tree, then what was left out and a closing line"
    module = "tests.left_out"
    klass = "PlainReporter"
    longOpt = "plain"
    shortOpt = None
