"""Raw data sets of any layout: their annotations read and checked entry by entry, what is wrong with them reported."""
