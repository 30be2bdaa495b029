"""EasyEdit's algorithms as editors: `--editor easyedit:ALGORITHM` drives the EasyEdit a user has.

Nothing of EasyEdit is part of this project; docs/easyedit.md says how an installation is found and what is set.
"""
