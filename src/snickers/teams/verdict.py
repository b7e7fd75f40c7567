"""Whether a newcomer answers with far more errors than the team before it did.

Pure: totals in, a verdict out. It must never condemn for what chance, or one burst, can do: the
look is taken every second for as long as a trial lasts, and one server that is down makes many
errors in one moment.
"""

from __future__ import annotations

import math

LEAST = 20
"""Errors below which nothing is concluded: one page of a site that is down makes as many."""
SPELLS = 5
"""Reports, one a second, that must tell of new errors: a single burst says nothing of a version."""
TIMES = 2.0
"""What counts as far more: twice what the one before can be believed to have had..."""
MARGIN = 0.01
"""...and one answer of a hundred on top, since twice next to nothing is next to nothing."""
UNKNOWN = 0.25
"""The share believed of one that has answered little: more than half of all answers wrong is taken
for broken without any comparison. To go back is safe, to stay may not be."""
CHANCE = 1e-6
"""How improbable such totals must be for one no worse than that. With a look a second for an
hour the chance of a wrong verdict stays below four in a thousand, even if all were independent."""
SURE = 3.0
"""Standard deviations by which the share of the one before is rounded up."""


def believed(errors: int, answers: int) -> float:
    """Return the largest share of errors that one with these totals is believed to have.

    The upper end of Wilson's interval, at `SURE` standard deviations, and `UNKNOWN` at the most.
    """
    if answers <= 0:
        return UNKNOWN
    share = max(0, min(errors, answers)) / answers
    square = SURE * SURE
    spread = SURE * math.sqrt(share * (1 - share) / answers + square / (4 * answers * answers))
    return min(UNKNOWN, (share + square / (2 * answers) + spread) / (1 + square / answers))


def improbable(errors: int, answers: int, share: float) -> bool:
    """Say whether *errors* of *answers* are less probable than `CHANCE` where *share* is usual.

    By Chernoff's bound, which holds for any number of answers: the probability is at most
    ``exp(-answers * D)``, D being the divergence of the observed share from the usual one.
    """
    if answers <= 0 or errors <= 0:
        return False
    seen = min(errors, answers) / answers
    if seen <= share:
        return False
    divergence = seen * math.log(seen / share)
    if seen < 1:
        divergence += (1 - seen) * math.log((1 - seen) / (1 - share))
    return answers * divergence > -math.log(CHANCE)


def far_worse(before: tuple[int, int], since: tuple[int, int], spells: int) -> bool:
    """Say whether the newcomer is to be taken back.

    *before*: errors and answers of the team before, as long as it served; *since*: those of the
    newcomer since it took over; *spells*: in how many of its reports there were new errors.
    """
    errors, answers = since
    if errors < LEAST or spells < SPELLS:
        return False
    return improbable(errors, answers, min(0.99, TIMES * believed(*before) + MARGIN))
