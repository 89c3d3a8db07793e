"""What predictions say beyond accuracy: numpy in, numbers out; no torch, no files."""
