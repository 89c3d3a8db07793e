"""What the claims about a table or figure come to here: differences of paired seeds.

Protocol: test split, last epoch; see `xkd.report.claims`.
"""

from pathlib import Path

from xkd.files import write_text
from xkd.report import claims, drawing, results

if __name__ == "__main__":
    with drawing.job(snakemake):
        item = snakemake.params.item
        runs = results.read_cells(snakemake.input.cells, item)
        printed = snakemake.input.get("published")
        judged = claims.judge(runs, item, printed and Path(printed), snakemake.input)
        write_text(snakemake.output[0], judged.to_csv(index=False))
