"""The options that say how words are searched for, the same for all verbs that recognise speech."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter, validators

from leanformer.cli.outcome import UsageError


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How to search for words."""

    decoder: Literal["ctc", "transducer"] | None = None
    "What reads the encoder, of what the bundle has. Default: the first that the bundle was trained for."

    beam: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None
    """How many hypotheses to keep. 1 takes the likeliest label of each frame. Default: 8 with a language model or
    hotwords, else 1."""

    lm: str | None = None
    """A language model that `leanformer lm` wrote, `default`, or `none`; or one of words, an ARPA file or a KenLM
    binary (needs `pip install 'leanformer[lm]'`). Default: `default` with the default model, else none."""

    lm_weight: float | None = None
    "How much the language model counts. Default: what `leanformer tune` found for it."

    lm_bonus: float | None = None
    """What each word-piece gains, or each word with a language model of words, so that words are not left out.
    Default: as for the weight."""

    lm_internal: float = 0.0
    """How much of the language that a transducer has learnt itself is taken off for the language model; exact with
    `factorization = "hat"`."""

    hotwords: Path | None = None
    "A file of phrases to expect, one a line, with a weight after a tab if it needs one."

    def settled(self, model: str) -> Decoding:
        """The same, with what is used for `model` in the place of what was not said."""
        from leanformer.runtime.searching import usual_search  # here, not above, for a quick --help

        beam, lm = usual_search(model, self.beam, self.lm, self.decoder, self.hotwords is not None)
        assert lm is None or isinstance(lm, str)
        return replace(self, beam=beam, lm=lm)

    def in_words(self) -> str:
        """What to say of settled options beside a result."""
        by = "" if self.decoder is None else f"{self.decoder}, "
        if self.beam == 1:
            return f"{by}greedy"
        lm = f", language model {self.lm}" if self.lm is not None else ""
        tuned = "".join(
            f", {name} {value:g}"
            for name, value in (
                ("weight", self.lm_weight),
                ("bonus", self.lm_bonus),
                ("internal", self.lm_internal or None),
            )
            if value is not None
        )
        return f"{by}beam {self.beam}{lm}{tuned}{f', hotwords {self.hotwords}' if self.hotwords else ''}"

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for `Recognizer.load`, of settled options."""
        if self.lm is None and (self.lm_weight is not None or self.lm_bonus is not None or self.lm_internal):
            raise UsageError(
                "--lm-weight, --lm-bonus and --lm-internal are for a language model: add --lm default"
            )
        # Here, not above, for a quick --help.
        from leanformer.runtime.language_model import Fusion
        from leanformer.runtime.searching import NO_LM

        lm = NO_LM if self.lm is None else Fusion(self.lm, self.lm_weight, self.lm_bonus, self.lm_internal)
        return {"decoder": self.decoder, "beam": self.beam, "lm": lm, "hotwords": self.hotwords}


USUAL = Decoding()
