"""A synthetic city with exact truth: roofs of many kinds, streets, trees, shadows, and labels with known faults."""

from eaves.synth.noise import noisy_labels
from eaves.synth.plan import City, plan_city
from eaves.synth.render import render, render_strips

__all__ = ["City", "noisy_labels", "plan_city", "render", "render_strips"]
