"""The request sets and sentences of the literature that can be asked for by name, with what is known of their files."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["CATALOGUE", "Kind", "Published", "names_of"]


class Kind(StrEnum):
    """What a file holds: facts to write, or sentences to measure perplexity on."""

    REQUESTS = "requests"
    TEXTS = "texts"


@dataclass(frozen=True, slots=True)
class Published:
    """One published set.

    Attributes:
        name: what `--edits` or `--ppl-texts` takes.
        kind: of its records.
        file_name: in the cache and below a mirror.
        url: of the file, or None where it has no address that a program could fetch.
        page: where a person finds it.
        records: how many it holds, broken ones included.
        about: what it is and whose, in one line.
        size: of the file in bytes, or None if not known.
        sha256: of the file, or None if not known; that of the first download is then held to.
    """

    name: str
    kind: Kind
    file_name: str
    url: str | None
    page: str
    records: int
    about: str
    size: int | None = None
    sha256: str | None = None


_ROME_DATA = "https://rome.baulab.info/data/dsets"
# One commit, so that what was checked once is what everybody gets.
_STUDY_DATA = (
    "https://raw.githubusercontent.com/WanliYoung/Collapse-in-Model-Editing/"
    "678beddf656385b660281de93a6650bb1b485ee9/data/ME-PPL"
)
_STUDY_PAGE = "https://github.com/WanliYoung/Collapse-in-Model-Editing"
_STUDY_FOLDER = "https://drive.google.com/drive/folders/1-L2TzbaWVmduJaFzfp49XzdVp-3LuQ1i"

_ENTRIES = (
    Published(
        name="counterfact",
        kind=Kind.REQUESTS,
        file_name="counterfact.json",
        url=f"{_ROME_DATA}/counterfact.json",
        page=f"{_ROME_DATA}/",
        records=21_919,
        about="COUNTERFACT: facts made false, by Meng et al. 2022",
        size=45_108_470,
        sha256="d017056125178a13728594e66a801357a8db9ed7973a7425554bb4271de9fc6f",
    ),
    Published(
        name="zsre",
        kind=Kind.REQUESTS,
        file_name="zsre_mend_eval.json",
        url=f"{_ROME_DATA}/zsre_mend_eval.json",
        page=f"{_ROME_DATA}/",
        records=19_086,
        about="ZsRE: questions of Levy et al. 2017, as evaluated by Mitchell et al. 2022",
    ),
    Published(
        name="hardcf",
        kind=Kind.REQUESTS,
        file_name="hardcf.json",
        url=None,
        page=_STUDY_FOLDER,
        records=107,
        about="HardCF: facts of COUNTERFACT that collapse GPT-2 XL, GPT-J or Llama 2 7B, by Yang et al. 2024",
    ),
    Published(
        name="hardedit",
        kind=Kind.REQUESTS,
        file_name="hardedit.json",
        url=None,
        page=_STUDY_FOLDER,
        records=469,
        about="HardEdit: written facts that make models collapse, by Yang et al. 2024",
    ),
    Published(
        name="me-ppl-50",
        kind=Kind.TEXTS,
        file_name="ME-PPL_50.json",
        url=f"{_STUDY_DATA}/ME-PPL_50.json",
        page=_STUDY_PAGE,
        records=50,
        about="ME-PPL: 50 of its sentences, by Yang et al. 2024",
        size=9_527,
        sha256="55f3b951d2c4287b90d9e511f256efb9d47461f0da408a17dac5ffcef685c4e4",
    ),
    Published(
        name="me-ppl-1k",
        kind=Kind.TEXTS,
        file_name="ME-PPL_1k.json",
        url=f"{_STUDY_DATA}/ME-PPL_1k.json",
        page=_STUDY_PAGE,
        records=1_000,
        about="ME-PPL: 1,000 of its sentences, by Yang et al. 2024",
        size=196_508,
        sha256="71e29fc5daf443b35ec16c8a9e91e1f4398b5b84ca7c25393639c066b65b5afb",
    ),
    Published(
        name="me-ppl",
        kind=Kind.TEXTS,
        file_name="ME-PPL.json",
        url=f"{_STUDY_DATA}/ME-PPL.json",
        page=_STUDY_PAGE,
        records=10_000,
        about="ME-PPL: sentences of seven corpora, by Yang et al. 2024",
        size=1_975_615,
        sha256="c09b3d8191ffad954bf3b5e96dac84a7caf83d57c15e262b1d81ef6590742fb4",
    ),
)

#: Every published set by its name.
CATALOGUE = {entry.name: entry for entry in _ENTRIES}


def names_of(kind: Kind) -> tuple[str, ...]:
    """The names of the published sets of one kind."""
    return tuple(name for name, entry in CATALOGUE.items() if entry.kind is kind)
