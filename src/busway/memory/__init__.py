"""Memory that programs of one machine share: regions, what keeps and reuses them, who holds them.

Loaded when a program first shares something. Knows no bus and no message.
"""
