"""Packages of others that give verdicts, each with its documented defaults; none is a dependency."""
