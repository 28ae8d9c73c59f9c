"""The weather at a destination, as it crosses the wire."""

from pydantic import ConfigDict, Field

from service.platform.http.schemas import Instant, Out


class Weather(Out):
    """Delivery weather at a destination: the latest known observation."""

    model_config = ConfigDict(allow_inf_nan=False)

    city: str = Field(description="The city's name as the geocoder spells it.", examples=["Berlin"])
    country: str | None = Field(
        description="ISO 3166-1 alpha-2 code of its country; null where the geocoder knows none.",
        examples=["DE"],
    )
    latitude: float = Field(description="Degrees north of the equator (WGS 84).", examples=[52.52437])
    longitude: float = Field(description="Degrees east of Greenwich (WGS 84).", examples=[13.41053])
    temperature_c: float = Field(description="Air temperature at 2 m, in degrees Celsius.", examples=[4.3])
    wind_speed_kmh: float = Field(description="Wind speed at 10 m, in kilometres an hour.", examples=[11.5])
    precipitation_mm: float = Field(
        description="Rain, showers and snow of the preceding interval, in millimetres of water.",
        examples=[0.2],
    )
    condition: str = Field(
        description="The WMO weather code in words; `Unknown` for a code without a meaning.",
        examples=["Slight rain"],
    )
    observed_at: Instant = Field(
        description="The time of the values, in UTC.", examples=["2026-11-22T10:00:00Z"]
    )
    stale: bool = Field(
        default=False,
        description="True while the weather service cannot be reached: the values are the last known ones.",
        examples=[False],
    )
