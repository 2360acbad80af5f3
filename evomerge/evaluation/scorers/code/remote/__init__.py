"""Calls between the tests' process and the answer's; README.md beside this file draws one exchange.

In reading order:

- ``channel``: the two-way RPC.
- ``wire_format``: values as text, with the identity of containers.
- ``value_forms``: the types that cross, one entry each.
"""
