"""The stand-in for Alibaba MNS (SMQ) queues: data plane 2015-06-06, signature V2."""

from localcloud.mns.errors import MnsError
from localcloud.mns.message import Attributes, DeadLetterPolicy, Message, State
from localcloud.mns.queue import Queue
from localcloud.mns.service import MnsService
from localcloud.mns.store import Behaviour

__all__ = [
    "Attributes",
    "Behaviour",
    "DeadLetterPolicy",
    "Message",
    "MnsError",
    "MnsService",
    "Queue",
    "State",
]
