"""Side-by-side benchmarks, each against a peer in the same run: `make bench` or `python -m benchmarks`."""
