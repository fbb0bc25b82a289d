"""Arithmetic and wire forms that operator, gateway, webhook and agent share: integers only, no clock, no I/O."""
