"""From config to work: what to train, analyse and draw. Nothing in this wing imports torch."""
