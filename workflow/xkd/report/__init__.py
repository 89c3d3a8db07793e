"""From manifests to tables and figures, the published number beside ours."""
