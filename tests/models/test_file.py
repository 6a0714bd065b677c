from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from eaves.errors import ModelFileError, OutputError
from eaves.models import MODELS, SegmentationNetwork, build, load_model, read_card, save_model
from eaves.settings import ModelSettings


@pytest.fixture(scope="module")
def saved(tmp_path_factory, trained, card) -> Path:
    path = tmp_path_factory.mktemp("models") / "model.safetensors"
    save_model(path, trained, card)
    return path


def rewritten(saved: Path, path: Path, tensors: dict | None = None, **changes) -> Path:
    """A copy of a model file with other tensors, and a card with other values."""
    with safe_open(saved, framework="pt") as file:
        card = json.loads(file.metadata()["eaves_card"])
    save_file(load_file(saved) if tensors is None else tensors, path, {"eaves_card": json.dumps(card | changes)})
    return path


def test_what_was_saved_is_loaded(saved, trained, card):
    network, loaded_card = load_model(saved)
    assert loaded_card == card
    assert (network.mean, network.std) == ((0.4, 0.5, 0.6), (0.2, 0.2, 0.3))
    assert not network.training
    own, theirs = network.state_dict(), trained.state_dict()
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[key], theirs[key]) for key in own)
    image = torch.randn(1, 3, 33, 47)
    with torch.inference_mode():
        assert torch.equal(network(image), trained(image))


@pytest.mark.parametrize("arch", MODELS)
def test_every_architecture_survives_its_file(arch, tmp_path, card):
    recipe = card.recipe.model_copy(update={"model": ModelSettings(arch=arch)})
    card = card.model_copy(update={"recipe": recipe, "classes": ("background", "building", "road")})
    network = build(recipe.model, in_channels=3, classes=3).to(memory_format=torch.channels_last).eval()
    save_model(tmp_path / "m.safetensors", network, card)
    loaded, _ = load_model(tmp_path / "m.safetensors")
    image = torch.rand(1, network.input_channels, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(image), network(image), rtol=1e-4, atol=1e-4)


def test_half_precision_halves_the_file_and_keeps_the_scores(tmp_path, saved, trained, card):
    small = tmp_path / "half.safetensors"
    save_model(small, trained, card, half=True)
    assert small.stat().st_size < 0.55 * saved.stat().st_size
    network, _ = load_model(small)
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    vectors = [value for value in load_file(small).values() if value.ndim == 1]
    assert {value.dtype for value in vectors} == {torch.float32}
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(network(image).sigmoid(), trained(image).sigmoid(), rtol=0, atol=5e-3)


def test_saving_leaves_the_network_alone(tmp_path, trained, card):
    before = {key: value.clone() for key, value in trained.state_dict().items()}
    save_model(tmp_path / "m.safetensors", trained, card, half=True)
    after = trained.state_dict()
    assert all(torch.equal(before[key], after[key]) and before[key].dtype == after[key].dtype for key in before)


def test_loading_leaves_chance_alone(saved):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    load_model(saved)
    assert torch.rand(1) == expected


def test_the_card_alone(saved, card):
    assert read_card(saved) == card


# --- what is not written ----------------------------------------------------------------------------------------------


def test_broken_weights_are_not_saved(tmp_path, card):
    network = build(card.recipe.model, 3, 2)
    with torch.no_grad():
        next(network.parameters())[0, 0, 0, 0] = torch.nan
    with pytest.raises(ModelFileError, match=r"finite weights in a network to save.*NaN.*encoder.features"):
        save_model(tmp_path / "m.safetensors", network, card)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_half_precision_cannot_hold_are_not_saved(tmp_path, card):
    network = build(card.recipe.model, 3, 2)
    with torch.no_grad():
        next(network.parameters())[0, 0, 0, 0] = 1e6
    with pytest.raises(ModelFileError, match="finite"):
        save_model(tmp_path / "m.safetensors", network, card, half=True)


def test_a_card_for_another_network_is_not_saved(tmp_path, trained, card):
    wrong = card.model_copy(update={"classes": ("background", "building", "road")})
    with pytest.raises(ModelFileError, match=r"3 bands and 2 channels.*3 bands and 3 channels"):
        save_model(tmp_path / "m.safetensors", trained, wrong)


