"""Training: all seeds of a cell in one job, by the fastest backend at hand, resumable."""
