"""A log that inspect_ai writes of a model that answers by rule; imported where it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inspect_ai import Task, eval  # noqa: A004
from inspect_ai.dataset import Sample
from inspect_ai.model import GenerateConfig, ModelAPI, ModelOutput, ModelUsage, modelapi
from inspect_ai.scorer import includes, match
from inspect_ai.solver import generate


@modelapi(name="by_rule")
class _ByRule(ModelAPI):  # type: ignore[misc]
    """Knows the sum of small numbers, and mentions that of others in passing."""

    def __init__(self, model_name: str, config: Any = None, **_: Any) -> None:
        super().__init__(model_name, None, None, [], config or GenerateConfig())

    async def generate(self, input: Any, tools: Any, tool_choice: Any, config: Any) -> Any:  # noqa: A002
        number = int(input[-1].text.split()[2])
        text = f"{number + 1}" if number < 3 else f"{number + 1} or {number}"
        output = ModelOutput.from_content(self.model_name, text)
        output.usage = ModelUsage(input_tokens=5, output_tokens=3, total_tokens=8)
        return output


def write_real(folder: Path, form: str) -> tuple[Path, dict[str, float]]:
    """A log in one of inspect_ai's two forms, and its own accuracy by scorer."""
    questions = [Sample(input=f"What is {n} + 1?", target=str(n + 1), id=n) for n in range(5)]
    task = Task(
        dataset=questions, solver=generate(), scorer=[match(), includes()], name="sums", epochs=2
    )
    (log,) = eval(task, model="by_rule/one", log_dir=str(folder), log_format=form, display="none")
    own = {score.name: score.metrics["accuracy"].value for score in log.results.scores}
    return Path(log.location), own
