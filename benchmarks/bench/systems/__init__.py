"""Workers of each system: a class for each role, a method for each case."""
