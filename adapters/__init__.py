"""Adapters run a node and its drivers in one style each. Import the one you use:
`busway.adapters.asyncio`.
"""

__all__: list[str] = []
