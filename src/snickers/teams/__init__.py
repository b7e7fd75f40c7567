"""Blue and red: the keeper of the listening sockets, and the two teams that take turns at them.

The keeper is small and stays up for years: it runs teams of any version, so it knows of them only
what their signals and messages say (docs/architecture.md, "Two teams"), and of the configuration
only what is said in ``[snickers]`` about addresses, the state folder and alarms.
"""
