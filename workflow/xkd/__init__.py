"""XKD: knowledge distillation that explains itself, measured again from the data up."""

__version__ = "0.1.0"
