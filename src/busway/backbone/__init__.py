"""A backbone: sites whose gateways are on one NATS cluster are one bus (docs/howto/backbone.md).

`bus.connect("nats://host:4222")` makes a program the gateway of those it is linked with. cluster.py is the
connection with the servers; asking.py asks there for what nobody here has, and answers what others ask;
gateway.py has links to those gateways that are needed; subjects.py says where. The links themselves are the
core's, as is what goes over them (protocol/routing/fabric.py).
"""
