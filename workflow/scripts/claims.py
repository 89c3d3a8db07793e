"""All claims of a paper on one page: what became of each, and every comparison behind it."""

from xkd.report import claims, drawing, tables, verdicts

if __name__ == "__main__":
    with drawing.job(snakemake):
        frames = [claims.read(path) for path in snakemake.input]
        page = verdicts.page(snakemake.params.paper, snakemake.params.shown, frames)
        tables.save(page, snakemake.output)
