"""Rules of HealthCheck: numbers of due steps in, findings out. Knows neither torch nor Lightning."""
