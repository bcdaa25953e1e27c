"""Tables of experiments: runs their rows with several seeds, and writes the results with tests of the differences."""
