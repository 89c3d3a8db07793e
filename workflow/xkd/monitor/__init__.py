"""Progress and failures of a pipeline, read from what its jobs leave behind."""
