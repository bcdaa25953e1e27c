"""HTML reports that load nothing from elsewhere."""
