"""The command line: one thin file for each verb, around the functions that the package offers."""
