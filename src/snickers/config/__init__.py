"""The configuration: INI text to immutable values, and the difference of two of them. Pure."""
