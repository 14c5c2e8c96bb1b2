"""The real servers on loopback, for development, tests and measurements: `python -m ops.stack up|down|status`."""
