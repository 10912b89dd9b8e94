"""The compile cache that StrataKV was made for: one page that compiles and runs programs, each only once."""
