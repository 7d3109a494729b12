"""The local cloud: MNS, OSS, OMS and OBS on loopback, close enough to the real ones to prove a relay.

Every signature is verified as the real services verify it, OMS really copies objects, and faults,
latency and clocks are set through an admin API. Where the real service's behaviour is not known,
the choice made here is marked "Assumption" beside the code.

Sources that are named like `oss/developer-reference/getobject` are pages of Alibaba's documentation, below
https://www.alibabacloud.com/help/en/.
"""
