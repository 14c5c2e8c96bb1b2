"""Run it: the command line, settings, wiring, embedded and real servers, simulator and benchmarks."""
