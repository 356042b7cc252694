"""Tests of nano applications and their buses."""
