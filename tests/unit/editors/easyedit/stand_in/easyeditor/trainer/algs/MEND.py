# ruff: noqa: N999 - named as there
class MEND:
    scale = 0.25
