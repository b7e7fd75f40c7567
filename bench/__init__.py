"""Snickers beside nginx, HAProxy and Caddy: what each spends of a core on the same work."""
