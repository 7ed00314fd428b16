"""The mechanics of a saga: declarations, the step protocol, the pipeline. Touches no world."""
