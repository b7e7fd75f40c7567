"""Personal servers' lives: the state machine, the engines, the service that obeys it."""