def test_places_that_cannot_be(tmp_path, trained, card):
    with pytest.raises(ModelFileError, match=r"\.safetensors.*m\.pth"):
        save_model(tmp_path / "m.pth", trained, card)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        save_model(tmp_path / "file" / "m.safetensors", trained, card)


# --- what is not read -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.pth", "model.pt", "last.ckpt", "model.safetensors"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_are_never_opened(tmp_path, name, zipped):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("boom").write_text, ("",))

    torch.save({"state_dict": Bomb()}, tmp_path / name, _use_new_zipfile_serialization=zipped)
    for read in (load_model, read_card):
        with pytest.raises(ModelFileError, match=r"can run any code.*pickle of PyTorch.*safetensors.torch.save_file"):
            read(tmp_path / name)
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n", b"short", b"\xff" * 64, b"\x08\0\0\0\0\0\0\0{broken}"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="Expected a safetensors file"):
        load_model(path)


def test_a_file_cut_short_is_refused(tmp_path, saved):
    path = tmp_path / "model.safetensors"
    path.write_bytes(saved.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match="Expected a safetensors file"):
        load_model(path)


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(ModelFileError, match="No such file"):
        load_model(tmp_path / "model.safetensors")
    with pytest.raises(ModelFileError, match="directory"):
        load_model(tmp_path)


def test_weights_without_a_card_are_refused(tmp_path, trained):
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(ModelFileError, match=r"no card.*encoder_weights"):
        load_model(tmp_path / "w.safetensors")


@pytest.mark.parametrize("text", ["{", "[]", "null", "{}", "7"])
def test_a_damaged_card_is_refused(tmp_path, text):
    save_file({"x": torch.zeros(1)}, tmp_path / "m.safetensors", {"eaves_card": text})
    with pytest.raises(ModelFileError, match="damaged"):
        read_card(tmp_path / "m.safetensors")


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format_is_refused(tmp_path, saved, version):
    path = rewritten(saved, tmp_path / "m.safetensors", format_version=version, eaves_version="9.9")
    with pytest.raises(ModelFileError, match=r"model format 1.*Eaves 9.9"):
        load_model(path)


def test_a_card_with_unknown_fields_is_refused(tmp_path, saved):
    with pytest.raises(ModelFileError, match="unknown key 'colour'"):
        load_model(rewritten(saved, tmp_path / "m.safetensors", colour="blue"))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"arch": "unet99"}, "an architecture of .*unet"),
        ({"arch": "unet", "options": {"widht": 3}}, "unknown key 'widht'"),
        ({"arch": "unet", "options": {"encoder": "nothing_like_it"}}, "encoder of segmentation-models-pytorch"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(tmp_path, saved, card, model, message):
    recipe = card.recipe.model_dump() | {"model": model}
    with pytest.raises(ModelFileError, match=message):
        load_model(rewritten(saved, tmp_path / "m.safetensors", recipe=recipe))


def test_tensors_that_do_not_fit_are_listed(tmp_path, saved):
    tensors = load_file(saved)
    del tensors["head.0.bias"]
    tensors["head.0.weight"] = torch.zeros(2, 16, 3, 3)
    tensors["stowaway"] = torch.zeros(1)
    with pytest.raises(ModelFileError) as caught:
        load_model(rewritten(saved, tmp_path / "m.safetensors", tensors))
    assert "head.0.bias missing, stowaway unknown" in str(caught.value)
    assert "head.0.weight (2, 16, 3, 3) instead of (1, 16, 3, 3)" in str(caught.value)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, saved, value):
    tensors = load_file(saved)
    tensors["head.0.bias"][0] = value
    with pytest.raises(ModelFileError, match=r"NaN or infinity in 1 tensors, first in head\.0\.bias"):
        load_model(rewritten(saved, tmp_path / "m.safetensors", tensors))


def test_no_warnings_on_the_way(saved):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network, _ = load_model(saved)
    assert isinstance(network, SegmentationNetwork)
