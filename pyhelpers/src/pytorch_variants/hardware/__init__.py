"""The hardware table, how people spell what is in it, and whose code runs on which GPU."""
