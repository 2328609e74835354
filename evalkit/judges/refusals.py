"""Whether a reply without a verdict is a refusal to judge, in English and Chinese."""

from __future__ import annotations

import re

_LOOKED_AT = 600  # a refusal is said at once
_REFUSALS = re.compile(
    r"\bI(?:['’]m| am)(?: (?:very|really|so|truly|deeply))? sorry\b[^.!?\n]{0,40}"
    r"\b(?:can(?:['’]t|not)|unable|not able|won['’]t|but)"
    r"|\bI(?: am|['’]m)? (?:can(?:['’]t|not)|could(?:n['’]t| not)|won['’]t|will not|must decline"
    r"|(?:have to|need to|would) (?:decline|refuse)|decline|refuse|unable to|not able to"
    r"|not (?:comfortable|permitted|allowed|willing))\b"
    r"(?! (?:find|see|detect|identify|tell|overlook|ignore|deny|help but|fault)\b)"
    r"|\bas an? (?:AI|(?:large )?language model)\b[^.!?\n]{0,80}\b(?:not|n['’]t|unable)\b"
    r"|\b(?:sorry|apologi[sz]e)\b[^.!?\n]{0,60}\b(?:can(?:['’]t|not)|unable|not able|won['’]t)\b"
    r"|\b(?:against|violates?) (?:my|our|the) (?:\w+ )?(?:guidelines|polic(?:y|ies))\b"
    r"|(?:很抱歉|抱歉|对不起|很遗憾|不好意思)[^。！？\n]{0,30}(?:不能|无法|没办法|不便|不予|拒绝|不会)"
    r"|(?:我|本模型|本助手|作为[^。！？\n]{0,20})(?:不能|无法|没办法|不便|不会|拒绝|不愿)"
    r"(?:对[^。！？\n]{0,20})?(?:协助|帮助|回答|评判|评价|评估|比较|判断|打分|提供|处理|讨论|参与|完成|满足|继续)"
    r"|(?:无法|不能|拒绝)(?:协助|回答|评判|评价|评估|比较|打分|处理)(?:这|该|此|您|你|上述|以上)?"
    r"|违反[^。！？\n]{0,12}(?:政策|规定|准则)",
    re.I,
)


def refuses(text: str) -> bool:
    """Whether the beginning of a reply declines to do what was asked."""
    return _REFUSALS.search(text[:_LOOKED_AT]) is not None
