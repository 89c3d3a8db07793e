"""Insertion and deletion of every explanation of the target, controls among them.

Protocol: randomly drawn test images that neither target nor surrogate has seen; the class that the
target predicts; scores are the target's. Areas under the curves by the trapezoidal rule, first
over images, then over seeds. Insertion starts at the blurred image, deletion ends at the mean
colour; step and blur as configured. Deletion favours whatever scatters its pixels: read it beside
the random row.
"""

from xkd.report import saliency_tables

if __name__ == "__main__":
    measures = ["insertion", "deletion", "pointing", "average_drop", "average_increase"]
    saliency_tables.draw(snakemake, "saliency", measures)
