"""The vocabulary of Bursar: one model per kind, from which schema, rules, samples' checks and reference pages are made."""
