"""The fused step equals the library's, forward and backward."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from eaves.models.fused import FusedUpdate, run_update


def plain(u, drive, kernel, weight):
    return torch.einsum("h,nhij->nij", weight, torch.relu(F.conv2d(u[:, None], kernel[:, None], padding=2) + drive))


def case(n=2, hidden=5, height=9, width=13, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((n, height, width), (n, hidden, height, width), (hidden, 5, 5), (hidden,))
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


@given(n=st.integers(1, 3), hidden=st.integers(1, 9), height=st.integers(1, 20), width=st.integers(1, 20))
def test_it_is_the_librarys(n, hidden, height, width):
    inputs = case(n, hidden, height, width, seed=n + 31 * height)
    expected, found = plain(*inputs), FusedUpdate.apply(*inputs)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        assert torch.equal(run_update(*inputs), found)  # type: ignore[arg-type]
    given_back = torch.randn_like(expected)
    for one, other in zip(
        torch.autograd.grad(found, inputs, given_back),  # type: ignore[arg-type]
        torch.autograd.grad(expected, inputs, given_back),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_nothing(threads):
    before, inputs = torch.get_num_threads(), case()
    one = run_update(*inputs)
    gradients = torch.autograd.grad(FusedUpdate.apply(*inputs).sum(), inputs)  # type: ignore[union-attr]
    try:
        torch.set_num_threads(threads)
        assert torch.equal(run_update(*inputs), one)
        again = torch.autograd.grad(FusedUpdate.apply(*inputs).sum(), inputs)  # type: ignore[union-attr]
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(gradients, again, strict=True))


def test_views_and_other_memory_formats_are_taken():
    u, drive, kernel, weight = (part.detach() for part in case(hidden=4))
    stacked = torch.stack((u, u + 1), 1).contiguous(memory_format=torch.channels_last)
    shuffled = drive.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(run_update(stacked[:, 1], shuffled, kernel, weight), plain(u + 1, drive, kernel, weight))
