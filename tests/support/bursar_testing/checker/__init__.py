"""The independent checker: replays what the store and the ledger's tables held, and knows no code of the product.

`python -m bursar_testing.checker record …` writes the history down while it happens, `… check HISTORY` judges it.
"""
