"""Certificates from an authority on the network: ordered, proven, renewed, by themselves."""
