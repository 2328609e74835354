"""What a model, a data set or an attacker might put into a report."""

from __future__ import annotations

from tests.reports.examples import Answers, coin_suite

SCRIPT = "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'>"
MARKDOWN = (
    "| a | b |\n|---|---|\n# Heading\n**Ship it!** [click](https://evil.example/?q=1) "
    "![x](https://evil.example/p.png) @octocat #1 www.evil.example `code` $x$ :tada:\n- item"
)
CONTROLS = "null \x00 bell \x07 escape \x1b[31mred\x1b[0m next \x85 surrogate \ud800 end \ufffe"
BIDI = "access \u202e\u2066// only admin\u2069 \u2066 granted"
LONG = "The answer is long. 答案很长。" * 5000
ALL = (SCRIPT, MARKDOWN, CONTROLS, BIDI, LONG)


def hostile_suite(arms: tuple[str, str]) -> Answers:
    """A suite all of whose prompts and tuned answers are hostile; each flips."""
    n = 30
    return Answers(
        name="knowledge/hostile",
        values={arms[0]: [[float(i % 2)] for i in range(n)],
                arms[1]: [[float((i + 1) % 2)] for i in range(n)]},
        texts={arms[0]: ["a plain answer"] * n, arms[1]: [ALL[i // 2 % 5] for i in range(n)]},
        prompts=[ALL[i % 4] for i in range(n)],
        topics=[ALL[i % 4] for i in range(n)],
    )  # fmt: skip


def suites_with(arms: tuple[str, str]) -> list[Answers]:
    """A hostile suite beside a common one."""
    return [hostile_suite(arms), coin_suite("chat/answers", {arms[0]: 0.8, arms[1]: 0.4})]
