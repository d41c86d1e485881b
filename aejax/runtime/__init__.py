"""The process and the machine: files read within bounds, and written whole or not at all."""
