"""Gate.

Protocol: none."""
