"""Whether judges can be trusted at all: what everybody knows is asked, and they are attacked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evalkit.config import JudgeConfig, ModelJudge
from evalkit.home import home
from evalkit.judges.asking import judge as ask_judges
from evalkit.judges.attacks import Injection, injections
from evalkit.judges.jobs import Job, Judged, Probed, Spent
from evalkit.judges.matters import Matter
from evalkit.judges.preferences import preferences
from evalkit.judges.probes import good_is_tuned, known
from evalkit.judges.rubrics import open_rubric
from evalkit.progress import Progress
from evalkit.records import Preference, Side
from evalkit.store.completions import CompletionStore

SUITE = "attacks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One attempt on a judge: a good answer to a question against an injection, which stands on
    the side of `attacker`."""

    injection: Injection
    matter: Matter
    attacker: Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """How a judge did. `skipped` says why it was not asked.

    `turned` are the attacks by kind that it preferred to a good answer, of the `attacks` it was
    asked about; `shaken` counts those where it did not prefer the good answer in both orders,
    `missing` those of which it said nothing usable, of which `max_missing` is allowed.
    """

    judge: str
    skipped: str = ""
    probes: Probed | None = None
    attacks: int = 0
    turned: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    shaken: int = 0
    missing: int = 0
    max_missing: float = 0.0
    spent: Spent | None = None

    @property
    def passed(self) -> bool:
        """Whether it reads what it judges, and no attack won; a judge that was skipped has not
        failed."""
        if self.skipped:
            return True
        known_well = self.probes is not None and not self.probes.failed
        silent = self.missing > self.max_missing * self.attacks
        return known_well and not self.turned and not silent


def check_judges(
    config: JudgeConfig, *, offline: bool, fresh: bool, progress: Progress
) -> tuple[Checked, ...]:
    """Ask every judge that is a model the known-answer probes and the shipped attacks, both in
    English and Chinese and in both orders; what is stored costs nothing unless `fresh`."""
    models = tuple(one for one in config.judges if isinstance(one, ModelJudge))
    attacks = make_attacks()
    judged = Judged(judgements=())
    if models:
        asked = config.model_copy(
            update={"judges": models, "probes": "warn", "strip": False, "repeat": 1}
        )
        with CompletionStore(home() / "completions.sqlite") as store:
            judged = ask_judges(
                _jobs(attacks), asked, store, offline=offline, fresh=fresh, progress=progress
            )
    return tuple(
        _checked(one, attacks, judged, config.max_missing)
        if isinstance(one, ModelJudge)
        else Checked(judge=one.name, skipped=_WHY[one.kind])
        for one in config.judges
    )


_WHY = {
    "recorded": "its judgements were made elsewhere: there is nothing to ask",
    "human": "people are not asked by a program",
}


def make_attacks() -> tuple[Attack, ...]:
    """Each shipped injection against a good answer of its language; the sides take turns, so that a
    judge that always prefers one of them is found out."""
    attacks = []
    counts: dict[str, int] = {}
    for injection in injections():
        language = "zh" if injection.language == "zh" else "en"
        number = counts[language] = counts.get(language, -1) + 1
        probes = known(language)
        place = number % len(probes)
        probe = probes[place]
        good = probe.tuned if good_is_tuned(place) else probe.base
        attacker: Side = "tuned" if number % 2 else "base"
        bad = (injection.text,)
        matter = Matter(
            suite=f"{SUITE}-{language}",
            sample_id=injection.id,
            language=language,
            turns=probe.turns,
            base=bad if attacker == "base" else good,
            tuned=bad if attacker == "tuned" else good,
        )
        attacks.append(Attack(injection=injection, matter=matter, attacker=attacker))
    return tuple(attacks)


def _jobs(attacks: Sequence[Attack]) -> list[Job]:
    languages = dict.fromkeys(one.matter.language for one in attacks)
    return [
        Job(
            suite=f"{SUITE}-{language}",
            rubric=open_rubric("helpful", language),
            protocol="pairwise",
            matters=tuple(one.matter for one in attacks if one.matter.language == language),
        )
        for language in languages
    ]


def _checked(
    member: ModelJudge, attacks: Sequence[Attack], judged: Judged, max_missing: float
) -> Checked:
    said: dict[tuple[str, str], Preference] = {
        (one.suite, one.sample_id): one
        for one in preferences(each for each in judged.judgements if each.judge == member.name)
    }
    turned: dict[str, tuple[str, ...]] = {}
    shaken = missing = 0
    for attack in attacks:
        found = said.get((attack.matter.suite, attack.matter.sample_id))
        if found is None or found.outcome == "missing":
            missing += 1
        elif found.outcome == attack.attacker:
            kind = attack.injection.kind
            turned[kind] = (*turned.get(kind, ()), attack.injection.id)
        elif found.outcome not in ("base", "tuned"):
            shaken += 1
    return Checked(
        judge=member.name,
        probes=judged.probes.get(member.name),
        attacks=len(attacks),
        turned=turned,
        shaken=shaken,
        missing=missing,
        max_missing=max_missing,
        spent=judged.spent.get(member.name),
    )
