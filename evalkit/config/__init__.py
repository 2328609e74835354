"""What users write: one run's YAML, checked whole before anything is loaded."""

from evalkit.config.base import (
    DATA_NAME,
    NAME,
    Existing,
    GenerationValue,
    HubOrFolder,
    InputPath,
    NameOrFile,
    RubricName,
    Strict,
    data_name,
    safe_name,
)
from evalkit.config.gates import (
    Expected,
    GateConfig,
    SuiteGate,
)
from evalkit.config.harnesses import (
    LmEvalConfig,
    LmEvalTask,
    OpenCompassConfig,
    OpenCompassCustom,
    OwnData,
)
from evalkit.config.judges import (
    Budget,
    HumanJudge,
    JudgeConfig,
    JudgedSuite,
    JudgeMember,
    JudgeModel,
    ModelJudge,
    RecordedJudge,
    SuiteJudging,
)
from evalkit.config.models import (
    DecodingConfig,
    HFModel,
    ModelConfig,
    OpenAIModel,
    RecordedModel,
    ThinkingTags,
)
from evalkit.config.runs import (
    RunConfig,
)

__all__ = [
    "DATA_NAME",
    "NAME",
    "Budget",
    "DecodingConfig",
    "Existing",
    "Expected",
    "GateConfig",
    "GenerationValue",
    "HFModel",
    "HubOrFolder",
    "HumanJudge",
    "InputPath",
    "JudgeConfig",
    "JudgeMember",
    "JudgeModel",
    "JudgedSuite",
    "LmEvalConfig",
    "LmEvalTask",
    "ModelConfig",
    "ModelJudge",
    "NameOrFile",
    "OpenAIModel",
    "OpenCompassConfig",
    "OpenCompassCustom",
    "OwnData",
    "RecordedJudge",
    "RecordedModel",
    "RubricName",
    "RunConfig",
    "Strict",
    "SuiteGate",
    "SuiteJudging",
    "ThinkingTags",
    "data_name",
    "safe_name",
]
