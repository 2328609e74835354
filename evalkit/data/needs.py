"""What a run needs that a hub keeps, and the command that fetches it elsewhere."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from evalkit.data.arrive import Kind
from evalkit.data.places import HubName

BUNDLE = "evalkit-data"
"""The folder that the commands we print fetch into; it is brought over and named a data root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """A model, or some splits of one configuration of a data set (no splits: all of them).

    `files` is a pattern of file names instead, for data sets that have no splits; `layout_only`
    is to know what a data set has, and none of it yet.
    """

    kind: Kind
    name: HubName
    revision: str | None = None
    config: str | None = None
    splits: tuple[str, ...] = ()
    files: str | None = None
    layout_only: bool = False

    def __str__(self) -> str:
        parts = [f"{'data set' if self.kind == 'dataset' else 'model'} {self.name}"]
        if self.revision is not None:
            parts.append(f"revision {self.revision}")
        if self.config is not None:
            parts.append(f"configuration {self.config}")
        if self.splits:
            parts.append(f"split{'s' * (len(self.splits) > 1)} {', '.join(self.splits)}")
        if self.files is not None:
            parts.append(f"files {self.files}")
        return ", ".join(parts)

    @property
    def folder(self) -> str:
        """Where it lies in a data root."""
        return self.name.name + at_revision(self.revision)

    def command(self, to: str = BUNDLE) -> str:
        """The command that fetches it into the folder `to`, on a machine with a network."""
        words = ["evalkit", "fetch", str(self.name)]
        if self.kind == "dataset":
            words.append("--data")
        for option, value in (
            ("--revision", self.revision),
            ("--config", self.config),
            ("--split", ",".join(self.splits) or None),
            ("--files", self.files),
        ):
            words += [option, value] if value is not None else []
        return shlex.join([*words, "--to", to])


def at_revision(revision: str | None) -> str:
    """What a folder's name ends with that holds this revision.

    The hub's own conversions (refs/convert/parquet) are the data set in another format.
    """
    if revision is None or revision.startswith("refs/convert/"):
        return ""
    return "@" + revision.replace("/", "--")


def missing_text(needs: list[Need] | tuple[Need, ...], why: str) -> str:
    """A message that names what is missing, and how it is brought here."""
    lines = [f"{why}:", *(f"  - {need}" for need in needs)]
    lines += ["On a machine that reaches the hub, run", *(f"  {need.command()}" for need in needs)]
    lines.append(f"then bring the folder {BUNDLE} here and name it: --data-root {BUNDLE}")
    return "\n".join(lines)
