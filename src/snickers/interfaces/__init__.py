"""Where the rooms meet: the small interfaces one room implements and another one uses.

One file for each meeting, by what the two talk about. A room imports these, the values of
``snickers.config`` and nothing of another room; the pieces are put together in ``snickers.tap``.
Nothing here does anything. What travels through these interfaces between the data plane, the
lifecycle and the control room is a name, a number or a frozen value, so that it can cross a
process.
"""
