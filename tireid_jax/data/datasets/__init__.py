"""The data sets, one file each with its layout, published sizes and config, and the registry that finds them."""
