"""Time models and packages by turns, make statistics of the samples, and judge them against budgets."""
