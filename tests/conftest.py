"""Fixtures that every part's tests may use."""

pytest_plugins = ["bursar_testing.controlplane", "bursar_testing.postgres", "bursar_testing.slurm"]
