"""Side-by-side benchmarks, each against a peer in the same run. Run with `make bench` or `python -m benchmarks`."""
