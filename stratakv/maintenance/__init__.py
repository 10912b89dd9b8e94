"""Work that is not a request's: merging segments."""
