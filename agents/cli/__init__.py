"""The command line `chorale`."""
