"""Weather at the destinations of deliveries, from an Open-Meteo compatible service."""
