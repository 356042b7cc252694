"""A store: mail for programs that are away, durable subscriptions, history. An ordinary node of the bus.

`busway.Store` runs one in a program, `busway store` at a shell; `send(…, store=True)`,
`register(…, once=…)` and `subscribe(…, durable=…)` use it. Nothing here is imported before it is used.
"""
