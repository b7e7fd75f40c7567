"""HTTP: messages, fronts, upstreams and the kinds of site that answer."""
