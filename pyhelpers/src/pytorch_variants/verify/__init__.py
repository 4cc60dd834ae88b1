"""Is a build what its name says? From its files, and on a GPU."""
