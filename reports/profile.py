"""Where the time of an evaluation went, and how close it came to what the machine can do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from evalkit.records import Manifest
from reports.console import labelled, open_console
from reports.wording import UNKNOWN, one_line

# The stages in their order, and the measure that counts the tokens each of them handles.
STAGES: Mapping[str, str] = {
    "load": "",
    "tokenise": "tokens_asked",
    "plan": "",
    "prefill": "tokens_prefilled",
    "score": "tokens_scored",
    "decode": "tokens_generated",
    "store": "",
}
# Taken when an arm is done, so later for each arm of an engine: the largest is the engine's.
_GROWING = ("seconds", "peak_memory_bytes")
_IN_THE_NETWORK = ("prefill", "score", "decode")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One part of the work; None where it was not measured or counts no tokens."""

    stage: str
    seconds: float | None
    tokens: float | None

    @property
    def tokens_per_second(self) -> float | None:
        """None also where nothing was done, which has no speed."""
        return self.tokens / self.seconds if self.tokens and self.seconds else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What one engine's work cost, all its arms together.

    `floor_seconds` is what computing every token that nothing shares once would take at the
    measured peak of the machine's matrix product; `floor_share` is that over the time spent
    reading (prefill and score). Generating is not in them: with few texts it is bound by memory.
    """

    arms: tuple[str, ...]
    seconds: float | None
    stages: tuple[Stage, ...]
    measures: Mapping[str, float]

    def measure(self, name: str) -> float | None:
        """A measure of the manifest; None where it was not taken."""
        return self.measures.get(name)

    def stage(self, name: str) -> Stage:
        """The stage of that name."""
        return next(one for one in self.stages if one.stage == name)

    @property
    def reading_seconds(self) -> float | None:
        """Time in the network for tokens that were there already; None where not measured."""
        times = [self.stage("prefill").seconds, self.stage("score").seconds]
        known = [time for time in times if time is not None]
        return sum(known) if known else None

    @property
    def flop_per_second(self) -> float | None:
        """What was achieved while reading."""
        return _over(self.measure("flop_done"), self.reading_seconds)

    @property
    def floor_seconds(self) -> float | None:
        """See the class."""
        return _over(self.measure("flop_unique"), self.measure("peak_flop_per_second"))

    @property
    def floor_share(self) -> float | None:
        """See the class."""
        return _over(self.floor_seconds, self.reading_seconds)


def _over(part: float | None, whole: float | None) -> float | None:
    return part / whole if part and whole else None


def profiles(manifests: Sequence[Manifest]) -> list[Profile]:
    """One for each engine: arms that were computed together carry the same measures."""
    groups: list[tuple[dict[str, float], list[Manifest]]] = []
    for manifest in manifests:
        shared = {key: v for key, v in manifest.measures.items() if key not in _GROWING}
        mine = next((group for known, group in groups if known == shared), None)
        if mine is None:
            groups.append((shared, [manifest]))
        else:
            mine.append(manifest)
    return [_profile(shared, group) for shared, group in groups]


def _profile(measures: Mapping[str, float], group: Sequence[Manifest]) -> Profile:
    grown = {
        key: max(found)
        for key in _GROWING
        if (found := [one.measures[key] for one in group if key in one.measures])
    }
    return Profile(
        arms=tuple(one.name for one in group),
        seconds=grown.get("seconds"),
        stages=tuple(
            Stage(
                stage=name,
                seconds=measures.get(f"{name}_seconds"),
                tokens=measures.get(counted) if counted else None,
            )
            for name, counted in STAGES.items()
        ),
        measures={**measures, **grown},
    )


def profile_rows(manifests: Sequence[Manifest]) -> list[dict[str, Any]]:
    """The profiles as JSON holds them; what was not measured is null."""
    return [
        {
            "arms": list(one.arms),
            "seconds": one.seconds,
            "stages": [
                {**asdict(stage), "tokens_per_second": stage.tokens_per_second}
                for stage in one.stages
            ],
            **{name: one.measure(name) for name in _MEASURES},
            "flop_per_second": one.flop_per_second,
            "floor_seconds": one.floor_seconds,
            "floor_share": one.floor_share,
        }
        for one in profiles(manifests)
    ]


_MEASURES = (
    "tokens_asked", "tokens_unique", "packets", "flop_done", "flop_unique",
    "peak_flop_per_second", "peak_memory_bytes", "weights_bytes",
)  # fmt: skip


def print_profile(manifests: Sequence[Manifest], console: Console | None = None) -> None:
    """A table of stages for each engine, and a sentence on how close it came to the floor."""
    console = console or open_console()
    for one in profiles(manifests):
        console.print()
        console.print(Text(f"Where the time went: {one_line(', '.join(one.arms))}", style="bold"))
        if all(stage.seconds is None for stage in one.stages):
            console.print("Nothing was measured: this kind of model is not computed here.")
            continue
        console.print(_table(one))
        if all(one.stage(name).seconds is None for name in _IN_THE_NETWORK):
            console.print("The answers came from elsewhere: no model was computed here.")
        else:
            console.print(_facts(one))


def _table(one: Profile) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim",
        show_footer=True,
    )  # fmt: skip
    table.add_column("stage", "total")
    table.add_column("seconds", _amount(one.seconds, 2), justify="right", no_wrap=True)
    table.add_column("tokens", justify="right", no_wrap=True)
    table.add_column("tokens/s", justify="right", no_wrap=True)
    for stage in one.stages:
        table.add_row(
            stage.stage,
            _amount(stage.seconds, 2),
            _amount(stage.tokens) if STAGES[stage.stage] else "",
            _amount(stage.tokens_per_second) if STAGES[stage.stage] else "",
        )
    return table


def _facts(one: Profile) -> RenderableType:
    return Group(*(labelled(label, text) for label, text in _lines(one)))


def _lines(one: Profile) -> Iterator[tuple[str, str]]:
    asked, unique = one.measure("tokens_asked"), one.measure("tokens_unique")
    if asked and unique:
        packets = one.measure("packets")
        cut = f", in {packets:,.0f} packets" if packets else ""
        yield "Tokens", f"{asked:,.0f} asked, {unique:,.0f} unique{cut}"
    yield "Achieved", _rate(one.flop_per_second, " while reading")
    yield "Peak", _rate(one.measure("peak_flop_per_second"), ", a matrix product measured here")
    yield "Floor", floor_text(one)
    memory, weights = one.measure("peak_memory_bytes"), one.measure("weights_bytes")
    yield "Memory", f"{_gibibytes(memory)} at most; the weights are {_gibibytes(weights)}"


def floor_text(one: Profile) -> str:
    """How close the work came to what this machine could do at best, in one sentence."""
    counted = [one.stage(name).tokens for name in _IN_THE_NETWORK]
    if None not in counted and not any(counted):
        return "Nothing was computed: every answer was stored already."
    share, floor, spent = one.floor_share, one.floor_seconds, one.reading_seconds
    if share is None or floor is None or spent is None:
        return "How close this came to the machine's limit is not known: something is not measured."
    text = (
        f"Reading took {_amount(spent, 2)} s, and at the peak the unique tokens alone would need "
        f"{_amount(floor, 2)} s: {share:.0%} of the floor was reached"
    )
    if one.stage("decode").tokens or one.stage("decode").seconds:
        return f"{text}, for the reading part only; generating few texts is bound by memory."
    return f"{text}."


def _amount(value: float | None, digits: int = 0) -> str:
    return UNKNOWN if value is None else f"{value:,.{digits}f}"


def _gibibytes(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value / 2**30:.2f} GiB"


def _rate(value: float | None, remark: str) -> str:
    """Floating point operations a second, in the unit that suits."""
    if value is None:
        return UNKNOWN
    unit, size = ("TFLOP/s", 1e12) if value >= 1e12 else ("GFLOP/s", 1e9)
    return f"{value / size:,.1f} {unit}{remark}"
