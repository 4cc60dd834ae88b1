"""What is in a library: ELF headers, GPU code, CPU instructions. Files are read in place."""
