"""Does every node reach the place where trials keep their files? Asked before anything starts."""

import os
import secrets
import socket
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from study.plan import Plan, PlanError
from study.secrets import masked
from study.storage import Storage

Ask = Callable[[Callable[[], str | None]], Mapping[str, str]]


def check_storage(plan: Plan, created: str | None) -> Storage | None:
    """Return the storage of a study, tried from here: written, read, removed. Raises `PlanError` if it does not work.

    Also if another study has its name there. `created` is when this one began, None: it is new.
    """
    storage = plan.kept
    if storage is None:
        return None
    try:
        there = storage.read("study.json")
        storage.write("reach", b"reached")
        storage.delete("reach")
    except (OSError, ValueError, NotImplementedError, ImportError) as error:
        raise PlanError(
            f"--storage is {plan.storage}, but no file can be kept there: {_first_line(error)}. It must be a folder on "
            f"a file system that pyarrow knows, such as s3://BUCKET/FOLDER, with its keys in the environment."
        ) from error
    if there is not None and (created is None or created.encode() not in there):
        remedy = "Give another --storage" if created else "Resume that one, or give this one another --name"
        raise PlanError(f"--storage is {plan.storage}, where there is a study called {storage.folder}. {remedy}.")
    return storage


def check_nodes(plan: Plan, storage: Storage | None, ask: Ask) -> None:
    """Raise `PlanError` with the names of the nodes that do not reach the study's files. `ask` asks each node."""
    token = secrets.token_hex(8)
    if storage is not None:
        storage.write("reach", token.encode())
        problems = ask(partial(_misses_storage, storage, token))
        storage.delete("reach")
        rule = "must be reached by every node; what they need, such as its keys, is set where Ray is started on them"
        place = f"--storage {plan.storage}"
    else:
        runs = plan.runs.absolute()
        runs.mkdir(parents=True, exist_ok=True)
        mark = runs / f".reach-{token}"
        mark.write_text(token)
        problems = ask(partial(_misses_folder, mark, token))
        mark.unlink()
        rule = (
            "must be one folder that every node sees under this path and can write to, since trials keep their "
            "checkpoints there. Give --runs a folder that they share, or --storage, such as s3://BUCKET/FOLDER"
        )
        place = f"--runs {runs}"
    if problems:
        listed = "; ".join(f"{node}: {problem}" for node, problem in sorted(problems.items()))
        raise PlanError(f"{place} is not reached by {len(problems)} of the nodes ({listed}). It {rule}.")


def _misses_folder(mark: Path, token: str) -> str | None:
    try:
        if mark.read_text() != token:
            return "another folder has this path"
        own = mark.with_name(f"{mark.name}-{socket.gethostname()}-{os.getpid()}")
        own.write_text(token)
        own.unlink()
    except FileNotFoundError:
        return "it does not see that folder"
    except OSError as error:
        return _first_line(error)
    return None


def _misses_storage(storage: Storage, token: str) -> str | None:
    try:
        content = storage.read("reach")
    except (OSError, ValueError, ImportError) as error:
        return _first_line(error)
    return None if content == token.encode() else "it sees another content"


def _first_line(error: Exception) -> str:
    return masked((str(error).strip().splitlines() or [type(error).__name__])[0])
