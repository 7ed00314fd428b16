"""The outside world: clients of payment, warehouse, carriers, channels; their simulator."""
