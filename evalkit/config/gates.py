"""When a tuned model may be shipped; declared before the run."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from evalkit.config.base import Strict
from evalkit.records import Policy


class Expected(Strict):
    """What is expected of the paired differences, from which the power before a run is told."""

    flips: float | None = Field(
        default=None, gt=0.0, le=1.0, description="share of samples whose binary score changes"
    )
    deviation: float | None = Field(
        default=None, gt=0.0, description="standard deviation of the differences of other scores"
    )


class SuiteGate(Strict):
    """The gate of one suite; what is left out comes from `gate`, then from the suite itself.

    The slices of `must_not_regress` ("topic=history") are gated by non-inferiority too, with
    `slice_margin` or else the margin of the suite.
    """

    metric: str | None = None
    policy: Policy | None = None
    margin: float | None = Field(default=None, ge=0.0)
    must_not_regress: tuple[str, ...] = ()
    slice_margin: float | None = Field(default=None, ge=0.0)
    expect: Expected | None = None
    floor: float | None = Field(default=None, description="absolute: the tuned score's least")
    ceiling: float | None = Field(default=None, description="absolute: the tuned score's most")

    @field_validator("must_not_regress")
    @classmethod
    def slices_are_named_once(cls, slices: tuple[str, ...]) -> tuple[str, ...]:
        """A slice is a field and its value; one that counts twice would be gated twice."""
        for name in slices:
            if not all(part.strip() for part in name.partition("=")):
                raise ValueError(f"{name!r} is no slice; write FIELD=VALUE, as in topic=history")
        twice = [name for name in dict.fromkeys(slices) if slices.count(name) > 1]
        if twice:
            raise ValueError(f"{', '.join(map(repr, twice))} is named twice")
        return slices

    @model_validator(mode="after")
    def slice_margin_has_slices(self) -> Self:
        """A margin for slices that are not declared would have no effect."""
        if self.slice_margin is not None and not self.must_not_regress:
            raise ValueError("slice_margin is of the slices of must_not_regress, and there is none")
        return self

    @model_validator(mode="after")
    def absolute_has_a_bound(self) -> Self:
        """A floor or a ceiling is what `absolute` holds against, and means nothing elsewhere."""
        bounded = self.floor is not None or self.ceiling is not None
        if bounded and self.policy != "absolute":
            raise ValueError("floor and ceiling are of policy: absolute")
        if self.policy == "absolute" and not bounded:
            raise ValueError("policy: absolute needs a floor, a ceiling, or both")
        if self.floor is not None and self.ceiling is not None and self.floor >= self.ceiling:
            raise ValueError(
                f"no score is above a floor of {self.floor:g} and below a ceiling of "
                f"{self.ceiling:g}"
            )
        return self

    @model_validator(mode="after")
    def absolute_has_no_margin(self) -> Self:
        """A margin is of differences: beside `absolute` only its slices could use one."""
        sliced = self.must_not_regress and self.slice_margin is None
        if self.policy == "absolute" and self.margin is not None and not sliced:
            raise ValueError(
                "margin has no effect beside policy: absolute, which asks for a floor or a "
                "ceiling of the score itself; leave it out"
            )
        return self


class GateConfig(Strict):
    """When a tuned model may be shipped; declared before the run.

    `policy` and `margin` are the default of all suites. `on_inconclusive` says how a gate ends
    that the samples cannot settle: like a fail (1), like a pass (0), or with an exit code of 3.
    """

    policy: Policy | None = None
    margin: float | None = Field(default=None, ge=0.0)
    alpha: float = Field(default=0.05, gt=0.0, lt=0.5)
    max_missing: float = Field(default=0.0, ge=0.0, le=1.0)
    on_inconclusive: Literal["fail", "pass", "exit3"] = "exit3"
    power: float = Field(default=0.8, gt=0.5, lt=1.0)
    expect: Expected = Expected()
    suites: dict[str, SuiteGate] = Field(default_factory=dict)
