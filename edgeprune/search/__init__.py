"""Find the model that keeps a profile's budgets: what sizes cost, what they lose, which are chosen, and what is shipped."""
