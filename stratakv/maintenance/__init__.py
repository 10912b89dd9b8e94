"""Work that no request waits for: finishing indexes, merging, evicting, tidying up."""
