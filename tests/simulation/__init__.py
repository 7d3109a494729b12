"""The relay's own flow on a virtual clock: seeded worlds, modelled services, kills at any await."""
