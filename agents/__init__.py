"""The agents of Chorale: participants, the kernel that runs them, and their adapters."""
