"""Imports: products, customers and past orders from CSV files, as a job or by a command.

Other packages use what is imported here, and nothing else of this one.
"""

from service.imports.loading.csv_reader import Report, UnusableFile
from service.imports.loading.importer import Observer, load
from service.imports.repository import purge as purge_imports

__all__ = ("Observer", "Report", "UnusableFile", "load", "purge_imports")
