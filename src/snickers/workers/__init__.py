"""More than one process for the data plane: what the first one and its workers say to each other.

The first process is in charge of the configuration, of personal servers, of alarms and of the
control socket; a worker takes connections from the same listening sockets and asks it for leases.
They speak AMP over a pair of sockets. What a worker says is never trusted with more than that: it
faces the network, so nothing it sends may be code, a path or a command.
"""
