"""The deterministic network: everything from one seed, in virtual time."""
