"""The TLS front: the ClientHello, listening ports and transports, certificates."""
