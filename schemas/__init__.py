"""The contract: every event, header, dead letter and decision that crosses a topic."""
