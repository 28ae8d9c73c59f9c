"""Weather at a destination of deliveries."""

from typing import Annotated

from fastapi import Path

from service.platform.http.injection import Component
from service.platform.http.openapi import problems
from service.platform.http.public_reads import public_read
from service.platform.http.route import api_router
from service.platform.http.text_validation import RAW_LINE
from service.weather.schemas import Weather
from service.weather.service import WeatherService

router = api_router("/weather", tags=["weather"])


@router.get("/{city}", responses=problems(404))
@public_read()
async def get_weather(
    city: Annotated[str, Path(min_length=1, max_length=100, json_schema_extra={"pattern": RAW_LINE})],
    weather: Annotated[WeatherService, Component],
) -> Weather:
    """Get the weather in a city. `stale` is true while the weather service does not answer."""
    return await weather.at(city)
