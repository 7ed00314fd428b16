"""The choreography as a whole: computed from the agents, checked before it runs, drawn."""
