"""The prompt enhancer in use: a few words in, the same with background and style out; for a batch, a service, a person.

A text is decided by (prompt, seed). What is empty or unsafe is refused, before and after; an expansion that changes the
language, drops what was asked for or runs too long is drawn again, and where none will do, the prompt stays as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pangu.expansion import Expander, ExpansionRequest, Sampling
from pangu.language_model import load_language_model
from pangu.prompt_guard import GuardLimits, PromptRefused, enhancement_fault, refusal, text_language

ATTEMPTS = 4
_SEED_STEP = 1_000_003


@dataclass(frozen=True)
class Enhanced:
    """What came of one prompt. text: to be drawn, None where refused. note: why it was refused or left as it was."""

    prompt: str
    text: str | None
    note: str | None = None


class PromptEnhancer:
    """Enhances prompts with one model. Safe for one thread at a time."""

    def __init__(self, expander: Expander, limits: GuardLimits | None = None) -> None:
        """Take what samples expansions."""
        self.expander = expander
        self.limits = limits or GuardLimits()

    @classmethod
    def load(cls, source: str | Path, device: str = "cpu", *, rows_per_batch: int = 1) -> "PromptEnhancer":
        """From a folder that `publish_enhancer` wrote, any causal LM's folder, or hub id@revision.

        rows_per_batch: 1 for single prompts; more for batches. It decides the last bits, so a text may differ between two
        values of it where two tokens are equally likely to within rounding.

        Raises:
            ValueError: there is no such model.
        """
        model = load_language_model(str(source), device)
        return cls(Expander(model, Sampling.of_card(model.card), rows_per_batch))

    def enhance(self, prompt: str, seed: int = 0, language: str | None = None) -> str:
        """The enhanced prompt. language: 'en' or 'zh', found from the prompt where None.

        Raises:
            PromptRefused: the prompt is empty or unsafe, or every expansion of it is.
        """
        found = self.enhance_all([ExpansionRequest(prompt, seed, language or text_language(prompt))])[0]
        if found.text is None:
            raise PromptRefused(found.note)
        return found.text

    def enhance_all(self, requests: Sequence[ExpansionRequest]) -> list[Enhanced]:
        """One result a request, in order; each is what it would be alone."""
        results: dict[int, Enhanced] = {}
        faults: dict[int, list[str]] = {}
        for place, request in enumerate(requests):
            reason = refusal(request.prompt)
            if reason is not None:
                results[place] = Enhanced(request.prompt, None, f"prompt refused: {reason}")
        for attempt in range(ATTEMPTS):
            open_places = [place for place in range(len(requests)) if place not in results]
            asked = [_attempt(requests[place], attempt) for place in open_places]
            for place, text in zip(open_places, self.expander.expand(asked), strict=True):
                request = requests[place]
                fault = enhancement_fault(request.prompt, text, request.language, self.limits)
                if fault is None:
                    results[place] = Enhanced(request.prompt, text)
                else:
                    faults.setdefault(place, []).append(fault)
        for place, found in faults.items():
            if place not in results:
                results[place] = _give_up(requests[place].prompt, found)
        return [results[place] for place in range(len(requests))]


def _attempt(request: ExpansionRequest, attempt: int) -> ExpansionRequest:
    return ExpansionRequest(request.prompt.strip(), request.seed + attempt * _SEED_STEP, request.language)


def _give_up(prompt: str, faults: Sequence[str]) -> Enhanced:
    """Refused where every expansion was empty or unsafe, else the prompt itself."""
    if all(fault == "empty" or fault.startswith("unsafe") for fault in faults):
        return Enhanced(prompt, None, f"enhanced prompt refused: {faults[-1]}")
    return Enhanced(prompt, prompt, f"left as it is: {faults[-1]}")
