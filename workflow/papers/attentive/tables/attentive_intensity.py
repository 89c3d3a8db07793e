"""Mean pixel intensity of the maps: how much of the image an explanation points at.

Protocol: maps of randomly drawn test images, each scaled to [0, 1] by its own extremes; a constant
map counts as 1. Below, the maps as they are: of the explanation network E in (0, 1), of the others
in units of their own.
"""

from xkd.report import saliency_tables

if __name__ == "__main__":
    saliency_tables.draw(snakemake, "saliency", ["intensity", "raw_intensity"])
