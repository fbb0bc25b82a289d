"""Writes the reference pages that need every part: settings, command line, REST API, metrics, samples, what is not built."""
