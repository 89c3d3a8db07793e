"""Data sets: `sources` reads what their authors publish, `prepare` writes one verified file of it,
`dataset` maps that file into memory, and `stream` draws augmented training batches from it."""

DATA, MANIFEST = "data.safetensors", "manifest.json"  # what `prepare` writes
