"""Benchmarks: `make bench` runs them all. They report and never fail a test run; timings on a shared machine are noisy."""
