"""What predictions and explanations say beyond accuracy: arrays in, numbers out; no files.

Measures of explanations work on torch tensors, the others on numpy without importing torch.
"""
