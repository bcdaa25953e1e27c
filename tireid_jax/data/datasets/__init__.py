"""Raw data sets: where their files lie, and what their annotations say."""
