"""Huawei OBS on loopback: the destination, with its own signature, objects, listings and uploads."""

from localcloud.obs.behaviour import ObsBehaviour
from localcloud.obs.service import ObsService

__all__ = ["ObsBehaviour", "ObsService"]
