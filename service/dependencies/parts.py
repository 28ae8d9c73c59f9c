"""What a process is made of, put together once by main and handed to dependencies."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from service.changes import ChangeFeed
from service.config import Settings
from service.database import Database
from service.edge.openapi import Contract
from service.pagination import Cursors
from service.security import AccessTokens, Passwords
from service.services.access import Access
from service.services.weather import WeatherService


@dataclass(frozen=True)
class Parts:
    settings: Settings
    database: Database
    feed: ChangeFeed
    access: Access
    tokens: AccessTokens
    passwords: Passwords
    cursors: Cursors
    contract: Contract
    weather: WeatherService


def get_parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


def get_settings(request: Request) -> Settings:
    settings: Settings = request.app.state.parts.settings
    return settings


PartsDep = Annotated[Parts, Depends(get_parts)]
SettingsDep = Annotated[Settings, Depends(get_settings)]
