"""The harness of `make bench`: workers of each system, rounds in turn, and what is printed of them."""
