"""What runs say of themselves: cards, locks, checkpoints."""
