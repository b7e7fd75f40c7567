"""Who is on duty: of two teams on the same sockets only one acts on servers and certificates.

Both answer visitors as long as they have connections. What only one may do (start and stop
servers, make copies, order certificates, listen at the control socket) is duty: it is held with
``STATE/duty.lock``, passes by signals, and is let go of by whoever dies. The one that is not on
duty has its leases of the one that is, as a worker has them of its first process.
"""
