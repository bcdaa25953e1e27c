"""The doctor: what is wrong with a data set, as text and as a page."""
