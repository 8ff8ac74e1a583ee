"""Price tables of other projects, to hold Tallystick's prices against.

Only their data is read, from files that the developer fetches; see `test_oracles.py`.
"""
