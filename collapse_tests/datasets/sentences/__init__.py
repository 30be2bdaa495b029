"""Sentences for ME-PPL out of corpora of pre-training text.

After appendix A.4 of 'The Butterfly Effect of Model Editing'. Documents stream from files or the hub (`corpora`), are
cut into sentences (`splitting`), kept where they are plain English (`filters`), sampled (`sampling`) and described
(`card`); `building` runs it.
"""
