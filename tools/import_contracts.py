"""A kind of contract for import-linter: other packages use a package by its `__init__` alone."""

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class ExportsContract(Contract):
    """`packages` are used from outside by what they export; `open` are the modules that others may read.

    `importers` build or start the whole, and may import anything.
    """

    type_name = "exports"

    packages = fields.ListField(subfield=fields.StringField())
    open = fields.ListField(subfield=fields.StringField(), required=False, default=[])
    importers = fields.ListField(subfield=fields.StringField(), required=False, default=[])

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002 - import-linter calls it so
        found = [
            f"{importer} -> {inside}"
            for package in self.packages
            for inside in sorted(graph.find_descendants(package))
            if inside.rpartition(".")[2] not in self.open
            for importer in sorted(graph.find_modules_that_directly_import(inside))
            if not _within(importer, [package, *self.importers])
        ]
        return ContractCheck(kept=not found, metadata={"found": found})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for line in check.metadata["found"]:
            output.print_error(f"{line}: import it from the package, whose __init__ exports it.")


def _within(module: str, packages: list[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)
