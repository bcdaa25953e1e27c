"""From a raw data set to a prepared one: decoded, tokenized, checked, and packed into one folder."""
