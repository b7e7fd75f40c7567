"""The broker: a process that alone may ask Docker, and the words between it and the front."""
