"""Benchmarks: `make bench` runs them all. They report and fail nothing; timings on a shared machine are noisy."""
