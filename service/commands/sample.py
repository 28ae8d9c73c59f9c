from rich.console import Console
from service.config import Settings
from service.database import Database
async def load(database: Database, settings: Settings, console: Console) -> None:
    pass
