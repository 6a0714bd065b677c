"""Lightning's trainer as Eaves uses it: which device, which precision, quiet, and deaf to nobody's Ctrl-C."""

from __future__ import annotations

import logging
import random
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy

from eaves.errors import SettingsError, TrainingError
from eaves.models import Network
from eaves.settings import FitSettings
from eaves.train.loading import ChipData
from eaves.train.task import Task


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch; chips are seeded apart, by epoch and index."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - libraries that draw from NumPy's global state
    torch.manual_seed(seed)


def choose_precision(wanted: str, network: Network) -> Any:
    """Return Lightning's name of the precision.

    ``auto`` takes bf16 on hardware that computes it in silicon: GPUs from compute capability 8, and CPUs with AMX or
    AVX512-BF16 unless the network has depthwise convolutions, whose gradients are slower in bf16 there. A CPU that
    emulates bf16 was measured to be 400 times slower than in fp32, so that asking for it there is refused.

    Raises:
        SettingsError: bf16 is asked for where it is emulated.
    """
    if torch.cuda.is_available():
        in_silicon = torch.cuda.get_device_capability() >= (8, 0)
    else:
        able = torch.cpu.get_capabilities()
        in_silicon = bool(able.get("amx_bf16") or able.get("avx512_bf16") or able.get("bf16"))
    if wanted == "bf16" and not in_silicon:
        raise SettingsError("hardware that computes bf16", "hardware that emulates it", "use fit.precision = 'auto'")
    separable = any(isinstance(m, torch.nn.Conv2d) and m.groups == m.in_channels > 1 for m in network.modules())
    pays = in_silicon and (torch.cuda.is_available() or not separable)
    return "bf16-mixed" if wanted == "bf16" or (wanted == "auto" and pays) else "32-true"


def make_trainer(fit: FitSettings, network: Network, **settings: Any) -> L.Trainer:
    """Return a trainer for a recipe's device, precision, accumulation and clipping.

    Raises:
        SettingsError: The precision is not to be had here.
    """
    if fit.processes > 1:
        settings |= _several(fit)
    with _hushed():
        return L.Trainer(
            reload_dataloaders_every_n_epochs=1,
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=10,
            precision=choose_precision(fit.precision, network),
            accumulate_grad_batches=fit.accumulate,
            gradient_clip_val=fit.clip_norm or None,
            **{"devices": 1, **settings},
        )


def run_trainer(trainer: L.Trainer, task: Task, data: ChipData, checkpoint: str | None = None) -> None:
    """Train, without Lightning's advice to its own users.

    Raises:
        TrainingError: The resume point cannot be used.
    """
    with warnings.catch_warnings(), _hushed():
        # Lightning's advice on worker counts and logging intervals is for its own users, not for ours.
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=r".*does not have many workers|.*logging interval")
        try:
            trainer.fit(task, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        except SystemExit:
            # Lightning turns Ctrl-C into an exit and deafens the process to further ones; give both back.
            if not trainer.interrupted:
                raise
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt from None
        except (KeyError, RuntimeError) as error:
            if checkpoint is None or ("size mismatch" not in str(error) and "Missing key" not in str(error)):
                raise
            raise TrainingError(
                f"a resume point of this recipe in {checkpoint}",
                str(error).splitlines()[0],
                "resume with the recipe that began the run, or start in a new folder",
            ) from None


def _several(fit: FitSettings) -> dict[str, Any]:
    """Settings of a process that trains together with others, which somebody else has started."""
    on_gpus = torch.cuda.is_available()
    strategy = DDPStrategy(
        cluster_environment=LightningEnvironment(),
        process_group_backend="nccl" if on_gpus else "gloo",
        # Statistics are shared once an epoch, before it is judged: the processes judge different numbers of batches.
        broadcast_buffers=False,
    )
    return {
        "strategy": strategy,
        "accelerator": "gpu" if on_gpus else "cpu",
        "devices": fit.processes,
        "use_distributed_sampler": False,
        "sync_batchnorm": on_gpus,
    }


@contextmanager
def _hushed() -> Iterator[None]:
    """Lightning only speaks up for warnings."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
