"""Observations for the rules of HealthCheck, made of the probe's measurements and facts of the model."""
