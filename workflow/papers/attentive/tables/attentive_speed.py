"""How fast explanations are, as a ratio to the target's own inference.

Protocol: one image at a time, everything in turn within each round on one machine; medians of the
rounds; finding the class is part of every entry. Ratios are to be compared with print, frames a
second are not: they are another machine's.
"""

from xkd.report import saliency_tables

if __name__ == "__main__":
    saliency_tables.draw(snakemake, "speed", ["ratio", "fps"])
