"""The sources of data layers, one file for each kind; imported when a data layer is to read."""
