"""Several processes that do the same job: started here, watched here, their words passed on."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import find_free_network_port

from eaves.errors import EavesError, EavesWarning, SettingsError, TrainingError
from eaves.progress import OnProgress, Progress

PATIENCE_S = 10.0  # for processes to end by themselves


def together(job: Callable[..., Any], processes: int, arguments: tuple[Any, ...], on_progress: OnProgress) -> Any:
    """Call ``job(rank, on_progress, *arguments)`` in processes that torch.distributed can join.

    Processes start anew (*spawn*), wherever this one came from: a script, the command line, a notebook. What is told
    to the first one's ``on_progress``, and its warnings of Eaves, arrive in this process.

    Args:
        job: A function of a module; it and the arguments can be pickled.
        processes: How many.
        arguments: Of the job.
        on_progress: Hears what the first process tells.

    Returns:
        What the first process returned.

    Raises:
        SettingsError: The arguments cannot be pickled.
        EavesError: As the job raised it in any of the processes.
        TrainingError: A process ended without a word.
    """
    spawn = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // processes)
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(find_free_network_port())}
    ends, group = [], []
    try:
        for rank in range(processes):
            mine, theirs = spawn.Pipe(duplex=False)
            environment = {**place, "LOCAL_RANK": str(rank), "NODE_RANK": "0"}
            one = spawn.Process(target=_work, args=(theirs, rank, environment, threads, job, arguments))
            try:
                one.start()
            except (AttributeError, TypeError, pickle.PicklingError) as error:
                raise SettingsError(
                    f"chips and callbacks that {processes} processes can be given (fit.processes)",
                    f"some that cannot be pickled: {error}",
                    "define their classes at the top of a module, or set fit.processes = 1",
                ) from None
            theirs.close()
            ends.append(mine)
            group.append(one)
        return _listen(ends, on_progress)
    finally:
        until = time.monotonic() + PATIENCE_S
        for one in group:
            one.join(max(0.0, until - time.monotonic()))
            if one.is_alive():
                one.kill()  # one that waits for the others would not hear a kinder word
                one.join()
        for end in ends:
            end.close()


def _listen(ends: list[Connection], on_progress: OnProgress) -> Any:
    """Pass on what the processes say until all have finished; returns what the first one did."""
    open_ends, results = list(ends), {}
    while open_ends:
        for end in wait(open_ends):
            assert isinstance(end, Connection)
            try:
                kind, what = end.recv()
            except EOFError:
                raise TrainingError(
                    "processes that train to the end",
                    f"one that ended without a word (process {ends.index(end)})",
                    "see whether memory ran out, and lower fit.batch or fit.processes; a script needs "
                    'if __name__ == "__main__" around what it does',
                ) from None
            if kind == "progress":
                on_progress(Progress(*what))
            elif kind == "warning":
                warnings.warn(what, EavesWarning, stacklevel=2)
            elif kind == "failed":
                raise what
            else:
                results[ends.index(end)] = what
                open_ends.remove(end)
    return results[0]


def _work(
    end: Connection,
    rank: int,
    environment: dict[str, str],
    threads: int,
    job: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    """Do the job in this process; only the first one speaks of progress and warnings."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(environment)
    torch.set_num_threads(threads)
    turn = threading.Lock()  # warnings can come from a thread of their own

    def say(kind: str, what: Any) -> None:
        with turn:
            end.send((kind, what))

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if rank == 0 and issubclass(category, EavesWarning):
            say("warning", str(message))

    def tell(progress: Progress) -> None:
        if rank == 0:
            say("progress", tuple(progress))

    warnings.simplefilter("always", EavesWarning)
    warnings.showwarning = show
    try:
        result = job(rank, tell, *arguments)
        say("done", result if rank == 0 else None)
    except EavesError as error:
        say("failed", error)
    except KeyboardInterrupt:
        say("failed", KeyboardInterrupt())
    except BaseException:
        say("failed", RuntimeError(f"in process {rank}:\n{traceback.format_exc()}"))
    finally:
        end.close()


def _end_with_parent() -> None:
    """Leave no process behind when the one that started it is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
