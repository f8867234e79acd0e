"""What a turn of the loop came to: one HTML file with its pictures, and the same figures as JSON.

    report(settings, table="library", path=…)    writes the page and gives the figures
    collect(settings, table="library")           reads the stores
    demo_figures(facts)                          the dictionary that `DEMO_JSON` gets

Every figure is read from the stores: the registry, the ledger, the data versions.
"""

from components.report.facts import Facts, collect, demo_figures
from components.report.page import report

__all__ = ["Facts", "collect", "demo_figures", "report"]
