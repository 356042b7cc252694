"""The bus for real on this machine: `python -m busway.demo`, which `make run` starts.

Four programs, each a process of its own and an example to read: `readings`, `answers`, `visitor`, `victim`.
The rest of the package starts, watches, kills and shows them.
"""
