"""`python -m ops.bench`: how fast the engine is on this machine, on both ways to run, next to bare floors."""
