"""The command `tradepost import`: products, customers and past orders from CSV files."""

from service.cli.import_csv.csv_reader import Report, UnusableFile
from service.cli.import_csv.importer import load, run, show

__all__ = ["Report", "UnusableFile", "load", "run", "show"]
