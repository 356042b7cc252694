"""Services: a class is the contract, the server and the client; on top of the public calls of the bus."""

from busway.services.clients import using
from busway.services.contracts import Contract, service
from busway.services.faults import ContractError, ServiceError
from busway.services.hooks import every, on
from busway.services.lives import Hosted
from busway.services.signals import Signal

__all__ = ["Contract", "ContractError", "Hosted", "ServiceError", "Signal", "every", "on", "service", "using"]
