"""Results read back: what a file is, where two runs differ, where a number comes from. No torch."""
