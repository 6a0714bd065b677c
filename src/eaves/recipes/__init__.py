"""Recipes that come with Eaves: one TOML for each system and preset."""
