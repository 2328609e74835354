"""Requests answered by way of the store: what was ever answered costs nothing again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm

from evalkit.errors import ModelError
from evalkit.home import home
from evalkit.models.base import Engine, Prepared
from evalkit.records import Completion
from evalkit.store.completions import CompletionStore
from evalkit.store.shelf import Shelf


def answer(
    engine: Engine, prepared: Sequence[Prepared], *, title: str, quiet: bool = False
) -> list[Completion]:
    """The completions of what was prepared, in its order, with a progress bar on stderr.

    Raises ModelError if any has no answer: lm-eval has no place for a missing one. All others
    are stored by then.
    """
    work = {one.key: one for one in prepared}
    failed: dict[str, Completion] = {}
    with CompletionStore(home() / "completions.sqlite") as store:
        known = store.known(work)
        with (
            Shelf(store) as shelf,
            tqdm(total=len(work), initial=len(known), desc=title, disable=quiet) as bar,
        ):
            # All is cut, stored or not: the same batches as without a store.
            for batch in engine.batches(list(work.values())) if len(known) < len(work) else ():
                for completion in engine.complete(batch.without(known)):
                    if completion.error:
                        failed[completion.key] = completion
                    else:
                        shelf.put(completion)
                    bar.update()
                shelf.keep()
        _refuse(failed, work)
        found = store.get_all(work)
    return [found[one.key] for one in prepared]


def _refuse(failed: Mapping[str, Completion], work: Mapping[str, Prepared]) -> None:
    if not failed:
        return
    key, first = next(iter(failed.items()))
    request: Any = work[key].request
    raise ModelError(
        f"{len(failed)} of {len(work)} requests have no answer, and lm-eval has no place for that. "
        f"The first, of task {request.suite}, document {request.sample_id}: {first.error}."
    )
