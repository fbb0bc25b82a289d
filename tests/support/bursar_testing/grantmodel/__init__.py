"""The grant protocol explored state by state: the product's own decision functions between stored objects, leaders and agents.

`setting` says how large a world is, `state` what it consists of, `moves` what may happen next, `decisions` calls the product,
`invariants` says what must hold, `exploration` visits every state and lets the newest leader come to rest from each.
`mutants` takes away one guard at a time. ``python -m bursar_testing.grantmodel --all`` explores what is too large for a test.
"""
