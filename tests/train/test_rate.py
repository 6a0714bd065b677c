"""The rate that is suggested lies where the loss falls."""

import math

import numpy as np
import pytest

from eaves.errors import SettingsError, TrainingError
from eaves.train import find_rate, fit
from eaves.train.rate import _steepest


def test_the_suggestion_trains(recipe, squares, tmp_path):
    seen = []
    curve = find_rate(recipe("fit.ema=0.9", "fit.accumulate=2"), squares(), on_progress=seen.append, steps=60)
    assert len(curve.rates) == len(curve.losses) == len(curve.smooth) == len(seen) > 30
    assert curve.rates[0] == 1e-6
    np.testing.assert_allclose(curve.rates[1:] / curve.rates[:-1], 10 ** (6 / 59))
    assert 1e-5 < curve.suggestion < 0.1
    run = fit(recipe(f"fit.learning_rate={curve.suggestion}", "fit.epochs=4"), squares(), tmp_path)
    assert run.curves[-1]["train_loss"] < 0.8 * run.curves[0]["train_loss"]


def test_it_ends_where_the_loss_breaks(recipe, squares):
    # Without normalisation and clipping a rate of 1000 breaks any network.
    broken = recipe("model.options={widths='narrow'}", "fit.clip_norm=0", "fit.optimizer='sgd'", "fit.rollbacks=0")
    curve = find_rate(broken, squares(), highest=1e3, lowest=1e-4, steps=80)
    assert len(curve.rates) < 80
    assert np.isfinite(curve.losses).all()


def test_the_steepest_fall_on_the_way_to_the_least():
    rates = np.geomspace(1e-6, 1, 61)
    smooth = 1 / (1 + np.exp(3 * np.log10(rates / 1e-3))) + np.where(rates > 0.05, 20 * rates, 0)
    assert abs(math.log10(_steepest(rates, smooth) / 1e-3)) < 0.11
    with pytest.raises(TrainingError, match="falls at some rate"):
        _steepest(rates, np.linspace(1, 2, 61))


@pytest.mark.parametrize(("lowest", "highest", "steps"), [(0, 1, 50), (1, 0.1, 50), (1e-6, 1, 5)])
def test_a_ramp_that_is_none(recipe, squares, lowest, highest, steps):
    with pytest.raises(SettingsError, match="rates that rise"):
        find_rate(recipe(), squares(), lowest=lowest, highest=highest, steps=steps)
