"""The sample business: Northwind's products, customers and past orders. Its passwords are published."""

from pathlib import Path
from typing import Final

#: The same for every sample account. Production refuses SAMPLE.
PASSWORD: Final = "Northwind1"  # noqa: S105
ADMINISTRATOR: Final = "admin@northwind.example"
FOLDER: Final = Path(__file__).parents[2] / "sample"
