"""Schema versions; `bursar_ledger.schema` runs them."""
