"""The outside world in one process: payments, warehouses, carriers and channels, with a ledger."""
