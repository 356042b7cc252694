"""Tests of the sans-IO core: one file per module, no sleeps, no mocks."""
